use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyferry_plugin::contract::Algorithm;
use proptest::prelude::*;

use crate::desired::{Deploy, Desired, GeneratedBy, HostList, KeySpec, OnDrift, OnRemove, Recovery};
use crate::engine::Moment;
use crate::ledger::{
    Generation, GenerationState, HostRow, HostState, KeyRow, LedgerView, Placement, PlacementState, Purpose,
    Revocation, RevocationState, Selector, Stage, Trusted,
};
use crate::plan::{Action, Observed, Over, plan, trusted_options};

pub(super) const HOSTS: [&str; 3] = ["deploy@web-1", "deploy@web-2", "deploy@web-3"];
const NOW: i64 = 1_795_318_609_000;

/// Some public keys that are well-formed.
fn public_key(number: u8) -> String {
    use base64::Engine as _;
    let mut blob = vec![0, 0, 0, 11];
    blob.extend_from_slice(b"ssh-ed25519");
    blob.extend_from_slice(&[0, 0, 0, 32]);
    blob.extend_from_slice(&[number; 32]);
    format!(
        "ssh-ed25519 {}",
        base64::engine::general_purpose::STANDARD.encode(blob)
    )
}

fn now() -> Moment {
    Moment {
        uptime: 1_000_000,
        wall: SystemTime::UNIX_EPOCH + Duration::from_millis(NOW.unsigned_abs()),
        local_minute: 0,
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    desired: Desired,
    ledger: LedgerView,
    pub(super) observed: Observed,
}

impl World {
    /// A key with a generation that was seen to log in at every host.
    pub(super) fn new() -> Self {
        let mut world = Self {
            desired: Desired::default(),
            ledger: LedgerView::default(),
            observed: Observed::default(),
        };
        world.spec(|_| {});
        world.ledger.keys.insert(
            "web".to_owned(),
            KeyRow {
                name: "web".to_owned(),
                last_n: 1,
                ..KeyRow::default()
            },
        );
        let generation = Generation {
            key: "web".to_owned(),
            n: 1,
            copy_of: None,
            made_by: GeneratedBy::Keyferry,
            algorithm: Algorithm::Ed25519,
            account: "account".to_owned(),
            plugin: "cloud".to_owned(),
            region: None,
            endpoint: None,
            blob: keyferry_hosts::public_blob(&public_key(100)),
            pair_name: "web-1".to_owned(),
            provider_id: None,
            provider_fingerprint: None,
            state: GenerationState::Live,
            requested_at: NOW - 1_000,
            repeated_at: None,
            loaded_at: Some(NOW),
            missing_since: None,
            delete_asked_at: None,
            note: None,
            stage: Stage::Active,
            promoted_at: Some(NOW),
            superseded_at: None,
            place: None,
        };
        world.ledger.generations.insert(generation.id(), generation);
        world.observed.loaded.insert("web".to_owned(), 1);
        world.observed.in_agent.insert(("web".to_owned(), 1));
        world.observed.published.insert("web".to_owned(), 1);
        for (number, host) in (0..).zip(HOSTS) {
            let row = HostRow {
                address: host.to_owned(),
                pinned_host_key: Some(vec![number]),
                state: HostState::Reached,
                since: 0,
                note: None,
            };
            world.ledger.hosts.insert(host.to_owned(), row);
            world.place(host, PlacementState::Verified);
        }
        world
    }

    pub(super) fn spec(&mut self, change: impl FnOnce(&mut KeySpec)) {
        let mut spec = match self.desired.keys.get("web") {
            Some(spec) => KeySpec::clone(spec),
            None => KeySpec {
                name: "web".to_owned(),
                account: "account".to_owned(),
                region: None,
                further_regions: Vec::new(),
                generated_by: GeneratedBy::Keyferry,
                algorithm: Algorithm::Ed25519,
                pair_name: None,
                on_drift: OnDrift::default(),
                hosts: Some(HostList::Listed(HOSTS.map(str::to_owned).into())),
                offer_to: Vec::new(),
                rotate: None,
                deploy: Deploy::default(),
                on_remove: OnRemove::default(),
                present: true,
            },
        };
        change(&mut spec);
        self.desired.keys.insert("web".to_owned(), Arc::new(spec));
    }

    pub(super) fn place(&mut self, host: &str, state: PlacementState) {
        let placement = Placement {
            key: "web".to_owned(),
            n: 1,
            host: host.to_owned(),
            state,
            verified_at: Some(NOW),
            line: None,
            file: None,
            file_hash: None,
            changed_at: NOW,
        };
        self.ledger.placements.insert(placement.id(), placement);
    }

    fn recover_with(&mut self, number: Option<u8>) {
        self.desired.daemon.recovery = number.map(|number| Recovery {
            public_key: public_key(number),
            agent: None,
        });
    }

    fn trust(&mut self, host: &str, number: u8, purpose: Purpose, state: PlacementState, until: Option<i64>) {
        let spec = Arc::clone(&self.desired.keys["web"]);
        let options = trusted_options(&spec, purpose, until);
        let options = if options.is_empty() {
            options
        } else {
            format!("{options} ")
        };
        let row = Trusted {
            key: "web".to_owned(),
            host: host.to_owned(),
            public_key: public_key(number),
            purpose,
            line: format!(
                "{options}{} keyferry owner=li machine=m key=web",
                public_key(number)
            ),
            file: None,
            state,
            until,
            verified_at: (state == PlacementState::Verified).then_some(NOW),
            changed_at: NOW,
            note: None,
        };
        self.ledger.trusted.insert(row.id(), row);
    }

    /// What is planned about other public keys, and what else is done on hosts.
    pub(super) fn actions(&self) -> Vec<Action> {
        let actions = plan(&self.desired, &self.ledger, &self.observed, now()).actions;
        actions
            .into_iter()
            .filter(|action| action.host().is_some())
            .collect()
    }

    /// What a host that does everything it is asked makes of an action.
    fn succeed(&mut self, action: Action) {
        match action {
            Action::PutTrusted {
                host,
                public_key: key,
                purpose,
                ..
            } => {
                let number = (0..=255).find(|number| public_key(*number) == key).unwrap();
                let id = ("web".to_owned(), host.clone(), key);
                let until = self.ledger.trusted.get(&id).and_then(|row| row.until);
                let until = until.filter(|_| purpose == Purpose::Grant);
                self.trust(&host, number, purpose, PlacementState::Placed, until);
            }
            Action::VerifyRecovery { host, .. } => {
                let key = self.desired.daemon.recovery.as_ref().unwrap().public_key.clone();
                let row = self
                    .ledger
                    .trusted
                    .get_mut(&("web".to_owned(), host, key))
                    .unwrap();
                row.state = PlacementState::Verified;
                row.verified_at = Some(NOW);
            }
            Action::TakeOffTrusted {
                host, public_keys, ..
            } => {
                for key in public_keys {
                    self.ledger.trusted.remove(&("web".to_owned(), host.clone(), key));
                }
            }
            other => panic!("{other:?} is none of this"),
        }
    }

    fn succeed_until_nothing_is_left(&mut self) {
        for _ in 0..100 {
            let actions = self.actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.succeed(action);
            }
        }
        panic!("it comes to no end: {:?}", self.actions());
    }

    fn there(&self, host: &str) -> BTreeSet<(String, &'static str)> {
        let rows = self.ledger.trusted.values().filter(|row| row.host == host);
        rows.map(|row| (row.public_key.clone(), row.state.name()))
            .collect()
    }
}

