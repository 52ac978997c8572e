//! The way of one job, from the plugin's first step to its outcome.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use keyferry_plugin::contract::{
    Effect, ErrorKind, InstanceResult, Operation, OperationKind, Outcome, Pair, PairReference, ProviderError,
    Reply, Step,
};
use serde_json::Value;

use crate::credentials::{self, Credentials, Obtained, profiles};
use crate::enforce::{Refusal, Rule, caps, cleaning, permit};
use crate::exchange::Exchange;
use crate::job::{JobError, JobRequest, JobResult};
use crate::preview;
use crate::process::Shared;
use crate::secret::Secret;
use crate::step::{Known, Moment, ask, refused};
use crate::wire::FromCourier;

/// One job of a courier.
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) request: JobRequest,
    /// Set when nobody waits for it any more.
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Job {
    /// Runs it to its end. It blocks.
    pub(crate) fn run(&self, shared: &Shared) -> Result<JobResult, JobError> {
        let kind = self.request.operation.kind();
        let deadline = Instant::now() + caps::time(kind, shared.setup.limits.job_time);
        self.check(shared, kind)?;
        let region = shared.region(&self.request);
        if let Some(preview) = &self.request.preview {
            // A request that obtains credentials comes before all others.
            return match credentials::for_preview(shared, region, preview, deadline)? {
                Obtained::Shown(request) => Ok(request),
                Obtained::Credentials(credentials) => self.attempt(shared, &credentials, deadline),
            };
        }
        match kind {
            OperationKind::Credentials => {
                let credentials = shared.vault.renewed(shared, region, deadline)?;
                return Ok(JobResult::Credentials {
                    source: credentials.source.clone(),
                    attempts: credentials.attempts.clone(),
                    expires_at: credentials.expires_at(),
                });
            }
            OperationKind::Profiles => return Ok(JobResult::Profiles(profiles(shared, deadline)?)),
            _ => {}
        }
        let credentials = shared.vault.get(shared, region, deadline)?;
        let result = self.attempt(shared, &credentials, deadline);
        match result {
            Err(error) if error.is_unauthorized() => {
                // The same credentials again would only be refused again.
                match shared.vault.renew(shared, region, &credentials, deadline)? {
                    Some(renewed) => self.attempt(shared, &renewed, deadline),
                    None => Err(error),
                }
            }
            result => result,
        }
    }

    /// What can be refused before the plugin is asked.
    fn check(&self, shared: &Shared, kind: OperationKind) -> Result<(), JobError> {
        let plugin = &shared.setup.library.name;
        if kind == OperationKind::RunCommand {
            let error = ProviderError::new(ErrorKind::Unsupported, format!("{kind} is not in this version"));
            return Err(JobError::Provider(error));
        }
        if !shared.setup.library.manifest.operations.contains_key(&kind) && kind != OperationKind::Credentials
        {
            let error = ProviderError::new(ErrorKind::Unsupported, format!("plugin {plugin} has no {kind}"));
            return Err(JobError::Provider(error));
        }
        if let Operation::Attach(attachment) | Operation::Detach(attachment) = &self.request.operation
            && attachment.instances.is_empty()
        {
            let error = ProviderError::new(ErrorKind::Invalid, format!("{kind} needs an instance"));
            return Err(JobError::Provider(error));
        }
        if let (Operation::Delete(delete), None) = (&self.request.operation, &self.request.preview) {
            permit::check(delete, self.request.permit.as_ref())
                .map_err(|refusal| refused(shared, refusal, Effect::None))?;
        }
        Ok(())
    }

    fn attempt(
        &self,
        shared: &Shared,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<JobResult, JobError> {
        let result = self.attempt_with(shared, credentials, deadline);
        if result.as_ref().err().is_none_or(|error| !error.is_unauthorized()) {
            credentials.note_accepted();
        }
        result
    }

    fn attempt_with(
        &self,
        shared: &Shared,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<JobResult, JobError> {
        let operation = |operation| Run {
            shared,
            job: self,
            credentials,
            exchange: Exchange::new(
                shared,
                &self.request,
                operation,
                Some(self.id),
                &credentials.fields,
                deadline,
            ),
        };
        if let (Operation::Delete(_), Some(permit), None) = (
            &self.request.operation,
            &self.request.permit,
            &self.request.preview,
        ) && permit::is_comparable(permit)
            && shared
                .setup
                .library
                .manifest
                .operations
                .contains_key(&OperationKind::Get)
        {
            let reference = PairReference {
                name: permit.name.clone(),
                id: permit.id.clone(),
            };
            match operation(Operation::Get(reference)).finish()? {
                JobResult::Pair(found) => permit::check_found(permit, &found)
                    .map_err(|refusal| refused(shared, refusal, Effect::None))?,
                _ => {
                    return Err(JobError::Plugin {
                        message: format!(
                            "plugin {} answered a get with something else",
                            shared.setup.library.name
                        ),
                        effect: Effect::None,
                    });
                }
            }
        }
        operation(self.request.operation.clone()).finish()
    }
}

/// One operation of the plugin, step by step.
struct Run<'a> {
    shared: &'a Shared,
    job: &'a Job,
    credentials: &'a Credentials,
    exchange: Exchange<'a>,
}

/// A step of a running operation that has come to its end.
enum Ended {
    Done(Outcome, Option<Secret>),
    Preview(JobResult),
}

impl Run<'_> {
    /// Runs it, and cleans what comes of it.
    fn finish(mut self) -> Result<JobResult, JobError> {
        let ended = self.run();
        let ended = ended.map_err(|error| self.cleaned(error))?;
        match (self.exchange.kind(), ended) {
            (_, Ended::Preview(result)) => Ok(result),
            (OperationKind::Create, Ended::Done(Outcome::Pair(pair), Some(private_key))) => {
                Ok(JobResult::Created {
                    pair: self.cleaned_pair(pair),
                    private_key,
                })
            }
            (OperationKind::Create, Ended::Done(Outcome::Pair(_), None)) => {
                Err(self.misbehaved("finished a create without capturing a private key"))
            }
            (OperationKind::Import | OperationKind::Get, Ended::Done(Outcome::Pair(pair), _)) => {
                Ok(JobResult::Pair(self.cleaned_pair(pair)))
            }
            (OperationKind::List, Ended::Done(Outcome::Pairs(pairs), _)) => {
                let pairs = pairs.into_iter().map(|pair| self.cleaned_pair(pair)).collect();
                Ok(JobResult::Pairs(pairs))
            }
            (OperationKind::Delete, Ended::Done(Outcome::Deleted, _)) => Ok(JobResult::Deleted),
            (OperationKind::Attach | OperationKind::Detach, Ended::Done(Outcome::Attached(results), _)) => {
                self.attached(results)
            }
            (OperationKind::ListInstances, Ended::Done(Outcome::Instances(instances), _)) => {
                if instances.len() > caps::MAX_INSTANCES {
                    let message = format!("named more than {} instances", caps::MAX_INSTANCES);
                    return Err(self.refused(Refusal::new(Rule::Limit, message)));
                }
                let shown = instances
                    .iter()
                    .map(|instance| self.exchange.blanker.shown(instance, cleaning::MAX_NAME));
                Ok(JobResult::Instances(shown.collect()))
            }
            (kind, Ended::Done(..)) => {
                Err(self.misbehaved(&format!("finished a {kind} with the outcome of something else")))
            }
        }
    }

    fn run(&mut self) -> Result<Ended, JobError> {
        let kind = self.exchange.kind();
        let fields = &self.credentials.fields;
        let mut steps = caps::Steps::new(kind);
        let mut state = Value::Null;
        let mut reply = None;
        let mut private_key = None;
        let mut found = 0;
        let mut was_answered = false;
        loop {
            steps.take().map_err(|refusal| self.refused(refusal))?;
            self.check_time()?;
            caps::check_state(&state).map_err(|refusal| self.refused(refusal))?;
            let moment = Moment::of(self.job.request.preview.as_ref());
            let step = ask(
                self.shared,
                &self.job.request,
                self.exchange.operation(),
                Known::from(self.credentials),
                moment,
                state,
                reply.take(),
            );
            match step.map_err(|message| self.misbehaved_as(message))? {
                Step::Http(mut step) => {
                    let emit = std::mem::take(&mut step.emit);
                    found += emit.len();
                    self.emit(kind, emit, found)?;
                    let judged = self.exchange.judge(&step, fields, &self.credentials.reach)?;
                    if self.job.request.preview.is_some() {
                        return Ok(Ended::Preview(preview::result(&judged.request, fields)));
                    }
                    let received = self.exchange.send(judged)?;
                    // Outside of a login nothing else is captured.
                    private_key = received
                        .captured
                        .into_iter()
                        .next()
                        .map(|(_, secret)| secret)
                        .or(private_key);
                    was_answered |= matches!(received.reply, Reply::Response(_));
                    reply = Some(received.reply);
                    state = step.state;
                }
                Step::Wait(step) => {
                    reply = Some(self.exchange.wait(&step, || self.check_time())?);
                    state = step.state;
                }
                Step::Read(_) => {
                    return Err(self.refused(Refusal::new(
                        Rule::Call,
                        format!(
                            "wanted to read a file or variables during {kind}, which credentials alone may"
                        ),
                    )));
                }
                Step::Run(_) => {
                    return Err(self.refused(Refusal::new(
                        Rule::Call,
                        format!("wanted to run a command during {kind}, which credentials alone may"),
                    )));
                }
                // What the provider never said is the plugin's word alone: a pair that is there, or gone.
                Step::Done(_) if !was_answered => {
                    return Err(self.refused(Refusal::new(
                        Rule::Call,
                        format!("ended a {kind} that the provider never answered"),
                    )));
                }
                Step::Done(step) => {
                    if step.session.is_some() {
                        return Err(self.refused(Refusal::new(
                            Rule::Call,
                            format!("wanted to keep a session after {kind}, which credentials alone may"),
                        )));
                    }
                    if let Outcome::Pairs(pairs) = &step.outcome {
                        found += pairs.len();
                        self.check_found(found)?;
                    }
                    return Ok(Ended::Done(step.outcome, private_key));
                }
                Step::Fail(step) => return Err(self.exchange.failed(step.error)),
            }
        }
    }

    fn emit(&self, kind: OperationKind, pairs: Vec<Pair>, found: usize) -> Result<(), JobError> {
        if pairs.is_empty() {
            return Ok(());
        }
        if kind != OperationKind::List {
            return Err(self.refused(Refusal::new(
                Rule::Call,
                format!("emitted pairs during {kind}, which list alone does"),
            )));
        }
        self.check_found(found)?;
        if self.job.request.preview.is_none() {
            let pairs = pairs.into_iter().map(|pair| self.cleaned_pair(pair)).collect();
            let emitted = FromCourier::Emitted {
                id: self.job.id,
                pairs,
            };
            let too_long = |_| Refusal::new(Rule::Limit, "emitted too many pairs at once");
            self.shared
                .line
                .send(&emitted)
                .map_err(|error| self.refused(too_long(error)))?;
        }
        Ok(())
    }

    /// The results of the job's own instances; a word on any other is no result.
    fn attached(&self, results: Vec<InstanceResult>) -> Result<JobResult, JobError> {
        let (Operation::Attach(attachment) | Operation::Detach(attachment)) = self.exchange.operation()
        else {
            return Err(self.misbehaved("answered for instances that nobody asked about"));
        };
        let mut named = BTreeSet::new();
        for result in &results {
            if !attachment.instances.contains(&result.instance) || !named.insert(&result.instance) {
                return Err(self.misbehaved("answered for an instance that it was not asked about, or twice"));
            }
        }
        let blanker = &self.exchange.blanker;
        let shown = results.into_iter().map(|result| InstanceResult {
            instance: blanker.shown(&result.instance, cleaning::MAX_NAME),
            error: result.error.map(|error| blanker.shown_error(error)),
        });
        Ok(JobResult::Attached(shown.collect()))
    }

    fn check_found(&self, found: usize) -> Result<(), JobError> {
        if found > caps::MAX_PAIRS {
            let message = format!("listed more than {} pairs", caps::MAX_PAIRS);
            return Err(self.refused(Refusal::new(Rule::Limit, message)));
        }
        Ok(())
    }

    fn check_time(&self) -> Result<(), JobError> {
        if self.job.cancelled.load(Ordering::Relaxed) {
            return Err(JobError::Lost {
                message: "nobody waits for this job any more".to_owned(),
                effect: self.exchange.effect(),
            });
        }
        self.exchange.check_time()
    }

    fn refused(&self, refusal: Refusal) -> JobError {
        self.exchange.refused(refusal)
    }

    fn misbehaved(&self, what: &str) -> JobError {
        self.misbehaved_as(format!(
            "plugin {} {what}: report it to its author",
            self.shared.setup.library.name
        ))
    }

    fn misbehaved_as(&self, message: String) -> JobError {
        JobError::Plugin {
            message,
            effect: self.exchange.effect(),
        }
    }

    fn cleaned_pair(&self, pair: Pair) -> Pair {
        self.exchange.blanker.shown_pair(pair)
    }

    fn cleaned(&self, error: JobError) -> JobError {
        let clean = |message: String| self.exchange.blanker.shown(&message, cleaning::MAX_MESSAGE);
        match error {
            JobError::Provider(error) => {
                let error = self.exchange.blanker.shown_error(error);
                JobError::Provider(self.shared.client.clock.explained(error))
            }
            JobError::Plugin { message, effect } => JobError::Plugin {
                message: clean(message),
                effect,
            },
            JobError::Refused {
                rule,
                message,
                effect,
            } => JobError::Refused {
                rule,
                message: clean(message),
                effect,
            },
            error @ (JobError::Credentials { .. } | JobError::Lost { .. } | JobError::Setup { .. }) => error,
        }
    }
}
