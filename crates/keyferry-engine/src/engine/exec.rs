//! Keys for one command (`keyferry exec`): each is a key of its own, made after the pattern of a declared one.
//!
//! Nothing here makes, deploys or deletes: to the plan it is a key as any, which no file declares. It ends as every key does
//! (`plan/rotation/ending.rs`), and it ends by itself: when whoever asked for it is gone, when its time is over, and when
//! this process finds its row and knows of nobody who asked. Its row says when, before there is anything to end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::Engine;
use crate::config;
use crate::desired::{Deploy, Desired, HostList, KeySpec, LoginWith, OnDrift, OnRemove};
use crate::error::EngineError;
use crate::ledger::{HostState, KeyRow, Placement, PlacementState, Write};
use crate::plan::{GenerationId, Subject, hosts_of};
use crate::snapshot::{ExecStatus, Timestamp};

/// What is known of keys for one command, besides the ledger.
#[derive(Debug, Default)]
pub(super) struct Exec {
    /// By name, as their patterns were when they were asked for.
    specs: BTreeMap<String, Arc<KeySpec>>,
    /// Those whose command may still run, and by what their owner is known.
    owners: BTreeMap<String, u64>,
    wake_at: Option<u64>,
}

impl Exec {
    /// When to look again whether a time is over (milliseconds of uptime).
    pub(super) fn wake_at(&self) -> Option<u64> {
        self.wake_at
    }

    /// No time is waited for: whether one is over shows when it goes on.
    pub(super) fn stand_still(&mut self) {
        self.wake_at = None;
    }

    /// The key of an owner.
    pub(super) fn key_of(&self, owner: u64) -> Option<String> {
        let mut owners = self.owners.iter();
        owners.find(|(_, of)| **of == owner).map(|(name, _)| name.clone())
    }

    /// How many commands may be running.
    pub(super) fn running(&self) -> usize {
        self.owners.len()
    }
}

impl Engine {
    /// Puts the keys for one command beside those that the config directory asks for. Of one that was begun by an earlier
    /// process the pattern as it is now tells how its hosts are reached.
    pub(super) fn add_keys_for_commands(&mut self) {
        let rows = self.view.keys.values().filter(|row| row.is_for_command());
        let specs = rows.filter_map(|row| {
            let known = self.exec.specs.get(&row.name).cloned();
            known.or_else(|| {
                let pattern = self.declared.keys.get(row.made_after.as_deref()?)?;
                Some(Arc::new(after_pattern(pattern, &row.name, None)))
            })
        });
        let specs: Vec<Arc<KeySpec>> = specs.collect();
        if specs.is_empty() {
            self.desired = Arc::clone(&self.declared);
            return;
        }
        let mut desired = Desired::clone(&self.declared);
        let specs = specs.into_iter().map(|spec| (spec.name.clone(), spec));
        desired.keys.extend(specs);
        self.desired = Arc::new(desired);
    }

    /// A name for a key after this pattern: one of which nothing is left, if there is any such. So there are never more rows
    /// than keys at a time.
    pub(super) fn name_after(&self, pattern: &str) -> String {
        let is_free = |name: &String| {
            let row = self.view.keys.get(name);
            let is_ours = row.is_none_or(|row| row.made_after.is_some() && !row.is_for_command());
            is_ours && !self.desired.keys.contains_key(name) && self.is_nothing_left(name)
        };
        let mut names = (1_u64..).map(|number| {
            let end = format!("-exec-{number}");
            let room = config::LONGEST_NAME.saturating_sub(end.len());
            let start: String = pattern.chars().take(room).collect();
            format!("{}{end}", start.trim_end_matches('-'))
        });
        names.find(is_free).expect("there is no end of numbers")
    }

    /// A key for one command begins: its row is written.
    pub(super) fn begin_key_for_command(&mut self, name: &str, pattern: &KeySpec, owner: u64) {
        let hosts = self.observed.host_lists.get(&pattern.name);
        let spec = after_pattern(pattern, name, hosts.map(|(hosts, _)| hosts.as_slice()));
        self.exec.specs.insert(name.to_owned(), Arc::new(spec));
        self.exec.owners.insert(name.to_owned(), owner);
        // An earlier one of this name may have been taken away with ssh-add -D.
        self.key_ring.resume(name);
        self.add_keys_for_commands();
    }

