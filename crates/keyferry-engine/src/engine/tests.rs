//! The engine against a cloud in memory, a clock that jumps, and a ledger that stops.

mod absence;
mod asked;
mod attaching;
mod behaviour;
mod cloud;
mod crossing;
mod drift;
mod exec;
mod few_places;
mod hosts;
mod last_way_in;
mod locking;
mod mended;
mod older_ledger;
mod other_files;
mod other_logins;
mod pairs;
mod refused_writes;
mod renewing;
mod rotation;
mod rotation_walk;
mod slow_keys;
mod taking_off;
mod thinking_again;
mod trust;
mod walk;

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use keyferry_plugin::contract::{Algorithm, OperationKind};
use keyferry_plugin::manifest::{InstanceNeeds, InstanceRules, Manifest, OperationRules, Quota, RegionRule};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::*;
use crate::desired::{Account, CheckEvery, CredentialSource, GeneratedBy, KeyFolder, KeySpec, OnDrift};
use crate::ledger::{GenerationState, History, Stop, read_history};
use crate::snapshot::{KeyState, KeyStatus};
use cloud::FakeCloud;
use hosts::FakeHosts;

/// What outlives the daemon: the disk, the cloud, the config directory, time.
struct World {
    state: TempDir,
    cloud: Arc<FakeCloud>,
    hosts: Arc<FakeHosts>,
    clock: Arc<JumpingClock>,
    desired: Desired,
    plugins: Arc<FakePlugins>,
}

impl World {
    fn new() -> Self {
        // In memory where there is such a place: these tests write thousands of times.
        let memory = Path::new("/dev/shm");
        let state = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let clock = Arc::new(JumpingClock::default());
        let mut desired = Desired {
            // It was read; where nothing is listed, nothing is known to be gone.
            key_folder: KeyFolder::Closed,
            ..Desired::default()
        };
        // Otherwise nothing here would ever come to rest.
        desired.daemon.check_every = Some(CheckEvery::Never);
        desired.accounts.insert("cloud".to_owned(), account(|_| {}));
        Self {
            state: state.unwrap(),
            cloud: Arc::new(FakeCloud::new(Arc::clone(&clock))),
            hosts: Arc::new(FakeHosts::new(Arc::clone(&clock))),
            clock,
            desired,
            plugins: Arc::default(),
        }
    }

    fn with_keys(keys: &[(&str, GeneratedBy)]) -> Self {
        let mut world = Self::new();
        for (name, generated_by) in keys {
            world
                .desired
                .keys
                .insert((*name).to_owned(), key(name, *generated_by, |_| {}));
        }
        world
    }

    fn start(&self) -> Daemon {
        self.start_until(None)
    }

    /// A daemon with an empty agent, that ends when its ledger stops.
    fn start_until(&self, stop: Option<Stop>) -> Daemon {
        let key_ring = Arc::new(FakeKeyRing::with(&self.hosts));
        let (files, desired) = watch::channel(Arc::new(self.desired.clone()));
        let (handle, task) = Engine::start(self.parts(stop, Arc::clone(&key_ring), desired)).unwrap();
        Daemon {
            handle,
            task,
            key_ring,
            files,
        }
    }

    fn parts(
        &self,
        stop: Option<Stop>,
        key_ring: Arc<FakeKeyRing>,
        desired: watch::Receiver<Arc<Desired>>,
    ) -> Parts {
        Parts {
            state_directory: self.state.path().to_owned(),
            ledger: Ledger::open_until(self.state.path(), stop).unwrap(),
            desired,
            plugins: Arc::clone(&self.plugins) as Arc<dyn Plugins + Send + Sync>,
            clouds: Arc::clone(&self.cloud) as Arc<dyn Clouds>,
            key_ring,
            hosts: Arc::clone(&self.hosts) as Arc<dyn Hosts>,
            user_agent: None,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
        }
    }

    fn history(&self) -> History {
        read_history(self.state.path()).unwrap()
    }

