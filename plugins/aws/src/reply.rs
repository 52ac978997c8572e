//! What the vendor answered: XML whose root is named after the action, or an error's XML.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{Effect, ErrorKind, ProviderError, Response};
use keyferry_plugin::error::{ErrorRule, Refusal};
use roxmltree::{Document, Node};

use crate::{SESSION_TOKEN, Service, tags};

/// The answer to a call that succeeded.
#[derive(Debug)]
pub struct Answered<'a> {
    document: Document<'a>,
    response: &'a Response,
    effect: Effect,
}

/// An element of an answer. Namespaces do not count.
#[derive(Clone, Copy, Debug)]
pub struct Element<'e>(Node<'e, 'e>);

impl Service {
    /// The answer to the call of this action; none at the first step, when it was not made yet.
    ///
    /// # Errors
    /// What the vendor refused, by its code; [`ErrorKind::Internal`] when the answer is not the vendor's. Of an action
    /// that changes something, the effect is unknown unless the vendor itself said that it refused.
    pub fn answer<'a>(&self, turn: &Turn<'a>, action: &str) -> Result<Option<Answered<'a>>, ProviderError> {
        let changes = ["Create", "Delete", "Import"]
            .iter()
            .any(|verb| action.starts_with(verb));
        let effect = if changes { Effect::Unknown } else { Effect::None };
        let Some(response) = turn.response(effect)? else {
            return Ok(None);
        };
        let document = Document::parse(&response.body).ok();
        match document {
            // Whatever else answers on the way, a proxy or a login page, has another root.
            Some(document)
                if response.status == 200
                    && document.root_element().tag_name().name().strip_suffix("Response") == Some(action) =>
            {
                Ok(Some(Answered {
                    document,
                    response,
                    effect,
                }))
            }
            document => Err(self.error(turn, action, response, document.as_ref(), effect)),
        }
    }

    fn error(
        &self,
        turn: &Turn<'_>,
        action: &str,
        response: &Response,
        document: Option<&Document<'_>>,
        effect: Effect,
    ) -> ProviderError {
        let refused = document.and_then(|document| Refused::read(Element(document.root_element())));
        let Some(refused) = refused else {
            let error = ProviderError::of_status(response.status).with_effect(effect);
            return annotate(error, response, None);
        };

        let refusal = Refusal {
            status: response.status,
            code: refused.code,
            message: refused.message,
            effect,
            permission: &self.permission(turn, action),
            time: &turn.context.time,
        };
        let mut error = refusal.error(self.errors.iter().chain(COMMON_ERRORS));
        // EC2 says the same of a token that has ended and of a clock that is wrong.
        if refused.code == EXPIRED && turn.has_credential(SESSION_TOKEN) {
            error.kind = ErrorKind::Unauthorized;
        }
        annotate(error, response, refused.request_id.map(str::to_owned))
    }

    /// What the action needs; tags that it gives need another permission.
    fn permission(&self, turn: &Turn<'_>, action: &str) -> String {
        let service = self.name;
        let gives_tags = ["Create", "Import"].iter().any(|verb| action.starts_with(verb));
        match tags(turn).next() {
            Some(_) if gives_tags => format!("{service}:{action}, or {service}:CreateTags for `tags`"),
            _ => format!("{service}:{action}"),
        }
    }
}

impl Answered<'_> {
    /// The answer itself.
    pub fn root(&self) -> Element<'_> {
        Element(self.document.root_element())
    }

    /// Whether this secret was lifted out of the answer.
    pub fn has_captured(&self, name: &str) -> bool {
        self.response.has_captured(name)
    }

    /// An error about this answer.
    pub fn blame(&self, message: impl Into<String>) -> ProviderError {
        self.annotated(ProviderError::new(ErrorKind::Internal, message))
    }

    /// An error with this answer's request id and effect.
    pub fn annotated(&self, error: ProviderError) -> ProviderError {
        let id = self.root().text("requestId").map(str::to_owned);
        annotate(error.with_effect(self.effect), self.response, id)
    }
}

impl<'e> Element<'e> {
    /// The first child of this name.
    pub fn child(self, name: &str) -> Option<Self> {
        self.children(name).next()
    }

    /// The children of this name.
    pub fn children(self, name: &str) -> impl Iterator<Item = Self> {
        self.0
            .children()
            .filter(move |child| child.is_element() && child.tag_name().name() == name)
            .map(Self)
    }

    /// The items of a list: the children `item` of the child of this name.
    pub fn items(self, name: &str) -> impl Iterator<Item = Self> {
        self.child(name)
            .into_iter()
            .flat_map(|list| list.children("item"))
    }

    /// The text of the first child of this name; none where it is empty.
    pub fn text(self, name: &str) -> Option<&'e str> {
        let text = self.child(name)?.0.text()?.trim();
        (!text.is_empty()).then_some(text)
    }
}

