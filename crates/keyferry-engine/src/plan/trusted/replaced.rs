//! Lines of foreign keys that the user said may go (`replaces`), once a key of keyferry's was seen to log in instead.

use crate::plan::Action;
use crate::plan::places::Planner;

impl Planner<'_> {
    /// What is to be taken off the hosts of a key. It is looked for once on each host, and again after a restart or when the
    /// list has changed.
    pub(in crate::plan) fn replaced(&mut self, key: &str) {
        let Some(spec) = self.desired.keys.get(key) else {
            return;
        };
        let row = self.ledger.key(key);
        let stands_still =
            row.is_paused(self.now.wall_ms()) || row.held_at.is_some() || row.retire_asked_at.is_some();
        if spec.deploy.replaces.is_empty() || !spec.present || stands_still {
            return;
        }
        let planned = self
            .plan
            .actions
            .iter()
            .filter(|action| action.key() == key && action.host().is_some());
        let busy = self.busy_hosts(key) + planned.count();
        let mut free = spec.deploy.at_once.max(1).saturating_sub(busy);
        for (host, over) in self.entries(key) {
            let done = self.observed.replaced.get(&(key.to_owned(), host.clone()));
            if done == Some(&spec.deploy.replaces) {
                continue;
            }
            if free > 0 && !self.is_busy(&host) && self.may_work_at(key, spec, &host) {
                free -= 1;
                self.taken.insert(host.clone());
                self.plan.actions.push(Action::Replace {
                    over,
                    host,
                    fingerprints: spec.deploy.replaces.clone(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ledger::PlacementState;
    use crate::plan::Action;
    use crate::plan::trusted::tests::{HOSTS, World};

    #[test]
    fn foreign_lines_go_where_the_key_was_seen_to_log_in() {
        let mut world = World::new();
        let old = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".to_owned();
        world.spec(|spec| spec.deploy.replaces = vec![old.clone()]);
        world.place(HOSTS[1], PlacementState::Placed);
        let hosts = |actions: Vec<Action>| -> Vec<String> {
            actions
                .into_iter()
                .filter_map(|action| match action {
                    Action::Replace {
                        host,
                        fingerprints,
                        over,
                    } => {
                        assert_eq!(fingerprints, std::slice::from_ref(&old));
                        assert_eq!(over, ("web".to_owned(), 1));
                        Some(host)
                    }
                    _ => None,
                })
                .collect()
        };
        assert_eq!(hosts(world.actions()), [HOSTS[0], HOSTS[2]]);

        let done = ("web".to_owned(), HOSTS[0].to_owned());
        world.observed.replaced.insert(done, vec![old.clone()]);
        assert_eq!(hosts(world.actions()), [HOSTS[2]]);

        world.spec(|spec| spec.present = false);
        assert!(
            hosts(world.actions()).is_empty(),
            "a file that vanished asks for nothing"
        );
    }
}
