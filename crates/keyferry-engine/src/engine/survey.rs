//! Looking at all pairs of an account: one list for each region, and one question for each pair of ours that is missing
//! from it or another than it was. A list may skip a pair while others come and go; a question about one does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use keyferry_plugin::contract::Pair;
use tokio::sync::oneshot;

mod census;
mod later;
mod schedule;

pub use schedule::DEFAULT_CHECK_EVERY;

use super::failure::Failure;
use super::outcome::{disagreement, nonsense};
use super::{Engine, Finished, Job, JobReply, Moment, Task};
use crate::error::EngineError;
use crate::ledger::{Generation, GenerationState};
use crate::plan::GenerationId;
use crate::snapshot::{StatusError, SurveyReport, Timestamp};
use census::Findings;

/// What is known of all pairs of an account, and how far the look at them is that is under way.
#[derive(Default)]
pub(super) struct Survey {
    /// How many were begun.
    begun: u64,
    /// Regions still to be listed.
    waiting: VecDeque<Option<String>>,
    is_listing: bool,
    current: Findings,
    failure: Option<Failure>,
    /// How many failed in a row.
    failures: u32,
    last: Option<(Moment, Findings)>,
    error: Option<StatusError>,
}

/// Somebody waits for the look at some accounts, each with the number of the first that will do.
pub(super) struct SurveyWait {
    accounts: BTreeMap<String, u64>,
    reports: Vec<SurveyReport>,
    reply: oneshot::Sender<Vec<SurveyReport>>,
}

impl Engine {
    pub(super) fn begin_survey(&mut self, name: &str) {
        self.observed.surveys.remove(name);
        let Some(account) = self.desired.accounts.get(name).cloned() else {
            return;
        };
        let regions = self.regions_of(&account);
        let survey = self.surveys.entry(name.to_owned()).or_default();
        survey.begun += 1;
        survey.waiting = regions.into();
        survey.current = Findings::default();
        survey.failure = None;
        self.observed.surveying.insert(name.to_owned());
        self.list_next(name);
    }

    fn list_next(&mut self, name: &str) {
        let (Some(account), Some(survey)) = (self.desired.accounts.get(name), self.surveys.get_mut(name))
        else {
            return;
        };
        let Some(region) = survey.waiting.pop_front() else {
            return;
        };
        survey.is_listing = true;
        let rows = self.view.generations.values();
        let expected = rows
            .filter(|row| row.is_of(account) && row.region == region && self.serves(row))
            .filter(|row| !self.observed.jobs.contains_key(&row.id()))
            .map(Generation::id)
            .collect();
        let request = self.clouds.run(account.clone(), region.clone(), Job::List);
        let task = self.tasks.spawn(async move { Finished::Answered(request.await) });
        let account = name.to_owned();
        self.count_request(&account);
        self.running.insert(
            task.id(),
            Task::List {
                account,
                region,
                expected,
            },
        );
    }

    /// A list came, or did not.
    pub(super) async fn listed(
        &mut self,
        account: &str,
        region: Option<String>,
        expected: BTreeSet<GenerationId>,
        result: Result<JobReply, Failure>,
    ) -> Result<(), EngineError> {
        if let Some(survey) = self.surveys.get_mut(account) {
            survey.is_listing = false;
        }
        let result = match result {
            Ok(JobReply::Listed(pairs)) => Ok(pairs),
            Ok(_) => Err(nonsense("the plugin answered another question".to_owned())),
            Err(failure) => Err(failure),
        };
        let pairs = match result {
            Ok(pairs) => pairs,
            Err(failure) => {
                self.survey_failed(account, failure);
                return Ok(());
            }
        };
        self.compare_with_list(expected, &pairs).await?;
        let (census, strays) = self.count(account, region.as_ref(), pairs);
        self.stop_for_later_pairs(&strays).await?;
        if let Some(survey) = self.surveys.get_mut(account) {
            survey.current.census.insert(region, census);
            survey.current.strays.extend(strays);
        }
        Ok(())
    }

