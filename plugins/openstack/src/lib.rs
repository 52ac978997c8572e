//! What plugins for OpenStack's compute service share: the login at Keystone, API version 3, the service catalogue in its
//! answer, and the microversions.
//!
//! An account gives the credential fields itself and `auth_url` as a setting, or it leaves both to the chain of
//! OpenStack's own tools: [`login`] goes through it. Of the three ways to log in (password, token, application
//! credential) each leads to a new token; nothing but that token goes on to later operations.

mod account;
mod clouds;
mod compute;
mod fault;
mod keystone;

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, Credentials, ErrorKind, ProviderError, Reply, Session, Step,
};
use keyferry_plugin::recipe::origin_and_path;
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};

use crate::account::Account;

pub use compute::{Compute, Microversion};
pub use fault::{Fault, annotate, fault};

/// The credential field of the token, which later requests send as `x-auth-token`.
const TOKEN: &str = "token";

/// What a login at Keystone led to.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Login {
    /// The project that the token is for.
    project_id: String,
    /// The user whose it is.
    user_id: String,
    /// When it ends (RFC 3339).
    expires_at: Option<String>,
    /// The region of the service.
    region: String,
    /// The compute service's URL, without a slash at its end.
    url: String,
    /// The microversion that the account asks for.
    microversion: Option<String>,
    /// Where the credentials came from, in words.
    source: String,
    /// What was looked at before, and why it did not count.
    attempts: Vec<String>,
}

/// The next step of a login, which ends with the microversions of the compute service in the account's region.
///
/// # Errors
/// [`ErrorKind::Invalid`] when the account is not complete or the catalogue has no compute service in its region;
/// [`ErrorKind::Unsupported`] for what would be meant and is not in this version; [`ErrorKind::Unauthorized`] when no
/// credentials are found or Keystone refuses them.
pub fn login(credentials: &Credentials, turn: &Turn<'_>) -> Answer {
    if let Some((compute, login)) = Compute::negotiated(turn)? {
        compute.version()?;
        return Ok(logged_in(compute, login));
    }
    if let Some(Reply::Response(_) | Reply::TransportError(_)) = turn.reply {
        return Compute::negotiate(keystone::answer(turn)?);
    }
    let account = if turn.context.credential_fields.is_empty() {
        match clouds::search(credentials.profile.as_deref(), turn)? {
            clouds::Search::Read(step) => return Ok(step),
            clouds::Search::Found(cloud) => Account::of_cloud(cloud, turn)?,
        }
    } else {
        Account::given(turn)?
    };
    keystone::log_in(account)
}

fn logged_in(compute: Compute, login: Login) -> Step {
    let session = Session {
        captures: vec![TOKEN.to_owned()],
        urls: vec![login.url.clone(), compute::document_url(&login.url).to_owned()],
        expires_at: login.expires_at.clone(),
        public: compute.session(&login),
    };
    let credentials = CredentialSet {
        fields: [(TOKEN.to_owned(), CredentialValue::Kept)].into(),
        source: login.source,
        expires_at: login.expires_at,
        attempts: login.attempts,
    };
    Step::logged_in(credentials, session)
}

/// The next step of a list of the clouds that OpenStack's own tools know on this machine.
///
/// # Errors
/// [`ErrorKind::Internal`] when the reply is none of this search.
pub fn profiles(turn: &Turn<'_>) -> Answer {
    clouds::profiles(turn)
}

/// Origin and path of a URL, the path without a slash at its end.
///
/// # Errors
/// [`ErrorKind::Invalid`] when it is not a plain `https` or `http` URL: no user, no query, no fragment, no `..`.
fn split_url(url: &str) -> Result<(&str, &str), ProviderError> {
    let (origin, path) = origin_and_path(url);
    let host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))
        .unwrap_or_default();
    let path = path.trim_end_matches('/');
    let (name, port) = match host.rsplit_once(':') {
        // Not the last colon of an address in brackets.
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().unwrap_or(0_u16)),
        _ => (host, 1),
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._[:]".contains(c);
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:@".contains(c);
    let is_plain = !name.is_empty()
        && name.split('.').all(|label| !label.is_empty())
        && port != 0
        && name.chars().all(is_host)
        && path.chars().all(is_path)
        && !path.contains("//")
        && path.split('/').all(|segment| ![".", ".."].contains(&segment));
    if is_plain {
        Ok((origin, path))
    } else {
        // What stands before an @ may be a password.
        let (shown, hint) = match url.rsplit_once('@') {
            Some((_, shown)) => (shown, ", without user and password before an @"),
            None => (url, ""),
        };
        Err(ProviderError::new(
            ErrorKind::Invalid,
            format!("{shown:?} is not a URL like https://cloud.example.com:5000/v3{hint}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_an_origin_and_a_path() {
        for (url, origin, path) in [
            ("https://c.example:5000/v3", "https://c.example:5000", "/v3"),
            (
                "https://c.example/identity/v3/",
                "https://c.example",
                "/identity/v3",
            ),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000", ""),
            ("http://[::1]:5000/", "http://[::1]:5000", ""),
        ] {
            assert_eq!(split_url(url), Ok((origin, path)), "{url}");
        }
        for url in [
            "",
            "c.example/v3",
            "ftp://c.example/",
            "https://",
            "https:///v3",
            "https://c.example/v3?a=b",
            "https://c.example/ v3",
            "https://c.example/a//b",
            "https://c.example/a/../b",
            "https://me@c.example/",
            "https://c.example:port/",
            "https://c..example/",
        ] {
            assert!(split_url(url).is_err(), "{url}");
        }
        assert_eq!(
            split_url("https://c.example/a@b/v3"),
            Ok(("https://c.example", "/a@b/v3"))
        );
    }

    #[test]
    fn a_url_with_a_password_is_refused_and_not_shown() {
        for url in [
            "https://li:hunter2@c.example:5000/v3",
            "https://li:hunter2@c.example/v2.0",
            "https://li:hunter2@c.example/v3?a=b",
            "https://li:hun/hunter2@c.example/v3?a=b",
            "https://li:#hunter2@c.example/v3",
            "li:hunter2@c.example/v3",
            "ftp://li:hunter2@c.example/",
        ] {
            let error = split_url(url).expect_err(url);
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(!error.message.contains("hunter2"), "{}", error.message);
            assert!(error.message.contains("user and password"), "{}", error.message);
        }
    }
}
