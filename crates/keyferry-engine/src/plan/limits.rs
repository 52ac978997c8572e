//! Whether what the files ask for fits the provider's limit on pairs: known before anything is asked.

use std::collections::BTreeMap;

use super::places::Planner;
use crate::desired::KeySpec;

/// How many pairs an account may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// How many.
    pub pairs: u64,
    /// In each region; or else in all of them together.
    pub per_region: bool,
}

/// Why a pair is not asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Overfull {
    /// The account.
    pub account: String,
    /// The region, where each has a limit of its own.
    pub region: Option<String>,
    /// How many pairs there may be.
    pub limit: u64,
    /// How many the files ask for.
    pub declared: u64,
}

/// The account, and its region where each has a limit of its own.
type Scope = (String, Option<String>);

/// The pairs that do not fit, by key and region.
pub(super) type Unfitting = BTreeMap<(String, Option<String>), Overfull>;

impl Planner<'_> {
    /// Counts one pair for each declared key and region. Keys that have a pair come first, then the others by name, and at
    /// last those for one command; what is over the limit is not asked for.
    pub(super) fn count_pairs(&mut self) {
        if self.observed.limits.is_empty() {
            return;
        }
        let has_pair = |spec: &KeySpec| {
            self.observed.loaded.contains_key(&spec.name)
                || self.ledger.of_key(&spec.name).any(|row| row.copy_of.is_none())
        };
        let mut specs: Vec<&KeySpec> = self.desired.keys.values().map(AsRef::as_ref).collect();
        specs.retain(|spec| spec.present || has_pair(spec));
        specs.sort_by_key(|spec| (!has_pair(spec), self.ledger.is_for_command(&spec.name)));
        let mut declared: BTreeMap<Scope, u64> = BTreeMap::new();
        let mut over: Vec<((String, Option<String>), Scope, u64)> = Vec::new();
        for spec in specs {
            let Some(account) = self.desired.accounts.get(&spec.account) else {
                continue;
            };
            let Some(limit) = self.observed.limits.get(&account.name) else {
                continue;
            };
            for region in spec.regions(account) {
                let region = region.map(str::to_owned);
                let scope = (account.name.clone(), region.clone().filter(|_| limit.per_region));
                let count = declared.entry(scope.clone()).or_default();
                *count += 1;
                if *count > limit.pairs {
                    over.push(((spec.name.clone(), region), scope, limit.pairs));
                }
            }
        }
        self.unfitting = over
            .into_iter()
            .map(|(pair, scope, limit)| {
                let overfull = Overfull {
                    declared: declared.get(&scope).copied().unwrap_or_default(),
                    account: scope.0,
                    region: scope.1,
                    limit,
                };
                (pair, overfull)
            })
            .collect();
    }
}