    /// What must hold when everything has come to rest: every key that is wanted is loaded from a live generation, and the cloud
    /// holds exactly the pairs that the ledger knows.
    #[track_caller]
    fn assert_converged(&self, daemon: &Daemon) {
        let history = self.history();
        let loaded = daemon.key_ring.loaded.lock().unwrap();
        for (name, spec) in &self.desired.keys {
            if !spec.present {
                continue;
            }
            let Some((n, blob)) = loaded.get(name) else {
                panic!("{name} is not loaded: {:?}", daemon.status(name))
            };
            let row = history
                .generations
                .iter()
                .find(|row| row.key == *name && row.n == *n)
                .unwrap();
            assert_eq!(row.state, GenerationState::Live, "{name}");
            // An Ed25519 blob begins with the public one.
            let public = row.blob.as_deref().unwrap();
            assert!(
                spec.algorithm != Algorithm::Ed25519 || blob.starts_with(public),
                "{name}: halves differ"
            );
            assert_eq!(
                self.cloud
                    .public_blob(row.region.as_deref().unwrap(), &row.pair_name)
                    .as_deref(),
                Some(public),
                "{name}"
            );
            // And its copies hold the same.
            let regions = history
                .generations
                .iter()
                .filter(|copy| copy.key == *name && copy.holds(*n) && copy.state == GenerationState::Live);
            let mut regions: Vec<_> = regions
                .map(|copy| {
                    let region = copy.region.as_deref().unwrap();
                    let there = self.cloud.public_blob(region, &copy.pair_name);
                    assert_eq!(there.as_deref(), Some(public), "{name} in {region}");
                    region
                })
                .collect();
            regions.sort_unstable();
            let account = &self.desired.accounts[&spec.account];
            let mut wanted: Vec<_> = spec.regions(account).flatten().collect();
            wanted.sort_unstable();
            assert_eq!(regions, wanted, "{name}");
        }
        let known: Vec<_> = history
            .generations
            .iter()
            .filter(|row| !row.state.is_final())
            .map(|row| ((row.region.clone().unwrap(), row.pair_name.clone()), row.state))
            .collect();
        assert!(
            known.iter().all(|(_, state)| *state == GenerationState::Live),
            "{known:?}"
        );
        let mut known: Vec<_> = known.into_iter().map(|(name, _)| name).collect();
        known.sort();
        assert_eq!(self.cloud.pairs(), known, "the cloud holds what the ledger knows");
        self.cloud.assert_foreign_pairs_are_untouched();
    }
}

/// One life of the daemon.
struct Daemon {
    handle: EngineHandle,
    task: JoinHandle<Result<(), EngineError>>,
    key_ring: Arc<FakeKeyRing>,
    files: watch::Sender<Arc<Desired>>,
}

impl Daemon {
    /// Waits until nothing is under way and nothing is due, time jumping ahead meanwhile. False: the ledger stopped.
    async fn rest(&self) -> bool {
        self.handle.refresh().await;
        let mut snapshots = self.handle.snapshots();
        let resting = snapshots.wait_for(|snapshot| snapshot.idle);
        tokio::time::timeout(Duration::from_secs(60), resting)
            .await
            .expect("the engine comes to rest")
            .is_ok()
            && self.handle.snapshots().has_changed().is_ok()
    }

    /// Ends it as kill -9 does, and waits until the ledger's lock is free.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    fn status(&self, key: &str) -> KeyStatus {
        let snapshot = self.handle.snapshots().borrow().clone();
        snapshot
            .keys
            .iter()
            .find(|status| status.name == key)
            .cloned()
            .expect("the key has a status")
    }

    fn read_again(&self, desired: &Desired) {
        self.files.send_replace(Arc::new(desired.clone()));
    }
}

/// Runs a case on a runtime like the daemon's.
fn run<F: Future<Output = ()>>(case: F) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        // One after the other, so that the clock can wait for all of them.
        .max_blocking_threads(1)
        .build()
        .unwrap()
        .block_on(case);
}

fn account(change: impl FnOnce(&mut Account)) -> Arc<Account> {
    let mut account = Account {
        name: "cloud".to_owned(),
        plugin: "fake".to_owned(),
        region: Some("cn-hangzhou".to_owned()),
        endpoint: None,
        insecure_http: false,
        settings: BTreeMap::new(),
        place: String::new(),
        credentials: CredentialSource::Chain { profile: None },
        max_concurrent: None,
        // Time stands still here while anything happens.
        max_per_second: Some(1_000),
        check_every: None,
        max_pairs: None,
    };
    change(&mut account);
    Arc::new(account)
}

fn key(name: &str, generated_by: GeneratedBy, change: impl FnOnce(&mut KeySpec)) -> Arc<KeySpec> {
    let mut spec = KeySpec {
        name: name.to_owned(),
        account: "cloud".to_owned(),
        region: None,
        further_regions: Vec::new(),
        generated_by,
        algorithm: Algorithm::Ed25519,
        pair_name: None,
        on_drift: OnDrift::default(),
        hosts: None,
        offer_to: Vec::new(),
        rotate: None,
        deploy: crate::desired::Deploy::default(),
        on_remove: crate::desired::OnRemove::default(),
        present: true,
    };
    change(&mut spec);
    Arc::new(spec)
}

