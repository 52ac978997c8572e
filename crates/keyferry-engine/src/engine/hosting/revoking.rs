//! Taking lines off hosts that other installations put there, when the user says so.
//!
//! The host is looked at first; then the lines found are written down and taken out, over a login that stays. Where nobody
//! else would be let in they are left.

use std::collections::VecDeque;

use keyferry_hosts::{HostError, HostErrorKind, Identity, Line, Reply, Work};

use super::{OnHost, nonsense, outcome_of};
use crate::engine::Engine;
use crate::engine::failure::{FILE_MISSING, Failure, Pace};
use crate::error::EngineError;
use crate::ledger::{
    EffectOutcome, Placement, PlacementState, Revocation, RevocationId, RevocationState, Selector, Write,
    fingerprint,
};
use crate::plan::Subject;

/// What is done about lines that are to go.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Revoking {
    pub(super) id: RevocationId,
    /// Whose settings say how the host is reached; empty: nobody's.
    pub(super) key: String,
    /// With what it is done, those that were tried left out.
    logins: VecDeque<Identity>,
    step: RevokingStep,
}

#[derive(Clone, Debug)]
enum RevokingStep {
    /// Looking at what stands there.
    Look,
    /// Taking these lines out.
    TakeOff(Vec<Line>),
}

/// What a host's file has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::engine) struct Marked {
    /// Lines that are meant.
    pub(in crate::engine) lines: Vec<Line>,
    /// How many more would be, were they not this installation's own.
    pub(in crate::engine) own: usize,
    /// Whether somebody is let in without them.
    pub(in crate::engine) has_others: bool,
}

impl Engine {
    pub(super) fn begin_revoking(&mut self, host: String, selector: Selector) {
        let (key, logins) = self.logins_for_revocation(&host);
        let work = Work::Inspect { over: logins.clone() };
        let revoking = Revoking {
            id: (host.clone(), selector),
            key,
            logins: logins.into(),
            step: RevokingStep::Look,
        };
        self.observed.revoking.insert(host.clone());
        self.start_on_host(host, work, OnHost::Revoking(revoking));
    }

    pub(super) async fn revoking(
        &mut self,
        host: String,
        revoking: Revoking,
        result: Result<Reply, HostError>,
    ) -> Result<(), EngineError> {
        self.observed.revoking.remove(&host);
        let Some(row) = self.view.revocations.get(&revoking.id).cloned() else {
            return Ok(());
        };
        match (revoking.step.clone(), result) {
            (RevokingStep::Look, Ok(Reply::Marked { lines, others })) => {
                self.take_off_revoked(row, revoking, lines, others).await
            }
            (RevokingStep::TakeOff(lines), Ok(reply @ Reply::Removed { .. })) => {
                let keys = lines.iter().map(|line| line.public_key.as_str());
                self.keep_what_is_left(&host, keys, &reply);
                tracing::info!(host, lines = %revoking.id.1, "revoked");
                self.reached(&host);
                self.observed.retries.remove(&Subject::Revocation(host));
                self.settle_revocation(row, RevocationState::Removed, None).await
            }
            (RevokingStep::TakeOff(lines), Err(error))
                if is_of_the_login(&error) && !revoking.logins.is_empty() =>
            {
                self.start_taking_off_revoked(revoking, lines);
                Ok(())
            }
            (step, result) => {
                let error = result.err().unwrap_or_else(nonsense);
                self.fail(Subject::Revocation(host), &Failure::of_host(&error));
                let is_known = outcome_of(&error) == EffectOutcome::Refused;
                let state = match step {
                    RevokingStep::TakeOff(_) if !is_known => RevocationState::Removing,
                    _ => RevocationState::Asked,
                };
                self.settle_revocation(row, state, Some(error.message)).await
            }
        }
    }

