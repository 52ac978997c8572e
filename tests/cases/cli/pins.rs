//! `keyferry plugin add`, `remove` and `pin`, and what a pin holds a plugin to.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cloud_sim::Service;
use keyferry_tests::build::built;
use keyferry_tests::daemon::{Daemon, Options, find};
use keyferry_tests::home::Home;
use serde_json::Value;

use crate::c_library::CLibrary;
use crate::program::{KEY, Ran, keyferry, text};

const NAME: &str = "pinned-cloud";

/// A plugin in C whose constructor would leave a mark, compiled into a folder.
fn compile(folder: &Path, message: &str, marker: &Path, change: impl FnOnce(&mut CLibrary)) -> PathBuf {
    let mut library = CLibrary::new(NAME, message).with_constructor(marker);
    change(&mut library);
    fs::create_dir_all(folder).expect("a folder can be made");
    library.compile(folder)
}

/// Installs into the user's folder, with pins in the home's config directory.
fn plugin(home: &Home, words: &[&str]) -> Ran {
    let config = text(&home.config());
    let mut arguments = vec!["plugin"];
    arguments.extend(words);
    arguments.extend(["--config", &config]);
    keyferry(home.root(), &arguments)
}

/// A home whose plugins are the user's own alone.
fn home() -> Home {
    let home = Home::new();
    let folder = text(&home.path(".local/share/keyferry/plugins"));
    home.write("keyferry.toml", &format!("plugin_dirs = [\"{folder}\"]\n"));
    home
}

fn installed(home: &Home) -> PathBuf {
    let name = format!("libkeyferry_pinned_cloud{}", std::env::consts::DLL_SUFFIX);
    home.path(".local/share/keyferry/plugins").join(name)
}

fn lock(home: &Home) -> String {
    fs::read_to_string(home.config().join("plugins.lock")).expect("there is a plugins.lock")
}

