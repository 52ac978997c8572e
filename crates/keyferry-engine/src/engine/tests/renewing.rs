//! Lines that end by themselves, written anew before that: with answers that are lost, programs that fail and files that
//! change their mind.

use keyferry_hosts::HostErrorKind;

use super::hosts::Fault;
use super::rotation::world_with;
use super::*;
use crate::desired::{LoginWith, Rotate};
use crate::snapshot::HostCondition;

const DAY: u64 = 86_400_000;

fn days(days: u64) -> Duration {
    Duration::from_millis(days * DAY)
}

fn line(world: &World) -> String {
    world.hosts.lines("web-1").pop().unwrap()
}

/// A key on `web-1` whose line was just put there.
async fn begin(world: &World) -> (Daemon, String, u64) {
    let daemon = world.start();
    daemon
        .until("it is there", |key| key.hosts[0].state == HostCondition::Verified)
        .await;
    (daemon, line(world), world.clock.now().uptime)
}

#[test]
fn a_renewal_whose_answer_was_lost_is_done_again() {
    run(async {
        for fault in [Fault::LostBefore, Fault::LostAfter] {
            let world = world_with(&["web-1"], |spec| spec.deploy.expires = Some(days(10)));
            let (daemon, _, at) = begin(&world).await;
            world.hosts.expect([Some(fault)]);
            daemon
                .until("it is renewed", |_| {
                    let history = world.history();
                    let renewed = history
                        .placements
                        .iter()
                        .find(|row| row.line.as_ref() == Some(&line(&world)));
                    let written = history
                        .effects
                        .iter()
                        .filter(|effect| effect.outcome.is_some())
                        .count();
                    renewed.is_some() && written >= 3 + usize::from(fault == Fault::LostAfter)
                })
                .await;
            let passed = world.clock.now().uptime - at;
            // The end stands in the line to the minute.
            let half = 5 * DAY - 60_000;
            assert!((half..6 * DAY).contains(&passed), "{fault:?}: {passed} ms");
            world.hosts.assert_nobody_was_locked_out();
            daemon.kill().await;
        }
    });
}

#[test]
fn a_renewal_that_the_fleet_tool_failed_at_is_done_again_and_not_at_once() {
    run(async {
        let mut world = world_with(&["web-1"], |spec| {
            spec.deploy.expires = Some(days(10));
            spec.deploy.command = vec!["fleet".to_owned()];
        });
        let (daemon, _, at) = begin(&world).await;
        let broken = key("web", GeneratedBy::Keyferry, |spec| {
            *spec = (*world.desired.keys["web"]).clone();
            spec.deploy.command = vec!["broken".to_owned()];
        });
        world.desired.keys.insert("web".to_owned(), broken);
        daemon.read_again(&world.desired);
        daemon
            .until("it was tried ten times", |_| world.hosts.documents().len() > 10)
            .await;
        let passed = world.clock.now().uptime - at;
        assert!((5 * DAY + 300_000..6 * DAY).contains(&passed), "{passed} ms");
        daemon.kill().await;
    });
}

#[test]
fn a_line_follows_what_the_file_says_of_its_end() {
    run(async {
        for (expires, is_rewritten) in [(Some(90), true), (None, true), (Some(9), false)] {
            let mut world = world_with(&["web-1"], |spec| spec.deploy.expires = Some(days(10)));
            let (daemon, before, at) = begin(&world).await;
            let other = key("web", GeneratedBy::Keyferry, |spec| {
                *spec = (*world.desired.keys["web"]).clone();
                spec.deploy.expires = expires.map(days);
            });
            world.desired.keys.insert("web".to_owned(), other);
            daemon.read_again(&world.desired);
            daemon
                .until("it is written anew", |_| line(&world) != before)
                .await;
            let passed = world.clock.now().uptime - at;
            assert_eq!(passed < DAY, is_rewritten, "{expires:?} days: {passed} ms");
            assert_eq!(line(&world).contains("expiry-time="), expires.is_some());
            daemon.kill().await;
        }
    });
}

#[test]
fn a_line_of_a_key_that_is_held_is_renewed_too() {
    run(async {
        let world = world_with(&["web-1"], |spec| spec.deploy.expires = Some(days(10)));
        let (daemon, before, at) = begin(&world).await;
        daemon.handle.held("web");
        world.hosts.sign_nothing_with("web");
        daemon
            .until("it is written anew", |_| line(&world) != before)
            .await;
        let passed = world.clock.now().uptime - at;
        assert!(passed < 6 * DAY, "{passed} ms");
        daemon.kill().await;
    });
}

