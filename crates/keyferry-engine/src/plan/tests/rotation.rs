//! Rules that no plan for keys with hosts may break, whatever state it finds.

use std::time::Duration;

use super::*;
use crate::desired::{HostList, Rotate};
use crate::ledger::{HostRow, HostState, Placement, PlacementState, Stage};
use crate::plan::Over;

const HOSTS: [&str; 4] = ["h0", "h1", "h2", "h3"];
pub(super) const DAY: i64 = 86_400_000;

pub(super) fn later() -> Moment {
    Moment {
        uptime: 1_000_000,
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 86_400),
        local_minute: 600,
    }
}

/// How one generation of a key fares.
#[derive(Clone, Debug)]
struct Life {
    stage: Stage,
    state: GenerationState,
    in_agent: bool,
    in_hand: bool,
    promoted_days_ago: i64,
    instances: Option<bool>,
    places: Vec<Option<(PlacementState, bool, i64)>>,
    refused: [bool; 4],
}

fn lives() -> impl Strategy<Value = Life> {
    let states = prop_oneof![
        6 => Just(GenerationState::Live),
        1 => Just(GenerationState::Requested),
        1 => Just(GenerationState::Unwanted),
        1 => Just(GenerationState::Missing),
        1 => Just(GenerationState::Doubtful),
        1 => Just(GenerationState::Replaced),
    ];
    let stages = prop_oneof![Just(Stage::Staged), Just(Stage::Active), Just(Stage::Earlier)];
    let placement_state = prop_oneof![
        4 => Just(PlacementState::Verified),
        1 => Just(PlacementState::Placing),
        1 => Just(PlacementState::Placed),
        1 => Just(PlacementState::Removing),
    ];
    let place = proptest::option::weighted(0.6, (placement_state, any::<bool>(), 0i64..40));
    (
        stages,
        states,
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.1),
        0i64..40,
        proptest::option::of(any::<bool>()),
        proptest::collection::vec(place, HOSTS.len()),
        any::<[bool; 4]>(),
    )
        .prop_map(
            |(stage, state, in_agent, in_hand, promoted_days_ago, instances, places, refused)| Life {
                stage,
                state,
                in_agent,
                in_hand: in_hand && !in_agent,
                promoted_days_ago,
                instances,
                places,
                refused,
            },
        )
}

/// What the user and the file say of a key.
#[derive(Clone, Debug)]
struct Wish {
    has_file: bool,
    listed: usize,
    rotates: bool,
    canary: usize,
    at_once: usize,
    held: bool,
    paused: bool,
    asked: bool,
    retires: bool,
    accepts: bool,
    failures: [Option<(bool, u64)>; 4],
    lists: bool,
    full: bool,
}

fn wishes() -> impl Strategy<Value = Wish> {
    let failure = proptest::option::weighted(0.3, (any::<bool>(), 0u64..2));
    (
        (
            prop::bool::weighted(0.9),
            0usize..=4,
            any::<bool>(),
            0usize..4,
            1usize..4,
        ),
        (
            prop::bool::weighted(0.1),
            prop::bool::weighted(0.1),
            any::<bool>(),
        ),
        (
            prop::bool::weighted(0.2),
            any::<bool>(),
            any::<bool>(),
            prop::bool::weighted(0.2),
        ),
        [failure.clone(), failure.clone(), failure.clone(), failure],
    )
        .prop_map(
            |(
                (has_file, listed, rotates, canary, at_once),
                (held, paused, asked),
                (retires, accepts, lists, full),
                failures,
            )| Wish {
                has_file,
                listed,
                rotates,
                canary,
                at_once,
                held,
                paused,
                asked,
                retires,
                accepts,
                failures,
                lists,
                full,
            },
        )
}

