//! Keys whose file is gone, by intent or not.

use super::*;
use crate::config::fixture::Directory;
use crate::desired::{FileReport, FileState, HostList, KeyFolder, OnRemove};
use crate::ledger::KeyRow;

mod rotating;

/// A world whose key files lie on a disk.
struct Files {
    directory: Directory,
    world: World,
}

impl Files {
    /// Keys that end with their files.
    fn with(names: &[&str]) -> Self {
        let mut files = Self {
            directory: Directory::new(),
            world: World::new(),
        };
        for name in names {
            files.put(name, |_| {});
        }
        files.world.desired.key_folder = KeyFolder::Listed(files.folder());
        files
    }

    fn folder(&self) -> std::path::PathBuf {
        self.directory.path().join("keys")
    }

    fn write(&self, name: &str) {
        self.directory.write(&format!("keys/{name}.toml"), "");
    }

    fn put(&mut self, name: &str, change: impl FnOnce(&mut KeySpec)) {
        self.write(name);
        let spec = key(name, GeneratedBy::Keyferry, |spec| {
            spec.on_remove = OnRemove::Retire;
            change(spec);
        });
        self.world.desired.keys.insert(name.to_owned(), spec);
    }

    fn remove(&mut self, name: &str) {
        self.directory.remove(&format!("keys/{name}.toml"));
        self.miss(name);
    }

    /// As the files' reader says it.
    fn miss(&mut self, name: &str) {
        let spec = self.world.desired.keys.get_mut(name).unwrap();
        Arc::make_mut(spec).present = false;
    }

    fn put_back(&mut self, name: &str) {
        self.write(name);
        let spec = self.world.desired.keys.get_mut(name).unwrap();
        Arc::make_mut(spec).present = true;
    }

    /// As git does it: the file that says which branch is shown is another.
    fn check_out(&self, head: &str, branch: &str) {
        self.directory.write(head, branch);
        let file = std::fs::File::options()
            .write(true)
            .open(self.directory.path().join(head))
            .unwrap();
        file.set_modified(self.world.clock.now().wall).unwrap();
    }

    /// The daemon reads the files, and plans.
    async fn read(&self, daemon: &Daemon) {
        daemon.read_again(&self.world.desired);
        daemon.handle.refresh().await;
    }

    async fn start(&self) -> Daemon {
        let daemon = self.world.start();
        assert!(daemon.rest().await);
        // So that none of them is new any more.
        self.pass(&daemon, 2).await;
        daemon
    }

    /// As long as it takes, in steps; nothing else happens.
    async fn pass(&self, daemon: &Daemon, hours: u64) {
        for _ in 0..hours {
            self.world.clock.pass(HOUR);
            assert!(daemon.rest().await);
        }
    }

    fn row(&self, name: &str) -> KeyRow {
        let keys = self.world.history().keys;
        keys.into_iter().find(|row| row.name == name).unwrap()
    }

    fn is_scheduled(&self, name: &str) -> bool {
        let row = self.row(name);
        assert_eq!(row.retire_asked_at, None, "{name}");
        row.retire_at.is_some()
    }

    fn now(&self) -> u64 {
        self.world.clock.uptime.load(Ordering::Relaxed)
    }
}

impl Daemon {
    fn has(&self, name: &str) -> bool {
        self.key_ring.loaded.lock().unwrap().contains_key(name)
    }

    /// Waits until a key has ended, time jumping ahead meanwhile.
    async fn until_ended(&self, name: &str) {
        let mut snapshots = self.handle.snapshots();
        let is_ended = |snapshot: &Arc<Snapshot>| snapshot.keys.iter().all(|status| status.name != name);
        let ended = snapshots.wait_for(is_ended);
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.is_ok();
        assert!(ended, "{:#?}", self.status(name));
    }

