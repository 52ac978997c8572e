//! Files with errors: each is named with its place and the way out, the last good version stays in force, the others
//! go on, and mending the file ends it.

use std::fs;

use keyferry_tests::wait;
use serde_json::Value;

use crate::scene::{KEY, PATIENCE, Scene, said};

/// One wrong file.
struct Wrong {
    /// The key whose file it becomes.
    key: &'static str,
    bytes: &'static [u8],
    line: Option<u32>,
    column: Option<u32>,
    /// What the message holds.
    words: &'static [&'static str],
}

const fn wrong(
    key: &'static str,
    bytes: &'static [u8],
    (line, column): (u32, u32),
    words: &'static [&'static str],
) -> Wrong {
    Wrong {
        key,
        bytes,
        line: Some(line),
        column: Some(column),
        words,
    }
}

const WRONG_KEYS: &[Wrong] = &[
    wrong(
        "unknown",
        b"account = \"ecs\"\n\n  algoritm = \"ecdsa-p256\"\n",
        (3, 3),
        &["unknown key `algoritm`", "did you mean `algorithm`?"],
    ),
    wrong(
        "type",
        b"account = \"ecs\"\nalgorithm = 256\n",
        (2, 13),
        &["`algorithm`", "expected a string, found an integer"],
    ),
    wrong(
        "account",
        b"account = \"esc\"\n",
        (1, 11),
        &["no account `esc`", "did you mean `ecs`?"],
    ),
    wrong(
        "word",
        b"account = \"ecs\"\nalgorithm = \"ecdsa-p265\"\n",
        (2, 13),
        &["unknown value `ecdsa-p265`", "did you mean `ecdsa-p256`?"],
    ),
    wrong(
        "vendor",
        b"account = \"ecs\"\nalgorithm = \"ed25519\"\n",
        (2, 13),
        &[
            "`alibaba-ecs` does not take `ed25519`",
            "`ecdsa-p256`",
            "can be had",
        ],
    ),
    wrong(
        "created",
        b"account = \"ecs\"\ngenerated_by = \"provider\"\nalgorithm = \"rsa-4096\"\n",
        (3, 13),
        &["does not take `rsa-4096`", "`rsa-2048`"],
    ),
    wrong(
        "name",
        b"account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\nname = \"9lives\"\n",
        (3, 8),
        &["`alibaba-ecs` does not allow `9lives`"],
    ),
    wrong(
        "bytes",
        b"account = \"ecs\"\n# caf\xe9\nalgorithm = \"ecdsa-p256\"\n",
        (2, 6),
        &["is not UTF-8 from here on", "save the file as UTF-8"],
    ),
    wrong(
        "broken",
        b"account = \"ecs\nalgorithm = \"ecdsa-p256\"\n",
        (1, 15),
        &["not TOML"],
    ),
    wrong("empty", b"", (1, 1), &["add `account = \"...\"`", "`ecs`"]),
    wrong(
        "rotate",
        b"account = \"ecs\"\n[rotate]\nevery = \"30d\"\n",
        (2, 2),
        &["this one has no hosts to log in to", "add `hosts = [\"...\"]`"],
    ),
    wrong(
        "deploy",
        b"account = \"ecs\"\n\n[deploy]\nlogin_with = [\"current\"]\n",
        (3, 2),
        &[
            "how the key comes to its hosts, and there are none",
            "take [deploy] out",
        ],
    ),
    wrong(
        "hosts",
        b"account = \"ecs\"\nhosts = [\"deploy@web-1:2222\"]\n",
        (2, 10),
        &["has a port behind the name", "write `ssh://deploy@web-1:2222`"],
    ),
    wrong(
        "offer",
        b"account = \"ecs\"\noffer_to = [\"*.example.com\"]\n",
        (2, 1),
        &["`offer_to` is not in this version"],
    ),
    wrong(
        "regions",
        b"account = \"ecs\"\nregion = \"cn-hangzhou\"\nregions = [\"cn-hangzhou\"]\n",
        (2, 1),
        &["`region` and `regions` stand here both", "keep `regions`"],
    ),
    wrong(
        "retire",
        b"account = \"ecs\"\non_remove = \"retier\"\n",
        (2, 13),
        &["unknown value `retier`", "did you mean `retire`?"],
    ),
    wrong(
        "nobody",
        b"algorithm = \"ecdsa-p256\"\n",
        (1, 1),
        &["a key without `account` is not in this version"],
    ),
    wrong(
        "secret",
        b"account = \"ecs\"\naccess_key_secret = \"hunter2\"\n",
        (2, 1),
        &["`access_key_secret` looks like a credential", "[credentials]"],
    ),
];

