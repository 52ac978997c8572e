//! What the plugins of Volcengine share: calls signed with `HMAC-SHA256`, the envelope of answers, the errors, and the
//! vendor's credential chain.
//!
//! A service's plugin says which host, actions and parameters it has, and what its own error codes mean.

mod call;
mod config;
mod credentials;
mod metadata;
mod paging;
mod profiles;
mod reply;
mod role;

pub use call::Call;
pub use credentials::credentials;
pub use paging::Page;
pub use profiles::profiles;
pub use reply::Answered;

use keyferry_plugin::error::ErrorRule;
use keyferry_plugin::signing::AccessKey;

/// The credential fields that the manifests declare for a signature.
pub const ACCESS_KEY: AccessKey = AccessKey {
    id: "access_key_id",
    secret: "access_key_secret",
};

/// The credential field that the manifests declare for a temporary access key.
pub const SECURITY_TOKEN: &str = "security_token";

/// One service of the vendor.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its code, in signatures and permissions: `ecs` of `ecs:CreateKeyPair`.
    pub code: &'static str,
    /// Version of its API.
    pub version: &'static str,
    /// What its own error codes mean; those of all services are known here.
    pub errors: &'static [ErrorRule],
}
