//! What the plugins of Huawei Cloud share: requests in the form of OpenStack, signed with `SDK-HMAC-SHA256` or with a token
//! of IAM; the login, which also finds the project; the errors; and the vendor's credential chain.
//!
//! A service's plugin says which host, paths and bodies it has.

mod call;
mod chain;
mod login;
mod metadata;
mod profiles;
mod reply;

pub use call::Call;
pub use login::credentials;
pub use profiles::profiles;
pub use reply::{Answered, answer};

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{ErrorKind, ProviderError};

/// Names of the credential fields that the manifests declare.
pub(crate) const ACCESS_KEY_ID: &str = "access_key_id";
pub(crate) const ACCESS_KEY_SECRET: &str = "access_key_secret";
pub(crate) const SECURITY_TOKEN: &str = "security_token";
pub(crate) const USERNAME: &str = "username";
pub(crate) const PASSWORD: &str = "password";
pub(crate) const DOMAIN: &str = "domain";
pub(crate) const TOKEN: &str = "token";

/// The project that the login found, which stands in the paths.
///
/// # Errors
/// [`ErrorKind::Invalid`] when the login was for another region: projects and tokens are each of one region.
pub fn project_id<'a>(turn: &Turn<'a>) -> Result<&'a str, ProviderError> {
    let region = turn.region()?;
    let of_login = turn.session("/region");
    match turn.session("/project_id") {
        Some(project_id) if of_login == Some(region) => Ok(project_id),
        Some(_) => Err(ProviderError::new(
            ErrorKind::Invalid,
            format!(
                "the account's login is for region {:?}, and a project belongs to one region: make an account of its own \
                 for {region:?}",
                of_login.unwrap_or_default()
            ),
        )),
        None => Err(ProviderError::new(
            ErrorKind::Unauthorized,
            "the account is not logged in",
        )),
    }
}
