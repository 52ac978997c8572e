//! Making a [`Step`].

use serde_json::Value;

use crate::contract::{CredentialSet, DoneStep, HttpStep, Outcome, Pair, ReadStep, RunStep, Session, Step};
use crate::recipe::{Capture, HttpRequest, Place};

impl Step {
    /// The operation succeeded.
    pub fn done(outcome: Outcome) -> Self {
        Self::Done(Box::new(DoneStep {
            outcome,
            session: None,
        }))
    }

    /// Read a source that the manifest lists.
    pub fn read(source: &str, state: impl Into<Value>) -> Self {
        Self::Read(ReadStep {
            source: source.to_owned(),
            state: state.into(),
        })
    }

    /// Run the command that the field at this JSON pointer (RFC 6901) of a source holds.
    pub fn run(source: &str, field: &str, state: impl Into<Value>) -> Self {
        Self::Run(RunStep {
            source: source.to_owned(),
            field: field.to_owned(),
            state: state.into(),
        })
    }

    /// The credentials were found, and a login led to this session.
    pub fn logged_in(credentials: CredentialSet, session: Session) -> Self {
        Self::Done(Box::new(DoneStep {
            outcome: Outcome::Credentials(credentials),
            session: Some(session),
        }))
    }
}

impl From<HttpStep> for Step {
    fn from(step: HttpStep) -> Self {
        Self::Http(Box::new(step))
    }
}

impl HttpStep {
    /// Send this request.
    pub fn new(request: HttpRequest) -> Self {
        Self {
            request,
            capture: Vec::new(),
            emit: Vec::new(),
            state: Value::Null,
        }
    }

    /// The same, lifting a secret out of the reply: the string at this JSON pointer (RFC 6901) of the body.
    pub fn capturing(self, name: &str, pointer: &str) -> Self {
        self.capturing_at(name, Place::JsonPointer(pointer.to_owned()))
    }

    /// The same, lifting a secret out of the reply at any place.
    pub fn capturing_at(mut self, name: &str, place: Place) -> Self {
        self.capture.push(Capture {
            name: name.to_owned(),
            place,
        });
        self
    }

    /// The same, with pairs found so far.
    pub fn emitting(self, emit: Vec<Pair>) -> Self {
        Self { emit, ..self }
    }

    /// The same, with what must be given back at the next step.
    pub fn with_state(self, state: impl Into<Value>) -> Self {
        Self {
            state: state.into(),
            ..self
        }
    }
}
