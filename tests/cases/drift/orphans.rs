//! Pairs that keyferry made and no longer knows.

use std::collections::BTreeSet;
use std::fs;

use keyferry_tests::daemon::Daemon;
use keyferry_tests::ledger;
use serde_json::Value;

use crate::scene::{HERE, Scene, text};

const KEY: &str = "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n";

/// The state directory is put back as it was before the key's second generation was made.
fn with_an_orphan() -> (Scene, String) {
    let mut scene = Scene::without_keys();
    scene.daemon.stop();
    let names = ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"];
    let kept: Vec<_> = names
        .iter()
        .map(|name| fs::read(scene.home.path("state").join(name)).ok())
        .collect();
    scene.home.key("old", KEY);
    scene.daemon = Daemon::start(&scene.home);
    scene.daemon.wait_loaded(60);
    scene.daemon.stop();
    let orphan = ledger::pair_name(&scene.home, "old", 1);
    fs::remove_file(scene.home.config().join("keys/old.toml")).expect("the file can be removed");
    for (name, content) in names.iter().zip(kept) {
        let path = scene.home.path("state").join(name);
        match content {
            Some(content) => fs::write(path, content).expect("the ledger can be put back"),
            None => _ = fs::remove_file(path),
        }
    }
    scene.home.key("web", KEY);
    scene.plant(HERE, "keyferry-web-abcdef-3");
    scene.plant(HERE, "somebody-elses");
    scene.daemon = Daemon::start(&scene.home);
    scene.daemon.wait_loaded(60);
    (scene, orphan)
}

fn json(scene: &Scene, arguments: &[&str], code: i32) -> Value {
    let output = scene
        .daemon
        .keyferry(&[&["orphans", "--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

#[test]
fn they_are_listed_and_deleted_only_when_asked_for() {
    let (scene, orphan) = with_an_orphan();
    let found = json(&scene, &[], 0);
    assert_eq!(found["orphans"].as_array().map(Vec::len), Some(1), "{found:#}");
    assert_eq!(found["orphans"][0]["name"], orphan.as_str());
    assert_eq!(found["others"].as_array().map(Vec::len), Some(1), "{found:#}");
    assert_eq!(found["others"][0]["name"], "keyferry-web-abcdef-3");
    assert_eq!(found["others"][0]["installation"], "abcdef");
    let shown = text(&scene.daemon.keyferry(&["orphans"]));
    assert!(
        shown.contains(&orphan) && shown.contains("other installations") && !shown.contains("somebody"),
        "{shown}"
    );
    assert_eq!(scene.pairs().len(), 4, "looking deletes nothing");

    // Nobody to ask, and nothing said: nothing is deleted.
    let output = scene.daemon.keyferry(&["orphans", "--delete"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--yes"));
    assert_eq!(scene.pairs().len(), 4);

    let deleted = json(&scene, &["--delete", "--yes"], 0);
    assert_eq!(deleted["deleted"][0]["name"], orphan.as_str(), "{deleted:#}");
    assert_eq!(deleted["deleted"][0]["error"], Value::Null);
    let left: BTreeSet<_> = scene.pairs().into_iter().map(|(_, name)| name).collect();
    let web = ledger::pair_name(&scene.home, "web", 1);
    let expected = ["keyferry-web-abcdef-3", web.as_str(), "somebody-elses"];
    assert_eq!(left, expected.map(str::to_owned).into());
    let row = ledger::generations(&scene.home)
        .into_iter()
        .find(|row| row.pair_name == orphan)
        .expect("the deletion stands in the ledger");
    assert_eq!((row.key.as_str(), row.state.as_str()), ("(orphans)", "deleted"));
    assert_eq!(
        json(&scene, &["--delete", "--yes"], 0)["orphans"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    let keys = scene.daemon.status()["keys"].as_array().map(Vec::len);
    assert_eq!(keys, Some(1), "no key of status");
}
