//! What adopting comes to, in words.

use std::path::Path;

use keyferry_engine::snapshot::{HostCondition, KeyStatus, StatusError};
use keyferry_hosts::HostErrorKind;

use super::{private_file, verified};
use crate::control::adopt::Tried;
use crate::table::Style;

/// How the adopted key fares at a host.
pub(super) fn tried(tried: &Tried, style: Style) -> String {
    match &tried.error {
        None => "logs in".to_owned(),
        // Its remedy is one for a key that is not taken.
        Some(error) if error.kind == HostErrorKind::Refused.name() && !tried.is_refused => format!(
            "{}: {}; that says nothing about this key, so the host stays among those that get the new one",
            style.bad("cut off"),
            error.message
        ),
        Some(error) => problem(error, style),
    }
}

/// Why the key does not log in somewhere.
pub(super) fn problem(error: &StatusError, style: Style) -> String {
    let remedy = error.remedy.as_deref().unwrap_or_default();
    let separator = match remedy.is_empty() {
        true => "",
        false => "; ",
    };
    format!(
        "{}: {}{separator}{remedy}",
        style.bad(&error.kind.replace('_', " ")),
        error.message
    )
}

/// How far the new key is.
pub(super) fn progress(key: &KeyStatus) -> String {
    match key.hosts.is_empty() {
        true => format!("{}: {}", key.name, key.state.name()),
        false => format!(
            "{}: seen at {} of {} hosts",
            key.name,
            verified(key),
            key.hosts.len()
        ),
    }
}

/// What became of the new key.
pub(super) struct Outcome<'a> {
    pub(super) key: &'a KeyStatus,
    /// Hosts where it was seen to log in.
    pub(super) seen: &'a [String],
    pub(super) unseen: &'a [&'a String],
    /// Hosts that were named, and are not among the new key's.
    pub(super) left_out: &'a [&'a String],
    /// Of those where it was seen, the hosts that let the adopted one in too.
    pub(super) still: &'a [String],
    pub(super) replaces: bool,
    pub(super) timed_out: bool,
    /// Its file.
    pub(super) path: &'a Path,
}

impl Outcome<'_> {
    pub(super) fn text(&self, style: Style) -> String {
        let (key, path) = (self.key, self.path.display());
        let mut lines = vec![style.heading(&format!("key {}", key.name))];
        if !self.seen.is_empty() {
            lines.push(format!("  logs in at {}", self.seen.join(", ")));
        }
        for host in self.unseen {
            let status = key.hosts.iter().find(|status| status.host == **host);
            let state = status.map_or(HostCondition::Pending, |status| status.state);
            let error = status
                .and_then(|status| status.error.as_ref())
                .or(key.error.as_ref());
            let why = error.map_or(String::new(), |error| format!(": {}", problem(error, style)));
            lines.push(format!("  {host}: {}{why}", style.state(state.name())));
        }
        if self.timed_out {
            lines.push("  the time is over; it goes on: see `keyferry status`".to_owned());
        }
        lines.push(style.heading("the adopted key"));
        let still = self.still.join(", ");
        match (self.replaces, self.still.is_empty()) {
            (true, true) if self.seen.is_empty() => {}
            (true, true) => lines.push(format!("  is not let in any more at {}", self.seen.join(", "))),
            (true, false) => lines.push(format!(
                "  may still be let in at {still}: keyferry goes on taking its lines off; `keyferry status` says what keeps it, \
                 and a line with cert-authority, or in another file, is left to you"
            )),
            (false, true) => {}
            (false, false) => lines.push(format!(
                "  is still let in at {still}: to have its lines taken off, write into [deploy] of {path}: \
                 replaces = [...] with its fingerprint, as login_with has it behind `agent:`"
            )),
        }
        let listed = |hosts: &[&String]| {
            let hosts: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
            hosts.join(", ")
        };
        if !self.unseen.is_empty() {
            lines.push(format!(
                "  is needed at {} until the new key logs in there",
                listed(self.unseen)
            ));
        }
        if !self.left_out.is_empty() {
            lines.push(format!(
                "  may be needed at {}, which get no new key: {path} does not name them",
                listed(self.left_out)
            ));
        }
        lines.join("\n")
    }
}

/// How file and key are got rid of.
pub(super) struct Farewell<'a> {
    pub(super) file: &'a Path,
    pub(super) public_blob: &'a [u8],
    pub(super) agent_socket: &'a Path,
    /// Somebody else put the key into the agent, maybe for a while.
    pub(super) stays_as_it_was: bool,
    /// The new key's file.
    pub(super) path: &'a Path,
    /// The new key is not seen everywhere yet.
    pub(super) is_needed: bool,
}

impl Farewell<'_> {
    pub(super) fn text(&self) -> String {
        let file = shell(&self.file.display().to_string());
        let socket = shell(&self.agent_socket.display().to_string());
        let line = keyferry_hosts::public_key(self.public_blob).unwrap_or_default();
        // The beginnings of keys of one type are alike.
        let tail: String = line
            .chars()
            .skip(line.chars().count().saturating_sub(TAIL))
            .collect();
        let tail = shell(&tail);
        let when = match self.is_needed {
            true => "to get rid of the adopted key, once the new one logs in everywhere:",
            false => "to get rid of the adopted key:",
        };
        let caution = match private_file::copies_on_write(self.file) {
            Some(system) => format!(
                "    it lies on {system}, which writes to another place than where the file was: what was there stays until it is\n    \
                 used again, and in snapshots; delete those too. Only that no host lets the key in makes it worthless."
            ),
            None => "    what is on an SSD, in snapshots, backups and copies of it stays. Only that no host lets the key in makes it\n    \
                     worthless."
                .to_owned(),
        };
        let end = match self.stays_as_it_was {
            true => "or as long as it was added for",
            false => "or until the daemon ends",
        };
        format!(
            "{when}\n  the file:       shred -u -- {file}\n{caution}\n  in the agent:   \
             export SSH_AUTH_SOCK={socket}; ssh-add -L | grep -F -- {tail} | ssh-add -d -\n    \
             it stays there until then, {end}; afterwards `agent:...` may go from login_with in\n    {}",
            self.path.display()
        )
    }
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// So many characters tell one key from another.
const TAIL: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_word_to_a_shell() {
        for (word, expected) in [
            ("/home/li/id_rsa", "/home/li/id_rsa"),
            ("my key", "'my key'"),
            ("it's", r"'it'\''s'"),
            ("$(rm)", "'$(rm)'"),
            ("", "''"),
        ] {
            assert_eq!(shell(word), expected);
        }
    }
}