#[test]
fn the_recovery_identity_is_put_beside_every_generation_and_tried() {
    let mut world = World::new();
    world.recover_with(Some(1));
    world.place(HOSTS[2], PlacementState::Placed);
    world
        .observed
        .refused_logins
        .insert(("web".to_owned(), 1, HOSTS[2].to_owned()));
    // The third host is not ready for it, and no business of this test.
    world.ledger.hosts.get_mut(HOSTS[2]).unwrap().state = HostState::Forgotten;
    let put = world.actions();
    assert_eq!(put.len(), 2, "{put:?}");
    assert!(put.iter().all(|action| matches!(
        action,
        Action::PutTrusted {
            purpose: Purpose::Recovery,
            ..
        }
    )));
    for action in put {
        world.succeed(action);
    }
    let tried = world.actions();
    assert_eq!(tried.len(), 2, "{tried:?}");
    assert!(
        tried
            .iter()
            .all(|action| matches!(action, Action::VerifyRecovery { .. }))
    );
    for action in tried {
        world.succeed(action);
    }
    assert_eq!(world.actions(), []);

    // The next generation: it is tried again, once.
    for generation in world.ledger.generations.values_mut() {
        generation.requested_at = NOW + 1;
    }
    assert!(matches!(
        world.actions()[..],
        [Action::VerifyRecovery { .. }, Action::VerifyRecovery { .. }]
    ));
}

