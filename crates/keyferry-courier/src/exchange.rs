//! One request of an operation and its reply: what leaves, and what the plugin gets to see.
//!
//! [`Exchange`] is where all lines of the contract about requests and replies come together; an operation and a login
//! both send through it.

use std::time::{Duration, Instant};

use keyferry_plugin::contract::{
    Effect, ErrorKind, HttpStep, Operation, OperationKind, ProviderError, Reply, Response, TransportError,
    WaitStep,
};
use keyferry_plugin::recipe::{Capture, Expr, HttpRequest, Place};
use zeroize::Zeroizing;

use crate::capture;
use crate::enforce::blanking::Blanker;
use crate::enforce::calls::{self, CONTENT_TYPE, EvaluatedRequest, Subject};
use crate::enforce::hosts::{self, Destination, Hosts};
use crate::enforce::reach::{NamedUrls, Reach};
use crate::enforce::{Refusal, Rule, caps, captures, classes, cleaning};
use crate::http::{RawReply, SendError};
use crate::job::{JobError, JobRequest};
use crate::process::Shared;
use crate::recipe::{Evaluator, Fields, RecipeError};
use crate::secret::Secret;
use crate::step::refused;
use crate::wire::FromCourier;

/// The requests of one operation.
pub(crate) struct Exchange<'a> {
    shared: &'a Shared,
    operation: Operation,
    region: Option<&'a str>,
    /// The job to announce requests of that change something.
    job: Option<u64>,
    /// The request is shown and not sent.
    preview: bool,
    deadline: Instant,
    /// What is blanked in replies and messages. Secrets that come up outside of replies are added to it.
    pub(crate) blanker: Blanker,
    /// The URLs that replies of a login named.
    pub(crate) named: NamedUrls,
    has_private_key: bool,
    /// A request that changes something may have left.
    sent: bool,
    /// The provider answered one with success.
    succeeded: bool,
    /// And no whole answer to the last one came.
    uncertain: bool,
}

/// A request that keeps every line of the contract, ready to leave.
pub(crate) struct Judged<'s> {
    pub(crate) request: EvaluatedRequest,
    destination: Destination,
    capture: &'s [Capture],
    /// Where the manifest says that its answer holds secrets.
    secrets: Vec<Place>,
}

/// What a request led to.
pub(crate) struct Received {
    /// As the plugin may see it.
    pub(crate) reply: Reply,
    /// What was lifted out of it, by name. Its values are blanked from now on.
    pub(crate) captured: Vec<(String, Secret)>,
}

impl<'a> Exchange<'a> {
    /// The requests of this operation of a job, with these fields to be blanked. `job`: its number, where it has one.
    pub(crate) fn new(
        shared: &'a Shared,
        request: &'a JobRequest,
        operation: Operation,
        job: Option<u64>,
        fields: &Fields,
        deadline: Instant,
    ) -> Self {
        Self {
            shared,
            operation,
            region: shared.region(request),
            job,
            preview: request.preview.is_some(),
            deadline,
            blanker: Blanker::new(fields),
            named: NamedUrls::default(),
            has_private_key: false,
            sent: false,
            succeeded: false,
            uncertain: false,
        }
    }

    pub(crate) fn operation(&self) -> &Operation {
        &self.operation
    }

    pub(crate) fn kind(&self) -> OperationKind {
        self.operation.kind()
    }

    /// Judges and sends the request of a step.
    ///
    /// `fields` are the values that its recipes may name: credential fields, and in a login documents' secrets by their
    /// handles ([`Field::of`](crate::recipe::Field::of)).
    pub(crate) fn step(
        &mut self,
        step: &HttpStep,
        fields: &Fields,
        reach: &Reach,
    ) -> Result<Received, JobError> {
        let judged = self.judge(step, fields, reach)?;
        self.send(judged)
    }

