//! One key on a few hosts, for single cases: what is planned where one thing is other than it should be.

use std::time::Duration;

use super::rotation::{DAY, later};
use super::*;
use crate::desired::HostList;
use crate::ledger::{HostRow, HostState, Placement, PlacementState, Stage};

mod hours;
mod instances;
mod renewing;
mod standing_still;
mod trying_again;

/// A key, `web`, whose generations fare as each case says.
pub(super) struct Fleet {
    pub(super) desired: Desired,
    pub(super) ledger: LedgerView,
    pub(super) observed: Observed,
}

impl Fleet {
    /// Hosts that could be reached, and nothing on them.
    pub(super) fn new(hosts: &[&str]) -> Self {
        let mut fleet = Self {
            desired: Desired::default(),
            ledger: LedgerView::default(),
            observed: Observed::default(),
        };
        fleet
            .desired
            .accounts
            .insert("account".to_owned(), account("account", None));
        fleet
            .desired
            .keys
            .insert("web".to_owned(), spec("web", GeneratedBy::Keyferry, true));
        fleet.file(|spec| {
            let hosts = hosts.iter().map(|host| (*host).to_owned());
            spec.hosts = Some(HostList::Listed(hosts.collect()));
        });
        for (host, number) in hosts.iter().zip(1..) {
            let row = HostRow {
                address: (*host).to_owned(),
                pinned_host_key: Some(vec![number]),
                state: HostState::Reached,
                since: 0,
                note: None,
            };
            fleet.ledger.hosts.insert((*host).to_owned(), row);
        }
        fleet
    }

    /// As [`Self::new`], with one generation that was seen to log in everywhere ten days ago.
    pub(super) fn verified(hosts: &[&str]) -> Self {
        let mut fleet = Self::new(hosts);
        fleet.generation(1, Stage::Active);
        for host in hosts {
            fleet.place(1, host, PlacementState::Verified, 10);
        }
        fleet
    }

    pub(super) fn file(&mut self, change: impl FnOnce(&mut KeySpec)) {
        let mut spec = KeySpec::clone(&self.desired.keys["web"]);
        change(&mut spec);
        self.desired.keys.insert("web".to_owned(), Arc::new(spec));
    }

    pub(super) fn row(&mut self, change: impl FnOnce(&mut KeyRow)) {
        let mut row = self.ledger.key("web");
        change(&mut row);
        self.ledger.keys.insert("web".to_owned(), row);
    }

    /// A generation in the agent, with its pair; promoted ten days ago, superseded nine days ago.
    pub(super) fn generation(&mut self, n: u64, stage: Stage) -> &mut Generation {
        let now = later().wall_ms();
        let mut row = generation("web", n, GenerationState::Live);
        row.stage = stage;
        row.promoted_at = (stage != Stage::Staged).then_some(now - 10 * DAY);
        row.superseded_at = (stage == Stage::Earlier).then_some(now - 9 * DAY);
        let id = row.id();
        self.observed.in_agent.insert(id.clone());
        if stage == Stage::Active {
            self.observed.loaded.insert("web".to_owned(), n);
        }
        self.ledger.generations.entry(id).insert_entry(row).into_mut()
    }

    /// A line of a generation on a host: it was last changed, and seen to log in if it is verified, that many days ago.
    pub(super) fn place(
        &mut self,
        n: u64,
        host: &str,
        state: PlacementState,
        days_ago: i64,
    ) -> &mut Placement {
        let at = later().wall_ms() - days_ago * DAY;
        let row = Placement {
            key: "web".to_owned(),
            n,
            host: host.to_owned(),
            state,
            verified_at: (state == PlacementState::Verified).then_some(at),
            line: None,
            file: None,
            file_hash: None,
            changed_at: at,
        };
        self.ledger
            .placements
            .entry(row.id())
            .insert_entry(row)
            .into_mut()
    }

    pub(super) fn host(&mut self, host: &str, state: HostState) {
        self.ledger.hosts.get_mut(host).unwrap().state = state;
    }

    /// Something failed, and is tried again after that many milliseconds; none: not by itself.
    pub(super) fn fails(&mut self, subject: Subject, kind: &str, wait: Option<u64>) {
        let is_of_host = subject.host().is_some();
        let retry = Retry {
            failures: 1,
            not_before: wait.map(|wait| later().uptime + wait),
            needs_room: kind == "quota",
            spec: self.desired.keys.get("web").cloned(),
            account: self
                .desired
                .accounts
                .get("account")
                .filter(|_| !is_of_host)
                .cloned(),
            error: StatusError {
                kind: kind.to_owned(),
                message: format!("it says {kind}"),
                ..error()
            },
        };
        self.observed.retries.insert(subject, retry);
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&self.desired, &self.ledger, &self.observed, later())
    }

    /// What is begun on hosts, but for listing.
    pub(super) fn on_hosts(&self) -> Vec<Action> {
        let actions = self.plan().actions.into_iter();
        actions.filter(|action| action.host().is_some()).collect()
    }

    pub(super) fn waits(&self) -> String {
        self.plan().rotations_wait.get("web").cloned().unwrap_or_default()
    }
}

pub(super) fn at(host: &str) -> Subject {
    Subject::Host("web".to_owned(), host.to_owned())
}

pub(super) fn id(n: u64) -> GenerationId {
    ("web".to_owned(), n)
}

pub(super) fn put(n: u64, host: &str) -> Action {
    Action::Put {
        id: id(n),
        host: host.to_owned(),
    }
}

pub(super) fn verify(n: u64, host: &str) -> Action {
    Action::Verify {
        id: id(n),
        host: host.to_owned(),
    }
}
