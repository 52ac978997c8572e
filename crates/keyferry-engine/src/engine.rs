//! Acting on the plan: one task that owns ledger view, private halves and requests in flight.
//!
//! Invariant: the engine runs no request of its own and opens no library; it does so through [`Clouds`] and [`KeyRing`].
//! Every event (an answer, a changed file, a command, a deadline) changes what is observed; then it is planned again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use keyferry_hosts::{HostError, Reply};
use keyferry_plugin::manifest::Manifest;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};

mod absence;
mod acting;
mod attaching;
mod clock;
mod cloud;
mod commands;
mod copying;
mod exec;
mod failure;
mod hosting;
mod hosts;
mod locking;
mod orphans;
mod outcome;
mod retrying;
mod staging;
mod status;
mod survey;
mod wanting;
mod writing;

#[cfg(test)]
mod tests;

pub use clock::{Clock, Moment, SystemClock};
pub use cloud::{CloudFuture, Clouds, Job, JobError, JobReply, KeyRing, Offer, Permit, SetupKind};
pub use commands::{
    AttachAsked, AttachRefusal, EngineHandle, Grant, Lease, Refusal, TrustRefusal, UnknownName,
};
pub use hosts::{DeployFuture, HostFuture, HostListFuture, Hosts};
pub use survey::DEFAULT_CHECK_EVERY;

use crate::config::{PluginProblem, Plugins};
use crate::desired::Desired;
use crate::error::EngineError;
use crate::ledger::{EffectKind, Ledger, LedgerView, TrustedId};
use crate::plan::{GenerationId, Observed, Overfull, Waiting, plan};
use crate::private_key::{GenerationPool, PrivateKey, PrivateKeyError};
use crate::snapshot::{Snapshot, StatusError};
use absence::Absence;
use attaching::{AttachWait, Attaching};
use commands::{Command, TrustWait};
use exec::Exec;
use hosting::{Deployed, Deployments, Lent, OnHost, Signature};
use orphans::OrphanWait;
use survey::{Survey, SurveyWait};
use writing::Unwritten;

/// What the engine works with.
pub struct Parts {
    /// The state directory, for public halves.
    pub state_directory: PathBuf,
    /// The open ledger, and what it held.
    pub ledger: (Ledger, LedgerView),
    /// What the config directory asks for.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// Manifests.
    pub plugins: Arc<dyn Plugins + Send + Sync>,
    /// Requests to providers.
    pub clouds: Arc<dyn Clouds>,
    /// The agent.
    pub key_ring: Arc<dyn KeyRing>,
    /// Logins on hosts.
    pub hosts: Arc<dyn Hosts>,
    /// The socket of the user's own agent, for `login_with` and the recovery identity; never one of keyferry's.
    pub user_agent: Option<PathBuf>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
}

/// The engine: see [`Engine::start`].
pub struct Engine {
    state_directory: PathBuf,
    ledger: Ledger,
    view: LedgerView,
    /// What the config directory asks for.
    declared: Arc<Desired>,
    /// That, and the keys for one command.
    desired: Arc<Desired>,
    plugins: Arc<dyn Plugins + Send + Sync>,
    clouds: Arc<dyn Clouds>,
    key_ring: Arc<dyn KeyRing>,
    hosts: Arc<dyn Hosts>,
    user_agent: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    /// See [`KeyRing::lock_changes`].
    lock_changes: watch::Receiver<u64>,
    signature: Signature,
    pool: GenerationPool,

    observed: Observed,
    absence: Absence,
    exec: Exec,
    /// What the agent offers in place of lost keys.
    lent: Option<Lent>,
    /// The recovery identity that was named when it was last looked at.
    recovery: Option<String>,
    trust_waits: BTreeMap<TrustedId, String>,
    trust_asked: Vec<TrustWait>,
    attach_waits: Vec<AttachWait>,
    /// To whom the agent offers what it has.
    offered: BTreeMap<GenerationId, Offer>,
    /// Private halves made here that have no generation yet.
    ready: BTreeMap<String, PrivateKey>,
    /// Private halves of generations that are not in the agent yet.
    halves: BTreeMap<GenerationId, PrivateKey>,
    /// Generations whose names were somebody else's, until that is on the disk.
    taken: BTreeSet<GenerationId>,
    /// How often a generation's name was taken while its pair was not there.
    hidden: BTreeMap<GenerationId, u32>,
    unwritten: Unwritten,
    /// Why the ledger could not be written last.
    ledger_error: Option<StatusError>,
    manifests: BTreeMap<String, Result<Arc<Manifest>, PluginProblem>>,
    account_errors: BTreeMap<String, StatusError>,
    /// Keys for which the user has said to go on while a provider was being asked: what comes of that may be of before.
    resumed: BTreeSet<String>,
    waiting: BTreeMap<String, Waiting>,
    rotations_wait: BTreeMap<String, String>,
    /// When a time is over that a key's rotation waits for (milliseconds of uptime).
    goes_on_at: BTreeMap<String, u64>,
    overfull: BTreeMap<String, BTreeMap<Option<String>, Overfull>>,
    wake_at: Option<u64>,
    survey_at: Option<u64>,
    requests: u64,
    /// Since when each generation's request is under way.
    asked_since: BTreeMap<GenerationId, Moment>,
    /// By account.
    surveys: BTreeMap<String, Survey>,
    survey_waits: Vec<SurveyWait>,
    orphan_waits: Vec<OrphanWait>,

