//! Two users of one machine, each with a keyferry and the same account.

use std::os::unix::fs::lchown;
use std::path::Path;
use std::process::Command;

use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::openssh::listed;

use crate::scene::{cloud, home, live, pairs};

const USERS: [&str; 2] = ["65533", "65534"];

#[test]
fn two_users_of_one_machine_do_not_meet() {
    let cloud = cloud(0, 10);
    let homes = [home(&cloud, &["web"]), home(&cloud, &["web"])];
    let mut daemons = Vec::new();
    for (home, user) in homes.iter().zip(USERS) {
        give(home.root(), user.parse().expect("a number"));
        let options = Options {
            wrapper: as_user(user),
            ..Options::default()
        };
        let daemon = Daemon::start_with(home, &options);
        daemon.wait_loaded(60);
        daemons.push(daemon);
    }
    assert_eq!(
        pairs(&cloud),
        live(&homes[0]).union(&live(&homes[1])).cloned().collect()
    );
    for (mine, theirs) in [(0, 1), (1, 0)] {
        let list = |socket: &Path| {
            let words = as_user(USERS[mine]);
            Command::new(&words[0])
                .args(&words[1..])
                .args(["ssh-add", "-L"])
                .env("SSH_AUTH_SOCK", socket)
                .output()
                .expect("setpriv can be started (Debian: util-linux)")
        };
        let own = list(&homes[mine].agent_socket());
        assert!(own.status.success(), "{own:?}");
        let other = list(&homes[theirs].agent_socket());
        assert!(!other.status.success() && other.stdout.is_empty(), "{other:?}");
    }
    // One ends for good; the other's key and pair stay.
    let gone = live(&homes[0]);
    daemons.remove(0).kill();
    assert_eq!(daemons[0].key("web")["state"], "loaded");
    assert_eq!(listed(&homes[1].agent_socket()).len(), 1);
    assert!(gone.is_subset(&pairs(&cloud)), "nobody cleans up after another");
}

fn as_user(user: &str) -> Vec<String> {
    let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
    ["setpriv", &user, &group, "--clear-groups"]
        .map(str::to_owned)
        .to_vec()
}

fn give(path: &Path, user: u32) {
    lchown(path, Some(user), Some(user)).expect("root may change owners");
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("a folder can be listed") {
            give(&entry.expect("a folder can be listed").path(), user);
        }
    }
}
