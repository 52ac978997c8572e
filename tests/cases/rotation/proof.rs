//! What proves nothing: a login that works with another key than the one that was to be seen.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use keyferry_tests::daemon::Options;
use keyferry_tests::fleet::{Fleet, Shell};
use keyferry_tests::openssh::ssh_add;
use keyferry_tests::wait;

use crate::scene::{NO_GRACE, Scene, host_states, key_file, lines, said};
use keyferry_tests::other_agent::OtherAgent;

/// The host's file cannot be changed, so that the key comes there by no way; every login to it works all the same.
#[track_caller]
fn assert_unproven_until_deployed(scene: &Scene) {
    let host = scene.fleet.host("web-1");
    host.set_immutable(host.user(), true);
    scene.home.key("web", &key_file(&["web-1"], NO_GRACE));
    let shown = scene.wait_for_key("web", "tried on its host", |key| {
        let hosts = key["hosts"].as_array();
        hosts.is_some_and(|hosts| hosts.iter().any(|host| !host["error"].is_null()))
    });
    let never_verified = |shown: &serde_json::Value| {
        for (host, (state, generation)) in host_states(shown) {
            assert_ne!(state, "verified", "{host}: {shown:#}");
            assert_eq!(generation, None, "{host}: {shown:#}");
        }
        assert_eq!(lines(host, host.user(), "web"), []);
    };
    never_verified(&shown);
    // Asked again, it is tried again, and no more is proven.
    let tries = host.logins().len();
    scene.daemon.keyferry(&["host", "retry", "web-1"]);
    wait::until("another try", Duration::from_secs(30), || {
        (host.logins().len() > tries).then_some(())
    });
    never_verified(&scene.wait_for_key("web", "tried again", |key| {
        let hosts = key["hosts"].as_array();
        hosts.is_some_and(|hosts| hosts.iter().any(|host| !host["error"].is_null()))
    }));
    // What kept it away was the file alone.
    host.set_immutable(host.user(), false);
    scene.daemon.keyferry(&["host", "retry", "web-1"]);
    scene.wait_verified("web", 1);
    assert_eq!(lines(host, host.user(), "web").len(), 1);
}

#[test]
fn an_identity_file_that_logs_in_proves_nothing() {
    let scene = Scene::of_shells(&[Shell::Bash]);
    assert!(works(&scene, None), "the identity file logs in");
    assert_unproven_until_deployed(&scene);
}

#[test]
fn an_open_control_master_proves_nothing() {
    let fleet = Fleet::of_shells(&[Shell::Bash]);
    let control = fleet.path("control");
    append(
        &fleet.ssh_config(),
        &format!("  ControlMaster auto\n  ControlPath {}\n", control.display()),
    );
    let scene = Scene::of(fleet, &Options::default());
    let _master = Master::open(&scene, control);
    assert!(works(&scene, None), "the master logs in");
    assert_unproven_until_deployed(&scene);
}

#[test]
fn a_key_of_an_agent_that_logs_in_proves_nothing() {
    let fleet = Fleet::of_shells(&[Shell::Bash]);
    let agent = OtherAgent::start(fleet.path("other.sock"), &fleet.admin_key());
    // The identity file is out of the way: the agent alone logs in.
    let text = std::fs::read_to_string(fleet.ssh_config()).expect("ssh_config can be read");
    let identity = format!("  IdentityFile {}\n", fleet.admin_key().display());
    assert!(text.contains(&identity));
    let other = format!("  IdentityAgent {}\n", agent.socket().display());
    std::fs::write(fleet.ssh_config(), text.replace(&identity, &other)).expect("ssh_config can be written");
    let options = Options {
        environment: vec![("SSH_AUTH_SOCK".to_owned(), agent.socket().display().to_string())],
        ..Options::default()
    };
    let scene = Scene::of(fleet, &options);
    // And in keyferry's own agent, where the user put it by hand.
    let admin = scene.fleet.admin_key();
    let added = ssh_add(
        &scene.home.agent_socket(),
        &["-q", admin.to_str().expect("a plain path")],
    );
    assert!(added.status.success(), "{}", said(&added));
    assert!(works(&scene, Some(agent.socket())), "the agent's key logs in");
    scene.assert_logs_in("web-1");
    assert_unproven_until_deployed(&scene);
}

/// Whether the user's own ssh logs in.
fn works(scene: &Scene, agent: Option<&Path>) -> bool {
    let mut ssh = scene.fleet.ssh(&scene.fleet.ssh_config());
    ssh.args(["web-1", "true"]);
    if let Some(agent) = agent {
        ssh.env("SSH_AUTH_SOCK", agent);
    }
    let output = ssh.output().expect("ssh can be started (Debian: openssh-client)");
    output.status.success()
}

fn append(path: &Path, text: &str) {
    let before = std::fs::read_to_string(path).expect("a file can be read");
    std::fs::write(path, before + text).expect("a file can be written");
}

/// `ssh -M`, logged in. Ended on drop.
struct Master {
    child: Child,
}

impl Master {
    fn open(scene: &Scene, control: PathBuf) -> Self {
        let mut ssh = scene.fleet.ssh(&scene.fleet.ssh_config());
        let child = ssh
            .args(["-M", "-N", "web-1"])
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh can be started (Debian: openssh-client)");
        wait::until("the master is open", Duration::from_secs(30), || {
            control.exists().then_some(())
        });
        Self { child }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