    tasks: JoinSet<Finished>,
    running: HashMap<Id, Task>,
}

impl Engine {
    /// Starts the engine on the current tokio runtime. It ends when the last handle is dropped, or with an error when the
    /// ledger can no longer be relied on; aborting its task is as good as killing it.
    ///
    /// # Errors
    /// When no thread can be started for making keys.
    pub fn start(parts: Parts) -> io::Result<(EngineHandle, JoinHandle<Result<(), EngineError>>)> {
        Ok(Self::start_with(parts, GenerationPool::start()?))
    }

    /// The same with this pool.
    fn start_with(parts: Parts, pool: GenerationPool) -> (EngineHandle, JoinHandle<Result<(), EngineError>>) {
        let (engine, updates) = Self::new(parts, pool);
        let (commands, orders) = mpsc::unbounded_channel();
        let (publish, snapshots) = watch::channel(Arc::new(Snapshot {
            idle: false,
            ..engine.snapshot()
        }));
        let task = tokio::spawn(engine.run(updates, orders, publish));
        (EngineHandle::new(commands, snapshots), task)
    }

    /// An engine that has not begun anything, and where it hears of changed files.
    fn new(parts: Parts, pool: GenerationPool) -> (Self, watch::Receiver<Arc<Desired>>) {
        let (ledger, view) = parts.ledger;
        let mut updates = parts.desired;
        let desired = Arc::clone(&updates.borrow_and_update());
        let signature = Signature::new(&view.installation);
        let lock_changes = parts.key_ring.lock_changes();
        let mut engine = Self {
            state_directory: parts.state_directory,
            ledger,
            view,
            declared: Arc::clone(&desired),
            desired,
            plugins: parts.plugins,
            clouds: parts.clouds,
            key_ring: parts.key_ring,
            hosts: parts.hosts,
            user_agent: parts.user_agent,
            clock: parts.clock,
            lock_changes,
            signature,
            pool,
            observed: Observed::default(),
            absence: Absence::default(),
            exec: Exec::default(),
            lent: None,
            recovery: None,
            trust_waits: BTreeMap::new(),
            trust_asked: Vec::new(),
            attach_waits: Vec::new(),
            offered: BTreeMap::new(),
            ready: BTreeMap::new(),
            halves: BTreeMap::new(),
            taken: BTreeSet::new(),
            hidden: BTreeMap::new(),
            unwritten: Unwritten::default(),
            ledger_error: None,
            manifests: BTreeMap::new(),
            account_errors: BTreeMap::new(),
            resumed: BTreeSet::new(),
            waiting: BTreeMap::new(),
            rotations_wait: BTreeMap::new(),
            goes_on_at: BTreeMap::new(),
            overfull: BTreeMap::new(),
            wake_at: None,
            survey_at: None,
            requests: 0,
            asked_since: BTreeMap::new(),
            surveys: BTreeMap::new(),
            survey_waits: Vec::new(),
            orphan_waits: Vec::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
        };
        engine.add_keys_for_commands();
        (engine, updates)
    }

