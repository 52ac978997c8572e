//! Instances that were launched with an earlier generation keep it, whichever of its pairs they name.

use super::*;

/// The third generation serves on the only host; the first has a copy, 2, in another region.
fn two_regions() -> Fleet {
    let mut fleet = Fleet::new(&["h0"]);
    fleet.generation(1, Stage::Earlier);
    let mut copy = generation("web", 2, GenerationState::Live);
    copy.copy_of = Some(1);
    copy.region = Some("elsewhere".to_owned());
    fleet.ledger.generations.insert(id(2), copy);
    fleet.generation(3, Stage::Active);
    fleet.place(3, "h0", PlacementState::Verified, 9);
    fleet.observed.can_list_instances.insert("account".to_owned());
    fleet
}

impl Fleet {
    fn name(&mut self, n: u64, instances: &[&str]) {
        let instances = instances.iter().map(|name| (*name).to_owned()).collect();
        self.observed
            .instances
            .insert(id(n), (instances, later().uptime - 5));
    }

    fn deleted(&self) -> Vec<u64> {
        let actions = self.plan().actions.into_iter();
        let deleted = actions.filter_map(|action| match action {
            Action::Delete { id } => Some(id.1),
            _ => None,
        });
        deleted.collect()
    }
}

#[test]
fn every_region_is_asked_before_a_generation_goes() {
    let mut fleet = two_regions();
    let ask = |n: u64| Action::ListInstances { id: id(n) };
    let actions = fleet.plan().actions;
    assert!(
        actions.contains(&ask(1)) && actions.contains(&ask(2)),
        "{actions:?}"
    );
    let questions = actions.iter().filter(|action| **action == ask(1));
    assert_eq!(questions.count(), 1, "both pairs wait for one answer");
    fleet.name(1, &[]);
    let plan = fleet.plan();
    assert!(plan.actions.contains(&ask(2)) && !plan.actions.contains(&ask(1)));
    assert_eq!(fleet.deleted(), NONE, "what names the copy is not known");
    assert_eq!(plan.offers[&id(1)], Offer::Everywhere);

    fleet.name(2, &["i-9"]);
    let plan = fleet.plan();
    assert_eq!(fleet.deleted(), NONE, "i-9 knows nothing else");
    assert_eq!(plan.offers[&id(1)], Offer::Everywhere);
    assert!(fleet.waits().contains("i-9"), "{}", fleet.waits());

    fleet.name(2, &[]);
    assert_eq!(fleet.deleted(), [1, 2]);
}

#[test]
fn an_instance_that_is_a_host_is_free_once_it_lets_a_later_one_in() {
    let mut fleet = two_regions();
    fleet.name(1, &[]);
    fleet.name(2, &["h0"]);
    assert_eq!(fleet.deleted(), [1, 2]);
    fleet.place(3, "h0", PlacementState::Placing, 9);
    assert_eq!(fleet.deleted(), NONE, "nobody saw the third log in there");
}

#[test]
fn what_is_kept_for_instances_holds_the_next_one_up_only_where_a_login_would_try_too_many() {
    let mut fleet = Fleet::new(&["h0"]);
    fleet.observed.can_list_instances.insert("account".to_owned());
    let due = Action::Generate {
        key: "web".to_owned(),
    };
    for n in 1..=5 {
        for earlier in 1..n {
            fleet.generation(earlier, Stage::Earlier);
            fleet.name(earlier, &["i-9"]);
        }
        fleet.generation(n, Stage::Active);
        fleet.ledger.placements.clear();
        fleet.place(n, "h0", PlacementState::Verified, 9);
        fleet.row(|row| row.rotate_asked_at = Some(1));
        let begins = fleet.plan().actions.contains(&due);
        assert_eq!(begins, n < 5, "{n}: {:?}", fleet.plan());
    }
    assert!(
        fleet.waits().contains("--earlier --accept-loss INSTANCE"),
        "{}",
        fleet.waits()
    );
}

#[test]
fn generations_that_parked_hosts_keep_hold_nothing_up() {
    let mut fleet = Fleet::new(&["h0", "h1", "h2", "h3", "h4", "h5"]);
    for n in 1..=5 {
        let host = format!("h{n}");
        fleet.generation(n, Stage::Earlier);
        fleet.place(n, &host, PlacementState::Verified, 20);
        fleet.host(&host, HostState::Parked);
    }
    fleet.generation(6, Stage::Active);
    fleet.place(6, "h0", PlacementState::Verified, 9);
    fleet.row(|row| row.rotate_asked_at = Some(1));
    let due = Action::Generate {
        key: "web".to_owned(),
    };
    assert!(fleet.plan().actions.contains(&due), "{}", fleet.waits());
}

#[test]
fn every_region_is_asked_before_a_key_ends() {
    let mut fleet = two_regions();
    fleet.ledger.generations.remove(&id(3));
    fleet.ledger.placements.clear();
    fleet.observed.in_agent.remove(&id(3));
    fleet.observed.loaded.insert("web".to_owned(), 1);
    fleet.row(|row| row.retire_asked_at = Some(1));
    fleet.name(1, &[]);
    assert_eq!(fleet.deleted(), NONE);
    fleet.name(2, &["i-9"]);
    assert_eq!(fleet.deleted(), NONE);
    fleet.row(|row| row.accepted_loss = Some("i-9".to_owned()));
    assert_eq!(fleet.deleted(), [1, 2]);
}

#[test]
fn a_provider_that_does_not_say_it_is_told_and_a_loss_of_all_counts() {
    let mut fleet = two_regions();
    fleet.name(1, &[]);
    fleet.fails(Subject::Instances("web".to_owned(), 2), "unauthorized", None);
    assert!(
        fleet.waits().contains("it says unauthorized"),
        "{}",
        fleet.waits()
    );

    fleet.ledger.placements.clear();
    fleet.row(|row| {
        row.retire_asked_at = Some(1);
        row.accepted_loss = Some("all".to_owned());
    });
    assert_eq!(fleet.deleted(), [1, 2, 3]);
}

const NONE: [u64; 0] = [];
