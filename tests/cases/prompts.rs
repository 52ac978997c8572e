//! A person answers what ssh asks, while a command of theirs waits, and nobody else is ever asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cloud_sim::{CloudSim, Service};
use keyferry_tests::build::built;
use keyferry_tests::daemon::Daemon;
use keyferry_tests::fleet::{Fleet, HostOptions, PASSWORD, Shell};
use keyferry_tests::home::Home;
use keyferry_tests::terminal::Terminal;
use keyferry_tests::wait;
use serde_json::Value;

const ECS: Service = Service::AlibabaEcs;
const DEADLINE: Duration = Duration::from_secs(30);
const PASSPHRASE: &str = "nobody else has this one";

struct Scene {
    // Dropped in this order.
    daemon: Daemon,
    fleet: Fleet,
    home: Home,
    _cloud: CloudSim,
}

impl Scene {
    /// One host, and a user whose ssh_config has these lines for it.
    fn new(sshd_config: &str, ssh_config: impl Fn(&Home) -> String) -> Self {
        let host = HostOptions::new("web-1", Shell::Dash).with_sshd_config(sshd_config);
        let fleet = Fleet::start([host]);
        let cloud = keyferry_tests::cloud();
        let home = Home::new();
        home.account("ecs", ECS.name(), cloud.url(ECS));
        let config = home.path("ssh_config");
        let theirs = fs::read_to_string(fleet.agent_config()).expect("the fleet's ssh_config");
        // What comes first holds.
        let own = format!("Host *\n{}\n{theirs}", ssh_config(&home));
        fs::write(&config, own.replace("  IdentityFile none\n", "")).expect("a file can be written");
        home.write(
            "keyferry.toml",
            &format!("[ssh]\ncommand = [\"ssh\", \"-F\", \"{}\"]\n", config.display()),
        );
        let daemon = Daemon::start(&home);
        Self {
            daemon,
            fleet,
            home,
            _cloud: cloud,
        }
    }

    /// Declares the key, and waits until its line could not be put there.
    #[track_caller]
    fn declare(&self, tables: &str) {
        self.home.key(
            "web",
            &format!("account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\nhosts = [\"web-1\"]\n{tables}"),
        );
        self.wait_for("failed");
    }

    #[track_caller]
    fn wait_for(&self, state: &str) -> Value {
        wait::until(&format!("the host is {state}"), DEADLINE, || {
            let status = self.daemon.status();
            let keys = status["keys"].as_array()?;
            let web = keys.iter().find(|key| key["name"] == "web")?;
            let host = web["hosts"].as_array()?.first()?.clone();
            (host["state"] == state).then_some(host)
        })
    }

    /// `keyferry rotate web --wait` at a terminal.
    fn rotate(&self) -> Terminal {
        let command = format!(
            "{} rotate web --wait=60 --runtime {}",
            built().keyferry().display(),
            self.home.path("run").display()
        );
        Terminal::start(&command)
    }

    fn assert_nothing_of(&self, secret: &str, terminal: &Terminal) {
        let shown = terminal.shown();
        assert!(!shown.contains(secret), "it was shown: {shown}");
        assert!(!self.daemon.log().contains(secret), "it was logged");
        wait::until("no socket for questions is left", DEADLINE, || {
            let left = fs::read_dir(self.home.path("run/ssh")).expect("the folder of logins");
            let mut left = left.flatten().map(|entry| entry.file_name());
            (!left.any(|name| name.to_string_lossy().starts_with("login-ask"))).then_some(())
        });
    }
}

