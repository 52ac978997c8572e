//! What kept a login from being made, from what ssh says of it.

use std::process::ExitStatus;

use super::log::Log;
use crate::contract::{HostError, HostErrorKind, Outcome};

/// A login that came to nothing.
pub(super) struct Trouble<'a> {
    pub(super) destination: &'a str,
    /// Whether ssh was told to take one type of host key alone, that of the pinned one.
    pub(super) is_pinned: bool,
    /// Whether the key is one of ours, which signs at once and asks nobody.
    pub(super) signs_alone: bool,
    pub(super) phase: Phase,
    pub(super) log: &'a Log,
    /// Standard error: jump hosts, proxy commands, and the host's own programs.
    pub(super) complaints: &'a str,
    /// How ssh ended; none: it did not, until the time was up.
    pub(super) ended: Option<ExitStatus>,
}

/// How far it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Until the host let somebody in.
    LoggingIn,
    /// Afterwards.
    Running,
}

impl Trouble<'_> {
    pub(super) fn diagnose(&self) -> HostError {
        let host = self.destination;
        let has = |line: &str, needles: &[&str]| needles.iter().any(|needle| line.contains(needle));
        // What a jump host's ssh says stands among the complaints alone.
        let host_said = |needles: &[&str]| self.log.said.iter().any(|line| has(line, needles));
        let jump_said = |needles: &[&str]| self.complaints.lines().any(|line| has(line, needles));
        let said = |needles: &[&str]| host_said(needles) || jump_said(needles);
        if self.phase == Phase::Running {
            return self.no_answer();
        }
        if said(CHANGED) {
            return failure(
                HostErrorKind::HostKeyChanged,
                format!("{host}: the host key is another than known_hosts has"),
                format!(
                    "find out why; if the machine was replaced: `ssh-keygen -R` its name, then `ssh {host}` once"
                ),
            );
        }
        if self.is_pinned && host_said(NO_SUCH_HOST_KEY) {
            return failure(
                HostErrorKind::HostKeyChanged,
                format!(
                    "{host}: it has no host key of the type that it had when a login was last proven{}",
                    self.words()
                ),
                "find out why; if the machine was replaced, say so with `keyferry host trust`".to_owned(),
            );
        }
        if said(UNKNOWN) {
            return failure(
                HostErrorKind::HostKeyUnknown,
                format!("{host}: the host key is not in known_hosts"),
                format!("run `ssh {host}` once, or set host_keys = \"accept-new\""),
            );
        }
        if said(SETTINGS) {
            return failure(
                HostErrorKind::Settings,
                format!("{host}: ssh does not take its settings{}", self.words()),
                "correct ssh_config or `[ssh] command`".to_owned(),
            );
        }
        if !self.log.partly.is_empty() {
            return failure(
                HostErrorKind::NeedsPerson,
                format!("{host}: the host takes the key and wants a second factor besides"),
                "set verify = \"publickey\" for such hosts".to_owned(),
            );
        }
        let is_stuck = self.ended.is_none() && self.log.accepted.is_some();
        if is_stuck && self.signs_alone {
            return failure(
                HostErrorKind::Unreachable,
                format!("{host}: the host takes the key, and no more came in time"),
                "see that the host is up, and what keeps its logins (a slow directory service, a connection that broke); it \
                 is tried again"
                    .to_owned(),
            );
        }
        if said(TOUCH) || is_stuck {
            return failure(
                HostErrorKind::NeedsPerson,
                format!(
                    "{host}: the host takes the key, and no signature came in time: its agent waits for somebody"
                ),
                format!(
                    "run `keyferry host retry {host}`, and touch the security key or confirm its use meanwhile; where there \
                     is nothing to confirm, the connection broke, and that will do"
                ),
            );
        }
        if jump_said(REFUSED_OR_TOO_MANY) && !self.log.asks_for_keys && !host_said(REFUSED_OR_TOO_MANY) {
            let said = self
                .complaints
                .lines()
                .find(|line| has(line, REFUSED_OR_TOO_MANY));
            return failure(
                HostErrorKind::JumpRefused,
                format!(
                    "{host}: the jump host refuses to let anybody in{}",
                    shown_after(said)
                ),
                "see that your own `ssh` gets through the jump host: load the key for it into your agent; it is tried again"
                    .to_owned(),
            );
        }
        if host_said(&[TOO_MANY]) {
            return failure(
                HostErrorKind::Refused,
                format!("{host}: the host refused more keys than it hears out (MaxAuthTries) before one that it takes"),
                "name the key that it takes for this host in ssh_config (IdentityFile, with IdentitiesOnly yes), or in \
                 `login_with`"
                    .to_owned(),
            );
        }
        // What a host says while keys are asked for is about the keys, but not that the connection broke.
        let is_answer = self.log.asks_for_keys && self.ended.is_some() && !host_said(BROKEN);
        if host_said(REFUSED) || is_answer {
            return failure(
                HostErrorKind::Refused,
                format!("{host}: the host lets no key in that was tried{}", self.words()),
                "put a key there that `login_with` names, and see that the login is not expired or locked"
                    .to_owned(),
            );
        }
        let how = match self.ended {
            None => ": no answer came in time".to_owned(),
            Some(_) => self.words(),
        };
        failure(
            HostErrorKind::Unreachable,
            format!("{host} cannot be reached{how}"),
            "see that the host is up and that `ssh` gets there; it is tried again".to_owned(),
        )
    }

    fn no_answer(&self) -> HostError {
        let host = self.destination;
        let how = match self.ended {
            None => ", until the time was up".to_owned(),
            // The last line that is not ssh's own.
            Some(_) => shown_after(self.complaints.lines().rev().find(|line| !line.trim().is_empty())),
        };
        failure(
            HostErrorKind::NoAnswer,
            format!("{host}: the login works, but the command did not answer{how}"),
            "see whether the login has a forced command, a shell other than sh, bash, zsh, fish or csh, or a full disk; \
             where no commands can run, set verify = \"publickey\""
                .to_owned(),
        )
    }

    /// The one line of ssh's that says most, for the end of a message.
    fn words(&self) -> String {
        let is_noise = |line: &&str| {
            let line = line.trim();
            line.is_empty()
                || line.starts_with("debug")
                || line.starts_with('@')
                || NOISE.iter().any(|noise| line.contains(noise))
        };
        let last = self
            .log
            .said
            .iter()
            .rev()
            .map(String::as_str)
            .find(|line| !is_noise(line));
        // A jump host's own trouble is told before what it means for the connection.
        let jump = self.complaints.lines().rev().find(|line| !is_noise(line));
        let last = match (last, jump) {
            (Some(last), Some(jump)) if END_OF_JUMP.iter().any(|end| last.contains(end)) => Some(jump),
            (last, jump) => last.or(jump),
        };
        shown_after(last)
    }
}

