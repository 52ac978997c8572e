//! Hosts in memory: files of lines, logins that work with what the agent has, faults, and a watch over who gets in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use keyferry_hosts::{HostError, HostErrorKind, Identity, Line, Outcome, Reply, Task, Work};

use super::super::{DeployFuture, GenerationId, HostFuture, HostListFuture, Hosts, Offer};
use super::{JumpingClock, Ring};
use crate::desired::HostList;

/// What goes wrong with one task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// It fails with that, and nothing is changed.
    Fails(HostErrorKind),
    /// It takes effect, and the answer is lost.
    LostAfter,
    /// The connection breaks before it takes effect, and nobody knows.
    LostBefore,
}

struct FakeHost {
    /// `authorized_keys`.
    lines: Vec<String>,
    /// Other files that keys are put into, by path.
    files: BTreeMap<String, Vec<String>>,
    /// Those of them that sshd does not read; empty: `authorized_keys`.
    unread: BTreeSet<String>,
    is_up: bool,
    /// Whether the user's own ssh_config logs in.
    has_ssh_config: bool,
    /// Whether it asks for something that a person would have to type.
    asks_a_person: bool,
    /// Whether a login that follows a change is refused.
    bars_second_logins: bool,
    /// Whether sshd takes no line of the file.
    reads_another_file: bool,
    /// Whether no other agent's key logs in, as with one whose agent is locked.
    takes_no_agent: bool,
    /// Whether nobody logs in as another login that changes the file.
    takes_no_editor: bool,
    host_key: Vec<u8>,
    /// Whether a client of this daemon was seen to be offered a key that logs in.
    is_served: bool,
    /// The latest life of the daemon of which a line stood there whose key had been offered to it.
    life: u64,
    /// How many lines of [`State::watched`] stood there.
    watched: usize,
    /// Fails like this, until told otherwise.
    standing: Option<Fault>,
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<String, FakeHost>,
    ring: Ring,
    faults: VecDeque<Option<Fault>>,
    violations: Vec<String>,
    /// How many daemons have begun.
    lives: u64,
    /// Of every generation that was offered: in which life.
    offered: BTreeMap<GenerationId, u64>,
    /// Something that is in no line any more where it once was.
    watched: Option<String>,
    /// What only a case knows to be wrong in which nobody is meant to be locked out.
    losses: Vec<String>,
    busy: BTreeSet<String>,
    most_busy: usize,
    /// Of every task: the host, and what.
    tasks: Vec<(String, What)>,
    /// One way, in milliseconds.
    latency: u64,
    lists: BTreeMap<String, Result<Vec<String>, String>>,
    /// What a deploying program was told.
    documents: Vec<String>,
    /// Keys with which the agent signs nothing.
    silent: BTreeSet<String>,
    /// Generations whose type of key no host takes any more.
    outdated: BTreeSet<GenerationId>,
    /// Whether the agent signs nothing.
    is_locked: bool,
    /// How many signatures were refused for that.
    refused_for_lock: usize,
}

pub(super) struct FakeHosts {
    state: Arc<Mutex<State>>,
    clock: Arc<JumpingClock>,
}

impl FakeHosts {
    pub(super) fn new(clock: Arc<JumpingClock>) -> Self {
        Self {
            state: Arc::default(),
            clock,
        }
    }

    /// A host with somebody else's line, where the user's own ssh_config logs in or not.
    pub(super) fn add(&self, name: &str, has_ssh_config: bool) {
        let host = FakeHost {
            lines: vec!["ssh-ed25519 AAAAfriend somebody else".to_owned()],
            files: BTreeMap::new(),
            unread: BTreeSet::new(),
            is_up: true,
            has_ssh_config,
            asks_a_person: false,
            bars_second_logins: false,
            reads_another_file: false,
            takes_no_agent: false,
            takes_no_editor: false,
            host_key: format!("host key of {name}").into_bytes(),
            is_served: false,
            life: 0,
            watched: 0,
            standing: None,
        };
        self.state.lock().unwrap().hosts.insert(name.to_owned(), host);
    }

