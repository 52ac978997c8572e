//! What goes wrong, on request.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Service;
use crate::refusal::Refusal;
use crate::vendor::{Trouble, Vendor};

/// A fault and the requests that it hits: signed ones, in the order they arrive.
#[derive(Clone, Debug)]
pub struct Fault {
    kind: FaultKind,
    service: Option<Service>,
    action: Option<String>,
    name: Option<String>,
    count: Option<u64>,
    after: u64,
}

impl Fault {
    /// A fault that hits every request.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            service: None,
            action: None,
            name: None,
            count: None,
            after: 0,
        }
    }

    /// Only requests to this service.
    pub fn service(mut self, service: Service) -> Self {
        self.service = Some(service);
        self
    }

    /// Only requests for this action.
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.action = Some(action.into());
        self
    }

    /// Only requests for the pair of this name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// At most so many requests.
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Leaves the first so many of its requests alone.
    pub fn after(mut self, after: u64) -> Self {
        self.after = after;
        self
    }

    fn matches(&self, service: Service, action: &str, name: Option<&str>) -> bool {
        self.service.is_none_or(|wanted| wanted == service)
            && self.action.as_deref().is_none_or(|wanted| wanted == action)
            && self.name.as_deref().is_none_or(|wanted| name == Some(wanted))
    }
}

/// What happens. "Commit" is the moment at which the action has done its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The connection closes without a byte; nothing was done.
    Drop,
    /// This error, before or after the commit.
    Error {
        /// The error.
        error: Refusal,
        /// Whether the action is done all the same.
        after_commit: bool,
    },
    /// Committed; then nothing until released or until the client goes away.
    HangAfterCommit,
    /// Nothing until released; then the request goes on. If the client goes away first, nothing was done.
    HangBeforeCommit,
    /// Committed; the reply is a text of this many bytes that has no end.
    Huge {
        /// The length of the body in bytes.
        bytes: u64,
    },
    /// A proxy on the way answers in the service's place: status 200 and a page for people. Nothing was done.
    Intercepted,
    /// Committed; then the connection closes without a byte.
    LostReply,
    /// Committed; the reply is the text without its last character.
    Malformed,
    /// Committed; the reply has no private key.
    NoPrivateKey,
    /// The service's error for one pair too many; nothing was done.
    Quota,
    /// The vendor's 500; nothing was done.
    ServerError,
    /// The vendor's 500, committed all the same.
    ServerErrorAfterCommit,
    /// Committed; the answer comes after this time.
    Slow {
        /// How long.
        delay: Duration,
    },
    /// The vendor's answer to too many requests; nothing was done.
    Throttling {
        /// When the vendor asks to be tried again, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// Committed; the connection closes half-way through the body that was announced.
    Truncated,
    /// The vendor's 503; nothing was done.
    Unavailable,
    /// Committed; every fingerprint in the reply is a wrong one.
    WrongFingerprint,
}

impl FaultKind {
    /// The word for it in the admin interface.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Error { .. } => "error",
            Self::HangAfterCommit => "hang_after_commit",
            Self::HangBeforeCommit => "hang_before_commit",
            Self::Huge { .. } => "huge",
            Self::Intercepted => "intercepted",
            Self::LostReply => "lost_reply",
            Self::Malformed => "malformed",
            Self::NoPrivateKey => "no_private_key",
            Self::Quota => "quota",
            Self::ServerError => "server_error",
            Self::ServerErrorAfterCommit => "server_error_after_commit",
            Self::Slow { .. } => "slow",
            Self::Throttling { .. } => "throttling",
            Self::Truncated => "truncated",
            Self::Unavailable => "unavailable",
            Self::WrongFingerprint => "wrong_fingerprint",
        }
    }

    /// The error that it answers with instead of doing anything.
    pub(crate) fn error_before_commit(&self, vendor: &dyn Vendor) -> Option<Refusal> {
        match self {
            Self::Error {
                error,
                after_commit: false,
            } => Some(error.clone()),
            Self::Quota => Some(vendor.trouble(Trouble::Quota)),
            Self::ServerError => Some(vendor.trouble(Trouble::Internal)),
            Self::Throttling { retry_after_ms } => Some(vendor.trouble(Trouble::Throttled {
                retry_after_ms: *retry_after_ms,
            })),
            Self::Unavailable => Some(vendor.trouble(Trouble::Unavailable)),
            _ => None,
        }
    }

    /// The error that it answers with although everything was done.
    pub(crate) fn error_after_commit(&self, vendor: &dyn Vendor) -> Option<Refusal> {
        match self {
            Self::Error {
                error,
                after_commit: true,
            } => Some(error.clone()),
            Self::ServerErrorAfterCommit => Some(vendor.trouble(Trouble::Internal)),
            _ => None,
        }
    }
}

