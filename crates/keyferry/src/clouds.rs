//! The engine's requests to providers, run by a courier for each account in use.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keyferry_courier::{Courier, Hooks, JobRequest, JobResult, Launch, Limits, Network, Setup};
use keyferry_engine::desired::{Account, CredentialSource, Desired, NetworkSettings};
use keyferry_engine::engine::{CloudFuture, Clouds, Job, JobError, JobReply, SetupKind};
use keyferry_plugin::contract::{
    Attachment, Create, Delete, Effect, ErrorKind, Import, List, Operation, ProviderError,
};
use keyferry_sandbox::LibraryFacts;
use tokio::sync::watch;

use crate::account::report::AccountReport;
use crate::catalogue::Catalogue;

/// The couriers. Each is started for its account's first job and ended when it has had nothing to do for a while.
pub(crate) struct Couriers {
    shared: Arc<Shared>,
}

struct Shared {
    catalogue: Arc<Catalogue>,
    desired: watch::Receiver<Arc<Desired>>,
    /// By account.
    running: Mutex<HashMap<String, Arc<Post>>>,
}

/// One account's courier, and what it was started for: it is replaced when that changes.
struct Post {
    account: Arc<Account>,
    network: NetworkSettings,
    library: Arc<LibraryFacts>,
    courier: Courier,
    last_used: Mutex<Instant>,
}

impl Couriers {
    /// No couriers yet.
    pub(crate) fn new(catalogue: Arc<Catalogue>, desired: watch::Receiver<Arc<Desired>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                catalogue,
                desired,
                running: Mutex::default(),
            }),
        }
    }
}

impl Couriers {
    /// Obtains the credentials of an account, or of all, anew and tries them. The error says which account there is none of.
    pub(crate) async fn check(&self, name: Option<&str>) -> Result<Vec<AccountReport>, String> {
        let desired = Arc::clone(&self.shared.desired.borrow());
        let accounts: Vec<Arc<Account>> = match name {
            None => desired.accounts.values().cloned().collect(),
            Some(name) => vec![desired.accounts.get(name).cloned().ok_or_else(|| {
                let names = desired.accounts.keys().map(String::as_str);
                let nearest = keyferry_engine::config::suggestion(name, names);
                format!("there is no account {name}{nearest}; `keyferry status` says what is wrong with accounts' files")
            })?],
        };
        // Side by side: one that waits for its cloud holds up no other.
        let looking: Vec<_> = accounts
            .into_iter()
            .map(|account| tokio::spawn(Arc::clone(&self.shared).look_at(account)))
            .collect();
        let mut reports = Vec::new();
        for report in looking {
            reports.push(report.await.map_err(|error| error.to_string())?);
        }
        Ok(reports)
    }
}

impl Clouds for Couriers {
    fn run(&self, account: Arc<Account>, region: Option<String>, job: Job) -> CloudFuture {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let post = shared.post(&account).await?;
            let is_import = matches!(job, Job::Import { .. });
            // The courier keeps its own time. This is for one that was stopped or starved, and is ended for it.
            let answer = tokio::time::timeout(WATCHDOG_TIME, post.courier.run(request(region, job))).await;
            let result = answer.unwrap_or_else(|_| {
                Err(keyferry_courier::JobError::Lost {
                    message: format!(
                        "the courier of account {} did not answer and was ended",
                        account.name
                    ),
                    effect: Effect::Unknown,
                })
            });
            // One whose setup failed would fail again, and one that is silent stays silent; the next job gets a new one.
            if matches!(
                result,
                Err(keyferry_courier::JobError::Setup { .. } | keyferry_courier::JobError::Lost { .. })
            ) {
                shared.forget(&post);
            }
            *post.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            shared.end_when_idle(post);
            reply(result.map_err(translate)?, is_import)
        })
    }

    fn start_afresh(&self, account: &str) {
        // The courier ends when its last job does; the next job gets one that has read the credentials anew.
        self.shared.lock().remove(account);
    }
}

