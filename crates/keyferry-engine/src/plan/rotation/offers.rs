//! To whom each generation in the agent is offered: every host keeps being offered what was last seen to log in there.

use std::collections::HashSet;

use super::{HostFacts, Rotation};
use crate::engine::Offer;
use crate::ledger::{Placement, PlacementState};
use crate::plan::places::Planner;

/// A host that needs an earlier generation, and its host key where that is pinned.
struct Need<'a> {
    n: u64,
    host_key: Option<&'a [u8]>,
}

impl<'a> Planner<'a> {
    pub(super) fn offer(&mut self, rotation: &Rotation<'a>) {
        let key = rotation.key.to_owned();
        let in_agent = self
            .observed
            .in_agent
            .range((key.clone(), 0)..=(key.clone(), u64::MAX));
        let mut in_agent: Vec<u64> = in_agent.map(|(_, n)| *n).collect();
        if let Some(active) = rotation.active
            && !in_agent.contains(&active)
        {
            in_agent.push(active);
        }
        if self.ledger.is_for_command(&key) {
            // It has a socket of its own.
            let offers = in_agent.into_iter().map(|n| ((key.clone(), n), Offer::Nowhere));
            self.plan.offers.extend(offers);
            return;
        }
        if let [only] = in_agent[..] {
            let offer = match rotation.staged == Some(only) && rotation.active.is_some() {
                true => Offer::Nowhere,
                false => Offer::Everywhere,
            };
            self.plan.offers.insert((key, only), offer);
            return;
        }
        let needs = needs(rotation, &in_agent);
        let mut everywhere: Vec<u64> = needs
            .iter()
            .filter(|need| need.host_key.is_none())
            .map(|need| need.n)
            .collect();
        for &n in &in_agent {
            if Some(n) != rotation.active
                && Some(n) != rotation.staged
                && self.may_be_wanted_elsewhere(rotation, n)
            {
                everywhere.push(n);
            }
        }
        // Where one is offered to a host key, those that are offered everywhere are not. So a host key behind which
        // one of those is needed too is nobody's alone.
        loop {
            let before = everywhere.len();
            let is_open = |n: u64| Some(n) == rotation.active || everywhere.contains(&n);
            let open = needs.iter().filter(|need| is_open(need.n));
            let shared: HashSet<Option<&[u8]>> = open.map(|need| need.host_key).collect();
            for need in &needs {
                if shared.contains(&need.host_key) && !everywhere.contains(&need.n) {
                    everywhere.push(need.n);
                }
            }
            if everywhere.len() == before {
                break;
            }
        }
        for n in in_agent {
            let offer = if rotation.staged == Some(n) {
                Offer::Nowhere
            } else if rotation.active == Some(n) || everywhere.contains(&n) {
                Offer::Everywhere
            } else {
                let own = needs.iter().filter(|need| need.n == n);
                let mut to: Vec<Vec<u8>> = own.filter_map(|need| need.host_key.map(<[u8]>::to_vec)).collect();
                to.sort_unstable();
                to.dedup();
                match to.is_empty() {
                    true => Offer::Nowhere,
                    false => Offer::To(to),
                }
            };
            self.plan.offers.insert((rotation.key.to_owned(), n), offer);
        }
    }

    /// Whether an earlier generation may be the only one that lets in where no host of the key is known: at instances that
    /// were launched with its pair, or everywhere, of a key without hosts.
    fn may_be_wanted_elsewhere(&self, rotation: &Rotation<'a>, n: u64) -> bool {
        if !rotation.has_hosts {
            return true;
        }
        match self.instances_of(rotation, n) {
            Some(instances) => !self.kept_for(rotation, &instances).is_empty(),
            None => true,
        }
    }
}

/// What each host was last seen to let in, of what the agent may offer. The active one is there for a host where it logs
/// in; another only where it does not.
fn needs<'a>(rotation: &Rotation<'a>, in_agent: &[u64]) -> Vec<Need<'a>> {
    let mut needs = Vec::new();
    for host in &rotation.hosts {
        let host_key = host.row.and_then(|row| row.pinned_host_key.as_deref());
        needs.extend(needed(rotation, host, in_agent).map(|n| Need { n, host_key }));
    }
    needs
}

/// What a host was last seen to let in, of these generations.
pub(super) fn needed<'r>(
    rotation: &'r Rotation<'_>,
    host: &HostFacts<'_>,
    in_agent: &'r [u64],
) -> impl Iterator<Item = u64> + use<'r> {
    let offered = move |n: u64| in_agent.contains(&n) && Some(n) != rotation.staged;
    let is_verified =
        |placement: &&&Placement| placement.state == PlacementState::Verified && offered(placement.n);
    let placements = rotation.on(host);
    let is_active = |placement: &Placement| Some(placement.n) == rotation.active;
    let sure = placements
        .iter()
        .filter(is_verified)
        .max_by_key(|placement| (is_active(placement), placement.verified_at, placement.n))
        .map(|placement| placement.n);
    // Where a line was changed since, whichever was seen may be as good as before.
    let unsure = placements
        .iter()
        .filter(move |placement| sure.is_none() && placement.verified_at.is_some() && offered(placement.n))
        .map(|placement| placement.n);
    sure.into_iter().chain(unsure)
}
