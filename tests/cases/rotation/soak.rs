//! Rotations in a row while people log in.

use std::sync::Arc;
use std::thread;

use keyferry_tests::fleet::{HostOptions, LoginLoop, Shell, Tracker};

use crate::scene::{Scene, key_file, live, said};

/// Time for logins that began before the later generation was offered.
const SHORT_GRACE: &str = "[rotate]\nevery = \"30d\"\ngrace = \"3s\"\n";

#[test]
fn rotations_in_a_row_refuse_no_login() {
    let (rounds, keys, hosts): (u64, &[&str], usize) = match std::env::var_os("KEYFERRY_SOAK") {
        Some(_) => (50, &["web", "batch", "admin"], 5),
        None => (3, &["web", "batch"], 3),
    };
    let shells = [Shell::Bash, Shell::Fish, Shell::Busybox, Shell::Tcsh, Shell::Dash];
    let options = shells.iter().take(hosts).enumerate().map(|(index, &shell)| {
        // A user for each key, so that no key hides what becomes of another.
        let host = HostOptions::new(&format!("web-{}", index + 1), shell).with_users(keys);
        match index % 2 {
            0 => host,
            _ => host.noisy(),
        }
    });
    let scene = Scene::new(options);
    for key in keys {
        let names = scene.names();
        let hosts: Vec<String> = names.iter().map(|name| format!("{key}@{name}")).collect();
        scene.home.key(key, &key_file(&hosts, SHORT_GRACE));
    }
    for key in keys {
        scene.wait_verified(key, 1);
    }
    scene.leave_only_ours();
    let logins = LoginLoop::start(&scene.fleet, &scene.home.agent_socket());
    let tracker = {
        let home = Arc::clone(&scene.home);
        Tracker::start(&scene.fleet, move || live(&home))
    };
    logins.wait_for(1);
    for round in 1..=rounds {
        thread::scope(|scope| {
            for key in keys {
                let scene = &scene;
                scope.spawn(move || {
                    // Three generations are there at most.
                    scene.wait_for_key(key, "ready for another rotation", |key| {
                        let earlier = key["rotation"]["earlier"].as_array();
                        earlier.is_some_and(|earlier| earlier.len() < 2)
                    });
                    scene.rotate(key);
                    scene.wait_verified(key, round + 1);
                });
            }
        });
        logins.wait_for(1);
    }
    for key in keys {
        let logins: Vec<_> = scene.fleet.hosts().iter().map(|host| (host, *key)).collect();
        scene.wait_for_only(key, rounds + 1, &logins);
    }
    assert_eq!(scene.pairs().len(), keys.len(), "{:#?}", scene.pairs());
    let logins = logins.stop();
    logins.assert_none_refused();
    let locked_out = tracker.stop();
    assert!(locked_out.is_empty(), "{locked_out:#?}");
    let status = scene.daemon.keyferry(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
}
