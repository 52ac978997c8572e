//! What worked before stays, and only what changed is opened.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::config::fixture::{ACCOUNT, Directory, KEY, Manifests};
use crate::config::{PluginProblem, Plugins, State, read};
use crate::desired::FileState;

/// A config directory that is read again and again.
struct Reading {
    directory: Directory,
    plugins: Manifests,
    state: State,
}

impl Reading {
    fn new(keys: &[&str]) -> Self {
        let directory = Directory::new();
        for key in keys {
            directory.write(&format!("keys/{key}.toml"), KEY);
        }
        let plugins = Manifests::new();
        let state = read(&directory.path(), &plugins, None);
        Self {
            directory,
            plugins,
            state,
        }
    }

    fn again(&mut self) {
        self.state = read(&self.directory.path(), &self.plugins, Some(&self.state));
    }

    /// Reads again until no file is too young to be taken as unchanged.
    fn settle(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.state.opened() > 0 {
            assert!(
                Instant::now() < deadline,
                "{} files are still opened",
                self.state.opened()
            );
            self.again();
        }
    }

    #[track_caller]
    fn file(&self, file: &str, state: FileState, message: &str) {
        let desired = self.state.desired();
        let path = self.directory.path().join(file);
        let report = desired
            .files
            .iter()
            .find(|report| report.path == path)
            .expect("the file has a report");
        let text = report.message.clone().unwrap_or_default();
        assert_eq!(report.state, state, "{text}");
        assert!(text.contains(message), "{text:?} should contain {message:?}");
    }

    /// The names of the keys in force, with `-` in front of those whose file is gone.
    fn keys(&self) -> Vec<String> {
        let desired = self.state.desired();
        let name = |(name, key): (&String, &Arc<crate::desired::KeySpec>)| match key.present {
            true => name.clone(),
            false => format!("-{name}"),
        };
        desired.keys.iter().map(name).collect()
    }
}

#[test]
fn a_broken_file_keeps_its_last_good_version_and_the_others_go_on() {
    let mut reading = Reading::new(&["a", "b"]);
    reading.directory.write("keys/a.toml", "account = ");
    reading
        .directory
        .write("keys/b.toml", format!("{KEY}region = \"cn-beijing\""));
    reading.directory.write("keys/c.toml", "account = ");
    reading.again();
    reading.file("keys/a.toml", FileState::Kept, "not TOML");
    reading.file("keys/b.toml", FileState::Loaded, "");
    reading.file("keys/c.toml", FileState::Refused, "not TOML");
    assert_eq!(reading.keys(), ["a", "b"]);
    assert_eq!(
        reading.state.desired().keys["b"].region.as_deref(),
        Some("cn-beijing")
    );
    reading
        .directory
        .write("keys/a.toml", format!("{KEY}region = \"cn-shanghai\""));
    reading.again();
    reading.file("keys/a.toml", FileState::Loaded, "");
    assert_eq!(
        reading.state.desired().keys["a"].region.as_deref(),
        Some("cn-shanghai")
    );
}

#[test]
fn settings_that_break_stay_in_force() {
    let mut reading = Reading::new(&[]);
    reading
        .directory
        .write("keyferry.toml", "defaults.max_concurrent = 3");
    reading.again();
    reading
        .directory
        .write("keyferry.toml", "defaults.max_concurrent = 300");
    reading.again();
    reading.file("keyferry.toml", FileState::Kept, "out of range");
    assert_eq!(reading.state.desired().daemon.max_concurrent, Some(3));
    reading.directory.remove("keyferry.toml");
    reading.again();
    reading.file("keyferry.toml", FileState::Missing, "settings stay in force");
    assert_eq!(reading.state.desired().daemon.max_concurrent, Some(3));
}

#[test]
fn a_file_that_vanished_stays_in_force_and_goes_on_when_it_comes_back() {
    let mut reading = Reading::new(&["a", "b"]);
    reading.directory.write("keys/never-good.toml", "x");
    reading.again();
    reading.directory.remove("keys/a.toml");
    reading.directory.remove("keys/never-good.toml");
    reading.again();
    reading.file("keys/a.toml", FileState::Missing, "put it back");
    assert_eq!(reading.keys(), ["-a", "b"]);
    assert_eq!(
        reading.state.desired().files.len(),
        3,
        "a file that was never good leaves nothing behind"
    );
    reading.directory.write("keys/a.toml", "account = ");
    reading.again();
    reading.file("keys/a.toml", FileState::Kept, "not TOML");
    assert_eq!(reading.keys(), ["a", "b"]);
    reading.directory.write("keys/a.toml", KEY);
    reading.again();
    reading.file("keys/a.toml", FileState::Loaded, "");
}

