//! What the user asks of rotations and hosts, and what is refused.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

mod aftermath;

use super::*;
use crate::desired::{HostList, Rotate};
use crate::engine::commands::Command;
use crate::engine::failure::{Failure, Pace};
use crate::ledger::{Generation, HostRow, HostState, KeyRow, Placement, PlacementState, Stage, Write};
use crate::plan::Subject;
use crate::snapshot::Timestamp;

/// An engine that obeys and plans nothing.
struct Asked {
    engine: Engine,
    handle: EngineHandle,
    orders: UnboundedReceiver<Command>,
    world: World,
}

impl Asked {
    /// A key `web` on two hosts: generation 1 is superseded, 2 active; one `bare` without hosts; both in the agent.
    async fn new() -> Self {
        let mut world = World::new();
        for name in ["bare", "web"] {
            let spec = key(name, GeneratedBy::Keyferry, |spec| {
                if name == "web" {
                    let hosts = ["deploy@web-1", "deploy@web-2"];
                    spec.hosts = Some(HostList::Listed(hosts.map(str::to_owned).to_vec()));
                }
            });
            world.desired.keys.insert(name.to_owned(), spec);
        }
        let (_files, desired) = watch::channel(Arc::new(world.desired.clone()));
        let parts = world.parts(None, Arc::default(), desired);
        let (mut engine, _updates) = Engine::new(parts, GenerationPool::start().unwrap());
        let (commands, orders) = unbounded_channel();
        let (_publish, snapshots) = watch::channel(Arc::default());
        let keys = ["bare", "web"].map(|name| KeyRow {
            name: name.to_owned(),
            last_n: 2,
            ..KeyRow::default()
        });
        let generations = vec![
            generation("bare", 1, Stage::Active),
            generation("web", 1, Stage::Earlier),
            generation("web", 2, Stage::Active),
        ];
        let hosts = ["deploy@web-1", "deploy@web-2"].map(|address| HostRow {
            address: address.to_owned(),
            pinned_host_key: Some(vec![7]),
            state: HostState::Reached,
            since: 0,
            note: None,
        });
        let placements = vec![
            placement(1, "deploy@web-2", PlacementState::Verified),
            placement(2, "deploy@web-1", PlacementState::Verified),
            placement(2, "deploy@web-2", PlacementState::Verified),
        ];
        let write = Write {
            keys: keys.to_vec(),
            generations,
            hosts: hosts.to_vec(),
            placements,
            ..Write::default()
        };
        engine.record(write).await.unwrap().unwrap();
        for (name, n) in [("bare", 1), ("web", 2)] {
            engine.observed.loaded.insert(name.to_owned(), n);
        }
        for id in [("bare", 1), ("web", 1), ("web", 2)] {
            engine.observed.in_agent.insert((id.0.to_owned(), id.1));
        }
        Self {
            engine,
            handle: EngineHandle::new(commands, snapshots),
            orders,
            world,
        }
    }

    async fn ask<T>(&mut self, asking: impl AsyncFnOnce(EngineHandle) -> T) -> T {
        let Self {
            engine,
            handle,
            orders,
            ..
        } = self;
        let obeying = async {
            let order = orders.recv().await.expect("something is asked");
            engine.obey(order).await.unwrap();
        };
        tokio::join!(asking(handle.clone()), obeying).0
    }

    async fn rotate(&mut self, key: &str) -> Result<String, String> {
        let keys = vec![key.to_owned()];
        let asked = self.ask(async |handle| handle.rotate(keys).await).await;
        asked
            .map(|asked| asked[0].waiting.clone().unwrap_or_default())
            .map_err(|refusal| refusal.to_string())
    }

    /// To the view and to the disk.
    async fn change_key(&mut self, change: impl FnOnce(&mut KeyRow)) {
        let mut row = self.engine.view.key("web");
        change(&mut row);
        let write = Write {
            keys: vec![row],
            ..Write::default()
        };
        self.engine.record(write).await.unwrap().unwrap();
    }

    async fn put(&mut self, placement: Placement) {
        let write = Write {
            placements: vec![placement],
            ..Write::default()
        };
        self.engine.record(write).await.unwrap().unwrap();
    }

    fn row(&self) -> KeyRow {
        self.engine.view.key("web")
    }

    fn stages(&self) -> Vec<(u64, Stage)> {
        let rows = self.engine.view.originals("web");
        rows.map(|row| (row.n, row.stage)).collect()
    }