    /// Holds what is listed against the ledger. What differs is asked about by itself; what was missed and is back is noted.
    async fn compare_with_list(
        &mut self,
        expected: BTreeSet<GenerationId>,
        pairs: &[Pair],
    ) -> Result<(), EngineError> {
        let by_name: BTreeMap<&str, &Pair> = pairs.iter().map(|pair| (pair.name.as_str(), pair)).collect();
        for id in expected {
            let row = self.view.generations.get(&id).cloned();
            let Some(mut row) = row.filter(|_| !self.observed.jobs.contains_key(&id)) else {
                continue;
            };
            let forms = self.forms(&row.plugin);
            let listed = by_name.get(row.pair_name.as_str());
            let agrees = listed.is_some_and(|pair| disagreement(&row, pair, &forms).is_none());
            match (row.state, agrees) {
                (GenerationState::Live, false) => _ = self.observed.suspects.insert(id),
                (GenerationState::Missing | GenerationState::Replaced, true) if self.serves(&row) => {
                    tracing::info!(key = id.0, pair = row.pair_name, "the pair is there again");
                    row.state = GenerationState::Live;
                    row.missing_since = None;
                    row.note = None;
                    self.settle(row, None).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The answer about one pair that was not in the list, or another there.
    pub(super) async fn confirmed(
        &mut self,
        mut row: Generation,
        result: Result<JobReply, Failure>,
    ) -> Result<(), EngineError> {
        self.observed.suspects.remove(&row.id());
        let forms = self.forms(&row.plugin);
        let note = match result {
            Ok(JobReply::Got(pair)) => match disagreement(&row, &pair, &forms) {
                None => return Ok(()),
                Some(what) => {
                    row.state = GenerationState::Replaced;
                    format!(
                        "pair {} at the provider has another {what} than the one made here",
                        row.pair_name
                    )
                }
            },
            Err(failure) if failure.kind == "not_found" => {
                row.state = GenerationState::Missing;
                let whose = match row.delete_asked_at.take() {
                    Some(_) => "while the key was to end",
                    None => "at the provider, not by keyferry",
                };
                format!("pair {} was deleted {whose}", row.pair_name)
            }
            Err(failure) => {
                let account = row.account.clone();
                self.survey_failed(&account, failure);
                return Ok(());
            }
            Ok(_) => {
                let account = row.account.clone();
                self.survey_failed(
                    &account,
                    nonsense("the plugin answered another question".to_owned()),
                );
                return Ok(());
            }
        };
        tracing::warn!(
            key = row.key,
            generation = row.n,
            region = row.region,
            "{note}; the loaded key signs on"
        );
        row.note = Some(note);
        row.missing_since = Some(self.clock.now().wall_ms());
        self.settle(row, None).await
    }

    fn survey_failed(&mut self, account: &str, failure: Failure) {
        if let (true, Some(settings)) = (
            failure.kind == "throttled",
            self.desired.accounts.get(account).cloned(),
        ) {
            self.slow_down(&settings, &failure);
        }
        if let Some(survey) = self.surveys.get_mut(account) {
            survey.waiting.clear();
            survey.failure = Some(failure);
        }
    }

    /// Goes on with the looks of which nothing is under way, ends those that have nothing left to wait for, and tells those who
    /// wait for them.
    pub(super) fn end_surveys(&mut self) {
        let view = &self.view;
        let accounts = &self.desired.accounts;
        let loaded = &self.observed.loaded;
        self.observed.suspects.retain(|id| {
            view.generations.get(id).is_some_and(|row| {
                row.state == GenerationState::Live
                    && loaded.get(&row.key).is_some_and(|&n| row.holds(n))
                    && accounts
                        .get(&row.account)
                        .is_some_and(|account| row.is_of(account))
            })
        });
        for name in self.observed.surveying.clone() {
            let asks = self.observed.suspects.iter().any(|id| {
                let row = self.view.generations.get(id);
                row.is_some_and(|row| row.account == name)
            });
            let survey = self.surveys.get(&name);
            // An account whose file is gone is listed no further.
            let has_more = survey.is_some_and(|survey| !survey.waiting.is_empty())
                && self.desired.accounts.contains_key(&name);
            if asks || survey.is_some_and(|survey| survey.is_listing) {
            } else if has_more {
                self.list_next(&name);
            } else {
                self.end_survey(&name);
            }
        }
        // An account that was taken away is never looked at.
        let accounts = &self.desired.accounts;
        for wait in &mut self.survey_waits {
            wait.accounts.retain(|name, _| accounts.contains_key(name));
        }
        for wait in std::mem::take(&mut self.survey_waits) {
            match wait.accounts.is_empty() {
                // Whoever asked may have gone.
                true => _ = wait.reply.send(wait.reports),
                false => self.survey_waits.push(wait),
            }
        }
    }

    fn end_survey(&mut self, name: &str) {
        self.observed.surveying.remove(name);
        let now = self.clock.now();
        let Some(survey) = self.surveys.get_mut(name) else {
            return;
        };
        let findings = std::mem::take(&mut survey.current);
        let mut report = SurveyReport {
            account: name.to_owned(),
            pairs: None,
            strays: Vec::new(),
            error: None,
        };
        match survey.failure.take() {
            None => {
                survey.failures = 0;
                survey.error = None;
                report.pairs = Some(findings.census.values().map(|census| census.all).sum());
                report.strays = findings.strays.iter().map(|(stray, _)| stray.clone()).collect();
                survey.last = Some((now, findings));
            }
            Some(failure) => {
                survey.failures = survey.failures.saturating_add(1);
                let clock = &self.clock;
                let delay = failure.delay(survey.failures, |limit| clock.random(limit));
                let mut error = failure.status();
                if let Some(delay) = delay {
                    let at = now.uptime.saturating_add(delay.max(LEAST_PAUSE));
                    let at = *self.observed.surveys.entry(name.to_owned()).or_insert(at);
                    error.retry_at = Some(Timestamp(now.wall_at(at)));
                }
                tracing::warn!(
                    account = name,
                    kind = failure.kind,
                    message = failure.message,
                    "the account's pairs could not be looked at"
                );
                survey.error = Some(error.clone());
                report.error = Some(error);
            }
        }
        for wait in &mut self.survey_waits {
            if wait
                .accounts
                .get(name)
                .is_some_and(|&wanted| wanted <= survey.begun)
            {
                wait.accounts.remove(name);
                wait.reports.push(report.clone());
            }
        }
    }

    /// What the last look at an account says of it: its error, and when it was.
    pub(super) fn survey_status(&self, account: &str) -> (Option<StatusError>, Option<Timestamp>) {
        let survey = self.surveys.get(account);
        let at = survey.and_then(|survey| survey.last.as_ref());
        (
            survey.and_then(|survey| survey.error.clone()),
            at.map(|(at, _)| Timestamp(at.wall)),
        )
    }

    /// Whether a pair is one of a loaded key.
    pub(super) fn serves(&self, row: &Generation) -> bool {
        let loaded = self.observed.loaded.get(&row.key);
        let is_known = [
            GenerationState::Live,
            GenerationState::Missing,
            GenerationState::Replaced,
        ];
        is_known.contains(&row.state) && loaded.is_some_and(|&n| row.holds(n))
    }
}

/// A failed look is not repeated sooner, in milliseconds.
const LEAST_PAUSE: u64 = 60_000;
