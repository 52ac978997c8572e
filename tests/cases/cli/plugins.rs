//! `keyferry plugin list` and `info`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cloud_sim::Service;
use keyferry_tests::build::built;
use keyferry_tests::daemon::{Daemon, Options, find};
use keyferry_tests::home::Home;
use serde_json::{Value, json};

use crate::program::{KEY, keyferry, text};

/// A folder with copies of the two plugins, and nothing else.
fn folder(home: &Home) -> String {
    let folder = home.path("plugins");
    fs::create_dir(&folder).expect("a folder can be made");
    for name in ["alibaba-ecs", "alibaba-ens"] {
        let library = built().plugin(name);
        let copy = folder.join(library.file_name().expect("a file name"));
        fs::copy(&library, copy).expect("a library can be copied");
    }
    text(&folder)
}

#[test]
fn list_shows_every_plugin_as_text_and_json() {
    let home = Home::new();
    let folder = folder(&home);
    let ran = keyferry(home.root(), &["plugin", "list", "--plugin-dir", &folder]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(ran.stdout.lines().count(), 3, "{}", ran.stdout);
    for word in [
        "PLUGIN",
        "VERSION",
        "LIBRARY",
        "alibaba-ecs",
        "alibaba-ens",
        &folder,
    ] {
        assert!(ran.stdout.contains(word), "{word} is not in {}", ran.stdout);
    }
    let ran = keyferry(
        home.root(),
        &["plugin", "list", "--json", "--plugin-dir", &folder],
    );
    let list: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let plugins = list["plugins"].as_array().expect("a list");
    let names: Vec<&str> = plugins
        .iter()
        .filter_map(|plugin| plugin["name"].as_str())
        .collect();
    assert_eq!(names, ["alibaba-ecs", "alibaba-ens"]);
    for plugin in plugins {
        assert!(
            plugin["version"].is_string() && plugin["error"].is_null(),
            "{plugin:#}"
        );
        assert!(
            plugin["path"].as_str().expect("a path").starts_with(&folder),
            "{plugin:#}"
        );
    }

    // keyferry.toml names the folder just as well; an empty one says where it looked.
    home.write("keyferry.toml", &format!("plugin_dirs = [\"{folder}\"]\n"));
    let config = text(&home.config());
    let ran = keyferry(home.root(), &["plugin", "list", "--config", &config]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 3), "{ran:#?}");
    let empty = text(&home.path("state"));
    let ran = keyferry(home.root(), &["plugin", "list", "--plugin-dir", &empty]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains(&format!("no plugins in {empty}")), "{ran:#?}");
}

#[test]
fn an_unusable_library_is_listed_with_the_reason_and_the_others_too() {
    let home = Home::new();
    let folder = folder(&home);
    fs::write(home.path("plugins/libkeyferry_fake.so"), "not a library").expect("a file can be written");
    let ens = built().plugin("alibaba-ens");
    let ens = home.path("plugins").join(ens.file_name().expect("a file name"));
    fs::set_permissions(&ens, fs::Permissions::from_mode(0o777)).expect("modes can be set");
    let ran = keyferry(home.root(), &["plugin", "list", "--plugin-dir", &folder]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    for word in [
        "alibaba-ecs",
        "0.1.0",
        "fake: ",
        "is not",
        "alibaba-ens: ",
        "others may change it (chmod go-w",
    ] {
        assert!(ran.stdout.contains(word), "{word} is not in {}", ran.stdout);
    }
    let ran = keyferry(
        home.root(),
        &["plugin", "info", "alibaba-ens", "--plugin-dir", &folder],
    );
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("others may change it"), "{ran:#?}");
}

#[test]
fn info_shows_what_a_plugin_may_do() {
    let home = Home::new();
    let folder = folder(&home);
    let ran = keyferry(
        home.root(),
        &["plugin", "info", "alibaba-ecs", "--plugin-dir", &folder],
    );
    assert_eq!(ran.code, 0, "{ran:#?}");
    for word in [
        "ecs.{region}.aliyuncs.com",
        "POST /",
        "CreateKeyPair",
        "ecs:ImportKeyPair",
        "~/.aliyun/config.json",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET (as access_key_secret)",
        "/profiles/*/sts_token (as security_token)",
        "access_key_secret (signs, is never sent)",
        "security_token (sent only as header:x-acs-security-token, optional)",
        "resource_group",
        "rsa-3072",
        "500 pairs per region",
        "restarted (or started) by you",
    ] {
        assert!(ran.stdout.contains(word), "{word} is not in {}", ran.stdout);
    }
    let permissions = ran.stdout.matches("ecs:DescribeKeyPairs").count();
    assert_eq!(
        permissions, 1,
        "a permission is to be granted once: {}",
        ran.stdout
    );

    let ran = keyferry(
        home.root(),
        &["plugin", "info", "alibaba-ecs", "--json", "--plugin-dir", &folder],
    );
    let manifest: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(manifest["name"], "alibaba-ecs");
    for field in [
        "version",
        "title",
        "hosts",
        "operations",
        "credentials",
        "settings",
        "algorithms",
        "names",
    ] {
        assert!(!manifest[field].is_null(), "{field}: {manifest:#}");
    }

    let ran = keyferry(
        home.root(),
        &["plugin", "info", "alibaba-esc", "--plugin-dir", &folder],
    );
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("did you mean `alibaba-ecs`?"), "{ran:#?}");
    assert!(ran.stderr.contains(&folder), "{ran:#?}");
    for name in ["../alibaba-ecs", "a/b", "", "Alibaba"] {
        let ran = keyferry(home.root(), &["plugin", "info", name, "--plugin-dir", &folder]);
        assert_eq!(ran.code, 1, "{name:?}: {ran:#?}");
    }
}

/// A plugin that is put into its place while the daemon runs is found by whoever asks.
#[test]
fn a_plugin_installed_later_is_found_when_asked_for() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    fs::create_dir(home.path("plugins")).expect("a folder can be made");
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.key("web", KEY);
    let options = Options {
        arguments: vec!["--plugin-dir".to_owned(), text(&home.path("plugins"))],
        ..Options::default()
    };
    let daemon = Daemon::start_with(&home, &options);
    let (_, status) = daemon.wait(10);
    assert_eq!(status["plugins"], json!([]));
    let files = status["files"].to_string();
    assert!(files.contains("is in none of the plugin directories"), "{files}");

    let library = built().plugin("alibaba-ecs");
    let place = home
        .path("plugins")
        .join(library.file_name().expect("a file name"));
    fs::copy(&library, &place).expect("a library can be copied");
    let status = daemon.wait_loaded(60);
    assert_eq!(find(&status, "web")["state"], "loaded");
    assert_eq!(status["plugins"][0]["name"], "alibaba-ecs");
    // And one that vanishes takes no key away.
    fs::remove_file(&place).expect("a file can be removed");
    let (code, status) = daemon.wait(10);
    assert_eq!(code, 0, "{status:#}");
    assert_eq!(find(&status, "web")["state"], "loaded");
    assert_eq!(keyferry_tests::openssh::listed(&home.agent_socket()).len(), 1);
}