#[test]
fn a_key_that_has_to_be_touched_is_tried_while_a_person_waits_alone() {
    let mut world = World::new();
    let sk = public_key(1).replacen("ssh-ed25519", "sk-ssh-ed25519@openssh.com", 1);
    // Its blob names the type too.
    assert!(keyferry_hosts::public_blob(&sk).is_none());
    world.recover_with(Some(1));
    world.succeed_until_nothing_is_left();
    for row in world.ledger.trusted.values_mut() {
        row.verified_at = None;
        row.state = PlacementState::Placed;
    }
    assert_eq!(world.actions().len(), 3);
    assert!(super::needs_touch(&sk));
    assert!(!super::needs_touch(&public_key(1)));
}

#[test]
fn an_old_recovery_identity_stays_until_the_new_one_was_seen() {
    let mut world = World::new();
    world.recover_with(Some(1));
    world.succeed_until_nothing_is_left();
    world.recover_with(None);
    assert_eq!(world.actions(), [], "none is named any more");
    let waits = plan(&world.desired, &world.ledger, &world.observed, now()).trust_waits;
    assert_eq!(waits.len(), 3);

    world.recover_with(Some(2));
    let mut seen_gone = 0;
    for _ in 0..10 {
        for action in world.actions() {
            if let Action::TakeOffTrusted {
                host, public_keys, ..
            } = &action
            {
                assert_eq!(*public_keys, [public_key(1)]);
                assert!(world.there(host).contains(&(public_key(2), "verified")));
                seen_gone += 1;
            }
            world.succeed(action);
        }
    }
    assert_eq!(seen_gone, 3);
    assert_eq!(world.there(HOSTS[0]), [(public_key(2), "verified")].into());

    // The user's word is enough.
    world.recover_with(None);
    world.trust(HOSTS[0], 2, Purpose::Recovery, PlacementState::Removing, None);
    assert!(matches!(&world.actions()[..], [Action::TakeOffTrusted { host, .. }] if host == HOSTS[0]));
}

#[test]
fn a_grant_ends_by_time_and_says_so_to_the_host() {
    let mut world = World::new();
    world.spec(|spec| spec.deploy.options = "restrict".to_owned());
    let spec = Arc::clone(&world.desired.keys["web"]);
    assert_eq!(
        trusted_options(&spec, Purpose::Grant, Some(NOW + 3_600_000)),
        "restrict,expiry-time=\"202611230436\""
    );
    assert_eq!(trusted_options(&spec, Purpose::Recovery, None), "");
    world.trust(
        HOSTS[0],
        7,
        Purpose::Grant,
        PlacementState::Placing,
        Some(NOW + 1),
    );
    world.succeed_until_nothing_is_left();
    assert_eq!(world.there(HOSTS[0]), [(public_key(7), "placed")].into());
    let wake = plan(&world.desired, &world.ledger, &world.observed, now()).survey_at;
    assert_eq!(wake, Some(now().uptime + 1));
    world
        .ledger
        .trusted
        .values_mut()
        .for_each(|row| row.until = Some(NOW));
    assert!(matches!(&world.actions()[..], [Action::TakeOffTrusted { .. }]));
}

#[test]
fn lines_on_a_blocked_host_are_worked_on_in_time() {
    let mut world = World::new();
    world.ledger.hosts.get_mut(HOSTS[0]).unwrap().state = HostState::Blocked;
    world.trust(
        HOSTS[0],
        7,
        Purpose::Grant,
        PlacementState::Removing,
        Some(NOW + 1),
    );
    let is_off =
        |actions: &[Action]| matches!(actions, [Action::TakeOffTrusted { host, .. }] if host == HOSTS[0]);
    assert!(is_off(&world.actions()), "{:?}", world.actions());

    // The key ends with it: its own line is the last one.
    let row = world.ledger.keys.get_mut("web").unwrap();
    (row.retire_asked_at, row.accepted_loss) = (Some(NOW), Some("all".to_owned()));
    let on_it: Vec<Action> = world
        .actions()
        .into_iter()
        .filter(|action| action.host() == Some(HOSTS[0]))
        .collect();
    assert!(is_off(&on_it), "{on_it:?}");
}