    async fn take_off_revoked(
        &mut self,
        mut row: Revocation,
        mut revoking: Revoking,
        lines: Vec<Line>,
        others: usize,
    ) -> Result<(), EngineError> {
        let host = row.host.clone();
        let is_verified = self.is_verified_at(&host);
        let marked = self.meant(row.selector.clone()).among(lines, others, is_verified);
        if marked.lines.is_empty() {
            if self.is_file_missing(&revoking.key) {
                let message = format!(
                    "no such line is in the usual file, and keys/{0}.toml says in which file: put it back",
                    revoking.key
                );
                let remedy = format!(
                    "put keys/{}.toml back, or keyferry host forget {host}",
                    revoking.key
                );
                let failure = Failure::local(FILE_MISSING, message.clone(), &remedy, Pace::Slow);
                self.fail(Subject::Revocation(host), &failure);
                let note = Some(message);
                return self.settle_revocation(row, RevocationState::Asked, note).await;
            }
            self.observed.retries.remove(&Subject::Revocation(host));
            return self.settle_revocation(row, RevocationState::Removed, None).await;
        }
        row.lines = marked.lines.iter().map(|line| shown(line) + "\n").collect();
        if !marked.has_others && !row.accepts_loss {
            let note = "nobody else that keyferry can see would be let in there".to_owned();
            return self
                .settle_revocation(row, RevocationState::Left, Some(note))
                .await;
        }
        let goes = |identity: &Identity| match identity {
            Identity::Generation { public_key, .. } | Identity::Agent { public_key, .. } => {
                marked.lines.iter().any(|line| line.public_key == *public_key)
            }
            Identity::SshConfig => false,
        };
        revoking.logins.retain(|identity| !goes(identity));
        if revoking.logins.is_empty() {
            let note = "nothing else that keyferry has logs in there".to_owned();
            return self
                .settle_revocation(row, RevocationState::Left, Some(note))
                .await;
        }
        let subject = Subject::Revocation(host);
        let write = Write {
            revocations: vec![Revocation {
                state: RevocationState::Removing,
                changed_at: self.clock.now().wall_ms(),
                ..row
            }],
            ..Write::default()
        };
        if let Err(message) = self.record(write).await? {
            self.fail_for_disk(subject, message);
            return Ok(());
        }
        self.start_taking_off_revoked(revoking, marked.lines);
        Ok(())
    }

    fn start_taking_off_revoked(&mut self, mut revoking: Revoking, lines: Vec<Line>) {
        let Some(over) = revoking.logins.pop_front() else {
            return;
        };
        let work = Work::Remove {
            over,
            proof: self.proof(&revoking.key),
            lines: lines.clone(),
            foreign: Vec::new(),
        };
        revoking.step = RevokingStep::TakeOff(lines);
        let host = revoking.id.0.clone();
        self.observed.revoking.insert(host.clone());
        self.start_on_host(host, work, OnHost::Revoking(revoking));
    }

    async fn settle_revocation(
        &mut self,
        row: Revocation,
        state: RevocationState,
        note: Option<String>,
    ) -> Result<(), EngineError> {
        let subject = Subject::Revocation(row.host.clone());
        let row = Revocation {
            state,
            note,
            changed_at: self.clock.now().wall_ms(),
            ..row
        };
        let write = Write {
            revocations: vec![row],
            ..Write::default()
        };
        if let Err(message) = self.record(write).await? {
            self.fail_for_disk(subject, message);
        }
        Ok(())
    }

