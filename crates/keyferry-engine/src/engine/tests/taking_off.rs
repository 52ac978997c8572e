//! Taking lines off: out of the file that they were put into, and not again and again where it is refused.

use std::path::Path;

use super::hosts::What;
use super::rotation::world_with;
use super::*;
use crate::desired::Rotate;
use crate::ledger::PlacementState;
use crate::snapshot::HostCondition;

const HOST: &str = "web-1";
const FILE: &str = "/etc/ssh/keys/%u";

/// Key `web` whose lines have a file of their own, and key `other` in the usual one.
fn world() -> World {
    let mut world = world_with(&[HOST], |spec| spec.deploy.path = Some(FILE.to_owned()));
    let other = key("other", GeneratedBy::Keyferry, |spec| {
        spec.hosts.clone_from(&world.desired.keys["web"].hosts);
    });
    world.desired.keys.insert("other".to_owned(), other);
    world
}

fn lines_of(world: &World, key: &str) -> Vec<String> {
    let mut lines = world.hosts.lines(HOST);
    lines.retain(|line| line.contains(&format!(" key={key} ")));
    lines
}

/// As if the version that put the lines had not noted where.
fn forget_files(state: &Path) {
    let connection = rusqlite::Connection::open(state.join("ledger.sqlite")).unwrap();
    connection
        .execute("UPDATE placement SET file = NULL", [])
        .unwrap();
}

#[test]
fn a_line_is_taken_out_of_the_file_it_was_put_into_also_when_nobody_says_which() {
    run(async {
        let mut world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        assert_eq!(
            (lines_of(&world, "web").len(), lines_of(&world, "other").len()),
            (1, 1)
        );
        daemon.kill().await;

        world.desired.keys.remove("web");
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
        assert!(daemon.rest().await);
        assert_eq!(lines_of(&world, "web"), [""; 0]);
        let placements = world.history().placements.into_iter();
        let states: Vec<_> = placements
            .filter(|row| row.key == "web")
            .map(|row| row.state)
            .collect();
        assert_eq!(states, [PlacementState::Removed]);
        assert_eq!(world.cloud.our_pairs().len(), 1);
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}

#[test]
fn a_line_whose_file_nobody_knows_is_not_taken_for_gone() {
    run(async {
        let mut world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.kill().await;
        forget_files(world.state.path());

        let spec = world.desired.keys.remove("web").unwrap();
        let daemon = world.start();
        assert!(daemon.rest().await);
        daemon.handle.retire("web".to_owned(), Vec::new()).await.unwrap();
        daemon
            .until("what is missing is said", |key| {
                let errors = key.hosts.iter().filter_map(|host| host.error.as_ref());
                let mut remedies = errors.filter_map(|error| error.remedy.as_deref());
                key.name == "web"
                    && remedies
                        .any(|remedy| remedy.contains("put keys/web.toml back") && remedy.contains(HOST))
            })
            .await;
        assert_eq!(lines_of(&world, "web").len(), 1);
        assert_eq!(
            world.cloud.our_pairs().len(),
            2,
            "its pair stays as long as its line"
        );

        // Its file tells where.
        world.desired.keys.insert("web".to_owned(), spec);
        daemon.read_again(&world.desired);
        assert!(daemon.rest().await);
        assert_eq!(lines_of(&world, "web"), [""; 0]);
        assert_eq!(world.cloud.our_pairs().len(), 1);
        daemon.kill().await;
    });
}

#[test]
fn a_line_is_taken_out_of_the_file_it_was_put_into_also_when_another_is_named_since() {
    run(async {
        let mut world = world();
        let daemon = world.start();
        assert!(daemon.rest().await);
        let moved = key("web", GeneratedBy::Keyferry, |spec| {
            spec.hosts.clone_from(&world.desired.keys["web"].hosts);
            spec.deploy.path = Some(".ssh/other".to_owned());
        });
        world.desired.keys.insert("web".to_owned(), moved);
        daemon.read_again(&world.desired);
        daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
        assert!(daemon.rest().await);
        assert_eq!(daemon.status("web").hosts[0].lines, [2]);
        let lines = lines_of(&world, "web");
        assert!(
            matches!(&lines[..], [line] if line.ends_with(" gen=2")),
            "{lines:?}"
        );
        world.hosts.assert_nobody_was_locked_out();
        daemon.kill().await;
    });
}

#[test]
fn a_key_that_takes_its_own_last_line_goes_from_every_file_of_a_host() {
    run(async {
        let mut world = world_with(&[HOST], |spec| spec.deploy.path = Some(FILE.to_owned()));
        let daemon = world.start();
        assert!(daemon.rest().await);
        let moved = key("web", GeneratedBy::Keyferry, |spec| {
            spec.hosts.clone_from(&world.desired.keys["web"].hosts);
        });
        world.desired.keys.insert("web".to_owned(), moved);
        daemon.read_again(&world.desired);
        daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
        daemon
            .until("both stand there", |key| {
                key.hosts[0].lines == [1, 2] && key.hosts[0].generation == Some(2)
            })
            .await;
        let accepted = vec![HOST.to_owned()];
        daemon.handle.retire("web".to_owned(), accepted).await.unwrap();
        assert!(daemon.rest().await);
        assert_eq!(lines_of(&world, "web"), [""; 0]);
        assert_eq!(world.cloud.our_pairs(), [""; 0]);
        daemon.kill().await;
    });
}

#[test]
fn a_removal_that_is_taken_back_is_not_tried_again_at_once() {
    run(async {
        // Such a key never comes to rest: its next rotation is due some time.
        for login_user in [None, Some("admin".to_owned())] {
            let world = world_with(&[HOST], |spec| {
                spec.deploy.login_user = login_user;
                spec.rotate = Some(Rotate {
                    every: Duration::from_secs(300 * 86_400),
                    grace: Duration::ZERO,
                    between: None,
                });
            });
            let daemon = world.start();
            let has = |lines: &'static [u64]| move |key: &KeyStatus| key.hosts[0].lines == lines;
            daemon
                .until("it is there", |key| key.hosts[0].state == HostCondition::Verified)
                .await;
            world.hosts.bar_second_logins(HOST, true);
            world.hosts.forget_tasks();
            daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
            let counted = |what: What| {
                let tasks = world.hosts.tasks();
                tasks.iter().filter(|(_, done)| *done == what).count()
            };
            daemon.until("it was tried", |_| counted(What::Remove) >= 1).await;
            let at = world.clock.now().uptime;
            daemon
                .until("it was tried three times", |_| counted(What::Remove) >= 3)
                .await;
            let passed = world.clock.now().uptime - at;
            assert!(passed >= 20 * 60_000, "{passed} ms");
            // The key logs in as before: nothing is to be put there again.
            assert_eq!(counted(What::Put), 1);
            assert_eq!(world.hosts.generations(HOST), [1, 2]);

            world.hosts.bar_second_logins(HOST, false);
            daemon.until("the earlier line goes", has(&[2])).await;
            world.hosts.assert_nobody_was_locked_out();
            daemon.kill().await;
        }
    });
}