#[test]
fn a_file_that_vanished_takes_nobody_away() {
    let mut world = World::new();
    world.spec(|spec| spec.deploy.also_trust = vec![public_key(5)]);
    world.succeed_until_nothing_is_left();
    world.spec(|spec| {
        spec.deploy.also_trust = Vec::new();
        spec.present = false;
    });
    assert_eq!(world.actions(), []);
    world.spec(|spec| spec.present = true);
    assert_eq!(world.actions().len(), 3);
}

#[test]
fn an_own_generation_is_nobody_else() {
    let mut world = World::new();
    world.spec(|spec| spec.deploy.also_trust = vec![public_key(100), "no key".to_owned()]);
    assert_eq!(world.actions(), []);
}

#[test]
fn what_is_lost_is_lent_to_until_a_key_logs_in() {
    let mut world = World::new();
    world.recover_with(Some(1));
    world.succeed_until_nothing_is_left();
    let lend = |world: &World| plan(&world.desired, &world.ledger, &world.observed, now()).lend;
    assert_eq!(lend(&world), BTreeSet::new());
    world.observed.in_agent.clear();
    world.observed.loaded.clear();
    assert_eq!(lend(&world), [vec![0], vec![1], vec![2]].into());
    world.ledger.hosts.get_mut(HOSTS[1]).unwrap().state = HostState::Forgotten;
    assert_eq!(lend(&world), [vec![0], vec![2]].into());
}

#[test]
fn a_key_that_ends_takes_those_with_it_that_it_let_in_over_a_login_that_stays() {
    let mut world = World::new();
    world.recover_with(Some(1));
    world.spec(|spec| spec.deploy.also_trust = vec![public_key(5)]);
    world.trust(
        HOSTS[0],
        7,
        Purpose::Grant,
        PlacementState::Placing,
        Some(NOW + 1_000),
    );
    world.succeed_until_nothing_is_left();
    world.ledger.keys.get_mut("web").unwrap().retire_asked_at = Some(NOW);
    let of_others = |world: &World| -> Vec<Action> {
        let actions = world.actions().into_iter();
        actions
            .filter(|action| matches!(action, Action::TakeOffTrusted { .. }))
            .collect()
    };
    // Its own lines go first, over whatever stays; nothing is known to.
    assert_eq!(of_others(&world), []);
    world.ledger.placements.clear();
    assert_eq!(
        of_others(&world),
        [],
        "the recovery identity was not seen to log in"
    );
    world.observed.recovery_verified.insert(HOSTS[0].to_owned(), NOW);
    let expected = Action::TakeOffTrusted {
        key: "web".to_owned(),
        over: Over::Recovery,
        host: HOSTS[0].to_owned(),
        public_keys: vec![public_key(5), public_key(7)],
    };
    assert_eq!(of_others(&world), [expected], "and the recovery identity stays");
    for action in of_others(&world) {
        world.succeed(action);
    }
    assert_eq!(of_others(&world), []);
    // Another key that has it there too, and logs in.
    world.observed.in_agent.insert(("db".to_owned(), 1));
    let row = Trusted {
        key: "db".to_owned(),
        ..world.ledger.trusted[&("web".to_owned(), HOSTS[0].to_owned(), public_key(1))].clone()
    };
    world.ledger.trusted.insert(row.id(), row);
    let placement = Placement {
        key: "db".to_owned(),
        n: 1,
        host: HOSTS[0].to_owned(),
        state: PlacementState::Verified,
        verified_at: Some(NOW),
        line: None,
        file: None,
        file_hash: None,
        changed_at: NOW,
    };
    world.ledger.placements.insert(placement.id(), placement);
    let taken = of_others(&world);
    assert!(
        matches!(&taken[..], [Action::TakeOffTrusted { over: Over::Generation((key, 1)), public_keys, .. }]
            if key == "db" && *public_keys == [public_key(1)]),
        "{taken:?}"
    );
}

