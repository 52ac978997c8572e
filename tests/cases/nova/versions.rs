//! The generations of the API, which Nova calls microversions.

use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;
use keyferry_tests::nova::Nova;

use crate::relay::Relay;
use crate::scene::{NOVA, OLDER, account, assert_pairs, created, imported, password, wait_for_error};

/// What Nova answered to a create, to a delete and to an import.
struct Codes {
    post: u16,
    delete: u16,
}

/// Creates, reads back, deletes and imports with this microversion in the account, and sees it asked for.
#[track_caller]
fn check(nova: &Nova, pinned: Option<&str>, creates: &str, others: &str, codes: &Codes) {
    let user = nova.user();
    let relay = Relay::start(nova.compute_url());
    let home = Home::new();
    let mut settings = format!("compute_endpoint_override = \"{}\"\n", relay.url());
    if let Some(pinned) = pinned {
        settings.push_str(&format!("microversion = \"{pinned}\""));
    }
    account(&home, "cloud", nova.auth_url(), &password(&user), &settings);
    // The private key of the first is lost: the pair is looked at and deleted, and another made.
    relay.lose("POST", "\"keyferry-made");
    created(&home, "made", "cloud");
    imported(&home, "brought", "cloud");
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(90);
    assert_pairs(&home, nova, &user, &[]);

    let exchanges = relay.exchanges();
    let of = |method: &str| -> Vec<_> {
        let found = exchanges
            .iter()
            .filter(|exchange| exchange.method == method && exchange.path.contains("os-keypairs"));
        found.collect()
    };
    let posts = of("POST");
    assert_eq!(posts.len(), 3, "{exchanges:#?}");
    for post in posts {
        let is_import = post.body.contains("public_key");
        assert_eq!(post.status, codes.post, "{post:?}");
        assert_eq!(
            post.microversion,
            if is_import { others } else { creates },
            "{post:?}"
        );
        assert_eq!(
            post.body.contains("\"type\":\"ssh\""),
            codes.post == 201,
            "{post:?}"
        );
    }
    let deletes = of("DELETE");
    assert_eq!(deletes.len(), 1, "{exchanges:#?}");
    assert_eq!(
        (deletes[0].status, &*deletes[0].microversion),
        (codes.delete, others),
        "{:?}",
        deletes[0]
    );
    let gets = of("GET");
    assert!(!gets.is_empty(), "{exchanges:#?}");
    for get in gets {
        assert!(
            [200, 404].contains(&get.status) && get.microversion == others,
            "{get:?}"
        );
    }
}

const FIRST: Codes = Codes {
    post: 200,
    delete: 202,
};
const LATER: Codes = Codes {
    post: 201,
    delete: 204,
};

#[test]
fn microversion_2_1() {
    check(&NOVA, Some("2.1"), "2.1", "2.1", &FIRST);
}

#[test]
fn microversion_2_2() {
    check(&NOVA, Some("2.2"), "2.2", "2.2", &LATER);
}

#[test]
fn microversion_2_10() {
    check(&NOVA, Some("2.10"), "2.10", "2.10", &LATER);
}

#[test]
fn microversion_2_35() {
    check(&NOVA, Some("2.35"), "2.35", "2.35", &LATER);
}

#[test]
fn microversion_2_91() {
    check(&NOVA, Some("2.91"), "2.91", "2.91", &LATER);
}

/// From 2.92 on Nova makes no pairs, but the same Nova still does at 2.91.
#[test]
fn the_newest_microversion() {
    check(&NOVA, None, "2.91", "2.92", &LATER);
}

#[test]
fn an_older_nova() {
    assert_eq!(OLDER.max_microversion(), "2.60");
    check(&OLDER, None, "2.60", "2.60", &LATER);
}

#[test]
fn what_a_pinned_microversion_rules_out() {
    let home = Home::new();
    let user = NOVA.user();
    let older = OLDER.user();
    account(
        &home,
        "newest",
        NOVA.auth_url(),
        &password(&user),
        "microversion = \"2.92\"",
    );
    account(
        &home,
        "unknown",
        NOVA.auth_url(),
        &password(&user),
        "microversion = \"2.93\"",
    );
    account(
        &home,
        "too-new",
        OLDER.auth_url(),
        &password(&older),
        "microversion = \"2.91\"",
    );
    created(&home, "created", "newest");
    imported(&home, "imported", "newest");
    imported(&home, "unknown", "unknown");
    imported(&home, "too-new", "too-new");
    let daemon = Daemon::start(&home);
    wait_for_error(&daemon, "created", "unsupported", "`generated_by = \"keyferry\"`");
    wait_for_error(&daemon, "unknown", "unsupported", "keyferry knows up to 2.92");
    wait_for_error(&daemon, "too-new", "unsupported", "this nova has 2.1 to 2.60");
    let (_, status) = daemon.wait(60);
    assert_eq!(
        keyferry_tests::daemon::find(&status, "imported")["state"],
        "loaded",
        "{status:#}"
    );
    assert_pairs(&home, &NOVA, &user, &[]);
}

/// A region must be named where the catalogue has several; a key may name its own.
#[test]
fn regions() {
    let user = NOVA.user();
    let [one, two] = NOVA.regions() else {
        panic!("two regions")
    };
    let home = Home::new();
    account(&home, "cloud", NOVA.auth_url(), &password(&user), "");
    let text = std::fs::read_to_string(home.path("config/accounts/cloud.toml")).unwrap();
    home.write(
        "accounts/open.toml",
        &text.replace("region = \"RegionOne\"\n", ""),
    );
    home.key("there", &format!("account = \"cloud\"\nregion = \"{two}\"\n"));
    home.key("nowhere", "account = \"cloud\"\nregion = \"Mars\"\n");
    home.key("open", "account = \"open\"\n");
    let daemon = Daemon::start(&home);
    wait_for_error(
        &daemon,
        "nowhere",
        "invalid",
        "no compute service in region \"Mars\"",
    );
    wait_for_error(
        &daemon,
        "open",
        "invalid",
        &format!("several regions ({one}, {two})"),
    );
    let (_, status) = daemon.wait(60);
    assert_eq!(
        keyferry_tests::daemon::find(&status, "there")["state"],
        "loaded",
        "{status:#}"
    );
    assert_pairs(&home, &NOVA, &user, &[]);
}
