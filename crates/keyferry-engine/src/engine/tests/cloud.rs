//! A cloud in memory: pairs, faults, late arrivals, and a record of everything asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_plugin::contract::{Effect, ErrorKind, InstanceResult, Pair, PairReference, ProviderError};
use zeroize::Zeroizing;

use super::super::{Clock as _, CloudFuture, Clouds, Job, JobError, JobReply, SetupKind};
use super::JumpingClock;
use crate::desired::Account;
use crate::private_key::tests::openssh_file;
use crate::private_key::{PrivateKey, PublicKey};

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// Somebody else takes the name just before.
    Foreign,
    /// As [`Fault::Foreign`], but for an import alone. A created pair that was never seen is known by its name only:
    /// killed between that refusal and its record, keyferry would take it for its own.
    ForeignImport,
    /// It takes effect, and the answer makes no sense.
    Garbage,
    /// The courier dies; the request arrives that many seconds later.
    Late(u64),
    /// It takes effect, and the answer is lost with the courier.
    LostAfter,
    /// The courier dies before anything is sent.
    LostBefore,
    /// The plugin crashes after it took effect.
    PluginAfter,
    /// The provider refuses.
    Refuse(ErrorKind),
    /// The provider fails after it took effect.
    ServerErrorAfter,
    /// The provider fails before it takes effect, and cannot say.
    ServerErrorBefore,
    /// Nothing can be sent.
    Setup(SetupKind),
    /// It takes effect, and the fingerprint in the answer is another's.
    WrongFingerprint,
    /// It takes effect, and the fingerprint is another's from then on.
    WrongFingerprintForGood,
}

struct Entry {
    id: String,
    public: PublicKey,
    fingerprint: String,
    foreign: bool,
    made_at: u64,
}

/// A region and a name.
type Place = (String, String);

#[derive(Default)]
struct State {
    pairs: BTreeMap<Place, Entry>,
    late: Vec<(u64, String, Job)>,
    faults: VecDeque<Option<Fault>>,
    standing: Option<Fault>,
    quota: Option<usize>,
    /// The time of the request that is being answered.
    now: u64,
    lag: u64,
    requests: Vec<Job>,
    /// By a pair's name.
    instances: BTreeMap<String, Vec<String>>,
    /// The region of the request that is being answered.
    region: String,
    foreign: BTreeSet<Place>,
    /// Pairs that lists leave out, although they are there.
    unlisted: BTreeSet<String>,
    asked_names: BTreeSet<String>,
    making: BTreeSet<String>,
    /// Every identifier that a pair of ours had, by name.
    ids_of: BTreeMap<String, BTreeSet<String>>,
    violations: Vec<String>,
    answers_nothing: bool,
    in_flight: usize,
    most_in_flight: usize,
    ids: u64,
    tells_ages: bool,
}

pub(super) struct FakeCloud {
    state: Arc<Mutex<State>>,
    clock: Arc<JumpingClock>,
}

impl FakeCloud {
    pub(super) fn new(clock: Arc<JumpingClock>) -> Self {
        Self {
            state: Arc::default(),
            clock,
        }
    }

    /// The coming requests go wrong like this, one each.
    pub(super) fn expect(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// All requests go wrong like this, until told otherwise.
    pub(super) fn always(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().standing = fault;
    }

    pub(super) fn quota(&self, pairs: Option<usize>) {
        self.state.lock().unwrap().quota = pairs;
    }

    /// Pairs are not seen for that many milliseconds after they were made, although their names are taken.
    pub(super) fn lag(&self, milliseconds: u64) {
        self.state.lock().unwrap().lag = milliseconds;
    }

    pub(super) fn requests(&self) -> Vec<Job> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Answers wait from now on, or no longer.
    pub(super) fn hold_answers(&self, hold: bool) {
        self.state.lock().unwrap().answers_nothing = hold;
    }

    /// Requests in flight: now, and at most so far.
    pub(super) fn in_flight(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.in_flight, state.most_in_flight)
    }

    /// Names of the pairs that are not somebody else's.
    pub(super) fn our_pairs(&self) -> Vec<String> {
        let mut names: Vec<String> = self.pairs().into_iter().map(|(_, name)| name).collect();
        names.sort();
        names
    }

    /// Regions and names of the pairs that are not somebody else's.
    pub(super) fn pairs(&self) -> Vec<(String, String)> {
        let mut state = self.state.lock().unwrap();
        state.deliver(u64::MAX);
        state
            .pairs
            .iter()
            .filter(|(_, entry)| !entry.foreign)
            .map(|(place, _)| place.clone())
            .collect()
    }