    /// Checks the request of a step in every respect, and evaluates it.
    pub(crate) fn judge<'s>(
        &mut self,
        step: &'s HttpStep,
        fields: &Fields,
        reach: &Reach,
    ) -> Result<Judged<'s>, JobError> {
        let judged = self.judged(&step.request, &step.capture, fields, reach);
        let (request, destination, secrets) = judged.map_err(|refusal| self.refused(refusal))?;
        Ok(Judged {
            request,
            destination,
            capture: &step.capture,
            secrets,
        })
    }

    fn judged(
        &mut self,
        request: &HttpRequest,
        capture: &[Capture],
        fields: &Fields,
        reach: &Reach,
    ) -> Result<(EvaluatedRequest, Destination, Vec<Place>), Refusal> {
        let (manifest, kind) = (&self.shared.setup.library.manifest, self.kind());
        captures::check(capture, kind, &manifest.credentials)?;
        if self.has_private_key && !capture.is_empty() {
            return Err(Refusal::new(
                Rule::Capture,
                "wanted to capture a second private key",
            ));
        }
        classes::check(request, &manifest.credentials, fields)?;
        let allowed = Hosts {
            kind,
            listed: &manifest.hosts,
            region: self.region,
            endpoint: self.shared.endpoint.as_ref(),
            reach,
        };
        let target = hosts::check(&request.origin, allowed)?;
        let mut evaluator = Evaluator::new(fields, self.preview);
        let evaluated = (|| {
            let mut all = |parts: &[(String, Expr)]| {
                let bytes = |(name, expr): &(String, _)| Ok((name.clone(), evaluator.bytes(expr)?));
                parts.iter().map(bytes).collect::<Result<Vec<_>, RecipeError>>()
            };
            Ok::<_, RecipeError>(EvaluatedRequest {
                method: request.method.clone(),
                origin: target.origin,
                path: request.path.clone(),
                query: all(&request.query)?,
                headers: all(&request.headers)?,
                body: evaluator.bytes(&request.body)?,
            })
        })();
        let mut evaluated = evaluated.map_err(|error| {
            let message = format!("made a request that has no value: {error}");
            Refusal::new(error.rule(), message)
        })?;
        for digest in evaluator.into_derived() {
            self.blanker.add_digest(&digest);
        }
        let subject = Subject::new(&self.operation, self.region);
        let call = calls::check(&evaluated, manifest, kind, &subject, &target.bases)?;
        let is_said = evaluated.headers.iter().any(|(name, _)| name == CONTENT_TYPE);
        if let (Some(content_type), false) = (calls::content_type(call), is_said) {
            let value = Zeroizing::new(content_type.as_bytes().to_vec());
            evaluated.headers.push((CONTENT_TYPE.to_owned(), value));
        }
        let secrets = call.secrets.iter().filter_map(|place| captures::place(place));
        let secrets = secrets
            .filter(|place| !capture.iter().any(|capture| capture.place == *place))
            .collect();
        Ok((evaluated, target.destination, secrets))
    }

    /// Sends a request; what came of it.
    pub(crate) fn send(&mut self, judged: Judged<'_>) -> Result<Received, JobError> {
        let Judged {
            request,
            destination,
            capture,
            secrets,
        } = judged;
        let changes = changes(self.kind());
        if let (true, false, Some(id)) = (changes, self.sent, self.job) {
            // If we die from here on, the worker knows that the outcome is open.
            // It is short.
            let _ = self.shared.line.send(&FromCourier::Sending { id });
        }
        let mut time = self.time_left().min(self.shared.setup.limits.request_time);
        if destination == Destination::Metadata {
            time = time.min(METADATA_TIME);
        }
        match self.shared.client.send(&request, destination, self.kind(), time) {
            Ok(reply) => {
                self.sent |= changes;
                self.succeeded |= changes && (200..300).contains(&reply.status);
                self.uncertain = false;
                self.received(&request, reply, capture, &secrets)
                    .map_err(|refusal| self.refused(refusal))
            }
            Err(SendError::Forbidden(message)) => Err(self.refused(Refusal::new(Rule::Host, message))),
            Err(SendError::Transport { sent, message }) => {
                self.sent |= sent && changes;
                self.uncertain |= sent && changes;
                let message = self.blanker.shown(&message, cleaning::MAX_MESSAGE);
                Ok(Received {
                    reply: Reply::TransportError(TransportError { sent, message }),
                    captured: Vec::new(),
                })
            }
        }
    }

    /// What a reply leads to that answers a request, were it sent or not.
    pub(crate) fn answered(&mut self, judged: Judged<'_>, reply: RawReply) -> Result<Received, JobError> {
        self.received(&judged.request, reply, judged.capture, &judged.secrets)
            .map_err(|refusal| self.refused(refusal))
    }

    fn received(
        &mut self,
        request: &EvaluatedRequest,
        mut reply: RawReply,
        capture: &[Capture],
        secrets: &[Place],
    ) -> Result<Received, Refusal> {
        let mut captured: Vec<(String, Zeroizing<Vec<u8>>)> = Vec::new();
        for Capture { name, place } in capture {
            let secret = lift(place, name, &mut reply);
            captured.extend(secret.map(|secret| (name.clone(), secret)));
        }
        self.has_private_key |= captured.iter().any(|(name, _)| name == captures::PRIVATE_KEY);
        let mut may_hide = capture.iter().any(|Capture { name, place }| {
            captured.iter().all(|(other, _)| other != name) && may_hold(place, &reply.body)
        });
        let mut withheld = Vec::new();
        for place in secrets {
            match lift(place, WITHHELD, &mut reply) {
                Some(secret) => withheld.push(secret),
                None => may_hide |= may_hold(place, &reply.body),
            }
        }
        let RawReply {
            status,
            headers,
            mut body,
        } = reply;
        if self.kind() == OperationKind::Credentials && (200..300).contains(&status) && may_hide {
            // The secret may stand anywhere in what cannot be read to its end.
            body = Zeroizing::default();
        }
        if let Some((name, _)) = captured
            .iter()
            .find(|(name, secret)| name != captures::PRIVATE_KEY && secret.len() > caps::MAX_SECRET)
        {
            let message = format!(
                "was not given a reply: its `{name}` has more than {} bytes",
                caps::MAX_SECRET
            );
            return Err(Refusal::new(Rule::Limit, message));
        }
        let repeats = |text: &[u8]| {
            captured.iter().any(|(name, key)| {
                name == captures::PRIVATE_KEY
                    && key.len() >= 16
                    && text.windows(key.len()).any(|window| window == key.as_slice())
            })
        };
        let leaks = |text: &[u8]| captures::holds_private_key(text) || repeats(text);
        if leaks(&body) || headers.iter().any(|(_, value)| leaks(value)) {
            let message = "was not given a reply: it holds a private key that was not captured";
            return Err(Refusal::new(Rule::Capture, message));
        }
        self.named.note(self.kind(), &request.origin, status, &body);
        for (name, secret) in &captured {
            if name != captures::PRIVATE_KEY {
                self.blanker.add_value(secret, name);
            }
        }
        for secret in &withheld {
            self.blanker.add_value(secret, WITHHELD);
        }
        // What stands for a secret must not look like an element.
        let is_xml = body.trim_ascii_start().starts_with(b"<") || body.starts_with(b"\xef\xbb\xbf<");
        let text = |bytes: &[u8]| {
            let blanked = match is_xml {
                true => self.blanker.blank_xml(bytes),
                false => self.blanker.blank(bytes),
            };
            if self.blanker.is_seen_below(&blanked) {
                let message = "was not given a reply: it repeats a secret in a form that cannot be blanked";
                return Err(Refusal::new(Rule::Capture, message));
            }
            Ok(String::from_utf8_lossy(&blanked).into_owned())
        };
        let headers = headers
            .iter()
            .map(|(name, value)| Ok((name.to_ascii_lowercase(), text(value)?)));
        let response = Response {
            status,
            headers: headers.collect::<Result<_, Refusal>>()?,
            body: text(&body)?,
            captured: captured.iter().map(|(name, _)| name.clone()).collect(),
        };
        Ok(Received {
            reply: Reply::Response(response),
            captured: captured
                .into_iter()
                .map(|(name, secret)| (name, Secret::new(secret)))
                .collect(),
        })
    }

    /// Waits as long as a step says, as long as `go_on` finds that somebody still waits for the operation.
    pub(crate) fn wait(
        &self,
        step: &WaitStep,
        go_on: impl Fn() -> Result<(), JobError>,
    ) -> Result<Reply, JobError> {
        let wait = caps::check_wait(step.ms).map_err(|refusal| self.refused(refusal))?;
        let until = Instant::now() + wait;
        loop {
            go_on()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Reply::Waited);
            }
            std::thread::sleep(left.min(LOOK_UP));
        }
    }

    /// When the operation's time is over.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left of the operation's time.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Fails when the operation's time is over.
    pub(crate) fn check_time(&self) -> Result<(), JobError> {
        if !self.time_left().is_zero() {
            return Ok(());
        }
        let kind = self.kind();
        let time = caps::time(kind, self.shared.setup.limits.job_time).as_secs_f32();
        let error = ProviderError::new(
            ErrorKind::Unavailable,
            format!("the {kind} was not finished within {time} s"),
        );
        Err(JobError::Provider(error.with_effect(self.effect())))
    }

    /// What is known of the effect when the plugin does not tell.
    pub(crate) fn effect(&self) -> Effect {
        if self.sent { Effect::Unknown } else { Effect::None }
    }

    /// An error of the plugin, with the effect as far as we know better.
    pub(crate) fn failed(&self, error: ProviderError) -> JobError {
        let effect = if !self.sent {
            Effect::None
        } else if self.uncertain || self.succeeded {
            // What the provider confirmed, the plugin cannot deny: the pair would be left behind unseen.
            Effect::Unknown
        } else {
            error.effect
        };
        JobError::Provider(error.with_effect(effect))
    }

    /// A broken line, as the job's error.
    pub(crate) fn refused(&self, refusal: Refusal) -> JobError {
        refused(self.shared, refusal, self.effect())
    }
}