#[test]
fn a_wrong_key_file_is_named_with_its_place_and_its_last_good_version_stays_in_force() {
    let names: Vec<&str> = WRONG_KEYS.iter().map(|wrong| wrong.key).collect();
    let scene = Scene::with_keys(&names);
    let good = scene.daemon.status();
    let changes = scene.changes_at_the_cloud();

    for wrong in WRONG_KEYS {
        let path = scene.home.config().join(format!("keys/{}.toml", wrong.key));
        fs::write(path, wrong.bytes).expect("a file can be written");
    }
    for wrong in WRONG_KEYS {
        let file = format!("keys/{}.toml", wrong.key);
        wrong.judge(&scene.reports(&file, "kept"));
        scene.serves(wrong.key, &key(&good, wrong.key)["public_key"]);
    }
    // Others go on.
    scene.home.key("another", KEY);
    scene.loads("another");
    let printed = said(&scene.daemon.keyferry(&["status"]));
    assert!(!printed.contains("hunter2"), "{printed}");

    // `check` knows no earlier version and says the same.
    let output = scene.check(&["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("check prints JSON");
    let text = scene.check(&[]);
    assert_eq!(text.status.code(), Some(1));
    let text = said(&text);
    for wrong in WRONG_KEYS {
        let path = scene.home.config().join(format!("keys/{}.toml", wrong.key));
        let found = crate::scene::file(&report, &path.display().to_string()).expect("check names each file");
        assert_eq!(found["state"], "refused", "{found:#}");
        wrong.judge(&found);
        let place = format!(
            "{}:{}:{}: ",
            path.display(),
            wrong.line.unwrap_or(0),
            wrong.column.unwrap_or(0)
        );
        assert!(text.contains(&place), "{place} is not in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    assert!(
        text.contains(&format!("2 of {} files are fine", WRONG_KEYS.len() + 2)),
        "{text}"
    );

    for wrong in WRONG_KEYS {
        scene.home.key(wrong.key, KEY);
    }
    for wrong in WRONG_KEYS {
        let report = scene.reports(&format!("keys/{}.toml", wrong.key), "loaded");
        for field in ["line", "column", "message"] {
            assert!(report[field].is_null(), "{report:#}");
        }
        scene.serves(wrong.key, &key(&good, wrong.key)["public_key"]);
    }
    assert_eq!(scene.check(&[]).status.code(), Some(0));
    assert_eq!(
        scene.changes_at_the_cloud(),
        changes + 1,
        "only `another` was made"
    );
}

#[test]
fn a_wrong_account_or_settings_file_stays_as_it_was_and_new_keys_go_on() {
    let scene = Scene::with_keys(&["first"]);
    let public_key = scene.public_key("first");
    let account = fs::read_to_string(scene.home.config().join("accounts/ecs.toml")).expect("it was written");
    let mut made = 0;
    for (wrong, at, words) in [
        (
            account.replace("alibaba-ecs", "alibaba-esc"),
            "plugin",
            &["did you mean `alibaba-ecs`?"][..],
        ),
        (
            account.replace("alibaba-ecs", "nobodys-cloud"),
            "plugin",
            &["`nobodys-cloud` is in none of the plugin directories"],
        ),
        (
            account.replace("endpoint", "end_point"),
            "end_point",
            &["unknown key `end_point`", "did you mean `endpoint`?"],
        ),
        (
            account.replace("region = ", "region = 1 #"),
            "region",
            &["expected a string, found an integer"],
        ),
        (
            format!("{account}profile = \"prod\"\n"),
            "file",
            &["`profile`, `file`", "exactly one"],
        ),
        (
            account.replace(
                "[credentials]",
                "[settings]\nresource_grop = \"rg-1\"\n[credentials]",
            ),
            "resource_grop",
            &["did you mean `resource_group`?"],
        ),
        (
            account.replace("http://127.0.0.1", "http://192.0.2.1"),
            "endpoint",
            &["insecure_http"],
        ),
    ] {
        scene.home.write("accounts/ecs.toml", &wrong);
        let report = scene.reports("accounts/ecs.toml", "kept");
        let message = report["message"].as_str().expect("a message");
        for word in words {
            assert!(message.contains(word), "{word} is not in {message}");
        }
        let line = wrong
            .lines()
            .position(|line| line.starts_with(at))
            .map(|at| at + 1);
        assert_eq!(
            report["line"].as_u64(),
            line.map(|line| line as u64),
            "{report:#}\n{wrong}"
        );
        assert!(report["column"].is_u64(), "{report:#}");
        scene.serves("first", &public_key);
        made += 1;
        let name = format!("new-{made}");
        scene.home.key(&name, KEY);
        scene.loads(&name);
        scene.home.write("accounts/ecs.toml", &account);
        scene.reports("accounts/ecs.toml", "loaded");
    }

    for (text, place, words) in [
        (
            "[recovery]\nidentity = \"~/.ssh/id_ed25519\"\n",
            (2, 12),
            "does not end in `.pub`",
        ),
        (
            "[memory]\nhibernate = \"block\"\n",
            (1, 2),
            "`memory` is not in this version",
        ),
        (
            "[defaults]\nmax_concurent = 4\n",
            (2, 1),
            "did you mean `max_concurrent`?",
        ),
        ("[defaults]\nmax_concurrent = 0\n", (2, 18), "1 to 64 are allowed"),
        ("[agent]\nsocket = \"agent.sock\"\n", (2, 10), "is not absolute"),
        (
            "[network]\nproxy = \"http://user:hunter2@proxy:3128\"\n",
            (2, 9),
            "user name or password",
        ),
    ] {
        scene.home.write("keyferry.toml", text);
        // The report of the text before may still stand there.
        let report = wait::until(words, PATIENCE, || {
            Some(scene.reports("keyferry.toml", "refused")).filter(|report| {
                report["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(words))
            })
        });
        assert_eq!(
            (report["line"].as_u64(), report["column"].as_u64()),
            (Some(place.0), Some(place.1)),
            "{report:#}"
        );
        assert!(!report.to_string().contains("hunter2"), "{report:#}");
        scene.serves("first", &public_key);
    }
    fs::remove_file(scene.home.config().join("keyferry.toml")).expect("a file can be removed");
    wait::until("the report is gone", PATIENCE, || {
        let path = scene.path("keyferry.toml").display().to_string();
        crate::scene::file(&scene.daemon.status(), &path)
            .is_none()
            .then_some(())
    });
}

/// The defaults would be weaker than what stood there.
#[test]
fn settings_that_are_no_longer_understood_stay_in_force() {
    let scene = Scene::with_keys(&["first"]);
    let public_key = scene.public_key("first");
    scene
        .home
        .write("keyferry.toml", "[plugins]\nrequire_pins = true\n");
    scene.reports("keyferry.toml", "loaded");
    scene
        .home
        .write("keyferry.toml", "[plugins]\nrequire_pins = \"sometimes\"\n");
    let report = scene.reports("keyferry.toml", "kept");
    assert_eq!(report["line"], 2, "{report:#}");
    scene.home.key("second", KEY);
    let message = wait::until("second is refused", PATIENCE, || {
        let status = scene.daemon.status();
        let mut keys = status["keys"].as_array().expect("keys is a list").iter();
        let second = keys.find(|key| key["name"] == "second")?;
        second["error"]["message"].as_str().map(str::to_owned)
    });
    let words = "is not pinned, and keyferry.toml has require_pins = true";
    assert!(message.contains(words), "{message}");
    scene.serves("first", &public_key);

    scene.home.write("keyferry.toml", "");
    scene.reports("keyferry.toml", "loaded");
    scene.loads("second");
}

/// What lies in the folders by mistake is named; what editors leave there is not.
#[test]
fn misplaced_and_strange_files_are_named_and_stop_nothing() {
    let scene = Scene::with_keys(&["first"]);
    let config = scene.home.config();
    for leftover in [
        ".first.toml.swp",
        "first.toml~",
        "#first.toml#",
        "4913",
        "first.toml.bak",
    ] {
        fs::write(config.join("keys").join(leftover), "x").expect("a file can be written");
    }
    for (file, words) in [
        ("keys/Web.toml", "rename it to web.toml"),
        ("keys/web_1.toml", "rename it to web-1.toml"),
        ("keys/web.yaml", "files here end in `.toml`"),
        ("web.toml", "keys belong in keys/"),
    ] {
        fs::write(config.join(file), KEY).expect("a file can be written");
        let report = scene.reports(file, "refused");
        assert!(report["message"].to_string().contains(words), "{report:#}");
    }
    // Opening a pipe would wait for ever, reading a device would never end.
    let made = std::process::Command::new("mkfifo")
        .arg(config.join("keys/pipe.toml"))
        .status();
    assert!(made.expect("mkfifo can be started").success());
    std::os::unix::fs::symlink("/dev/zero", config.join("keys/zero.toml")).expect("a link can be made");
    fs::write(config.join("keys/huge.toml"), vec![b'#'; 300 * 1024]).expect("a file can be written");
    for (file, words) in [
        ("keys/pipe.toml", "is not a regular file"),
        ("keys/zero.toml", "is not a regular file"),
        ("keys/huge.toml", "is larger than 256 KiB"),
    ] {
        let report = scene.reports(file, "refused");
        assert!(report["message"].to_string().contains(words), "{report:#}");
    }
    scene.home.key("second", KEY);
    scene.loads("second");
    let status = scene.daemon.status();
    assert!(!status.to_string().contains("first.toml~") && !status.to_string().contains("4913"));
}

impl Wrong {
    #[track_caller]
    fn judge(&self, report: &Value) {
        assert_eq!(report["line"], Value::from(self.line), "{report:#}");
        assert_eq!(report["column"], Value::from(self.column), "{report:#}");
        let message = report["message"].as_str().expect("a message");
        for word in self.words {
            assert!(message.contains(word), "{word} is not in {message}");
        }
    }
}

#[track_caller]
fn key(status: &Value, name: &str) -> Value {
    keyferry_tests::daemon::find(status, name)
}