#[test]
fn an_identity_that_has_to_be_touched_ends_a_key_while_a_person_waits_alone() {
    let mut world = World::new();
    world.recover_with(Some(1));
    let recovery = world.desired.daemon.recovery.as_mut().unwrap();
    recovery.public_key = recovery
        .public_key
        .replacen("ssh-ed25519", "sk-ssh-ed25519@openssh.com", 1);
    world.ledger.keys.get_mut("web").unwrap().retire_asked_at = Some(NOW);
    world.observed.recovery_verified.insert(HOSTS[0].to_owned(), NOW);
    assert_eq!(world.actions(), []);
    world.observed.recovering.insert(HOSTS[0].to_owned(), NOW);
    let actions = world.actions();
    assert!(
        matches!(&actions[..], [Action::TakeOff { over: Over::Recovery, host, .. }] if host == HOSTS[0]),
        "{actions:?}"
    );
}

#[test]
fn a_hold_that_ended_by_time_keeps_nobody_in() {
    let mut world = World::new();
    world.recover_with(Some(1));
    world.spec(|spec| spec.deploy.also_trust = vec![public_key(5)]);
    world.succeed_until_nothing_is_left();
    world.ledger.placements.clear();
    world.observed.recovery_verified.insert(HOSTS[0].to_owned(), NOW);
    let row = world.ledger.keys.get_mut("web").unwrap();
    (row.retire_asked_at, row.paused_at, row.paused_until) = (Some(NOW), Some(NOW - 2), Some(NOW + 1));
    assert_eq!(world.actions(), []);
    world.ledger.keys.get_mut("web").unwrap().paused_until = Some(NOW - 1);
    assert!(matches!(&world.actions()[..], [Action::TakeOffTrusted { host, .. }] if host == HOSTS[0]));
}

#[test]
fn a_key_that_was_trusted_and_is_the_recovery_identity_now_is_that() {
    let mut world = World::new();
    world.spec(|spec| spec.deploy.also_trust = vec![public_key(1)]);
    world.succeed_until_nothing_is_left();
    world.recover_with(Some(1));
    world.succeed_until_nothing_is_left();
    world.spec(|spec| spec.deploy.also_trust = Vec::new());
    let purposes = |world: &World| -> BTreeSet<Purpose> {
        let rows = world.ledger.trusted.values();
        rows.map(|row| row.purpose).collect()
    };
    assert_eq!(purposes(&world), [Purpose::Recovery].into());
    // Named no more, it is a way in like any other that was.
    world.recover_with(None);
    assert_eq!(world.actions(), []);
    assert_eq!(
        plan(&world.desired, &world.ledger, &world.observed, now())
            .trust_waits
            .len(),
        3
    );
}

#[test]
fn revocations_are_done_one_at_a_host() {
    let mut world = World::new();
    for selector in [Selector::Owner("li".to_owned()), Selector::Key("web".to_owned())] {
        let row = Revocation {
            host: "somewhere".to_owned(),
            selector,
            accepts_loss: false,
            state: RevocationState::Asked,
            lines: String::new(),
            asked_at: NOW,
            changed_at: NOW,
            note: None,
        };
        world.ledger.revocations.insert(row.id(), row);
    }
    assert_eq!(world.actions().len(), 1);
    world
        .observed
        .host_tasks
        .insert("somewhere".to_owned(), String::new());
    assert_eq!(world.actions(), []);
    world.observed.host_tasks.clear();
    world
        .ledger
        .revocations
        .values_mut()
        .for_each(|row| row.state = RevocationState::Left);
    assert_eq!(world.actions(), []);
}

prop_compose! {
    /// Another's row: which key, what for, how it stands, whether it ends.
    fn row()(number in 1u8..5, purpose in 0usize..3, state in 0usize..4, end in 0u8..3) -> (u8, Purpose, PlacementState, Option<i64>) {
        let states = [
            PlacementState::Placing,
            PlacementState::Placed,
            PlacementState::Verified,
            PlacementState::Removing,
        ];
        let purpose = Purpose::ALL[purpose];
        let until = (purpose == Purpose::Grant).then_some(NOW + i64::from(end) - 1);
        (number, purpose, states[state], until)
    }
}