/// Takes what is at a place out of a reply, and leaves `<name>` there.
fn lift(place: &Place, name: &str, reply: &mut RawReply) -> Option<Zeroizing<Vec<u8>>> {
    let lifted = match place {
        Place::JsonPointer(pointer) => capture::lift(&reply.body, pointer, name),
        Place::XmlPath(path) => capture::xml::lift(&reply.body, path, name),
        Place::Header(header) => return capture::lift_header(&mut reply.headers, header, name),
    }?;
    reply.body = lifted.rest;
    Some(lifted.secret)
}

/// Whether a body may hold what was not lifted out of it: it cannot be read to its end, or not at that place.
fn may_hold(place: &Place, body: &[u8]) -> bool {
    match place {
        Place::JsonPointer(pointer) => !capture::is_without(body, pointer),
        Place::XmlPath(_) => true,
        Place::Header(_) => false,
    }
}

/// Whether an operation changes something at the provider.
fn changes(kind: OperationKind) -> bool {
    !matches!(
        kind,
        OperationKind::List | OperationKind::Get | OperationKind::ListInstances | OperationKind::Credentials
    )
}

/// What stands for a secret that the plugin did not capture.
const WITHHELD: &str = "secret";
/// So often, whoever waits looks whether it is still worth it.
const LOOK_UP: Duration = Duration::from_millis(50);
/// A metadata service answers at once, or there is none.
const METADATA_TIME: Duration = Duration::from_secs(5);