    /// A daemon with this agent begins: nobody has been offered anything yet.
    pub(super) fn begin(&self, ring: Ring) {
        let mut state = self.state.lock().unwrap();
        state.ring = ring;
        state.lives += 1;
        for host in state.hosts.values_mut() {
            host.is_served = false;
        }
    }

    /// The coming tasks go wrong like this, one each.
    pub(super) fn expect(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// All tasks on a host go wrong like this, until told otherwise.
    pub(super) fn always(&self, name: &str, fault: Option<Fault>) {
        self.host(name, |host| host.standing = fault);
    }

    pub(super) fn turn(&self, name: &str, is_up: bool) {
        self.host(name, |host| host.is_up = is_up);
    }

    pub(super) fn let_ssh_config_in(&self, name: &str, does: bool) {
        self.host(name, |host| host.has_ssh_config = does);
    }

    /// The user's own ssh_config logs in with a person's help alone.
    pub(super) fn ask_a_person(&self, name: &str) {
        self.host(name, |host| {
            (host.has_ssh_config, host.asks_a_person) = (false, true);
        });
    }

    pub(super) fn bar_second_logins(&self, name: &str, does: bool) {
        self.host(name, |host| host.bars_second_logins = does);
    }

    pub(super) fn read_another_file(&self, name: &str, does: bool) {
        self.host(name, |host| host.reads_another_file = does);
    }

    /// sshd reads a file besides `authorized_keys` or not; empty: that one.
    pub(super) fn read_file(&self, name: &str, path: &str, does: bool) {
        self.host(name, |host| {
            match does {
                true => host.unread.remove(path),
                false => host.unread.insert(path.to_owned()),
            };
        });
    }

    /// Somebody writes a file besides `authorized_keys` anew.
    pub(super) fn write_file(&self, name: &str, path: &str, change: impl FnOnce(&mut Vec<String>)) {
        self.host(name, |host| {
            change(host.files.entry(path.to_owned()).or_default())
        });
    }

    /// A file besides `authorized_keys`.
    pub(super) fn file(&self, name: &str, path: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.hosts[name].files.get(path).cloned().unwrap_or_default()
    }

    /// Nobody logs in as another login that changes the file, or key `ops` does.
    pub(super) fn let_nobody_edit(&self, name: &str, does: bool) {
        self.host(name, |host| host.takes_no_editor = does);
    }

    pub(super) fn take_no_agent(&self, name: &str) {
        self.host(name, |host| host.takes_no_agent = true);
    }

    /// As with a key that is held.
    pub(super) fn sign_nothing_with(&self, key: &str) {
        self.state.lock().unwrap().silent.insert(key.to_owned());
    }

    /// No host takes this generation's type of key any more.
    pub(super) fn outdate(&self, key: &str, n: u64) {
        self.state.lock().unwrap().outdated.insert((key.to_owned(), n));
    }

    /// As with an agent that is locked.
    pub(super) fn refuse_signatures(&self, does: bool) {
        self.state.lock().unwrap().is_locked = does;
    }

    pub(super) fn refused_for_lock(&self) -> usize {
        self.state.lock().unwrap().refused_for_lock
    }

    /// Every way takes that long.
    pub(super) fn latency(&self, milliseconds: u64) {
        self.state.lock().unwrap().latency = milliseconds;
    }

    /// Somebody writes the file anew.
    pub(super) fn write(&self, name: &str, change: impl FnOnce(&mut Vec<String>)) {
        self.host(name, |host| {
            host.is_served = false;
            change(&mut host.lines);
        });
    }

    pub(super) fn list_is(&self, name: &str, hosts: Result<Vec<String>, String>) {
        self.state.lock().unwrap().lists.insert(name.to_owned(), hosts);
    }

    /// The lines of all files there.
    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let host = &state.hosts[name];
        let files = std::iter::once(&host.lines).chain(host.files.values());
        files.flatten().cloned().collect()
    }

