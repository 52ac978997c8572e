//! What ssh's own log says of a login (`-E`, level DEBUG1; OpenSSH 8.9 and later).
//!
//! That a command answered does not tell which key let it in: a key that the host refuses after its signature is followed by
//! the next file of ssh_config. So a login counts as a key's when the last thing before `Authenticated` was that the
//! host accepted that key. Where the log has no such lines nothing is proven.

use std::collections::VecDeque;

/// What is known so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Log {
    /// Fingerprint of the key that the host proved to have.
    pub(super) host_key: Option<String>,
    /// Whether authentication has begun: the host key was in order.
    pub(super) asks_for_keys: bool,
    /// Fingerprint of the key that the host accepts, and whose signature it is sent.
    pub(super) accepted: Option<String>,
    /// Methods that succeeded without being enough: for each, the key.
    pub(super) partly: Vec<Option<String>>,
    /// How the login was made.
    pub(super) authenticated: Option<Authenticated>,
    /// Version of ssh, as 9 and 2.
    pub(super) version: Option<(u32, u32)>,
    /// What ssh said beside the details, the latest last.
    pub(super) said: VecDeque<String>,
}

/// A login that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Authenticated {
    /// As `publickey`.
    pub(super) method: String,
    /// Fingerprint of the key, where ssh asked for this one by name.
    pub(super) key: Option<String>,
}

impl Log {
    /// Takes one line.
    pub(super) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        let Some(detail) = line.strip_prefix("debug1: ") else {
            self.read_said(line);
            return;
        };
        if let Some(rest) = detail.strip_prefix("Local version string SSH-2.0-OpenSSH_") {
            self.version = version_in(rest);
        } else if let Some(rest) = detail.strip_prefix("Server host key: ") {
            self.host_key = fingerprint_in(rest);
        } else if let Some(rest) = detail.strip_prefix("Server host certificate: ") {
            // Of the key that it certifies; the authority's comes behind it.
            let certified = rest.split_once(',').map_or(rest, |(certified, _)| certified);
            self.host_key = fingerprint_in(certified);
        } else if detail.starts_with("Authentications that can continue: ") {
            self.asks_for_keys = true;
            self.accepted = None;
        } else if let Some(rest) = detail.strip_prefix("Server accepts key: ") {
            self.accepted = fingerprint_in(rest);
        } else if [
            "Offering ",
            "Trying private key: ",
            "Next authentication method: ",
        ]
        .iter()
        .any(|start| detail.starts_with(start))
        {
            self.asks_for_keys = true;
            self.accepted = None;
        }
    }

    fn read_said(&mut self, line: &str) {
        if line.is_empty() || line.starts_with("debug") {
            return;
        }
        if let Some(rest) = line.strip_prefix("Authenticated to ") {
            let method = rest
                .rsplit_once(" using \"")
                .and_then(|(_, method)| method.strip_suffix("\"."))
                .unwrap_or_default();
            self.authenticated = Some(Authenticated {
                method: method.to_owned(),
                key: self.accepted.take(),
            });
        } else if line.starts_with("Authenticated using \"") && line.contains("partial success") {
            self.asks_for_keys = true;
            self.partly.push(self.accepted.take());
        }
        if self.said.len() == MAX_SAID {
            self.said.pop_front();
        }
        self.said.push_back(line.to_owned());
    }
}

/// A path may stand before it, with any text; notes as `explicit agent` after it.
fn fingerprint_in(text: &str) -> Option<String> {
    let start = text.rfind("SHA256:")?;
    text[start..].split(' ').next().map(str::to_owned)
}

/// As `9.2p1 Debian-2+deb12u10`.
fn version_in(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

const MAX_SAID: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Log {
        let mut log = Log::default();
        for line in lines {
            log.read(&format!("{line}\r"));
        }
        log
    }

    const OURS: &str = "debug1: Server accepts key: /run/a b/key.pub ED25519 SHA256:ours explicit agent";
    const OTHER: &str = "debug1: Offering public key: /root/.ssh/id_ed25519 ED25519 SHA256:other explicit";
    const REFUSED: &str = "debug1: Authentications that can continue: publickey";
    const DONE: &str = "Authenticated to 127.0.0.1 ([127.0.0.1]:2222) using \"publickey\".";

    #[test]
    fn the_key_that_was_accepted_last_logged_in() {
        let log = log(&[
            "debug1: Local version string SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10",
            "debug1: Server host key: ssh-ed25519 SHA256:host",
            REFUSED,
            OTHER,
            REFUSED,
            OURS,
            DONE,
        ]);
        assert_eq!(log.version, Some((9, 2)));
        assert_eq!(log.host_key.as_deref(), Some("SHA256:host"));
        let authenticated = log.authenticated.unwrap();
        assert_eq!(authenticated.method, "publickey");
        assert_eq!(authenticated.key.as_deref(), Some("SHA256:ours"));
    }

    #[test]
    fn another_key_after_ours_is_not_ours() {
        for between in [
            &[REFUSED][..],
            &[OTHER],
            &["debug1: Trying private key: /root/.ssh/id_rsa"],
            &["debug1: Next authentication method: password"],
            &["Authenticated using \"publickey\" with partial success.", REFUSED],
        ] {
            let mut lines = vec![OURS];
            lines.extend_from_slice(between);
            lines.push(DONE);
            assert_eq!(log(&lines).authenticated.unwrap().key, None, "{between:?}");
        }
    }

    #[test]
    fn a_certificate_stands_for_its_key() {
        let log = log(&[
            "debug1: Server host certificate: ssh-ed25519-cert-v01@openssh.com SHA256:host, serial 0 ID \"host\" CA \
             ssh-ed25519 SHA256:authority valid forever",
        ]);
        assert_eq!(log.host_key.as_deref(), Some("SHA256:host"));
    }

    #[test]
    fn half_a_login_is_told_from_a_whole_one() {
        let log = log(&[OURS, "Authenticated using \"publickey\" with partial success."]);
        assert_eq!(log.partly, [Some("SHA256:ours".to_owned())]);
        assert_eq!(log.authenticated, None);
    }
}