    /// That the disk has what the view says.
    fn assert_written(&self) {
        let history = self.world.history();
        let keys: Vec<_> = self.engine.view.keys.values().cloned().collect();
        assert_eq!(history.keys, keys);
        let hosts: Vec<_> = self.engine.view.hosts.values().cloned().collect();
        assert_eq!(history.hosts, hosts);
        let generations: Vec<_> = self.engine.view.generations.values().cloned().collect();
        assert_eq!(history.generations, generations);
    }
}

fn generation(key: &str, n: u64, stage: Stage) -> Generation {
    let n_ms = i64::try_from(n).unwrap();
    Generation {
        key: key.to_owned(),
        n,
        copy_of: None,
        made_by: GeneratedBy::Keyferry,
        algorithm: Algorithm::Ed25519,
        account: "cloud".to_owned(),
        plugin: "fake".to_owned(),
        region: Some("cn-hangzhou".to_owned()),
        endpoint: None,
        blob: None,
        pair_name: format!("{key}-{n}"),
        provider_id: None,
        provider_fingerprint: None,
        state: GenerationState::Live,
        requested_at: n_ms,
        repeated_at: None,
        loaded_at: Some(n_ms),
        missing_since: None,
        delete_asked_at: None,
        note: None,
        stage,
        promoted_at: (stage != Stage::Staged).then_some(n_ms),
        superseded_at: (stage == Stage::Earlier).then_some(n_ms + 1),
        place: None,
    }
}

fn placement(n: u64, host: &str, state: PlacementState) -> Placement {
    Placement {
        key: "web".to_owned(),
        n,
        host: host.to_owned(),
        state,
        verified_at: Some(5),
        line: Some(format!("ssh-ed25519 AAAA keyferry gen={n}")),
        file: None,
        file_hash: None,
        changed_at: 5,
    }
}

#[track_caller]
fn says(answer: &Result<impl std::fmt::Debug, String>, words: &[&str]) {
    let error = answer.as_ref().expect_err("it is refused");
    for word in words {
        assert!(error.contains(word), "{error:?} should say {word:?}");
    }
}

#[test]
fn a_rotation_is_noted_once() {
    run(async {
        let mut asked = Asked::new().await;
        assert_eq!(asked.rotate("web").await, Ok(String::new()));
        let first = asked.row().rotate_asked_at;
        assert!(first.is_some());
        assert!(asked.engine.observed.urged.contains("web"));
        // It is under way now.
        let waits = asked.rotate("web").await.unwrap();
        assert!(!waits.is_empty());
        assert_eq!(asked.row().rotate_asked_at, first);
        asked.assert_written();
    });
}

#[test]
fn a_rotation_that_is_not_through_is_not_begun_again() {
    run(async {
        let mut asked = Asked::new().await;
        asked
            .put(placement(2, "deploy@web-2", PlacementState::Placed))
            .await;
        let keys = vec!["web".to_owned()];
        let answer = asked.ask(async |handle| handle.rotate(keys).await).await.unwrap();
        assert_eq!(answer[0].from, 1);
        assert!(answer[0].waiting.is_some(), "{answer:?}");
        assert_eq!(asked.row().rotate_asked_at, None);
    });
}

#[test]
fn what_cannot_be_rotated_is_refused_with_the_way_out() {
    run(async {
        let mut asked = Asked::new().await;
        says(&asked.rotate("wbe").await, &["no key named wbe", "`web`"]);
        says(&asked.rotate("bare").await, &["has no hosts", "keys/bare.toml"]);
        asked
            .change_key(|row| {
                row.paused_at = Some(1);
                row.pause_reason = Some("freeze".to_owned());
            })
            .await;
        says(
            &asked.rotate("web").await,
            &["on hold (freeze)", "keyferry resume web"],
        );
        // A hold whose time is over is none.
        asked.change_key(|row| row.paused_until = Some(2)).await;
        assert!(asked.rotate("web").await.is_ok());
        asked.change_key(|row| row.retire_asked_at = Some(1)).await;
        says(
            &asked.rotate("web").await,
            &["being retired", "keyferry resume web"],
        );
        asked.change_key(|row| row.held_at = Some(1)).await;
        says(&asked.rotate("web").await, &["ssh-add -d", "keyferry resume web"]);
        // Nothing is begun for the one where the other is refused.
        let mut asked = Asked::new().await;
        let keys = vec!["web".to_owned(), "bare".to_owned()];
        assert!(asked.ask(async |handle| handle.rotate(keys).await).await.is_err());
        assert_eq!(asked.row().rotate_asked_at, None);
    });
}

