//! An agent that is locked meanwhile: nothing is taken for a host's fault, and everything goes on when it is unlocked.

use super::rotation::world_with;
use super::*;
use crate::snapshot::{HostCondition, LOCKED};

const HOSTS: [&str; 2] = ["web-1", "web-2"];

impl Daemon {
    fn waits_for_unlock(&self, key: &str) -> bool {
        let rotation = self.status(key).rotation;
        rotation.is_some_and(|rotation| rotation.waiting.as_deref() == Some(LOCKED))
    }

    async fn until_locked(&self, locked: bool) {
        let mut snapshots = self.handle.snapshots();
        let seen = snapshots.wait_for(|snapshot| snapshot.locked == locked);
        tokio::time::timeout(Duration::from_secs(60), seen)
            .await
            .expect("the engine learns of it")
            .unwrap();
    }

    async fn asked_to_rotate(&self) {
        self.handle.rotate(vec!["web".to_owned()]).await.unwrap();
    }
}

/// A key on two hosts, where nothing else logs in.
async fn settled() -> (World, Daemon) {
    let world = world_with(&HOSTS, |_| {});
    let daemon = world.start();
    assert!(daemon.rest().await);
    for host in HOSTS {
        world.hosts.let_ssh_config_in(host, false);
    }
    world.hosts.forget_tasks();
    (world, daemon)
}

#[test]
fn nothing_is_begun_at_hosts_while_the_agent_is_locked() {
    run(async {
        let (world, daemon) = settled().await;
        daemon.key_ring.turn_lock();
        daemon.until_locked(true).await;
        daemon.asked_to_rotate().await;
        daemon
            .until("it waits", |key| {
                let rotation = key.rotation.as_ref();
                rotation.is_some_and(|rotation| rotation.staged == Some(2) && rotation.waits_for_unlock())
            })
            .await;
        assert_eq!(world.hosts.tasks(), [], "the hosts are left alone");
        daemon.key_ring.turn_lock();
        daemon.until_locked(false).await;
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        assert_eq!(daemon.status("web").generation, Some(2));
        daemon.kill().await;
    });
}

/// What is under way when it is locked fails, and nothing follows from that: whether or not it is unlocked before that shows.
fn locked_in_the_midst(until: HostCondition, unlocked_at_once: bool) {
    run(async {
        let (world, daemon) = settled().await;
        world.hosts.latency(100);
        daemon.asked_to_rotate().await;
        daemon
            .until("a host is at work", |key| {
                key.hosts.iter().any(|host| host.state == HostCondition::Placing)
                    && key.hosts.iter().any(|host| host.state == until)
            })
            .await;
        daemon.key_ring.turn_lock();
        if unlocked_at_once {
            // Only what the tasks under way come to tells that it was locked.
            while daemon.key_ring.hosts.as_ref().unwrap().refused_for_lock() == 0 {
                tokio::task::yield_now().await;
            }
            daemon.key_ring.turn_lock();
        } else {
            daemon
                .until("it waits", |key| {
                    let rotation = key.rotation.as_ref();
                    rotation.is_some_and(|rotation| rotation.waits_for_unlock())
                        && key.hosts.iter().all(|host| host.state != HostCondition::Placing)
                })
                .await;
            let hosts = daemon.status("web").hosts;
            assert!(hosts.iter().all(|host| host.error.is_none()), "{hosts:#?}");
            assert!(
                hosts.iter().all(|host| host.generation.is_some()),
                "what was verified is so still: {hosts:#?}"
            );
            assert!(daemon.waits_for_unlock("web"));
            daemon.key_ring.turn_lock();
        }
        let before = world.clock.now().uptime;
        daemon
            .until("it goes on at once", |key| {
                key.generation == Some(2)
                    && key.hosts.iter().all(|host| host.state == HostCondition::Verified)
            })
            .await;
        let took = world.clock.now().uptime - before;
        assert!(took < 60_000, "no refusal was counted: it took {took} ms");
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.kill().await;
    });
}

#[test]
fn a_login_that_the_lock_refuses_says_nothing_about_the_host() {
    locked_in_the_midst(HostCondition::Placing, false);
    locked_in_the_midst(HostCondition::Placing, true);
}

#[test]
fn what_was_verified_stays_so_when_a_removal_meets_the_lock() {
    run(async {
        let (world, daemon) = settled().await;
        daemon.asked_to_rotate().await;
        daemon
            .until("it is everywhere", |key| {
                key.generation == Some(2)
                    && key.hosts.iter().all(|host| host.state == HostCondition::Verified)
            })
            .await;
        world.hosts.forget_tasks();
        world.hosts.latency(100);
        // The time of grace jumps by.
        while !world
            .hosts
            .tasks()
            .iter()
            .any(|(_, what)| *what == super::hosts::What::Remove)
        {
            tokio::task::yield_now().await;
        }
        daemon.key_ring.turn_lock();
        daemon
            .until("it waits", |key| {
                key.rotation
                    .as_ref()
                    .is_some_and(|rotation| rotation.waits_for_unlock())
            })
            .await;
        let hosts = daemon.status("web").hosts;
        assert!(
            hosts
                .iter()
                .all(|host| host.generation == Some(2) && host.error.is_none()),
            "{hosts:#?}"
        );
        daemon.key_ring.turn_lock();
        daemon.until_locked(false).await;
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        daemon.kill().await;
    });
}
