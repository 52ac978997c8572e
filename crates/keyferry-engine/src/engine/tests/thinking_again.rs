//! Users who think again, and hosts where somebody was at work meanwhile.

use keyferry_hosts::HostErrorKind;

use super::cloud::Fault;
use super::hosts;
use super::rotation::world_with;
use super::*;
use crate::desired::LoginWith;
use crate::snapshot::HostCondition;

/// The first generation still serves, and its pair is at the provider.
#[track_caller]
fn assert_it_serves(world: &World, daemon: &Daemon, fault: &dyn std::fmt::Debug) {
    assert_eq!(daemon.status("web").generation, Some(1), "{fault:?}");
    let (n, _) = daemon.key_ring.loaded.lock().unwrap()["web"];
    assert_eq!(n, 1, "{fault:?}");
    let history = world.history();
    let of_it = history.generations.iter().filter(|row| row.holds(1));
    let mut live = of_it.filter(|row| row.state == GenerationState::Live);
    let row = live
        .next()
        .unwrap_or_else(|| panic!("{fault:?}: {:#?}", history.generations));
    assert!(live.next().is_none(), "{fault:?}: it is registered twice");
    let there = world
        .cloud
        .public_blob(row.region.as_deref().unwrap(), &row.pair_name);
    assert_eq!(there, row.blob, "{fault:?}");
    assert_eq!(world.cloud.pairs().len(), 1, "{fault:?}");
    world.cloud.assert_foreign_pairs_are_untouched();
}

#[test]
fn a_pair_that_is_wanted_again_is_not_deleted() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let daemon = world.start();
        assert!(daemon.rest().await);
        let before = world.cloud.requests().len();
        world.cloud.hold_answers(true);
        daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
        while world.cloud.requests().len() == before {
            tokio::task::yield_now().await;
        }
        daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        world.cloud.hold_answers(false);
        assert!(daemon.rest().await);
        let requests = world.cloud.requests();
        assert!(
            !requests.iter().any(|job| matches!(job, Job::Delete { .. })),
            "{requests:?}"
        );
        assert_it_serves(&world, &daemon, &"nothing was sent");
        daemon.kill().await;
    });
}

#[test]
fn a_pair_whose_deletion_was_sent_is_looked_at_and_registered_again() {
    run(async {
        for fault in [
            None,
            Some(Fault::LostBefore),
            Some(Fault::LostAfter),
            Some(Fault::Late(3)),
        ] {
            let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
            let daemon = world.start();
            assert!(daemon.rest().await);
            world.cloud.expect([None, fault]);
            daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
            while !world
                .cloud
                .requests()
                .iter()
                .any(|job| matches!(job, Job::Delete { .. }))
            {
                tokio::task::yield_now().await;
            }
            world.cloud.hold_answers(true);
            daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
            world.cloud.hold_answers(false);
            assert!(daemon.rest().await);
            if fault == Some(Fault::Late(3)) {
                // Nobody can know of one that arrives after all; whoever asks has it seen.
                world.clock.pass(10_000);
                assert_eq!(world.cloud.pairs().len(), 0);
                daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
                daemon.kill().await;
                continue;
            }
            assert_it_serves(&world, &daemon, &fault);
            daemon.kill().await;
        }
    });
}

#[test]
fn a_key_that_a_person_put_there_is_seen() {
    run(async {
        let world = world_with(&["web-1"], |spec| {
            spec.deploy.login_with = vec![LoginWith::Current]
        });
        world.hosts.let_ssh_config_in("web-1", false);
        let daemon = world.start();
        daemon
            .until("nothing logs in", |key| {
                let error = key.hosts.first().and_then(|host| host.error.as_ref());
                error.is_some_and(|error| error.kind == "no_login")
            })
            .await;
        let public_key = daemon.status("web").public_key.unwrap();
        world.hosts.write("web-1", |lines| lines.push(public_key));
        daemon
            .until("it logs in", |key| key.hosts[0].state == HostCondition::Verified)
            .await;
        daemon.kill().await;
    });
}

#[test]
fn hosts_that_refuse_are_tried_again_after_minutes_and_at_once_when_asked() {
    run(async {
        let world = world_with(&["web-1"], |_| {});
        let refuses = hosts::Fault::Fails(HostErrorKind::Refused);
        world.hosts.always("web-1", Some(refuses));
        let daemon = world.start();
        let begun = world.clock.now().uptime;
        let is_refused = |key: &KeyStatus| {
            let error = key.hosts.first().and_then(|host| host.error.as_ref());
            error.is_some_and(|error| error.kind == "refused")
        };
        daemon.until("it is refused", is_refused).await;
        daemon
            .until("it was tried four times", |_| {
                let tasks = world.hosts.tasks();
                tasks.iter().filter(|(_, what)| *what == hosts::What::Put).count() >= 4
            })
            .await;
        let passed = world.clock.now().uptime - begun;
        assert!(
            passed >= 10 * 60_000,
            "sshd bans whoever asks so often: {passed} ms"
        );
        world.hosts.always("web-1", None);
        let begun = world.clock.now().uptime;
        daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        daemon
            .until("it logs in", |key| key.hosts[0].state == HostCondition::Verified)
            .await;
        assert!(world.clock.now().uptime - begun < 10_000);
        daemon.kill().await;
    });
}
