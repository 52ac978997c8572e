//! The machine was restarted: the daemon is gone and every private half with it, the ledger is there.

use keyferry_tests::daemon::Daemon;
use keyferry_tests::fleet::Shell;

use crate::scene::{NO_GRACE, Scene, key_file, lines, said};

/// kill -9 of everything, and another start on the same state.
pub(crate) fn reboot(scene: &mut Scene) {
    let children = scene.daemon.children();
    scene.daemon.kill();
    for child in children {
        child.kill();
    }
    scene.daemon = Daemon::start(&scene.home);
}

#[test]
fn hosts_with_no_other_way_in_are_said_to_be_lost_before_and_after() {
    let mut scene = Scene::of_shells(&[Shell::Bash, Shell::Fish]);
    scene.deploy("web", NO_GRACE);
    scene.leave_only_ours();
    let alone = format!("{NO_GRACE}[deploy]\nlogin_with = [\"current\"]\n");
    scene.home.key("web", &key_file(&scene.names(), &alone));
    scene.wait_for_key("web", "with no other way in", |key| {
        let hosts = key["hosts"].as_array();
        hosts.is_some_and(|hosts| hosts.iter().all(|host| host["after_reboot"] == "locked_out"))
    });
    let status = scene.daemon.keyferry(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
    for host in scene.fleet.hosts() {
        assert!(
            String::from_utf8_lossy(&status.stdout).contains(host.name()),
            "{}",
            said(&status)
        );
    }
    let first = scene.public_key("web", 1);

    reboot(&mut scene);
    scene.wait_for_key("web", "lost on its hosts", |key| {
        let hosts = key["hosts"].as_array();
        hosts.is_some_and(|hosts| hosts.len() == 2 && hosts.iter().all(|host| host["state"] == "lost"))
    });
    let status = scene.daemon.keyferry(&["status"]);
    assert_eq!(status.status.code(), Some(1), "{}", said(&status));
    for host in scene.fleet.hosts() {
        assert!(!scene.login(host.name()).status.success());
        // Nobody could take it away, and nothing else came.
        let left = lines(host, host.user(), "web");
        assert_eq!(left.len(), 1, "{left:#?}");
        assert_eq!(left[0].public_key, first);
    }
}

#[test]
fn hosts_that_let_the_users_own_ssh_in_get_the_next_generation() {
    let mut scene = Scene::of_shells(&[Shell::Dash, Shell::Csh]);
    scene.deploy("web", NO_GRACE);
    for host in scene.fleet.hosts() {
        let shown = scene.host_status("web", host.name());
        assert_eq!(shown["after_reboot"], "maybe", "{shown:#}");
    }
    reboot(&mut scene);
    scene.wait_verified("web", 2);
    scene.wait_for_only_everywhere("web", 2);
    for host in scene.fleet.hosts() {
        scene.assert_logs_in(host.name());
    }
    let status = scene.daemon.keyferry(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
}
