//! `keyferry status`: the JSON that programs read, and waiting.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use cloud_sim::{CloudSim, Fault, FaultKind, Service};
use keyferry_tests::daemon::{Daemon, Options, find};
use keyferry_tests::home::Home;
use keyferry_tests::wait;
use serde_json::{Value, json};

use crate::program::KEY;

const KEY_FIELDS: &[&str] = &[
    "name",
    "account",
    "generation",
    "state",
    "algorithm",
    "fingerprint",
    "public_key",
    "error",
    "asked",
    "exec",
    "drift",
    "regions",
    "rotation",
    "hosts",
];
const REGION_FIELDS: &[&str] = &["region", "state", "pair_name", "error"];
const ERROR_FIELDS: &[&str] = &["kind", "code", "message", "request_id", "remedy", "retry_at"];

fn start(cloud: &CloudSim) -> (Home, Daemon) {
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    let daemon = Daemon::start(&home);
    (home, daemon)
}

#[track_caller]
fn has_exactly(value: &Value, fields: &[&str]) {
    let found: BTreeSet<&str> = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value:#}"))
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        found,
        fields.iter().copied().collect::<BTreeSet<_>>(),
        "{value:#}"
    );
}

#[test]
fn whoever_asks_as_soon_as_it_listens_is_told_of_every_file() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    // So many that reading them takes a while.
    for number in 0..300 {
        home.key(&format!("key-{number}"), "account = \"none\"\n");
    }
    let daemon = Daemon::launch(&home, &Options::default());
    let status = wait::until("an answer", Duration::from_secs(30), || {
        let output = daemon.keyferry(&["status", "--json"]);
        // Refused by a socket that is not there yet, or whose other end does not listen.
        (output.status.code() != Some(3)).then(|| serde_json::from_slice::<Value>(&output.stdout).ok())
    });
    let status = status.expect("JSON");
    assert_eq!(status["accounts"][0]["name"], "ecs", "{status:#}");
    assert_eq!(
        status["files"].as_array().map(Vec::len),
        Some(301),
        "{:#}",
        status["files"]
    );
}

