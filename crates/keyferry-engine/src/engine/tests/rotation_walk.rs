//! A rotation that is killed at every write of the ledger, with answers lost on the way, and one on two hundred hosts.

use std::collections::BTreeSet;
use std::time::Instant;

use keyferry_hosts::HostErrorKind;

use super::hosts::{Fault, What, ways};
use super::rotation::world_with;
use super::*;
use crate::desired::Recovery;
use crate::ledger::EffectKind;
use crate::snapshot::HostCondition;

const HOSTS: [&str; 2] = ["web-1", "web-2"];

/// Two hosts, where the user's own ssh_config always gets in.
fn with_ssh_config() -> World {
    world_with(&HOSTS, |_| {})
}

/// Two hosts, and a key whose private halves are made at the provider.
fn made_by_provider() -> World {
    world_with(&HOSTS, |spec| spec.generated_by = GeneratedBy::Provider)
}

/// Two hosts, where nothing but the recovery identity gets in beside keyferry's keys.
fn with_recovery() -> World {
    let mut world = world_with(&HOSTS, |_| {});
    let recovery = PrivateKey::generate(Algorithm::Ed25519).unwrap();
    let public_key = recovery.public_key().line("").trim_end().to_owned();
    for host in HOSTS {
        world.hosts.let_ssh_config_in(host, false);
        world
            .hosts
            .write(host, |lines| lines.push(format!("{public_key} me@laptop")));
    }
    world.hosts.watch(&public_key);
    world.desired.daemon.recovery = Some(Recovery {
        public_key,
        agent: Some("/run/user/1000/ssh-agent".into()),
    });
    world
}

/// From nothing to the second generation, unless the ledger stops before.
async fn live(world: &World, stop: Option<Stop>, faults: &[Option<Fault>]) -> (Daemon, bool) {
    let daemon = world.start_until(stop);
    if !daemon.rest().await {
        return (daemon, false);
    }
    world.hosts.expect(faults.iter().copied());
    let asked = daemon.handle.rotate(vec!["web".to_owned()]).await;
    let is_through = asked.is_ok() && daemon.rest().await;
    (daemon, is_through)
}

async fn killed_at_every_write(world: impl Fn() -> World, making: EffectKind) {
    let faults = [
        vec![],
        vec![Some(Fault::LostAfter); 8],
        vec![Some(Fault::LostBefore); 8],
        // One that is there all at once, and one that stays lost.
        vec![
            None,
            Some(Fault::LostAfter),
            None,
            Some(Fault::LostBefore),
            None,
            None,
            Some(Fault::LostAfter),
        ],
        // When the earlier line is taken off.
        [
            vec![None; 6],
            vec![Some(Fault::LostBefore), Some(Fault::LostAfter)],
        ]
        .concat(),
        vec![Some(Fault::Fails(HostErrorKind::Unreachable)); 3],
    ];
    let mut kinds = BTreeSet::new();
    for script in faults {
        let mut number = 1;
        let mut is_through = false;
        while !is_through {
            for stop in [Stop::Before(number), Stop::After(number)] {
                let world = world();
                let (daemon, ended) = live(&world, Some(stop), &script).await;
                is_through = ended;
                daemon.kill().await;
                world.clock.pass(1_500);
                let daemon = world.start();
                assert!(daemon.rest().await, "nothing stops the last one");
                world.assert_one_generation(&daemon, &HOSTS);
                world.hosts.assert_lives_follow_each_other();
                kinds.extend(world.history().effects.iter().map(|effect| effect.kind));
                daemon.kill().await;
            }
            number += 1;
        }
        assert!(
            number > 20,
            "{script:?}: a rotation of two hosts has more than {number} writes"
        );
    }
    for kind in [EffectKind::Put, EffectKind::TakeOff, making, EffectKind::Delete] {
        assert!(kinds.contains(&kind), "the walk met {kind:?}");
    }
}

#[test]
fn killed_at_every_write_of_a_rotation() {
    run(killed_at_every_write(with_ssh_config, EffectKind::Import));
}

#[test]
fn killed_at_every_write_of_a_rotation_with_a_recovery_identity() {
    run(killed_at_every_write(with_recovery, EffectKind::Import));
}

