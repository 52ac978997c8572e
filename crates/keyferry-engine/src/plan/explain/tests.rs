use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyferry_plugin::contract::Algorithm;

use super::*;
use crate::desired::{
    Account, CredentialSource, Deploy, GeneratedBy, HostList, KeySpec, LoginWith, OnDrift, OnRemove,
    Recovery, Rotate,
};
use crate::ledger::{HostRow, HostState, KeyRow, PlacementState, Purpose, Trusted};
use crate::snapshot::AfterReboot;

const NOW: Moment = Moment {
    uptime: 1_000_000,
    wall: SystemTime::UNIX_EPOCH,
    local_minute: 0,
};

fn desired(hosts: &[&str], rotate: Option<Rotate>) -> Desired {
    let account = Account {
        name: "account".to_owned(),
        plugin: "cloud".to_owned(),
        region: None,
        endpoint: None,
        insecure_http: false,
        settings: BTreeMap::new(),
        credentials: CredentialSource::Chain { profile: None },
        max_concurrent: None,
        max_per_second: None,
        check_every: None,
        max_pairs: None,
        place: String::new(),
    };
    let key = KeySpec {
        name: "web".to_owned(),
        account: "account".to_owned(),
        region: None,
        further_regions: Vec::new(),
        generated_by: GeneratedBy::Keyferry,
        algorithm: Algorithm::Ed25519,
        pair_name: None,
        on_drift: OnDrift::default(),
        hosts: Some(HostList::Listed(
            hosts.iter().map(|host| (*host).to_owned()).collect(),
        )),
        offer_to: Vec::new(),
        rotate,
        deploy: Deploy::default(),
        on_remove: OnRemove::default(),
        present: true,
    };
    let mut desired = Desired::default();
    desired.accounts.insert("account".to_owned(), Arc::new(account));
    desired.keys.insert("web".to_owned(), Arc::new(key));
    desired
}

fn in_words(plan: &KeyPlan) -> Vec<String> {
    let steps = plan.steps.iter().map(|step| {
        let generation = step.generation.map(|n| n.to_string()).unwrap_or_default();
        let host = step.host.as_deref().unwrap_or_default();
        format!("{} {generation} {host}", step.what).trim_end().to_owned()
    });
    steps.collect()
}

#[test]
fn a_whole_life_is_told_in_order_and_ends() {
    let rotate = Rotate {
        every: Duration::from_secs(30 * 86_400),
        grace: Duration::from_secs(86_400),
        between: None,
    };
    let desired = desired(&["web-1", "web-2"], Some(rotate));
    let plans = explain(&desired, &LedgerView::default(), &Observed::default(), NOW, &[]);
    let [plan] = &plans[..] else { panic!("{plans:?}") };
    assert_eq!(
        in_words(plan),
        [
            "generate 1",
            "import 1",
            "load 1",
            "put 1 web-1",
            "verify 1 web-1",
            "put 1 web-2",
            "verify 1 web-2",
            "generate 2",
            "import 2",
            "load 2",
            "put 2 web-1",
            "verify 2 web-1",
            "promote 2",
            "put 2 web-2",
            "verify 2 web-2",
            "take_off 1 web-1",
            "take_off 1 web-2",
            "delete 1",
            "unload 1",
        ]
    );
    let timed: Vec<(&str, Duration)> = plan
        .steps
        .iter()
        .filter_map(|step| {
            let at = step.at?.0.duration_since(NOW.wall).expect("it lies ahead");
            Some((step.what.as_str(), at))
        })
        .collect();
    let [("generate", begins), ("take_off", ends)] = timed[..] else {
        panic!("{timed:?}");
    };
    let days = |days: u64| Duration::from_secs(days * 86_400);
    // Earlier than the period's end, by chance.
    assert!((days(27)..days(30)).contains(&begins), "{begins:?}");
    assert_eq!(ends, begins + days(1));
}

#[test]
fn two_keys_of_one_period_rotate_at_different_times() {
    let every = Duration::from_secs(30 * 86_400);
    let rotate = Rotate {
        every,
        grace: Duration::from_secs(86_400),
        between: None,
    };
    let mut desired = desired(&["web-1"], Some(rotate));
    let other = KeySpec {
        name: "db".to_owned(),
        ..KeySpec::clone(&desired.keys["web"])
    };
    desired.keys.insert("db".to_owned(), Arc::new(other));
    let plans = explain(&desired, &LedgerView::default(), &Observed::default(), NOW, &[]);
    let begins: Vec<Duration> = plans
        .iter()
        .map(|plan| {
            let mut times = plan.steps.iter().filter(|step| step.generation == Some(2));
            let at = times.find_map(|step| step.at).expect("it is rotated");
            at.0.duration_since(NOW.wall).expect("it lies ahead")
        })
        .collect();
    let [one, other] = begins[..] else {
        panic!("{plans:?}");
    };
    for begins in [one, other] {
        assert!((every - every / 10..every).contains(&begins), "{begins:?}");
    }
    assert!(
        one.abs_diff(other) >= Duration::from_secs(60),
        "{one:?} and {other:?}"
    );
}