#[test]
fn renewals_do_not_begin_the_time_of_grace_anew() {
    run(async {
        let world = world_with(&["web-1"], |spec| {
            spec.deploy.expires = Some(days(3));
            spec.rotate = Some(Rotate {
                every: days(300),
                grace: days(2),
                between: None,
            });
        });
        let (daemon, ..) = begin(&world).await;
        daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
        daemon
            .until("the earlier line goes", |key| key.hosts[0].lines == [2])
            .await;
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}

#[test]
fn a_line_of_a_key_that_is_held_keeps_the_options_that_it_logged_in_with() {
    run(async {
        let mut world = world_with(&["web-1"], |spec| {
            spec.deploy.expires = Some(days(10));
            spec.deploy.options = "from=\"10.0.0.0/8, 10.1\",no-pty".to_owned();
        });
        let (daemon, before, _) = begin(&world).await;
        daemon.handle.held("web");
        world.hosts.sign_nothing_with("web");
        let other = key("web", GeneratedBy::Keyferry, |spec| {
            *spec = (*world.desired.keys["web"]).clone();
            spec.deploy.options = "from=\"10.9.9.9\"".to_owned();
        });
        world.desired.keys.insert("web".to_owned(), other);
        daemon.read_again(&world.desired);
        daemon
            .until("it is written anew", |_| line(&world) != before)
            .await;
        let now = line(&world);
        let start = "from=\"10.0.0.0/8, 10.1\",no-pty,expiry-time=\"";
        assert!(now.starts_with(start), "{now}");
        assert_eq!(now.matches("expiry-time").count(), 1, "{now}");
        daemon.kill().await;
    });
}

#[test]
fn a_line_is_renewed_over_its_own_key_where_every_other_login_needs_a_person() {
    run(async {
        let world = world_with(&["web-1"], |spec| {
            spec.deploy.expires = Some(days(10));
            spec.deploy.login_with = vec![LoginWith::SshConfig];
        });
        let (daemon, before, at) = begin(&world).await;
        world.hosts.ask_a_person("web-1");
        daemon
            .until("it is written anew", |_| line(&world) != before)
            .await;
        let passed = world.clock.now().uptime - at;
        assert!(passed < 6 * DAY, "{passed} ms");
        daemon.kill().await;
    });
}

#[test]
fn a_next_generation_that_waits_for_a_person_keeps_no_line_from_being_renewed() {
    run(async {
        let world = world_with(&["web-1"], |spec| {
            spec.deploy.expires = Some(days(10));
            spec.deploy.login_with = vec![LoginWith::SshConfig];
        });
        let (daemon, before, at) = begin(&world).await;
        world.hosts.ask_a_person("web-1");
        daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
        daemon
            .until("it waits for a person", |key| {
                let error = key.hosts[0].error.as_ref();
                error.is_some_and(|error| error.kind == "needs_person")
            })
            .await;
        daemon
            .until("it is written anew", |_| line(&world) != before)
            .await;
        let passed = world.clock.now().uptime - at;
        assert!(passed < 6 * DAY, "{passed} ms");
        assert_eq!(world.hosts.generations("web-1"), [1]);
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}

#[test]
fn a_line_that_cannot_be_renewed_keeps_the_next_generation_from_no_host() {
    run(async {
        let world = world_with(&["web-1"], |spec| spec.deploy.expires = Some(days(10)));
        let (daemon, before, _) = begin(&world).await;
        // As where sshd was upgraded: of this line nothing comes any more.
        world.hosts.outdate("web", 1);
        daemon
            .until("its renewal is refused", |key| {
                let error = key.hosts[0].error.as_ref();
                error.is_some_and(|error| error.kind == "refused")
            })
            .await;
        assert_eq!(line(&world), before);
        daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
        daemon
            .until("the next one logs in", |key| {
                let host = &key.hosts[0];
                host.state == HostCondition::Verified && host.generation == Some(2)
            })
            .await;
        daemon.kill().await;
    });
}

#[test]
fn a_renewal_that_needs_a_person_is_not_tried_all_the_time() {
    run(async {
        let world = world_with(&["web-1"], |spec| spec.deploy.expires = Some(days(10)));
        let (daemon, _, _) = begin(&world).await;
        world
            .hosts
            .always("web-1", Some(Fault::Fails(HostErrorKind::NeedsPerson)));
        world.hosts.forget_tasks();
        daemon
            .until("it was tried ten times", |_| world.hosts.tasks().len() >= 10)
            .await;
        let at = world.clock.now().uptime;
        daemon
            .until("it was tried another ten times", |_| {
                world.hosts.tasks().len() >= 20
            })
            .await;
        let passed = world.clock.now().uptime - at;
        assert!(passed > 3_600_000, "{passed} ms");
        daemon.kill().await;
    });
}