    #[track_caller]
    pub(super) fn says(&self, name: &str, words: &[&str]) {
        let error = self.status(name).error.unwrap();
        let text = format!("{}\n{}", error.message, error.remedy.unwrap());
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn a_key_ends_a_day_after_its_file_went() {
    run(async {
        let mut files = Files::with(&["bare"]);
        files.world.hosts.add("web-1", true);
        for name in ["ops", "web"] {
            files.put(name, |spec| {
                spec.hosts = Some(HostList::Listed(vec!["web-1".to_owned()]))
            });
        }
        let daemon = files.start().await;
        files.remove("bare");
        files.remove("web");
        let went_at = files.now();
        files.read(&daemon).await;
        for name in ["bare", "web"] {
            assert!(daemon.has(name) && files.is_scheduled(name));
            let resume = format!("keyferry resume {name}");
            let at = crate::snapshot::Timestamp::from_ms(files.row(name).retire_at.unwrap()).to_string();
            daemon.says(name, &["put the file back", &resume, &at, "on_remove"]);
        }
        daemon.until_ended("bare").await;
        daemon.until_ended("web").await;
        assert!(files.now() - went_at >= 24 * HOUR);
        assert!(files.now() - went_at < 26 * HOUR);
        assert!(daemon.rest().await);
        files.world.desired.keys.remove("bare");
        files.world.desired.keys.remove("web");
        files.world.assert_converged(&daemon);
        assert_eq!(daemon.key_ring.all.lock().unwrap().len(), 1);
        let lines = files.world.hosts.lines("web-1");
        assert!(!lines.iter().any(|line| line.contains("key=web")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("key=ops")), "{lines:?}");
        // A new file is a new key.
        files.put("web", |_| {});
        files.read(&daemon).await;
        assert!(daemon.rest().await);
        assert!(daemon.has("web"));
        assert_eq!(files.row("web").retire_at, None);
    });
}

#[test]
fn of_a_key_that_ended_nothing_is_shown_or_suggested() {
    run(async {
        let mut files = Files::with(&["ops", "web"]);
        let daemon = files.start().await;
        files.remove("web");
        let path = files.folder().join("web.toml");
        let gone = FileReport::new(path.clone(), FileState::Missing, Vec::new());
        files.world.desired.files.push(gone);
        files.read(&daemon).await;
        let is_shown = || {
            let snapshot = daemon.handle.snapshots().borrow().clone();
            snapshot
                .files
                .iter()
                .any(|file| file.path == path.display().to_string())
        };
        assert!(is_shown());
        assert!(
            daemon
                .handle
                .rotate(vec!["wen".to_owned()])
                .await
                .unwrap_err()
                .to_string()
                .contains("`web`")
        );
        daemon.until_ended("web").await;
        assert!(daemon.rest().await);
        assert!(!is_shown());
        let name = || "web".to_owned();
        let refusals = [
            daemon.handle.rotate(vec!["wen".to_owned()]).await.unwrap_err(),
            daemon.handle.rotate(vec![name()]).await.unwrap_err(),
            daemon.handle.retire(name(), Vec::new()).await.unwrap_err(),
            daemon.handle.resume(vec![name()]).await.unwrap_err(),
        ];
        for refusal in refusals {
            let text = refusal.to_string();
            assert!(
                text.contains("there is no key named we") && !text.contains("`web`"),
                "{text}"
            );
        }
    });
}

#[test]
fn without_another_way_in_a_host_is_left_and_named() {
    run(async {
        let mut files = Files::with(&[]);
        files.world.hosts.add("web-1", true);
        files.put("web", |spec| {
            spec.hosts = Some(HostList::Listed(vec!["web-1".to_owned()]))
        });
        let daemon = files.start().await;
        files.remove("web");
        files.read(&daemon).await;
        daemon
            .until("it is being retired", |status| {
                status.rotation.as_ref().is_some_and(|rotation| rotation.retiring)
            })
            .await;
        assert!(daemon.rest().await);
        let waiting = daemon.status("web").rotation.unwrap().waiting.unwrap();
        assert!(
            waiting.contains("the only way in") && waiting.contains("web-1"),
            "{waiting}"
        );
        assert!(daemon.has("web"));
        daemon.says("web", &["being retired", "put the file back"]);
        // The file's coming back ends what its going began.
        files.put_back("web");
        files.read(&daemon).await;
        assert!(daemon.rest().await);
        assert!(!files.is_scheduled("web"));
        assert_eq!(daemon.status("web").error, None);
    });
}

#[test]
fn a_file_that_is_back_or_a_word_of_the_user_calls_it_off() {
    run(async {
        let mut files = Files::with(&["bare", "ops", "web"]);
        files.put("kept", |spec| spec.on_remove = OnRemove::Keep);
        let daemon = files.start().await;
        files.remove("bare");
        files.read(&daemon).await;
        files.pass(&daemon, 2).await;
        files.remove("web");
        files.read(&daemon).await;
        files.pass(&daemon, 2).await;
        files.remove("kept");
        files.read(&daemon).await;
        assert!(files.is_scheduled("bare") && files.is_scheduled("web") && !files.is_scheduled("kept"));
        files.put_back("bare");
        files.read(&daemon).await;
        assert!(!files.is_scheduled("bare"));
        assert_eq!(daemon.status("bare").error, None);
        // To all it is not said of this one.
        daemon.handle.resume(Vec::new()).await.unwrap();
        assert!(files.is_scheduled("web"));
        let resumed = daemon.handle.resume(vec!["web".to_owned()]).await.unwrap();
        assert_eq!(resumed, ["web"]);
        files.pass(&daemon, 50).await;
        for name in ["bare", "kept", "ops", "web"] {
            assert!(daemon.has(name) && !files.is_scheduled(name), "{name}");
        }
        daemon.says("web", &["the key keeps serving"]);
        // When it went once more, that is another time.
        files.put_back("web");
        files.read(&daemon).await;
        files.remove("web");
        files.read(&daemon).await;
        assert!(files.is_scheduled("web"));
    });
}

#[test]
fn files_that_go_together_end_nothing() {
    run(async {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut files = Files::with(&names);
        let daemon = files.start().await;
        // Long before.
        files.remove("h");
        files.read(&daemon).await;
        files.pass(&daemon, 2).await;
        for name in ["a", "b"] {
            files.remove(name);
            files.read(&daemon).await;
            assert!(files.is_scheduled(name));
        }
        // Three of seven: what was scheduled meanwhile is called off.
        files.remove("c");
        files.read(&daemon).await;
        for name in ["a", "b", "c"] {
            assert!(!files.is_scheduled(name), "{name}");
            let retire = format!("keyferry retire {name}");
            daemon.says(name, &["2 other key files", "not retired by itself", &retire]);
        }
        assert!(files.is_scheduled("h"));
        daemon.until_ended("h").await;
        files.pass(&daemon, 50).await;
        assert!(names[..7].iter().all(|name| daemon.has(name)));
    });
}

#[test]
fn all_files_that_go_together_end_nothing() {
    run(async {
        let mut files = Files::with(&["a", "b"]);
        let daemon = files.start().await;
        files.remove("a");
        files.remove("b");
        files.read(&daemon).await;
        files.pass(&daemon, 50).await;
        for name in ["a", "b"] {
            assert!(daemon.has(name) && !files.is_scheduled(name), "{name}");
        }
        daemon.says("a", &["1 other key file,", "keyferry retire a"]);
    });
}

#[test]
fn another_branch_ends_nothing() {
    run(async {
        for case in ["before", "after", "elsewhere", "tables", "long ago"] {
            let mut files = Files::with(&["bare", "ops", "web"]);
            if case == "elsewhere" {
                files.directory.write(".git", "gitdir: real\n");
            }
            let head = match case {
                "elsewhere" => "real/HEAD",
                "tables" => ".git/reftable/tables.list",
                _ => ".git/HEAD",
            };
            files.check_out(head, "ref: refs/heads/main");
            files.world.clock.pass(2 * HOUR);
            let daemon = files.start().await;
            if case != "after" && case != "long ago" {
                files.check_out(head, "ref: refs/heads/older");
            }
            files.remove("web");
            files.read(&daemon).await;
            if case == "after" {
                // git takes the files away first, and notes then what it shows.
                assert!(files.is_scheduled("web"));
                files.check_out(head, "ref: refs/heads/older");
            }
            if case == "long ago" {
                // As where somebody commits the removal: the branch moves, and stays the one that is shown.
                daemon.until_ended("web").await;
                continue;
            }
            files.pass(&daemon, 50).await;
            assert!(daemon.has("web") && !files.is_scheduled("web"), "{case}");
            daemon.says("web", &["another branch", "keyferry retire web"]);
            files.put_back("web");
            files.read(&daemon).await;
            assert_eq!(daemon.status("web").error, None);
        }
    });
}

#[test]
fn three_of_many_files_may_go() {
    run(async {
        let mut files = Files::with(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
        let daemon = files.start().await;
        for name in ["a", "b", "c"] {
            files.remove(name);
        }
        files.read(&daemon).await;
        assert!(["a", "b", "c"].iter().all(|name| files.is_scheduled(name)));
    });
}

#[test]
fn nothing_ends_while_the_folder_is_gone() {
    run(async {
        let mut files = Files::with(&["a", "b"]);
        let daemon = files.start().await;
        files.remove("a");
        files.read(&daemon).await;
        files.pass(&daemon, 2).await;
        // The folder goes: the other key, although it is the only one.
        files.remove("b");
        std::fs::remove_dir(files.folder()).unwrap();
        files.world.desired.key_folder = KeyFolder::Closed;
        files.read(&daemon).await;
        assert!(files.is_scheduled("a") && !files.is_scheduled("b"));
        daemon.says("a", &["when the folder can be read again", "keyferry resume a"]);
        daemon.says("b", &["went with its folder", "keyferry retire b"]);
        files.pass(&daemon, 50).await;
        assert!(files.is_scheduled("a") && daemon.has("a"));
        // Back, and both files are not.
        std::fs::create_dir(files.folder()).unwrap();
        files.world.desired.key_folder = KeyFolder::Listed(files.folder());
        files.read(&daemon).await;
        daemon.until_ended("a").await;
        files.pass(&daemon, 50).await;
        assert!(daemon.has("b") && !files.is_scheduled("b"));
    });
}

#[test]
fn what_went_shortly_before_its_folder_went_with_it() {
    run(async {
        let mut files = Files::with(&["a", "b"]);
        let daemon = files.start().await;
        files.remove("a");
        files.read(&daemon).await;
        assert!(files.is_scheduled("a"));
        files.miss("b");
        files.world.desired.key_folder = KeyFolder::Closed;
        files.read(&daemon).await;
        assert!(!files.is_scheduled("a") && !files.is_scheduled("b"));
    });
}

#[test]
fn a_renamed_file_ends_nothing() {
    run(async {
        let hosts = |spec: &mut KeySpec| spec.hosts = Some(HostList::Listed(vec!["web-1".to_owned()]));
        for new_first in [false, true] {
            let mut files = Files::with(&["bare", "other"]);
            files.world.hosts.add("web-1", true);
            files.put("web", hosts);
            let daemon = files.start().await;
            if new_first {
                files.put("shop", hosts);
                files.read(&daemon).await;
                assert!(daemon.rest().await);
            }
            files.remove("web");
            files.read(&daemon).await;
            if !new_first {
                assert!(files.is_scheduled("web"));
                files.put("shop", hosts);
                files.read(&daemon).await;
            }
            assert!(!files.is_scheduled("web"));
            let words = [
                "seems to be keys/shop.toml now",
                "keyferry retire web once shop is verified",
            ];
            daemon.says("web", &words);
            // One that was there before, or is another kind of key, is no new name.
            files.remove("bare");
            files.read(&daemon).await;
            assert!(files.is_scheduled("bare"));
            files.pass(&daemon, 50).await;
            assert!(daemon.has("web") && daemon.has("shop") && !daemon.has("bare"));
        }
    });
}

#[test]
fn a_restart_forgets_neither_the_day_nor_the_file() {
    run(async {
        let mut files = Files::with(&["bare", "broken", "other"]);
        let daemon = files.start().await;
        for name in ["bare", "broken"] {
            files.remove(name);
        }
        files.read(&daemon).await;
        let scheduled = files.row("bare").retire_at;
        daemon.kill().await;
        // Now nobody knows what was in the files. One is back, and cannot be understood.
        let folder = files.folder();
        for name in ["bare", "broken"] {
            files.world.desired.keys.remove(name);
        }
        files.write("broken");
        let unread = std::mem::take(&mut files.world.desired.key_folder);
        files.world.clock.pass(12 * HOUR);
        let daemon = files.world.start();
        assert!(daemon.rest().await);
        assert_eq!(files.row("bare").retire_at, scheduled);
        assert_eq!(files.row("broken").retire_at, scheduled);
        files.world.clock.pass(30 * HOUR);
        assert!(daemon.rest().await);
        assert!(files.is_scheduled("bare"), "nothing was read yet");
        files.world.desired.key_folder = unread;
        let report = FileReport::new(folder.join("broken.toml"), FileState::Refused, Vec::new());
        files.world.desired.files.push(report);
        files.read(&daemon).await;
        assert!(!files.is_scheduled("broken"));
        daemon.until_ended("bare").await;
        files.pass(&daemon, 50).await;
        let history = files.world.history();
        let is_kept = |name: &str| {
            history
                .generations
                .iter()
                .any(|row| row.key == name && !row.state.is_final())
        };
        assert!(is_kept("broken") && is_kept("other") && !is_kept("bare"));
    });
}

#[test]
fn a_file_that_went_while_the_daemon_was_stopped_ends_its_key_a_day_later() {
    run(async {
        let mut files = Files::with(&["bare", "other"]);
        files.start().await.kill().await;
        files.remove("bare");
        files.world.desired.keys.remove("bare");
        files.world.clock.pass(48 * HOUR);
        let daemon = files.world.start();
        files.read(&daemon).await;
        assert!(files.is_scheduled("bare"));
        files.pass(&daemon, 20).await;
        assert!(files.is_scheduled("bare"));
        daemon.until_ended("bare").await;
        assert!(daemon.has("other"));
        daemon.kill().await;
    });
}

#[test]
fn files_that_went_while_the_daemon_was_stopped_end_nothing_where_nobody_may_have_meant_it() {
    run(async {
        for case in ["folder", "many", "alone", "branch", "renamed", "word", "keep"] {
            let mut files = match case {
                "alone" => Files::with(&["bare"]),
                _ => Files::with(&["bare", "db", "other"]),
            };
            if case == "keep" {
                files.put("bare", |spec| spec.on_remove = OnRemove::Keep);
            }
            files.start().await.kill().await;
            let mut gone = vec!["bare"];
            if case == "many" {
                gone.push("db");
            }
            for name in gone {
                files.remove(name);
                files.world.desired.keys.remove(name);
            }
            if case == "branch" {
                files.check_out(".git/HEAD", "ref: refs/heads/older");
            }
            if case == "folder" {
                std::fs::rename(files.folder(), files.directory.path().join("away")).unwrap();
                files.write("db");
                files.write("other");
            }
            if case == "renamed" {
                files.put("new", |_| {});
            }
            let daemon = files.world.start();
            files.read(&daemon).await;
            if case == "word" {
                assert!(files.is_scheduled("bare"));
                daemon.handle.resume(vec!["bare".to_owned()]).await.unwrap();
                files.read(&daemon).await;
            }
            assert!(!files.is_scheduled("bare"), "{case}");
            assert_eq!(files.row("bare").retires_in, None, "{case}");
            daemon.kill().await;
            // And the next start finds nothing to end either.
            let daemon = files.world.start();
            files.pass(&daemon, 50).await;
            assert!(!files.is_scheduled("bare"), "{case}");
            daemon.kill().await;
        }
    });
}

#[test]
fn the_folder_is_looked_at_before_a_key_ends() {
    run(async {
        let mut files = Files::with(&["bare", "other"]);
        let daemon = files.start().await;
        files.remove("bare");
        files.read(&daemon).await;
        // While the machine slept the file came back, or something was mounted there, and nobody has said so.
        files.write("bare");
        files.pass(&daemon, 30).await;
        assert!(files.is_scheduled("bare") && daemon.has("bare"));
        files.directory.remove("keys/bare.toml");
        files.directory.remove("keys/other.toml");
        files.pass(&daemon, 3).await;
        assert!(files.is_scheduled("bare") && daemon.has("bare"));
        files.write("other");
        daemon.until_ended("bare").await;
        assert!(daemon.has("other"));
    });
}

#[test]
fn a_wall_clock_that_jumps_ends_nothing() {
    run(async {
        let mut files = Files::with(&["bare", "other"]);
        let daemon = files.start().await;
        files.remove("bare");
        files.read(&daemon).await;
        let jumped_at = files.now();
        files.world.clock.set(400 * 24 * HOUR);
        daemon.until_ended("bare").await;
        assert!(files.now() - jumped_at >= 24 * HOUR);
    });
}
