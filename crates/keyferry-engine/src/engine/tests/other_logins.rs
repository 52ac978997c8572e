//! Hosts where another login than the key's own changes the file (`login_user`), and logins that are cut.

use keyferry_hosts::HostErrorKind;

use super::hosts::{Fault, What};
use super::rotation::world_with;
use super::trust::{ed25519, others};
use super::*;
use crate::desired::{HostList, LoginWith};
use crate::ledger::PlacementState;
use crate::snapshot::{LineState, Timestamp};

const APP: &str = "app@web-1";

/// Key `web` of `app`, whose file `ops` changes: nobody but key `ops` logs in as that.
fn world() -> World {
    let mut world = world_with(&[APP], |spec| {
        spec.deploy.login_user = Some("ops".to_owned());
        spec.deploy.login_with = vec![LoginWith::Key("ops".to_owned())];
    });
    world.hosts.let_ssh_config_in(APP, false);
    let ops = key("ops", GeneratedBy::Keyferry, |_| {});
    world.desired.keys.insert("ops".to_owned(), ops);
    world
}

fn removals(world: &World) -> usize {
    let tasks = world.hosts.tasks();
    tasks.iter().filter(|(_, what)| *what == What::Remove).count()
}

#[test]
fn another_login_takes_lines_off_too() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
        let is_over = |_: &KeyStatus| world.hosts.generations(APP) == [2] || removals(&world) > 3;
        daemon.until("the first goes", is_over).await;
        assert_eq!(world.hosts.generations(APP), [2]);
        assert!(daemon.rest().await);

        let grant = Grant {
            public_key: ed25519(5),
            key: "web".to_owned(),
            until: Timestamp(world.clock.now().wall + Duration::from_secs(86_400)),
            hosts: Vec::new(),
        };
        let granted = daemon.handle.grant(grant).await.unwrap();
        assert_eq!(granted[0].state, LineState::Placed, "{granted:?}");
        assert_eq!(others(&world, APP), [ed25519(5)]);
        let mut snapshots = daemon.handle.snapshots();
        let gone = snapshots.wait_for(|snapshot| snapshot.trusted.is_empty());
        gone.await.unwrap();
        assert_eq!(others(&world, APP), [""; 0], "it is over");
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}

#[test]
fn an_editor_that_is_refused_says_nothing_about_the_key_that_stays() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.hosts.let_nobody_edit(APP, true);
        daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
        daemon
            .until("it waits for the editor", |key| {
                key.name == "web" && key.hosts[0].error.is_some()
            })
            .await;
        world.hosts.let_nobody_edit(APP, false);
        daemon
            .until("both are there", |key| {
                key.name == "web" && key.hosts[0].generation == Some(2)
            })
            .await;
        world.hosts.let_nobody_edit(APP, true);
        let is_over = |_: &KeyStatus| removals(&world) >= 3;
        let begun = world.clock.now().uptime;
        daemon.until("it was tried three times", is_over).await;
        let row = |n: u64| {
            let rows = world.history().placements.into_iter();
            let mut rows = rows.filter(|row| (row.key.as_str(), row.n) == ("web", n));
            rows.next().unwrap()
        };
        assert!(row(2).verified_at.is_some(), "{:?}", row(2));
        // A day of grace, and then not at once again.
        let passed = world.clock.now().uptime - begun;
        assert!(passed > 86_400_000 + 1_200_000, "{passed} ms");
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}

#[test]
fn the_last_line_goes_over_another_login_too() {
    run(async {
        let world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        let accepted = vec!["all".to_owned()];
        daemon.handle.retire("web".to_owned(), accepted).await.unwrap();
        let is_over = |_: &KeyStatus| world.hosts.generations(APP).is_empty() || removals(&world) > 2;
        daemon.until("it goes", is_over).await;
        assert_eq!(world.hosts.generations(APP), [0; 0]);
        assert!(daemon.rest().await);
        assert_eq!(world.cloud.our_pairs().len(), 1, "that of ops");
        daemon.kill().await;
    });
}

#[test]
fn a_login_that_is_cut_does_not_tell_that_the_last_line_is_gone() {
    run(async {
        let world = world_with(&["web-1"], |_| {});
        let daemon = world.start();
        assert!(daemon.rest().await);
        let cut = Fault::Fails(HostErrorKind::Refused);
        world.hosts.expect([Some(Fault::LostBefore), Some(cut)]);
        let accepted = vec!["all".to_owned()];
        daemon.handle.retire("web".to_owned(), accepted).await.unwrap();
        assert!(daemon.rest().await);
        assert_eq!(world.hosts.generations("web-1"), [0; 0]);
        assert_eq!(world.cloud.our_pairs(), [""; 0]);
        daemon.kill().await;
    });
}

#[test]
fn a_login_that_is_cut_withdraws_no_generation_from_a_host() {
    run(async {
        let mut world = world_with(&["web-1"], |_| {});
        world.hosts.add("web-2", true);
        let other = key("zebra", GeneratedBy::Keyferry, |spec| {
            let hosts = ["web-1", "web-2"].map(str::to_owned);
            spec.hosts = Some(HostList::Listed(hosts.into()));
            spec.deploy.login_with = vec![LoginWith::SshConfig];
        });
        world.desired.keys.insert("zebra".to_owned(), other);
        let daemon = world.start();
        assert!(daemon.rest().await);
        // The next generation gets to the second host alone.
        world.hosts.let_ssh_config_in("web-1", false);
        daemon.handle.rotate(vec!["zebra".to_owned()]).await.unwrap();
        daemon
            .until("the first host waits", |key| {
                key.name == "zebra"
                    && key.generation == Some(2)
                    && key.hosts[0].error.is_some()
                    && key.hosts[1].lines == [2]
            })
            .await;
        world.hosts.forget_tasks();
        let cut = Some(Fault::Fails(HostErrorKind::Refused));
        world.hosts.always("web-1", cut);
        daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
        let placed = || {
            let rows = world.history().placements.into_iter();
            let mut rows =
                rows.filter(|row| (row.key.as_str(), row.n, row.host.as_str()) == ("zebra", 1, "web-1"));
            rows.next().unwrap()
        };
        daemon
            .until("it is tried again first", |_| {
                placed().state != PlacementState::Verified
            })
            .await;
        daemon.handle.refresh().await;
        let offers = daemon.key_ring.all.lock().unwrap().clone();
        assert_ne!(offers[&("zebra".to_owned(), 1)], Offer::Nowhere);

        // Its line is there, and it is seen to log in again.
        world.hosts.always("web-1", None);
        let is_over = |_: &KeyStatus| {
            let lines = world.hosts.lines("web-1");
            !lines.iter().any(|line| line.contains(" key=web "))
        };
        daemon.until("the other key is gone", is_over).await;
        assert_eq!(world.hosts.generations("web-1"), [1]);
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}
