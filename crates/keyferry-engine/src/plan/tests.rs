use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use keyferry_plugin::contract::Algorithm;
use proptest::prelude::*;

use super::*;
use crate::desired::{Account, CredentialSource, GeneratedBy, KeySpec, OnDrift};
use crate::ledger::{Generation, GenerationState, KeyRow};
use crate::snapshot::StatusError;

mod fleet;
mod rotation;
mod walk;

const NOW: Moment = Moment {
    uptime: 1_000_000,
    wall: SystemTime::UNIX_EPOCH,
    local_minute: 0,
};
const KEYS: [&str; 3] = ["a", "b", "c"];

fn account(name: &str, max_concurrent: Option<usize>) -> Arc<Account> {
    Arc::new(Account {
        name: name.to_owned(),
        plugin: "cloud".to_owned(),
        region: None,
        endpoint: None,
        insecure_http: false,
        settings: BTreeMap::new(),
        place: String::new(),
        credentials: CredentialSource::Chain { profile: None },
        max_concurrent,
        max_per_second: Some(1_000),
        check_every: None,
        max_pairs: None,
    })
}

fn spec(name: &str, generated_by: GeneratedBy, present: bool) -> Arc<KeySpec> {
    Arc::new(KeySpec {
        name: name.to_owned(),
        account: "account".to_owned(),
        region: None,
        further_regions: Vec::new(),
        generated_by,
        algorithm: Algorithm::EcdsaP256,
        pair_name: None,
        on_drift: OnDrift::default(),
        hosts: None,
        offer_to: Vec::new(),
        rotate: None,
        deploy: crate::desired::Deploy::default(),
        on_remove: crate::desired::OnRemove::default(),
        present,
    })
}

fn generation(key: &str, n: u64, state: GenerationState) -> Generation {
    Generation {
        key: key.to_owned(),
        n,
        copy_of: None,
        made_by: GeneratedBy::Keyferry,
        algorithm: Algorithm::EcdsaP256,
        account: "account".to_owned(),
        plugin: "cloud".to_owned(),
        region: None,
        blob: None,
        pair_name: format!("{key}-{n}"),
        provider_id: None,
        provider_fingerprint: None,
        state,
        requested_at: 0,
        repeated_at: None,
        loaded_at: None,
        note: None,
        endpoint: None,
        missing_since: None,
        delete_asked_at: None,
        stage: crate::ledger::Stage::Active,
        promoted_at: None,
        superseded_at: None,
        place: None,
    }
}

fn error() -> StatusError {
    StatusError {
        kind: "quota".to_owned(),
        code: None,
        message: String::new(),
        request_id: None,
        remedy: None,
        retry_at: None,
    }
}

/// A whole world for the planner, consistent only in what the engine cannot break.
#[derive(Clone, Debug)]
struct World {
    desired: Desired,
    ledger: LedgerView,
    observed: Observed,
}

prop_compose! {
    fn key_spec()(kind in 0..4, present in any::<bool>()) -> Option<(GeneratedBy, bool)> {
        match kind {
            0 => None,
            1 => Some((GeneratedBy::Provider, present)),
            _ => Some((GeneratedBy::Keyferry, present)),
        }
    }
}

prop_compose! {
    fn rows()(rows in proptest::collection::vec((0usize..7, any::<[bool; 5]>()), 0..5)) -> Vec<(GenerationState, [bool; 5])> {
        let open = [
            GenerationState::Requested,
            GenerationState::Live,
            GenerationState::Unwanted,
            GenerationState::Doubtful,
            GenerationState::Blocked,
            GenerationState::Missing,
            GenerationState::Replaced,
        ];
        rows.into_iter().map(|(state, flags)| (open[state], flags)).collect()
    }
}

