//! What becomes of pairs: made, imported, read back, deleted, refused.

use std::time::Duration;

use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;
use keyferry_tests::openssh::Sshd;
use keyferry_tests::{ledger, wait};
use serde_json::Value;

use crate::relay::Relay;
use crate::scene::{NOVA, OLDER, account, assert_pairs, created, imported, password, wait_for_error};

#[test]
fn keys_log_in() {
    let user = NOVA.user();
    let home = Home::new();
    account(&home, "cloud", NOVA.auth_url(), &password(&user), "");
    created(&home, "created", "cloud");
    imported(&home, "imported", "cloud");
    for algorithm in ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048"] {
        home.key(
            algorithm,
            &format!("account = \"cloud\"\nalgorithm = \"{algorithm}\"\n"),
        );
    }
    let daemon = Daemon::start(&home);
    let status = daemon.wait_loaded(120);
    assert_pairs(&home, &NOVA, &user, &[]);
    // As Nova itself wrote them: what a server of it would let in.
    for (key, kind) in [("created", "ssh-rsa"), ("imported", "ssh-ed25519")] {
        let name = ledger::pair_name(&home, key, 1);
        let pairs = NOVA.pairs(&user);
        let pair = pairs.iter().find(|pair| pair["name"] == *name).unwrap();
        let line = pair["public_key"].as_str().unwrap();
        assert!(line.starts_with(kind), "{line}");
        let sshd = Sshd::start(&format!("{line}\n"));
        let public_half = home.path(&format!("state/public/{key}.pub"));
        let login = sshd.login_with(&home.agent_socket(), &public_half, "echo reached");
        assert_eq!(
            String::from_utf8_lossy(&login.stdout),
            "reached\n",
            "{login:?} {status:#}"
        );
    }
}

/// The reply to a create is lost, and with it the private key: the pair is read back, deleted, and the next generation
/// made. That of an import costs nothing. Names have a space.
#[test]
fn lost_replies() {
    let user = NOVA.user();
    let nova = Relay::start(NOVA.compute_url());
    let home = Home::new();
    let settings = format!("compute_endpoint_override = \"{}\"", nova.url());
    account(&home, "cloud", NOVA.auth_url(), &password(&user), &settings);
    home.key(
        "made",
        "account = \"cloud\"\ngenerated_by = \"provider\"\nname = \"team web\"\n",
    );
    home.key("brought", "account = \"cloud\"\nname = \"team bastion\"\n");
    nova.lose("POST", "\"team web");
    nova.lose("POST", "\"team bastion");
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(90);
    assert_pairs(&home, &NOVA, &user, &[]);
    assert_eq!(ledger::states(&home, "made"), ["deleted", "live"]);
    assert_eq!(ledger::states(&home, "brought"), ["live"]);
    let exchanges = nova.exchanges();
    let deleted: Vec<_> = exchanges
        .iter()
        .filter(|exchange| exchange.method == "DELETE")
        .collect();
    let [deleted] = &*deleted else {
        panic!("{exchanges:?}")
    };
    assert!(deleted.path.contains("/os-keypairs/team%20web-"), "{deleted:?}");
    assert_eq!(deleted.status, 204);
}

/// Somebody else's pairs have the next names: they stay as they are, and another name is taken.
#[test]
fn duplicate_names() {
    let user = NOVA.user();
    let home = Home::new();
    account(&home, "cloud", NOVA.auth_url(), &password(&user), "");
    let daemon = Daemon::start(&home);
    let mut foreign = Vec::new();
    for key in ["created", "imported"] {
        foreign.push(NOVA.plant(&user, &ledger::pair_name(&home, key, 1)));
    }
    created(&home, "created", "cloud");
    imported(&home, "imported", "cloud");
    daemon.wait_loaded(90);
    for key in ["created", "imported"] {
        assert_eq!(ledger::states(&home, key), ["foreign", "live"]);
    }
    assert_pairs(&home, &NOVA, &user, &foreign);
    let shown = NOVA.pairs(&user);
    for pair in &foreign {
        assert!(shown.contains(pair), "{pair:#} was touched");
    }
}

