//! One key in several regions.

use std::time::Duration;

use cloud_sim::{Fault, FaultKind, Refusal};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::{ledger, wait};
use serde_json::{Value, json};

use crate::scene::{ECS, HERE, Scene, THERE, text};

const IMPORTED: &str =
    "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\nregions = [\"cn-hangzhou\", \"cn-beijing\"]\n";
const CREATED: &str =
    "account = \"ecs\"\ngenerated_by = \"provider\"\nregions = [\"cn-hangzhou\", \"cn-beijing\"]\n";

/// Both regions hold the key's public half, and nothing else.
#[track_caller]
fn assert_in_both(scene: &Scene, key: &Value) {
    let mut pairs = scene.cloud.pairs(ECS);
    pairs.sort_by(|one, other| other.region.cmp(&one.region));
    let regions: Vec<_> = pairs.iter().map(|pair| pair.region.as_deref()).collect();
    assert_eq!(regions, [Some(HERE), Some(THERE)]);
    let words = |line: &str| {
        line.split_whitespace()
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for pair in &pairs {
        let public_key = key["public_key"].as_str().unwrap_or_default();
        assert_eq!(words(&pair.public_key), words(public_key), "{key:#}");
    }
    let states: Vec<_> = key["regions"]
        .as_array()
        .expect("regions is a list")
        .iter()
        .collect();
    assert!(states.iter().all(|region| region["state"] == "live"), "{key:#}");
}

#[test]
fn the_public_half_is_in_each_and_one_generation_follows_the_other() {
    for text in [IMPORTED, CREATED] {
        let mut scene = Scene::new(&[("web", text)]);
        assert_in_both(&scene, &scene.daemon.key("web"));
        scene.daemon.kill();
        scene.daemon = Daemon::start(&scene.home);
        scene.daemon.wait_loaded(60);
        wait::until("the old pairs are deleted", Duration::from_secs(30), || {
            (scene.pairs().len() == 2).then_some(())
        });
        assert_in_both(&scene, &scene.daemon.key("web"));
        wait::until("the ledger agrees", Duration::from_secs(10), || {
            let states = ledger::states(&scene.home, "web");
            (states.iter().filter(|state| *state == "live").count() == 2
                && states
                    .iter()
                    .all(|state| matches!(state.as_str(), "live" | "deleted")))
            .then_some(())
        });
    }
}

#[test]
fn a_region_that_refuses_is_named_and_the_key_serves() {
    let scene = Scene::without_keys();
    scene.cloud.fault(
        Fault::new(FaultKind::Error {
            error: Refusal::new(403, "Forbidden.RAM", "User not authorized to operate."),
            after_commit: false,
        })
        .action("ImportKeyPair")
        .after(1),
    );
    scene.home.key("web", IMPORTED);
    let (code, status) = scene.daemon.wait(60);
    assert_eq!(code, 1, "a region failed");
    let key = &status["keys"][0];
    assert_eq!(key["state"], "loaded");
    assert_eq!(key["regions"][0]["state"], "live");
    assert_eq!(
        (&key["regions"][1]["region"], &key["regions"][1]["state"]),
        (&json!(THERE), &json!("failed"))
    );
    assert_eq!(key["regions"][1]["error"]["kind"], "unauthorized");
    let shown = text(&scene.daemon.keyferry(&["status"]));
    assert!(shown.contains("key web in cn-beijing"), "{shown}");
    scene.cloud.clear_faults();
    scene.daemon.keyferry(&["resume", "web"]);
    assert_in_both(&scene, &scene.daemon.wait_loaded(30)["keys"][0].clone());
}

#[test]
fn a_region_that_is_added_gets_the_loaded_key() {
    let scene = Scene::new(&[("web", "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n")]);
    let before = scene.daemon.key("web")["public_key"].clone();
    scene.home.key("web", IMPORTED);
    let status = scene.daemon.wait_loaded(30);
    assert_eq!(status["keys"][0]["public_key"], before);
    assert_in_both(&scene, &status["keys"][0]);
}