    pub(super) fn public_blob(&self, region: &str, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock().unwrap();
        let entry = state.pairs.get(&(region.to_owned(), name.to_owned()));
        entry.map(|entry| entry.public.blob().to_vec())
    }

    /// Somebody deletes a pair and makes another under its name.
    pub(super) fn replace(&self, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.region = HOME.to_owned();
        state.pairs.remove(&(HOME.to_owned(), name.to_owned()));
        state.put_foreign(name);
    }

    /// Somebody deletes a pair.
    pub(super) fn delete(&self, region: &str, name: &str) {
        let removed = self
            .state
            .lock()
            .unwrap()
            .pairs
            .remove(&(region.to_owned(), name.to_owned()));
        assert!(removed.is_some(), "there is no {name} in {region}");
    }

    /// Puts a pair there that nobody asked for here, under any name.
    pub(super) fn plant(&self, region: &str, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.region = region.to_owned();
        state.now = self.clock.now().uptime;
        state.put_foreign(name);
    }

    /// Makes planted pairs fair game.
    pub(super) fn give_up(&self, region: &str, name: &str) {
        let place = (region.to_owned(), name.to_owned());
        let mut state = self.state.lock().unwrap();
        state.foreign.remove(&place);
        state.asked_names.insert(name.to_owned());
        let id = state.pairs[&place].id.clone();
        state.ids_of.entry(name.to_owned()).or_default().insert(id);
        state.pairs.get_mut(&place).unwrap().foreign = false;
    }

    /// Every answer about a pair says from now on when that was made.
    pub(super) fn tell_ages(&self) {
        self.state.lock().unwrap().tells_ages = true;
    }

    /// Instances were launched with a pair, and name it; none: they are gone.
    pub(super) fn launch(&self, pair: &str, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.state
            .lock()
            .unwrap()
            .instances
            .insert(pair.to_owned(), names);
    }

    /// Lists leave a pair out from now on, or show all again.
    pub(super) fn leave_out(&self, name: Option<&str>) {
        self.state.lock().unwrap().unlisted = name.into_iter().map(str::to_owned).collect();
    }

    #[track_caller]
    pub(super) fn assert_foreign_pairs_are_untouched(&self) {
        let state = self.state.lock().unwrap();
        assert_eq!(state.violations, Vec::<String>::new());
        for place in &state.foreign {
            assert!(
                state.pairs.get(place).is_some_and(|entry| entry.foreign),
                "{place:?} was touched"
            );
        }
    }
}

impl Clouds for FakeCloud {
    fn run(&self, account: Arc<Account>, region: Option<String>, job: Job) -> CloudFuture {
        assert!(["cloud", "renamed"].contains(&account.name.as_str()));
        let region = region.expect("every account here has a region");
        let (state, clock) = (Arc::clone(&self.state), Arc::clone(&self.clock));
        Box::pin(async move {
            let _in_flight = InFlight::begin(&state, &region, &job);
            let result = state.lock().unwrap().take(region, job, clock.now().uptime);
            // The answer takes a while.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            while state.lock().unwrap().answers_nothing {
                tokio::task::yield_now().await;
            }
            result
        })
    }
}

/// Counts a request until its future ends or is dropped.
struct InFlight {
    state: Arc<Mutex<State>>,
    making: Option<String>,
}

impl InFlight {
    fn begin(state: &Arc<Mutex<State>>, region: &str, job: &Job) -> Self {
        let mut counted = state.lock().unwrap();
        counted.in_flight += 1;
        counted.most_in_flight = counted.most_in_flight.max(counted.in_flight);
        let making = match job {
            // Without the number: the key.
            Job::Create { name, .. } | Job::Import { name, .. } => {
                name.rsplit_once('-').map(|(key, _)| format!("{key} in {region}"))
            }
            Job::Attach { .. } | Job::Delete { .. } | Job::Get(_) | Job::List | Job::ListInstances { .. } => {
                None
            }
        };
        if let Some(key) = &making {
            let is_first = counted.making.insert(key.clone());
            counted.check(is_first, || format!("two live creates of {key}"));
        }
        Self {
            state: Arc::clone(state),
            making,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut counted = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        counted.in_flight -= 1;
        if let Some(key) = &self.making {
            counted.making.remove(key);
        }
    }
}

impl State {
    /// A panic here would only look like a lost request.
    fn check(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(violation());
        }
    }