    /// Has keys for one command end whose time is over, or that nobody waits for any more.
    pub(super) async fn end_keys_for_commands(&mut self) -> Result<(), EngineError> {
        let now = self.clock.now();
        let mut over = Vec::new();
        let mut dead = Vec::new();
        let mut wake_at: Option<u64> = None;
        for row in self.view.keys.values() {
            let Some(ends_at) = row.ends_at else { continue };
            let is_ending = row.retire_asked_at.is_some();
            let is_over =
                !is_ending && (ends_at <= now.wall_ms() || !self.exec.owners.contains_key(&row.name));
            let at = match is_ending || is_over {
                true => ends_at.saturating_add(TIME_OF_LINE),
                false => ends_at,
            };
            let left = at.saturating_sub(now.wall_ms());
            if is_ending && left <= 0 {
                dead.extend(self.dead_lines(&row.name));
                continue;
            }
            if is_over {
                over.push(row.name.clone());
            }
            // The wall clock may be set meanwhile.
            let at = now.uptime.saturating_add(left.unsigned_abs().min(LONGEST_WAIT));
            wake_at = Some(wake_at.map_or(at, |earlier| earlier.min(at)));
        }
        self.exec.wake_at = wake_at;
        for name in over {
            self.end_key_for_command(&name).await?;
        }
        self.give_up(dead).await
    }

    /// Lines of a key whose time is long over, where they cannot be taken off: the host was tried and does not let us in, or
    /// the user gave it up. Elsewhere it is done yet.
    fn dead_lines(&self, name: &str) -> Vec<Placement> {
        let lines = self.view.placements_of(name).filter(|line| {
            let state = self.view.hosts.get(&line.host).map(|row| row.state);
            let tried = Subject::Host(name.to_owned(), line.host.clone());
            let is_out_of_reach = matches!(
                state,
                Some(HostState::Blocked | HostState::Forgotten | HostState::Parked)
            ) || self.observed.retries.contains_key(&tried)
                || self.nothing_else_logs_in(name, &line.host);
            let ends = line
                .line
                .as_ref()
                .is_some_and(|text| text.contains("expiry-time="));
            ends && is_out_of_reach && !self.observed.host_tasks.contains_key(&line.host)
        });
        lines.cloned().collect()
    }

    /// Whether no private half of a key for a command is left, and no other key could take its line off a host: each of them is
    /// held, or was tried there in vain.
    fn nothing_else_logs_in(&self, name: &str, host: &str) -> bool {
        let has_half = self.observed.in_agent.iter().any(|(key, _)| key == name);
        let others = self.desired.keys.keys().filter(|other| *other != name);
        let mut others = others.filter(|other| {
            let hosts = hosts_of(&self.desired, &self.view, &self.observed, other);
            hosts
                .iter()
                .any(|on| on.address.as_ref() == host && !on.forgotten)
        });
        !has_half
            && others.all(|other| {
                let tried = Subject::Host(other.clone(), host.to_owned());
                self.view.is_held(other) || self.observed.retries.contains_key(&tried)
            })
    }

    /// Counts lines as ended that no sshd takes any more: then the pair goes, and the key's row is closed.
    async fn give_up(&mut self, lines: Vec<Placement>) -> Result<(), EngineError> {
        if lines.is_empty() {
            return Ok(());
        }
        for line in &lines {
            tracing::info!(
                key = line.key,
                host = line.host,
                "its line there ended by itself, and is left"
            );
        }
        let changed_at = self.clock.now().wall_ms();
        let removed = lines.into_iter().map(|line| Placement {
            state: PlacementState::Removed,
            changed_at,
            ..line
        });
        let write = Write {
            placements: removed.collect(),
            ..Write::default()
        };
        // What the disk refuses is written when something happens next.
        self.record(write).await.map(|_| ())
    }

    /// Has one end now: it is taken off its hosts, and its pair is deleted.
    pub(super) async fn end_key_for_command(&mut self, name: &str) -> Result<(), EngineError> {
        self.exec.owners.remove(name);
        let row = self.view.key(name);
        if !row.is_for_command() || row.retire_asked_at.is_some() {
            return Ok(());
        }
        tracing::info!(key = name, "its command or its time is over: it ends");
        self.urge(name);
        // When the disk refuses, it ends in this process all the same, and a later one finds nobody who wants it.
        self.record_word(KeyRow {
            retire_asked_at: Some(self.clock.now().wall_ms()),
            ..row
        })
        .await
    }

