//! Pairs made, imported, described, deleted, and one whose name is taken.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;
use keyferry_tests::moto::Moto;
use keyferry_tests::openssh::{assert_signs, listed};
use keyferry_tests::{ledger, wait};

const KEYS: [(&str, &str, &str); 4] = [
    ("made-ed25519", "ed25519", "generated_by = \"provider\"\n"),
    (
        "made-rsa",
        "rsa",
        "generated_by = \"provider\"\nalgorithm = \"rsa-2048\"\n",
    ),
    ("own-ed25519", "ed25519", ""),
    ("own-rsa", "rsa", "algorithm = \"rsa-2048\"\n"),
];

const FOREIGN: &str = include_str!("../providers/foreign.pub");

#[test]
fn pairs_of_every_kind_live_and_die() {
    let moto = Moto::start();
    moto.import("somebody-elses", FOREIGN);
    let home = Home::new();
    let credentials = home.path("credentials");
    fs::write(
        &credentials,
        "[default]\naws_access_key_id = AKIALOOPBACK\naws_secret_access_key = loopback/secret+0123456789\n",
    )
    .expect("a file can be written");
    home.write(
        "accounts/aws.toml",
        &format!(
            "plugin = \"aws-ec2\"\nregion = \"us-east-1\"\nendpoint = \"{}\"\n\n[settings.tags]\nteam = \"web & co\"\n",
            moto.url()
        ),
    );
    for (key, _, more) in KEYS {
        home.key(key, &format!("account = \"aws\"\n{more}"));
    }
    let mut daemon = start(&home);
    daemon.wait_loaded(60);
    assert_held(&home, &moto, 1);

    // Every pair is described, and none differs.
    let refreshed = daemon.keyferry(&["refresh"]);
    assert!(refreshed.status.success(), "{refreshed:?}");
    daemon.wait_loaded(60);
    assert_held(&home, &moto, 1);

    // A shutdown loses the private halves, by design: the next start makes new pairs and deletes the old ones. One of
    // the new names is taken meanwhile.
    assert_eq!(daemon.stop(), Some(0));
    let taken = ledger::pair_name(&home, "own-ed25519", 2);
    moto.import(&taken, FOREIGN);
    daemon = start(&home);
    daemon.wait_loaded(60);
    for (key, ..) in KEYS {
        let expected: &[&str] = match key {
            "own-ed25519" => &["deleted", "foreign", "live"],
            _ => &["deleted", "live"],
        };
        wait::until(&format!("{key} is {expected:?}"), Duration::from_secs(60), || {
            (ledger::states(&home, key) == expected).then_some(())
        });
    }
    let held = moto.pairs();
    assert_eq!(held.len(), KEYS.len() + 2, "{held:#?}");
    for name in ["somebody-elses", &taken] {
        let pair = held.iter().find(|pair| pair.name == name);
        let is_theirs =
            pair.is_some_and(|pair| pair.public_key.trim() == FOREIGN.trim() && pair.tags.is_empty());
        assert!(is_theirs, "{name} was touched: {held:#?}");
    }
    for (key, ..) in KEYS {
        assert_signs(&home.agent_socket(), &public(&home, key));
    }
}

fn start(home: &Home) -> Daemon {
    let credentials = home.path("credentials").display().to_string();
    let environment = vec![("AWS_SHARED_CREDENTIALS_FILE".to_owned(), credentials)];
    let options = Options {
        environment,
        ..Options::default()
    };
    Daemon::start_with(home, &options)
}

/// Every key signs, and its `n`th pair is there with its public half, its kind and the account's tags.
#[track_caller]
fn assert_held(home: &Home, moto: &Moto, n: u64) {
    let held = moto.pairs();
    assert_eq!(held.len(), KEYS.len() + 1, "{held:#?}");
    assert_eq!(listed(&home.agent_socket()).len(), KEYS.len());
    for (key, kind, _) in KEYS {
        let name = ledger::pair_name(home, key, n);
        let pair = held.iter().find(|pair| pair.name == name);
        let pair = pair.unwrap_or_else(|| panic!("no pair {name} in {held:#?}"));
        assert_eq!(
            (&*pair.kind, &*pair.tags),
            (kind, &["team=web & co".to_owned()][..])
        );
        let path = public(home, key);
        let line = fs::read_to_string(&path).expect("the public half is published");
        let blob = |line: &str| line.split(' ').nth(1).map(str::to_owned);
        assert_eq!(blob(&pair.public_key), blob(line.trim()), "{key}");
        assert_signs(&home.agent_socket(), &path);
    }
}

fn public(home: &Home, key: &str) -> PathBuf {
    home.path(&format!("state/public/{key}.pub"))
}
