//! Key files that go in the middle of a rotation, of keys that end with their files.

use super::*;
use crate::ledger::PlacementState;
use crate::snapshot::HostCondition;

const HOSTS: [&str; 3] = ["db-1", "web-1", "web-2"];

/// How a file goes without anybody having meant that its key ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Going {
    /// The whole directory goes, and what it said of accounts with it.
    Directory,
    /// Other files go at the same time.
    Many,
    /// The file has another name.
    Renamed,
}

impl Files {
    /// Keys of which `web` is on all hosts, and gets in there alone.
    async fn rotating() -> (Self, Daemon) {
        let mut files = Self::with(&["bare", "db", "other"]);
        for host in HOSTS {
            files.world.hosts.add(host, true);
        }
        files.put("web", on_all_hosts);
        let daemon = files.start().await;
        for host in HOSTS {
            files.world.hosts.let_ssh_config_in(host, false);
        }
        (files, daemon)
    }

    /// The files go. After a restart nobody knows what was in them.
    fn lose(&mut self, going: Going, is_known: bool) {
        let gone: &[&str] = match going {
            Going::Directory => &["bare", "db", "other", "web"],
            Going::Many => &["bare", "db", "web"],
            Going::Renamed => &["web"],
        };
        for name in gone {
            self.remove(name);
            if !is_known {
                self.world.desired.keys.remove(*name);
            }
        }
        match going {
            Going::Directory => {
                std::fs::remove_dir(self.folder()).unwrap();
                self.world.desired.key_folder = KeyFolder::Closed;
                self.world.desired.accounts.clear();
            }
            Going::Many => {}
            Going::Renamed => self.put("shop", on_all_hosts),
        }
    }

    /// Everything is where it was.
    fn find_again(&mut self, going: Going) {
        std::fs::create_dir_all(self.folder()).unwrap();
        self.world.desired.key_folder = KeyFolder::Listed(self.folder());
        self.world
            .desired
            .accounts
            .insert("cloud".to_owned(), account(|_| {}));
        for name in ["bare", "db", "other"] {
            self.put(name, |_| {});
        }
        self.put("web", on_all_hosts);
        if going == Going::Renamed {
            self.remove("shop");
        }
    }

    /// Waits until so many hours are over, whatever is tried again meanwhile.
    async fn wait(&self, daemon: &Daemon, hours: u64) {
        let end = self.now() + hours * HOUR;
        let mut snapshots = daemon.handle.snapshots();
        for _ in 0..hours {
            // Where nothing is due, time passes all the same.
            let until = self.now() + HOUR;
            let over = snapshots.wait_for(|snapshot| snapshot.idle || self.now() >= until);
            assert!(
                tokio::time::timeout(Duration::from_secs(60), over)
                    .await
                    .unwrap()
                    .is_ok()
            );
            self.world.clock.pass(until.saturating_sub(self.now()));
            daemon.handle.refresh().await;
        }
        assert!(self.now() >= end);
    }

    /// The lines of a key's generations on a host.
    fn lines_of(&self, host: &str, key: &str) -> Vec<u64> {
        let lines = self.world.hosts.lines(host);
        let ends = lines
            .iter()
            .filter_map(|line| line.split_once(&format!(" key={key} gen=")));
        ends.map(|(_, n)| n.parse().unwrap()).collect()
    }

    /// What the user's files do not ask for any more stands all the same.
    #[track_caller]
    fn assert_nothing_ended(&self, case: &str) {
        for name in ["bare", "db", "other", "web"] {
            assert!(!self.is_scheduled(name), "{case}: {name}");
            let history = self.world.history();
            let mut rows = history.generations.iter().filter(|row| row.key == name);
            assert!(
                rows.any(|row| !row.state.is_final()),
                "{case}: the pairs of {name}"
            );
        }
        // Where the next one is not yet, what was there is.
        assert_eq!(self.lines_of("web-2", "web"), [1], "{case}");
        for host in ["db-1", "web-1"] {
            assert!(self.lines_of(host, "web").contains(&2), "{case}: {host}");
        }
        self.world.hosts.assert_nobody_was_locked_out();
    }
}

fn on_all_hosts(spec: &mut KeySpec) {
    let hosts = HOSTS.iter().map(|host| (*host).to_owned());
    spec.hosts = Some(HostList::Listed(hosts.collect()));
}

#[test]
fn files_that_go_in_the_middle_of_a_rotation_end_nothing() {
    run(async {
        for going in [Going::Directory, Going::Many, Going::Renamed] {
            for is_restarted in [false, true] {
                let case = format!("{going:?}, restarted: {is_restarted}");
                let (mut files, mut daemon) = Files::rotating().await;
                files.world.hosts.turn("web-2", false);
                daemon.handle.rotate(vec!["web".to_owned()]).await.unwrap();
                daemon
                    .until("all but one have the second", |key| {
                        key.name == "web"
                            && key.hosts[..2].iter().all(|host| {
                                host.generation == Some(2) && host.state == HostCondition::Verified
                            })
                    })
                    .await;
                if is_restarted {
                    daemon.kill().await;
                    files.lose(going, false);
                    daemon = files.world.start();
                } else {
                    files.lose(going, true);
                }
                files.read(&daemon).await;
                files.assert_nothing_ended(&case);
                files.wait(&daemon, 50).await;
                files.assert_nothing_ended(&case);

                if is_restarted {
                    // What the agent held is lost, so that somebody else has to log in.
                    for host in HOSTS {
                        files.world.hosts.let_ssh_config_in(host, true);
                    }
                }
                files.find_again(going);
                files.world.hosts.turn("web-2", true);
                files.read(&daemon).await;
                assert!(daemon.rest().await, "{case}");
                if going == Going::Renamed {
                    if is_restarted {
                        // For this daemon the file is as new as the other one was.
                        daemon.says("shop", &["seems to be keys/web.toml now"]);
                        daemon.handle.retire("shop".to_owned(), Vec::new()).await.unwrap();
                        assert!(daemon.rest().await, "{case}");
                    }
                    assert!(!daemon.has("shop"), "{case}");
                    files.world.desired.keys.remove("shop");
                }
                files.assert_rotated(&daemon, &case);
                daemon.kill().await;
            }
        }
    });
}

impl Files {
    /// One generation of `web` is everywhere, and nothing is left of those before it.
    #[track_caller]
    fn assert_rotated(&self, daemon: &Daemon, case: &str) {
        self.world.assert_converged(daemon);
        self.world.hosts.assert_nobody_was_locked_out();
        let n = daemon.status("web").generation.unwrap();
        assert!(n >= 2, "{case}: {n}");
        for host in HOSTS {
            assert_eq!(self.lines_of(host, "web"), [n], "{case}: {host}");
            assert!(self.lines_of(host, "shop").is_empty(), "{case}: {host}");
        }
        let placements = self.world.history().placements.into_iter();
        for placement in placements.filter(|placement| placement.key == "web") {
            let expected = match placement.n == n {
                true => PlacementState::Verified,
                false => PlacementState::Removed,
            };
            assert_eq!(placement.state, expected, "{case}: {placement:?}");
        }
    }
}