#[test]
fn the_json_has_every_field_and_null_where_there_is_nothing() {
    let cloud = keyferry_tests::cloud();
    let (home, daemon) = start(&cloud);
    cloud.fault(Fault::new(FaultKind::Quota).action("CreateKeyPair"));
    home.account("tight", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.account_with("broke", "alibaba-ecs", cloud.url(Service::AlibabaEcs), "wrong");
    home.key("good", KEY);
    home.key("full", "account = \"tight\"\ngenerated_by = \"provider\"\n");
    home.key("shut", "account = \"broke\"\nalgorithm = \"ecdsa-p256\"\n");
    home.key("bad", "acount = \"ecs\"\n");
    let (code, status) = daemon.wait(30);
    assert_eq!(code, 1, "{status:#}");

    has_exactly(
        &status,
        &[
            "version", "keys", "accounts", "plugins", "files", "trusted", "revoked", "ledger", "locked",
        ],
    );
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let list = |name: &str| {
        status[name]
            .as_array()
            .unwrap_or_else(|| panic!("{name} is no list"))
            .clone()
    };
    for key in list("keys") {
        has_exactly(&key, KEY_FIELDS);
        for region in key["regions"].as_array().expect("regions is a list") {
            has_exactly(region, REGION_FIELDS);
        }
    }
    for account in list("accounts") {
        has_exactly(
            &account,
            &[
                "name",
                "plugin",
                "region",
                "endpoint",
                "insecure_http",
                "error",
                "checked_at",
            ],
        );
    }
    for plugin in list("plugins") {
        has_exactly(&plugin, &["name", "version", "path", "error"]);
    }
    for file in list("files") {
        has_exactly(&file, &["path", "state", "line", "column", "message", "further"]);
    }
    for owner in ["keys", "accounts", "plugins"].map(list).iter().flatten() {
        if !owner["error"].is_null() {
            has_exactly(&owner["error"], ERROR_FIELDS);
        }
    }

    let good = find(&status, "good");
    assert_eq!(good["account"], "ecs");
    assert_eq!(good["generation"], 1);
    assert_eq!(good["state"], "loaded");
    assert_eq!(good["algorithm"], "ecdsa-p256");
    assert!(
        good["fingerprint"]
            .as_str()
            .expect("a text")
            .starts_with("SHA256:"),
        "{good:#}"
    );
    assert!(
        good["public_key"]
            .as_str()
            .expect("a text")
            .starts_with("ecdsa-sha2-nistp256 "),
        "{good:#}"
    );
    assert_eq!(good["error"], Value::Null);
    let public = fs::read_to_string(home.path("state/public/good.pub")).expect("the public half is a file");
    assert_eq!(public.trim_end(), good["public_key"].as_str().expect("a text"));

    let full = find(&status, "full");
    assert_eq!(full["state"], "failed", "{full:#}");
    assert_eq!(full["public_key"], Value::Null);
    assert_eq!(full["fingerprint"], Value::Null);
    assert_eq!(full["error"]["kind"], "quota", "{full:#}");
    for field in ["code", "message", "request_id", "remedy"] {
        assert!(full["error"][field].is_string(), "{field}: {full:#}");
    }
    let shut = find(&status, "shut");
    assert_eq!(shut["error"]["kind"], "unauthorized", "{shut:#}");
    let retries: Vec<Value> = [&full, &shut]
        .iter()
        .map(|key| key["error"]["retry_at"].clone())
        .collect();
    for retry in retries.iter().filter(|retry| !retry.is_null()) {
        humantime::parse_rfc3339(retry.as_str().expect("a text")).expect("times are RFC 3339");
    }

    let accounts = list("accounts");
    let ecs = accounts
        .iter()
        .find(|account| account["name"] == "ecs")
        .expect("listed");
    assert_eq!(
        ecs,
        &json!({"name": "ecs", "plugin": "alibaba-ecs", "region": "cn-hangzhou",
            "endpoint": cloud.url(Service::AlibabaEcs), "insecure_http": false, "error": null, "checked_at": null})
    );
    let plugins = list("plugins");
    let plugin = plugins
        .iter()
        .find(|plugin| plugin["name"] == "alibaba-ecs")
        .expect("listed");
    assert!(
        plugin["version"].is_string() && plugin["error"].is_null(),
        "{plugin:#}"
    );
    let path = home.config().join("keys/bad.toml").display().to_string();
    let files = list("files");
    let bad = files
        .iter()
        .find(|file| file["path"] == path.as_str())
        .expect("listed");
    assert_eq!(
        (&bad["state"], &bad["line"], &bad["column"]),
        (&json!("refused"), &json!(1), &json!(1))
    );
    assert!(
        bad["message"]
            .as_str()
            .expect("a text")
            .contains("did you mean `account`?"),
        "{bad:#}"
    );

    // A person is told the same, and what to do.
    let text = String::from_utf8(daemon.keyferry(&["status"]).stdout).expect("text is UTF-8");
    for word in [
        "good",
        "loaded",
        "full",
        "failed",
        "what to do:",
        "request id:",
        "bad.toml:1:1",
    ] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let code = full["error"]["code"].as_str().expect("a text");
    assert!(text.contains(code), "{code} is not in {text}");
}

#[test]
fn an_empty_home_has_empty_lists() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let (code, status) = daemon.wait(5);
    assert_eq!(code, 0);
    assert_eq!(status["keys"], json!([]));
    assert_eq!(status["accounts"], json!([]));
    assert_eq!(status["files"], json!([]));
    let text = String::from_utf8(daemon.keyferry(&["status"]).stdout).expect("text is UTF-8");
    assert!(text.contains("no keys yet"), "{text}");
}

