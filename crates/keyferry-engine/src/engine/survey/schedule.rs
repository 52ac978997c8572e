//! When accounts are looked at, and what of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::{Manifest, RegionRule};
use tokio::sync::oneshot;

use super::SurveyWait;
use crate::desired::{Account, CheckEvery};
use crate::engine::Engine;
use crate::plan::Limit;
use crate::snapshot::{StatusError, SurveyReport};

/// How often accounts are looked at, where nothing else is said.
pub const DEFAULT_CHECK_EVERY: Duration = Duration::from_secs(60 * 60);

impl Engine {
    /// Has accounts looked at now; `reply` hears when all of them were.
    pub(in crate::engine) fn survey_now(
        &mut self,
        accounts: BTreeSet<String>,
        reply: oneshot::Sender<Vec<SurveyReport>>,
    ) {
        let now = self.clock.now().uptime;
        let mut wait = SurveyWait {
            accounts: BTreeMap::new(),
            reports: Vec::new(),
            reply,
        };
        for name in accounts {
            match self.can_be_listed(&name) {
                Ok(()) => {
                    self.observed.surveys.insert(name.clone(), now);
                    let survey = self.surveys.entry(name.clone()).or_default();
                    wait.accounts.insert(name, survey.begun + 1);
                }
                Err(error) => wait.reports.push(SurveyReport {
                    account: name,
                    pairs: None,
                    strays: Vec::new(),
                    error: Some(*error),
                }),
            }
        }
        self.survey_waits.push(wait);
    }

    /// After a quota was found full: whose pairs fill it.
    pub(in crate::engine) fn survey_for_quota(&mut self, account: &Account) {
        let now = self.clock.now().uptime;
        let last = self
            .surveys
            .get(&account.name)
            .and_then(|survey| survey.last.as_ref());
        let is_recent = last.is_some_and(|(at, _)| at.uptime.saturating_add(RECENT) > now);
        if !is_recent && self.can_be_listed(&account.name).is_ok() {
            self.observed.surveys.insert(account.name.clone(), now);
        }
    }

    /// Sets the time of the next look at every account that has pairs of loaded keys.
    pub(in crate::engine) fn schedule_surveys(&mut self) {
        let mut accounts: BTreeMap<String, Duration> = BTreeMap::new();
        for row in self.view.generations.values().filter(|row| self.serves(row)) {
            let account = self.desired.accounts.get(&row.account);
            if let Some(account) = account.filter(|account| row.is_of(account)) {
                let every = account.check_every.or(self.desired.daemon.check_every);
                match every.unwrap_or(CheckEvery::Time(DEFAULT_CHECK_EVERY)) {
                    CheckEvery::Never => {}
                    CheckEvery::Time(time) => _ = accounts.insert(account.name.clone(), time),
                }
            }
        }
        let now = self.clock.now().uptime;
        for (name, every) in accounts {
            let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
            let latest = now.saturating_add(every);
            // An interval that became shorter counts at once.
            let is_set = self.observed.surveys.get(&name).is_some_and(|&due| due <= latest);
            if is_set || self.observed.surveying.contains(&name) || self.can_be_listed(&name).is_err() {
                continue;
            }
            let early = self.clock.random(every / 10);
            self.observed.surveys.insert(name, latest - early);
        }
    }

    /// Takes the limits of all accounts from their files and manifests, and what their plugins can tell.
    pub(in crate::engine) fn find_limits(&mut self) {
        let mut limits = BTreeMap::new();
        self.observed.can_list_instances.clear();
        for (name, account) in self.desired.accounts.clone() {
            let Ok(manifest) = self.manifest(&account.plugin) else {
                // Not known: what it could tell is asked before a pair goes.
                self.observed.can_list_instances.insert(name);
                continue;
            };
            if manifest.operations.contains_key(&OperationKind::ListInstances) {
                self.observed.can_list_instances.insert(name.clone());
            }
            let quota = manifest.quota.as_ref();
            let pairs = account.max_pairs.or(quota.map(|quota| quota.pairs));
            let per_region = match quota {
                Some(quota) => quota.scope == "region",
                None => manifest.region == RegionRule::Required,
            };
            limits.extend(pairs.map(|pairs| {
                let pairs = u64::from(pairs);
                (name, Limit { pairs, per_region })
            }));
        }
        self.observed.limits = limits;
    }

    /// Every region that an account has to do with, as far as files and ledger tell.
    pub(super) fn regions_of(&self, account: &Account) -> Vec<Option<String>> {
        let mut regions: BTreeSet<Option<String>> = BTreeSet::new();
        regions.insert(account.region.clone());
        for spec in self
            .desired
            .keys
            .values()
            .filter(|spec| spec.account == account.name)
        {
            regions.extend(spec.regions(account).map(|region| region.map(str::to_owned)));
        }
        let rows = self.view.generations.values().filter(|row| row.is_of(account));
        regions.extend(rows.map(|row| row.region.clone()));
        let manifest = self
            .manifests
            .get(&account.plugin)
            .and_then(|found| found.as_ref().ok());
        if regions.len() > 1 && manifest.is_some_and(|manifest| manifest.region == RegionRule::Required) {
            regions.remove(&None);
        }
        regions.into_iter().collect()
    }

    fn can_be_listed(&mut self, name: &str) -> Result<(), Box<StatusError>> {
        let Some(account) = self.desired.accounts.get(name).cloned() else {
            let message = format!("there is no account named {name}");
            return Err(local("account", message, "keyferry status lists the accounts"));
        };
        let manifest: Arc<Manifest> = self.manifest(&account.plugin).map_err(|problem| {
            let remedy = format!("install or pin it, or correct plugin in accounts/{name}.toml");
            local("plugin", format!("plugin {} {problem}", account.plugin), &remedy)
        })?;
        if !manifest.operations.contains_key(&OperationKind::List) {
            let message = format!("plugin {} cannot list pairs", account.plugin);
            return Err(local(
                "unsupported",
                message,
                "nothing: what happens to its pairs is not seen",
            ));
        }
        if manifest.region == RegionRule::Required && self.regions_of(&account) == [None] {
            let message = format!("account {name} names no region, and no key of it does");
            let remedy = format!("add region to accounts/{name}.toml");
            return Err(local("invalid", message, &remedy));
        }
        Ok(())
    }
}

fn local(kind: &str, message: String, remedy: &str) -> Box<StatusError> {
    Box::new(StatusError {
        kind: kind.to_owned(),
        code: None,
        message,
        request_id: None,
        remedy: Some(remedy.to_owned()),
        retry_at: None,
    })
}

/// A look that young answers the same, in milliseconds.
const RECENT: u64 = 60_000;
