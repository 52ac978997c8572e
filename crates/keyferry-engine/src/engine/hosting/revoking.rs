//! Taking lines off hosts that other installations put there, when the user says so.
//!
//! The host is looked at first; then the lines found are written down and taken out, over a login that stays. Where nobody
//! else would be let in they are left.

use std::collections::VecDeque;

use keyferry_hosts::{HostError, HostErrorKind, Identity, Line, Reply, Work};

mod files;
mod meant;

pub(in crate::engine) use files::FileAt;
use meant::kept;
pub(in crate::engine) use meant::{Meant, shown};

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
    /// The file that is looked at, and how.
    pub(super) file: FileAt,
    /// Those that come next.
    further: VecDeque<FileAt>,
    /// What could not be done in those before.
    undone: Option<Undone>,
    /// With what it is done, those that were tried left out.
    logins: VecDeque<Identity>,
    step: RevokingStep,
}

/// Why lines stay in a file.
#[derive(Clone, Debug)]
enum Undone {
    /// Nobody else would be let in.
    Left {
        note: String,
        /// Whether the user's word would change that.
        wants_word: bool,
    },
    /// There are none; but the file of that key, which may say where they stand, is missing.
    Missing(String),
    /// It failed; whether they were taken out is known or not.
    Failed(HostError, RevocationState),
}

#[derive(Clone, Debug)]
enum RevokingStep {
    /// Looking at what stands there.
    Look,
    /// Taking these lines out.
    TakeOff(Vec<Line>),
}

impl Engine {
    pub(super) fn begin_revoking(&mut self, host: String, selector: Selector) {
        let files = self.files_at(&host).into();
        self.look_for_revoked((host, selector), files, None);
    }

    /// Looks at the next file of a host.
    fn look_for_revoked(&mut self, id: RevocationId, mut further: VecDeque<FileAt>, undone: Option<Undone>) {
        let Some(file) = further.pop_front() else {
            return;
        };
        let host = id.0.clone();
        let logins = self.logins_for_revocation(&host, &file.key);
        let work = Work::Inspect { over: logins.clone() };
        let revoking = Revoking {
            id,
            file,
            further,
            undone,
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
                self.go_on_revoking(row, revoking, None).await
            }
            (RevokingStep::TakeOff(lines), Err(error))
                if is_of_the_login(&error) && !revoking.logins.is_empty() =>
            {
                self.start_taking_off_revoked(revoking, lines);
                Ok(())
            }
            (step, result) => {
                let error = result.err().unwrap_or_else(nonsense);
                let is_known = outcome_of(&error) == EffectOutcome::Refused;
                let state = match step {
                    RevokingStep::TakeOff(_) if !is_known => RevocationState::Removing,
                    _ => RevocationState::Asked,
                };
                // A file that cannot be changed keeps no line in another one.
                let is_of_the_file = matches!(error.kind, HostErrorKind::Busy | HostErrorKind::File);
                let undone = Undone::Failed(error, state);
                match is_of_the_file {
                    true => self.go_on_revoking(row, revoking, Some(undone)).await,
                    false => self.end_revoking(row, Some(undone)).await,
                }
            }
        }
    }

    /// Goes on with the next file, after one where everything was done but this.
    async fn go_on_revoking(
        &mut self,
        row: Revocation,
        revoking: Revoking,
        undone: Option<Undone>,
    ) -> Result<(), EngineError> {
        let rank = |undone: &Option<Undone>| match undone {
            None => 0,
            Some(Undone::Left { .. }) => 1,
            Some(Undone::Missing(_)) => 2,
            Some(Undone::Failed(..)) => 3,
        };
        let undone = match rank(&undone) > rank(&revoking.undone) {
            true => undone,
            false => revoking.undone,
        };
        if revoking.further.is_empty() {
            return self.end_revoking(row, undone).await;
        }
        self.look_for_revoked(revoking.id, revoking.further, undone);
        Ok(())
    }

    /// All files of a host were looked at, or no more of them can be now.
    async fn end_revoking(&mut self, row: Revocation, undone: Option<Undone>) -> Result<(), EngineError> {
        let host = row.host.clone();
        let subject = Subject::Revocation(host.clone());
        match undone {
            None => {
                self.observed.retries.remove(&subject);
                self.settle_revocation(row, RevocationState::Removed, None).await
            }
            // The word came while another file was looked at.
            Some(Undone::Left { wants_word: true, .. }) if row.accepts_loss => {
                self.settle_revocation(row, RevocationState::Asked, None).await
            }
            Some(Undone::Left { note, .. }) => {
                self.settle_revocation(row, RevocationState::Left, Some(note))
                    .await
            }
            Some(Undone::Missing(key)) => {
                let message = format!(
                    "no such line is in the usual file, and keys/{key}.toml says in which file: put it back"
                );
                let remedy = format!("put keys/{key}.toml back, or keyferry host forget {host}");
                let failure = Failure::local(FILE_MISSING, message.clone(), &remedy, Pace::Slow);
                self.fail(subject, &failure);
                self.settle_revocation(row, RevocationState::Asked, Some(message))
                    .await
            }
            Some(Undone::Failed(error, state)) => {
                self.fail(subject, &Failure::of_host(&error));
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
            let is_missing = self.is_file_missing(&revoking.file.key);
            let undone = is_missing.then(|| Undone::Missing(revoking.file.key.clone()));
            return self.go_on_revoking(row, revoking, undone).await;
        }
        for line in marked.lines.iter().map(kept) {
            if !row.lines.lines().any(|known| known == line) {
                row.lines.push_str(&line);
                row.lines.push('\n');
            }
        }
        if !marked.has_others && !row.accepts_loss {
            let note = "nobody else that keyferry can see would be let in there".to_owned();
            let left = Undone::Left {
                note,
                wants_word: true,
            };
            return self.go_on_with_lines(row, revoking, left).await;
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
            let left = Undone::Left {
                note,
                wants_word: false,
            };
            return self.go_on_with_lines(row, revoking, left).await;
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

    /// Lines were found that are left: they are noted, and the next file is looked at.
    async fn go_on_with_lines(
        &mut self,
        row: Revocation,
        revoking: Revoking,
        left: Undone,
    ) -> Result<(), EngineError> {
        let (state, kept) = (row.state, row.clone());
        self.settle_revocation(row, state, None).await?;
        self.go_on_revoking(kept, revoking, Some(left)).await
    }

    fn start_taking_off_revoked(&mut self, mut revoking: Revoking, lines: Vec<Line>) {
        let Some(over) = revoking.logins.pop_front() else {
            return;
        };
        let work = Work::Remove {
            editors: self.editors(&revoking.file.key, &revoking.id.0, &over),
            over,
            proof: self.proof(&revoking.file.key),
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
}

/// Whether another login may fare better.
fn is_of_the_login(error: &HostError) -> bool {
    error.kind.is_of_the_login() && outcome_of(error) == EffectOutcome::Refused
}