    /// Keeps which keys a line without a marker lets in still, to say so.
    pub(super) fn keep_what_is_left<'k>(
        &mut self,
        host: &str,
        keys: impl Iterator<Item = &'k str>,
        reply: &Reply,
    ) {
        let Reply::Removed { left, .. } = reply else {
            return;
        };
        for key in keys {
            let base64 = key.rsplit(' ').next().unwrap_or_default();
            let is_left = |line: &String| line.contains(base64) && !line.contains(" keyferry owner=");
            let id = (host.to_owned(), fingerprint(key));
            match left.iter().any(is_left) {
                true => self.observed.still_let_in.insert(id),
                false => self.observed.still_let_in.remove(&id),
            };
        }
    }

    /// Whether a key that is not over has no file that says how its lines are put.
    fn is_file_missing(&self, key: &str) -> bool {
        let mut generations = self.view.of_key(key);
        !self.desired.keys.contains_key(key) && generations.any(|row| !row.state.is_final())
    }

    /// What tells the lines that are meant from others.
    pub(in crate::engine) fn meant(&self, selector: Selector) -> Meant {
        let installation = self.view.installation.get(..6).unwrap_or(&self.view.installation);
        Meant {
            selector,
            machine: self.signature.machine.clone(),
            installation: installation.to_owned(),
        }
    }

    /// Whether a marker's machine is this installation.
    pub(in crate::engine) fn is_own_machine(&self, machine: &str) -> bool {
        self.meant(Selector::Machine(machine.to_owned())).is_own(machine)
    }

    /// Whether a key of ours that is in the agent was seen to log in at a host, and does not go with a command.
    pub(in crate::engine) fn is_verified_at(&self, host: &str) -> bool {
        self.view.placements.values().any(|placement| {
            placement.host == host
                && placement.state == PlacementState::Verified
                && !self.view.is_for_command(&placement.key)
                && self.is_in_agent(placement)
        })
    }

    fn is_in_agent(&self, placement: &Placement) -> bool {
        let id = (placement.key.clone(), placement.n);
        self.observed.in_agent.contains(&id)
    }

    /// How a host is logged in to that may be no key's: what was seen to log in first, then what the key's file says, else
    /// what the user's own ssh_config has. And the key whose settings say how the file is changed there; empty: none.
    pub(in crate::engine) fn logins_for_revocation(&self, host: &str) -> (String, Vec<Identity>) {
        let there = self
            .view
            .placements
            .values()
            .filter(|placement| placement.host == host);
        let (mut seen, unseen): (Vec<_>, Vec<_>) = there.partition(|placement| {
            placement.state == PlacementState::Verified && self.is_in_agent(placement)
        });
        seen.sort_by_key(|placement| std::cmp::Reverse((placement.verified_at, placement.n)));
        let first = seen
            .first()
            .or(unseen.first())
            .map(|placement| placement.key.clone());
        let key = first.or_else(|| {
            let mut keys = self.desired.keys.keys();
            keys.find(|key| self.hosts_of(key).contains(host)).cloned()
        });
        let key = key.unwrap_or_default();
        let ids = seen.iter().map(|placement| (placement.key.clone(), placement.n));
        let mut logins: Vec<Identity> = ids.filter_map(|id| self.identity(&id)).collect();
        logins.extend(self.recovery_identity_at(host));
        let n = self.observed.loaded.get(&key).copied().unwrap_or_default();
        for login in self.logins_for(&(key.clone(), n), host) {
            if !logins.contains(&login) {
                logins.push(login);
            }
        }
        if !logins.contains(&Identity::SshConfig) {
            logins.push(Identity::SshConfig);
        }
        (key, logins)
    }
}

/// Tells lines that are to go from others.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Meant {
    selector: Selector,
    machine: String,
    installation: String,
}

impl Meant {
    /// The lines of a host that are meant. Those of this installation never are: they have ways of their own. `others` keys
    /// without a marker are let in there besides, and `is_verified` is whether one of ours is.
    pub(in crate::engine) fn among(&self, lines: Vec<Line>, others: usize, is_verified: bool) -> Marked {
        let (lines, stay): (Vec<Line>, Vec<Line>) = lines
            .into_iter()
            .partition(|line| !self.is_own(&line.marker.machine) && self.is_selected(line));
        let own = stay.iter().filter(|line| self.is_selected(line)).count();
        // One that ends by itself is no way in to rely on.
        let stays = stay.iter().any(|line| !line.options.contains("expiry-time="));
        Marked {
            lines,
            own,
            has_others: others > 0 || stays || is_verified,
        }
    }

    /// Whether a marker's machine is this installation, whatever the machine was called then.
    fn is_own(&self, machine: &str) -> bool {
        let end = machine.rsplit_once('-').map(|(_, end)| end);
        machine == self.machine || end == Some(&self.installation)
    }