#[derive(Default)]
struct FakeKeyRing {
    /// The last one of each key that was offered everywhere, with its private half.
    loaded: Mutex<BTreeMap<String, (u64, Vec<u8>)>>,
    /// Every generation, and to whom it is offered.
    all: Ring,
    halves: Mutex<BTreeMap<GenerationId, Vec<u8>>>,
    resumed: Mutex<Vec<String>>,
    full: Mutex<bool>,
    lock: watch::Sender<u64>,
    hosts: Option<Arc<FakeHosts>>,
}

/// What the agent has.
type Ring = Arc<Mutex<BTreeMap<GenerationId, Offer>>>;

impl FakeKeyRing {
    /// An empty one, which those hosts look into.
    fn with(hosts: &Arc<FakeHosts>) -> Self {
        let ring = Self {
            hosts: Some(Arc::clone(hosts)),
            ..Self::default()
        };
        hosts.begin(Arc::clone(&ring.all));
        ring
    }

    /// A client locks or unlocks it.
    fn turn_lock(&self) {
        let mut changes = 0;
        self.lock.send_modify(|count| {
            *count += 1;
            changes = *count;
        });
        if let Some(hosts) = &self.hosts {
            hosts.refuse_signatures(changes % 2 == 1);
        }
    }

    fn has_changed(&self) {
        if let Some(hosts) = &self.hosts {
            hosts.look_at_offers();
        }
    }
}

impl KeyRing for FakeKeyRing {
    fn load(
        &self,
        name: &str,
        generation: u64,
        private_key: Zeroizing<Vec<u8>>,
        _: &str,
        offer: Offer,
    ) -> Result<(), String> {
        if std::mem::take(&mut *self.full.lock().unwrap()) {
            return Err("there is no room".to_owned());
        }
        let id = (name.to_owned(), generation);
        self.all.lock().unwrap().insert(id.clone(), offer.clone());
        self.halves.lock().unwrap().insert(id, private_key.to_vec());
        self.offer(name, generation, offer);
        Ok(())
    }

    fn offer(&self, name: &str, generation: u64, offer: Offer) {
        let id = (name.to_owned(), generation);
        let mut loaded = self.loaded.lock().unwrap();
        if offer == Offer::Everywhere && loaded.get(name).is_none_or(|(n, _)| *n < generation) {
            let half = self.halves.lock().unwrap()[&id].clone();
            loaded.insert(name.to_owned(), (generation, half));
        }
        drop(loaded);
        self.all.lock().unwrap().insert(id, offer);
        self.has_changed();
    }

    fn unload(&self, name: &str, generation: u64) {
        let id = (name.to_owned(), generation);
        let mut loaded = self.loaded.lock().unwrap();
        if loaded.get(name).is_some_and(|(n, _)| *n == generation) {
            loaded.remove(name);
        }
        drop(loaded);
        self.halves.lock().unwrap().remove(&id);
        self.all.lock().unwrap().remove(&id);
        self.has_changed();
    }

    fn lock_changes(&self) -> watch::Receiver<u64> {
        self.lock.subscribe()
    }

    fn resume(&self, name: &str) {
        self.resumed.lock().unwrap().push(name.to_owned());
    }
}

struct FakePlugins {
    /// How often they are still found.
    answers: AtomicU64,
}

impl Default for FakePlugins {
    fn default() -> Self {
        Self {
            answers: AtomicU64::new(u64::MAX),
        }
    }
}

impl Plugins for FakePlugins {
    fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, PluginProblem> {
        let one_less = |answers: u64| answers.checked_sub(1);
        let is_there = self
            .answers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        if is_there.is_err() || !["fake", "listing", "naming"].contains(&plugin) {
            return Err(PluginProblem::Missing { searched: Vec::new() });
        }
        let manifest = serde_json::json!({
            "name": "fake", "version": "1", "title": "t", "hosts": [], "region": "optional", "headers": [],
            "operations": {},
            "names": { "min_length": 2, "max_length": 64, "starts_with_letter": true, "punctuation": "-_" },
            "algorithms": { "create": ["ed25519"], "import": ["ed25519", "rsa-2048"] },
            "credentials": {},
            "fingerprints": ["md5"],
        });
        let mut manifest: Manifest = serde_json::from_value(manifest).unwrap();
        manifest
            .operations
            .insert(OperationKind::Import, Default::default());
        if plugin == "naming" {
            manifest
                .operations
                .insert(OperationKind::ListInstances, Default::default());
            let instance = InstanceRules {
                needs: Some(InstanceNeeds::Restart),
                replaces: true,
                disables_passwords: true,
            };
            let rules = OperationRules {
                instance: Some(instance),
                permissions: vec!["fake:AttachKeyPair".to_owned()],
                ..OperationRules::default()
            };
            manifest.operations.insert(OperationKind::Attach, rules);
        }
        if plugin == "listing" {
            // One that can be looked at, and whose regions have names of their own.
            manifest
                .operations
                .insert(OperationKind::List, Default::default());
            manifest.region = RegionRule::Required;
            manifest.quota = Some(Quota {
                pairs: 4,
                scope: "region".to_owned(),
            });
        }
        Ok(Arc::new(manifest))
    }

