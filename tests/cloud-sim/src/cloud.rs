//! The state behind the servers, and what a signed request does to it.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::faults::{Fault, FaultKind, FaultStatus, Faults};
use crate::inventory::{CreatedBy, Instance, Inventory, Pair, Settings};
use crate::keys::{NewKey, NoKey, PrivateKeyForm, Stock, public_key};
use crate::refusal::Refusal;
use crate::requests::{Log, RequestFilter, Requests};
use crate::vendor::{Answer, Call, Credential, Trouble, World};
use crate::wire::Request;
use crate::{Plant, Service};

/// Everything that the servers share. The lock is never held across an await.
pub(crate) struct Cloud {
    state: Mutex<State>,
    /// Told of every change of the log, for threads and for tasks.
    log_changed: Condvar,
    log_version: watch::Sender<u64>,
    /// Told of every release of hanging requests.
    releases: watch::Sender<Release>,
    stock: Stock,
}

struct State {
    /// The time that was set, if it does not run with the machine's.
    clock: Option<SystemTime>,
    keyring: Vec<Credential>,
    nonces: HashSet<(String, String)>,
    inventories: BTreeMap<Service, Inventory>,
    faults: Faults,
    log: Log,
    /// PEM of every private key that a reply was made of.
    private_keys: Vec<String>,
}

/// How hanging requests go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Release {
    /// As if nothing had been.
    ToAnswer,
    /// They take effect, and their connections close without a byte.
    ToLoseTheReply,
}

impl Cloud {
    pub(crate) fn new(credential: Credential, clock: Option<SystemTime>, stock: Stock) -> Self {
        Self {
            state: Mutex::new(State {
                clock,
                keyring: vec![credential],
                nonces: HashSet::new(),
                inventories: BTreeMap::new(),
                faults: Faults::default(),
                log: Log::default(),
                private_keys: Vec::new(),
            }),
            log_changed: Condvar::new(),
            log_version: watch::Sender::new(0),
            releases: watch::Sender::new(Release::ToAnswer),
            stock,
        }
    }

    /// Signature, clock, token and nonce; then what is asked.
    pub(crate) fn admit(&self, service: Service, request: &Request) -> Result<Call, Refusal> {
        let vendor = service.vendor();
        let mut state = self.lock();
        let claim = vendor.verify(request, &state.keyring, state.now())?;
        if let Some(nonce) = &claim.nonce {
            let seen = (claim.access_key.clone(), nonce.clone());
            if !state.nonces.insert(seen) {
                return Err(vendor.trouble(Trouble::Replayed));
            }
        }
        drop(state);
        vendor.route(request, &claim)
    }

    /// Does the work. Nothing is changed where the answer is an error.
    pub(crate) async fn perform(&self, service: Service, call: &Call) -> Result<Answer, Refusal> {
        let vendor = service.vendor();
        let mut key = None;
        let mut private_key = None;
        if vendor.wants_key(call) {
            let no_key = |_: NoKey| vendor.trouble(Trouble::Internal);
            let made = match vendor.wants_ed25519(call) {
                true => NewKey::ed25519(),
                false => self.stock.take().await,
            };
            let made = made.map_err(no_key)?;
            private_key = Some(made.private_key_body(PrivateKeyForm::Pem).map_err(no_key)?);
            key = Some(made);
        }
        let made = key.is_some();
        let result = self.work(service, call, &mut key);
        match key {
            // The stock is of RSA keys.
            Some(unused) if !vendor.wants_ed25519(call) => self.stock.put_back(unused),
            Some(_) => {}
            None if made => self.lock().private_keys.extend(private_key),
            None => {}
        }
        result
    }

    fn work(&self, service: Service, call: &Call, key: &mut Option<NewKey>) -> Result<Answer, Refusal> {
        let vendor = service.vendor();
        let state = &mut *self.lock();
        let now = state.now();
        let inventory = state
            .inventories
            .entry(service)
            .or_insert_with(|| Inventory::new(service));
        let token = vendor
            .client_token(call)
            .map(|token| (call.action.clone(), token.to_owned()));
        if let Some((first, answer)) = token.as_ref().and_then(|token| inventory.answered.get(token)) {
            return if first.asks_the_same_as(call) {
                Ok(answer.clone())
            } else {
                Err(vendor.trouble(Trouble::TokenUsed))
            };
        }
        let world = World {
            now,
            inventory,
            keyring: &mut state.keyring,
            key,
        };
        let answer = vendor.perform(call, world)?;
        if let Some(token) = token {
            let inventory = state.inventory(service);
            inventory.answered.insert(token, (call.clone(), answer.clone()));
        }
        Ok(answer)
    }

    pub(crate) fn fault_for(&self, service: Service, call: &Call) -> Option<FaultKind> {
        self.lock()
            .faults
            .hit(service, &call.action, call.name.as_deref())
    }

    pub(crate) fn add_fault(&self, fault: Fault) -> u64 {
        self.lock().faults.add(fault)
    }

    pub(crate) fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    pub(crate) fn faults(&self) -> Vec<FaultStatus> {
        self.lock().faults.status()
    }

    /// Lets every request that hangs go on.
    pub(crate) fn release(&self, how: Release) {
        self.releases.send_replace(how);
    }