    /// The generations whose lines stand on a host, of keys of keyferry's.
    pub(super) fn generations(&self, name: &str) -> Vec<u64> {
        let lines = self.lines(name);
        let markers = lines.iter().filter_map(|line| line.split(" gen=").nth(1));
        markers.map(|n| n.parse().unwrap()).collect()
    }

    pub(super) fn tasks(&self) -> Vec<(String, What)> {
        self.state.lock().unwrap().tasks.clone()
    }

    pub(super) fn documents(&self) -> Vec<String> {
        self.state.lock().unwrap().documents.clone()
    }

    pub(super) fn forget_tasks(&self) {
        self.state.lock().unwrap().tasks.clear();
    }

    /// How many tasks were under way at once, at most.
    pub(super) fn most_busy(&self) -> usize {
        self.state.lock().unwrap().most_busy
    }

    /// Looks whether every host that let a client in still does.
    pub(super) fn look_at_offers(&self) {
        self.state.lock().unwrap().look_at_offers();
    }

    #[track_caller]
    pub(super) fn assert_nobody_was_locked_out(&self) {
        let state = self.state.lock().unwrap();
        assert_eq!(state.violations, Vec::<String>::new());
        for (name, host) in &state.hosts {
            assert_eq!(
                host.lines.first().map(String::as_str),
                Some("ssh-ed25519 AAAAfriend somebody else"),
                "somebody else's line on {name}"
            );
        }
    }

    /// That text stays in as many lines of each host as it ever was.
    pub(super) fn watch(&self, text: &str) {
        self.state.lock().unwrap().watched = Some(text.to_owned());
    }

    /// For cases in which nobody ends a key, or takes a line away: from one life of the daemon to the next each host kept what
    /// stood there until the later life's key did.
    #[track_caller]
    pub(super) fn assert_lives_follow_each_other(&self) {
        assert_eq!(self.losses(), Vec::<String>::new());
        let state = self.state.lock().unwrap();
        for (name, host) in &state.hosts {
            assert_eq!(host.life, state.lives, "{name}: it has no line of the last life");
        }
    }

    /// What went although the later life's was not there, in words.
    pub(super) fn losses(&self) -> Vec<String> {
        self.state.lock().unwrap().losses.clone()
    }

    fn host(&self, name: &str, change: impl FnOnce(&mut FakeHost)) {
        change(self.state.lock().unwrap().hosts.get_mut(name).unwrap());
    }
}

impl Hosts for FakeHosts {
    fn run(&self, task: Task) -> HostFuture {
        let (state, clock) = (Arc::clone(&self.state), Arc::clone(&self.clock));
        Box::pin(async move {
            let name = task.host.destination.clone();
            let _busy = Busy::begin(&state, &name, &task.work);
            let (latency, ways) = {
                let state = state.lock().unwrap();
                (state.latency, ways(What::of(&task.work)))
            };
            // Half of it before it takes effect.
            match latency {
                0 => tokio::task::yield_now().await,
                _ => clock.delay(latency * ways / 2).await,
            }
            let result = {
                let mut state = state.lock().unwrap();
                let result = state.take(&task);
                state.refused_for_lock += usize::from(state.is_locked && result.is_err());
                result
            };
            match latency {
                0 => tokio::task::yield_now().await,
                _ => clock.delay(latency * ways / 2).await,
            }
            result
        })
    }

    fn deploy(&self, command: Vec<String>, document: String) -> DeployFuture {
        let mut state = self.state.lock().unwrap();
        state.documents.push(document.clone());
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        let has_failed = command != ["fleet"];
        for line in document["lines"].as_array().unwrap() {
            let text = line["line"].as_str().unwrap().to_owned();
            state.host(line["host"].as_str().unwrap()).lines.push(text);
        }
        Box::pin(async move {
            match has_failed {
                true => Err("failed with exit status 1".to_owned()),
                false => Ok(()),
            }
        })
    }

    fn list(&self, list: HostList) -> HostListFuture {
        let HostList::File(path) = list else {
            panic!("{list:?} is not listed here")
        };
        let listed = self.state.lock().unwrap().lists[path.to_str().unwrap()].clone();
        Box::pin(async move { listed })
    }
}

