//! The plugin's `credentials` operation: the vendor's own chain, which reads sources that the manifest lists, and the
//! login that makes of what was found or given what later operations need.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use keyferry_plugin::Step;
use keyferry_plugin::contract::{
    CredentialSet, DoneStep, Effect, ErrorKind, HttpStep, Operation, OperationKind, Outcome, ProviderError,
    Reply, RunStep, Session,
};
use keyferry_plugin::recipe::HttpRequest;
use serde_json::Value;

use super::result::{self, Held};
use super::source::Sources;
use super::{Credentials, Obtained, command, given, missing, named};
use crate::enforce::reach::Reach;
use crate::enforce::{Refusal, Rule, caps, cleaning};
use crate::exchange::Exchange;
use crate::job::{JobError, JobRequest, JobResult, Preview};
use crate::preview;
use crate::process::Shared;
use crate::recipe::{Field, Fields};
use crate::step::{Known, Moment, ask};

/// What it begins with.
pub(super) enum Start {
    /// Nothing: the vendor's chain looks for credentials, this profile's where one is named.
    Chain(Option<String>),
    /// What the account gave: no source is read.
    Login(Credentials),
}

/// Runs the plugin's `credentials` operation.
pub(super) fn obtain(
    shared: &Shared,
    region: Option<&str>,
    start: Start,
    preview: Option<&Preview>,
    deadline: Instant,
) -> Result<Obtained, JobError> {
    let manifest = &shared.setup.library.manifest;
    if !manifest.operations.contains_key(&OperationKind::Credentials) {
        let message = format!(
            "plugin {} knows no chain of its own: name env, file or command in [credentials]",
            manifest.name
        );
        return Err(missing(shared, message));
    }
    let (profile, given) = match start {
        Start::Chain(profile) => (profile, None),
        Start::Login(given) => (None, Some(given)),
    };
    let operation = Operation::Credentials(keyferry_plugin::contract::Credentials { profile });
    let request = JobRequest {
        region: region.map(str::to_owned),
        preview: preview.cloned(),
        ..JobRequest::new(operation.clone(), crate::step::random_hex())
    };
    let nothing = Fields::new();
    let fields = given.as_ref().map_or(&nothing, |given| &given.fields);
    let reach =
        Reach::of_settings(&shared.setup.account, manifest).map_err(|error| missing(shared, error))?;
    let exchange = Exchange::new(shared, &request, operation, None, fields, deadline);
    let chain = Chain {
        shared,
        request: &request,
        exchange,
        given: fields,
        reads: given.is_none(),
        captured: Fields::new(),
        sources: Sources::default(),
        reach,
        answered: false,
        trail: Vec::new(),
    };
    let mut obtained = chain.run()?;
    if let (Obtained::Credentials(credentials), Some(given)) = (&mut obtained, &given) {
        credentials.source = format!("login with {}", given.source);
        // What is kept of the given ones lasts no longer than they do.
        credentials.expires_at = match (credentials.expires_at, given.expires_at) {
            (Some(login), Some(given)) => Some(login.min(given)),
            (login, given) => login.or(given),
        };
    }
    Ok(obtained)
}

/// One run of the operation.
struct Chain<'a> {
    shared: &'a Shared,
    request: &'a JobRequest,
    exchange: Exchange<'a>,
    given: &'a Fields,
    /// Whether sources may be read.
    reads: bool,
    captured: Fields,
    sources: Sources,
    reach: Reach,
    /// Whether a provider has answered.
    answered: bool,
    /// What was looked at, and what came of it.
    trail: Vec<String>,
}