#[test]
fn a_staged_generation_is_given_up() {
    run(async {
        let mut asked = Asked::new().await;
        let write = Write {
            generations: vec![generation("web", 3, Stage::Staged)],
            ..Write::default()
        };
        asked.engine.record(write).await.unwrap().unwrap();
        let answer = asked
            .ask(async |handle| handle.rollback("web".to_owned()).await)
            .await
            .unwrap();
        assert_eq!((answer.from, answer.to), (Some(3), 2));
        assert_eq!(
            asked.stages(),
            [(1, Stage::Earlier), (2, Stage::Active), (3, Stage::Earlier)]
        );
        let given_up = &asked.engine.view.generations[&("web".to_owned(), 3)];
        assert!(given_up.superseded_at.is_some());
        asked.assert_written();
        // It was never offered: nobody goes back to it.
        let answer = asked
            .ask(async |handle| handle.rollback("web".to_owned()).await)
            .await
            .unwrap();
        assert_eq!(answer.to, 1);
    });
}

#[test]
fn a_rotation_that_is_due_does_not_begin_again_after_a_rollback() {
    run(async {
        let mut asked = Asked::new().await;
        let mut desired = (*asked.engine.desired).clone();
        let spec = key("web", GeneratedBy::Keyferry, |spec| {
            spec.rotate = Some(Rotate {
                every: Duration::from_secs(3_600),
                grace: Duration::from_secs(60),
                between: None,
            });
        });
        desired.keys.insert("web".to_owned(), spec);
        asked.engine.desired = Arc::new(desired);
        let write = Write {
            generations: vec![generation("web", 3, Stage::Staged)],
            ..Write::default()
        };
        asked.engine.record(write).await.unwrap().unwrap();
        asked
            .ask(async |handle| handle.rollback("web".to_owned()).await)
            .await
            .unwrap();
        let active = &asked.engine.view.generations[&("web".to_owned(), 2)];
        assert_eq!(active.promoted_at, Some(asked.world.clock.now().wall_ms()));
    });
}

#[test]
fn going_back_swaps_the_generations_and_names_the_hosts() {
    run(async {
        let mut asked = Asked::new().await;
        let answer = asked
            .ask(async |handle| handle.rollback("web".to_owned()).await)
            .await
            .unwrap();
        assert_eq!((answer.from, answer.to), (Some(2), 1));
        assert_eq!(answer.put_back, ["deploy@web-1"]);
        assert_eq!(asked.stages(), [(1, Stage::Active), (2, Stage::Earlier)]);
        assert_eq!(asked.engine.observed.loaded["web"], 1);
        asked.assert_written();
        // And forth again.
        let answer = asked
            .ask(async |handle| handle.rollback("web".to_owned()).await)
            .await
            .unwrap();
        assert_eq!((answer.from, answer.to), (Some(1), 2));
        assert_eq!(answer.put_back, Vec::<String>::new());
    });
}

#[test]
fn one_cannot_go_back_to_what_is_gone() {
    run(async {
        let rollback = async |asked: &mut Asked, key: &str| {
            let key = key.to_owned();
            let answer = asked.ask(async |handle| handle.rollback(key).await).await;
            answer.map_err(|refusal| refusal.to_string())
        };
        let mut asked = Asked::new().await;
        says(&rollback(&mut asked, "bare").await, &["is the only one"]);
        asked
            .put(placement(1, "deploy@web-2", PlacementState::Removed))
            .await;
        says(&rollback(&mut asked, "web").await, &["logs in nowhere any more"]);
        asked.engine.observed.in_agent.remove(&("web".to_owned(), 1));
        says(
            &rollback(&mut asked, "web").await,
            &["lost when keyferry stopped"],
        );
        assert_eq!(asked.stages(), [(1, Stage::Earlier), (2, Stage::Active)]);
        // What was asked for and has not begun is called off.
        asked.rotate("web").await.unwrap();
        assert_eq!(rollback(&mut asked, "web").await.unwrap().from, None);
        assert_eq!(asked.row().rotate_asked_at, None);
    });
}

