//! A host that is down.

use std::sync::Arc;

use keyferry_tests::fleet::{LoginLoop, Shell, Tracker};

use crate::scene::{DEADLINE, NO_GRACE, Scene, host_states, lines, live};

/// How a host is away.
#[derive(Clone, Copy)]
enum Away {
    /// It answers nothing: connections to it take until their time is over.
    Hanging,
    /// Nobody listens.
    Stopped,
}

#[test]
fn a_host_that_is_down_through_three_rotations_works_when_it_returns_and_holds_nobody_up() {
    stays_away_through_three_rotations(Away::Stopped);
    // Three times as long as the other.
    if std::env::var_os("KEYFERRY_SOAK").is_some() {
        stays_away_through_three_rotations(Away::Hanging);
    }
}

#[track_caller]
fn stays_away_through_three_rotations(how: Away) {
    let scene = Scene::of_shells(&[Shell::Bash, Shell::Dash, Shell::Fish]);
    scene.deploy("web", NO_GRACE);
    scene.leave_only_ours();
    let away = scene.fleet.host("web-3");
    let up = ["web-1", "web-2"];
    let first = scene.public_key("web", 1);
    let tracker = {
        let home = Arc::clone(&scene.home);
        Tracker::start(&scene.fleet, move || live(&home))
    };
    match how {
        Away::Hanging => away.pause(),
        Away::Stopped => away.stop(),
    }
    for generation in 2..=4 {
        scene.wait_for_key("web", "ready for another rotation", |key| {
            let hosts = host_states(key);
            let of = |name: &str| hosts.get(name).is_some_and(|(state, _)| state == "verified");
            up.iter().all(|name| of(name))
        });
        // It does not wait for the one that is away.
        scene.rotate("web");
        scene.wait_verified_on("web", generation, Some(&up));
        for host in up {
            scene.assert_logs_in(host);
        }
        let shown = scene.host_status("web", "web-3");
        assert_eq!(shown["state"], "parked", "{shown:#}");
        assert_eq!(shown["generation"], 1);
    }
    // Those that are up have nothing of the earlier ones.
    let public_key = scene.public_key("web", 4);
    keyferry_tests::wait::until("earlier lines go from the hosts that are up", DEADLINE, || {
        let of = |name: &str| {
            let host = scene.fleet.host(name);
            lines(host, host.user(), "web")
        };
        let mut hosts = up.iter();
        hosts
            .all(|name| of(name).len() == 1 && of(name)[0].public_key == public_key)
            .then_some(())
    });
    let kept = lines(away, away.user(), "web");
    assert_eq!(kept.len(), 1, "{kept:#?}");
    assert_eq!(kept[0].public_key, first);
    let retry = scene.host_status("web", "web-3")["error"].clone();
    assert!(!retry.is_null(), "status names what is wrong");

    // At once, with the generation that it knows, and with no other.
    match how {
        Away::Hanging => away.resume(),
        Away::Stopped => away.start(),
    }
    scene.assert_logs_in_with("web-3", &first);
    let login_loop = LoginLoop::start_on(&scene.fleet, &["web-3"], &scene.home.agent_socket());
    scene.daemon.keyferry(&["host", "retry", "web-3"]);
    scene.wait_verified("web", 4);
    scene.wait_for_only_everywhere("web", 4);
    login_loop.stop().assert_none_refused();
    let locked_out = tracker.stop();
    assert!(locked_out.is_empty(), "{locked_out:#?}");
}