prop_compose! {
    fn world()(
        rows in proptest::collection::vec((0usize..3, row()), 0..8),
        recovery in proptest::option::of(1u8..5),
        also_trust in proptest::collection::btree_set(1u8..5, 0..3),
        verified in any::<[bool; 3]>(),
        busy in any::<[bool; 3]>(),
        present in any::<bool>(),
        in_agent in any::<bool>(),
        at_once in 1usize..3,
    ) -> World {
        let mut world = World::new();
        world.recover_with(recovery);
        world.spec(|spec| {
            spec.deploy.also_trust = also_trust.iter().map(|number| public_key(*number)).collect();
            spec.deploy.at_once = at_once;
            spec.present = present;
        });
        for (place, (number, purpose, state, until)) in rows {
            world.trust(HOSTS[place], number, purpose, state, until);
        }
        for (host, (verified, busy)) in HOSTS.into_iter().zip(verified.into_iter().zip(busy)) {
            if !verified {
                world.place(host, PlacementState::Placing);
            }
            if busy {
                world.observed.host_tasks.insert(host.to_owned(), "web".to_owned());
            }
        }
        if !in_agent {
            world.observed.in_agent.clear();
            world.observed.loaded.clear();
        }
        world
    }
}

proptest! {
    #[test]
    fn the_last_other_way_in_is_never_taken(world in world()) {
        let mut hosts = BTreeSet::new();
        let actions = world.actions();
        for action in &actions {
            let host = action.host().unwrap();
            prop_assert!(hosts.insert(host.to_owned()), "one at a host: {:?}", actions);
            prop_assert!(!world.observed.host_tasks.contains_key(host));
            let (Action::PutTrusted { over, .. }
            | Action::TakeOffTrusted { over: Over::Generation(over), .. }
            | Action::VerifyRecovery { over, .. }) = action
            else {
                continue;
            };
            let placement = &world.ledger.placements[&(over.0.clone(), over.1, host.to_owned())];
            prop_assert_eq!(placement.state, PlacementState::Verified);
            prop_assert!(world.observed.in_agent.contains(over));
            let Action::TakeOffTrusted { public_keys, .. } = action else { continue };
            let named = world.desired.daemon.recovery.as_ref().map(|recovery| recovery.public_key.clone());
            for key in public_keys {
                prop_assert_ne!(Some(key), named.as_ref());
                let row = &world.ledger.trusted[&("web".to_owned(), host.to_owned(), key.clone())];
                let by_word = row.state == PlacementState::Removing;
                match row.purpose {
                    Purpose::Recovery => {
                        let other = named.clone().is_some_and(|named| world.there(host).contains(&(named, "verified")));
                        prop_assert!(by_word || other);
                    }
                    Purpose::AlsoTrust => prop_assert!(by_word || world.desired.keys["web"].present),
                    Purpose::Grant => prop_assert!(by_word || row.until.unwrap() <= NOW),
                }
            }
        }
        let begun = actions.iter().filter(|action| action.key() == "web").count() + world.observed.host_tasks.len();
        prop_assert!(begun <= world.desired.keys["web"].deploy.at_once.max(world.observed.host_tasks.len()));
    }

    #[test]
    fn it_comes_to_rest_with_what_is_wanted(mut world in world()) {
        world.observed.host_tasks.clear();
        for host in HOSTS {
            world.place(host, PlacementState::Verified);
        }
        world.observed.loaded.insert("web".to_owned(), 1);
        world.observed.in_agent.insert(("web".to_owned(), 1));
        world.succeed_until_nothing_is_left();
        let spec = &world.desired.keys["web"];
        for host in HOSTS {
            let there = world.there(host);
            if let Some(recovery) = &world.desired.daemon.recovery {
                let key = recovery.public_key.clone();
                prop_assert!(there.contains(&(key.clone(), "verified")));
            }
            for key in &spec.deploy.also_trust {
                prop_assert!(!spec.present || there.iter().any(|(other, _)| other == key));
            }
            prop_assert!(there.iter().all(|(_, state)| *state != "removing"), "{:?}", there);
        }
    }
}