/// An error's XML: `Response/Errors/Error` of EC2, `ErrorResponse/Error` of the others.
struct Refused<'e> {
    code: &'e str,
    message: &'e str,
    request_id: Option<&'e str>,
}

impl<'e> Refused<'e> {
    fn read(root: Element<'e>) -> Option<Self> {
        let error = root.child("Errors").unwrap_or(root).child("Error")?;
        Some(Self {
            code: error.text("Code")?,
            message: error.text("Message").unwrap_or_default(),
            request_id: root.text("RequestID").or_else(|| root.text("RequestId")),
        })
    }
}

fn annotate(error: ProviderError, response: &Response, request_id: Option<String>) -> ProviderError {
    let in_header = || response.header("x-amzn-requestid").map(str::to_owned);
    ProviderError {
        request_id: request_id.or_else(in_header).filter(|id| !id.is_empty()),
        retry_after_ms: response.retry_after_ms(),
        ..error
    }
}

/// A request that is too old, or whose token is.
const EXPIRED: &str = "RequestExpired";

/// Codes that every service has. `Unavailable` is what may go better by itself, and may have taken effect.
const COMMON_ERRORS: &[ErrorRule] = {
    use ErrorKind::*;
    // Nothing is done, although some of them come with status 503.
    const fn throttled(code: &'static str) -> ErrorRule {
        ErrorRule::new(code, Throttled, "too many requests").without_effect()
    }
    const LACKING: &str = "the access key lacks the permission {permission}: have it granted in IAM";
    const UNKNOWN_KEY: &str =
        "the access key does not exist or is not for this partition: check the account's credentials";
    const ENDED: &str =
        "the session token has expired or belongs to another access key: renew it where it comes from";
    const WRONG_SECRET: &str =
        "the secret access key does not belong to this access key id: check the account's credentials";
    &[
        throttled("RequestLimitExceeded"),
        throttled("BandwidthLimitExceeded"),
        throttled("LimitExceededException"),
        throttled("Throttl*"),
        throttled("RequestThrottled*"),
        throttled("EC2ThrottledException"),
        throttled("TooManyRequests*"),
        throttled("ProvisionedThroughputExceeded*"),
        throttled("SlowDown"),
        ErrorRule::new("PriorRequestNotComplete", Unavailable, ""),
        ErrorRule::new("TransactionInProgressException", Unavailable, ""),
        ErrorRule::new("RequestTimeout*", Unavailable, ""),
        ErrorRule::new("InternalError", Unavailable, ""),
        ErrorRule::new("InternalFailure", Unavailable, ""),
        ErrorRule::new("ServiceUnavailable*", Unavailable, ""),
        ErrorRule::new("Unavailable", Unavailable, ""),
        // Not `Unauthorized`: a clock is set right without anyone touching the account.
        ErrorRule::new(
            EXPIRED,
            Unavailable,
            "the request was signed at {time} and arrived too late: check this machine's clock, and with a session token \
             whether that has expired",
        )
        .without_effect(),
        ErrorRule::new(
            "RequestInTheFuture",
            Unavailable,
            "check this machine's clock: the request was signed at {time}, the provider's time differs",
        )
        .without_effect(),
        ErrorRule::new("SignatureDoesNotMatch", Unauthorized, WRONG_SECRET),
        ErrorRule::new("InvalidSignatureException", Unauthorized, WRONG_SECRET),
        ErrorRule::new(
            "AuthFailure",
            Unauthorized,
            "the provider could not validate the access key: check the account's credentials, and that the AWS account \
             may use this region",
        ),
        ErrorRule::new("InvalidClientTokenId", Unauthorized, UNKNOWN_KEY),
        ErrorRule::new("UnrecognizedClientException", Unauthorized, UNKNOWN_KEY),
        ErrorRule::new("InvalidAccessKeyId*", Unauthorized, UNKNOWN_KEY),
        ErrorRule::new("ExpiredToken*", Unauthorized, ENDED),
        ErrorRule::new("InvalidToken*", Unauthorized, ENDED),
        ErrorRule::new("UnauthorizedOperation", Unauthorized, LACKING),
        ErrorRule::new("AccessDenied*", Unauthorized, LACKING),
        ErrorRule::new("IncompleteSignature", Unauthorized, ""),
        ErrorRule::new("MissingAuthenticationToken", Unauthorized, ""),
        ErrorRule::new("OptInRequired", Unauthorized, ""),
        ErrorRule::new("Blocked", Unauthorized, ""),
        ErrorRule::new("PendingVerification", Unauthorized, ""),
        ErrorRule::new(
            "*LimitExceeded",
            Quota,
            "the region's limit is reached: delete some, or ask the vendor for more",
        ),
    ]
};
