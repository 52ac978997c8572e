//! Making a [`Step`].

use serde_json::Value;

use crate::contract::{DoneStep, HttpStep, Outcome, Pair, ReadStep, Step};
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
    pub fn capturing(mut self, name: &str, pointer: &str) -> Self {
        self.capture.push(Capture {
            name: name.to_owned(),
            place: Place::JsonPointer(pointer.to_owned()),
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
