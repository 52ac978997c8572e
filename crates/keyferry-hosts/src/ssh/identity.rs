//! Identities in words, and what ssh is told about them.

use std::ffi::OsString;
use std::path::Path;

use super::diagnosis::settings;
use super::host_key::fingerprint;
use crate::contract::{HostError, Identity};
use crate::line::public_blob;

impl Identity {
    /// For messages.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Generation { key, n, .. } => format!("generation {n} of key {key}"),
            Self::Agent { .. } => match self.public_key().and_then(|key| public_blob(&key)) {
                Some(blob) => format!("the agent's key {}", fingerprint(&blob)),
                None => "the agent's key".to_owned(),
            },
            Self::SshConfig => "what ssh_config has".to_owned(),
        }
    }

    /// `TYPE BASE64`, without a comment, of the one key that is to log in; none: any.
    pub(super) fn public_key(&self) -> Option<String> {
        match self {
            Self::Generation { public_key, .. } | Self::Agent { public_key, .. } => Some(
                public_key
                    .split_ascii_whitespace()
                    .take(2)
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            Self::SshConfig => None,
        }
    }
}

/// What makes ssh use one key of one agent.
///
/// It would still use files that ssh_config names, after this key: which one it was is seen in its log.
pub(super) fn options(public_key: &str, file: &Path, socket: &Path) -> Result<Vec<OsString>, HostError> {
    let kind = public_key.split(' ').next().unwrap_or_default();
    let algorithms = match kind {
        "ssh-rsa" => "rsa-sha2-512,rsa-sha2-256",
        kind => kind,
    };
    let mut options = vec![
        option("IdentitiesOnly=yes"),
        option("PubkeyAuthentication=yes"),
        option("PreferredAuthentications=publickey"),
        option("PasswordAuthentication=no"),
        option("KbdInteractiveAuthentication=no"),
        option("GSSAPIAuthentication=no"),
        option("HostbasedAuthentication=no"),
        option("PKCS11Provider=none"),
        option("AddKeysToAgent=no"),
        path_option("IdentityAgent", socket)?,
        path_option("IdentityFile", file)?,
    ];
    // A certificate that ssh_config names would come first otherwise.
    if !kind.contains("-cert-") {
        options.push(option(&format!("PubkeyAcceptedAlgorithms={algorithms}")));
    }
    Ok(options)
}

pub(super) fn option(text: &str) -> OsString {
    OsString::from(format!("-o{text}"))
}

/// A path as ssh_config takes it: quoted, with `%` doubled.
fn path_option(name: &str, path: &Path) -> Result<OsString, HostError> {
    let text = path.to_str().unwrap_or_default();
    if text.is_empty()
        || text.contains(['"', '\\', '\n'])
        || text.contains("${")
        || text.starts_with(['~', '$'])
    {
        return Err(settings(
            format!("the path {} cannot be named to ssh", path.display()),
            "choose a runtime directory or agent socket without quotes, backslashes and `$`".to_owned(),
        ));
    }
    Ok(option(&format!("{name}=\"{}\"", text.replace('%', "%%"))))
}