#[test]
fn waiting_in_vain_prints_what_is_missing_and_fails() {
    let cloud = keyferry_tests::cloud();
    let (home, daemon) = start(&cloud);
    cloud.fault(
        Fault::new(FaultKind::HangBeforeCommit)
            .action("ImportKeyPair")
            .after(1),
    );
    home.key("quick", KEY);
    daemon.wait_loaded(60);
    home.key("slow", KEY);
    let output = daemon.keyferry(&["status", "--json", "--wait=2"]);
    let stderr = String::from_utf8(output.stderr).expect("text is UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("still missing: slow ("), "{stderr}");
    assert!(!stderr.contains("quick"), "{stderr}");
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON on standard output");
    assert_eq!(find(&status, "quick")["state"], "loaded");
    assert_eq!(find(&status, "slow")["state"], "creating");
    // Not a moment of waiting at all.
    let before = Instant::now();
    assert_eq!(daemon.wait(0).0, 1);
    assert!(before.elapsed() < Duration::from_secs(10));
    cloud.clear_faults();
    cloud.release();
    daemon.wait_loaded(60);
}

/// `--wait` reads the directory first: what was saved just before is waited for, whether the watch has seen it or not.
#[test]
fn waiting_begins_with_reading() {
    let cloud = keyferry_tests::cloud();
    let (home, daemon) = start(&cloud);
    for number in 0..10 {
        let name = format!("key-{number}");
        home.key(&name, KEY);
        let output = daemon.keyferry(&["status", "--wait", "--json"]);
        assert_eq!(output.status.code(), Some(0));
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON on standard output");
        assert_eq!(find(&status, &name)["state"], "loaded");
    }
    // The seconds may be given either way.
    assert_eq!(daemon.keyferry(&["status", "--wait", "5"]).status.code(), Some(0));
}

/// What ten keys share is said once, to a person.
#[test]
fn an_error_of_many_keys_is_printed_once() {
    let cloud = keyferry_tests::cloud();
    let (home, daemon) = start(&cloud);
    let credentials = home.path("ecs.json");
    fs::remove_file(&credentials).expect("a file can be removed");
    for number in 0..10 {
        home.key(&format!("key-{number}"), KEY);
    }
    assert_eq!(daemon.wait(30).0, 1);
    let text = String::from_utf8(daemon.keyferry(&["status"]).stdout).expect("text is UTF-8");
    assert_eq!(text.matches("what to do:").count(), 1, "{text}");
    assert!(
        text.contains("key key-0, key key-1,") && text.contains(" more: "),
        "{text}"
    );
    assert!(text.contains(&credentials.display().to_string()), "{text}");
}

/// It is never contacted: it has no key.
#[test]
fn an_account_that_talks_plain_http_is_told_apart() {
    const OPEN: &str = "http://192.0.2.1:8080";
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.account("open", "alibaba-ecs", OPEN);
    let file = fs::read_to_string(home.path("config/accounts/open.toml")).expect("it was written");
    home.write("accounts/open.toml", &format!("insecure_http = true\n{file}"));
    let daemon = Daemon::start(&home);
    let (code, status) = daemon.wait(30);
    assert_eq!(code, 0, "{status:#}");
    let accounts = status["accounts"].as_array().expect("accounts is a list");
    let shown: Vec<_> = accounts
        .iter()
        .map(|account| (&account["name"], &account["endpoint"], &account["insecure_http"]))
        .collect();
    let loopback = cloud.url(Service::AlibabaEcs);
    assert_eq!(
        shown,
        [
            (&json!("ecs"), &json!(loopback), &json!(false)),
            (&json!("open"), &json!(OPEN), &json!(true))
        ]
    );
    let text = String::from_utf8_lossy(&daemon.keyferry(&["status"]).stdout).into_owned();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("plain http")).collect();
    assert_eq!(
        told,
        [format!("account open talks plain http to {OPEN}")],
        "{text}"
    );
}

/// keyferry.toml may ask for a proxy, or for pinned plugins only: while nobody knows, nothing is sent.
#[test]
fn settings_that_are_not_understood_at_the_start_are_no_defaults() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.key("web", KEY);
    home.write(
        "keyferry.toml",
        "[network]\nproxi = \"http://proxy.example.com:3128\"\n",
    );
    let daemon = Daemon::start(&home);
    let (code, status) = daemon.wait(20);
    assert_eq!(code, 1, "{status:#}");
    let words = "keyferry.toml has an error";
    let said = |value: &serde_json::Value| value.as_str().unwrap_or_default().contains(words);
    assert!(said(&status["accounts"][0]["error"]["message"]), "{status:#}");
    assert!(said(&find(&status, "web")["error"]["message"]), "{status:#}");
    assert!(cloud.pairs(Service::AlibabaEcs).is_empty());
    for command in [&["refresh"][..], &["account", "check"], &["plan"]] {
        let output = daemon.keyferry(command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words), "{command:?}: {said}");
    }
    home.write("keyferry.toml", "");
    daemon.wait_loaded(30);
    assert_eq!(cloud.pairs(Service::AlibabaEcs).len(), 1);
}