#[test]
fn a_retirement_takes_names_that_it_knows() {
    run(async {
        let mut asked = Asked::new().await;
        let retire = async |asked: &mut Asked, names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            let answer = asked
                .ask(async |handle| handle.retire("web".to_owned(), names).await)
                .await;
            answer.map_err(|refusal| refusal.to_string())
        };
        says(
            &retire(&mut asked, &["web-3"]).await,
            &["web-3 is neither", "`deploy@web-1`"],
        );
        assert_eq!(asked.row().retire_asked_at, None);
        retire(&mut asked, &["deploy@web-1"]).await.unwrap();
        let asked_at = asked.row().retire_asked_at;
        assert!(asked_at.is_some());
        asked
            .engine
            .observed
            .instances
            .insert(("web".to_owned(), 1), (vec!["i-7".to_owned()], 0));
        retire(&mut asked, &["i-7", "all"]).await.unwrap();
        assert_eq!(asked.row().accepted_loss.as_deref(), Some("all deploy@web-1 i-7"));
        assert_eq!(asked.row().retire_asked_at, asked_at);
        asked.assert_written();
        // Naming no key does not call it off.
        let resume = async |asked: &mut Asked, keys: &[&str]| {
            let keys = keys.iter().map(|&name| name.to_owned()).collect();
            asked.ask(async |handle| handle.resume(keys).await).await.unwrap()
        };
        assert_eq!(resume(&mut asked, &[]).await, Vec::<String>::new());
        assert_eq!(asked.row().retire_asked_at, asked_at);
        assert_eq!(resume(&mut asked, &["web"]).await, ["web"]);
        assert_eq!(asked.row().retire_asked_at, None);
        assert_eq!(asked.row().accepted_loss, None);
        asked.assert_written();
    });
}

#[test]
fn giving_instances_up_does_not_end_the_key() {
    run(async {
        let mut asked = Asked::new().await;
        let give_up = async |asked: &mut Asked, name: &str| {
            let names = vec![name.to_owned()];
            let answer = asked
                .ask(async |handle| handle.give_up_instances("web".to_owned(), names).await)
                .await;
            answer.map_err(|refusal| refusal.to_string())
        };
        for name in ["all", "i-7"] {
            let nothing = ["there is nothing to give up", "keyferry account policy"];
            says(&give_up(&mut asked, name).await, &nothing);
        }
        let instances = vec!["i-7".to_owned(), "i-8".to_owned()];
        asked
            .engine
            .observed
            .instances
            .insert(("web".to_owned(), 1), (instances, 0));
        says(&give_up(&mut asked, "deploy@web-1").await, &["is neither"]);
        give_up(&mut asked, "all").await.unwrap();
        assert_eq!(asked.row().accepted_loss.as_deref(), Some("i-7 i-8"));
        assert_eq!(asked.row().retire_asked_at, None);
        // And does not count when it ends later.
        let retired = asked
            .ask(async |handle| handle.retire("web".to_owned(), Vec::new()).await)
            .await;
        assert!(retired.is_ok());
        assert_eq!(asked.row().accepted_loss, None);
    });
}

#[test]
fn what_was_under_way_when_it_was_resumed_is_tried_once_more_at_once() {
    run(async {
        let mut asked = Asked::new().await;
        let refused = Failure::local(
            "unauthorized",
            "the secret is wrong".to_owned(),
            "correct it",
            Pace::Never,
        );
        let making = || Subject::Making("web".to_owned());
        let asks = ("web".to_owned(), 2);
        asked
            .engine
            .observed
            .jobs
            .insert(asks.clone(), "cloud".to_owned());
        let keys = vec!["web".to_owned()];
        asked.ask(async |handle| handle.resume(keys).await).await.unwrap();
        // The answer to what was sent before the secret was corrected.
        asked.engine.fail(making(), &refused);
        let now = asked.world.clock.now().uptime;
        assert_eq!(asked.engine.observed.retries[&making()].not_before, Some(now));
        // And to what was sent after it.
        asked.engine.fail(making(), &refused);
        assert_eq!(asked.engine.observed.retries[&making()].not_before, None);
        // Where nothing was under way there is nothing to wait for.
        asked.engine.observed.jobs.remove(&asks);
        let keys = vec!["web".to_owned()];
        asked.ask(async |handle| handle.resume(keys).await).await.unwrap();
        asked.engine.fail(making(), &refused);
        assert_eq!(asked.engine.observed.retries[&making()].not_before, None);
    });
}