#[test]
fn a_directory_that_empties_or_vanishes_removes_nothing() {
    let mut reading = Reading::new(&["a", "b"]);
    let (config, away) = (reading.directory.path(), reading.directory.beside("away"));
    fs::rename(&config, &away).unwrap();
    reading.again();
    reading.file("", FileState::Missing, "the directory is gone");
    reading.file("accounts/aliyun.toml", FileState::Missing, "");
    assert_eq!(reading.keys(), ["-a", "-b"]);
    assert_eq!(reading.state.desired().accounts.len(), 1);

    fs::create_dir(&config).unwrap();
    reading.again();
    assert_eq!(reading.keys(), ["-a", "-b"]);
    assert_eq!(reading.state.desired().accounts.len(), 1);

    fs::remove_dir(&config).unwrap();
    fs::rename(&away, &config).unwrap();
    reading.again();
    assert_eq!(reading.keys(), ["a", "b"]);
    assert!(
        reading
            .state
            .desired()
            .files
            .iter()
            .all(|file| file.state == FileState::Loaded)
    );
}

#[test]
fn a_directory_that_is_not_there_yet_is_named() {
    let directory = Directory::new();
    let state = read(&directory.beside("nowhere"), &Manifests::new(), None);
    let files = &state.desired().files;
    assert_eq!((files.len(), files[0].state), (1, FileState::Missing));
    assert!(
        files[0]
            .message
            .as_deref()
            .is_some_and(|message| message.contains("--config"))
    );
}

#[test]
fn only_files_that_changed_are_opened() {
    let names: Vec<String> = (0..1000).map(|n| format!("k{n}")).collect();
    let mut reading = Reading::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((reading.state.opened(), reading.keys().len()), (1001, 1000));
    reading.settle();
    let desired = reading.state.desired();
    reading.again();
    assert_eq!(reading.state.opened(), 0);
    assert!(Arc::ptr_eq(&desired, &reading.state.desired()));
    reading.directory.write("keys/k7.toml", "account = ");
    reading.again();
    assert_eq!(reading.state.opened(), 1);
    reading.file("keys/k7.toml", FileState::Kept, "not TOML");
    assert_eq!(reading.keys().len(), 1000);
}

#[test]
fn a_changed_account_has_its_keys_checked_again_without_reading_them() {
    let mut reading = Reading::new(&["a"]);
    reading.directory.write("keys/late.toml", "account = \"late\"");
    reading.again();
    reading.file("keys/late.toml", FileState::Refused, "there is no account `late`");
    reading.settle();
    reading.directory.write("accounts/late.toml", "plugin = 7");
    reading.again();
    assert_eq!(reading.state.opened(), 1);
    reading.file(
        "keys/late.toml",
        FileState::Refused,
        "account `late` has an error, see accounts/late.toml",
    );
    reading.directory.write("accounts/late.toml", ACCOUNT);
    reading.again();
    assert_eq!(reading.state.opened(), 1);
    reading.file("keys/late.toml", FileState::Loaded, "");
    reading
        .directory
        .write("accounts/late.toml", "plugin = \"alibaba-ecs\"");
    reading.again();
    reading.file("keys/late.toml", FileState::Kept, "needs a region");
    reading.directory.write("accounts/late.toml", "broken");
    reading.again();
    reading.file("accounts/late.toml", FileState::Kept, "");
    assert_eq!(reading.keys(), ["a", "late"]);
}

#[test]
fn a_plugin_that_comes_and_goes_changes_its_accounts_without_reading_them() {
    let mut reading = Reading::new(&["a"]);
    reading.settle();
    let all = reading.plugins.0.lock().unwrap().clone();
    reading.plugins.0.lock().unwrap().clear();
    reading.again();
    reading.file(
        "accounts/aliyun.toml",
        FileState::Kept,
        "is in none of the plugin directories",
    );
    reading.file("keys/a.toml", FileState::Loaded, "");
    *reading.plugins.0.lock().unwrap() = all;
    reading.again();
    reading.file("accounts/aliyun.toml", FileState::Loaded, "");
    assert_eq!(reading.state.opened(), 0);
}

#[test]
fn a_version_that_is_kept_follows_its_plugin() {
    for breaks in [true, false] {
        let mut reading = Reading::new(&["a"]);
        match breaks {
            true => reading.directory.write("accounts/aliyun.toml", "plugin = "),
            false => reading.directory.remove("accounts/aliyun.toml"),
        }
        reading.again();
        let mut upgraded = {
            let manifests = reading.plugins.0.lock().unwrap();
            manifests["alibaba-ecs"].as_ref().clone()
        };
        upgraded.algorithms.import.reverse();
        let first = upgraded.algorithms.import[0];
        reading
            .plugins
            .0
            .lock()
            .unwrap()
            .insert("alibaba-ecs".to_owned(), Arc::new(upgraded));
        reading.again();
        reading.directory.write("keys/b.toml", KEY);
        reading.again();
        let desired = reading.state.desired();
        for key in ["a", "b"] {
            assert_eq!(desired.keys[key].algorithm, first, "{key}, broken: {breaks}");
        }
        let state = if breaks {
            FileState::Kept
        } else {
            FileState::Missing
        };
        reading.file("accounts/aliyun.toml", state, "");
    }
}

