//! Judges the steps of a plugin as for a real job, and sends nothing: for checking a plugin before anybody uses it.
//!
//! Requests are judged and evaluated by the very code that a job goes through, with invented credentials; replies are the
//! caller's, and go through the very code that lifts secrets out of real ones.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_plugin::contract::{HttpStep, OperationKind, Reply};
use keyferry_plugin::manifest::FieldClass;
use zeroize::Zeroizing;

use crate::enforce::hosts::Origin;
use crate::enforce::reach::{NamedUrls, Reach};
use crate::exchange::Exchange;
use crate::http::RawReply;
use crate::job::{JobError, JobRequest};
use crate::process::Shared;
use crate::process::line::Line;
use crate::recipe::{Field, Fields};
use crate::secret::Secret;
use crate::setup::Setup;

/// A courier that never sends.
pub struct DryRun {
    shared: Shared,
    /// The other end of the line, which nobody reads.
    _worker: UnixStream,
}

/// One operation of a [`DryRun`].
pub struct DryOperation<'a> {
    shared: &'a Shared,
    exchange: Exchange<'a>,
    fields: Fields,
    reach: Reach,
}

/// A reply that a provider might give.
#[derive(Clone, Debug, Default)]
pub struct DryReply {
    /// The status code.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl DryRun {
    /// A courier for this account and plugin. Where the credentials are does not count.
    ///
    /// # Errors
    /// The account's settings cannot be used, in words.
    pub fn new(setup: Setup) -> Result<Self, String> {
        // Something in its place may have been chosen already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (ours, worker) = UnixStream::pair().map_err(|error| error.to_string())?;
        Ok(Self {
            shared: Shared::new(setup, Arc::new(Line::new(ours)))?,
            _worker: worker,
        })
    }

    /// Begins an operation with these credential fields, whose values are invented, after a login whose session named
    /// these URLs.
    ///
    /// # Errors
    /// The account's settings or the URLs cannot be used, in words.
    pub fn operation<'a>(
        &'a self,
        request: &'a JobRequest,
        given: &[String],
        urls: &[String],
    ) -> Result<DryOperation<'a>, String> {
        let (account, manifest) = (&self.shared.setup.account, &self.shared.setup.library.manifest);
        let mut reach = Reach::of_settings(account, manifest)?;
        for url in urls {
            let by = Origin::parse(if url.starts_with("http:") {
                "http://127.0.0.1"
            } else {
                "https://conformance.example"
            })?;
            let mut named = NamedUrls::default();
            let body = serde_json::to_vec(&[url]).map_err(|error| error.to_string())?;
            named.note(OperationKind::Credentials, &by, 200, &body);
            reach
                .add_catalogue(url, &named, account.insecure_http)
                .map_err(|refusal| refusal.message)?;
        }
        let mut fields = Fields::new();
        for name in given {
            let Some(field) = manifest.credentials.get(name) else {
                return Err(format!("{name:?} is not a credential field of the manifest"));
            };
            fields.insert(name.clone(), invented(name, field.class, None));
        }
        let deadline = Instant::now() + Duration::from_secs(3600);
        let operation = request.operation.clone();
        Ok(DryOperation {
            exchange: Exchange::new(&self.shared, request, operation, None, &fields, deadline),
            shared: &self.shared,
            fields,
            reach,
        })
    }
}

impl DryOperation<'_> {
    /// A document gave a secret of this credential field, which recipes may name by its handle.
    pub fn add_handle(&mut self, handle: &str, field: &str) {
        if let Some(rules) = self.shared.setup.library.manifest.credentials.get(field) {
            let value = invented(handle, rules.class, Some(field));
            self.fields.insert(handle.to_owned(), value);
        }
    }

    /// A document named a URL that may be sent to.
    ///
    /// # Errors
    /// It may not, in words that follow its name.
    pub fn add_url(&mut self, url: &str) -> Result<(), String> {
        self.reach
            .add_setting(url, self.shared.setup.account.insecure_http)
    }

    /// Judges the request of a step; with a reply, gives what the plugin would get to see of it.
    ///
    /// # Errors
    /// As for a job: the line of the contract that was crossed.
    pub fn step(&mut self, step: &HttpStep, reply: Option<DryReply>) -> Result<Option<Reply>, JobError> {
        let request = &step.request;
        let reach = match self.exchange.kind() {
            OperationKind::Credentials => {
                let insecure = self.shared.setup.account.insecure_http;
                self.reach
                    .with_named(&request.origin, &request.path, &self.exchange.named, insecure)
            }
            _ => self.reach.clone(),
        };
        let judged = self.exchange.judge(step, &self.fields, &reach)?;
        let Some(reply) = reply else { return Ok(None) };
        let bytes = |text: String| Zeroizing::new(text.into_bytes());
        let headers = reply.headers.into_iter();
        let raw = RawReply {
            status: reply.status,
            headers: headers.map(|(name, value)| (name, bytes(value))).collect(),
            body: Zeroizing::new(reply.body),
        };
        let received = self.exchange.answered(judged, raw)?;
        for (name, value) in received.captured {
            let class = self.shared.setup.library.manifest.credentials.get(&name);
            if let Some(class) = class.map(|field| field.class) {
                let field = Field {
                    class,
                    of: None,
                    value,
                };
                self.fields.insert(name, field);
            }
        }
        Ok(Some(received.reply))
    }

    /// The credential fields that there are by now: given and captured ones.
    pub fn fields(&self) -> BTreeMap<&str, FieldClass> {
        let own = self.fields.iter().filter(|(_, field)| field.of.is_none());
        own.map(|(name, field)| (name.as_str(), field.class)).collect()
    }
}

/// A value that is like no other, and no secret.
fn invented(name: &str, class: FieldClass, of: Option<&str>) -> Field {
    Field {
        class,
        of: of.map(str::to_owned),
        value: Secret::from_text(&format!("conformance-{name}-0123456789abcdef")),
    }
}
