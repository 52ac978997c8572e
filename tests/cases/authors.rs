//! What plugin authors rely on: the page that they begin with, and the checks that their plugins pass or fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use keyferry_tests::build::{built, workspace};
use keyferry_tests::home::Home;
use serde_json::Value;

/// The commands of the author's page, as they stand there.
fn commands_of_the_page() -> String {
    let page = workspace().join("crates/keyferry-plugin/src/lib.rs");
    let page = fs::read_to_string(page).expect("the crate has a page");
    let lines = page
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(str::trim);
    let commands: Vec<&str> = lines
        .skip_while(|line| *line != "```sh")
        .skip(1)
        .take_while(|line| *line != "```")
        .collect();
    assert!(commands.len() > 4, "{commands:?}");
    commands.join("\n").replace(".so", std::env::consts::DLL_SUFFIX)
}

/// A shell in a folder of the home, as an author has it: keyferry and cargo in the PATH, and no network. What cargo
/// builds in between is kept from run to run.
fn shell(home: &Home, script: &str) -> Output {
    let variable = |name: &str, below_home: &str| {
        std::env::var_os(name).map_or_else(
            || {
                std::env::home_dir()
                    .expect("cargo runs the tests, and has a home")
                    .join(below_home)
            },
            PathBuf::from,
        )
    };
    let folders = [built().folder.clone()];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path)));
    Command::new("sh")
        .args(["-eu", "-c", script])
        .current_dir(home.root())
        .env_clear()
        .env("HOME", home.root())
        .env("PATH", path.expect("folders without a colon"))
        .env("KEYFERRY", workspace())
        .env("CARGO_HOME", variable("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", variable("RUSTUP_HOME", ".rustup"))
        .env("CARGO_NET_OFFLINE", "true")
        .env(
            "CARGO_BUILD_BUILD_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("authors"),
        )
        .stdin(Stdio::null())
        .output()
        .expect("there is a shell")
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    stdout
}

/// `keyferry plugin check`, and its report.
fn check(library: &Path, recorded: &Path) -> (i32, Value) {
    let output = Command::new(built().keyferry())
        .args(["plugin", "check", "--json", "--rounds", "5", "--recorded"])
        .args([recorded, library])
        .output()
        .expect("keyferry can be started");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap_or(-1), report)
}

fn failures(report: &Value) -> Vec<(&str, &str)> {
    let checks = report["checks"].as_array().expect("a list of checks");
    let failed = checks.iter().filter(|check| check["result"] == "failed");
    failed
        .map(|check| {
            (
                check["name"].as_str().expect("a name"),
                check["message"].as_str().expect("a message"),
            )
        })
        .collect()
}