impl Chain<'_> {
    fn run(mut self) -> Result<Obtained, JobError> {
        let mut steps = caps::Steps::new(OperationKind::Credentials);
        let (mut state, mut reply) = (Value::Null, None);
        loop {
            steps
                .take()
                .and_then(|()| caps::check_state(&state))
                .map_err(|refusal| self.refused(refusal))?;
            self.check_time()?;
            let names: BTreeSet<String> = self.given.keys().chain(self.captured.keys()).cloned().collect();
            let known = Known {
                fields: names.into_iter().collect(),
                session: &Value::Null,
            };
            let step = ask(
                self.shared,
                self.request,
                self.exchange.operation(),
                known,
                Moment::of(self.request.preview.as_ref()),
                state,
                reply.take(),
            );
            match step.map_err(|message| self.misbehaved(message))? {
                Step::Read(step) => {
                    reply = Some(self.read(&step.source)?);
                    state = step.state;
                }
                Step::Run(step) => {
                    reply = Some(self.run_command(&step)?);
                    state = step.state;
                }
                Step::Wait(step) => {
                    reply = Some(self.exchange.wait(&step, || self.check_time())?);
                    state = step.state;
                }
                Step::Http(step) => {
                    if self.request.preview.is_some() {
                        return self.show(&step);
                    }
                    reply = Some(self.http(&step)?);
                    state = step.state;
                }
                Step::Done(step) => return self.done(*step).map(Obtained::Credentials),
                Step::Fail(step) => return Err(self.failed(step.error)),
            }
        }
    }

    fn read(&mut self, source: &str) -> Result<Reply, JobError> {
        if !self.reads {
            let name = cleaning::clean(source, 60);
            return Err(self.refused(Refusal::new(
                Rule::Call,
                format!("wanted to read `{name}`, though the account names its credentials itself"),
            )));
        }
        let document = self
            .sources
            .read(self.shared, source)
            .map_err(|error| match error {
                super::source::ReadError::Refused(refusal) => self.refused(refusal),
                super::source::ReadError::Failed(message) => self.missing(message),
            })?;
        self.note_sources();
        self.trail.push(match document.found {
            true => format!("{}: read", document.location),
            false if document.location == "environment" => "environment: no variable is set".to_owned(),
            false => format!("{}: not there", document.location),
        });
        for url in std::mem::take(&mut self.sources.urls) {
            let added = self
                .reach
                .add_setting(&url, self.shared.setup.account.insecure_http);
            // Perhaps nobody needs it; who sends there is told.
            if let Err(error) = added {
                let error = self.exchange.blanker.shown(&error, cleaning::MAX_MESSAGE);
                self.trail.push(format!("{}: {error}", document.location));
            }
        }
        Ok(Reply::Document(document))
    }

    fn run_command(&mut self, step: &RunStep) -> Result<Reply, JobError> {
        let Some(named) = self.sources.command(&step.source, &step.field) else {
            let (source, field) = (
                cleaning::clean(&step.source, 60),
                cleaning::clean(&step.field, 100),
            );
            return Err(self.refused(Refusal::new(
                Rule::Call,
                format!("wanted to run the command in {field} of `{source}`, where its manifest and what was read name none"),
            )));
        };
        let (field, output) = (cleaning::clean(&named.field, 100), named.output.clone());
        let words = command::words(&named.line)
            .map_err(|wrong| self.missing(format!("the command in {field} of {} {wrong}", step.source)))?;
        let program = words.first().cloned().unwrap_or_default();
        let printed = command::run(self.shared, &program, Some(words), self.exchange.deadline());
        let document = printed.and_then(|printed| {
            self.sources
                .output(self.shared, &output, &printed.bytes, printed.location)
        });
        let document = document.map_err(|message| {
            let message = self.exchange.blanker.shown(&message, cleaning::MAX_MESSAGE);
            self.missing(format!("{message} (named in {field} of {})", step.source))
        })?;
        self.note_sources();
        self.trail.push(format!("{}: read", document.location));
        Ok(Reply::Document(document))
    }

    fn http(&mut self, step: &HttpStep) -> Result<Reply, JobError> {
        let values = self.values();
        let insecure_http = self.shared.setup.account.insecure_http;
        let HttpRequest { origin, path, .. } = &step.request;
        let reach = self
            .reach
            .with_named(origin, path, &self.exchange.named, insecure_http);
        let received = self.exchange.step(step, &values, &reach)?;
        let asked = cleaning::clean(&step.request.origin, 100);
        self.trail.push(match &received.reply {
            Reply::Response(response) => {
                self.answered = true;
                format!("{asked}: status {}", response.status)
            }
            Reply::TransportError(error) => format!("{asked}: {}", error.message),
            Reply::Document(_) | Reply::Waited => asked,
        });
        for (name, value) in received.captured {
            if let Some(rules) = self.shared.setup.library.manifest.credentials.get(&name) {
                let field = Field {
                    class: rules.class,
                    of: None,
                    value,
                };
                self.captured.insert(name, field);
            }
        }
        Ok(received.reply)
    }

    fn show(&mut self, step: &HttpStep) -> Result<Obtained, JobError> {
        let values = self.values();
        let judged = self.exchange.judge(step, &values, &self.reach)?;
        let mut shown = preview::result(&judged.request, &values);
        if let JobResult::Preview(request) = &mut shown {
            // A handle says nothing to who reads it.
            for (handle, field) in values
                .iter()
                .filter_map(|(name, value)| Some((name, value.of.as_ref()?)))
            {
                let (handle, field) = (format!("<{handle}>"), format!("<{field}>"));
                request.url = request.url.replace(&handle, &field);
                request.body = request.body.replace(&handle, &field);
                for (_, value) in &mut request.headers {
                    *value = value.replace(&handle, &field);
                }
            }
        }
        Ok(Obtained::Shown(shown))
    }

    fn done(mut self, step: DoneStep) -> Result<Credentials, JobError> {
        let DoneStep { outcome, session } = step;
        let Outcome::Credentials(set) = outcome else {
            let plugin = &self.shared.setup.library.name;
            return Err(self.misbehaved(format!(
                "plugin {plugin} answered credentials with something else: report it to its author"
            )));
        };
        let insecure_http = self.shared.setup.account.insecure_http;
        for url in session.iter().flat_map(|session| &session.urls) {
            let added = self.reach.add_catalogue(url, &self.exchange.named, insecure_http);
            added.map_err(|refusal| self.refused(refusal))?;
        }
        let source = self.exchange.blanker.shown(&set.source, 200);
        let attempts = set.attempts.iter().take(MAX_ATTEMPTS);
        let attempts = attempts
            .map(|attempt| self.exchange.blanker.shown(attempt, 300))
            .collect();
        let clock = &self.shared.client.clock;
        let ends = [
            set.expires_at.clone(),
            session.as_ref().and_then(|session| session.expires_at.clone()),
        ];
        let mut left: Option<Duration> = None;
        for end in ends.iter().flatten() {
            // The provider counts by its own clock.
            let end = given::end(end, &source, clock.now()).map_err(|message| self.missing(message))?;
            left = Some(left.map_or(end, |left| left.min(end)));
        }
        let (fields, session) = self
            .result(set, session)
            .map_err(|refusal| self.refused(refusal))?;
        for (name, field) in &fields {
            given::check_value(name, &source, &field.value).map_err(|message| self.missing(message))?;
        }
        self.check_complete(&fields, &source)?;
        let now = std::time::SystemTime::now();
        Ok(Credentials {
            fields,
            source,
            attempts,
            session,
            reach: self.reach,
            expires_at: left.and_then(|left| now.checked_add(left)),
            obtained_at: now,
            renewed_at: None,
            accepted: AtomicBool::new(false),
        })
    }

    fn result(&self, set: CredentialSet, session: Option<Session>) -> Result<(Fields, Value), Refusal> {
        let held = Held {
            manifest: &self.shared.setup.library.manifest,
            handles: &self.sources.handles,
            given: self.given,
            captured: &self.captured,
        };
        let fields = held.fields(set, session.as_ref())?;
        let public = session.map_or(Value::Null, |session| session.public);
        let public = result::public_part(public, &self.captured, &self.exchange.blanker)?;
        Ok((fields, public))
    }

    /// Whatever way they came, every field that is not optional is there.
    fn check_complete(&self, fields: &Fields, source: &str) -> Result<(), JobError> {
        let is_there = |name| {
            let field = fields.get(name);
            field.is_some_and(|field: &Field| !field.value.expose().is_empty())
        };
        let manifest = &self.shared.setup.library.manifest;
        let missing = manifest
            .credentials
            .iter()
            .find(|(name, rules)| !rules.optional && !is_there(*name));
        match missing {
            None => Ok(()),
            Some((name, _)) => Err(self.missing(format!(
                "the field `{name}` is missing or empty: {source} should hold it"
            ))),
        }
    }

    /// What recipes may name: captured fields, then given ones, then handles.
    fn values(&self) -> Fields {
        let mut values = self.sources.values(&self.shared.setup.library.manifest);
        let held = self.given.iter().chain(&self.captured);
        values.extend(held.map(|(name, field)| {
            let field = Field {
                class: field.class,
                of: None,
                value: field.value.duplicate(),
            };
            (name.clone(), field)
        }));
        values
    }

    /// Secrets that were read are blanked from now on.
    fn note_sources(&mut self) {
        for (field, secret) in self.sources.new_secrets() {
            self.exchange.blanker.add_value(secret.expose(), field);
        }
    }

    fn check_time(&self) -> Result<(), JobError> {
        match self.exchange.time_left().is_zero() {
            false => Ok(()),
            true => Err(self.error(ProviderError::new(
                ErrorKind::Unavailable,
                "they were not obtained in time",
            ))),
        }
    }

    /// What the plugin says, without secrets; a clock that is wrong is named.
    fn failed(&self, error: ProviderError) -> JobError {
        let error = self.exchange.blanker.shown_error(error);
        self.error(match self.answered {
            true => self.shared.client.clock.explained(error),
            false => error,
        })
    }

    fn missing(&self, message: String) -> JobError {
        self.error(ProviderError::new(ErrorKind::Invalid, message))
    }

    fn error(&self, error: ProviderError) -> JobError {
        let attempts = self.trail.iter();
        JobError::Credentials {
            error: Box::new(named(self.shared, error)),
            answered: self.answered,
            attempts: attempts
                .map(|attempt| self.exchange.blanker.shown(attempt, 300))
                .collect(),
        }
    }

    fn refused(&self, refusal: Refusal) -> JobError {
        self.exchange.refused(Refusal {
            message: self
                .exchange
                .blanker
                .shown(&refusal.message, cleaning::MAX_MESSAGE),
            ..refusal
        })
    }

    fn misbehaved(&self, message: String) -> JobError {
        JobError::Plugin {
            message: self.exchange.blanker.shown(&message, cleaning::MAX_MESSAGE),
            effect: Effect::None,
        }
    }
}

/// Lines about what was looked at before.
const MAX_ATTEMPTS: usize = 30;
