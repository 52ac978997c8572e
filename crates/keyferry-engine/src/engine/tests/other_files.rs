//! Lines on hosts whose key's file names another file for them since.

use super::hosts::Fault;
use super::rotation::world_with;
use super::trust::{ed25519, others};
use super::*;
use crate::desired::Recovery;
use crate::ledger::{PlacementState, Selector, fingerprint};
use crate::snapshot::{HostCondition, LineState, Timestamp};

const HOST: &str = "web-1";
const OTHER: &str = "/etc/ssh/keys/%u";
const DAY: u64 = 86_400_000;

/// From now on the key's file names this file.
fn name(world: &mut World, daemon: &Daemon, path: Option<&str>) {
    let other = key("web", GeneratedBy::Keyferry, |spec| {
        *spec = (*world.desired.keys["web"]).clone();
        spec.deploy.path = path.map(str::to_owned);
    });
    world.desired.keys.insert("web".to_owned(), other);
    daemon.read_again(&world.desired);
}

/// The lines of generations in `authorized_keys`.
fn usual(world: &World) -> Vec<String> {
    let mut lines = world.hosts.lines(HOST);
    let elsewhere = world.hosts.file(HOST, OTHER);
    lines.retain(|line| line.contains(" gen=") && !elsewhere.contains(line));
    lines
}

async fn until_verified(daemon: &Daemon) {
    daemon
        .until("it logs in", |key| key.hosts[0].state == HostCondition::Verified)
        .await;
}

async fn grant(world: &World, daemon: &Daemon) {
    let grant = Grant {
        public_key: ed25519(5),
        key: "web".to_owned(),
        until: Timestamp(world.clock.now().wall + Duration::from_secs(900 * 86_400)),
        hosts: Vec::new(),
    };
    let granted = daemon.handle.grant(grant).await.unwrap();
    assert_eq!(granted[0].state, LineState::Placed);
}

