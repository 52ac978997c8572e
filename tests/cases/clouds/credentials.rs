//! Where credentials come from: each source of an account, and what is said when it fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cloud_sim::{CloudSim, Credential, Service};
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};
use keyferry_tests::ledger;

use crate::scene::{Shown, wait_for_error, wait_for_state};

/// A key of one account, whose `[credentials]` the case writes.
pub(crate) struct Bench {
    pub(crate) daemon: Daemon,
    pub(crate) home: Home,
    pub(crate) cloud: CloudSim,
}

impl Bench {
    pub(crate) fn prepare() -> (Home, CloudSim) {
        (Home::new(), keyferry_tests::cloud())
    }

    pub(crate) fn start(home: Home, cloud: CloudSim, variables: &[(&str, &str)]) -> Self {
        home.key("web", "account = \"cloud\"\nalgorithm = \"ecdsa-p256\"\n");
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let options = Options {
            environment,
            ..Options::default()
        };
        let daemon = Daemon::start_with(&home, &options);
        Self { daemon, home, cloud }
    }

    #[track_caller]
    pub(crate) fn assert_loaded(&self) {
        self.daemon.wait_loaded(60);
        ledger::assert_matches_cloud(&self.home, &self.cloud);
        let log = self.daemon.log();
        assert!(!log.contains(SECRET_KEY) && !log.contains(TOKEN), "{log}");
    }

    /// The error names all these; nothing was sent.
    #[track_caller]
    pub(crate) fn assert_refused(&self, words: &[&str]) {
        let error = wait_for_error(&self.daemon, "web", &REFUSED);
        let message = error["message"].as_str().unwrap_or_default();
        for word in words {
            assert!(message.contains(word), "{word}: {message}");
        }
        assert!(message.contains("account cloud"), "{message}");
        assert!(
            error["remedy"]
                .as_str()
                .is_some_and(|remedy| remedy.contains("keyferry resume"))
        );
        assert!(
            !message.contains(SECRET_KEY) && !message.contains(TOKEN),
            "{message}"
        );
        assert_eq!(self.cloud.requests().requests.len(), 0);
    }

    /// `keyferry resume` tries again, and it works.
    #[track_caller]
    fn resume(&self) {
        let output = self.daemon.keyferry(&["resume", "web"]);
        assert!(output.status.success(), "{output:?}");
        self.assert_loaded();
    }
}

pub(crate) const TOKEN: &str = "LoopbackSecurityToken0123456789";
const REFUSED: Shown = Shown {
    kind: "credentials",
    code: None,
    words: "",
    again: false,
};

/// The account `cloud` with this `[credentials]`.
pub(crate) fn write_account(home: &Home, cloud: &CloudSim, credentials: &str) {
    home.write(
        "accounts/cloud.toml",
        &format!(
            "plugin = \"alibaba-ecs\"\nregion = \"cn-hangzhou\"\nendpoint = \"{}\"\n{credentials}",
            cloud.url(Service::AlibabaEcs)
        ),
    );
}

pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).expect("folders can be made");
    }
    fs::write(path, text).expect("a file can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("modes can be set");
}

fn object(secret: &str) -> String {
    serde_json::json!({"access_key_id": ACCESS_KEY, "access_key_secret": secret}).to_string()
}

fn want_token(cloud: &CloudSim, expires_at: Option<SystemTime>) {
    cloud.add_credential(Credential {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        session_token: Some(TOKEN.to_owned()),
        expires_at,
    });
}

