//! Questions that ssh asks a person: passphrases, one-time passwords, touches.
//!
//! Every login is tried without any first. Only where that does not get in, and somebody waits who can answer, ssh is let
//! ask. Never where a key is to be proven: a login that a password made proves nothing.

use std::ffi::OsString;
use std::path::Path;

use super::identity::option;
use crate::contract::{HostError, HostErrorKind, Identity};

/// Passes questions of ssh on to a person.
pub trait Prompts: Send + Sync + 'static {
    /// Where the questions of one login go; none: nobody is there who waits for this destination. It is asked there until
    /// the answer is dropped.
    fn open(&self, destination: &str) -> Option<Box<dyn Prompting>>;
}

/// Where the questions of one login go.
pub trait Prompting: Send + Sync {
    /// The program that ssh starts with each question (`SSH_ASKPASS`, ssh(1)).
    fn program(&self) -> &Path;

    /// A variable of its environment that tells it where to ask: name and value. No secret.
    fn variable(&self) -> (&str, &Path);
}

/// Whether a person may help where an identity did not get in.
pub(super) fn may_help(identity: &Identity, error: &HostError) -> bool {
    match identity {
        // A file with a passphrase and a host that wants a password look alike.
        Identity::SshConfig => matches!(
            error.kind,
            HostErrorKind::JumpRefused | HostErrorKind::NeedsPerson | HostErrorKind::Refused
        ),
        // The host takes the key, and wants something besides; or the way there does.
        Identity::Agent { .. } | Identity::Generation { .. } => {
            matches!(
                error.kind,
                HostErrorKind::JumpRefused | HostErrorKind::NeedsPerson
            )
        }
    }
}

/// What makes ssh ask. They come before those of every login: of an option that is given twice the first holds.
pub(super) fn options(identity: &Identity) -> Vec<OsString> {
    let mut options = vec![option("BatchMode=no"), option("NumberOfPasswordPrompts=3")];
    if *identity != Identity::SshConfig {
        options.extend(SECOND_FACTORS.iter().map(|text| option(text)));
    }
    options
}

const SECOND_FACTORS: &[&str] = &[
    "PreferredAuthentications=publickey,keyboard-interactive,password",
    "PasswordAuthentication=yes",
    "KbdInteractiveAuthentication=yes",
];