    fn take(&mut self, region: String, job: Job, now: u64) -> Result<JobReply, JobError> {
        self.now = now;
        self.deliver(now);
        self.region = region;
        self.requests.push(job.clone());
        let fault = self.faults.pop_front().flatten().or(self.standing);
        if let Job::Create { name, .. } | Job::Import { name, .. } = &job {
            let is_import = matches!(job, Job::Import { .. });
            let is_taken =
                fault == Some(Fault::Foreign) || (fault == Some(Fault::ForeignImport) && is_import);
            if is_taken && !self.pairs.contains_key(&self.place(name)) {
                self.put_foreign(name);
            }
            self.asked_names.insert(name.clone());
        }
        if let Job::Delete { pair, .. } = &job {
            let is_known = self.asked_names.contains(&pair.name);
            self.check(is_known, || {
                format!("deletes {}, which it never asked for", pair.name)
            });
        }
        match fault {
            None | Some(Fault::Foreign | Fault::ForeignImport) => self.perform(job),
            Some(Fault::Garbage) => self.perform(job).map(|reply| match reply {
                JobReply::Created { pair, .. } => JobReply::Created {
                    pair,
                    private_key: Zeroizing::new(b"<html>".to_vec()),
                },
                _ => JobReply::Deleted,
            }),
            Some(Fault::Late(seconds)) => {
                self.late.push((now + seconds * 1000, self.region.clone(), job));
                Err(lost())
            }
            Some(Fault::LostAfter) => self.perform(job).and(Err(lost())),
            Some(Fault::LostBefore) => Err(lost()),
            Some(Fault::PluginAfter) => self.perform(job).and(Err(JobError::Plugin {
                message: "the plugin crashed".to_owned(),
            })),
            Some(Fault::Refuse(kind)) => Err(refused(kind, Effect::None)),
            Some(Fault::ServerErrorAfter) => self
                .perform(job)
                .and(Err(refused(ErrorKind::Unavailable, Effect::Unknown))),
            Some(Fault::ServerErrorBefore) => Err(refused(ErrorKind::Unavailable, Effect::Unknown)),
            Some(Fault::Setup(kind)) => Err(JobError::Setup {
                kind,
                message: "nothing can be sent".to_owned(),
            }),
            Some(Fault::WrongFingerprint | Fault::WrongFingerprintForGood) => {
                let mut reply = self.perform(job)?;
                if let JobReply::Created { pair, .. } | JobReply::Imported(pair) = &mut reply {
                    let wrong = "00".repeat(16);
                    if fault == Some(Fault::WrongFingerprintForGood)
                        && let Some(entry) = self.pairs.get_mut(&(self.region.clone(), pair.name.clone()))
                    {
                        entry.fingerprint.clone_from(&wrong);
                    }
                    pair.fingerprint = Some(wrong);
                }
                Ok(reply)
            }
        }
    }