#[test]
fn a_line_is_renewed_in_the_file_where_it_lets_in() {
    run(async {
        let mut world = world_with(&[HOST], |spec| {
            spec.deploy.expires = Some(Duration::from_millis(10 * DAY));
        });
        world.hosts.read_file(HOST, OTHER, false);
        let daemon = world.start();
        until_verified(&daemon).await;
        let before = usual(&world);
        let at = world.clock.now().uptime;
        name(&mut world, &daemon, Some(OTHER));
        let is_over = |_: &KeyStatus| usual(&world) != before || world.clock.now().uptime > at + 9 * DAY;
        daemon.until("it is written anew", is_over).await;
        assert_ne!(usual(&world), before, "{:?}", world.hosts.lines(HOST));
        assert_eq!(usual(&world).len(), 1);
        assert_eq!(world.hosts.file(HOST, OTHER), [""; 0]);
        daemon
            .until("where it stands is told", |key| {
                let error = key.hosts[0].error.as_ref();
                error.is_some_and(|error| {
                    let message = &error.message;
                    message.contains(OTHER) && message.contains(".ssh/authorized_keys")
                })
            })
            .await;
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}

#[test]
fn a_line_that_was_never_read_goes_when_the_path_is_corrected() {
    run(async {
        for fault in [None, Some(Fault::LostBefore), Some(Fault::LostAfter)] {
            let mut world = world_with(&[HOST], |_| {});
            // Into another file than sshd reads.
            world.hosts.read_file(HOST, "/etc/ssh/wrong/%u", false);
            let spec = key("web", GeneratedBy::Keyferry, |spec| {
                *spec = (*world.desired.keys["web"]).clone();
                spec.deploy.path = Some("/etc/ssh/wrong/%u".to_owned());
            });
            world.desired.keys.insert("web".to_owned(), spec);
            let daemon = world.start();
            daemon
                .until("it stands there, and does not log in", |key| {
                    key.hosts[0].state == HostCondition::Failed
                })
                .await;
            assert_eq!(world.hosts.file(HOST, "/etc/ssh/wrong/%u").len(), 1);
            name(&mut world, &daemon, Some(OTHER));
            // The look whether it logs in, the line, and its removal from the other file.
            world.hosts.expect([None, None, fault]);
            daemon.handle.host_retry(vec![HOST.to_owned()]).await.unwrap();
            until_verified(&daemon).await;
            assert!(daemon.rest().await);
            assert_eq!(world.hosts.file(HOST, "/etc/ssh/wrong/%u"), [""; 0], "{fault:?}");
            assert_eq!(world.hosts.file(HOST, OTHER).len(), 1, "{fault:?}");
            let placement = world.history().placements.remove(0);
            assert_eq!(placement.file.as_deref(), Some(OTHER), "{fault:?}");
            daemon.kill().await;
        }
    });
}

/// The next generation logs in, and the two others still do.
async fn assert_rotates_beside_others(world: &World, daemon: &Daemon, n: u64) {
    daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
    daemon
        .until("the next one logs in", |key| {
            key.hosts[0].state == HostCondition::Verified && key.hosts[0].generation == Some(n)
        })
        .await;
    assert!(daemon.rest().await);
    let mut there = others(world, HOST);
    there.sort();
    assert_eq!(
        there,
        [ed25519(5), ed25519(7)],
        "{n}: {:?}",
        world.hosts.lines(HOST)
    );
}

#[test]
fn another_name_of_the_same_file_leaves_what_stands_in_it() {
    run(async {
        for fault in [None, Some(Fault::LostBefore), Some(Fault::LostAfter)] {
            let mut world = world_with(&[HOST], |spec| spec.deploy.also_trust = vec![ed25519(7)]);
            let daemon = world.start();
            until_verified(&daemon).await;
            grant(&world, &daemon).await;
            name(&mut world, &daemon, Some("%h/.ssh/authorized_keys"));
            assert_rotates_beside_others(&world, &daemon, 2).await;
            // Whatever is lost on the way, it is put there in the end.
            name(&mut world, &daemon, None);
            world.hosts.expect([None, None, None, fault]);
            assert_rotates_beside_others(&world, &daemon, 3).await;
            daemon.kill().await;
        }
    });
}

#[test]
fn what_is_replaced_goes_from_the_file_where_the_key_lets_in() {
    run(async {
        let mut world = world_with(&[HOST], |_| {});
        let foreign = ed25519(9);
        world
            .hosts
            .write(HOST, |lines| lines.push(format!("{foreign} somebody else")));
        world.hosts.read_file(HOST, OTHER, false);
        let daemon = world.start();
        until_verified(&daemon).await;
        let spec = key("web", GeneratedBy::Keyferry, |spec| {
            *spec = (*world.desired.keys["web"]).clone();
            spec.deploy.path = Some(OTHER.to_owned());
            let blob = keyferry_hosts::public_blob(&foreign).unwrap();
            spec.deploy.replaces = vec![keyferry_hosts::fingerprint(&blob)];
        });
        world.desired.keys.insert("web".to_owned(), spec);
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        let lines = world.hosts.lines(HOST);
        assert!(!lines.iter().any(|line| line.contains(&foreign)), "{lines:?}");
        daemon.kill().await;
    });
}

#[test]
fn what_is_revoked_goes_from_the_file_where_it_stands() {
    run(async {
        let mut world = world_with(&[HOST], |_| {});
        let daemon = world.start();
        until_verified(&daemon).await;
        grant(&world, &daemon).await;
        name(&mut world, &daemon, Some(OTHER));
        assert!(daemon.rest().await);
        let selector = Selector::Grant(fingerprint(&ed25519(5)));
        let revoked = daemon
            .handle
            .revoke(selector, Vec::new(), Vec::new())
            .await
            .unwrap();
        assert_eq!(revoked.1[0].state, LineState::Removed);
        assert_eq!(others(&world, HOST), [""; 0]);
        daemon.kill().await;
    });
}

#[test]
fn others_go_to_the_file_where_the_next_generation_logs_in() {
    run(async {
        for fault in [None, Some(Fault::LostBefore), Some(Fault::LostAfter)] {
            let mut world = world_with(&[HOST], |spec| spec.deploy.also_trust = vec![ed25519(7)]);
            world.desired.daemon.recovery = Some(Recovery {
                public_key: ed25519(1),
                agent: Some("/run/other-agent".into()),
            });
            let daemon = world.start();
            until_verified(&daemon).await;
            grant(&world, &daemon).await;
            assert!(daemon.rest().await);
            name(&mut world, &daemon, Some(OTHER));
            assert!(daemon.rest().await);
            assert_eq!(
                world.hosts.file(HOST, OTHER),
                [""; 0],
                "nothing was seen to be read there"
            );
            for place in 0..8 {
                world.hosts.expect([fault].into_iter().filter(|_| place % 3 == 2));
            }
            daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
            assert!(daemon.rest().await);
            let there = world.hosts.file(HOST, OTHER);
            for number in [1, 5, 7] {
                let of_it = there.iter().filter(|line| line.contains(&ed25519(number)));
                assert_eq!(of_it.count(), 1, "{fault:?} {number}");
            }
            assert_eq!((there.len(), others(&world, HOST).len()), (4, 3), "{fault:?}");
            let rows = world.history().trusted;
            assert!(
                rows.iter().all(|row| row.state != PlacementState::Removed),
                "{rows:?}"
            );
            world.hosts.assert_nobody_was_locked_out();
            daemon.kill().await;
        }
    });
}