/// What a task does, for counting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    Inspect,
    Put,
    Remove,
    Resolve,
    Verify,
}

impl What {
    fn of(work: &Work) -> Self {
        match work {
            Work::Inspect { .. } => Self::Inspect,
            Work::Put { .. } => Self::Put,
            Work::Remove { .. } | Work::RemoveLast { .. } => Self::Remove,
            Work::Resolve => Self::Resolve,
            Work::Verify { .. } => Self::Verify,
        }
    }
}

/// How many ways over the network a login takes with what is done over it: a handshake, an answer, and what is sent.
pub(super) const fn ways(what: What) -> u64 {
    match what {
        What::Inspect => 14,
        What::Put => 16,
        What::Remove => 28,
        What::Resolve => 0,
        What::Verify => 12,
    }
}

/// Counts a task until its future ends or is dropped.
struct Busy {
    state: Arc<Mutex<State>>,
    name: String,
}

impl Busy {
    fn begin(state: &Arc<Mutex<State>>, name: &str, work: &Work) -> Self {
        let mut counted = state.lock().unwrap();
        if !counted.busy.insert(name.to_owned()) {
            counted.violations.push(format!("two tasks on {name}"));
        }
        counted.most_busy = counted.most_busy.max(counted.busy.len());
        counted.tasks.push((name.to_owned(), What::of(work)));
        Self {
            state: Arc::clone(state),
            name: name.to_owned(),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut counted = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        counted.busy.remove(&self.name);
    }
}

impl State {
    fn take(&mut self, task: &Task) -> Result<Reply, HostError> {
        let name = &task.host.destination;
        let fault = self.faults.pop_front().flatten();
        let host = self.hosts.get(name);
        let Some(host) = host.filter(|host| host.is_up) else {
            return Err(failed(HostErrorKind::Unreachable, name));
        };
        if task
            .host
            .pinned
            .as_ref()
            .is_some_and(|pinned| *pinned != host.host_key)
        {
            return Err(failed(HostErrorKind::HostKeyChanged, name));
        }
        match fault.or(host.standing) {
            None => self.perform(task),
            Some(Fault::Fails(kind)) => Err(failed(kind, name)),
            Some(Fault::LostBefore) => Err(lost(name)),
            Some(Fault::LostAfter) => {
                let _ = self.perform(task);
                Err(lost(name))
            }
        }
    }