#[test]
fn variables() {
    let (home, cloud) = Bench::prepare();
    want_token(&cloud, None);
    let env = "[credentials]\nenv = { access_key_id = \"MY_ID\", access_key_secret = \"MY_SECRET\", security_token = \"MY_TOKEN\" }\n";
    write_account(&home, &cloud, env);
    let variables = [
        ("MY_ID", ACCESS_KEY),
        ("MY_SECRET", SECRET_KEY),
        ("MY_TOKEN", TOKEN),
    ];
    Bench::start(home, cloud, &variables).assert_loaded();
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    let (home, cloud) = Bench::prepare();
    let env = "[credentials]\nenv = { access_key_id = \"MY_ID\", access_key_secret = \"MY_SECRET\" }\n";
    write_account(&home, &cloud, env);
    let bench = Bench::start(home, cloud, &[("MY_ID", ACCESS_KEY)]);
    bench.assert_refused(&["the field `access_key_secret`", "the variable MY_SECRET"]);
}

fn credentials_file(home: &Home) -> PathBuf {
    home.path("secret.json")
}

fn with_file(text: &str, mode: u32) -> Bench {
    let (home, cloud) = Bench::prepare();
    write(&credentials_file(&home), text, mode);
    // `~` is the home directory of whoever runs the daemon.
    write_account(&home, &cloud, "[credentials]\nfile = \"~/secret.json\"\n");
    Bench::start(home, cloud, &[])
}

#[test]
fn a_private_file() {
    with_file(&object(SECRET_KEY), 0o600).assert_loaded();
}