impl Shared {
    /// The account's post: the running one, unless what it was started for has changed.
    async fn post(&self, account: &Arc<Account>) -> Result<Arc<Post>, JobError> {
        let standstill = self.desired.borrow().standstill();
        if let Some(why) = standstill {
            return Err(setup(SetupKind::Settings, &why));
        }
        let (catalogue, plugin) = (Arc::clone(&self.catalogue), account.plugin.clone());
        let library = tokio::task::spawn_blocking(move || catalogue.facts(&plugin))
            .await
            .map_err(|error| setup(SetupKind::Process, &error))?
            .map_err(|error| setup(SetupKind::Plugin, &error))?;
        let network = self.desired.borrow().daemon.network.clone();
        let mut running = self.lock();
        if let Some(post) = running.get(&account.name)
            && *post.account == **account
            && post.network == network
            && *post.library == *library
            && !post.courier.has_ended()
        {
            return Ok(Arc::clone(post));
        }
        // The one before ends when its last job does.
        let setup_facts = courier_setup(account, &network, &library);
        let courier = Courier::spawn(&role("courier"), setup_facts, Hooks::default())
            .map_err(|error| setup(SetupKind::Process, &error))?;
        let post = Arc::new(Post {
            account: Arc::clone(account),
            network,
            library,
            courier,
            last_used: Mutex::new(Instant::now()),
        });
        running.insert(account.name.clone(), Arc::clone(&post));
        Ok(post)
    }

    async fn look_at(self: Arc<Self>, account: Arc<Account>) -> AccountReport {
        match self.post(&account).await {
            Ok(post) => {
                let manifest = &post.library.manifest;
                let looking = AccountReport::obtain(&account, manifest, &post.courier);
                let report = tokio::time::timeout(WATCHDOG_TIME, looking).await;
                let report = report.unwrap_or_else(|_| {
                    // As after a job: one that is silent stays silent, so the next job gets a new one.
                    self.forget(&post);
                    let message = "the courier did not answer and was ended".to_owned();
                    AccountReport::failed(&account, "process", message)
                });
                self.end_when_idle(post);
                report
            }
            Err(JobError::Setup { message, .. }) => AccountReport::failed(&account, "plugin", message),
            Err(_) => AccountReport::failed(&account, "process", "no courier could be started".to_owned()),
        }
    }

    /// Lets a courier go that nobody has used for a while: its process ends with the last reference.
    fn end_when_idle(self: Arc<Self>, post: Arc<Post>) {
        let name = post.account.name.clone();
        let post = Arc::downgrade(&post);
        tokio::spawn(async move {
            tokio::time::sleep(IDLE_TIME).await;
            let mut running = self.lock();
            // Two: the map's own, and this one. Each later job keeps a reference while it runs, and waits like this after.
            if let Some(post) = post.upgrade()
                && Arc::strong_count(&post) == 2
                && running
                    .get(&name)
                    .is_some_and(|current| Arc::ptr_eq(current, &post))
                && post
                    .last_used
                    .lock()
                    .is_ok_and(|used| used.elapsed() >= IDLE_TIME)
            {
                running.remove(&name);
            }
        });
    }

