//! Keys that are refused by name: those of a later version, and credentials that were written down.

use super::table::shown;

/// The message about a key that this version does not have yet.
pub(super) fn message(key: &str) -> Option<String> {
    let (_, way_out) = LATER.iter().find(|(name, _)| *name == key)?;
    Some(format!("`{key}` is not in this version: {way_out}"))
}

/// The message about a key that seems to hold a credential. What it holds is never shown.
pub(super) fn credential(key: &str) -> Option<String> {
    let lower = key.to_lowercase().replace('-', "_");
    CREDENTIALS.iter().any(|part| lower.contains(part)).then(|| {
        format!(
            "{} looks like a credential: these files hold references only, never values; take it out, change it at \
             the vendor if others could read it, and name its source in the account's [credentials]: `profile`, \
             `env`, `file` or `command`",
            shown(key)
        )
    })
}

/// Names with what to do instead.
const LATER: &[(&str, &str)] = &[
    (
        "also_trust",
        "take it out and add other keys to the hosts' authorized_keys yourself",
    ),
    (
        "deploy",
        "take it out and put the public half (public/KEY.pub in the state directory) into the hosts' authorized_keys yourself",
    ),
    (
        "hosts",
        "take it out and put the public half (public/KEY.pub in the state directory) into the hosts' authorized_keys yourself",
    ),
    (
        "login_with",
        "take it out and put the public half (public/KEY.pub in the state directory) into the hosts' authorized_keys yourself",
    ),
    (
        "memory",
        "take it out; private halves are kept in the daemon's own memory",
    ),
    (
        "offer_to",
        "take it out; every key is offered to every host, and `IdentityFile` in ssh_config narrows that",
    ),
    ("on_event", "take it out and ask `keyferry status --json`"),
    ("recovery", "take it out and keep another way into your hosts"),
    (
        "rotate",
        "take it out; to get a new key, add a key file with a new name",
    ),
    ("ssh", "take it out; ssh reads its own ssh_config"),
];

/// Parts of names that give a credential away.
const CREDENTIALS: &[&str] = &[
    "access_key",
    "accesskey",
    "api_key",
    "apikey",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "secret",
    "token",
];
