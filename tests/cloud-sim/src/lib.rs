//! A cloud on the loopback interface: the key-pair calls of the vendors in [`Service`].
//!
//! It verifies signatures, nonces, clock and security tokens as each vendor does, from whatever a client signed,
//! keeps key pairs, and goes wrong when asked to. Nothing here is a stand-in for the client's side: what passes
//! here was signed as the vendor's own SDKs sign, which the tests show with requests captured from them.
//!
//! [`CloudSim::start`] runs one on threads of its own, for tests with and without an async runtime; the binary
//! `cloud-sim` runs one for people. Both answer on one port per service and one for the admin interface, whose `GET /`
//! lists what it takes.
//!
//! To add a service: a line in `service.rs` for each of its names, and a module of its vendor that implements
//! `vendor::Vendor`. The rest does not know vendors.
//!
//! Where the vendors' documents leave something open there is a setting (see [`Settings`]).
//!
//! Its keys and credentials are throw-away ones: it is no place for others.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

mod admin;
mod alibaba;
mod aws;
mod body;
mod cloud;
mod exchange;
mod faults;
mod huawei;
mod inventory;
mod keys;
mod refusal;
mod reply;
mod requests;
mod server;
mod service;
pub mod vectors;
mod vendor;
mod volcengine;
pub mod wire;

pub use faults::{Fault, FaultKind};
pub use inventory::{CreatedBy, Instance, Pair, Settings, Tag, UnknownDelete};
pub use keys::PrivateKeyForm;
pub use refusal::Refusal;
pub use requests::{RequestFilter, RequestRecord, Requests};
pub use service::Service;
pub use vendor::{Claim, Credential};

use cloud::{Cloud, Release};
use keys::Stock;
use server::Role;

