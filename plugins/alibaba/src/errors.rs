//! What the vendor's error codes mean, whatever the product.

use keyferry_plugin::contract::ErrorKind;
use keyferry_plugin::error::ErrorRule;

/// Codes that every product has. `Unavailable` is what may go better by itself, and may have taken effect.
pub(crate) const COMMON_ERRORS: &[ErrorRule] = {
    use ErrorKind::*;
    &[
        ErrorRule::new("*Throttling*", Throttled, "too many requests"),
        // Not every product publishes its code for this one.
        ErrorRule::new(
            "*QuotaExceed*",
            Quota,
            "the account's limit of key pairs is reached: delete some, or ask the vendor for more",
        ),
        ErrorRule::new("ServiceUnavailable*", Unavailable, ""),
        ErrorRule::new("InternalError*", Unavailable, ""),
        ErrorRule::new("UnknownError", Unavailable, ""),
        // Each of our requests has a nonce of its own: something on the way sent this one twice.
        ErrorRule::new("SignatureNonceUsed", Unavailable, "the request arrived twice"),
        // Not `Unauthorized`: a clock is set right without anyone touching the account.
        ErrorRule::new(
            "InvalidTimeStamp*",
            Unavailable,
            "check this machine's clock: the request was signed at {time}, the provider's time differs",
        )
        .without_effect(),
        ErrorRule::new(
            "SignatureDoesNotMatch",
            Unauthorized,
            "the access key secret does not belong to this access key id: check the account's credentials",
        ),
        ErrorRule::new("IncompleteSignature", Unauthorized, ""),
        ErrorRule::new(
            "InvalidAccessKeyId.Inactive",
            Unauthorized,
            "the access key is disabled: enable it in RAM or use another",
        ),
        ErrorRule::new(
            "InvalidAccessKeyId*",
            Unauthorized,
            "the access key id does not exist: check the account's credentials",
        ),
        ErrorRule::new(
            "InvalidSecurityToken*",
            Unauthorized,
            "the security token has expired or belongs to another access key: renew it where it comes from",
        ),
        ErrorRule::new(
            "MissingSecurityToken",
            Unauthorized,
            "this access key needs a security token",
        ),
        ErrorRule::new(
            "Forbidden.RAM",
            Unauthorized,
            "the access key lacks the permission {permission}: have it granted in RAM",
        ),
        ErrorRule::new(
            "NoPermission*",
            Unauthorized,
            "the access key lacks the permission {permission}: have it granted in RAM",
        ),
        ErrorRule::new("Forbidden*", Unauthorized, ""),
    ]
};

/// Of a code that no other rule knows, in an answer that asks us to wait.
pub(crate) const ASKED_TO_WAIT: ErrorRule = ErrorRule::new("*", ErrorKind::Throttled, "");
