//! One operation from the first step to its end, with replies of our choice.

use keyferry_courier::{
    Account, CredentialSource, DryOperation, DryReply, DryRun, JobRequest, Limits, Network, Setup,
};
use keyferry_plugin::contract::{
    Context, Operation, OperationKind, Outcome, Pair, ProviderError, Reply, Step, StepRequest, TransportError,
};
use keyferry_plugin::manifest::{Manifest, Source};
use keyferry_plugin::recipe::HttpRequest;
use keyferry_sandbox::{LibraryFacts, Sandbox};
use serde_json::Value;

use crate::document;
use crate::recorded::Case;

/// What answers one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// No whole reply came; whether anything was sent.
    Lost(bool),
    Reply(DryReply),
}

/// How a walk ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// With this outcome; pairs of all pages together.
    Done(Outcome),
    Fail(ProviderError),
    /// The plugin asked for more than there was.
    Open(Box<HttpRequest>),
    /// The reply held a secret where nobody captures it, so the courier kept it back, and said so.
    Withheld(String),
}

/// What a walk went through.
#[derive(Debug)]
pub(crate) struct Walked {
    pub(crate) end: End,
    /// All questions, in order.
    pub(crate) asked: Vec<StepRequest>,
    /// All requests, in order.
    pub(crate) sent: Vec<HttpRequest>,
    /// Pages of pairs before the last one.
    pub(crate) pages: usize,
}

/// A case, ready to be walked as often as one likes.
pub(crate) struct Walker<'a> {
    pub(crate) case: &'a Case,
    manifest: &'a Manifest,
    given: Vec<String>,
    dry_run: DryRun,
    job: JobRequest,
}

impl<'a> Walker<'a> {
    /// The error says what is wrong with the case.
    pub(crate) fn new(case: &'a Case, facts: &'a LibraryFacts) -> Result<Self, String> {
        let manifest = &facts.manifest;
        let given = case.given.clone().unwrap_or_else(|| match case.operation.kind() {
            OperationKind::Credentials | OperationKind::Profiles => Vec::new(),
            _ => {
                let fields = manifest.credentials.iter();
                let needed = fields.filter(|(_, field)| !field.optional);
                needed.map(|(name, _)| name.clone()).collect()
            }
        });
        let setup = Setup {
            account: Account {
                name: "conformance".to_owned(),
                region: case.account.region.clone(),
                endpoint: None,
                insecure_http: false,
                settings: case.account.settings.clone(),
            },
            credentials: CredentialSource::Chain { profile: None },
            home: None,
            library: facts.clone(),
            limits: Limits::default(),
            network: Network::default(),
            sandbox: keyferry_courier::Launch {
                program: "/nonexistent".into(),
                args: Vec::new(),
            },
        };
        let walker = Self {
            case,
            manifest,
            given,
            dry_run: DryRun::new(setup)?,
            job: JobRequest::new(case.operation.clone(), "5".repeat(32)),
        };
        walker.operation()?;
        Ok(walker)
    }