#[test]
fn folders_and_editors_leftovers_are_passed_over() {
    let mut reading = Reading::new(&["a"]);
    for name in [
        ".a.toml.swp",
        "a.toml~",
        ".hidden.toml",
        "a.toml.bak",
        "#a.toml#",
        "4913",
        "sub.toml/b.toml",
    ] {
        reading.directory.write(&format!("keys/{name}"), "x");
    }
    symlink("sub.toml", reading.directory.path().join("keys/link.toml")).unwrap();
    reading.directory.write("README", "x");
    reading.again();
    let desired = reading.state.desired();
    let names: Vec<_> = desired
        .files
        .iter()
        .map(|file| file.path.strip_prefix(reading.directory.path()).unwrap())
        .collect();
    assert_eq!(
        names,
        ["accounts/aliyun.toml", "keys/a.toml"].map(std::path::Path::new)
    );
}

#[test]
fn a_link_is_followed_and_a_link_to_nothing_keeps_the_key() {
    let mut reading = Reading::new(&["other"]);
    reading.directory.write("../elsewhere/one.toml", KEY);
    let target = reading.directory.beside("elsewhere/one.toml");
    symlink(&target, reading.directory.path().join("keys/web.toml")).unwrap();
    reading.again();
    reading.file("keys/web.toml", FileState::Loaded, "");
    fs::remove_file(target).unwrap();
    reading.again();
    reading.file("keys/web.toml", FileState::Kept, "link to nothing");
    assert_eq!(reading.keys(), ["other", "web"]);
}

/// Plugins, one of which is only where `keyferry.toml` says.
struct Scattered {
    plugins: Manifests,
    is_told_where: AtomicBool,
    requires_pins: AtomicBool,
}

impl Plugins for Scattered {
    fn search_in(&self, directories: &[PathBuf]) {
        self.is_told_where
            .store(!directories.is_empty(), Ordering::Relaxed);
    }

    fn require_pins(&self, required: bool) {
        self.requires_pins.store(required, Ordering::Relaxed);
    }

    fn manifest(&self, plugin: &str) -> Result<Arc<keyferry_plugin::manifest::Manifest>, PluginProblem> {
        match plugin == "alibaba-ens" && !self.is_told_where.load(Ordering::Relaxed) {
            true => Err(PluginProblem::Missing { searched: Vec::new() }),
            false => self.plugins.manifest(plugin),
        }
    }

    fn names(&self) -> Vec<String> {
        self.plugins.names()
    }
}

#[test]
fn settings_that_never_were_understood_are_no_defaults() {
    let directory = Directory::new();
    let plugins = Scattered {
        plugins: Manifests::new(),
        is_told_where: AtomicBool::new(false),
        requires_pins: AtomicBool::new(false),
    };
    directory.write("accounts/edge.toml", "plugin = \"alibaba-ens\"\n");
    let words = "keyferry.toml has an error";
    let message = |state: &State, file: &str| {
        let path = directory.path().join(file);
        let desired = state.desired();
        let report = desired.files.iter().find(|report| report.path == path);
        report.unwrap().message.clone().unwrap_or_default()
    };
    let settings = |notify: &str| {
        let text = format!("plugin_dirs = [\"/one/plugins\"]\nnotify = {notify}\n");
        directory.write("keyferry.toml", text);
    };
    settings("maybe");
    let state = read(&directory.path(), &plugins, None);
    assert!(state.desired().settings_refused);
    assert!(plugins.requires_pins.load(Ordering::Relaxed));
    // What is wrong with it is so for that reason alone.
    assert!(message(&state, "accounts/edge.toml").contains(words));
    assert_eq!(message(&state, "accounts/aliyun.toml"), "");

    settings("true");
    let state = read(&directory.path(), &plugins, Some(&state));
    assert!(!state.desired().settings_refused);
    assert!(!plugins.requires_pins.load(Ordering::Relaxed));
    assert_eq!(message(&state, "accounts/edge.toml"), "");
    assert_eq!(state.desired().accounts.len(), 2);

    // Once they were, they stay in force.
    settings("maybe");
    let state = read(&directory.path(), &plugins, Some(&state));
    assert!(!state.desired().settings_refused);
    assert_eq!(state.desired().daemon.notify, Some(true));
}
