//! A fresh state directory on an account with old pairs, and one that was copied.

use std::collections::BTreeSet;
use std::process::Command;

use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::wait;

use crate::scene::{cloud, foreign, home, live, pairs, start};

#[test]
fn a_fresh_state_directory_leaves_what_was_there() {
    let cloud = cloud(1, 100);
    let before = home(&cloud, &["git", "web"]);
    let mut daemon = start(&before);
    let old = live(&before);
    assert_eq!(old.len(), 2);
    daemon.kill();

    let fresh = home(&cloud, &["git", "web"]);
    let mut daemon = start(&fresh);
    let new = live(&fresh);
    assert!(new.is_disjoint(&old));
    let all: BTreeSet<String> = [old.clone(), new, foreign(&cloud)]
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(pairs(&cloud), all);
    // They are shown, as another installation's, and asking for the deletion of orphans does not touch them.
    let listed = daemon.keyferry(&["orphans", "--delete", "--yes"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    for name in &old {
        assert!(text.contains(name.as_str()), "{text}");
    }
    assert_eq!(pairs(&cloud), all);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(pairs(&cloud), all);
}

#[test]
fn a_copied_state_directory_is_refused_and_its_original_goes_on() {
    let cloud = cloud(0, 100);
    let original = home(&cloud, &["web"]);
    let daemon = start(&original);
    let pair = live(&original);

    // As onto a second machine, or another place on this one: the files and nothing else.
    let copy = home(&cloud, &["web"]);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(original.path("state/."))
        .arg(copy.path("state"))
        .status();
    assert!(copied.expect("cp can be started").success());
    let mut second = Daemon::launch(&copy, &Options::default());
    let deadline = std::time::Duration::from_secs(20);
    assert!(
        second.wait_for_log("is a copy of", deadline) && second.log().contains("adopt-installation"),
        "{}",
        second.log()
    );
    wait::until("the copy's daemon ends", deadline, || {
        second.has_ended().then_some(())
    });
    assert_eq!(pairs(&cloud), pair);
    assert_eq!(daemon.key("web")["state"], "loaded");
    assert_eq!(live(&original), pair);
}