#[test]
fn a_file_that_others_may_read_is_refused_until_it_is_private() {
    let bench = with_file(&object(SECRET_KEY), 0o644);
    let path = credentials_file(&bench.home);
    bench.assert_refused(&[&format!("chmod 600 {}", path.display()), "0644"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("modes can be set");
    bench.resume();
}

#[test]
fn a_file_that_is_not_there_is_named_until_it_is() {
    let bench = with_file("", 0o600);
    let path = credentials_file(&bench.home);
    bench.assert_refused(&[&path.display().to_string(), "is not JSON"]);
    fs::remove_file(&path).expect("a file can be removed");
    bench.daemon.keyferry(&["resume"]);
    bench.assert_refused(&[&path.display().to_string()]);
    write(&path, &object(SECRET_KEY), 0o600);
    bench.resume();
}

#[test]
fn a_file_with_another_field_is_refused_with_the_fields_there_are() {
    let text = format!("{{\"access_key\": \"{ACCESS_KEY}\", \"secret\": \"{SECRET_KEY}\"}}");
    let bench = with_file(&text, 0o600);
    bench.assert_refused(&[
        "2 unknown fields (`access_key`, `secret`)",
        "`access_key_id`",
        "`access_key_secret`",
    ]);
}

#[test]
fn a_file_whose_time_is_over_is_refused() {
    let text = serde_json::json!({
        "access_key_id": ACCESS_KEY, "access_key_secret": SECRET_KEY, "security_token": TOKEN,
        "expires_at": "2020-01-02T03:04:05Z",
    });
    let bench = with_file(&text.to_string(), 0o600);
    bench.assert_refused(&["expired at 2020-01-02T03:04:05Z"]);
}

/// The vendor says so, where the file does not tell when it ends; a new token in the file is then taken.
#[test]
fn an_expired_token_is_told_and_a_new_one_taken() {
    let text = |token| {
        serde_json::json!({
            "access_key_id": ACCESS_KEY, "access_key_secret": SECRET_KEY, "security_token": token,
        })
        .to_string()
    };
    let (home, cloud) = Bench::prepare();
    want_token(&cloud, Some(SystemTime::now() - Duration::from_secs(60)));
    write(&credentials_file(&home), &text(TOKEN), 0o600);
    write_account(&home, &cloud, "[credentials]\nfile = \"~/secret.json\"\n");
    let bench = Bench::start(home, cloud, &[]);
    let shown = Shown {
        kind: "unauthorized",
        code: Some("InvalidSecurityToken.Expired"),
        words: "the security token has expired",
        again: false,
    };
    wait_for_error(&bench.daemon, "web", &shown);
    assert_eq!(bench.cloud.requests().requests.len(), 1);

    bench.cloud.add_credential(Credential {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        session_token: Some("AnotherSecurityToken".to_owned()),
        expires_at: None,
    });
    write(
        &credentials_file(&bench.home),
        &text("AnotherSecurityToken"),
        0o600,
    );
    bench.resume();
}

fn with_command(script: &str, arguments: &str) -> Bench {
    let (home, cloud) = Bench::prepare();
    let path = home.path("obtain");
    write(&path, &format!("#!/bin/sh\n{script}\n"), 0o755);
    write_account(
        &home,
        &cloud,
        &format!("[credentials]\ncommand = [\"{}\"{arguments}]\n", path.display()),
    );
    Bench::start(home, cloud, &[("UNRELATED", "leaked")])
}

/// By argv and without a shell, in an environment of few variables.
#[test]
fn a_command() {
    let script = format!(
        "[ \"$#\" = 2 ] && [ \"$1\" = 'a  b' ] && [ \"$2\" = '$HOME;*' ] && [ -z \"$UNRELATED\" ] && [ -n \"$HOME\" ] || exit 9\necho '{}'",
        object(SECRET_KEY)
    );
    with_command(&script, ", \"a  b\", \"$HOME;*\"").assert_loaded();
}

#[test]
fn a_command_that_fails_is_told_without_its_words() {
    let bench = with_command(&format!("set -x; : {SECRET_KEY}; exit 7"), "");
    bench.assert_refused(&[
        "obtain",
        "failed with exit status 7",
        "is not shown, since it may hold a secret",
        "by hand",
    ]);
    let log = bench.daemon.log();
    assert!(!log.contains(SECRET_KEY), "{log}");
    let path = bench.home.path("obtain");
    write(
        &path,
        &format!("#!/bin/sh\necho '{}'\n", object(SECRET_KEY)),
        0o755,
    );
    bench.resume();
}

#[test]
fn a_command_that_is_not_there_is_named() {
    let (home, cloud) = Bench::prepare();
    write_account(&home, &cloud, "[credentials]\ncommand = [\"/nowhere/obtain\"]\n");
    let bench = Bench::start(home, cloud, &[]);
    bench.assert_refused(&["/nowhere/obtain", "was not found"]);
}

/// What it prints may be a secret in another form: it is not quoted.
#[test]
fn a_command_that_prints_rubbish_is_told_without_it() {
    let bench = with_command(&format!("echo 'secret={SECRET_KEY}'"), "");
    bench.assert_refused(&["the output of the command", "is not JSON"]);
}

/// It waits for a word from the case: keys of other accounts do not wait for it.
#[test]
fn a_slow_command_holds_up_its_own_account_only() {
    let script = format!(
        "mkfifo \"$HOME/go\" 2>/dev/null; read -r word < \"$HOME/go\"; echo '{}'",
        object(SECRET_KEY)
    );
    let bench = with_command(&script, "");
    bench
        .home
        .account("quick", "alibaba-ecs", bench.cloud.url(Service::AlibabaEcs));
    bench
        .home
        .key("other", "account = \"quick\"\nalgorithm = \"ecdsa-p256\"\n");
    wait_for_state(&bench.daemon, "other", "loaded");
    let web = bench.daemon.key("web");
    assert_eq!(web["state"], "creating", "{web:#}");
    let fifo = bench.home.path("go");
    keyferry_tests::wait::until("the command runs", Duration::from_secs(10), || {
        fifo.exists().then_some(())
    });
    fs::write(&fifo, "go\n").expect("the command reads");
    bench.assert_loaded();
}

#[test]
fn the_chains_variables() {
    let (home, cloud) = Bench::prepare();
    want_token(&cloud, None);
    write_account(&home, &cloud, "");
    let variables = [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", ACCESS_KEY),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET_KEY),
        ("ALIBABA_CLOUD_SECURITY_TOKEN", TOKEN),
    ];
    Bench::start(home, cloud, &variables).assert_loaded();
}

/// `~/.aliyun/config.json` with these profiles; the first is the current one.
pub(crate) fn write_config(home: &Home, profiles: &[serde_json::Value]) {
    let config = serde_json::json!({"current": profiles[0]["name"], "profiles": profiles});
    write(&home.path(".aliyun/config.json"), &config.to_string(), 0o600);
}

fn profile(name: &str, mode: &str, secret: &str) -> serde_json::Value {
    serde_json::json!({
        "name": name, "mode": mode, "access_key_id": ACCESS_KEY, "access_key_secret": secret, "sts_token": TOKEN,
        "region_id": "cn-hangzhou", "output_format": "json", "language": "en",
    })
}

#[test]
fn the_command_lines_current_profile() {
    let (home, cloud) = Bench::prepare();
    write_config(&home, &[profile("default", "AK", SECRET_KEY)]);
    write_account(&home, &cloud, "");
    Bench::start(home, cloud, &[]).assert_loaded();
}

#[test]
fn a_profile_with_a_security_token() {
    let (home, cloud) = Bench::prepare();
    want_token(&cloud, None);
    write_config(&home, &[profile("default", "StsToken", SECRET_KEY)]);
    write_account(&home, &cloud, "");
    Bench::start(home, cloud, &[]).assert_loaded();
}

/// The environment's key is another one: the profile that the account names wins.
#[test]
fn the_profile_that_the_account_names() {
    let (home, cloud) = Bench::prepare();
    write_config(
        &home,
        &[
            profile("default", "AK", "WrongSecret"),
            profile("prod", "AK", SECRET_KEY),
        ],
    );
    write_account(&home, &cloud, "[credentials]\nprofile = \"prod\"\n");
    let variables = [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", ACCESS_KEY),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "WrongSecret"),
    ];
    Bench::start(home, cloud, &variables).assert_loaded();
}

#[test]
fn the_section_of_credentials_ini() {
    let (home, cloud) = Bench::prepare();
    let text = format!(
        "# for tests\n[default]\ntype = access_key\naccess_key_id = {ACCESS_KEY}\naccess_key_secret = {SECRET_KEY}\n"
    );
    write(&home.path(".alibabacloud/credentials.ini"), &text, 0o600);
    write_account(&home, &cloud, "");
    Bench::start(home, cloud, &[]).assert_loaded();
}

#[test]
fn other_modes_are_refused_by_name() {
    for mode in ["CloudSSO", "OAuth"] {
        let (home, cloud) = Bench::prepare();
        write_config(&home, &[profile("default", mode, SECRET_KEY)]);
        write_account(&home, &cloud, "");
        let bench = Bench::start(home, cloud, &[]);
        bench.assert_refused(&[
            &format!("mode \"{mode}\""),
            "not in this version",
            "only AK, StsToken, RamRoleArn",
            "config.json",
        ]);
    }
}

#[test]
fn other_types_of_credentials_ini_are_refused_by_name() {
    let (home, cloud) = Bench::prepare();
    let text = "[default]\ntype = rsa_key_pair\npublic_key_id = web\n";
    write(&home.path(".alibabacloud/credentials.ini"), text, 0o600);
    write_account(&home, &cloud, "");
    let bench = Bench::start(home, cloud, &[]);
    bench.assert_refused(&["type \"rsa_key_pair\"", "not in this version", "credentials.ini"]);
}

#[test]
fn a_chain_without_any_credentials_tells_where_it_looked() {
    let (home, cloud) = Bench::prepare();
    write_account(&home, &cloud, "");
    let bench = Bench::start(home, cloud, &[]);
    bench.assert_refused(&[
        "ALIBABA_CLOUD_ACCESS_KEY_ID is not set",
        ".aliyun/config.json: no such file",
        ".alibabacloud/credentials.ini: no such file",
        "switched off by ALIBABA_CLOUD_ECS_METADATA_DISABLED",
        "ALIBABA_CLOUD_CREDENTIALS_URI: not set",
        "aliyun configure",
    ]);
    write_config(&bench.home, &[profile("default", "AK", SECRET_KEY)]);
    bench.resume();
}
