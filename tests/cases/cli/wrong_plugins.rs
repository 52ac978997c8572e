//! A wrong plugin is refused before any of its code runs, with a message that says what to do.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;

use crate::c_library::CLibrary;
use crate::program::{keyferry, text};

/// What is wrong with a plugin, by its name, and what is said about it.
const WRONG: [(&str, &[&str]); 8] = [
    (
        "too-new",
        &[
            "version 2 of the plugin contract, this keyferry has version 1",
            "install matching versions",
        ],
    ),
    (
        "too-old",
        &[
            "version 0 of the plugin contract, this keyferry has version 1",
            "install matching versions",
        ],
    ),
    (
        "no-plugin",
        &[
            "it has no manifest section",
            "remove it from the plugin directory",
        ],
    ),
    (
        "no-library",
        &["is not a shared library, or is damaged", "install it again"],
    ),
    ("truncated", &["is damaged", "install it again"]),
    ("writable", &["others may change it", "chmod go-w"]),
    (
        "swapped",
        &[
            "is not the plugin that was pinned",
            "its SHA-256 was",
            "keyferry plugin pin swapped",
        ],
    ),
    (
        "leads-out",
        &["outside of its plugin directory", "copy the library"],
    ),
];

const MANIFEST: &str = r#"{
"name": "NAME", "version": "1.2.3", "title": "A plugin in C", "hosts": ["api.c.example"], "region": "optional",
"headers": [], "operations": {"import": {"calls": [{"method": "GET", "path": "/{name}"}]}},
"names": {"min_length": 1, "max_length": 64, "starts_with_letter": false, "punctuation": "-"},
"algorithms": {"create": [], "import": ["ed25519"]},
"credentials": {"access_key_id": {"class": "public"}, "access_key_secret": {"class": "hmac_key"}}, "fingerprints": []
}"#;

/// Compiles a plugin that leaves a mark when any of its code runs.
fn compile(home: &Home, name: &'static str, folder: &Path, section: Option<&'static str>) -> PathBuf {
    let mut library = CLibrary::new(name, "asked").with_constructor(&marker(home, name));
    library.manifest = MANIFEST.to_owned();
    if let Some(section) = section {
        library.section = section;
    }
    fs::create_dir_all(folder).expect("a folder can be made");
    library.compile(folder)
}

fn marker(home: &Home, name: &str) -> PathBuf {
    home.path(&format!("code-of-{name}-ran"))
}

const MAJOR_2: &str = "#undef KEYFERRY_ABI_MAJOR\n#define KEYFERRY_ABI_MAJOR 2\nKEYFERRY_MANIFEST(MANIFEST);";
const MAJOR_0: &str = "#undef KEYFERRY_ABI_MAJOR\n#define KEYFERRY_ABI_MAJOR 0\nKEYFERRY_MANIFEST(MANIFEST);";

/// All of them, and one that is as it should be.
fn install(home: &Home, folder: &Path) {
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    compile(home, "right", folder, None);
    compile(home, "too-new", folder, Some(MAJOR_2));
    compile(home, "too-old", folder, Some(MAJOR_0));
    compile(home, "no-plugin", folder, Some(""));
    let path = compile(home, "no-library", folder, None);
    fs::write(&path, "#!/bin/sh\ntouch somewhere\n").unwrap();
    let path = compile(home, "truncated", folder, None);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    chmod(&compile(home, "writable", folder, None), 0o666);
    let away = compile(home, "leads-out", &home.path("away"), None);
    symlink(&away, folder.join(away.file_name().unwrap())).unwrap();

    let path = compile(home, "swapped", folder, None);
    let (config, folder) = (text(&home.config()), text(folder));
    let ran = keyferry(
        home.root(),
        &[
            "plugin",
            "pin",
            "swapped",
            "--config",
            &config,
            "--plugin-dir",
            &folder,
        ],
    );
    assert_eq!(ran.code, 0, "{ran:#?}");
    let mut other = CLibrary::new("swapped", "somebody else's").with_constructor(&marker(home, "swapped"));
    other.manifest = MANIFEST.to_owned();
    fs::rename(other.compile(&home.path("away")), path).unwrap();
}

#[test]
fn each_is_refused_in_words_and_none_of_its_code_runs() {
    let home = Home::new();
    let folder = home.path("plugins");
    install(&home, &folder);
    let names: Vec<&str> = WRONG.iter().map(|(name, _)| *name).chain(["right"]).collect();
    for name in &names {
        home.account(&format!("a-{name}"), name, "http://127.0.0.1:9");
        home.key(
            &format!("k-{name}"),
            &format!("account = \"a-{name}\"\nalgorithm = \"ed25519\"\n"),
        );
    }

    // For a person who asks.
    let (config, directory) = (text(&home.config()), text(&folder));
    let ran = keyferry(
        home.root(),
        &["plugin", "list", "--config", &config, "--plugin-dir", &directory],
    );
    assert_eq!(ran.code, 1, "{ran:#?}");
    for (name, expected) in WRONG {
        let message = ran
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("{name}: ")));
        let message = message.unwrap_or_else(|| panic!("nothing about {name} in {}", ran.stdout));
        for words in expected {
            assert!(message.contains(words), "{name}: {words} is not in {message}");
        }
    }

    // And in the daemon, which would use them.
    let options = Options {
        arguments: vec!["--plugin-dir".to_owned(), directory],
        ..Options::default()
    };
    let daemon = Daemon::start_with(&home, &options);
    keyferry_tests::wait::until("the right one was asked", Duration::from_secs(30), || {
        marker(&home, "right").exists().then_some(())
    });
    let (_, status) = daemon.wait(20);
    let files = status["files"].to_string();
    for (name, expected) in WRONG {
        for words in expected {
            assert!(files.contains(words), "{name}: {words} is not in {files}");
        }
        assert!(!marker(&home, name).exists(), "code of {name} ran");
    }
}