#[test]
fn a_hold_ends_with_its_time_or_with_resume() {
    run(async {
        let mut asked = Asked::new().await;
        let now = asked.world.clock.now();
        let hold = async |asked: &mut Asked, until: Option<Timestamp>| {
            let keys = vec!["web".to_owned()];
            let reason = Some(" change\n  freeze\u{7} ".to_owned());
            let answer = asked
                .ask(async |handle| handle.pause(keys, until, reason).await)
                .await;
            answer.map_err(|refusal| refusal.to_string())
        };
        says(&hold(&mut asked, Some(Timestamp(now.wall))).await, &["is over"]);
        let until = Timestamp::from_ms(now.wall_ms() + 60_000);
        hold(&mut asked, Some(until)).await.unwrap();
        assert_eq!(asked.row().paused_at, Some(now.wall_ms()));
        assert_eq!(asked.row().paused_until, Some(until.to_ms()));
        assert_eq!(asked.row().pause_reason.as_deref(), Some("change freeze"));
        let resumed = asked.ask(async |handle| handle.resume(Vec::new()).await).await;
        assert_eq!(resumed.unwrap(), ["web"]);
        assert_eq!(asked.row().paused_at, None);
        asked.assert_written();
    });
}

#[test]
fn a_blocked_host_is_opened_by_a_person_alone() {
    run(async {
        let block = async |asked: &mut Asked| {
            let row = asked.engine.view.hosts["deploy@web-1"].clone();
            let write = Write {
                hosts: vec![HostRow {
                    state: HostState::Blocked,
                    note: Some("another host key".to_owned()),
                    ..row
                }],
                ..Write::default()
            };
            asked.engine.record(write).await.unwrap().unwrap();
        };
        let state = |asked: &Asked| {
            let row = &asked.engine.view.hosts["deploy@web-1"];
            (row.state, row.pinned_host_key.clone(), row.note.clone())
        };
        let opened = (HostState::New, Some(vec![7]), None);
        let mut asked = Asked::new().await;
        block(&mut asked).await;
        let tried = asked
            .ask(async |handle| handle.host_retry(Vec::new()).await)
            .await;
        assert_eq!(tried.unwrap(), ["deploy@web-1"]);
        assert_eq!(state(&asked), opened);
        block(&mut asked).await;
        let keys = vec!["web".to_owned()];
        let resumed = asked.ask(async |handle| handle.resume(keys).await).await;
        assert_eq!(resumed.unwrap(), ["web"]);
        assert_eq!(state(&asked), opened);
        block(&mut asked).await;
        let host = "web-1".to_owned();
        let tried = asked.ask(async |handle| handle.host_trust(host).await).await;
        assert_eq!(tried.unwrap(), ["deploy@web-1"]);
        assert_eq!(state(&asked), (HostState::New, None, None));
        asked.assert_written();
        let host = "wbe-1".to_owned();
        let refused = asked.ask(async |handle| handle.host_trust(host).await).await;
        says(
            &refused.map_err(|refusal| refusal.to_string()),
            &["no host wbe-1"],
        );
    });
}

#[test]
fn a_host_that_is_given_up_leaves_its_lines_and_comes_back_when_named() {
    run(async {
        let mut asked = Asked::new().await;
        let forget = async |asked: &mut Asked, host: &str, force: bool| {
            let host = host.to_owned();
            let answer = asked
                .ask(async |handle| handle.host_forget(host, force).await)
                .await;
            answer.map_err(|refusal| refusal.to_string())
        };
        let forgotten = forget(&mut asked, "web-2", false).await.unwrap();
        assert_eq!(forgotten.host, "deploy@web-2");
        let lines: Vec<u64> = forgotten.lines.iter().map(|line| line.generation).collect();
        assert_eq!(lines, [1, 2]);
        says(
            &forget(&mut asked, "deploy@web-1", false).await,
            &["only host of key web", "--force"],
        );
        forget(&mut asked, "deploy@web-1", true).await.unwrap();
        asked.assert_written();
        let none = asked
            .ask(async |handle| handle.host_retry(Vec::new()).await)
            .await;
        assert_eq!(none.unwrap(), Vec::<String>::new());
        let hosts = vec!["web-2".to_owned()];
        let named = asked.ask(async |handle| handle.host_retry(hosts).await).await;
        assert_eq!(named.unwrap(), ["deploy@web-2"]);
        assert_eq!(asked.engine.view.hosts["deploy@web-2"].state, HostState::New);
    });
}