prop_compose! {
    fn world()(
        keys in proptest::collection::vec((key_spec(), rows(), any::<[bool; 7]>(), 0u64..3), KEYS.len()),
        limit in 1usize..4,
        has_account in prop::bool::weighted(0.9),
    ) -> World {
        let mut world = World { desired: Desired::default(), ledger: LedgerView::default(), observed: Observed::default() };
        if has_account {
            world.desired.accounts.insert("account".to_owned(), account("account", Some(limit)));
        }
        for (name, (wanted, rows, [held, ready, generating, fails, for_room, loads, reports], delay)) in KEYS.into_iter().zip(keys) {
            let key = name.to_owned();
            if let Some((generated_by, present)) = wanted {
                let mut spec = KeySpec::clone(&spec(name, generated_by, present));
                spec.on_drift = if reports { OnDrift::Report } else { OnDrift::Recreate };
                world.desired.keys.insert(key.clone(), Arc::new(spec));
            }
            let last_n = rows.len() as u64;
            let row = KeyRow { name: key.clone(), last_n, held_at: held.then_some(1), ..KeyRow::default() };
            world.ledger.keys.insert(key.clone(), row);
            let mut loaded = None;
            for ((state, [busy, in_hand, absent, due, copy]), n) in rows.into_iter().zip(1..) {
                let id = (key.clone(), n);
                let mut row = generation(name, n, state);
                row.copy_of = (copy && n > 1).then_some(n - 1);
                // What is missing once was there.
                row.missing_since = (state == GenerationState::Missing).then_some(1);
                let is_copy = row.copy_of.is_some();
                world.ledger.generations.insert(id.clone(), row);
                // Pairs are looked at when their private half has gone to the agent.
                let was_loaded = [GenerationState::Missing, GenerationState::Replaced].contains(&state);
                if in_hand && !is_copy && !was_loaded {
                    world.observed.halves.insert(id.clone());
                } else if loads && !is_copy && [GenerationState::Live, GenerationState::Missing, GenerationState::Replaced].contains(&state) {
                    loaded = Some(n);
                }
                if absent {
                    world.observed.absent.insert(id.clone());
                }
                if !due {
                    world.observed.looks.insert(id.clone(), NOW.uptime + 5);
                }
                if busy && state != GenerationState::Live && world.observed.jobs.len() < limit {
                    world.observed.jobs.insert(id, "account".to_owned());
                }
            }
            if let Some(n) = loaded {
                world.observed.loaded.insert(key.clone(), n);
            }
            if ready {
                world.observed.ready.insert(key.clone(), Algorithm::EcdsaP256);
            } else if generating {
                world.observed.generating.insert(key.clone());
            }
            if fails {
                let retry = Retry {
                    failures: 1,
                    not_before: [Some(NOW.uptime), Some(NOW.uptime + 7), None][delay as usize],
                    needs_room: for_room,
                    spec: world.desired.keys.get(name).cloned(),
                    account: world.desired.accounts.get("account").cloned(),
                    error: error(),
                };
                world.observed.retries.insert(Subject::Making(key), retry);
            }
        }
        world
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_plan_breaks_a_rule(world in world()) {
        let World { desired, ledger, observed } = &world;
        let plan = plan(desired, ledger, observed, NOW);
        let mut requests = observed.jobs.len();
        let mut making: BTreeMap<&str, usize> = BTreeMap::new();
        for action in &plan.actions {
            let key = action.key();
            let held = ledger.is_held(key);
            let present = desired.keys.get(key).is_some_and(|spec| spec.present);
            match action {
                Action::Create { .. } | Action::Import { .. } => {
                    requests += 1;
                    *making.entry(key).or_default() += 1;
                    prop_assert!(present && !held && !observed.loaded.contains_key(key));
                    let other = ledger.of_key(key).any(|row| {
                        (row.state == GenerationState::Requested && row.copy_of.is_none())
                            || (row.state == GenerationState::Live && observed.halves.contains(&row.id()))
                    });
                    prop_assert!(!other, "two live creates of {key}");
                    let unwanted = ledger.originals(key).filter(|row| row.state == GenerationState::Unwanted);
                    prop_assert!(unwanted.count() < MAX_UNWANTED);
                }
                Action::Generate { .. } => prop_assert!(present && !held && !observed.loaded.contains_key(key)),
                Action::Copy { .. } => {
                    requests += 1;
                    prop_assert!(present && !held && observed.loaded.contains_key(key));
                    let n = observed.loaded[key];
                    let serves = [GenerationState::Live, GenerationState::Requested];
                    let other = ledger.of_key(key).any(|row| row.holds(n) && serves.contains(&row.state));
                    prop_assert!(!other, "{key} is registered twice");
                    let taken_away = [GenerationState::Missing, GenerationState::Replaced];
                    let taken_away = ledger.of_key(key).filter(|row| row.holds(n) && taken_away.contains(&row.state));
                    prop_assert!((1..MAX_UNWANTED).contains(&taken_away.count()));
                    prop_assert_eq!(desired.keys[key].on_drift, OnDrift::Recreate);
                }
                Action::Survey { account } => {
                    requests += 1;
                    prop_assert!(!observed.surveying.contains(account));
                }
                Action::Load { id } => {
                    prop_assert!(!held && observed.halves.contains(id));
                    prop_assert_eq!(ledger.generations[id].state, GenerationState::Live);
                }
                Action::Delete { id } => {
                    requests += 1;
                    let row = &ledger.generations[id];
                    prop_assert!(observed.loaded.get(key) != Some(&id.1), "deletes the loaded pair");
                    match row.state {
                        GenerationState::Unwanted => {}
                        GenerationState::Live | GenerationState::Missing => {
                            let others = ledger.of_key(key);
                            let first = others.filter(|other| {
                                other.state == GenerationState::Live && other.holds(row.copy_of.unwrap_or(row.n))
                            });
                            let is_first = first.map(|other| other.n).min() == Some(row.n);
                            let is_serving = observed.loaded.get(key).is_some_and(|&n| row.holds(n));
                            prop_assert!(!(is_serving && is_first), "deletes a pair that serves");
                            prop_assert!(!observed.halves.contains(id));
                            prop_assert!(observed.loaded.contains_key(key) || !held);
                        }
                        state => prop_assert!(false, "deletes a {state:?} pair"),
                    }
                }
                Action::Confirm { id } | Action::Look { id } | Action::ImportAgain { id } => {
                    requests += 1;
                    prop_assert!(ledger.generations.contains_key(id));
                    prop_assert!(!observed.jobs.contains_key(id));
                }
                Action::Doubt { id } => {
                    prop_assert!(!observed.jobs.contains_key(id));
                    prop_assert!(!desired.accounts.contains_key("account"));
                }
                Action::Publish { id } => prop_assert_eq!(observed.loaded.get(key), Some(&id.1)),
                Action::Forget { .. } => prop_assert!(observed.ready.contains_key(key)),
                other => prop_assert!(false, "{other:?} for keys without hosts"),
            }
        }
        prop_assert!(making.values().all(|&count| count == 1));
        if let Some(account) = desired.accounts.get("account") {
            prop_assert!(requests <= max_concurrent(desired, account).max(observed.jobs.len()));
        } else {
            prop_assert_eq!(requests, observed.jobs.len(), "requests without an account");
        }
        prop_assert!(plan.wake_at.is_none_or(|at| at > NOW.uptime));
        let distinct: BTreeSet<_> = plan.actions.iter().collect();
        prop_assert_eq!(distinct.len(), plan.actions.len());
    }

    #[test]
    fn a_lost_key_without_a_file_gets_nothing_and_says_so(generated_by in prop_oneof![Just(None), Just(Some(GeneratedBy::Provider)), Just(Some(GeneratedBy::Keyferry))]) {
        let mut desired = Desired::default();
        desired.accounts.insert("account".to_owned(), account("account", None));
        if let Some(generated_by) = generated_by {
            desired.keys.insert("a".to_owned(), spec("a", generated_by, false));
        }
        let mut ledger = LedgerView::default();
        ledger.generations.insert(("a".to_owned(), 1), generation("a", 1, GenerationState::Live));
        let plan = plan(&desired, &ledger, &Observed::default(), NOW);
        prop_assert_eq!(plan.actions, []);
        prop_assert_eq!(plan.waiting.get("a"), Some(&Waiting::FileMissing));
    }
}

#[test]
fn the_key_that_waited_longest_goes_first_and_tidying_up_last() {
    let mut desired = Desired::default();
    desired
        .accounts
        .insert("account".to_owned(), account("account", Some(2)));
    let mut observed = Observed::default();
    let mut ledger = LedgerView::default();
    for (key, served) in [("a", 3), ("b", 1), ("c", 2)] {
        desired
            .keys
            .insert(key.to_owned(), spec(key, GeneratedBy::Provider, true));
        observed.served.insert(key.to_owned(), served);
    }
    ledger
        .generations
        .insert(("d".to_owned(), 1), generation("d", 1, GenerationState::Unwanted));
    let create = |key: &str| Action::Create { key: key.to_owned() };
    assert_eq!(
        plan(&desired, &ledger, &observed, NOW).actions,
        [create("b"), create("c")]
    );
    desired
        .accounts
        .insert("account".to_owned(), account("account", Some(4)));
    let delete = Action::Delete {
        id: ("d".to_owned(), 1),
    };
    assert_eq!(
        plan(&desired, &ledger, &observed, NOW).actions,
        [create("b"), create("c"), create("a"), delete]
    );
}

#[test]
fn a_failure_waits_for_its_time_or_a_changed_file() {
    let mut desired = Desired::default();
    desired
        .accounts
        .insert("account".to_owned(), account("account", None));
    desired
        .keys
        .insert("a".to_owned(), spec("a", GeneratedBy::Provider, true));
    let mut observed = Observed::default();
    let retry = Retry {
        failures: 1,
        not_before: Some(NOW.uptime + 50),
        needs_room: false,
        spec: desired.keys.get("a").cloned(),
        account: desired.accounts.get("account").cloned(),
        error: error(),
    };
    let making = Subject::Making("a".to_owned());
    observed.retries.insert(making.clone(), retry.clone());
    let later = |uptime| Moment {
        uptime: NOW.uptime + uptime,
        ..NOW
    };
    let ask =
        |desired: &Desired, observed: &Observed, now| plan(desired, &LedgerView::default(), observed, now);

    let early = ask(&desired, &observed, later(49));
    assert_eq!((early.actions.len(), early.wake_at), (0, Some(NOW.uptime + 50)));
    assert_eq!(ask(&desired, &observed, later(50)).actions.len(), 1);
    observed.retries.insert(
        making,
        Retry {
            not_before: None,
            ..retry
        },
    );
    let never = ask(&desired, &observed, later(1 << 40));
    assert_eq!((never.actions.len(), never.wake_at), (0, None));
    desired
        .accounts
        .insert("account".to_owned(), account("account", Some(5)));
    assert_eq!(ask(&desired, &observed, later(0)).actions.len(), 1);
}

#[test]
fn keys_that_failed_keep_no_other_from_its_private_half() {
    let mut desired = Desired::default();
    desired
        .accounts
        .insert("account".to_owned(), account("account", Some(1)));
    for key in ["a", "b"] {
        desired
            .keys
            .insert(key.to_owned(), spec(key, GeneratedBy::Keyferry, true));
    }
    let mut observed = Observed::default();
    observed.ready.insert("a".to_owned(), Algorithm::EcdsaP256);
    observed.jobs.insert(("c".to_owned(), 1), "account".to_owned());
    let ask = |observed: &Observed| plan(&desired, &LedgerView::default(), observed, NOW).actions;
    assert_eq!(ask(&observed), [], "the one that is ready is sent first");

    observed.jobs.clear();
    let retry = Retry {
        failures: 1,
        not_before: None,
        needs_room: false,
        spec: desired.keys.get("a").cloned(),
        account: desired.accounts.get("account").cloned(),
        error: error(),
    };
    observed.retries.insert(Subject::Making("a".to_owned()), retry);
    assert_eq!(ask(&observed), [Action::Generate { key: "b".to_owned() }]);
}
