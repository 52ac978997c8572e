//! Keys that are refused by name: those of a later version, those that stand in the wrong place, and credentials that
//! were written down.

use super::table::shown;

/// The message about a key that this version does not have yet, or has somewhere else.
pub(super) fn message(key: &str) -> Option<String> {
    let later = LATER.iter().find(|(name, _)| *name == key);
    later
        .map(|(_, way_out)| format!("`{key}` is not in this version: {way_out}"))
        .or_else(|| {
            let (_, place) = ELSEWHERE.iter().find(|(names, _)| names.contains(&key))?;
            Some(format!("`{key}` does not belong here but {place}"))
        })
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
        "memory",
        "take it out; private halves are kept in the daemon's own memory",
    ),
    (
        "offer_to",
        "take it out; every key is offered to every host, and `IdentityFile` in ssh_config narrows that",
    ),
];

/// Names that belong in one place, with that place. A key of a file's beginning often lands in a table that was begun
/// above it.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["deploy", "rotate"],
        "in a key's file (keys/NAME.toml): each key says for itself",
    ),
    (
        &["hosts", "on_remove"],
        "in a key's file (keys/NAME.toml), in front of its first [table]",
    ),
    (
        &[
            "also_trust",
            "at_once",
            "canary",
            "expires",
            "host_keys",
            "login_user",
            "login_with",
            "replaces",
            "sudo",
            "users",
            "verify",
        ],
        "in [deploy] of a key's file (keys/NAME.toml)",
    ),
    (
        &["between", "every", "grace"],
        "in [rotate] of a key's file (keys/NAME.toml)",
    ),
    (&["recovery", "ssh"], "in keyferry.toml, for all keys together"),
    (
        &["notify", "on_event"],
        "in keyferry.toml, in front of its first [table]",
    ),
    (&["identity"], "in [recovery] of keyferry.toml"),
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