    fn names(&self) -> Vec<String> {
        vec!["fake".to_owned()]
    }
}

/// Time that stands still while something happens, and jumps to the next deadline when nothing does.
struct JumpingClock {
    uptime: Arc<AtomicU64>,
    /// How far the wall clock was set forward, in milliseconds.
    ahead: AtomicU64,
    chance: AtomicU64,
    /// When something outside is done, and who waits for it.
    deadlines: Deadlines,
    delays: AtomicU64,
}

impl Default for JumpingClock {
    fn default() -> Self {
        Self {
            uptime: Arc::new(AtomicU64::new(1_000_000)),
            ahead: AtomicU64::default(),
            chance: AtomicU64::new(0x9e37_79b9),
            deadlines: Arc::default(),
            delays: AtomicU64::default(),
        }
    }
}

impl JumpingClock {
    /// What the wall clock showed when the machine was started (milliseconds since 1970 UTC).
    const BEGINNING: u64 = 1_795_000_000_000;

    fn pass(&self, milliseconds: u64) {
        self.uptime.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// Sets the wall clock forward.
    fn set(&self, milliseconds: u64) {
        self.ahead.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// Ends that many milliseconds from now, when nothing else happens before.
    fn delay(&self, milliseconds: u64) -> Delay {
        let at = self.uptime.load(Ordering::Relaxed) + milliseconds;
        let id = (at, self.delays.fetch_add(1, Ordering::Relaxed));
        self.deadlines.lock().unwrap().insert(id, None);
        Delay {
            id,
            uptime: Arc::clone(&self.uptime),
            deadlines: Arc::clone(&self.deadlines),
        }
    }
}

/// By uptime and number: who waits.
type Deadlines = Arc<Mutex<BTreeMap<(u64, u64), Option<Waker>>>>;

/// See [`JumpingClock::delay`].
struct Delay {
    id: (u64, u64),
    uptime: Arc<AtomicU64>,
    deadlines: Deadlines,
}

impl Future for Delay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        if self.uptime.load(Ordering::Relaxed) >= self.id.0 {
            return std::task::Poll::Ready(());
        }
        let waker = Some(context.waker().clone());
        self.deadlines.lock().unwrap().insert(self.id, waker);
        std::task::Poll::Pending
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.deadlines.lock().unwrap().remove(&self.id);
    }
}

/// In milliseconds.
const HOUR: u64 = 3_600_000;

impl Clock for JumpingClock {
    fn now(&self) -> Moment {
        let uptime = self.uptime.load(Ordering::Relaxed);
        let ahead = self.ahead.load(Ordering::Relaxed);
        Moment {
            uptime,
            wall: SystemTime::UNIX_EPOCH + Duration::from_millis(Self::BEGINNING + uptime + ahead),
            local_minute: u16::try_from(uptime / 60_000 % 1_440).unwrap(),
        }
    }

    fn sleep_until(&self, at: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let uptime = Arc::clone(&self.uptime);
        let deadlines = Arc::clone(&self.deadlines);
        Box::pin(async move {
            loop {
                // What other threads do goes first where a jump would skip much; and every fake request.
                if at.saturating_sub(uptime.load(Ordering::Relaxed)) > HOUR / 2 {
                    tokio::task::spawn_blocking(|| ()).await.unwrap();
                }
                for _ in 0..64 {
                    tokio::task::yield_now().await;
                }
                let next = deadlines.lock().unwrap().keys().next().map(|(next, _)| *next);
                let until = next.map_or(at, |next| next.min(at));
                if until == u64::MAX {
                    std::future::pending::<()>().await;
                }
                uptime.fetch_max(until, Ordering::Relaxed);
                if until == at {
                    return;
                }
                // Whoever waited for it goes on.
                for ((_, _), waker) in deadlines.lock().unwrap().range_mut(..=(until, u64::MAX)) {
                    if let Some(waker) = waker.take() {
                        waker.wake();
                    }
                }
            }
        })
    }

    fn random(&self, limit: u64) -> u64 {
        // xorshift: any sequence will do, the same one every time.
        let mut x = self.chance.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.chance.store(x, Ordering::Relaxed);
        x % (limit + 1)
    }
}