#[test]
fn parked_hosts_and_the_only_way_in_are_named() {
    let mut desired = desired(&["web-1", "web-2"], None);
    let mut key = KeySpec::clone(&desired.keys["web"]);
    key.deploy.login_with = vec![LoginWith::Current];
    desired.keys.insert("web".to_owned(), Arc::new(key));
    let mut ledger = LedgerView::default();
    ledger.hosts.insert(
        "web-2".to_owned(),
        HostRow {
            address: "web-2".to_owned(),
            pinned_host_key: None,
            state: HostState::Parked,
            since: 0,
            note: Some("no answer".to_owned()),
        },
    );
    let mut simulation = Simulation::of(&desired, &ledger, &Observed::default(), NOW, "web");
    for _ in 0..20 {
        for action in simulation.plan().actions {
            simulation.succeed(&action);
        }
    }
    let (ledger, observed) = simulation.parts();
    let plan = explain(&desired, ledger, observed, NOW, &[]).remove(0);
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    assert!(
        plan.warnings.iter().any(|warning| {
            warning == "web-2 cannot be reached since 1970-01-01T00:00:00Z, and keeps the generation last seen there: no answer"
        }),
        "{:?}",
        plan.warnings
    );
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.starts_with("web-1: generation 1 of web is the only way in")),
        "{:?}",
        plan.warnings
    );
    assert_eq!(
        after_reboot(&desired, ledger, observed, "web", "web-1"),
        AfterReboot::LockedOut
    );

    desired.daemon.recovery = Some(Recovery {
        public_key: "ssh-ed25519 AAAA".to_owned(),
        agent: None,
    });
    assert_eq!(
        after_reboot(&desired, ledger, observed, "web", "web-1"),
        AfterReboot::Untested
    );
    let mut observed = observed.clone();
    observed.recovery_verified.insert("web-1".to_owned(), 1);
    assert_eq!(
        after_reboot(&desired, ledger, &observed, "web", "web-1"),
        AfterReboot::Recovers
    );
}

#[test]
fn a_host_that_stays_away_does_not_make_the_story_endless() {
    let rotate = Rotate {
        every: Duration::from_secs(30 * 86_400),
        grace: Duration::from_secs(86_400),
        between: None,
    };
    let desired = desired(&["web-1", "web-2"], Some(rotate));
    let mut simulation = Simulation::of(&desired, &LedgerView::default(), &Observed::default(), NOW, "web");
    for _ in 0..20 {
        for action in simulation.plan().actions {
            simulation.succeed(&action);
        }
    }
    let (ledger, observed) = simulation.parts();
    let mut ledger = ledger.clone();
    let verified = ledger
        .placements
        .values()
        .filter(|row| row.state == PlacementState::Verified);
    assert_eq!(verified.count(), 2);
    ledger.hosts.insert(
        "web-2".to_owned(),
        HostRow {
            address: "web-2".to_owned(),
            pinned_host_key: None,
            state: HostState::Parked,
            since: 0,
            note: Some("no answer".to_owned()),
        },
    );
    let plan = explain(&desired, &ledger, observed, NOW, &[]).remove(0);
    assert_eq!(
        in_words(&plan),
        [
            "generate 2",
            "import 2",
            "load 2",
            "put 2 web-1",
            "verify 2 web-1",
            "promote 2",
            "take_off 1 web-1",
        ]
    );
}

#[test]
fn an_end_is_told_with_what_it_would_lose() {
    let mut desired = desired(&["web-1"], None);
    let mut simulation = Simulation::of(&desired, &LedgerView::default(), &Observed::default(), NOW, "web");
    for _ in 0..20 {
        for action in simulation.plan().actions {
            simulation.succeed(&action);
        }
    }
    let (ledger, observed) = simulation.parts();
    let mut ledger = ledger.clone();
    let row = KeyRow {
        retire_asked_at: Some(1),
        ..ledger.key("web")
    };
    ledger.keys.insert("web".to_owned(), row.clone());
    let plan = explain(&desired, &ledger, observed, NOW, &[]).remove(0);
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    assert!(plan.waiting.is_some_and(|waiting| waiting.contains("web-1")));

    let accepted = KeyRow {
        accepted_loss: Some("web-1".to_owned()),
        ..row
    };
    ledger.keys.insert("web".to_owned(), accepted);
    desired.keys.clear();
    let plan = explain(&desired, &ledger, observed, NOW, &[]).remove(0);
    assert_eq!(in_words(&plan), ["take_off 1 web-1", "delete 1", "unload 1"]);
}

