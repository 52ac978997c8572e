//! A name that a key had which was retired.

use std::fs;
use std::time::Duration;

use keyferry_tests::fleet::Shell;
use keyferry_tests::wait;

use super::{Scene, assert_says, said};

#[test]
fn the_name_of_a_retired_key_is_taken_again_once_somebody_says_so() {
    let scene = Scene::new(&[Shell::Dash]);
    let old = scene.old_key("first.pem", &["web-1"]);
    let arguments = [old.to_str().expect("a plain path"), "--hosts=web-1", "--key=web"];
    let first = scene.adopt(&arguments);
    assert!(first.status.success(), "{}\n{}", said(&first), scene.daemon.log());
    let ended = scene
        .daemon
        .keyferry(&["retire", "web", "--yes", "--accept-loss", "all", "--wait"]);
    assert!(ended.status.success(), "{}\n{}", said(&ended), scene.daemon.log());
    fs::remove_file(scene.key_file("web")).expect("a file can be removed");
    wait::until("nothing is left of it", Duration::from_secs(30), || {
        let status = scene.daemon.status();
        let keys = status["keys"].as_array().expect("a list");
        keys.is_empty().then_some(())
    });

    // It is not made, and nobody waits until the time is over to be told so.
    let again = scene.adopt(&arguments);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert_says(
        &again,
        &["web was retired", "keyferry resume web", "run this again"],
    );
    let resumed = scene.daemon.keyferry(&["resume", "web"]);
    assert!(resumed.status.success(), "{}", said(&resumed));
    let last = scene.adopt(&arguments);
    assert!(last.status.success(), "{}\n{}", said(&last), scene.daemon.log());
}
