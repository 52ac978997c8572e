//! A key comes to its hosts, and the next one in its place.

use keyferry_tests::fleet::{HostOptions, Shell};
use keyferry_tests::wait;

use crate::scene::{DEADLINE, LONG_GRACE, NO_GRACE, Scene, lines, said, without_ours};

/// Lines that are not keyferry's, as people have them.
const OTHERS: &str = "# who may come in\n\n\
from=\"10.0.0.0/8,192.0.2.7\",no-pty ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS someone else\r\n\
   \tnonsense that sshd skips\n";

#[test]
fn a_key_comes_to_hosts_of_different_shells_and_leaves_other_lines_alone() {
    let scene = Scene::new([
        HostOptions::new("web-1", Shell::Bash).noisy(),
        HostOptions::new("web-2", Shell::Fish).noisy(),
        HostOptions::new("web-3", Shell::Busybox),
    ]);
    let mut before = Vec::new();
    for host in scene.fleet.hosts() {
        let mut file = OTHERS.as_bytes().to_vec();
        file.extend(host.authorized_keys());
        host.set_authorized_keys(&file);
        before.push(file);
        assert!(!scene.login(host.name()).status.success());
    }
    scene.deploy("web", "[deploy]\nlogin_with = [\"ssh-config\"]\n");
    let public_key = scene.public_key("web", 1);
    for (host, before) in scene.fleet.hosts().iter().zip(before) {
        let own = lines(host, host.user(), "web");
        assert_eq!(own.len(), 1, "{own:#?}");
        assert_eq!(own[0].public_key, public_key);
        let comment: Vec<&str> = own[0].comment.split(' ').collect();
        let [name, owner, machine, key, generation] = comment[..] else {
            panic!("{comment:?}");
        };
        assert_eq!([name, key, generation], ["keyferry", "key=web", "gen=1"]);
        assert!(
            owner.starts_with("owner=") && machine.starts_with("machine="),
            "{comment:?}"
        );
        assert_eq!(without_ours(&host.authorized_keys()), before, "{}", host.name());

        scene.assert_logs_in_with(host.name(), &public_key);
        let shown = scene.host_status("web", host.name());
        assert!(!shown["verified_at"].is_null(), "{shown:#}");
        assert_eq!(shown["error"], serde_json::Value::Null);
    }
    assert_eq!(scene.pairs().into_values().collect::<Vec<_>>(), [public_key]);
    let status = scene.daemon.keyferry(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
}

#[test]
fn a_rotation_ends_with_one_line_and_one_pair() {
    let scene = Scene::of_shells(&[Shell::Csh, Shell::Dash]);
    scene.deploy("web", NO_GRACE);
    let first = scene.public_key("web", 1);
    scene.rotate("web");
    scene.wait_verified("web", 2);
    scene.wait_for_only_everywhere("web", 2);
    let second = scene.public_key("web", 2);
    assert_ne!(first, second);
    for host in scene.fleet.hosts() {
        scene.assert_logs_in_with(host.name(), &second);
    }
    let listed = keyferry_tests::openssh::listed(&scene.home.agent_socket());
    assert!(!listed.iter().any(|line| line.starts_with(&first)), "{listed:#?}");
}

#[test]
fn the_earlier_generation_stays_through_its_grace_and_can_be_gone_back_to() {
    let scene = Scene::of_shells(&[Shell::Tcsh, Shell::Bash]);
    scene.deploy("web", LONG_GRACE);
    scene.rotate("web");
    scene.wait_verified("web", 2);
    for host in scene.fleet.hosts() {
        assert_eq!(lines(host, host.user(), "web").len(), 2);
    }
    assert_eq!(scene.pairs().len(), 2);
    let output = scene.daemon.keyferry(&["rollback", "web"]);
    assert!(output.status.success(), "{}", said(&output));
    scene.wait_for_key("web", "offering the first again", |key| {
        key["rotation"]["active"] == 1
    });
    let first = scene.public_key("web", 1);
    // What is decided is in the status before it is in the agent.
    wait::until("the agent lists the first", DEADLINE, || {
        let listed = keyferry_tests::openssh::listed(&scene.home.agent_socket());
        listed.iter().any(|line| line.starts_with(&first)).then_some(())
    });
    for host in scene.fleet.hosts() {
        scene.assert_logs_in_with(host.name(), &first);
    }
}