    fn perform(&mut self, task: &Task) -> Result<Reply, HostError> {
        let name = &task.host.destination;
        let path = task.host.account.path.as_deref();
        let file_hash = [0; 32];
        let reply = match &task.work {
            Work::Verify { identity, .. } => {
                if !self.logs_in(name, identity) {
                    return Err(refused(name));
                }
                Reply::Verified {
                    host_key: self.hosts[name].host_key.clone(),
                }
            }
            Work::Put {
                over, line, itself, ..
            } => {
                let Some(over) = over.iter().find(|identity| self.opens(task, identity)) else {
                    let asks = self.hosts[name].asks_a_person && over.contains(&Identity::SshConfig);
                    return Err(match asks {
                        true => failed(HostErrorKind::NeedsPerson, name),
                        false => refused(name),
                    });
                };
                let before = self.file(name, path).clone();
                let already = self.put(name, path, line);
                // A line that replaces another stays when its key logs in with it.
                let is_replaced = !already && self.file(name, path).len() == before.len();
                let itself = itself.as_ref().filter(|_| is_replaced);
                if itself.is_some_and(|itself| !self.logs_in(name, itself)) {
                    *self.file(name, path) = before;
                    return Err(refused(name));
                }
                Reply::Put {
                    over: over.clone(),
                    already,
                    file_hash,
                }
            }
            Work::Remove {
                over,
                editors,
                lines,
                foreign,
                ..
            } => {
                let own = std::slice::from_ref(over);
                let editors = match task.host.account.editor {
                    Some(_) => editors.as_slice(),
                    None => own,
                };
                if !editors.iter().any(|editor| self.opens(task, editor)) {
                    return Err(refused(name));
                }
                let before = self.file(name, path).clone();
                for line in lines {
                    let end = format!("{} {}", line.public_key, line.marker);
                    self.file(name, path).retain(|there| !there.ends_with(&end));
                }
                let is_foreign = |there: &String| {
                    let key = keyferry_hosts::public_blob(there.split(" somebody").next().unwrap_or(there));
                    key.is_some_and(|blob| foreign.contains(&keyferry_hosts::fingerprint(&blob)))
                };
                self.file(name, path).retain(|there| !is_foreign(there));
                // As the host itself does it: what was changed stays when the second login works.
                if self.hosts[name].bars_second_logins || !self.logs_in(name, over) {
                    *self.file(name, path) = before;
                    return Err(HostError {
                        outcome: Outcome::Restored,
                        ..refused(name)
                    });
                }
                let is_of = |there: &&String| lines.iter().any(|line| there.contains(&line.public_key));
                let left = self.file(name, path).iter().filter(is_of).cloned().collect();
                Reply::Removed { file_hash, left }
            }
            Work::RemoveLast { over, lines } => {
                if !over.iter().any(|identity| self.opens(task, identity)) {
                    return Err(refused(name));
                }
                for line in lines {
                    let end = format!("{} {}", line.public_key, line.marker);
                    self.file(name, path).retain(|there| !there.ends_with(&end));
                }
                // Its owner said that it may be locked.
                self.host(name).is_served = false;
                Reply::Removed {
                    file_hash,
                    left: Vec::new(),
                }
            }
            Work::Inspect { over } => {
                if !over.iter().any(|identity| self.opens(task, identity)) {
                    return Err(refused(name));
                }
                let lines = self.file(name, path);
                let marked: Vec<Line> = lines.iter().filter_map(|line| marked(line)).collect();
                Reply::Marked {
                    others: lines.len() - marked.len(),
                    lines: marked,
                }
            }
            Work::Resolve => unreachable!("the engine does not ask for it here"),
        };
        self.look_at_offers();
        Ok(reply)
    }

    fn put(&mut self, name: &str, path: Option<&str>, line: &Line) -> bool {
        let text = line.to_string();
        let end = format!("{} {}", line.public_key, line.marker);
        let lines = self.file(name, path);
        if lines.contains(&text) {
            return true;
        }
        lines.retain(|there| !there.ends_with(&end));
        lines.push(text);
        false
    }

    /// Whether an identity gets to the file that a task changes: that of the login, or another login's.
    fn opens(&self, task: &Task, identity: &Identity) -> bool {
        let name = &task.host.destination;
        if task.host.account.editor.is_none() {
            return self.logs_in(name, identity);
        }
        let is_taken = match identity {
            Identity::Generation { key, .. } => key == "ops",
            Identity::SshConfig => self.hosts[name].has_ssh_config,
            Identity::Agent { .. } => false,
        };
        is_taken && !self.hosts[name].takes_no_editor
    }

    fn logs_in(&self, name: &str, identity: &Identity) -> bool {
        let host = &self.hosts[name];
        match identity {
            Identity::Generation { key, n, public_key } => {
                let is_loaded = self.ring.lock().unwrap().contains_key(&(key.clone(), *n));
                let signs = !self.is_locked && !self.silent.contains(key);
                let is_taken = !self.outdated.contains(&(key.clone(), *n)) && !host.reads_another_file;
                is_loaded && has(host, public_key) && is_taken && signs
            }
            Identity::Agent { public_key, .. } => has(host, public_key) && !host.takes_no_agent,
            Identity::SshConfig => host.has_ssh_config,
        }
    }

