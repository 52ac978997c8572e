//! What plugins of AWS share: calls of the query protocol signed with Signature Version 4, the XML that answers them, and
//! the vendor's credential chain with its roles.
//!
//! A service's plugin says which actions and parameters it has, and what its own error codes mean.

mod call;
mod credentials;
mod reply;

pub use call::{Call, tags};
pub use credentials::{credentials, profiles};
pub use reply::{Answered, Element};

use keyferry_plugin::contract::{ErrorKind, ProviderError};
use keyferry_plugin::error::ErrorRule;
use keyferry_plugin::signing::AccessKey;

/// The credential fields that the manifests declare for a signature.
pub const ACCESS_KEY: AccessKey = AccessKey {
    id: "access_key_id",
    secret: "secret_access_key",
};

/// The credential field that the manifests declare for a temporary access key.
pub const SESSION_TOKEN: &str = "session_token";

/// One service of the vendor.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its code: in hosts, in signatures and in permissions (`ec2:CreateKeyPair`).
    pub name: &'static str,
    /// Version of its API.
    pub version: &'static str,
    /// What its own error codes mean; those of all services are known here.
    pub errors: &'static [ErrorRule],
}

/// The host of a service in a region; each of the vendor's partitions has a domain of its own.
///
/// # Errors
/// [`ErrorKind::Invalid`] for the partitions that the public internet does not reach.
fn host(service: &str, region: &str) -> Result<String, ProviderError> {
    let domain = match region.split('-').next().unwrap_or_default() {
        "cn" => "amazonaws.com.cn",
        "eusc" => "amazonaws.eu",
        _ if ["us-iso", "eu-iso"]
            .iter()
            .any(|prefix| region.starts_with(prefix)) =>
        {
            return Err(ProviderError::new(
                ErrorKind::Invalid,
                format!(
                    "region {region} is in a partition of its own: set the account's `endpoint` to its host"
                ),
            ));
        }
        _ => "amazonaws.com",
    };
    Ok(format!("{service}.{region}.{domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_domain() {
        for (region, expected) in [
            ("us-east-1", "ec2.us-east-1.amazonaws.com"),
            ("us-gov-west-1", "ec2.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "ec2.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "ec2.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(host("ec2", region).as_deref(), Ok(expected));
        }
        for region in ["us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1"] {
            assert!(host("ec2", region).is_err_and(|error| error.message.contains("`endpoint`")));
        }
    }
}
