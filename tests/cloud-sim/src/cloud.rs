//! The state behind the servers, and what a signed request does to it.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::watch;

use crate::faults::{Fault, FaultKind, FaultStatus, Faults};
use crate::inventory::{CreatedBy, Inventory, Pair, Settings};
use crate::keys::{NewKey, NoKey, PrivateKeyForm, Stock, fingerprint};
use crate::refusal::Refusal;
use crate::requests::{Log, RequestFilter, Requests};
use crate::rules::{Parameters, public_key};
use crate::signature::{Credential, Scheme, verify};
use crate::wire::Request;
use crate::{Plant, Service, ecs, ens};

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
    ecs: Inventory,
    ens: Inventory,
    faults: Faults,
    log: Log,
    /// PKCS#1 PEM of every private key that a reply was made of.
    private_keys: Vec<String>,
}

/// A request that passed the gate: signed, fresh, and for an API version that the service has.
pub(crate) struct Call {
    pub(crate) action: String,
    pub(crate) parameters: Parameters,
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
                ecs: Inventory::new(Service::AlibabaEcs),
                ens: Inventory::new(Service::AlibabaEns),
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

    /// Signature, clock, token and nonce; then method, path and version.
    pub(crate) fn admit(&self, service: Service, request: &Request) -> Result<Call, Refusal> {
        let mut state = self.lock();
        let claim = verify(request, &state.keyring, state.now())?;
        if !state.nonces.insert((claim.access_key, claim.nonce)) {
            return Err(Refusal::new(
                400,
                "SignatureNonceUsed",
                "The signature nonce has been used before.",
            ));
        }
        drop(state);
        if !matches!(&*request.method, "GET" | "POST") {
            return Err(Refusal::new(
                405,
                "UnsupportedHTTPMethod",
                "This HTTP method is not supported.",
            ));
        }
        let parameters = request
            .parameters()
            .map_err(|error| Refusal::new(400, "InvalidParameter", error.to_string()))?;
        let stated = |header: &str, parameter: &str| match claim.scheme {
            Scheme::Acs3HmacSha256 => request.header(header),
            Scheme::HmacSha1 => parameters
                .iter()
                .find(|(name, _)| name == parameter)
                .map(|(_, value)| value.clone()),
        };
        let action = stated("x-acs-action", "Action").unwrap_or_default();
        let version = stated("x-acs-version", "Version").unwrap_or_default();
        if request.path() != "/" || action.is_empty() {
            return Err(Refusal::new(
                404,
                "InvalidAction.NotFound",
                "There is no such action.",
            ));
        }
        if version != service.version() {
            return Err(Refusal::new(
                400,
                "InvalidVersion",
                "The service has no such version.",
            ));
        }
        Ok(Call {
            action,
            parameters: Parameters::without_protocol(parameters),
        })
    }

    /// Does the work. Nothing is changed where the answer is an error.
    pub(crate) async fn perform(&self, service: Service, call: &Call) -> Result<Value, Refusal> {
        let mut key = None;
        let mut private_key = None;
        if call.action == "CreateKeyPair" {
            let no_key = |error: NoKey| Refusal::new(500, "InternalError", error.to_string());
            let made = self.stock.take().await.map_err(no_key)?;
            private_key = Some(made.private_key_body(PrivateKeyForm::Pem).map_err(no_key)?);
            key = Some(made);
        }
        let result = {
            let mut state = self.lock();
            let now = state.now();
            let inventory = state.inventory(service);
            match service {
                Service::AlibabaEcs => ecs::perform(&call.action, &call.parameters, inventory, now, &mut key),
                Service::AlibabaEns => ens::perform(&call.action, &call.parameters, inventory, now, &mut key),
            }
        };
        match key {
            Some(unused) => self.stock.put_back(unused),
            None => self.lock().private_keys.extend(private_key),
        }
        result
    }

    pub(crate) fn fault_for(&self, service: Service, call: &Call) -> Option<FaultKind> {
        self.lock()
            .faults
            .hit(service, &call.action, call.parameters.get("KeyPairName"))
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
        let (public_key, fingerprint) = match plant.public_key {
            Some(text) => {
                let key = public_key(&text, &[""]).ok_or("public_key is not an OpenSSH public key")?;
                let fingerprint = fingerprint(&key).map_err(|error| error.to_string())?;
                (text.trim().to_owned(), fingerprint)
            }
            None => {
                let NewKey {
                    public_key,
                    fingerprint,
                    ..
                } = self.stock.take().await.map_err(|error| error.to_string())?;
                (public_key, fingerprint)
            }
        };
        let region = match (plant.service, plant.region) {
            (Service::AlibabaEcs, None) => return Err("a pair of alibaba-ecs needs a region".into()),
            (Service::AlibabaEns, Some(_)) => return Err("a pair of alibaba-ens has no region".into()),
            (_, region) => region,
        };
        let mut state = self.lock();
        let now = state.now();
        let inventory = state.inventory(plant.service);
        if inventory.has(region.as_deref(), &plant.name) {
            return Err(format!("there is a pair {} already", plant.name));
        }
        let pair = Pair {
            region,
            name: plant.name,
            id: inventory.new_id(),
            fingerprint,
            public_key,
            created_by: CreatedBy::Plant,
            created_at: now,
            resource_group: None,
            tags: Vec::new(),
        };
        inventory.pairs.push(pair.clone());
        Ok(pair)
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
        match service {
            Service::AlibabaEcs => &mut self.ecs,
            Service::AlibabaEns => &mut self.ens,
        }
    }
}