    fn is_selected(&self, line: &Line) -> bool {
        let marker = &line.marker;
        match &self.selector {
            Selector::Grant(named) => marker.n.is_none() && fingerprint(&line.public_key) == *named,
            Selector::Key(key) => marker.key == *key,
            Selector::Machine(machine) => marker.machine == *machine,
            Selector::Owner(owner) => marker.owner == *owner,
        }
    }
}

/// A line as a terminal may have it: its options are whatever somebody wrote there.
pub(in crate::engine) fn shown(line: &Line) -> String {
    let text = line.to_string();
    // Nor what changes the order of others there.
    let is_direction =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| match c.is_control() || is_direction(c) {
            true => char::REPLACEMENT_CHARACTER,
            false => c,
        })
        .collect()
}

/// Whether another login may fare better.
fn is_of_the_login(error: &HostError) -> bool {
    let is_of_the_login = matches!(
        error.kind,
        HostErrorKind::AnotherKey
            | HostErrorKind::NeedsPerson
            | HostErrorKind::NoAnswer
            | HostErrorKind::Refused
            | HostErrorKind::Settings
    );
    is_of_the_login && outcome_of(error) == EffectOutcome::Refused
}

#[cfg(test)]
mod tests {
    use keyferry_hosts::Marker;

    use super::*;

    fn line(owner: &str, machine: &str, n: Option<u64>, options: &str) -> Line {
        Line {
            options: options.to_owned(),
            public_key: "ssh-ed25519 AAAA".to_owned(),
            marker: Marker {
                owner: owner.to_owned(),
                machine: machine.to_owned(),
                key: "web".to_owned(),
                n,
            },
        }
    }

    fn meant(selector: Selector) -> Meant {
        Meant {
            selector,
            machine: "li-thinkpad-7f3a1c".to_owned(),
            installation: "7f3a1c".to_owned(),
        }
    }

    #[test]
    fn a_line_is_fit_to_be_shown() {
        let shown = shown(&line(
            "li",
            "pc-aaaaaa",
            Some(1),
            "command=\"a\u{1b}[2J\u{202e}b\"",
        ));
        assert!(shown.starts_with("command=\"a\u{fffd}[2J\u{fffd}b\""), "{shown}");
    }

    #[test]
    fn lines_of_this_installation_are_never_meant() {
        let lines = vec![
            line("li", "li-thinkpad-7f3a1c", Some(1), ""),
            line("li", "its-former-name-7f3a1c", Some(1), ""),
            line("li", "li-desktop-aaaaaa", Some(1), ""),
            line("bob", "bobs-pc-bbbbbb", Some(1), ""),
        ];
        for (selector, count, own) in [
            (Selector::Owner("li".to_owned()), 1, 2),
            (Selector::Key("web".to_owned()), 2, 2),
            (Selector::Machine("bobs-pc-bbbbbb".to_owned()), 1, 0),
            (Selector::Machine("li-thinkpad-7f3a1c".to_owned()), 0, 1),
            (Selector::Grant("ssh-ed25519 AAAA".to_owned()), 0, 0),
        ] {
            let marked = meant(selector.clone()).among(lines.clone(), 0, false);
            assert_eq!((marked.lines.len(), marked.own), (count, own), "{selector}");
            assert!(marked.has_others);
        }
    }

    #[test]
    fn a_line_that_ends_by_itself_is_no_way_in() {
        let going = line("bob", "bobs-pc-bbbbbb", Some(1), "");
        let guest = line(
            "li",
            "li-thinkpad-7f3a1c",
            None,
            "expiry-time=\"20991231000000Z\"",
        );
        let owner = || meant(Selector::Owner("bob".to_owned()));
        assert!(!owner().among(vec![going.clone(), guest], 0, false).has_others);
        assert!(owner().among(vec![going.clone()], 1, false).has_others);
        assert!(owner().among(vec![going], 0, true).has_others);
    }

    #[test]
    fn what_somebody_wrote_does_not_reach_a_terminal() {
        let shown = shown(&line(
            "bob",
            "bobs-pc-bbbbbb",
            Some(1),
            "command=\"\u{1b}]0;x\u{7}\"",
        ));
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}