    /// Forgets those that ended and of which nothing is left.
    pub(super) async fn close_keys_for_commands(&mut self) -> Result<(), EngineError> {
        let rows = self.view.keys.values();
        let ended = rows.filter(|row| row.is_for_command() && row.retire_asked_at.is_some());
        let gone = ended.filter(|row| self.is_nothing_left(&row.name));
        let keys: Vec<KeyRow> = gone
            .map(|row| KeyRow {
                name: row.name.clone(),
                last_n: row.last_n,
                made_after: row.made_after.clone(),
                ..KeyRow::default()
            })
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = keys.iter().map(|row| row.name.clone()).collect();
        let write = Write {
            keys,
            ..Write::default()
        };
        // What the disk refuses is written when something happens next.
        if self.record(write).await?.is_err() {
            return Ok(());
        }
        for name in names {
            tracing::info!(key = name, "nothing is left of it");
            self.exec.specs.remove(&name);
            self.observed.host_lists.remove(&name);
            self.observed.retries.retain(|subject, _| subject.key() != name);
            self.observed.served.remove(&name);
            self.observed.urged.remove(&name);
        }
        self.add_keys_for_commands();
        Ok(())
    }

    /// As status shows it; none: it is no key for one command.
    pub(super) fn exec_status(&self, name: &str) -> Option<ExecStatus> {
        let row = self.view.keys.get(name)?;
        Some(ExecStatus {
            after: row.made_after.clone().unwrap_or_default(),
            ends_at: Timestamp::from_ms(row.ends_at?),
            ending: row.retire_asked_at.is_some(),
        })
    }

    /// When the lines of a key for one command end, whether or not anybody comes to take them off.
    pub(super) fn end_of_key_for_command(&self, name: &str) -> Option<SystemTime> {
        let ends_at = self.view.keys.get(name)?.ends_at?;
        Some(Timestamp::from_ms(ends_at).0)
    }

    /// The generation that logs in where this one is to be put: of its pattern, where it has one.
    pub(super) fn pattern_of(&self, id: &GenerationId) -> GenerationId {
        let row = self.view.keys.get(&id.0).filter(|row| row.is_for_command());
        match row.and_then(|row| row.made_after.clone()) {
            Some(pattern) => (pattern, 0),
            None => id.clone(),
        }
    }

    /// A key that was made this moment logs in nowhere: it need not be tried before its line is put there.
    pub(super) fn expect_no_login(&mut self, id: &GenerationId) {
        let hosts = self.hosts_of(&id.0).into_iter();
        let logins = hosts.map(|host| (id.0.clone(), id.1, host));
        self.observed.refused_logins.extend(logins);
    }

    /// Whether neither provider, hosts nor agent have anything of a key, and nothing is under way for it.
    pub(super) fn is_nothing_left(&self, name: &str) -> bool {
        let observed = &self.observed;
        let mut in_agent = observed.in_agent.iter().chain(&observed.halves);
        self.view.of_key(name).next().is_none()
            && self.view.placements_of(name).next().is_none()
            && self.view.trusted_of(name).next().is_none()
            && !in_agent.any(|(key, _)| key == name)
            && !observed.generating.contains(name)
            && !observed.ready.contains_key(name)
            && !observed.listing_hosts.contains(name)
            && !observed.jobs.keys().any(|(key, _)| key == name)
            && !observed.host_tasks.values().any(|key| key == name)
    }
}

/// A key like its pattern, as far as one command needs it: in one region, on the hosts that are known, over the pattern's own
/// login first, and without anything that outlasts it.
fn after_pattern(pattern: &KeySpec, name: &str, hosts: Option<&[String]>) -> KeySpec {
    let mut login_with = pattern.deploy.login_with.clone();
    login_with.retain(|login| *login != LoginWith::Current);
    login_with.insert(0, LoginWith::Current);
    let end = name.rsplit_once("-exec-").map_or("", |(_, number)| number);
    let pair_name = pattern.pair_name.as_ref();
    KeySpec {
        name: name.to_owned(),
        further_regions: Vec::new(),
        pair_name: pair_name.map(|pair_name| format!("{pair_name}-exec-{end}")),
        on_drift: OnDrift::Report,
        hosts: match hosts {
            Some(hosts) => Some(HostList::Listed(hosts.to_vec())),
            None => pattern.hosts.clone(),
        },
        offer_to: Vec::new(),
        rotate: None,
        deploy: Deploy {
            // Its lines have the key's own end.
            expires: None,
            login_with,
            replaces: Vec::new(),
            also_trust: Vec::new(),
            // A line more takes nothing from anybody.
            canary: 0,
            ..pattern.deploy.clone()
        },
        on_remove: OnRemove::Keep,
        present: true,
        ..pattern.clone()
    }
}

/// After its end a line is taken for a day more, wherever the host is; and a day for clocks that are wrong (milliseconds).
const TIME_OF_LINE: i64 = 2 * 86_400_000;

/// Milliseconds.
const LONGEST_WAIT: u64 = 3_600_000;