fn world_of_hosts() -> impl Strategy<Value = World> {
    let key = (wishes(), proptest::collection::vec(lives(), 0..5));
    let host_states = proptest::collection::vec((0usize..5, any::<bool>(), any::<bool>()), HOSTS.len());
    (proptest::collection::vec(key, 2), host_states, any::<bool>()).prop_map(|(keys, hosts, recovers)| {
        let mut world = World {
            desired: Desired::default(),
            ledger: LedgerView::default(),
            observed: Observed::default(),
        };
        world
            .desired
            .accounts
            .insert("account".to_owned(), account("account", None));
        for ((state, pinned, busy), (name, number)) in hosts.into_iter().zip(HOSTS.into_iter().zip(0u8..)) {
            let row = HostRow {
                address: name.to_owned(),
                // Two of them are behind one address.
                pinned_host_key: pinned.then(|| vec![number / 2]),
                state: HostState::ALL[state],
                since: 0,
                note: None,
            };
            world.ledger.hosts.insert(name.to_owned(), row);
            if busy && number == 0 {
                world.observed.host_tasks.insert(name.to_owned(), "a".to_owned());
            }
            if recovers && number % 2 == 0 {
                world.observed.recovery_verified.insert(name.to_owned(), 1);
            }
        }
        if recovers {
            world.desired.daemon.recovery = Some(crate::desired::Recovery {
                public_key: "ssh-ed25519 AAAA".to_owned(),
                agent: None,
            });
        }
        for ((wish, lives), name) in keys.into_iter().zip(KEYS) {
            add(&mut world, name, &wish, lives);
        }
        world
    })
}

fn add(world: &mut World, name: &str, wish: &Wish, lives: Vec<Life>) {
    let now = later().wall_ms();
    if wish.has_file {
        let mut spec = KeySpec::clone(&spec(name, GeneratedBy::Keyferry, true));
        let listed = HOSTS[..wish.listed]
            .iter()
            .map(|host| (*host).to_owned())
            .collect();
        spec.hosts = Some(HostList::Listed(listed));
        spec.rotate = wish.rotates.then_some(Rotate {
            every: Duration::from_secs(20 * 86_400),
            grace: Duration::from_secs(86_400),
            between: None,
        });
        spec.deploy.canary = wish.canary;
        spec.deploy.at_once = wish.at_once;
        world.desired.keys.insert(name.to_owned(), Arc::new(spec));
    }
    let row = KeyRow {
        name: name.to_owned(),
        last_n: lives.len() as u64,
        held_at: wish.held.then_some(1),
        rotate_asked_at: wish.asked.then_some(1),
        retire_asked_at: wish.retires.then_some(1),
        accepted_loss: wish.accepts.then(|| "h1 h2".to_owned()),
        paused_at: wish.paused.then_some(1),
        ..KeyRow::default()
    };
    world.ledger.keys.insert(name.to_owned(), row);
    if wish.lists {
        world.observed.can_list_instances.insert("account".to_owned());
    }
    if wish.full {
        let retry = Retry {
            failures: 1,
            not_before: None,
            needs_room: true,
            spec: world.desired.keys.get(name).cloned(),
            account: world.desired.accounts.get("account").cloned(),
            error: error(),
        };
        world
            .observed
            .retries
            .insert(Subject::Making(name.to_owned()), retry);
    }
    for (host, failure) in HOSTS.iter().zip(&wish.failures) {
        let Some((is_refused, wait)) = failure else {
            continue;
        };
        let mut error = error();
        error.kind = if *is_refused { "refused" } else { "unreachable" }.to_owned();
        let retry = Retry {
            failures: 1,
            not_before: Some(later().uptime + wait * 5_000),
            needs_room: false,
            spec: world.desired.keys.get(name).cloned(),
            account: None,
            error,
        };
        world
            .observed
            .retries
            .insert(Subject::Host(name.to_owned(), (*host).to_owned()), retry);
    }
    for (life, n) in lives.into_iter().zip(1..) {
        let mut row = generation(name, n, life.state);
        row.stage = life.stage;
        row.promoted_at = (life.stage != Stage::Staged).then_some(now - life.promoted_days_ago * DAY);
        row.superseded_at = (life.stage == Stage::Earlier).then_some(now - life.promoted_days_ago * DAY / 2);
        let id = row.id();
        let never_loaded = [
            GenerationState::Requested,
            GenerationState::Unwanted,
            GenerationState::Doubtful,
        ];
        let is_usable = !never_loaded.contains(&life.state);
        if life.in_agent && is_usable {
            world.observed.in_agent.insert(id.clone());
            if life.stage == Stage::Active {
                world.observed.loaded.insert(name.to_owned(), n);
            }
        } else if life.in_hand && life.state == GenerationState::Live {
            world.observed.halves.insert(id.clone());
        }
        if let Some(named) = life.instances {
            let names = named.then(|| "i-1".to_owned()).into_iter().collect();
            world
                .observed
                .instances
                .insert(id.clone(), (names, later().uptime - 5));
        }
        world.ledger.generations.insert(id.clone(), row);
        for ((host, place), refused) in HOSTS.iter().zip(life.places).zip(life.refused) {
            let Some((state, was_seen, days_ago)) = place else {
                continue;
            };
            let is_verified = state == PlacementState::Verified;
            let row = Placement {
                key: name.to_owned(),
                n,
                host: (*host).to_owned(),
                state,
                verified_at: (is_verified || was_seen).then_some(now - days_ago * DAY),
                line: None,
                file: None,
                file_hash: None,
                changed_at: now - days_ago * DAY,
            };
            if refused && !is_verified {
                world.observed.refused_logins.insert(row.id());
            }
            world.ledger.placements.insert(row.id(), row);
        }
    }
}