    async fn run(
        mut self,
        mut updates: watch::Receiver<Arc<Desired>>,
        mut orders: mpsc::UnboundedReceiver<Command>,
        publish: watch::Sender<Arc<Snapshot>>,
    ) -> Result<(), EngineError> {
        let mut refreshed: Vec<oneshot::Sender<()>> = Vec::new();
        let mut files_are_watched = true;
        let mut lock_is_watched = true;
        self.find_limits();
        loop {
            self.look_at_lock();
            self.look_at_ledger();
            self.write_what_is_left().await?;
            if self.desired.standstill().is_some() {
                self.stand_still();
            } else {
                self.end_surveys();
                self.schedule_surveys();
                self.end_absent_keys().await?;
                self.end_keys_for_commands().await?;
                self.act().await?;
                self.begin_attaching().await?;
                self.close_keys_for_commands().await?;
            }
            self.answer_about_orphans();
            self.answer_about_trust();
            self.answer_about_attaching();
            publish.send_replace(Arc::new(self.snapshot()));
            for asker in refreshed.drain(..) {
                // Whoever asked may have gone.
                let _ = asker.send(());
            }

            let clock = Arc::clone(&self.clock);
            let wake_at = self
                .wake_at
                .into_iter()
                .chain(self.survey_at)
                .chain(self.absence.wake_at())
                .chain(self.unwritten.wake_at())
                .chain(self.exec.wake_at())
                .min();
            let wake = clock.sleep_until(wake_at.unwrap_or(u64::MAX));
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await?,
                order = orders.recv() => match order {
                    Some(Command::Refresh { reply }) => {
                        self.forget_failures_that_were_mended(false);
                        refreshed.push(reply);
                    }
                    Some(command) => self.obey(command).await?,
                    None => return Ok(()),
                },
                changed = updates.changed(), if files_are_watched => files_are_watched = changed.is_ok(),
                changed = self.lock_changes.changed(), if lock_is_watched => lock_is_watched = changed.is_ok(),
                () = wake => {}
            }
            // Whatever else has happened is planned for together.
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.ended(ended).await?;
            }
            let latest = Arc::clone(&updates.borrow_and_update());
            if !Arc::ptr_eq(&latest, &self.declared) {
                let is_other_network = latest.daemon.network != self.declared.daemon.network;
                self.declared = latest;
                self.add_keys_for_commands();
                self.manifests.retain(|_, found| found.is_err());
                self.forget_failures_that_were_mended(is_other_network);
                self.find_limits();
                self.forget_errors_of_changed_accounts();
                self.forget_missing_files();
            }
        }
    }

    /// Nothing is begun while nobody knows what the files ask for. What is offered and lent stays as it is.
    fn stand_still(&mut self) {
        self.waiting.clear();
        self.rotations_wait.clear();
        self.trust_waits.clear();
        self.overfull.clear();
        self.wake_at = None;
        self.survey_at = None;
        self.absence.stand_still();
        self.exec.stand_still();
    }

    /// Begins everything that the plan allows, until it allows nothing more.
    async fn act(&mut self) -> Result<(), EngineError> {
        self.remember_recovery();
        loop {
            let plan = plan(&self.desired, &self.view, &self.observed, self.clock.now());
            self.waiting = plan.waiting;
            self.rotations_wait = plan.rotations_wait;
            self.goes_on_at = plan.goes_on_at;
            self.offer(plan.offers);
            self.lend(plan.lend);
            self.trust_waits = plan.trust_waits;
            self.overfull = plan.overfull;
            self.wake_at = plan.wake_at;
            self.survey_at = plan.survey_at;
            if plan.actions.is_empty() {
                self.calm_down();
                return Ok(());
            }
            let mut for_programs = Deployments::default();
            for action in plan.actions {
                if let Some(action) = self.put_aside(action, &mut for_programs) {
                    self.begin(action).await?;
                }
            }
            self.begin_deploying(for_programs).await?;
        }
    }

    /// A plugin's manifest, asked for once until the files change, or somebody asks while it cannot be used.
    fn manifest(&mut self, plugin: &str) -> Result<Arc<Manifest>, PluginProblem> {
        match self.manifests.get(plugin) {
            Some(known) => known.clone(),
            None => {
                let found = self.plugins.manifest(plugin);
                self.manifests.insert(plugin.to_owned(), found.clone());
                found
            }
        }
    }

    async fn ended(&mut self, ended: Result<(Id, Finished), JoinError>) -> Result<(), EngineError> {
        let (id, finished) = match ended {
            Ok((id, finished)) => (id, finished),
            Err(error) => {
                tracing::error!(%error, "a task of the engine ended before its time");
                (error.id(), Finished::Crashed)
            }
        };
        match self.running.remove(&id) {
            Some(task) => self.finish(task, finished).await,
            None => Ok(()),
        }
    }
}

/// What runs beside the engine's own task.
#[derive(Clone, Debug)]
enum Task {
    Attach(Attaching),
    Generate {
        key: String,
    },
    List {
        account: String,
        region: Option<String>,
        /// The generations whose pairs should be there.
        expected: BTreeSet<GenerationId>,
    },
    /// A program puts a generation's line on hosts.
    Deploy {
        id: GenerationId,
        hosts: Vec<Deployed>,
    },
    /// Asking for the hosts of a key.
    ListHosts {
        key: String,
    },
    /// Looking which keys have a file.
    ListKeyFiles,
    OnHost {
        host: String,
        on_host: Box<OnHost>,
        /// How often the agent had been locked or unlocked when it began.
        lock_changes: u64,
    },
    Publish {
        id: GenerationId,
    },
    Request {
        id: GenerationId,
        account: String,
        step: Step,
    },
}

/// What a request is for.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Looking at a pair before it is deleted.
    Compare,
    /// Looking at a pair that the list of all made doubtful.
    Confirm,
    /// Making, registering or deleting: the effect's id and kind.
    Effect(i64, EffectKind),
    /// Asking for the instances that name a pair.
    Instances,
    /// Finding out whether a pair is there.
    Look,
}

/// How a [`Task`] ended.
enum Finished {
    Answered(Result<JobReply, JobError>),
    /// It panicked.
    Crashed,
    Deployed(Result<(), String>),
    Generated(Result<PrivateKey, PrivateKeyError>),
    HostsListed(Result<Vec<String>, String>),
    /// The names of keys; none: the folder could not be read.
    KeyFilesListed(Option<BTreeSet<String>>),
    OnHost(Result<Reply, HostError>),
    Published(io::Result<()>),
}