#[test]
fn the_passphrase_of_a_file_is_asked_for_where_somebody_waits() {
    let file = |home: &Home| -> PathBuf { home.path("id_encrypted") };
    let scene = Scene::new("", |home| {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-C", "li@laptop", "-N", PASSPHRASE, "-f"])
            .arg(file(home))
            .status()
            .expect("ssh-keygen can be started (Debian: openssh-client)");
        assert!(made.success());
        format!("  IdentityFile {}", file(home).display())
    });
    let public = fs::read(scene.home.path("id_encrypted.pub")).expect("the public half");
    let host = scene.fleet.host("web-1");
    host.set_authorized_keys(&[host.authorized_keys(), public].concat());
    scene.declare("");

    let mut terminal = scene.rotate();
    terminal.answer("Enter passphrase for key", "a wrong one");
    terminal.answer("Enter passphrase for key", PASSPHRASE);
    scene.wait_for("verified");
    let code = terminal.end();
    assert_eq!(code, 0, "{}\n{}", terminal.shown(), scene.daemon.log());
    scene.assert_nothing_of(PASSPHRASE, &terminal);
}

#[test]
fn a_password_is_asked_for_and_no_answer_is_none() {
    let scene = Scene::new(
        "AuthenticationMethods password publickey\nPasswordAuthentication yes",
        |_| "  PreferredAuthentications publickey,password\n  IdentityFile none".to_owned(),
    );
    scene.declare("");
    let mut terminal = scene.rotate();
    // ^C at the question.
    terminal.answer("password:", "\u{3}");
    drop(terminal);
    scene.wait_for("failed");

    let mut terminal = scene.rotate();
    let code = terminal.answer_all("web-1: deploy@127.0.0.1's password:", PASSWORD);
    assert_eq!(code, 0, "{}\n{}", terminal.shown(), scene.daemon.log());
    scene.assert_nothing_of(PASSWORD, &terminal);
    let login = scene.fleet.host("web-1").logins().pop().expect("a login");
    assert!(!login.fingerprint.is_empty(), "a key proved itself: {login:?}");
}

#[test]
fn a_second_factor_is_asked_for_where_lines_are_put_and_never_where_a_key_is_proven() {
    let scene = Scene::new(
        "AuthenticationMethods publickey,password\nPasswordAuthentication yes",
        |_| "  PreferredAuthentications publickey,password".to_owned(),
    );
    let admin = scene.fleet.admin_key();
    scene.home.write(
        "keyferry.toml",
        &format!(
            "[ssh]\ncommand = [\"ssh\", \"-F\", \"{}\", \"-i\", \"{}\"]\n",
            scene.home.path("ssh_config").display(),
            admin.display()
        ),
    );
    scene.declare("[deploy]\nverify = \"publickey\"\n");
    let mut terminal = scene.rotate();
    let code = terminal.answer_all("password:", PASSWORD);
    assert_eq!(code, 0, "{}\n{}", terminal.shown(), scene.daemon.log());
    scene.assert_nothing_of(PASSWORD, &terminal);
}

#[test]
fn what_is_typed_when_nobody_asks_any_more_is_the_commands() {
    let wants_password = HostOptions::new("web-1", Shell::Dash)
        .with_sshd_config("AuthenticationMethods password publickey\nPasswordAuthentication yes");
    let fleet = Fleet::start([wants_password, HostOptions::new("web-2", Shell::Dash)]);
    fleet.host("web-1").set_authorized_keys(b"");
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", ECS.name(), cloud.url(ECS));
    let config = home.path("ssh_config");
    let theirs = fs::read_to_string(fleet.ssh_config()).expect("the fleet's ssh_config");
    let own = format!("Host web-1\n  PreferredAuthentications publickey,password\n{theirs}");
    fs::write(&config, own).expect("a file can be written");
    home.write(
        "keyferry.toml",
        &format!("[ssh]\ncommand = [\"ssh\", \"-F\", \"{}\"]\n", config.display()),
    );
    let daemon = Daemon::start(&home);
    home.key(
        "web",
        "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\nhosts = [\"web-1\", \"web-2\"]\n",
    );
    wait::until("web-2 is verified", DEADLINE, || {
        let status = daemon.status();
        let hosts = status["keys"][0]["hosts"].as_array()?.clone();
        let states: Vec<&str> = hosts.iter().filter_map(|host| host["state"].as_str()).collect();
        (states.contains(&"verified") && states.contains(&"failed")).then_some(())
    });
    let mut terminal = Terminal::start(&format!(
        "{} exec --key web --wait=8 --runtime {} -- sh -c 'echo begun; read line; echo \"got $line\"'",
        built().keyferry().display(),
        home.path("run").display()
    ));
    // Nobody answers it.
    wait::until("a question stands there", DEADLINE, || {
        terminal.shown().contains("password:").then_some(())
    });
    terminal.answer("begun", "for the command");
    assert_eq!(terminal.end(), 0, "{}\n{}", terminal.shown(), daemon.log());
    assert!(
        terminal.shown().contains("got for the command"),
        "{}",
        terminal.shown()
    );
}

