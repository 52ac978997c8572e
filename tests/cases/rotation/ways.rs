//! The ways in which a key may come to its hosts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use keyferry_tests::fleet::{self, HostOptions, LoginOutcome, Shell, fingerprint};

use crate::scene::{NO_GRACE, Scene, key_file, lines};

#[test]
fn a_key_is_proven_where_a_second_factor_is_wanted_besides() {
    let scene = Scene::new([HostOptions::new("web-1", Shell::Bash)
        .with_sshd_config("AuthenticationMethods publickey,password\nPasswordAuthentication yes\n")]);
    let host = scene.fleet.host("web-1");
    let tables = format!("{NO_GRACE}[deploy]\nverify = \"publickey\"\n");
    scene.home.key("web", &key_file(&["web-1"], &tables));
    // Nobody is there to type the password, so keyferry cannot put the line there.
    let shown = scene.wait_for_key("web", "kept from its host", |key| {
        !key["hosts"][0]["error"].is_null()
    });
    assert_ne!(shown["hosts"][0]["state"], "verified", "{shown:#}");
    assert_eq!(lines(host, host.user(), "web"), []);
    // Its user does, by hand.
    let public_key = scene.public_key("web", 1);
    let mut file = host.authorized_keys();
    file.extend_from_slice(format!("{public_key} by hand\n").as_bytes());
    host.set_authorized_keys(&file);
    scene.daemon.keyferry(&["host", "retry", "web-1"]);
    scene.wait_verified("web", 1);
    let of_ours = fingerprint(&public_key);
    let logins = host.logins().into_iter();
    let outcomes: Vec<LoginOutcome> = logins
        .filter(|login| login.fingerprint == of_ours)
        .map(|login| login.outcome)
        .collect();
    assert!(outcomes.contains(&LoginOutcome::Partial), "{outcomes:?}");
    assert!(!outcomes.contains(&LoginOutcome::Accepted), "{outcomes:?}");
}

#[test]
fn another_login_changes_the_file_with_sudo() {
    let options = HostOptions {
        sudo: true,
        ..HostOptions::new("web-1", Shell::Fish).with_users(&["ops", "app", "backup"])
    };
    let scene = Scene::new([options]);
    let host = scene.fleet.host("web-1");
    for user in ["app", "backup"] {
        // Nobody logs in as these so far.
        host.set_authorized_keys_of(user, b"# nobody\n");
    }
    let before = host.authorized_keys_of("ops");
    let tables =
        format!("{NO_GRACE}[deploy]\nusers = [\"app\", \"backup\"]\nlogin_user = \"ops\"\nsudo = true\n");
    scene.home.key("web", &key_file(&["web-1"], &tables));
    scene.wait_verified("web", 1);
    let logins = [(host, "app"), (host, "backup")];
    for generation in 1..=2 {
        if generation == 2 {
            scene.rotate("web");
            scene.wait_verified("web", 2);
        }
        scene.wait_for_only("web", generation, &logins);
        for user in ["app", "backup"] {
            scene.assert_logs_in_with(&format!("{user}@web-1"), &scene.public_key("web", generation));
        }
    }
    assert_eq!(host.authorized_keys_of("ops"), before);
}

#[test]
fn hosts_come_from_a_file_or_from_a_program() {
    let scene = Scene::of_shells(&[Shell::Dash, Shell::Bash]);
    let list = scene.home.path("hosts");
    fs::write(&list, "# the first one\nweb-1\n").expect("a file can be written");
    let key =
        |hosts: &str| format!("account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\nhosts = {hosts}\n{NO_GRACE}");
    scene
        .home
        .key("file", &key(&format!("{{ file = \"{}\" }}", list.display())));
    scene.home.key(
        "program",
        &key("{ command = [\"printf\", \"%s\\\\n\", \"web-1\", \"web-2\"] }"),
    );
    scene.wait_verified("file", 1);
    scene.wait_verified("program", 1);
    let (first, second) = (scene.fleet.host("web-1"), scene.fleet.host("web-2"));
    assert_eq!(lines(first, first.user(), "file").len(), 1);
    assert_eq!(lines(second, second.user(), "file").len(), 0);
    assert_eq!(lines(first, first.user(), "program").len(), 1);
    assert_eq!(lines(second, second.user(), "program").len(), 1);
}

#[test]
fn a_fleet_tool_puts_the_lines_there() {
    let scene = Scene::of_shells(&[Shell::Dash, Shell::Bash]);
    let tool = scene.fleet.path("tool");
    let words = "#!/bin/sh\n\
        tr '}' '\\n' |\n\
        sed -n 's/.*\"host\":\"\\([^\"]*\\)\",\"line\":\"\\([^\"]*\\)\".*/\\1 \\2/p' |\n\
        while read -r host line; do\n\
        printf '%s\\n' \"$line\" >> \"$1/$host/home/deploy/.ssh/authorized_keys\"\n\
        done\n";
    fs::write(&tool, words).expect("a file can be written");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("modes can be set");
    // The hosts' homes are where the fleet is.
    let fleet = scene.fleet.path("");
    scene.leave_only_ours();
    let tables = format!(
        "{NO_GRACE}[deploy]\ncommand = [\"{}\", \"{}\"]\n",
        tool.display(),
        fleet.display()
    );
    scene.deploy("web", &tables);
    scene.wait_for_only_everywhere("web", 1);
    scene.rotate("web");
    scene.wait_verified("web", 2);
    scene.wait_for_only_everywhere("web", 2);
}

#[test]
fn another_key_of_keyferrys_and_one_that_is_replaced_make_way() {
    let scene = Scene::of_shells(&[Shell::Tcsh]);
    scene.deploy("first", NO_GRACE);
    scene.leave_only_ours();
    let host = scene.fleet.host("web-1");
    // A key that somebody gave away, and one that stays.
    let given_away = key_pair(&scene, "given-away");
    let stays = key_pair(&scene, "stays");
    let mut file = host.authorized_keys();
    file.extend_from_slice(format!("{given_away}{stays}").as_bytes());
    host.set_authorized_keys(&file);
    let tables = format!(
        "{NO_GRACE}[deploy]\nlogin_with = [\"key:first\"]\noptions = 'from=\"127.0.0.0/8\",no-x11-forwarding'\nreplaces = [\"{}\"]\n",
        fingerprint(&given_away)
    );
    scene.deploy("second", &tables);
    let own = lines(host, host.user(), "second");
    assert_eq!(own.len(), 1, "{own:#?}");
    assert_eq!(own[0].options, "from=\"127.0.0.0/8\",no-x11-forwarding");
    keyferry_tests::wait::until("the replaced key is gone", crate::scene::DEADLINE, || {
        let keys = host.keys();
        (!keys.iter().any(|key| given_away.starts_with(&key.public_key))).then_some(())
    });
    let kept: Vec<String> = host.keys().into_iter().map(|key| key.public_key).collect();
    assert_eq!(
        kept,
        [
            scene.public_key("first", 1),
            fleet::public_key(&stays).to_owned(),
            scene.public_key("second", 1)
        ]
    );
}

/// The public half of a key that somebody has, as it stands in a file.
fn key_pair(scene: &Scene, name: &str) -> String {
    let path: PathBuf = scene.fleet.path(name);
    fleet::generate(&path, name);
    fs::read_to_string(path.with_extension("pub")).expect("the key has a public half")
}