/// The page's very commands lead to an installed plugin; and a plugin that was spoilt afterwards is found out.
#[test]
fn the_page_leads_to_a_checked_plugin_and_mistakes_are_found() {
    let home = Home::new();
    let output = shell(&home, &commands_of_the_page());
    let stdout = succeeded(&output);
    for words in [
        "keeps the contract",
        "pinned my-cloud in",
        "pinned as it is",
        "import.lost_reply",
    ] {
        assert!(stdout.contains(words), "{words} is not in {stdout}");
    }
    let installed = home.path(".local/share/keyferry/plugins");
    assert_eq!(fs::read_dir(installed).expect("a folder").count(), 1);
    // What is there is not written over.
    let again = shell(
        &home,
        "keyferry plugin new my-cloud --kit $KEYFERRY/crates/keyferry-plugin",
    );
    assert_eq!(again.status.code(), Some(1), "{again:?}");

    let source = home.path("my-cloud/src/lib.rs");
    let mut code = fs::read_to_string(&source).expect("the source was written");
    for (good, bad) in [
        // Says that nothing happened when the server failed.
        ("if open { effect } else { Effect::None }", "Effect::None"),
        // Believes that the body is always JSON.
        (
            "serde_json::from_str(&response.body)\n        .map_err(|_| strange(\"the answer is not JSON\".to_owned()).with_effect(effect))",
            "{ let _ = effect; Ok(serde_json::from_str(&response.body).unwrap()) }",
        ),
        // Takes whatever pair the answer is about.
        (
            "Ok(pair) if pair.name == name => Ok(",
            "Ok(pair) if !name.is_empty() => Ok(",
        ),
        // Sends a page's number in a parameter that the manifest does not list.
        (".with_query(\"page\",", ".with_query(\"offset\","),
        // Takes every answer to a delete for success.
        (
            "            204 => Ok(Step::done(Outcome::Deleted)),",
            "            0..=65_534 => Ok(Step::done(Outcome::Deleted)),",
        ),
    ] {
        assert!(code.contains(good), "{good} is not in the template");
        code = code.replace(good, bad);
    }
    fs::write(&source, code).expect("the source can be written");
    succeeded(&shell(&home, "cd my-cloud && cargo build"));
    let library = home
        .path("my-cloud/target/debug")
        .join(format!("libkeyferry_my_cloud{}", std::env::consts::DLL_SUFFIX));
    let (code, report) = check(&library, &home.path("my-cloud/conformance"));
    assert_eq!(code, 1);
    let failures = failures(&report);
    for (name, words) in [
        ("import.server_error", "fail with the effect `unknown`"),
        ("import.malformed", "the plugin panicked"),
        ("get.wrong_types", "it answered with the pair"),
        ("list: two pages", "the parameter `offset` is not listed"),
        ("delete.refused", "it succeeded with status 401"),
        (
            "delete: it is gone already",
            "it succeeded, expected is the error `not_found`",
        ),
    ] {
        let found = failures
            .iter()
            .any(|(failed, message)| *failed == name && message.contains(words));
        assert!(found, "{name}: {words}: {failures:#?}");
    }
    // What was not spoilt still passes.
    assert!(
        !failures.iter().any(|(name, _)| *name == "import.same_answer"),
        "{failures:#?}"
    );
}

#[test]
fn our_plugins_keep_the_contract() {
    let plugins = fs::read_dir(workspace().join("plugins")).expect("there are plugins");
    let folders = plugins.map(|entry| entry.expect("a folder").path());
    let folders: Vec<PathBuf> = folders
        .filter(|folder| folder.join("manifest.json").exists())
        .collect();
    assert!(folders.len() >= 7, "{folders:?}");
    // As many at a time as there are cores: how long a step takes is among what is checked.
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let left = Mutex::new(folders);
    let check_next = || {
        let folder = left.lock().expect("no thread panics with it").pop()?;
        let name = folder.file_name()?.to_str()?.to_owned();
        let (code, report) = check(&built().plugin(&name), &folder.join("conformance"));
        Some((name, code == 0 && report["passed"] == true, report))
    };
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((name, passed, report)) = check_next() {
                    assert!(passed, "{name}: {:#?}", failures(&report));
                }
            });
        }
    });
}

#[test]
fn a_plugin_in_c_keeps_the_contract() {
    let home = Home::new();
    let kit = workspace().join("crates/keyferry-plugin");
    let library = home.path(&format!("libkeyferry_pebble{}", std::env::consts::DLL_SUFFIX));
    let compiled = Command::new("cc")
        .args([
            "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-I", "include", "-o",
        ])
        .arg(&library)
        .arg("examples/pebble.c")
        .current_dir(&kit)
        .output()
        .expect("a C compiler is installed as cc (package gcc or clang)");
    succeeded(&compiled);
    let recorded = home.path("conformance");
    fs::create_dir(&recorded).expect("a folder can be made");
    fs::copy(kit.join("examples/pebble-c.json"), recorded.join("pebble.json")).expect("a file can be copied");
    let (code, report) = check(&library, &recorded);
    assert!(code == 0, "{:#?}", failures(&report));

    // Without recorded replies nothing can be said of its operations, and that is no success.
    fs::remove_file(recorded.join("pebble.json")).expect("a file can be removed");
    let (code, report) = check(&library, &recorded);
    assert_eq!(code, 1);
    let failures = failures(&report);
    assert!(
        failures
            .iter()
            .any(|(name, message)| *name == "list.success" && message.contains("add one to conformance"))
    );
}
