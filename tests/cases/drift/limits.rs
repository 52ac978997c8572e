//! Quotas, and one rate for a whole account.

use std::time::Duration;

use cloud_sim::{Fault, FaultKind, RequestFilter, Settings};
use keyferry_tests::daemon::find;
use keyferry_tests::{ledger, wait};

use crate::scene::{ECS, HERE, Scene};

const KEY: &str = "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n";

#[test]
fn what_cannot_fit_is_said_by_name_and_not_asked_for() {
    let scene = Scene::without_keys();
    let path = scene.home.config().join("accounts/ecs.toml");
    let account = std::fs::read_to_string(path).expect("the account has a file");
    scene
        .home
        .write("accounts/ecs.toml", &format!("max_pairs = 2\n{account}"));
    for name in ["a", "b", "c"] {
        scene.home.key(name, KEY);
    }
    let (code, status) = scene.daemon.wait(60);
    assert_eq!(code, 1);
    for name in ["a", "b"] {
        assert_eq!(find(&status, name)["state"], "loaded");
    }
    let error = &find(&status, "c")["error"];
    assert_eq!(error["kind"], "quota");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("3 key pairs in region cn-hangzhou with account ecs, and 2 are allowed"),
        "{message}"
    );
    let tries = scene
        .cloud
        .requests()
        .requests
        .into_iter()
        .filter(|request| request.action == "ImportKeyPair");
    assert_eq!(tries.count(), 2);
    scene.home.write("accounts/ecs.toml", &account);
    scene.daemon.wait_loaded(30);
}

#[test]
fn a_full_quota_says_whose_pairs_fill_it() {
    let scene = Scene::new(&[("mine", KEY)]);
    scene.plant(HERE, "keyferry-web-abcdef-3");
    scene.plant(HERE, "somebody-elses");
    scene.plant(HERE, "another");
    let settings = scene.cloud.settings(ECS);
    scene.cloud.set_settings(ECS, Settings { quota: 4, ..settings });
    scene.home.key("web", KEY);
    let message = wait::until("the quota is explained", Duration::from_secs(20), || {
        let status = scene.daemon.status();
        let keys = status["keys"].as_array()?;
        let key = keys.iter().find(|key| key["name"] == "web")?;
        let message = key["error"]["message"].as_str()?.to_owned();
        message.contains("holds").then_some(message)
    });
    assert!(
        message.contains(
            "region cn-hangzhou of account ecs holds 4 key pairs: 1 of this keyferry, 1 of other keyferry installations and \
             2 of others"
        ),
        "{message}"
    );
}

#[test]
fn a_throttled_account_is_left_in_peace_as_a_whole() {
    let scene = Scene::without_keys();
    let throttled = Fault::new(FaultKind::Throttling {
        retry_after_ms: Some(1_500),
    })
    .action("ImportKeyPair")
    .count(1);
    scene.cloud.fault(throttled);
    scene.home.key("a", KEY);
    let imports = RequestFilter::action("ImportKeyPair");
    let first = scene
        .cloud
        .wait_for_requests(&imports, 1, Duration::from_secs(20))
        .expect("the first is refused");
    assert_eq!(first.len(), 1);
    wait::until("the refusal is known", Duration::from_secs(10), || {
        let status = scene.daemon.status();
        let error = &status["keys"].as_array()?.first()?["error"];
        (error["kind"] == "throttled").then_some(())
    });
    // Others of the account wait too, although nobody refused them.
    scene.home.key("b", KEY);
    scene.daemon.wait_loaded(30);
    let requests = scene
        .cloud
        .wait_for_requests(&imports, 3, Duration::from_secs(1))
        .expect("both are made");
    let refused = requests[0].time;
    for request in &requests[1..] {
        let waited = request.time.duration_since(refused).unwrap_or_default();
        assert!(waited >= Duration::from_millis(1_400), "{waited:?}");
    }
    ledger::assert_matches_cloud(&scene.home, &scene.cloud);
}