    /// Sees every release from now on.
    pub(crate) fn releases(&self) -> watch::Receiver<Release> {
        self.releases.subscribe()
    }

    pub(crate) fn pairs(&self, service: Service) -> Vec<Pair> {
        self.lock().inventory(service).pairs.clone()
    }

    pub(crate) fn private_keys(&self) -> Vec<String> {
        self.lock().private_keys.clone()
    }

    /// Puts a pair there behind the API: no quota, no name rules.
    pub(crate) async fn plant(&self, plant: Plant) -> Result<Pair, String> {
        let vendor = plant.service.vendor();
        let name = plant.service.name();
        let (public_key, public) = match plant.public_key {
            Some(text) => {
                let key = public_key(&text, &[""]).ok_or("public_key is not an OpenSSH public key")?;
                (text.trim().to_owned(), key)
            }
            None => {
                let NewKey {
                    public_key, public, ..
                } = self.stock.take().await.map_err(|error| error.to_string())?;
                (public_key, public)
            }
        };
        let fingerprint = vendor.fingerprint(&public).map_err(|error| error.to_string())?;
        check_region(
            plant.service,
            plant.region.as_deref(),
            &format!("a pair of {name}"),
        )?;
        let mut state = self.lock();
        let now = state.now();
        let inventory = state.inventory(plant.service);
        if inventory.has(plant.region.as_deref(), &plant.name) {
            return Err(format!("there is a pair {} already", plant.name));
        }
        let pair = Pair {
            region: plant.region,
            name: plant.name,
            id: vendor.new_pair_id(),
            fingerprint,
            public_key,
            created_by: CreatedBy::Plant,
            created_at: now,
            resource_group: None,
            user: None,
            tags: Vec::new(),
        };
        inventory.pairs.push(pair.clone());
        Ok(pair)
    }

    pub(crate) fn forget_pairs(&self, service: Service) {
        let mut state = self.lock();
        let inventory = state.inventory(service);
        inventory.pairs.clear();
        inventory.answered.clear();
        inventory
            .instances
            .iter_mut()
            .for_each(|instance| instance.pair = None);
    }

    /// Puts an instance there, in place of one of the same id.
    pub(crate) fn add_instance(&self, service: Service, instance: Instance) -> Result<(), String> {
        check_region(
            service,
            instance.region.as_deref(),
            &format!("an instance of {}", service.name()),
        )?;
        let mut state = self.lock();
        let instances = &mut state.inventory(service).instances;
        instances.retain(|known| known.id != instance.id || known.region != instance.region);
        instances.push(instance);
        Ok(())
    }

    pub(crate) fn instances(&self, service: Service) -> Vec<Instance> {
        self.lock().inventory(service).instances.clone()
    }

    pub(crate) fn settings(&self, service: Service) -> Settings {
        self.lock().inventory(service).settings
    }

    pub(crate) fn set_settings(&self, service: Service, settings: Settings) {
        self.lock().inventory(service).settings = settings;
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.lock().now()
    }

    pub(crate) fn set_clock(&self, time: Option<SystemTime>) {
        self.lock().clock = time;
    }

    pub(crate) fn forget_nonces(&self) {
        self.lock().nonces.clear();
    }

    /// Adds an access key, or replaces the one of the same id.
    pub(crate) fn add_credential(&self, credential: Credential) {
        let keyring = &mut self.lock().keyring;
        keyring.retain(|known| known.access_key != credential.access_key);
        keyring.push(credential);
    }

    pub(crate) fn requests(&self, filter: &RequestFilter) -> Requests {
        self.lock().log.select(filter)
    }

    /// Works on the log and tells everyone who waits for a change of it.
    pub(crate) fn log<T>(&self, work: impl FnOnce(&mut Log) -> T) -> T {
        let result = work(&mut self.lock().log);
        self.log_changed.notify_all();
        self.log_version.send_modify(|version| *version += 1);
        result
    }

    /// Waits, as a thread, for so many requests. After the deadline the answer is how many there are.
    pub(crate) fn wait_for_requests(
        &self,
        filter: &RequestFilter,
        at_least: usize,
        deadline: Duration,
    ) -> Result<Requests, usize> {
        let (state, timeout) = self
            .log_changed
            .wait_timeout_while(self.lock(), deadline, |state| state.log.count(filter) < at_least)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            Err(state.log.count(filter))
        } else {
            Ok(state.log.select(filter))
        }
    }

    /// Waits, as a task, for so many requests.
    pub(crate) async fn requests_at_least(&self, filter: &RequestFilter, at_least: usize) -> Requests {
        let mut version = self.log_version.subscribe();
        // The sender is ours: it cannot be gone.
        let _ = version
            .wait_for(|_| self.lock().log.count(filter) >= at_least)
            .await;
        self.requests(filter)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn now(&self) -> SystemTime {
        self.clock.unwrap_or_else(SystemTime::now)
    }

    fn inventory(&mut self, service: Service) -> &mut Inventory {
        self.inventories
            .entry(service)
            .or_insert_with(|| Inventory::new(service))
    }
}

fn check_region(service: Service, region: Option<&str>, what: &str) -> Result<(), String> {
    match (service.vendor().has_regions(), region) {
        (true, None) => Err(format!("{what} needs a region")),
        (false, Some(_)) => Err(format!("{what} has no region")),
        _ => Ok(()),
    }
}