#[test]
fn add_shows_copies_and_pins_without_running_any_code() {
    let home = home();
    let marker = home.path("constructor-ran");
    let library = compile(&home.path("build"), "one", &marker, |_| {});

    let ran = plugin(&home, &["add", &text(&library), "--dry-run"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(!installed(&home).exists() && !home.config().join("plugins.lock").exists());

    let ran = plugin(&home, &["add", &text(&library)]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    for word in [
        "pinned-cloud 1.2.3",
        "api.c.example",
        "GET /",
        "sha256:",
        "copied to",
        "pinned pinned-cloud in",
    ] {
        assert!(ran.stdout.contains(word), "{word} is not in {}", ran.stdout);
    }
    assert_eq!(fs::read(&library).unwrap(), fs::read(installed(&home)).unwrap());
    assert_eq!(fs::metadata(installed(&home)).unwrap().mode() & 0o7777, 0o644);
    let folder = installed(&home).parent().unwrap().to_owned();
    assert_eq!(
        fs::read_dir(folder).unwrap().count(),
        1,
        "nothing else is left behind"
    );
    let lock = lock(&home);
    for word in [
        "[plugins.pinned-cloud]",
        "version = \"1.2.3\"",
        "\"api.c.example\"",
        "\"list GET /\"",
    ] {
        assert!(lock.contains(word), "{word} is not in {lock}");
    }
    let ran = plugin(&home, &["list"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let row = ran
        .stdout
        .lines()
        .find(|line| line.starts_with(NAME))
        .expect("it is listed");
    assert_eq!(row.split_whitespace().nth(2), Some("pinned"), "{row}");
    assert!(!marker.exists(), "code of the plugin ran");

    let ran = plugin(&home, &["remove", NAME]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(!installed(&home).exists());
    assert!(!lock_has(&home, NAME));
    let ran = plugin(&home, &["remove", NAME]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(
        ran.stderr.contains("there is no plugin \"pinned-cloud\""),
        "{ran:#?}"
    );
}

fn lock_has(home: &Home, name: &str) -> bool {
    lock(home).contains(&format!("[plugins.{name}]"))
}

#[test]
fn what_differs_from_its_pin_is_refused_with_the_difference_and_the_way_out() {
    let home = home();
    let marker = home.path("constructor-ran");
    let library = compile(&home.path("build"), "one", &marker, |_| {});
    assert_eq!(plugin(&home, &["add", &text(&library)]).code, 0);
    // A version of its own, and one host more.
    let other = compile(&home.path("other"), "two", &marker, |library| {
        library.manifest = library.manifest.replace("1.2.3", "1.3.0").replace(
            "[\"api.c.example\"]",
            "[\"api.c.example\", \"collector.example\"]",
        );
    });
    fs::copy(&other, installed(&home)).unwrap();

    let ran = plugin(&home, &["list"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    for word in [
        "differs",
        "is not the plugin that was pinned",
        "its version was 1.2.3 and is 1.3.0",
        "its SHA-256 was ",
        "added host collector.example",
        "`keyferry plugin pin pinned-cloud`",
    ] {
        assert!(ran.stdout.contains(word), "{word} is not in {}", ran.stdout);
    }
    let ran = plugin(&home, &["list", "--json"]);
    let listed: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let entry = &listed["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .find(|plugin| plugin["name"] == NAME)
        .unwrap();
    assert_eq!(entry["pin"], "differs", "{entry:#}");
    assert!(entry["error"].is_object(), "{entry:#}");
    // What it may do can be looked at all the same.
    let ran = plugin(&home, &["info", NAME]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(
        ran.stdout.contains("differs from what was pinned") && ran.stdout.contains("added host"),
        "{ran:#?}"
    );

    let before = lock(&home);
    let ran = plugin(&home, &["pin", NAME, "--dry-run"]);
    assert_eq!((ran.code, lock(&home)), (0, before), "{ran:#?}");
    assert!(ran.stdout.contains("added host collector.example"), "{ran:#?}");
    let ran = plugin(&home, &["pin", NAME]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains("added host collector.example"), "{ran:#?}");
    assert_eq!(plugin(&home, &["list"]).code, 0);
    assert!(!marker.exists(), "code of the plugin ran");
}

#[test]
fn add_refuses_what_would_not_be_used_or_is_not_to_be_trusted() {
    let home = home();
    let marker = home.path("constructor-ran");
    let library = compile(&home.path("build"), "one", &marker, |_| {});
    let refused = |words: &[&str], expected: &str| {
        let ran = plugin(&home, words);
        assert_eq!(ran.code, 1, "{ran:#?}");
        assert!(ran.stderr.contains(expected), "{expected}: {ran:#?}");
        assert!(!home.config().join("plugins.lock").exists());
    };
    let elsewhere = text(&home.path("elsewhere"));
    refused(
        &["add", &text(&library), "--to", &elsewhere],
        "plugins are not looked for in",
    );
    refused(&["add", "/etc/passwd"], "is not named like a plugin");
    refused(&["add", &text(&home.path("libkeyferry_none.so"))], "cannot read");

    fs::set_permissions(&library, fs::Permissions::from_mode(0o666)).unwrap();
    refused(&["add", &text(&library)], "others may change it (chmod go-w");
    fs::set_permissions(&library, fs::Permissions::from_mode(0o644)).unwrap();

    // A folder that others may write, and one that is searched earlier.
    let (first, second) = (home.path("first"), home.path("second"));
    fs::create_dir(&first).unwrap();
    fs::create_dir(&second).unwrap();
    home.write(
        "keyferry.toml",
        &format!("plugin_dirs = [\"{}\", \"{}\"]\n", text(&first), text(&second)),
    );
    refused(&["add", &text(&library)], "plugins are not looked for in");
    fs::set_permissions(&second, fs::Permissions::from_mode(0o777)).unwrap();
    refused(
        &["add", &text(&library), "--to", &text(&second)],
        "others may change it",
    );
    fs::set_permissions(&second, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(&library, first.join(library.file_name().unwrap())).unwrap();
    refused(
        &["add", &text(&library), "--to", &text(&second)],
        "comes before it",
    );
    let ran = plugin(&home, &["add", &text(&library), "--to", &text(&first)]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(!marker.exists(), "code of the plugin ran");
}

/// Through the daemon: a key is made with the pinned plugin, and not with another in its place.
#[test]
fn the_daemon_uses_what_was_pinned_and_nothing_else() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    let folder = home.path("plugins");
    fs::create_dir(&folder).unwrap();
    let original = built().plugin("alibaba-ecs");
    let place = folder.join(original.file_name().unwrap());
    fs::copy(&original, &place).unwrap();
    home.write("keyferry.toml", "[plugins]\nrequire_pins = true\n");
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.key("web", KEY);
    let options = Options {
        arguments: vec!["--plugin-dir".to_owned(), text(&folder)],
        ..Options::default()
    };
    let daemon = Daemon::start_with(&home, &options);
    let (_, status) = daemon.wait(10);
    let words = status.to_string();
    assert!(
        words.contains("is not pinned, and keyferry.toml has require_pins = true"),
        "{words}"
    );
    assert!(words.contains("`keyferry plugin pin alibaba-ecs`"), "{words}");

    let pin = || plugin(&home, &["pin", "alibaba-ecs", "--plugin-dir", &text(&folder)]);
    assert_eq!(pin().code, 0);
    let status = daemon.wait_loaded(60);
    assert_eq!(find(&status, "web")["state"], "loaded");

    // Another build in its place: one byte more at its end, where nobody looks.
    let mut content = fs::read(&original).unwrap();
    content.push(0);
    let next = folder.join("next");
    fs::write(&next, content).unwrap();
    fs::rename(&next, &place).unwrap();
    home.key("db", KEY);
    let (code, status) = daemon.wait(20);
    let words = status.to_string();
    assert_ne!(code, 0, "{status:#}");
    assert!(words.contains("is not the plugin that was pinned"), "{words}");
    assert_eq!(
        find(&status, "web")["state"],
        "loaded",
        "what is loaded goes on serving"
    );

    let ran = pin();
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("`keyferry resume`"), "{ran:#?}");
    // Once it has read the directory again, as `status --wait` has it do.
    daemon.wait(10);
    daemon.keyferry(&["resume"]);
    let status = daemon.wait_loaded(60);
    assert_eq!(find(&status, "db")["state"], "loaded");
}

/// Pins that cannot be read pin everything down: nothing is loaded.
#[test]
fn pins_that_cannot_be_read_load_nothing() {
    let home = home();
    let marker = home.path("constructor-ran");
    let library = compile(&home.path("build"), "one", &marker, |_| {});
    assert_eq!(plugin(&home, &["add", &text(&library)]).code, 0);
    let lock = home.config().join("plugins.lock");
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).unwrap();
    let ran = plugin(&home, &["list"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(
        ran.stdout
            .contains("no plugin is loaded while its pin cannot be read"),
        "{ran:#?}"
    );
    assert!(ran.stdout.contains("chmod go-w"), "{ran:#?}");
    fs::remove_file(&lock).unwrap();
    symlink("/nonexistent", &lock).unwrap();
    let ran = plugin(&home, &["list"]);
    assert_eq!(
        ran.code, 1,
        "a link that leads nowhere is no empty list: {ran:#?}"
    );
}
