//! Whose the pairs of an account are.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_plugin::contract::Pair;

use crate::engine::Engine;
use crate::ledger::Generation;
use crate::naming;
use crate::snapshot::{StatusError, StrayPair};

/// What the lists of one survey held.
#[derive(Clone, Default)]
pub(in crate::engine) struct Findings {
    pub(super) census: BTreeMap<Option<String>, Census>,
    pub(in crate::engine) strays: Vec<(StrayPair, Pair)>,
}

/// Whose the pairs of one region are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Census {
    pub(super) all: u64,
    ours: u64,
    orphans: u64,
    of_other_installations: u64,
}

impl Engine {
    /// Whose the listed pairs are.
    pub(super) fn count(
        &self,
        account: &str,
        region: Option<&String>,
        pairs: Vec<Pair>,
    ) -> (Census, Vec<(StrayPair, Pair)>) {
        // A pair that was made with an account as it is no more may be seen through any.
        let is_here = |row: &&Generation| match self.desired.accounts.get(&row.account) {
            Some(of_row) if row.is_of(of_row) => row.account == account && row.region.as_ref() == region,
            _ => true,
        };
        let rows = self.view.generations.values().filter(is_here);
        let known: BTreeSet<&str> = rows.map(|row| row.pair_name.as_str()).collect();
        let own = naming::digits(&self.view.installation);
        let mut census = Census::default();
        let mut strays = Vec::new();
        for pair in pairs {
            census.all += 1;
            if known.contains(pair.name.as_str()) {
                census.ours += 1;
                continue;
            }
            // A name that was somebody else's when it was asked for is no orphan of ours.
            let installation = naming::installation_of(&pair.name)
                .filter(|&digits| digits == own || naming::is_usual(&pair.name))
                .filter(|_| !self.view.foreign_names.contains(&pair.name));
            let Some(installation) = installation else {
                continue;
            };
            let is_ours = installation == own;
            match is_ours {
                true => census.orphans += 1,
                false => census.of_other_installations += 1,
            }
            let stray = StrayPair {
                account: account.to_owned(),
                region: region.cloned(),
                name: pair.name.clone(),
                id: pair.id.clone(),
                fingerprint: pair.fingerprint.clone(),
                created_at: pair.created_at.clone(),
                installation: installation.to_owned(),
                is_ours,
            };
            strays.push((stray, pair));
        }
        (census, strays)
    }

    /// The orphans that the last look at an account found.
    pub(in crate::engine) fn strays(&self, account: &str) -> &[(StrayPair, Pair)] {
        let last = self.surveys.get(account).and_then(|survey| survey.last.as_ref());
        last.map_or(&[], |(_, findings)| &findings.strays)
    }

    /// An error about a full quota, with whose pairs fill it as far as that is known.
    pub(in crate::engine) fn explained(&self, account: &str, mut error: StatusError) -> StatusError {
        let last = self.surveys.get(account).and_then(|survey| survey.last.as_ref());
        if let ("quota", Some((_, findings))) = (error.kind.as_str(), last) {
            for (region, census) in &findings.census {
                let place = match region {
                    Some(region) => format!("region {region} of account {account}"),
                    None => format!("account {account}"),
                };
                error
                    .message
                    .push_str(&format!("; {place} holds {}", census.in_words()));
            }
        }
        error
    }
}

impl Census {
    fn in_words(self) -> String {
        let Self {
            all,
            ours,
            orphans,
            of_other_installations,
        } = self;
        let others = all.saturating_sub(ours + orphans + of_other_installations);
        let orphaned = match orphans {
            0 => String::new(),
            _ => format!(", {orphans} that it made and no longer knows (keyferry orphans)"),
        };
        format!(
            "{all} key pairs: {ours} of this keyferry{orphaned}, {of_other_installations} of other keyferry installations and \
             {others} of others"
        )
    }
}