    /// Whether a client that says that it logs in to a host is offered a generation that does. Once it was, it stays so.
    fn look_at_offers(&mut self) {
        let ring = self.ring.lock().unwrap().clone();
        let mut violations = Vec::new();
        for (name, host) in &mut self.hosts {
            let is_for = |offer: &Offer| matches!(offer, Offer::To(keys) if keys.contains(&host.host_key));
            let keys: BTreeSet<&String> = ring.keys().map(|(key, _)| key).collect();
            let offered = keys.into_iter().flat_map(|key| {
                let of_key = || ring.iter().filter(move |((name, _), _)| name == key);
                let own = of_key().any(|(_, offer)| is_for(offer));
                let is_offered = move |offer: &Offer| match own {
                    true => is_for(offer),
                    false => *offer == Offer::Everywhere,
                };
                of_key().filter(move |(_, offer)| is_offered(offer))
            });
            let mut is_served = false;
            for (id, _) in offered {
                self.offered.entry(id.clone()).or_insert(self.lives);
                is_served |= host.has_line_of(id);
            }
            if host.is_served && !is_served {
                violations.push(format!(
                    "{name} lets in nobody any more: {:?} are offered, it has {:?}",
                    ring, host.lines
                ));
            }
            host.is_served |= is_served;
        }
        self.violations.extend(violations);
        self.look_at_earlier_lives();
    }

    /// Whether each host still has a line of a life as late as before, and of what is watched. What a life before held logs in
    /// no more, but says that the host was brought from one life to the next without a gap.
    fn look_at_earlier_lives(&mut self) {
        for (name, host) in &mut self.hosts {
            let there = self.offered.iter().filter(|(id, _)| host.has_line_of(id));
            let life = there.map(|(_, life)| *life).max().unwrap_or_default();
            let is_watched = |line: &&String| self.watched.as_ref().is_some_and(|text| line.contains(text));
            let watched = host.read().filter(is_watched).count();
            if life < host.life || watched < host.watched {
                self.losses.push(format!(
                    "{name} had a line of life {}, and {} that are watched: now {life} and {watched}, {:?}",
                    host.life, host.watched, host.lines
                ));
            }
            (host.life, host.watched) = (life, watched);
        }
    }

    fn host(&mut self, name: &str) -> &mut FakeHost {
        self.hosts.get_mut(name).unwrap()
    }

    /// A file of lines; none: `authorized_keys`.
    fn file(&mut self, name: &str, path: Option<&str>) -> &mut Vec<String> {
        let host = self.host(name);
        match path {
            None => &mut host.lines,
            // Another name of the same file.
            Some("%h/.ssh/authorized_keys") => &mut host.lines,
            Some(path) => host.files.entry(path.to_owned()).or_default(),
        }
    }
}

/// A line that somebody's keyferry put there.
fn marked(line: &str) -> Option<Line> {
    let (key, marker) = line.split_once(" keyferry ")?;
    let mut words = key.rsplitn(3, ' ');
    let (base64, kind) = (words.next()?, words.next()?);
    Some(Line {
        options: words.next().unwrap_or_default().to_owned(),
        public_key: format!("{kind} {base64}"),
        marker: format!("keyferry {marker}").parse().ok()?,
    })
}

impl FakeHost {
    /// The lines of all files that sshd reads.
    fn read(&self) -> impl Iterator<Item = &String> {
        let usual = Some(&self.lines).filter(|_| !self.unread.contains(""));
        let others = self.files.iter().filter(|(path, _)| !self.unread.contains(*path));
        usual.into_iter().chain(others.map(|(_, lines)| lines)).flatten()
    }

    fn has_line_of(&self, (key, n): &GenerationId) -> bool {
        let marker = format!("key={key} gen={n}");
        self.read().any(|line| line.ends_with(&marker))
    }
}

fn has(host: &FakeHost, public_key: &str) -> bool {
    host.read().any(|line| line.contains(public_key))
}

fn failed(kind: HostErrorKind, name: &str) -> HostError {
    HostError {
        kind,
        message: format!("{name}: {}", kind.name()),
        remedy: "see to it".to_owned(),
        outcome: Outcome::Unchanged,
    }
}

/// Not just cut while keys were tried.
fn refused(name: &str) -> HostError {
    HostError {
        message: format!("{name}: Permission denied (publickey)."),
        ..failed(HostErrorKind::Refused, name)
    }
}

fn lost(name: &str) -> HostError {
    HostError {
        outcome: Outcome::Unknown,
        ..failed(HostErrorKind::NoAnswer, name)
    }
}
