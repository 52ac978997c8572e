//! How a loaded key's pairs fare, region by region.

use super::remark;
use crate::desired::{KeySpec, OnDrift};
use crate::engine::Engine;
use crate::ledger::{Generation, GenerationState};
use crate::plan::{Overfull, Subject};
use crate::snapshot::{Drift, RegionState, RegionStatus, StatusError};

impl Engine {
    /// The pairs of a key's loaded generation, and what became of them.
    pub(super) fn regions(
        &self,
        name: &str,
        spec: Option<&KeySpec>,
        loaded: u64,
    ) -> (Vec<RegionStatus>, Option<Drift>) {
        let rows: Vec<&Generation> = self.view.of_key(name).filter(|row| row.holds(loaded)).collect();
        let mut regions: Vec<Option<String>> = Vec::new();
        if let Some(spec) = spec
            && let Some(account) = self.desired.accounts.get(&spec.account)
        {
            let of_account = rows.iter().any(|row| row.is_of(account));
            regions.extend(
                spec.regions(account)
                    .filter(|_| of_account)
                    .map(|region| region.map(str::to_owned)),
            );
        }
        for row in &rows {
            if !regions.contains(&row.region) {
                regions.push(row.region.clone());
            }
        }
        let mut drift = None;
        let statuses = regions.into_iter().map(|region| {
            let (status, drifted) = self.region(name, spec, &rows, region);
            drift = drift.or(drifted);
            status
        });
        let statuses = statuses.collect();
        (statuses, drift)
    }

    fn region(
        &self,
        name: &str,
        spec: Option<&KeySpec>,
        rows: &[&Generation],
        region: Option<String>,
    ) -> (RegionStatus, Option<Drift>) {
        let here = || rows.iter().copied().filter(|row| row.region == region);
        // Of several the last one made.
        let at = |states: &[GenerationState]| {
            here()
                .filter(|row| states.contains(&row.state))
                .max_by_key(|row| row.n)
        };
        let status = |state, row: Option<&Generation>, error| RegionStatus {
            region: region.clone(),
            state,
            pair_name: row.map(|row| row.pair_name.clone()),
            error,
        };
        if let Some(row) = at(&[GenerationState::Live]) {
            return (status(RegionState::Live, Some(row), None), None);
        }
        let drifted = at(&TAKEN_AWAY);
        let drift = drifted.map(|row| match row.state {
            GenerationState::Replaced => Drift::Replaced,
            _ => Drift::Deleted,
        });
        let retry = self
            .observed
            .retries
            .get(&Subject::Copying(name.to_owned(), region.clone()));
        let account = spec.and_then(|spec| self.desired.accounts.get(&spec.account));
        let retry = retry.filter(|retry| retry.spec.as_deref() == spec && retry.account.as_ref() == account);
        if let Some(retry) = retry {
            let account = account.map_or("", |account| &account.name);
            let error = self.explained(account, retry.error.clone());
            return (status(RegionState::Failed, drifted, Some(error)), drift);
        }
        if let Some(row) = at(&[GenerationState::Requested, GenerationState::Doubtful])
            && row.missing_since.is_none()
        {
            let looking = Subject::Generation(name.to_owned(), row.n);
            let error = self
                .observed
                .retries
                .get(&looking)
                .map(|retry| retry.error.clone());
            let state = match error {
                Some(_) => RegionState::Failed,
                None => RegionState::Creating,
            };
            return (status(state, Some(row), error), drift);
        }
        if let Some(overfull) = self.overfull.get(name).and_then(|regions| regions.get(&region)) {
            return (
                status(RegionState::Failed, drifted, Some(too_many(overfull))),
                drift,
            );
        }
        match (drifted, drift) {
            (Some(row), Some(drift)) => {
                let mends = self.mends(spec, rows, region.as_deref());
                let state = match drift {
                    _ if mends => RegionState::Pending,
                    Drift::Deleted => RegionState::Deleted,
                    Drift::Replaced => RegionState::Replaced,
                };
                (
                    status(state, Some(row), Some(drift_error(name, row, spec, mends))),
                    Some(drift),
                )
            }
            _ => (status(RegionState::Pending, None, None), None),
        }
    }

    /// Whether a pair that was taken away is about to be made again.
    fn mends(&self, spec: Option<&KeySpec>, rows: &[&Generation], region: Option<&str>) -> bool {
        let taken_away = rows
            .iter()
            .filter(|row| row.region.as_deref() == region && TAKEN_AWAY.contains(&row.state))
            .count();
        let is_declared = spec.is_some_and(|spec| {
            let account = self.desired.accounts.get(&spec.account);
            spec.present
                && spec.on_drift == OnDrift::Recreate
                && account.is_some_and(|account| spec.regions(account).any(|declared| declared == region))
        });
        is_declared && taken_away < crate::plan::MAX_UNWANTED
    }
}

const TAKEN_AWAY: [GenerationState; 2] = [GenerationState::Missing, GenerationState::Replaced];

/// What is said of a pair that was deleted or replaced.
fn drift_error(name: &str, row: &Generation, spec: Option<&KeySpec>, mends: bool) -> StatusError {
    let note = row.note.clone().unwrap_or_default();
    let reports = spec.is_some_and(|spec| spec.on_drift == OnDrift::Report);
    let remedy = match (mends, reports) {
        (true, _) => "nothing: its public half is registered again".to_owned(),
        (false, true) => format!(
            "put the pair back, or write on_drift = \"recreate\" in keys/{name}.toml to have its public half registered \
             again; keyferry refresh {name} looks again"
        ),
        (false, false) => format!(
            "{} pairs of it were taken away there, so no other is made before keyferry starts again: find out who takes them \
             away, and whether the account may see them; keyferry refresh {name} looks again",
            crate::plan::MAX_UNWANTED
        ),
    };
    remark("drift", format!("{note}; the loaded key signs on"), &remedy)
}

/// What is said of a pair that the account has no room for.
pub(super) fn too_many(overfull: &Overfull) -> StatusError {
    let Overfull {
        account,
        region,
        limit,
        declared,
    } = overfull;
    let place = match region {
        Some(region) => format!(" in region {region}"),
        None => String::new(),
    };
    remark(
        "quota",
        format!(
            "the files ask for {declared} key pairs{place} with account {account}, and {limit} are allowed there: this one \
             was not asked for"
        ),
        &format!(
            "take keys out, spread them over regions or accounts, or say max_pairs in accounts/{account}.toml if the \
             vendor has raised the limit"
        ),
    )
}