    fn perform(&mut self, job: Job) -> Result<JobReply, JobError> {
        match job {
            Job::Create { name, algorithm, .. } => {
                let key = PrivateKey::generate(algorithm).unwrap();
                let pair = self.put(&name, key.public_key().clone())?;
                let public = key.public_key().blob().to_vec();
                let file = openssh_file(&key.into_blob(), &public, b"none");
                Ok(JobReply::Created {
                    pair,
                    private_key: Zeroizing::new(STANDARD.encode(file).into_bytes()),
                })
            }
            Job::Import { name, public_key, .. } => {
                let public = PublicKey::from_line(&public_key).unwrap();
                self.put(&name, public).map(JobReply::Imported)
            }
            Job::Get(PairReference { name, .. }) => match self.pairs.get(&self.place(&name)) {
                Some(entry) if entry.made_at.saturating_add(self.lag) <= self.now => {
                    let made_at = Duration::from_millis(JumpingClock::BEGINNING + entry.made_at);
                    let made_at = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + made_at);
                    Ok(JobReply::Got(Pair {
                        created_at: self.tells_ages.then(|| made_at.to_string()),
                        ..entry.describe(&name)
                    }))
                }
                _ => Err(refused(ErrorKind::NotFound, Effect::None)),
            },
            Job::List => {
                let here = self.pairs.iter().filter(|((region, name), entry)| {
                    *region == self.region
                        && !self.unlisted.contains(name)
                        && entry.made_at.saturating_add(self.lag) <= self.now
                });
                Ok(JobReply::Listed(
                    here.map(|((_, name), entry)| entry.describe(name)).collect(),
                ))
            }
            Job::Attach { pair, instances, .. } => {
                if !self.pairs.contains_key(&self.place(&pair.name)) {
                    return Err(refused(ErrorKind::NotFound, Effect::None));
                }
                let results = instances.into_iter().map(|instance| {
                    let error = self.attach(&pair.name, &instance).err();
                    InstanceResult { instance, error }
                });
                Ok(JobReply::Attached(results.collect()))
            }
            Job::ListInstances { pair } => {
                let names = self.instances.get(&pair.name).cloned().unwrap_or_default();
                Ok(JobReply::Instances(names))
            }
            Job::Delete { pair, permit, .. } => {
                let place = self.place(&pair.name);
                let Some(entry) = self.pairs.get(&place) else {
                    return Err(refused(ErrorKind::NotFound, Effect::None));
                };
                let (is_foreign, name) = (entry.foreign, &pair.name);
                // A deletion that arrives late may meet the next pair of ours under that name.
                let is_known = permit.id.as_ref().is_none_or(|id| {
                    let ids = self.ids_of.get(name);
                    ids.is_some_and(|ids| ids.contains(id))
                });
                self.check(!is_foreign, || format!("deletes {name} of somebody else"));
                self.check(is_known, || {
                    format!("deletes {name} with a permit for {:?}", permit.id)
                });
                self.pairs.remove(&place);
                Ok(JobReply::Deleted)
            }
        }
    }

    /// In place of what is bound to it.
    fn attach(&mut self, pair: &str, instance: &str) -> Result<(), ProviderError> {
        if instance.starts_with("missing") {
            return Err(ProviderError {
                code: Some("InvalidInstanceId.NotFound".to_owned()),
                ..ProviderError::new(ErrorKind::NotFound, "the instance does not exist")
            });
        }
        for names in self.instances.values_mut() {
            names.retain(|name| name != instance);
        }
        let names = self.instances.entry(pair.to_owned()).or_default();
        names.push(instance.to_owned());
        Ok(())
    }

    fn put(&mut self, name: &str, public: PublicKey) -> Result<Pair, JobError> {
        let place = self.place(name);
        if self.pairs.contains_key(&place) {
            return Err(refused(ErrorKind::AlreadyExists, Effect::None));
        }
        if self.quota.is_some_and(|quota| self.pairs.len() >= quota) {
            return Err(refused(ErrorKind::Quota, Effect::None));
        }
        self.ids += 1;
        use md5::{Digest as _, Md5};
        let fingerprint = Md5::digest(public.blob())
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        let entry = Entry {
            id: format!("ssh-{}", self.ids),
            public,
            fingerprint,
            foreign: false,
            made_at: self.now,
        };
        let pair = entry.describe(name);
        self.ids_of
            .entry(name.to_owned())
            .or_default()
            .insert(entry.id.clone());
        self.pairs.insert(place, entry);
        Ok(pair)
    }

    fn put_foreign(&mut self, name: &str) {
        let key = PrivateKey::generate(keyferry_plugin::contract::Algorithm::Ed25519).unwrap();
        let quota = self.quota.take();
        self.put(name, key.public_key().clone()).unwrap();
        self.quota = quota;
        let place = self.place(name);
        self.pairs.get_mut(&place).unwrap().foreign = true;
        self.foreign.insert(place);
    }

    fn place(&self, name: &str) -> Place {
        (self.region.clone(), name.to_owned())
    }

    /// What was under way arrives.
    fn deliver(&mut self, now: u64) {
        let (due, late) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, _, _)| *at <= now);
        self.late = late;
        let due: Vec<(u64, String, Job)> = due;
        let before = (self.now, self.region.clone());
        for (at, region, job) in due {
            self.now = at;
            self.region = region;
            let _ = self.perform(job);
        }
        (self.now, self.region) = before;
    }
}

impl Entry {
    fn describe(&self, name: &str) -> Pair {
        Pair {
            name: name.to_owned(),
            id: Some(self.id.clone()),
            fingerprint: Some(self.fingerprint.clone()),
            public_key: None,
            created_at: None,
        }
    }
}

/// The region of the account that tests have.
pub(super) const HOME: &str = "cn-hangzhou";

fn lost() -> JobError {
    JobError::Lost {
        message: "the courier died".to_owned(),
    }
}

fn refused(kind: ErrorKind, effect: Effect) -> JobError {
    JobError::Provider(ProviderError {
        kind,
        message: format!("the cloud says {}", kind.name()),
        code: Some("Code".to_owned()),
        request_id: Some("request-1".to_owned()),
        retry_after_ms: None,
        effect,
    })
}
