//! What the plugins of Alibaba Cloud share: calls in RPC style signed with ACS3-HMAC-SHA256, the pages of a list of
//! pairs, instances, tags, the errors, and the vendor's credential chain.
//!
//! A product's plugin says which host, actions and parameters it has, and what its own error codes mean.

mod attachment;
mod call;
mod credentials;
mod errors;
mod pairs;
mod reply;
mod tags;

pub use call::Call;
pub use credentials::{credentials, profiles};
pub use pairs::{find, list, search};
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

/// One product of the vendor.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Its name in permissions: `ecs` of `ecs:CreateKeyPair`.
    pub name: &'static str,
    /// Version of its API, as `x-acs-version`.
    pub version: &'static str,
    /// The action that lists pairs.
    pub list_action: &'static str,
    /// The most pairs in one page.
    pub page_size: u32,
    /// The most instances in one call that binds or releases a pair.
    pub most_instances: usize,
    /// What its own error codes mean; those of all products are known here.
    pub errors: &'static [ErrorRule],
}