    /// The recorded answers.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        let replies = self.case.replies.iter();
        replies
            .map(|reply| {
                let headers = reply.headers.iter();
                Answer::Reply(DryReply {
                    status: reply.status,
                    headers: headers
                        .map(|(name, value)| (name.clone(), value.clone()))
                        .collect(),
                    body: reply.bytes(),
                })
            })
            .collect()
    }

    /// Walks the case with these answers, and holds every step to the contract. The error says what the plugin did.
    pub(crate) fn walk(&self, plugin: &Sandbox, answers: &[Answer]) -> Result<Walked, String> {
        let mut dry = self.operation()?;
        let kind = self.case.operation.kind();
        let mut walked = Walked {
            end: End::Done(Outcome::Deleted),
            asked: Vec::new(),
            sent: Vec::new(),
            pages: 0,
        };
        let mut answers = answers.iter();
        let mut found: Vec<Pair> = Vec::new();
        let (mut state, mut reply, mut captured, mut handles) = (Value::Null, None, false, 1);
        let most = if kind == OperationKind::List { 2000 } else { 64 };
        for number in 0..most {
            let request = StepRequest {
                operation: self.case.operation.clone(),
                context: self.context(number, &dry),
                state: std::mem::take(&mut state),
                reply: reply.take(),
            };
            let step = plugin.step(&request).map_err(|error| error.to_string())?;
            walked.asked.push(request);
            match step {
                Step::Http(step) => {
                    if !step.emit.is_empty() {
                        if kind != OperationKind::List {
                            return Err(format!("it emitted pairs during {kind}, which list alone does"));
                        }
                        walked.pages += 1;
                    }
                    found.extend(step.emit.iter().cloned());
                    walked.sent.push(step.request.clone());
                    let answer = answers.next();
                    let dry_reply = match answer {
                        Some(Answer::Reply(reply)) => Some(reply.clone()),
                        _ => None,
                    };
                    // Judged by itself first: what a broken reply holds is not the plugin's doing.
                    dry.step(&step, None).map_err(|error| error.to_string())?;
                    let seen = match dry_reply.map(|reply| dry.step(&step, Some(reply))) {
                        None => None,
                        Some(Ok(seen)) => seen,
                        Some(Err(error)) => {
                            walked.end = End::Withheld(error.to_string());
                            return Ok(walked);
                        }
                    };
                    reply = match (seen, answer) {
                        (Some(seen), _) => {
                            if let Reply::Response(response) = &seen {
                                captured |= response.has_captured("private_key");
                            }
                            Some(seen)
                        }
                        (None, Some(Answer::Lost(sent))) => Some(Reply::TransportError(TransportError {
                            sent: *sent,
                            message: "the connection was closed".to_owned(),
                        })),
                        (None, _) => {
                            walked.end = End::Open(Box::new(step.request));
                            return Ok(walked);
                        }
                    };
                    state = step.state;
                }
                Step::Wait(step) => {
                    if step.ms > 30_000 {
                        return Err(format!(
                            "it wanted to wait {} ms, at most 30000 are allowed",
                            step.ms
                        ));
                    }
                    reply = Some(Reply::Waited);
                    state = step.state;
                }
                Step::Read(step) => {
                    reply = Some(self.read(&mut dry, &step.source, kind, &mut handles)?);
                    state = step.state;
                }
                Step::Run(step) => {
                    let output = match self.manifest.sources.get(&step.source) {
                        Some(Source::File(file)) => file.commands.values().next(),
                        _ => None,
                    };
                    let output = output.ok_or_else(|| {
                        format!(
                            "it wanted to run a command of {:?}, which has none in its manifest",
                            step.source
                        )
                    })?;
                    reply = Some(self.read(&mut dry, output, kind, &mut handles)?);
                    state = step.state;
                }
                Step::Done(step) => {
                    let mut outcome = step.outcome;
                    if let Outcome::Pairs(last) = &mut outcome {
                        found.append(last);
                        *last = std::mem::take(&mut found);
                    }
                    self.fits(&outcome, captured, dry.fields().keys().copied().collect())?;
                    walked.end = End::Done(outcome);
                    return Ok(walked);
                }
                Step::Fail(step) => {
                    if step.error.message.contains("the plugin panicked") {
                        return Err(step.error.message);
                    }
                    walked.end = End::Fail(step.error);
                    return Ok(walked);
                }
            }
        }
        Err(format!("it took more than {most} steps for one {kind}"))
    }

    fn operation(&self) -> Result<DryOperation<'_>, String> {
        self.dry_run
            .operation(&self.job, &self.given, &self.case.account.urls)
    }

    fn context(&self, number: usize, dry: &DryOperation<'_>) -> Context {
        let account = &self.case.account;
        Context {
            time: format!("2026-11-22T01:{:02}:{:02}Z", 10 + number / 60 % 50, number % 60),
            nonce: format!("{number:032x}"),
            idempotency_token: self.job.idempotency_token.clone(),
            credential_fields: dry.fields().keys().map(|&name| name.to_owned()).collect(),
            region: account.region.clone(),
            endpoint: None,
            settings: account.settings.clone(),
            session: account.session.clone(),
        }
    }

    fn read(
        &self,
        dry: &mut DryOperation<'_>,
        name: &str,
        kind: OperationKind,
        handles: &mut usize,
    ) -> Result<Reply, String> {
        if !matches!(kind, OperationKind::Credentials | OperationKind::Profiles) {
            return Err(format!(
                "it wanted to read {name:?} during {kind}, which credentials and profiles alone may"
            ));
        }
        let Some(source) = self.manifest.sources.get(name) else {
            return Err(format!(
                "it wanted to read {name:?}, which is no source of its manifest"
            ));
        };
        let seen = document::seen(name, source, self.case.documents.get(name), *handles);
        *handles += seen.handles.len();
        for (handle, field) in &seen.handles {
            dry.add_handle(handle, field);
        }
        for url in &seen.urls {
            // One that may not be sent to is refused when it is.
            let _ = dry.add_url(url);
        }
        Ok(Reply::Document(seen.document))
    }

    /// Whether an outcome is one of the operation, and about what was asked.
    fn fits(&self, outcome: &Outcome, captured: bool, fields: Vec<&str>) -> Result<(), String> {
        let named = |name: &str, pair: &Pair| {
            if pair.name == name {
                return Ok(());
            }
            Err(format!(
                "it answered with the pair {:?}, asked about {name:?}",
                pair.name
            ))
        };
        match (&self.case.operation, outcome) {
            (Operation::Create(_), Outcome::Pair(_)) if !captured => Err(
                "it finished a create without a captured private key: capture `private_key`, and fail where \
                     `response.has_captured` says that there was none"
                    .to_owned(),
            ),
            (Operation::Create(create), Outcome::Pair(pair)) => named(&create.name, pair),
            (Operation::Import(import), Outcome::Pair(pair)) => named(&import.name, pair),
            (Operation::Get(asked), Outcome::Pair(pair)) => named(&asked.name, pair),
            (Operation::List(_), Outcome::Pairs(pairs)) => {
                match pairs.iter().find(|pair| pair.name.is_empty()) {
                    Some(_) => Err("it listed a pair without a name".to_owned()),
                    None => Ok(()),
                }
            }
            (Operation::Delete(_), Outcome::Deleted)
            | (Operation::ListInstances(_), Outcome::Instances(_))
            | (Operation::Profiles(_), Outcome::Profiles(_))
            | (Operation::RunCommand(_), Outcome::Output(_)) => Ok(()),
            (Operation::Attach(asked) | Operation::Detach(asked), Outcome::Attached(results)) => {
                match results
                    .iter()
                    .find(|result| !asked.instances.contains(&result.instance))
                {
                    Some(other) => Err(format!(
                        "it told of the instance {:?}, which it was not asked about",
                        other.instance
                    )),
                    None => Ok(()),
                }
            }
            (Operation::Credentials(_), Outcome::Credentials(set)) => {
                use keyferry_plugin::contract::CredentialValue;
                for (name, value) in &set.fields {
                    if !self.manifest.credentials.contains_key(name) {
                        return Err(format!(
                            "it found a credential field {name:?} that its manifest does not list"
                        ));
                    }
                    if *value == CredentialValue::Kept && !fields.contains(&name.as_str()) {
                        return Err(format!(
                            "it kept the credential field {name:?}, which is not there"
                        ));
                    }
                }
                Ok(())
            }
            (operation, _) => Err(format!(
                "it finished a {} with the outcome of something else",
                operation.kind()
            )),
        }
    }
}
