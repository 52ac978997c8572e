//! What the plugins of Alibaba Cloud share: calls in RPC style signed with ACS3-HMAC-SHA256, the pages of
//! `DescribeKeyPairs`, the errors, and the vendor's credential chain.
//!
//! A product's plugin says which host, actions and parameters it has, and what its own error codes mean.

mod call;
mod credentials;
mod pairs;
mod reply;

pub use call::Call;
pub use credentials::credentials;
pub use pairs::{find, list};
pub use reply::{Answered, PRIVATE_KEY};

use keyferry_plugin::error::ErrorRule;
use keyferry_plugin::signing::AccessKey;

/// The credential fields that the manifests declare for a signature.
pub const ACCESS_KEY: AccessKey = AccessKey {
    id: "access_key_id",
    secret: "access_key_secret",
};

/// The credential field that the manifests declare for a temporary access key.
pub const SECURITY_TOKEN: &str = "security_token";

/// One product of the vendor.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Its name in permissions: `ecs` of `ecs:CreateKeyPair`.
    pub name: &'static str,
    /// Version of its API, as `x-acs-version`.
    pub version: &'static str,
    /// What its own error codes mean; those of all products are known here.
    pub errors: &'static [ErrorRule],
}
