//! `keyferry account check`: which source won, which did not and why, and what only the shell has.

use cloud_sim::{CloudSim, Service};
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};
use serde_json::Value;

use crate::workstation::{keyferry, printed, write};

/// An account at ECS with the vendor's own chain.
fn prepare() -> (Home, CloudSim) {
    let (home, cloud) = (Home::new(), keyferry_tests::cloud());
    let text = format!(
        "plugin = \"alibaba-ecs\"\nregion = \"cn-hangzhou\"\nendpoint = \"{}\"\n",
        cloud.url(Service::AlibabaEcs)
    );
    home.write("accounts/cloud.toml", &text);
    (home, cloud)
}

fn start(home: &Home, variables: &[(&str, &str)]) -> Daemon {
    let environment = variables
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let options = Options {
        environment,
        ..Options::default()
    };
    let daemon = Daemon::start_with(home, &options);
    daemon.wait(60);
    daemon
}

/// Checks the account in a shell with these variables: exit code, text and report.
fn check(home: &Home, variables: &[(&str, &str)]) -> (Option<i32>, String, Value) {
    let (run, config) = (
        home.path("run").display().to_string(),
        home.config().display().to_string(),
    );
    let arguments = [
        "account",
        "check",
        "cloud",
        "--runtime",
        &run,
        "--config",
        &config,
    ];
    let output = keyferry(home, &arguments, variables);
    let text = printed(&output);
    assert!(!text.contains(SECRET_KEY), "{text}");
    let json = keyferry(home, &[&arguments[..], &["--json"]].concat(), variables);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap_or_else(|_| panic!("{}", printed(&json)));
    (output.status.code(), text, report["accounts"][0].clone())
}

const VARIABLES: &[(&str, &str)] = &[
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", ACCESS_KEY),
    ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET_KEY),
];

#[test]
fn the_source_that_won_is_named_with_those_that_did_not() {
    let (home, _cloud) = prepare();
    let file = format!(
        "[default]\ntype = access_key\naccess_key_id = {ACCESS_KEY}\naccess_key_secret = {SECRET_KEY}\n"
    );
    write(&home, ".alibabacloud/credentials.ini", &file);
    let _daemon = start(&home, &[]);
    let (code, text, report) = check(&home, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("credentials.ini") && text.contains("the vendor takes them"),
        "{text}"
    );
    let attempts = report["attempts"].to_string();
    for word in ["environment", "config.json"] {
        assert!(attempts.contains(word), "{word}: {report:#}");
    }
    assert_eq!(report["tried"], "get");
}

#[test]
fn what_the_shell_has_and_the_daemon_has_not_is_named() {
    let (home, _cloud) = prepare();
    let _daemon = start(&home, &[("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")]);
    let (code, text, report) = check(&home, VARIABLES);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(report["error"]["kind"], "credentials", "{report:#}");
    assert!(
        text.contains("set in this shell, and not in the daemon: ALIBABA_CLOUD_ACCESS_KEY_ID ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
        "{text}"
    );
    assert!(text.contains("import-environment"), "{text}");
}

#[test]
fn without_a_daemon_this_shell_is_asked() {
    let (home, cloud) = prepare();
    let (code, text, report) = check(&home, VARIABLES);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the daemon is not running"), "{text}");
    assert_eq!(report["source"], "environment", "{report:#}");
    assert!(!cloud.requests().requests.is_empty());
}

#[test]
fn a_refusal_is_told_with_code_and_way_out() {
    let (home, _cloud) = prepare();
    let wrong = [
        VARIABLES[0],
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "another-secret-0123456789"),
    ];
    let _daemon = start(&home, &wrong);
    let (code, text, report) = check(&home, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(report["error"]["kind"], "unauthorized", "{report:#}");
    assert_eq!(report["error"]["code"], "SignatureDoesNotMatch");
    assert!(report["error"]["request_id"].is_string());
    assert!(text.contains("keyferry account policy cloud"), "{text}");
    assert!(!text.contains("another-secret"), "{text}");
}

#[test]
fn an_account_that_is_not_there_is_told_with_the_nearest() {
    let (home, _cloud) = prepare();
    let daemon = start(&home, &[]);
    let output = daemon.keyferry(&["account", "check", "clud"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed(&output).contains("did you mean `cloud`"),
        "{}",
        printed(&output)
    );
}