/// A fault as the admin interface takes it. A field that its kind has no use for is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultRequest {
    kind: String,
    service: Option<Service>,
    action: Option<String>,
    name: Option<String>,
    count: Option<u64>,
    #[serde(default)]
    after: u64,
    ms: Option<u64>,
    retry_after_ms: Option<u64>,
    bytes: Option<u64>,
    error: Option<ErrorRequest>,
    after_commit: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorRequest {
    status: u16,
    code: String,
    #[serde(default)]
    message: String,
}

impl TryFrom<FaultRequest> for Fault {
    type Error = String;

    fn try_from(mut request: FaultRequest) -> Result<Self, String> {
        let plain = [
            FaultKind::Drop,
            FaultKind::HangAfterCommit,
            FaultKind::HangBeforeCommit,
            FaultKind::Intercepted,
            FaultKind::LostReply,
            FaultKind::Malformed,
            FaultKind::NoPrivateKey,
            FaultKind::Quota,
            FaultKind::ServerError,
            FaultKind::ServerErrorAfterCommit,
            FaultKind::Truncated,
            FaultKind::Unavailable,
            FaultKind::WrongFingerprint,
        ];
        let kind = match &*request.kind {
            "error" => {
                let error = request
                    .error
                    .take()
                    .ok_or("kind error needs error: {status, code, message}")?;
                if !(200..600).contains(&error.status) {
                    return Err("error.status must be from 200 to 599".into());
                }
                FaultKind::Error {
                    error: Refusal {
                        retry_after_ms: request.retry_after_ms.take(),
                        ..Refusal::new(error.status, error.code, error.message)
                    },
                    after_commit: request.after_commit.take().unwrap_or(false),
                }
            }
            "huge" => FaultKind::Huge {
                bytes: request.bytes.take().unwrap_or(DEFAULT_HUGE_BYTES),
            },
            "slow" => FaultKind::Slow {
                delay: Duration::from_millis(request.ms.take().ok_or("kind slow needs ms")?),
            },
            "throttling" => FaultKind::Throttling {
                retry_after_ms: request.retry_after_ms.take(),
            },
            name => plain
                .into_iter()
                .find(|kind| kind.name() == name)
                .ok_or_else(|| format!("no kind {name}"))?,
        };
        let left_over = [
            ("ms", request.ms.is_some()),
            ("retry_after_ms", request.retry_after_ms.is_some()),
            ("bytes", request.bytes.is_some()),
            ("error", request.error.is_some()),
            ("after_commit", request.after_commit.is_some()),
        ];
        if let Some((field, _)) = left_over.into_iter().find(|(_, is_there)| *is_there) {
            return Err(format!("kind {} has no field {field}", kind.name()));
        }
        Ok(Self {
            kind,
            service: request.service,
            action: request.action,
            name: request.name,
            count: request.count,
            after: request.after,
        })
    }
}

/// The faults in force.
#[derive(Default)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
    next_id: u64,
}

struct Armed {
    id: u64,
    fault: Fault,
    seen: u64,
    applied: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) -> u64 {
        self.next_id += 1;
        self.armed.push(Armed {
            id: self.next_id,
            fault,
            seen: 0,
            applied: 0,
        });
        self.next_id
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    /// Counts a request and says which fault hits it: of those that could, the oldest.
    pub(crate) fn hit(&mut self, service: Service, action: &str, name: Option<&str>) -> Option<FaultKind> {
        let mut hit = None;
        for armed in self
            .armed
            .iter_mut()
            .filter(|armed| armed.fault.matches(service, action, name))
        {
            armed.seen += 1;
            let is_due =
                armed.seen > armed.fault.after && armed.fault.count.is_none_or(|count| armed.applied < count);
            if is_due && hit.is_none() {
                armed.applied += 1;
                hit = Some(armed.fault.kind.clone());
            }
        }
        hit
    }

    pub(crate) fn status(&self) -> Vec<FaultStatus> {
        let status = |armed: &Armed| FaultStatus {
            id: armed.id,
            kind: armed.fault.kind.name(),
            service: armed.fault.service,
            action: armed.fault.action.clone(),
            name: armed.fault.name.clone(),
            count: armed.fault.count,
            after: armed.fault.after,
            seen: armed.seen,
            applied: armed.applied,
        };
        self.armed.iter().map(status).collect()
    }
}

/// A fault in force, as `GET /faults` shows it.
#[derive(Serialize)]
pub(crate) struct FaultStatus {
    id: u64,
    kind: &'static str,
    service: Option<Service>,
    action: Option<String>,
    name: Option<String>,
    count: Option<u64>,
    after: u64,
    seen: u64,
    applied: u64,
}

const DEFAULT_HUGE_BYTES: u64 = 64 << 20;
