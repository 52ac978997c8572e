//! What the user says about others' lines while a task on them is under way: it stands, whatever comes of the task.

use std::collections::BTreeSet;

use keyferry_hosts::HostErrorKind;

use super::hosts::{Fault, What};
use super::rotation::world_with;
use super::trust::{ed25519, others};
use super::*;
use crate::ledger::{PlacementState, Selector, fingerprint};
use crate::snapshot::Timestamp;

const HOST: &str = "web-1";

/// What can become of the task that is under way.
const FAULTS: [Option<Fault>; 4] = [
    None,
    Some(Fault::LostAfter),
    Some(Fault::LostBefore),
    Some(Fault::Fails(HostErrorKind::Busy)),
];

/// A key on a host where everything takes some time.
async fn begun() -> (World, Daemon) {
    let world = world_with(&[HOST], |_| {});
    let daemon = world.start();
    assert!(daemon.rest().await);
    world.hosts.latency(100);
    world.hosts.forget_tasks();
    (world, daemon)
}

fn grant(world: &World, hours: u64) -> Grant {
    Grant {
        public_key: ed25519(5),
        key: "web".to_owned(),
        until: Timestamp(world.clock.now().wall + Duration::from_secs(hours * 3_600)),
        hosts: Vec::new(),
    }
}

/// Asks, and waits for no answer.
fn ask<F>(request: impl FnOnce(EngineHandle) -> F, daemon: &Daemon)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(request(daemon.handle.clone()));
}

fn revoke(daemon: &Daemon) {
    let selector = Selector::Grant(fingerprint(&ed25519(5)));
    let ask_for = async move |handle: EngineHandle| {
        let _ = handle.revoke(selector, Vec::new(), Vec::new()).await;
    };
    ask(ask_for, daemon);
}

async fn until_begun(world: &World, what: What) {
    let begins = async {
        while !world.hosts.tasks().contains(&(HOST.to_owned(), what)) {
            tokio::task::yield_now().await;
        }
    };
    let begins = tokio::time::timeout(Duration::from_secs(60), begins).await;
    begins.expect("the task is begun");
}

#[test]
fn what_is_revoked_while_it_is_put_goes() {
    run(async {
        for fault in FAULTS {
            let (world, daemon) = begun().await;
            world.hosts.expect([fault]);
            let wish = grant(&world, 24);
            ask(async move |handle| _ = handle.grant(wish).await, &daemon);
            until_begun(&world, What::Put).await;
            revoke(&daemon);
            assert!(daemon.rest().await);
            assert_eq!(others(&world, HOST), [""; 0], "{fault:?}");
            let rows = world.history().trusted;
            let states: BTreeSet<_> = rows.iter().map(|row| row.state.name()).collect();
            assert_eq!(states, [PlacementState::Removed.name()].into(), "{fault:?}");
            daemon.kill().await;
        }
    });
}

#[test]
fn what_is_granted_anew_while_it_is_put_or_taken_off_stays_for_its_new_time() {
    run(async {
        for fault in FAULTS {
            for is_going in [false, true] {
                let (world, daemon) = begun().await;
                let first = grant(&world, 24);
                if is_going {
                    daemon.handle.grant(first).await.unwrap();
                    world.hosts.expect([fault]);
                    revoke(&daemon);
                    until_begun(&world, What::Remove).await;
                } else {
                    world.hosts.expect([fault]);
                    ask(async move |handle| _ = handle.grant(first).await, &daemon);
                    until_begun(&world, What::Put).await;
                }
                let second = grant(&world, 48);
                let until = second.until.to_ms() / 1_000 * 1_000;
                ask(async move |handle| _ = handle.grant(second).await, &daemon);
                assert!(daemon.rest().await);
                assert_eq!(others(&world, HOST), [ed25519(5)], "{fault:?} {is_going}");
                let row = world.history().trusted.remove(0);
                assert_eq!(
                    (row.state, row.until),
                    (PlacementState::Placed, Some(until)),
                    "{fault:?} {is_going}"
                );
                assert_eq!(world.hosts.lines(HOST).last(), Some(&row.line));
                daemon.kill().await;
            }
        }
    });
}
