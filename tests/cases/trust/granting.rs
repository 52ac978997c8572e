//! Somebody else's key, for a while or as long as the key's file says.

use std::fs;
use std::path::Path;

use keyferry_tests::fleet::{self, AuthorizedKey, Host, Shell, fingerprint};
use keyferry_tests::wait;

use crate::scene::{DEADLINE, LONG_GRACE, Scene, key_file, said, without_ours};

/// A friend's key: the private half's path and the public half.
fn friend(scene: &Scene) -> (std::path::PathBuf, String) {
    let key = scene.fleet.path("friend_key");
    fleet::generate(&key, "friend@elsewhere");
    let public = fs::read_to_string(key.with_extension("pub")).expect("the friend has a public half");
    (key, fleet::public_key(&public).to_owned())
}

fn line_of(host: &Host, public_key: &str) -> Option<AuthorizedKey> {
    host.keys().into_iter().find(|line| line.public_key == public_key)
}

/// Whether a key alone logs in.
fn logs_in(scene: &Scene, host: &str, key: &Path) -> bool {
    let mut ssh = scene.fleet.ssh(&scene.fleet.agent_config());
    ssh.args(["-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes", "-i"])
        .arg(key)
        .args([host, "true"]);
    ssh.output()
        .expect("ssh can be started (Debian: openssh-client)")
        .status
        .success()
}

#[test]
fn a_grant_lets_in_until_it_is_ended() {
    let scene = Scene::of_shells(&[Shell::Bash, Shell::Fish]);
    scene.deploy("web", LONG_GRACE);
    let (key, public_key) = friend(&scene);
    let before: Vec<_> = scene
        .fleet
        .hosts()
        .iter()
        .map(|host| without_ours(&host.authorized_keys()))
        .collect();
    assert!(!logs_in(&scene, "web-1", &key));

    // The private half is no public key, and is not told.
    let private = fs::read_to_string(&key).expect("the friend has a private half");
    let output = scene.daemon.keyferry(&[
        "grant",
        &key.display().to_string(),
        "--key",
        "web",
        "--for",
        "24h",
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("private key"), "{}", said(&output));
    for line in private.lines().filter(|line| !line.starts_with("---")) {
        assert!(!said(&output).contains(line) && !scene.daemon.log().contains(line));
    }

    let file = key.with_extension("pub").display().to_string();
    let output = scene
        .daemon
        .keyferry(&["grant", &file, "--key", "web", "--for", "24h"]);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    for host in scene.fleet.hosts() {
        let line = line_of(host, &public_key).expect("the line is there");
        assert!(
            line.options.starts_with("expiry-time=\"20")
                && line.options.len() == "expiry-time=\"YYYYMMDDHHMM\"".len(),
            "{line:?}"
        );
        assert!(
            line.comment.starts_with("keyferry owner=") && line.comment.ends_with(" key=web"),
            "{line:?}"
        );
        assert!(logs_in(&scene, host.name(), &key));
        scene.assert_logs_in(host.name());
    }
    let named = fingerprint(&public_key);
    let list = scene.daemon.keyferry(&["grant", "--list"]);
    assert!(
        said(&list).contains(&named) && said(&list).contains("placed"),
        "{}",
        said(&list)
    );

    let output = scene.daemon.keyferry(&["revoke", "--grant", &named, "--yes"]);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    for (host, before) in scene.fleet.hosts().iter().zip(before) {
        assert_eq!(line_of(host, &public_key), None);
        assert!(!logs_in(&scene, host.name(), &key));
        scene.assert_logs_in(host.name());
        assert_eq!(without_ours(&host.authorized_keys()), before);
    }
}

#[test]
fn a_grant_ends_by_time() {
    let scene = Scene::of_shells(&[Shell::Dash]);
    scene.deploy("web", LONG_GRACE);
    let (key, public_key) = friend(&scene);
    let file = key.with_extension("pub").display().to_string();
    let output = scene
        .daemon
        .keyferry(&["grant", &file, "--key", "web", "--for", "10s", "--host", "web-1"]);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    let host = scene.fleet.host("web-1");
    assert!(line_of(host, &public_key).is_some());
    wait::until("the line goes when its time is over", DEADLINE, || {
        line_of(host, &public_key).is_none().then_some(())
    });
    scene.assert_logs_in("web-1");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let scene = Scene::of_shells(&[Shell::Dash]);
    scene.deploy("web", LONG_GRACE);
    let (key, _) = friend(&scene);
    let file = key.with_extension("pub").display().to_string();
    let admin = scene.fleet.path("web-own.pub");
    fs::write(&admin, scene.public_key("web", 1)).expect("a file can be written");
    let own = admin.display().to_string();
    let missing = scene.fleet.path("missing.pub").display().to_string();
    for (arguments, code, words) in [
        (
            vec!["grant", &file, "--key", "wbe", "--for", "1h"],
            1,
            "there is no key named wbe",
        ),
        (
            vec!["grant", &file, "--key", "web", "--for", "1001d"],
            1,
            "1,000 days",
        ),
        (
            vec!["grant", &file, "--key", "web", "--for", "soon"],
            2,
            "a duration",
        ),
        (
            vec!["grant", &file, "--key", "web", "--for", "1h", "--host", "db-1"],
            1,
            "there is no host db-1",
        ),
        (
            vec!["grant", &own, "--key", "web", "--for", "1h"],
            1,
            "a generation of key web",
        ),
        (
            vec!["grant", &missing, "--key", "web", "--for", "1h"],
            1,
            "cannot be read",
        ),
        (vec!["recover", "--all"], 1, "no recovery identity is named"),
        (
            vec!["recover", "web-1", "--attach", "i-bp1one"],
            2,
            "for a person at a terminal",
        ),
        (
            vec!["recover", "--attach", "i-bp1one"],
            2,
            "which host is i-bp1one?",
        ),
        (vec!["revoke", "--grant", "friend", "--yes"], 2, "SHA256:"),
        (vec!["revoke", "web"], 2, "--yes"),
        (
            vec!["revoke", "web", "--owner", "li", "--yes"],
            2,
            "cannot be used",
        ),
    ] {
        let output = scene.daemon.keyferry(&arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn what_the_file_trusts_comes_and_goes_with_it() {
    let scene = Scene::of_shells(&[Shell::Bash]);
    let (key, public_key) = friend(&scene);
    let file = key.with_extension("pub");
    let trusting = format!("{LONG_GRACE}[deploy]\nalso_trust = [\"{}\"]\n", file.display());
    scene.deploy("web", &trusting);
    let host = scene.fleet.host("web-1");
    wait::until("the line is put there", DEADLINE, || line_of(host, &public_key));
    assert!(logs_in(&scene, "web-1", &key));
    // The file says that it is wanted: nothing else takes it off.
    let output = scene
        .daemon
        .keyferry(&["revoke", "--grant", &fingerprint(&public_key), "--yes"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("keys/web.toml"), "{}", said(&output));

    scene.home.key("web", &key_file(&scene.names(), LONG_GRACE));
    wait::until("the line is taken off", DEADLINE, || {
        line_of(host, &public_key).is_none().then_some(())
    });
    assert!(!logs_in(&scene, "web-1", &key));
    scene.assert_logs_in("web-1");
}