#[test]
fn quota() {
    let user = OLDER.user();
    let home = Home::new();
    account(&home, "cloud", OLDER.auth_url(), &password(&user), "");
    let mut foreign: Vec<_> = ["a", "b c", "d"].map(|name| OLDER.plant(&user, name)).into();
    created(&home, "created", "cloud");
    let daemon = Daemon::start(&home);
    let error = wait_for_error(
        &daemon,
        "created",
        "quota",
        "the user's limit of key pairs is reached",
    );
    assert_eq!(error["code"], "forbidden", "{error:#}");
    OLDER.delete(&user, "b%20c");
    foreign.remove(1);
    assert!(daemon.keyferry(&["resume"]).status.success());
    daemon.wait_loaded(60);
    assert_pairs(&home, &OLDER, &user, &foreign);
}

/// The list is read page by page; only what is ours and unknown is deleted.
#[test]
fn orphans() {
    let user = NOVA.user();
    let nova = Relay::start(NOVA.compute_url());
    let home = Home::new();
    let settings = format!("compute_endpoint_override = \"{}\"", nova.url());
    account(&home, "cloud", NOVA.auth_url(), &password(&user), &settings);
    imported(&home, "web", "cloud");
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(60);
    let mut foreign: Vec<_> = ["a", "b c", "d", "x", "y", "z"]
        .map(|name| NOVA.plant(&user, name))
        .into();
    foreign.push(NOVA.plant(&user, "keyferry-web-abcdef-1"));
    let orphan = ledger::pair_name(&home, "web", 7);
    NOVA.plant(&user, &orphan);
    let ask = |arguments: &[&str]| -> Value {
        let output = daemon.keyferry(&[&["orphans", "--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let deleted = ask(&["--delete", "--yes"]);
    assert_eq!(deleted["deleted"][0]["name"], orphan, "{deleted:#}");
    assert_eq!(
        deleted["deleted"].as_array().map(Vec::len),
        Some(1),
        "{deleted:#}"
    );
    assert_eq!(
        deleted["others"][0]["name"], "keyferry-web-abcdef-1",
        "{deleted:#}"
    );
    assert_pairs(&home, &NOVA, &user, &foreign);
    // Nova's operator allows three pairs per page here.
    let pages = nova
        .exchanges()
        .into_iter()
        .filter(|exchange| exchange.path.contains("marker="));
    assert!(
        pages.clone().count() >= 2 && pages.clone().any(|page| page.path.contains("marker=d")),
        "{:?}",
        pages.collect::<Vec<_>>()
    );
}

/// A pair that somebody deleted at Nova is noticed and made anew.
#[test]
fn a_pair_that_vanished() {
    let user = NOVA.user();
    let home = Home::new();
    account(&home, "cloud", NOVA.auth_url(), &password(&user), "");
    home.key("web", "account = \"cloud\"\non_drift = \"recreate\"\n");
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(60);
    NOVA.delete(&user, &ledger::pair_name(&home, "web", 1));
    assert!(daemon.keyferry(&["refresh"]).status.success());
    wait::until("the pair is made anew", Duration::from_secs(60), || {
        (ledger::states(&home, "web").last()? == "live" && NOVA.pairs(&user).len() == 1).then_some(())
    });
    daemon.wait_loaded(60);
    assert_pairs(&home, &NOVA, &user, &[]);
}

/// A key that Nova cannot read: told once, with Nova's own code.
#[test]
fn a_bad_key() {
    let user = NOVA.user();
    let nova = Relay::start(NOVA.compute_url());
    let home = Home::new();
    let settings = format!("compute_endpoint_override = \"{}\"", nova.url());
    account(&home, "cloud", NOVA.auth_url(), &password(&user), &settings);
    nova.change("ssh-ed25519 AAAA", "ssh-ed25519 BAAA");
    imported(&home, "web", "cloud");
    let daemon = Daemon::start(&home);
    let error = wait_for_error(&daemon, "web", "invalid", "nova takes no such public key");
    assert_eq!(error["code"], "badRequest", "{error:#}");
    assert!(
        error["request_id"].as_str().unwrap().starts_with("req-"),
        "{error:#}"
    );
    nova.change_nothing();
    daemon.keyferry(&["resume", "web"]);
    daemon.wait_loaded(60);
    assert_pairs(&home, &NOVA, &user, &[]);
}