/// A running cloud. Dropping it closes its ports and connections.
pub struct CloudSim {
    cloud: Arc<Cloud>,
    urls: Urls,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl CloudSim {
    /// Starts a cloud on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// When a port or a thread cannot be had.
    pub fn start(options: Options) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let cloud = Arc::new(Cloud::new(
            options.credential,
            options.clock,
            Stock::new(options.key_stock),
        ));
        let urls = {
            let _inside = runtime.enter();
            let listen = |role| -> io::Result<String> {
                let listener = server::bind()?;
                let url = format!("http://{}", listener.local_addr()?);
                runtime.spawn(server::serve(listener, role, Arc::clone(&cloud)));
                Ok(url)
            };
            let mut services = BTreeMap::new();
            for service in Service::ALL {
                services.insert(service, listen(Role::Vendor(service))?);
            }
            Urls {
                services,
                admin: listen(Role::Admin)?,
            }
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("cloud-sim".into())
            .spawn(move || {
                // An error means that the sender is gone, which is a request to stop too.
                let _ = runtime.block_on(stopped);
            })?;
        Ok(Self {
            cloud,
            urls,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it answers.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Where a service answers: `http://127.0.0.1:PORT`.
    pub fn url(&self, service: Service) -> &str {
        &self.urls.services[&service]
    }

    /// The pairs that a service holds, oldest first.
    pub fn pairs(&self, service: Service) -> Vec<Pair> {
        self.cloud.pairs(service)
    }

    /// Forgets the pairs of a service, whoever made them, to which instances they are attached, and the idempotency tokens
    /// that they were made with.
    pub fn forget_pairs(&self, service: Service) {
        self.cloud.forget_pairs(service);
    }

    /// Puts an instance there, in place of one of the same id.
    ///
    /// # Errors
    /// Says in words what is wrong with the instance.
    pub fn add_instance(&self, service: Service, instance: Instance) -> Result<(), String> {
        self.cloud.add_instance(service, instance)
    }

    /// The instances of a service, oldest first.
    pub fn instances(&self, service: Service) -> Vec<Instance> {
        self.cloud.instances(service)
    }

    /// PEM of every private key that was made for a client (PKCS#1 for RSA, OpenSSH's own form for Ed25519), oldest first,
    /// whether or not the reply arrived: what a test looks for where it should not be.
    pub fn private_keys(&self) -> Vec<String> {
        self.cloud.private_keys()
    }

    /// Puts a pair there that nobody asked for over the API. May wait for an RSA key.
    ///
    /// # Errors
    /// Says in words what is wrong with the pair.
    pub fn plant(&self, plant: Plant) -> Result<Pair, String> {
        let runtime = Builder::new_current_thread()
            .build()
            .map_err(|error| error.to_string())?;
        // On a thread of its own, so that an async test may call this too.
        std::thread::scope(|scope| {
            let planting = scope.spawn(|| runtime.block_on(self.cloud.plant(plant)));
            planting
                .join()
                .unwrap_or_else(|_| Err("planting the pair panicked".into()))
        })
    }

    /// The requests so far.
    pub fn requests(&self) -> Requests {
        self.cloud.requests(&RequestFilter::default())
    }

    /// Waits until there are so many requests of a kind, and answers with them.
    ///
    /// # Errors
    /// [`NotSeen`] when the deadline is over first.
    pub fn wait_for_requests(
        &self,
        filter: &RequestFilter,
        at_least: usize,
        deadline: Duration,
    ) -> Result<Vec<RequestRecord>, NotSeen> {
        match self.cloud.wait_for_requests(filter, at_least, deadline) {
            Ok(found) => Ok(found.requests),
            Err(seen) => Err(NotSeen {
                at_least,
                seen,
                deadline,
            }),
        }
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.cloud.log(|log| log.clear());
    }

    /// Puts a fault in force. Of several that could hit a request the oldest does.
    pub fn fault(&self, fault: Fault) {
        self.cloud.add_fault(fault);
    }

    /// Takes all faults out of force. Requests that hang already go on hanging: see [`Self::release`].
    pub fn clear_faults(&self) {
        self.cloud.clear_faults();
    }

    /// Lets the requests that hang now go on.
    pub fn release(&self) {
        self.cloud.release(Release::ToAnswer);
    }

    /// Lets the requests that hang now take effect, and closes their connections without a reply.
    pub fn lose_replies(&self) {
        self.cloud.release(Release::ToLoseTheReply);
    }

    /// Stops the cloud's clock at a time, or with `None` lets it run with the machine's.
    pub fn set_clock(&self, time: Option<SystemTime>) {
        self.cloud.set_clock(time);
    }

    /// Forgets every nonce seen.
    pub fn forget_nonces(&self) {
        self.cloud.forget_nonces();
    }

    /// Adds an access key, or replaces the one of the same id.
    pub fn add_credential(&self, credential: Credential) {
        self.cloud.add_credential(credential);
    }

    /// The settings of a service.
    pub fn settings(&self, service: Service) -> Settings {
        self.cloud.settings(service)
    }

    /// Replaces the settings of a service.
    pub fn set_settings(&self, service: Service, settings: Settings) {
        self.cloud.set_settings(service, settings);
    }
}

impl Drop for CloudSim {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the thread has ended.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How to start a cloud.
#[derive(Clone, Debug)]
pub struct Options {
    /// The access key that it knows; more can be added later.
    pub credential: Credential,
    /// A time to stop the clock at. `None`: the machine's clock.
    pub clock: Option<SystemTime>,
    /// How many RSA keys are made ahead once one was wanted; with 0 each is made when it is wanted.
    pub key_stock: usize,
}

impl Options {
    /// A cloud that knows one permanent access key.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            credential: Credential {
                access_key: access_key.into(),
                secret_key: secret_key.into(),
                session_token: None,
                expires_at: None,
            },
            clock: None,
            key_stock: DEFAULT_KEY_STOCK,
        }
    }

    /// Makes the access key a temporary one.
    pub fn session_token(mut self, token: impl Into<String>) -> Self {
        self.credential.session_token = Some(token.into());
        self
    }

    /// Stops the clock at a time.
    pub fn clock(mut self, time: SystemTime) -> Self {
        self.clock = Some(time);
        self
    }
}

/// Where a cloud answers, each `http://127.0.0.1:PORT`.
#[derive(Clone, Debug, Serialize)]
pub struct Urls {
    /// Each service, by its name.
    #[serde(flatten)]
    pub services: BTreeMap<Service, String>,
    /// The admin interface.
    pub admin: String,
}

/// A pair to put there behind the API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plant {
    /// Where.
    pub service: Service,
    /// Its region, where the service has regions.
    pub region: Option<String>,
    /// Its name, whatever the rules.
    pub name: String,
    /// Its public key in OpenSSH's form, of any algorithm. `None`: an RSA key is made.
    pub public_key: Option<String>,
}

/// The requests that were waited for did not come.
#[derive(Debug, thiserror::Error)]
#[error("{seen} of {at_least} requests were seen in {} ms", deadline.as_millis())]
pub struct NotSeen {
    /// How many were waited for.
    pub at_least: usize,
    /// How many there were.
    pub seen: usize,
    /// How long was waited.
    pub deadline: Duration,
}

const DEFAULT_KEY_STOCK: usize = 2;