#[test]
fn the_end_of_a_grant_is_dated() {
    let desired = desired(&["web-1"], None);
    let mut simulation = Simulation::of(&desired, &LedgerView::default(), &Observed::default(), NOW, "web");
    for _ in 0..20 {
        for action in simulation.plan().actions {
            simulation.succeed(&action);
        }
    }
    let (ledger, observed) = simulation.parts();
    let mut ledger = ledger.clone();
    let granted = trusted("web", Purpose::Grant, Some(3 * 86_400_000));
    ledger.trusted.insert(granted.id(), granted);
    // Another's ends sooner, and is none of this key's.
    let other = trusted("other", Purpose::Grant, Some(86_400_000));
    ledger.trusted.insert(other.id(), other);
    let plans = explain(&desired, &ledger, observed, NOW, &[]);
    let plan = plans
        .iter()
        .find(|plan| plan.key == "web")
        .expect("it has a plan");
    let [step] = &plan.steps[..] else {
        panic!("{:?}", plan.steps)
    };
    assert_eq!(step.what, "take_off_trusted");
    let at = step
        .at
        .expect("it is dated")
        .0
        .duration_since(NOW.wall)
        .expect("it lies ahead");
    assert_eq!(at, Duration::from_secs(3 * 86_400));
    // It is looked at now and then all the same: the clock may be set meanwhile.
    let plan = crate::plan::plan(&desired, &ledger, observed, NOW);
    assert_eq!(plan.survey_at, Some(NOW.uptime + 3_600_000));
}

fn trusted(key: &str, purpose: Purpose, until: Option<i64>) -> Trusted {
    let public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
    let options = crate::plan::trusted_options(&desired(&[], None).keys["web"], purpose, until);
    let space = if options.is_empty() { "" } else { " " };
    Trusted {
        key: key.to_owned(),
        host: "web-1".to_owned(),
        public_key: public_key.to_owned(),
        purpose,
        line: format!("{options}{space}{public_key} keyferry owner=li machine=m key={key}"),
        file: None,
        state: PlacementState::Placed,
        until,
        verified_at: None,
        changed_at: 0,
        note: None,
    }
}

/// A key that is to end on a host where another one logs in too, as `other` has it.
fn ending_beside(other: KeyRow) -> KeyPlan {
    let desired = desired(&["web-1"], None);
    let mut simulation = Simulation::of(&desired, &LedgerView::default(), &Observed::default(), NOW, "web");
    for _ in 0..20 {
        for action in simulation.plan().actions {
            simulation.succeed(&action);
        }
    }
    let (ledger, observed) = simulation.parts();
    let (mut ledger, mut observed) = (ledger.clone(), observed.clone());
    let mut beside = ledger
        .placements
        .values()
        .next()
        .expect("it stands there")
        .clone();
    beside.key = other.name.clone();
    observed.in_agent.insert((other.name.clone(), beside.n));
    ledger.placements.insert(beside.id(), beside);
    for key in ["web", &other.name] {
        let recovery = trusted(key, Purpose::Recovery, None);
        ledger.trusted.insert(recovery.id(), recovery);
    }
    let row = KeyRow {
        retire_asked_at: Some(1),
        ..ledger.key("web")
    };
    ledger.keys.insert("web".to_owned(), row);
    ledger.keys.insert(other.name.clone(), other);
    let mut plans = explain(&desired, &ledger, &observed, NOW, &[]);
    plans.retain(|plan| plan.key == "web");
    plans.remove(0)
}

#[test]
fn an_end_goes_by_what_the_user_said_of_the_other_keys() {
    let other = KeyRow {
        name: "other".to_owned(),
        ..KeyRow::default()
    };
    let plan = ending_beside(other.clone());
    // The recovery identity is let in by the other one too.
    assert_eq!(
        in_words(&plan),
        [
            "take_off 1 web-1",
            "take_off_trusted  web-1",
            "delete 1",
            "unload 1"
        ]
    );
    let held = KeyRow {
        held_at: Some(1),
        ..other.clone()
    };
    let plan = ending_beside(held);
    assert_eq!(
        in_words(&plan),
        Vec::<String>::new(),
        "one that is held logs in nowhere"
    );
    let ending = KeyRow {
        retire_asked_at: Some(1),
        ..other
    };
    let plan = ending_beside(ending);
    assert_eq!(in_words(&plan), ["take_off 1 web-1", "delete 1", "unload 1"]);
}