/// Whether a host ended a login before all was offered that ssh has. Without a word too: its last may be lost with the
/// connection.
pub(super) fn is_cut_short(error: &HostError, log: &Log) -> bool {
    let is_final = |line: &String| REFUSED.iter().any(|words| line.contains(words));
    error.kind == HostErrorKind::Refused && !log.said.iter().any(is_final)
}

pub(super) fn failure(kind: HostErrorKind, message: String, remedy: String) -> HostError {
    HostError {
        kind,
        message,
        remedy,
        outcome: Outcome::Unchanged,
    }
}

pub(super) fn settings(message: String, remedy: String) -> HostError {
    failure(HostErrorKind::Settings, message, remedy)
}

/// A line of another program's, fit to be shown: no control characters, and not long.
pub(super) fn cleaned(line: &str) -> String {
    let line = line.trim();
    let line = line.strip_prefix("ssh: ").unwrap_or(line);
    line.chars()
        .filter(|character| !character.is_control() && !is_direction(*character))
        .take(MAX_SHOWN)
        .collect()
}

/// Characters that change the order of the others on a terminal.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn shown_after(line: Option<&str>) -> String {
    line.map(cleaned)
        .filter(|line| !line.is_empty())
        .map(|line| format!(": {line}"))
        .unwrap_or_default()
}

const CHANGED: &[&str] = &[
    "REMOTE HOST IDENTIFICATION HAS CHANGED",
    "has changed and you have requested strict checking",
    "REVOKED HOST KEY DETECTED",
    "is marked as revoked",
];
const UNKNOWN: &[&str] = &[
    "host key is known for",
    "Host key verification failed",
    "you have requested strict checking",
];
const SETTINGS: &[&str] = &[
    "Bad configuration option",
    "bad configuration options",
    "Bad owner or permissions on",
    "usage: ssh",
    "no argument after keyword",
    "missing argument",
    "Unable to negotiate with",
    "no matching host key type",
    "unknown key %",
    "Can't open user config file",
    "unknown option --",
    "illegal option --",
    "Missing argument",
    "Bad key types",
    "unsupported option",
];
const TOUCH: &[&str] = &["Confirm user presence"];
const REFUSED: &[&str] = &["Permission denied ("];
const TOO_MANY: &str = "Too many authentication failures";
const REFUSED_OR_TOO_MANY: &[&str] = &["Permission denied (", TOO_MANY];
/// ssh was told of one type of host key, and the host has none of it.
const NO_SUCH_HOST_KEY: &[&str] = &["no matching host key type"];
/// Ends of a connection that say nothing about keys.
const BROKEN: &[&str] = &[
    "Broken pipe",
    "Connection reset by",
    "Connection timed out",
    "Timeout, server",
    "Operation timed out",
    "client_loop: send disconnect",
];
/// What is said beside the point.
const NOISE: &[&str] = &[
    "Permanently added",
    "Authenticated ",
    "Pseudo-terminal will not be allocated",
    // A warning: ssh goes on without what it was built without.
    "Unsupported option",
    "Killed by signal",
    "Transferred: ",
    "terminating, ",
    "Bytes per second: ",
];
/// What the end of a jump host's connection looks like from here.
const END_OF_JUMP: &[&str] = &[
    "UNKNOWN port 65535",
    "kex_exchange_identification",
    "Connection closed by remote host",
];
const MAX_SHOWN: usize = 300;

#[cfg(test)]
mod tests;
