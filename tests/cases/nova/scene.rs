//! A daemon with accounts at a genuine Nova, and users whose pairs are nobody else's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;
use std::time::Duration;

use keyferry_tests::daemon::{Daemon, Options as DaemonOptions};
use keyferry_tests::home::Home;
use keyferry_tests::nova::{Nova, Options, User};
use keyferry_tests::{ledger, wait};
use serde_json::{Value, json};

/// The newest Nova.
pub(crate) static NOVA: LazyLock<Nova> = LazyLock::new(|| Nova::start(Options::default()));

/// One that announces 2.60 at most, with room for three pairs.
pub(crate) static OLDER: LazyLock<Nova> = LazyLock::new(|| {
    Nova::start(Options {
        quota: 3,
        max_microversion: Some("2.60"),
        ..Options::default()
    })
});

/// The fields of a login by password.
pub(crate) fn password(user: &User) -> Value {
    json!({
        "username": user.name, "user_domain_id": "default", "project_id": user.project_id, "password": user.password,
    })
}

/// Writes `accounts/NAME.toml` for a Keystone, with credential fields in a private file and more settings.
pub(crate) fn account(home: &Home, name: &str, auth_url: &str, fields: &Value, settings: &str) {
    let path = home.path(&format!("{name}.json"));
    fs::write(&path, fields.to_string()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    home.write(
        &format!("accounts/{name}.toml"),
        &format!(
            "plugin = \"openstack-nova\"\nregion = \"RegionOne\"\n[settings]\nauth_url = \"{auth_url}\"\n{settings}\n[credentials]\nfile = \"{}\"\n",
            path.display()
        ),
    );
}

/// Writes a key that Nova makes.
pub(crate) fn created(home: &Home, key: &str, account: &str) {
    home.key(
        key,
        &format!("account = \"{account}\"\ngenerated_by = \"provider\"\n"),
    );
}

/// Writes a key that is made here and imported.
pub(crate) fn imported(home: &Home, key: &str, account: &str) {
    home.key(key, &format!("account = \"{account}\"\n"));
}

/// A daemon with these variables in its environment.
pub(crate) fn daemon_with(home: &Home, variables: &[(&str, &str)]) -> Daemon {
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let options = DaemonOptions {
        environment: environment.collect(),
        ..DaemonOptions::default()
    };
    Daemon::start_with(home, &options)
}

/// Waits until status shows an error of this kind with these words for a key.
#[track_caller]
pub(crate) fn wait_for_error(daemon: &Daemon, key: &str, kind: &str, words: &str) -> Value {
    let mut last = Value::Null;
    wait::until(
        &format!("{key}: {kind}: {words}"),
        Duration::from_secs(60),
        || {
            let status = daemon.status();
            let keys = status["keys"].as_array()?;
            let error = keys.iter().find(|shown| shown["name"] == key)?["error"].clone();
            if !error.is_null() && error != last {
                last = error.clone();
                assert_eq!(error["kind"], kind, "{error:#}");
            }
            let message = error["message"].as_str()?;
            assert!(message.contains(words), "{error:#}");
            assert!(
                !error["remedy"].as_str().unwrap_or_default().is_empty(),
                "{error:#}"
            );
            Some(error)
        },
    )
}

/// Nova holds exactly the pairs that the ledger calls live, each with the public key that the ledger has, and these of
/// somebody else's as they were.
#[track_caller]
pub(crate) fn assert_pairs(home: &Home, nova: &Nova, user: &User, foreign: &[Value]) {
    let blob = |pair: &Value| {
        let line = pair["public_key"].as_str().unwrap();
        line.split(' ').nth(1).unwrap().to_owned()
    };
    let mut expected: Vec<(String, String)> = ledger::generations(home)
        .into_iter()
        .filter(|generation| generation.state == "live")
        .map(|generation| (generation.pair_name, base64(&generation.blob.unwrap())))
        .chain(
            foreign
                .iter()
                .map(|pair| (pair["name"].as_str().unwrap().to_owned(), blob(pair))),
        )
        .collect();
    expected.sort();
    wait::until("ledger and nova agree", Duration::from_secs(30), || {
        let pairs = nova.pairs(user).into_iter();
        let mut held: Vec<_> = pairs
            .map(|pair| (pair["name"].as_str().unwrap().to_owned(), blob(&pair)))
            .collect();
        held.sort();
        (held == expected).then_some(())
    });
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