/// Stands before ssh where somebody is asked, and asks as ssh does with a key that has to be touched, an agent's key that
/// wants to be confirmed, and a server that wants a code. What was agreed to logs in with the admin key.
const ASKING_SSH: &str = r#"#!/bin/sh
if [ -n "$KEYFERRY_ASKPASS_SOCKET" ]; then
    # ssh does not look at what becomes of a notice.
    SSH_ASKPASS_PROMPT=none "$SSH_ASKPASS" "Confirm user presence for key ED25519-SK"
    if SSH_ASKPASS_PROMPT=confirm "$SSH_ASKPASS" "Allow use of key id_web?" &&
        code=$("$SSH_ASKPASS" "(deploy@web-1) Verification code: ") && [ "$code" = CODE ]; then
        shift
        exec ssh -i ADMIN "$@"
    fi
fi
exec "$@"
"#;

#[test]
fn notices_confirmations_and_codes_come_to_whoever_waits() {
    const CODE: &str = "135 790";
    let scene = Scene::new("", |_| String::new());
    let program = scene.home.path("asking-ssh");
    let text = ASKING_SSH
        .replace("CODE", &format!("'{CODE}'"))
        .replace("ADMIN", &scene.fleet.admin_key().display().to_string());
    fs::write(&program, text).expect("a file can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("modes can be set");
    scene.home.write(
        "keyferry.toml",
        &format!(
            "[ssh]\ncommand = [\"{}\", \"ssh\", \"-F\", \"{}\"]\n",
            program.display(),
            scene.home.path("ssh_config").display()
        ),
    );
    scene.declare("");
    let notice = "web-1: Confirm user presence for key ED25519-SK";
    let question = "web-1: Allow use of key id_web? [y/N] ";

    // Whoever does not say yes says no.
    let mut terminal = scene.rotate();
    let shown = terminal.answer(question, "");
    assert!(shown.contains(notice), "{shown}");
    assert_ne!(terminal.end(), 0);
    assert!(
        !terminal.shown().contains("Verification code"),
        "{}",
        terminal.shown()
    );
    scene.wait_for("failed");

    let mut terminal = scene.rotate();
    let shown = terminal.answer(question, "yes");
    // It is told, and waits for nothing that could be typed.
    assert!(shown.contains(notice), "{shown}");
    terminal.answer("web-1: (deploy@web-1) Verification code: ", CODE);
    scene.wait_for("verified");
    let code = terminal.end();
    assert_eq!(code, 0, "{}\n{}", terminal.shown(), scene.daemon.log());
    scene.assert_nothing_of(CODE, &terminal);
}

#[test]
fn without_anybody_nothing_is_asked() {
    let scene = Scene::new(
        "AuthenticationMethods password publickey\nPasswordAuthentication yes",
        |_| "  PreferredAuthentications publickey,password\n  IdentityFile none".to_owned(),
    );
    scene.declare("");
    // No terminal, so there is nobody.
    let output = scene.daemon.keyferry(&["rotate", "web", "--wait=20"]);
    assert_ne!(output.status.code(), Some(0));
    let host = scene.wait_for("failed");
    assert_eq!(host["error"]["kind"], "refused", "{host:#}");
}