/// Whether a login over a generation was seen at a host and nothing speaks against it.
fn logs_in(world: &World, id: &GenerationId, host: &str) -> bool {
    let placement = world
        .ledger
        .placements
        .get(&(id.0.clone(), id.1, host.to_owned()));
    placement.is_some_and(|row| row.state == PlacementState::Verified) && world.observed.in_agent.contains(id)
}

/// What a client that logs in to a host is offered of a key.
pub(super) fn offered(plan: &Plan, key: &str, host_key: Option<&[u8]>) -> Vec<u64> {
    let of_key = plan
        .offers
        .range((key.to_owned(), 0)..=(key.to_owned(), u64::MAX));
    let (mut to, mut everywhere) = (Vec::new(), Vec::new());
    for ((_, n), offer) in of_key {
        match offer {
            Offer::Everywhere => everywhere.push(*n),
            Offer::Nowhere => {}
            Offer::To(keys) => {
                assert!(!keys.is_empty());
                if host_key.is_some_and(|host_key| keys.iter().any(|key| key == host_key)) {
                    to.push(*n);
                }
            }
        }
    }
    if to.is_empty() { everywhere } else { to }
}

pub(super) fn cases(short: u32) -> ProptestConfig {
    let is_soak = std::env::var_os("KEYFERRY_SOAK").is_some();
    ProptestConfig::with_cases(if is_soak { short * 50 } else { short })
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn no_plan_for_hosts_breaks_a_rule(world in world_of_hosts()) {
        let World { desired, ledger, observed } = &world;
        let now = later();
        let plan = plan(desired, ledger, observed, now);
        let again = super::plan(desired, ledger, observed, now);
        prop_assert_eq!((&plan.actions, &plan.offers), (&again.actions, &again.offers));
        prop_assert!(plan.wake_at.is_none_or(|at| at > now.uptime));
        let mut busy: Vec<&str> = observed.host_tasks.keys().map(String::as_str).collect();
        let mut on_hosts: BTreeMap<&str, usize> = BTreeMap::new();
        for key in observed.host_tasks.values() {
            *on_hosts.entry(key).or_default() += 1;
        }
        let staged = |key: &str| {
            let rows = ledger.originals(key).filter(|row| row.stage == Stage::Staged && observed.in_agent.contains(&row.id()));
            rows.map(|row| row.n).max()
        };
        for action in &plan.actions {
            let key = action.key();
            let row = ledger.key(key);
            let (held, paused) = (row.held_at.is_some(), row.paused_at.is_some());
            let retires = row.retire_asked_at.is_some();
            let active = observed.loaded.get(key).copied();
            if let Some(host) = action.host() {
                prop_assert!(!busy.contains(&host), "two tasks at {host}");
                busy.push(host);
                *on_hosts.entry(key).or_default() += 1;
                prop_assert!(!held && !paused, "{action:?}");
                let is_forgotten = ledger.hosts[host].state == HostState::Forgotten;
                prop_assert!(!is_forgotten, "{action:?} on a host that was given up");
            }
            match action {
                Action::TakeOff { over, host, lines } => {
                    prop_assert!(!lines.is_empty() && lines.iter().all(|(other, _)| other == key));
                    for (key, n) in lines {
                        prop_assert!(ledger.placements.contains_key(&(key.clone(), *n, host.clone())));
                    }
                    match over {
                        Over::Recovery => prop_assert!(retires && observed.recovery_verified.contains_key(host)),
                        Over::Generation(id) => {
                            // Of one that goes too it may not be known: its removal had no answer.
                            prop_assert!(lines.contains(id) || logs_in(&world, id, host), "{action:?}");
                            prop_assert!(!ledger.is_held(&id.0));
                            let accepted = row.accepted_loss.is_some_and(|accepted| accepted.contains(host.as_str()));
                            if lines.contains(id) {
                                prop_assert!(retires && accepted, "the last way in goes: {action:?}");
                            } else if id.0 == *key {
                                prop_assert_eq!(Some(id.1), active);
                                prop_assert!(!lines.iter().any(|(_, n)| staged(key) == Some(*n)));
                            } else {
                                prop_assert!(retires);
                            }
                        }
                    }
                }
                Action::Delete { id } => {
                    let row = &ledger.generations[id];
                    let n = row.copy_of.unwrap_or(row.n);
                    let stands = ledger.placements_of(key).any(|placement| {
                        placement.n == n && ledger.hosts[&placement.host].state != HostState::Forgotten
                    });
                    // Where nothing serves and the account is full, one whose private half is lost makes room.
                    let is_full = observed.retries.contains_key(&Subject::Making(key.to_owned()));
                    let is_lost = !observed.in_agent.contains(&(key.to_owned(), n)) && !observed.halves.contains(&(key.to_owned(), n));
                    let makes_room = is_full && is_lost && active.is_none() && !held && !retires;
                    prop_assert!(!stands || makes_room, "{action:?} although its line stands somewhere");
                    prop_assert!(retires || (staged(key) != Some(n) && active != Some(n)));
                    if observed.in_agent.contains(id) {
                        prop_assert!(!held && !paused);
                        let named = observed.instances.get(id).is_none_or(|(names, _)| !names.is_empty());
                        let can_say = observed.can_list_instances.contains("account");
                        let is_free = row.state == GenerationState::Unwanted;
                        prop_assert!(!(can_say && named) || is_free, "{action:?}: an instance may know nothing else");
                    }
                }
                Action::Unload { id } => {
                    let stands = ledger.placements_of(key).any(|placement| {
                        placement.n == id.1 && ledger.hosts[&placement.host].state != HostState::Forgotten
                    });
                    prop_assert!(!stands, "{action:?} although its line stands somewhere");
                    prop_assert!(retires || (staged(key) != Some(id.1) && active != Some(id.1)));
                }
                Action::Promote { id } => {
                    prop_assert!(!held && !paused && !retires);
                    prop_assert_eq!(staged(key), Some(id.1));
                    prop_assert!(HOSTS.iter().any(|host| logs_in(&world, id, host)));
                }
                Action::Verify { id, host } | Action::Put { id, host } => {
                    prop_assert!(!retires);
                    // One that was seen there, and is not sure any more, may be what the host needs.
                    let placement = ledger.placements.get(&(id.0.clone(), id.1, host.clone()));
                    let is_unsure = placement.is_some_and(|row| row.verified_at.is_some());
                    prop_assert!(is_unsure || staged(key).or(active) == Some(id.1), "{action:?}");
                    prop_assert!(observed.in_agent.contains(id));
                }
                Action::Generate { .. } | Action::Import { .. } | Action::Create { .. } => {
                    prop_assert!(!held && !retires);
                    if let Some(active) = active {
                        prop_assert!(!paused && staged(key).is_none());
                        let mut live: BTreeSet<u64> = ledger
                            .placements_of(key)
                            .filter(|row| {
                                let state = ledger.hosts[&row.host].state;
                                state != HostState::Parked && state != HostState::Forgotten
                            })
                            .map(|row| row.n)
                            .collect();
                        let of_key = (key.to_owned(), 0)..=(key.to_owned(), u64::MAX);
                        live.extend(observed.in_agent.range(of_key).map(|(_, n)| *n).filter(|n| {
                            !ledger.placements_of(key).any(|row| {
                                row.n == *n && ledger.hosts[&row.host].state != HostState::Forgotten
                            })
                        }));
                        live.insert(active);
                        prop_assert!(live.len() <= 4, "more keys than a login may try: {live:?}");
                        // Those that instances keep do not count.
                        live.retain(|n| {
                            let mut pairs = ledger.of_key(key).filter(|row| row.holds(*n));
                            let named = |row: &Generation| observed.instances.get(&row.id());
                            *n == active
                                || !pairs.any(|row| named(row).is_some_and(|(names, _)| !names.is_empty()))
                        });
                        prop_assert!(live.len() < 3, "a fourth generation of {key}: {live:?}");
                    }
                }
                _ => {}
            }
        }
        for (key, count) in on_hosts {
            let Some(spec) = desired.keys.get(key) else { continue };
            let before = observed.host_tasks.values().filter(|busy| *busy == key).count();
            prop_assert!(count <= spec.deploy.at_once.max(before), "{key} works on {count} hosts at once");
            let Some(target) = staged(key).or(observed.loaded.get(key).copied()) else { continue };
            let of_key = ledger.placements_of(key).filter(|row| {
                row.n == target && row.state == PlacementState::Verified && ledger.hosts[&row.host].state != HostState::Forgotten
            });
            let verified = of_key.count();
            let begun = plan.actions.iter().filter(|action| match action {
                // One that was seen there is only looked at again.
                Action::Verify { id, host } | Action::Put { id, host } => {
                    id.0 == key && id.1 == target && !logs_in(&world, id, host)
                }
                _ => false,
            });
            let is_promoted = plan.actions.iter().any(|action| matches!(action, Action::Promote { id } if id.0 == key));
            let ready = crate::plan::hosts_of(desired, ledger, observed, key);
            let ready = ready.iter().filter(|host| {
                let state = ledger.hosts[host.address.as_ref()].state;
                matches!(state, HostState::New | HostState::Reached)
            });
            let needed = spec.deploy.canary.min(ready.count());
            if verified < needed && !is_promoted {
                prop_assert!(begun.count() <= needed - verified, "more than the canaries of {key}");
            }
        }
        for id in &observed.in_agent {
            let offer = plan.offers.get(id);
            prop_assert!(offer.is_some(), "nothing is said of {id:?}");
            if staged(&id.0) == Some(id.1) && observed.loaded.contains_key(&id.0) {
                prop_assert_eq!(offer, Some(&Offer::Nowhere), "a staged generation is offered");
            }
        }
        for key in KEYS {
            for host in HOSTS.iter().filter(|host| ledger.hosts[**host].state != HostState::Forgotten) {
                let seen = ledger.placements_of(key).filter(|row| {
                    row.host == **host
                        && row.state == PlacementState::Verified
                        && staged(key) != Some(row.n)
                        && observed.in_agent.contains(&(key.to_owned(), row.n))
                });
                let seen: Vec<u64> = seen.map(|row| row.n).collect();
                let host_key = ledger.hosts[*host].pinned_host_key.as_deref();
                let offered = offered(&plan, key, host_key);
                prop_assert!(seen.is_empty() || seen.iter().any(|n| offered.contains(n)), "{key} at {host}: {seen:?}, offered {offered:?}");
            }
        }
    }
}