#[test]
fn killed_at_every_write_of_a_rotation_of_a_key_made_by_its_provider() {
    run(killed_at_every_write(made_by_provider, EffectKind::Create));
}

#[test]
fn killed_again_and_again_in_one_rotation() {
    run(async {
        let world = with_ssh_config();
        for number in 1..40 {
            let (daemon, _) = live(&world, Some(Stop::After(number)), &[]).await;
            daemon.kill().await;
            world.clock.pass(1_500);
        }
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &HOSTS);
        world.hosts.assert_lives_follow_each_other();
        daemon.kill().await;
    });
}

#[test]
fn a_host_that_falls_back_to_an_earlier_life_is_noticed() {
    run(async {
        let world = with_recovery();
        let first = world.start();
        assert!(first.rest().await);
        let before = world.hosts.lines("web-1");
        first.kill().await;
        let second = world.start();
        assert!(second.rest().await);
        world.hosts.assert_lives_follow_each_other();
        world.hosts.write("web-1", |lines| *lines = before);
        world.hosts.look_at_offers();
        assert_eq!(world.hosts.losses().len(), 1, "{:?}", world.hosts.losses());
        // And so is a recovery identity that lets in no more.
        world.hosts.write("web-2", |lines| {
            let at = lines.iter().position(|line| line.ends_with("me@laptop"));
            lines.remove(at.unwrap());
        });
        world.hosts.look_at_offers();
        assert_eq!(world.hosts.losses().len(), 2, "{:?}", world.hosts.losses());
        second.kill().await;
    });
}

/// Hosts that are a tenth of a second away, each way.
fn far_away(hosts: &[&str]) -> World {
    let world = world_with(hosts, |_| {});
    world.hosts.latency(LATENCY);
    world
}

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("web-{number:03}")).collect()
}

#[test]
fn two_hundred_hosts_take_little_memory_and_as_long_as_what_may_be_done_at_once() {
    // In a process of its own: the memory of the other cases is none of its.
    const ALONE: &str = "KEYFERRY_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = std::thread::current().name().unwrap().to_owned();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([&*name, "--exact", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&child.stderr)
        );
        return;
    }
    run(async {
        let names = names(200);
        let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
        let world = far_away(&hosts);
        let daemon = world.start();
        assert!(daemon.rest().await);

        let begun = (world.clock.now().uptime, Instant::now());
        daemon.rotate_web().await;
        daemon
            .until("every host has the second", |key| {
                key.hosts
                    .iter()
                    .all(|host| host.generation == Some(2) && host.state == HostCondition::Verified)
            })
            .await;
        let took = world.clock.now().uptime - begun.0;
        let at_once = 16;
        // To look whether it is there, to put it there, and to see it log in.
        let one_host = LATENCY * (2 * WAYS_OF_A_LOOK + WAYS_OF_A_CHANGE);
        let least = one_host * u64::try_from(hosts.len()).unwrap() / at_once;
        assert!(
            took * 2 <= least * 3,
            "{took} ms, where {at_once} at once allow {least} ms"
        );
        assert_eq!(world.hosts.most_busy(), 16);
        // The engine's own share: planning after every answer.
        let own = begun.1.elapsed();
        assert!(own < Duration::from_secs(50), "{own:?}");

        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &hosts);
        daemon.kill().await;
    });
    let peak = peak_memory();
    assert!(peak < 60_000, "{peak} kB");
}

/// The most memory that this process had, in kB (proc_pid_status(5)).
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn two_hundred_hosts_go_on_where_a_rotation_was_broken_off() {
    run(async {
        let names = names(200);
        let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
        let world = far_away(&hosts);
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.rotate_web().await;
        daemon
            .until("half of them have it", |key| {
                key.hosts.iter().filter(|host| host.generation == Some(2)).count() > 100
            })
            .await;
        daemon.kill().await;

        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_one_generation(&daemon, &hosts);
        daemon.kill().await;
    });
}

impl Daemon {
    async fn rotate_web(&self) {
        self.handle.rotate(vec!["web".to_owned()]).await.unwrap();
    }
}

const LATENCY: u64 = 100;
const WAYS_OF_A_LOOK: u64 = ways(What::Verify);
const WAYS_OF_A_CHANGE: u64 = ways(What::Put);
