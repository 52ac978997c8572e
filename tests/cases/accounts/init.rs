//! `keyferry init`: what it offers, what it writes, and that it works.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::{Home, SECRET_KEY};
use keyferry_tests::internet::Internet;
use serde_json::Value;

use crate::workstation::{keyferry, printed, write, write_all};

/// Every account that the files of [`write_all`] lead to, with the region that the profile names.
const OFFERED: &[&str] = &[
    "alibaba-ecs-role",
    "alibaba-ecs-work",
    "alibaba-ens-role",
    "alibaba-ens-work",
    "alibaba-swas-role",
    "alibaba-swas-work",
    "aws-ec2-admin",
    "aws-ec2-ci",
    "aws-ec2-default",
    "huawei-ecs",
    "openstack-nova-campus",
    "volcengine-ecs-lab",
];

fn init(home: &Home, more: &[&str]) -> std::process::Output {
    let config = home.config().display().to_string();
    let mut arguments = vec!["init", "--config", &config, "--region", "cn-north-4"];
    arguments.extend(more);
    keyferry(home, &arguments, &[])
}

fn accounts(home: &Home) -> BTreeSet<String> {
    let files = fs::read_dir(home.config().join("accounts")).expect("the accounts");
    files
        .map(|file| {
            file.expect("an entry")
                .file_name()
                .to_string_lossy()
                .replace(".toml", "")
        })
        .collect()
}

#[test]
fn nothing_is_written_before_somebody_agrees() {
    let home = Home::new();
    write_all(&home);
    let output = init(&home, &[]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for name in OFFERED {
        assert!(text.contains(&format!("accounts/{name}.toml")), "{name}: {text}");
    }
    assert!(
        text.contains("keys/first.toml") && text.contains("--yes"),
        "{text}"
    );
    assert!(
        text.contains("mode \"CloudSSO\""),
        "what cannot be used is said: {text}"
    );
    assert!(!text.contains(SECRET_KEY), "{text}");
    assert!(accounts(&home).is_empty());
}

#[test]
fn what_it_writes_works_as_it_stands() {
    let cloud = keyferry_tests::cloud();
    let internet = Internet::leading_to(&cloud);
    let home = Home::new();
    write_all(&home);
    let output = init(&home, &["--yes"]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("SSH_AUTH_SOCK"), "{text}");
    assert_eq!(
        accounts(&home),
        OFFERED.iter().map(|&name| name.to_owned()).collect()
    );
    for name in OFFERED {
        let file = fs::read_to_string(home.config().join(format!("accounts/{name}.toml"))).expect("a file");
        assert!(!file.contains(SECRET_KEY) && !file.contains("endpoint"), "{file}");
    }

    // The network is this machine's affair, not the accounts'.
    home.write("keyferry.toml", &internet.settings(&home.path("ca.pem")));
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(60);
    let output = daemon.keyferry(&["account", "check", "--json"]);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", printed(&output)));
    let reports = report["accounts"].as_array().expect("accounts");
    assert_eq!(reports.len(), OFFERED.len());
    for report in reports {
        // Nobody listens at that Keystone.
        if report["name"] == "openstack-nova-campus" {
            assert_eq!(report["error"]["kind"], "unavailable", "{report:#}");
            continue;
        }
        assert!(report["error"].is_null(), "{report:#}\n{}", daemon.log());
        assert_eq!(report["tried"], "get", "{report:#}");
    }
    let asked: BTreeSet<String> = internet.asked().into_iter().collect();
    for host in [
        "ec2.eu-west-1.amazonaws.com",
        "ecs-cn-hangzhou.aliyuncs.com",
        "ecs.cn-north-4.myhuaweicloud.com",
        "ens.aliyuncs.com",
        "open.volcengineapi.com",
    ] {
        assert!(asked.contains(host), "{host}: {asked:?}");
    }
}

#[test]
fn what_is_there_stays_as_it_is() {
    let home = Home::new();
    write_all(&home);
    home.write(
        "accounts/aws-ec2-ci.toml",
        "# mine\nplugin = \"aws-ec2\"\nregion = \"eu-north-1\"\n",
    );
    let output = init(&home, &["--yes", "--plugin", "aws-ec2"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(
        printed(&output).contains("aws-ec2-ci.toml is there already"),
        "{}",
        printed(&output)
    );
    let kept = fs::read_to_string(home.config().join("accounts/aws-ec2-ci.toml")).expect("a file");
    assert!(kept.starts_with("# mine"));
    assert_eq!(accounts(&home).len(), 3, "of one plugin alone");
    let output = init(&home, &["--yes", "--plugin", "aws-ec2"]);
    assert!(
        printed(&output).contains("all of it is there already"),
        "{}",
        printed(&output)
    );
}

#[test]
fn an_empty_home_is_told_what_to_do() {
    let home = Home::new();
    let output = init(&home, &["--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed(&output).contains("aliyun configure"),
        "{}",
        printed(&output)
    );
    let output = init(&home, &["--plugin", "aws-ec3"]);
    assert!(
        printed(&output).contains("did you mean `aws-ec2`"),
        "{}",
        printed(&output)
    );
}

/// Exit 1 with these words, and not a file more than before.
#[track_caller]
fn assert_stopped(home: &Home, output: &std::process::Output, words: &[&str]) {
    let text = printed(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!home.config().join("keys/first.toml").exists(), "{text}");
}

#[test]
fn what_the_check_would_refuse_is_not_offered() {
    let home = Home::new();
    write_all(&home);
    let config = home.config().display().to_string();
    let given = ["init", "--yes", "--config", &config, "--region", "CN North"];
    let output = keyferry(&home, &[&given[..], &["--plugin", "huawei-ecs"]].concat(), &[]);
    let words = ["not offered", "huawei-ecs", "`CN North`", "lower-case letters"];
    assert_stopped(&home, &output, &words);
    assert!(!home.config().join("keyferry.toml").exists());

    // Of a profile, and the others are written.
    write(
        &home,
        ".aws/config",
        "[default]\nregion = eu-west-1\n\n[profile ci]\nregion = us_east_1\n",
    );
    let output = init(&home, &["--yes", "--plugin", "aws-ec2"]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("not offered") && text.contains("`us_east_1`"),
        "{text}"
    );
    assert_eq!(accounts(&home), BTreeSet::from(["aws-ec2-default".to_owned()]));
}

#[test]
fn a_profile_whose_name_no_file_can_hold_is_not_offered() {
    let home = Home::new();
    let text = format!(
        r#"{{"current": "wo\u0007rk", "profiles": [{{"name": "wo\u0007rk", "mode": "AK", "access_key_id": "AKID",
            "access_key_secret": "{SECRET_KEY}", "region_id": "cn-hangzhou"}}]}}"#
    );
    write(&home, ".aliyun/config.json", &text);
    let output = init(&home, &["--yes", "--plugin", "alibaba-ecs"]);
    assert_stopped(
        &home,
        &output,
        &["not offered", "its name", "a control character"],
    );
}

