//! Pairs that are deleted or replaced at the provider.

use std::time::Duration;

use cloud_sim::{Fault, FaultKind, Refusal, RequestFilter};
use keyferry_tests::openssh::listed;
use keyferry_tests::{ledger, wait};
use serde_json::{Value, json};

use crate::scene::{ECS, HERE, Scene, text};

const KEY: &str = "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n";
const REPORTED: &str = "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\non_drift = \"report\"\n";

fn lists(scene: &Scene) -> usize {
    let requests = scene.cloud.requests().requests.into_iter();
    requests
        .filter(|request| request.action == "DescribeKeyPairs" && request.name.is_none())
        .count()
}

#[test]
fn a_deleted_pair_is_made_again_and_the_agent_keeps_its_key() {
    let scene = Scene::new(&[("web", KEY)]);
    let before = listed(&scene.home.agent_socket());
    scene.cloud.forget_pairs(ECS);
    assert!(scene.refresh().contains("account ecs: 0 key pairs looked at"));
    wait::until("the pair is there again", Duration::from_secs(20), || {
        (scene.pairs().len() == 1).then_some(())
    });
    let key = scene.wait_for_drift("web", &Value::Null);
    let pair = scene.cloud.pairs(ECS).remove(0);
    let words = |line: &str| {
        line.split_whitespace()
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words(&pair.public_key),
        words(key["public_key"].as_str().unwrap_or_default())
    );
    assert_eq!(
        (&key["generation"], &key["error"]),
        (&json!(1), &Value::Null),
        "{key:#}"
    );
    assert_eq!(listed(&scene.home.agent_socket()), before);
}

#[test]
fn a_deleted_pair_is_only_reported_where_the_file_says_so() {
    let scene = Scene::new(&[("web", REPORTED)]);
    scene.cloud.forget_pairs(ECS);
    let told = scene.refresh();
    assert!(
        told.contains("key web in cn-hangzhou") && told.contains("was deleted at the provider"),
        "{told}"
    );
    let key = scene.wait_for_drift("web", &json!("deleted"));
    assert_eq!(key["state"], "loaded");
    assert_eq!(key["error"]["kind"], "drift");
    assert_eq!(key["regions"][0]["state"], "deleted");
    assert!(text(&scene.daemon.keyferry(&["status"])).contains("was deleted at the provider"));
    assert_eq!(listed(&scene.home.agent_socket()).len(), 1, "it signs on");
    // Nothing is made until the file says so; then it is, and nothing else changes.
    assert_eq!(scene.pairs(), []);
    scene.home.key("web", KEY);
    scene.daemon.wait_loaded(20);
    scene.wait_for_drift("web", &Value::Null);
    assert_eq!(scene.pairs().len(), 1);
}

#[test]
fn a_replaced_pair_is_never_touched() {
    let scene = Scene::new(&[("web", KEY)]);
    let name = ledger::pair_name(&scene.home, "web", 1);
    scene.cloud.forget_pairs(ECS);
    scene.plant(HERE, &name);
    let planted = scene.cloud.pairs(ECS).remove(0);
    scene.refresh();
    wait::until("the key has another pair", Duration::from_secs(20), || {
        (scene.pairs().len() == 2).then_some(())
    });
    scene.daemon.wait_loaded(20);
    scene.wait_for_drift("web", &Value::Null);
    assert!(scene.cloud.pairs(ECS).contains(&planted));
    assert_eq!(ledger::states(&scene.home, "web"), ["replaced", "live"]);
}

#[test]
fn the_interval_is_kept_and_one_list_is_enough() {
    let scene = Scene::without_keys();
    for number in 0..5 {
        scene.home.key(&format!("key-{number}"), REPORTED);
    }
    scene.daemon.wait_loaded(60);
    let lists_before = lists(&scene);
    scene
        .home
        .write("keyferry.toml", "[defaults]\ncheck_every = \"2s\"\n");
    scene.cloud.forget_pairs(ECS);
    for number in 0..5 {
        scene.wait_for_drift(&format!("key-{number}"), &json!("deleted"));
    }
    scene
        .home
        .write("keyferry.toml", "[defaults]\ncheck_every = \"never\"\n");
    assert!(lists(&scene) > lists_before);
    let gets = RequestFilter::action("DescribeKeyPairs");
    let requests = scene.cloud.wait_for_requests(&gets, 1, Duration::from_secs(1));
    let gets = requests
        .expect("there were some")
        .into_iter()
        .filter(|request| request.name.is_some());
    assert_eq!(gets.count(), 5, "each missing pair is asked about once");
    let status = scene.daemon.status();
    assert!(status["accounts"][0]["checked_at"].is_string(), "{status:#}");
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    let scene = Scene::new(&[("web", KEY)]);
    let refused = scene.daemon.keyferry(&["refresh", "nothing-of-that-name"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no account and no key named"));

    scene.cloud.fault(Fault::new(FaultKind::Error {
        error: Refusal::new(403, "Forbidden.RAM", "User not authorized to operate."),
        after_commit: false,
    }));
    let output = scene.daemon.keyferry(&["refresh", "web", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(json["accounts"][0]["error"]["kind"], "unauthorized", "{json:#}");
    scene.cloud.clear_faults();
    assert_eq!(scene.daemon.key("web")["state"], "loaded");
    let output = scene.daemon.keyferry(&["refresh", "web", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(json["accounts"][0]["pairs"], 1, "{json:#}");
    assert_eq!(scene.daemon.status()["accounts"][0]["error"], Value::Null);
}