    fn forget(&self, post: &Arc<Post>) {
        let mut running = self.lock();
        if running
            .get(&post.account.name)
            .is_some_and(|current| Arc::ptr_eq(current, post))
        {
            running.remove(&post.account.name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Post>>> {
        // Each change is a single insertion or removal, so that a panic elsewhere leaves nothing half done.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a courier is told about its account.
pub(crate) fn courier_setup(account: &Account, network: &NetworkSettings, library: &LibraryFacts) -> Setup {
    Setup {
        account: keyferry_courier::Account {
            name: account.name.clone(),
            region: account.region.clone(),
            endpoint: account.endpoint.clone(),
            insecure_http: account.insecure_http,
            settings: account.settings.clone(),
        },
        credentials: match account.credentials.clone() {
            CredentialSource::Chain { profile } => keyferry_courier::CredentialSource::Chain { profile },
            CredentialSource::Command(argv) => keyferry_courier::CredentialSource::Command { argv },
            CredentialSource::Environment(fields) => {
                keyferry_courier::CredentialSource::Environment { fields }
            }
            CredentialSource::File(path) => keyferry_courier::CredentialSource::File { path },
        },
        home: std::env::home_dir(),
        library: library.clone(),
        // How many at a time is the engine's affair; this is the courier's own upper bound.
        limits: Limits {
            max_concurrent: 64,
            ..Limits::default()
        },
        network: Network {
            proxy: network.proxy.clone(),
            no_proxy: network.no_proxy.clone(),
            ca_file: network.ca_file.clone(),
        },
        sandbox: role("sandbox"),
    }
}

/// How this program starts itself in another part.
pub(crate) fn role(name: &str) -> Launch {
    // On Linux this link leads to the running program even when an upgrade has replaced the file.
    let program = if cfg!(target_os = "linux") {
        PathBuf::from("/proc/self/exe")
    } else {
        std::env::current_exe().unwrap_or_else(|_| PathBuf::from("keyferry"))
    };
    Launch {
        program,
        args: vec![OsString::from("internal"), OsString::from(name)],
    }
}

fn request(region: Option<String>, job: Job) -> JobRequest {
    let (operation, token, permit) = match job {
        Job::Attach {
            pair,
            instances,
            idempotency_token,
        } => (
            Operation::Attach(Attachment { pair, instances }),
            idempotency_token,
            None,
        ),
        Job::Create {
            name,
            algorithm,
            idempotency_token,
        } => (
            Operation::Create(Create { name, algorithm }),
            idempotency_token,
            None,
        ),
        Job::Delete {
            pair,
            permit,
            idempotency_token,
        } => {
            let permit = keyferry_courier::Permit {
                name: pair.name.clone(),
                id: permit.id,
                fingerprint: permit.fingerprint,
            };
            (
                Operation::Delete(Delete { pairs: vec![pair] }),
                idempotency_token,
                Some(permit),
            )
        }
        Job::Get(pair) => (Operation::Get(pair), String::new(), None),
        Job::List => (Operation::List(List::default()), String::new(), None),
        Job::ListInstances { pair } => (Operation::ListInstances(pair), String::new(), None),
        Job::Import {
            name,
            public_key,
            idempotency_token,
        } => (
            Operation::Import(Import { name, public_key }),
            idempotency_token,
            None,
        ),
    };
    JobRequest {
        region,
        permit,
        ..JobRequest::new(operation, token)
    }
}

fn reply(result: JobResult, is_import: bool) -> Result<JobReply, JobError> {
    match result {
        JobResult::Created { pair, private_key } => Ok(JobReply::Created {
            pair,
            private_key: private_key.into_bytes(),
        }),
        JobResult::Pair(pair) if is_import => Ok(JobReply::Imported(pair)),
        JobResult::Pair(pair) => Ok(JobReply::Got(pair)),
        JobResult::Deleted => Ok(JobReply::Deleted),
        JobResult::Pairs(pairs) => Ok(JobReply::Listed(pairs)),
        JobResult::Instances(names) => Ok(JobReply::Instances(names)),
        JobResult::Attached(results) => Ok(JobReply::Attached(results)),
        JobResult::Credentials { .. } | JobResult::Preview(_) | JobResult::Profiles(_) => {
            Err(JobError::Plugin {
                message: "the courier answered another operation than it was asked".to_owned(),
            })
        }
    }
}

/// The courier's errors in the engine's words: what happens next depends on whether something may have taken effect.
fn translate(error: keyferry_courier::JobError) -> JobError {
    use keyferry_courier::JobError as Courier;

    let message = error.to_string();
    match (error.effect(), error) {
        (_, Courier::Provider(error)) => JobError::Provider(error),
        (_, Courier::Setup { .. }) => JobError::Setup {
            kind: SetupKind::Settings,
            message,
        },
        // What a provider says of a login is its word; what may pass by itself is tried again.
        (_, Courier::Credentials { error, answered, .. })
            if answered || matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable) =>
        {
            JobError::Provider(*error)
        }
        (_, Courier::Credentials { .. }) => JobError::Setup {
            kind: SetupKind::Credentials,
            message,
        },
        (Effect::None, Courier::Lost { .. } | Courier::Plugin { .. }) => failed(ErrorKind::Internal, message),
        (Effect::None, Courier::Refused { .. }) => failed(ErrorKind::Unsupported, message),
        (Effect::Unknown, Courier::Plugin { .. } | Courier::Refused { .. }) => JobError::Plugin { message },
        (Effect::Unknown, Courier::Lost { .. }) => JobError::Lost { message },
    }
}

/// An error of our own making that certainly had no effect.
fn failed(kind: ErrorKind, message: String) -> JobError {
    JobError::Provider(ProviderError {
        kind,
        message,
        code: None,
        request_id: None,
        retry_after_ms: None,
        effect: Effect::None,
    })
}

fn setup(kind: SetupKind, error: &dyn std::fmt::Display) -> JobError {
    JobError::Setup {
        kind,
        message: error.to_string(),
    }
}

/// Above a job's own 60 s, and the 30 s that a credential command may take before it.
const WATCHDOG_TIME: Duration = Duration::from_secs(120);
/// Starting a courier takes milliseconds; keeping one keeps credentials in memory.
const IDLE_TIME: Duration = Duration::from_secs(10);