#[test]
fn a_broken_directory_is_told_before_anything_is_written() {
    let home = Home::new();
    write_all(&home);
    home.write("keyferry.toml", "cpus = 9\n");
    let output = init(&home, &["--yes"]);
    assert_stopped(
        &home,
        &output,
        &["keyferry.toml", "`cpus`", "nothing was written"],
    );
    assert!(accounts(&home).is_empty());

    fs::remove_file(home.config().join("keyferry.toml")).expect("a file can be removed");
    let open_to_all = fs::Permissions::from_mode(0o777);
    fs::set_permissions(home.config(), open_to_all.clone()).expect("modes can be set");
    let output = init(&home, &["--yes"]);
    assert_stopped(&home, &output, &["0777", "chmod", "nothing was written"]);

    // The folder that it would be made in.
    fs::create_dir(home.path("open")).expect("a folder can be made");
    fs::set_permissions(home.path("open"), open_to_all).expect("modes can be set");
    let below = home.path("open/keyferry").display().to_string();
    let output = keyferry(&home, &["init", "--yes", "--config", &below], &[]);
    assert_stopped(&home, &output, &["0777", "nothing was written"]);
    assert!(!home.path("open/keyferry").exists());

    let file = home.path(".aliyun/config.json").display().to_string();
    let output = keyferry(&home, &["init", "--yes", "--config", &file], &[]);
    assert_stopped(&home, &output, &["is a file", "name the config directory"]);
}

#[test]
fn what_is_there_and_wrong_is_told_again() {
    let home = Home::new();
    write_all(&home);
    let output = init(&home, &["--yes", "--plugin", "aws-ec2"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    home.write(
        "keys/first.toml",
        "account = \"aws-ec2-admin\"\nalgorithm = \"dsa\"\n",
    );
    let output = init(&home, &["--yes", "--plugin", "aws-ec2"]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("keys/first.toml: ") && text.contains("`dsa`"),
        "{text}"
    );
}

#[test]
fn plugins_that_cannot_be_used_are_told() {
    let home = Home::new();
    write_all(&home);
    let none = home.path("none").display().to_string();
    let output = init(&home, &["--yes", "--plugin-dir", &none]);
    assert_stopped(&home, &output, &["no plugins in", &none, "--plugin-dir"]);
    home.write("plugins.lock", "rubbish");
    let output = init(&home, &["--yes"]);
    assert_stopped(&home, &output, &["aws-ec2", "cannot be used", "plugins.lock"]);
}
