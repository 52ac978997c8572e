//! Somebody's own key is adopted: tried, replaced by one of keyferry's, and got rid of.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use cloud_sim::{CloudSim, Service};
use keyferry_tests::build::built;
use keyferry_tests::daemon::{Daemon, find};
use keyferry_tests::fleet::{self, Fleet, Shell, fingerprint, generate};
use keyferry_tests::home::Home;
use keyferry_tests::openssh::listed;
use keyferry_tests::wait;

#[path = "adopt/broken_off.rs"]
mod broken_off;
#[path = "adopt/cut_off.rs"]
mod cut_off;
#[path = "adopt/retired.rs"]
mod retired;

const ECS: Service = Service::AlibabaEcs;

struct Scene {
    // Dropped in this order.
    daemon: Daemon,
    fleet: Fleet,
    home: Home,
    _cloud: CloudSim,
}

impl Scene {
    /// Hosts that let nobody in but the admin key, an account, and no keys.
    fn new(shells: &[Shell]) -> Self {
        Self::of(Fleet::of_shells(shells))
    }

    fn of(fleet: Fleet) -> Self {
        let cloud = keyferry_tests::cloud();
        let home = Home::new();
        home.account("ecs", ECS.name(), cloud.url(ECS));
        // Nothing of the user's logs in by itself.
        home.write(
            "keyferry.toml",
            &format!(
                "[ssh]\ncommand = [\"ssh\", \"-F\", \"{}\"]\n",
                fleet.agent_config().display()
            ),
        );
        let daemon = Daemon::start(&home);
        Self {
            daemon,
            fleet,
            home,
            _cloud: cloud,
        }
    }

    /// A key of the user's, in a file, that these hosts let in.
    fn old_key(&self, name: &str, hosts: &[&str]) -> PathBuf {
        let path = self.home.path(name);
        generate(&path, "li@old-laptop");
        self.let_in(&path, hosts);
        path
    }

    /// As [`Scene::old_key`], encrypted.
    fn encrypted_key(&self, name: &str, hosts: &[&str]) -> PathBuf {
        let path = self.home.path(name);
        let made = Command::new("ssh-keygen")
            .args([
                "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", PASSPHRASE, "-C", "", "-f",
            ])
            .arg(&path)
            .status()
            .expect("ssh-keygen can be started (Debian: openssh-client)");
        assert!(made.success());
        self.let_in(&path, hosts);
        path
    }

    /// A program that answers ssh-add's question.
    fn askpass(&self) -> PathBuf {
        let path = self.home.path("askpass");
        fs::write(&path, format!("#!/bin/sh\necho '{PASSPHRASE}'\n")).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("modes can be set");
        path
    }

    fn let_in(&self, private: &Path, hosts: &[&str]) {
        let line = public_line(private);
        for host in hosts {
            let host = self.fleet.host(host);
            let mut file = host.authorized_keys();
            file.extend_from_slice(line.as_bytes());
            host.set_authorized_keys(&file);
        }
    }

    fn adopt(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["adopt", "--yes", "--account", "ecs"];
        all.extend(arguments);
        self.daemon.keyferry(&all)
    }

    fn lets_in(&self, host: &str, private: &Path) -> bool {
        let public = fs::read_to_string(public_half(private)).expect("the public half");
        let file = String::from_utf8_lossy(&self.fleet.host(host).authorized_keys()).into_owned();
        file.contains(fleet::public_key(&public))
    }

    fn agent_has(&self, private: &Path) -> bool {
        let public = fs::read_to_string(public_half(private)).expect("the public half");
        let key = fleet::public_key(&public).to_owned();
        listed(&self.home.agent_socket())
            .iter()
            .any(|line| line.starts_with(&key))
    }

    fn key_file(&self, key: &str) -> PathBuf {
        self.home.config().join(format!("keys/{key}.toml"))
    }
}

fn public_half(private: &Path) -> PathBuf {
    PathBuf::from(format!("{}.pub", private.display()))
}

fn public_line(private: &Path) -> String {
    fs::read_to_string(public_half(private)).expect("the public half")
}

fn said(output: &Output) -> String {
    format!(
        "{}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
fn assert_says(output: &Output, words: &[&str]) {
    let said = said(output);
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}

#[test]
fn an_old_key_is_replaced_where_it_logs_in_and_nowhere_else() {
    let scene = Scene::new(&[Shell::Bash, Shell::Dash, Shell::Fish]);
    let old = scene.old_key("prod-web.pem", &["web-1", "web-2"]);
    let output = scene.adopt(&[
        old.to_str().expect("a plain path"),
        "--hosts=web-1,web-2,web-3",
        "--replace",
    ]);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    assert_says(
        &output,
        &[
            "logs in at web-1, web-2",
            "is not let in any more at web-1, web-2",
            "refused",
        ],
    );

    let file = fs::read_to_string(scene.key_file("prod-web")).expect("the key file was written");
    let named = fingerprint(&public_line(&old));
    for expected in [
        "account = \"ecs\"".to_owned(),
        "  \"web-1\",\n  \"web-2\",\n]".to_owned(),
        format!("login_with = [\"current\", \"agent:{named}\", \"ssh-config\"]"),
        format!("replaces = [\"{named}\"]"),
    ] {
        assert!(file.contains(&expected), "{expected} is not in {file}");
    }
    let key = find(&scene.daemon.status(), "prod-web");
    for host in key["hosts"].as_array().expect("a list") {
        assert_eq!(host["state"], "verified", "{key:#}");
    }
    for host in ["web-1", "web-2"] {
        assert!(!scene.lets_in(host, &old), "{host} lets the old key in");
        let file = String::from_utf8_lossy(&scene.fleet.host(host).authorized_keys()).into_owned();
        assert!(file.contains(" key=prod-web gen=1"), "{file}");
        assert!(file.contains("admin@workstation"), "other lines stay: {file}");
    }
    let third = String::from_utf8_lossy(&scene.fleet.host("web-3").authorized_keys()).into_owned();
    assert!(!third.contains("keyferry"), "{third}");
    assert!(old.exists(), "keyferry deletes no file of the user's");

    // The command that it names takes the key out of the agent.
    assert!(scene.agent_has(&old));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let command = text
        .lines()
        .find_map(|line| line.split_once("in the agent:   "))
        .unwrap_or_else(|| panic!("no command in {text}"))
        .1;
    let removed = Command::new("sh")
        .args(["-c", command])
        .output()
        .expect("sh can be started");
    assert!(removed.status.success(), "{}", said(&removed));
    assert!(!scene.agent_has(&old));

    // What comes later needs it no more.
    let rotated = scene.daemon.keyferry(&["rotate", "prod-web", "--wait"]);
    assert!(
        rotated.status.success(),
        "{}\n{}",
        said(&rotated),
        scene.daemon.log()
    );
}

#[test]
fn without_consent_the_old_line_stays_and_a_second_run_goes_on() {
    let scene = Scene::new(&[Shell::Dash]);
    let old = scene.old_key("id_ed25519", &["web-1"]);
    let old_name = old.to_str().expect("a plain path");
    let before = scene.fleet.host("web-1").authorized_keys();
    let arguments = [old_name, "--hosts", "web-1", "--key", "web"];
    let output = scene.adopt(&arguments);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    assert_says(&output, &["is still let in at web-1", "shred -u"]);
    let file = scene.fleet.host("web-1").authorized_keys();
    assert!(file.starts_with(&before) && file.len() > before.len());

    let written = fs::read(scene.key_file("web")).expect("the key file was written");
    let again = scene.adopt(&arguments);
    assert!(again.status.success(), "{}", said(&again));
    assert_says(&again, &["going on with it"]);
    assert_eq!(fs::read(scene.key_file("web")).expect("it is there"), written);
    assert_eq!(scene.fleet.host("web-1").authorized_keys(), file);

    // The consent may come later.
    let text = String::from_utf8(written).expect("text");
    let named = fingerprint(&public_line(&old));
    scene
        .home
        .key("web", &format!("{text}replaces = [\"{named}\"]\n"));
    let last = scene.adopt(&arguments);
    assert!(last.status.success(), "{}\n{}", said(&last), scene.daemon.log());
    assert_says(&last, &["is not let in any more at web-1"]);
    assert!(!scene.lets_in("web-1", &old));
}

#[test]
fn what_cannot_be_adopted_changes_nothing() {
    let scene = Scene::new(&[Shell::Bash]);
    let stranger = scene.old_key("stranger", &[]);
    let stranger_name = stranger.to_str().expect("a plain path");
    fs::set_permissions(&stranger, fs::Permissions::from_mode(0o644)).expect("modes can be set");
    let nowhere = scene.adopt(&[stranger_name, "--hosts", "web-1"]);
    assert_eq!(nowhere.status.code(), Some(1), "{}", said(&nowhere));
    assert_says(&nowhere, &["logs in nowhere", "others may read", "(mode 0644)"]);

    let other = scene.old_key("other", &["web-1"]);
    let other_name = other.to_str().expect("a plain path");
    scene.home.key("mine", "account = \"ecs\"\n");
    let taken = scene.adopt(&[other_name, "--hosts", "web-1", "--key", "mine"]);
    assert_says(&taken, &["mine.toml is there already", "--key"]);
    let kept = fs::read_to_string(scene.key_file("mine")).expect("it is there");
    assert_eq!(kept, "account = \"ecs\"\n");

    let no_account = scene.daemon.keyferry(&[
        "adopt",
        "--yes",
        "--account",
        "esc",
        "--hosts",
        "web-1",
        other_name,
    ]);
    assert_says(&no_account, &["no account esc", "`ecs`"]);
    let public = scene.adopt(&[
        public_half(&other).to_str().expect("a plain path"),
        "--hosts",
        "web-1",
    ]);
    assert_says(&public, &["holds a public key"]);
    let unasked = scene
        .daemon
        .keyferry(&["adopt", "--account", "ecs", "--hosts", "web-1", other_name]);
    assert_eq!(unasked.status.code(), Some(2), "{}", said(&unasked));

    for key in ["stranger", "other"] {
        assert!(!scene.key_file(key).exists(), "{key}");
    }
    for private in [&stranger, &other] {
        assert!(!scene.agent_has(private), "{}", private.display());
    }
    assert!(!String::from_utf8_lossy(&scene.fleet.host("web-1").authorized_keys()).contains("keyferry"));
}

#[test]
fn ssh_add_asks_for_the_passphrase_of_an_encrypted_file() {
    let scene = Scene::new(&[Shell::Dash]);
    let old = scene.encrypted_key("encrypted.pem", &["web-1"]);
    let askpass = scene.askpass();
    let run = |answers: bool| {
        let mut command = Command::new(built().keyferry());
        command
            .args([
                "adopt",
                "--yes",
                "--account",
                "ecs",
                "--hosts",
                "web-1",
                "--runtime",
            ])
            .arg(scene.home.path("run"))
            .arg(&old)
            .env("SSH_ASKPASS_REQUIRE", "force");
        command.env(
            "SSH_ASKPASS",
            if answers {
                &askpass
            } else {
                Path::new("/bin/false")
            },
        );
        command.output().expect("keyferry can be started")
    };
    let refused = run(false);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert_says(&refused, &["ssh-add did not add"]);
    let output = run(true);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    assert_says(&output, &["logs in at web-1"]);
    for text in [said(&output), scene.daemon.log()] {
        assert!(!text.contains(PASSPHRASE));
    }
}

#[test]
fn what_was_broken_off_is_gone_on_with() {
    let scene = Scene::new(&[Shell::Dash, Shell::Bash]);
    let old = scene.old_key("web", &["web-1", "web-2"]);
    let old_name = old.to_str().expect("a plain path");
    // As after ^C: the file is written, and nobody waits.
    let first = scene.adopt(&[old_name, "--hosts=web-1,web-2", "--wait=0"]);
    assert!(scene.key_file("web").exists(), "{}", said(&first));
    let again = scene.adopt(&[old_name, "--hosts=web-1,web-2"]);
    assert!(again.status.success(), "{}\n{}", said(&again), scene.daemon.log());
    assert_says(&again, &["logs in at web-1, web-2"]);
    assert!(scene.daemon.wait_for_log("it logs in", Duration::from_secs(1)));
}

#[test]
fn a_key_that_the_agent_had_before_stays_as_it_was() {
    let scene = Scene::new(&[Shell::Dash]);
    let old = scene.old_key("web", &["web-1"]);
    let added = Command::new("ssh-add")
        .args(["-q", "-t", "3600"])
        .arg(&old)
        .env("SSH_AUTH_SOCK", scene.home.agent_socket())
        .status()
        .expect("ssh-add can be started (Debian: openssh-client)");
    assert!(added.success());
    let before = listed(&scene.home.agent_socket());
    let output = scene.adopt(&[old.to_str().expect("a plain path"), "--hosts=web-1", "--wait=0"]);
    assert!(scene.key_file("web").exists(), "{}", said(&output));
    // Not even its comment is another.
    let after = listed(&scene.home.agent_socket());
    assert!(after.contains(&before[0]), "{before:?} {after:?}");
}

/// Nobody reads a question that goes into a file.
#[test]
fn nothing_is_asked_where_nobody_sees_the_question() {
    let scene = Scene::new(&[Shell::Dash]);
    let old = scene.old_key("web", &["web-1"]);
    let command = format!(
        "{} adopt {} --account ecs --hosts web-1 --runtime {} 2>{}",
        built().keyferry().display(),
        old.display(),
        scene.home.path("run").display(),
        scene.home.path("said").display()
    );
    let output = Command::new("script")
        .args(["-q", "-e", "-c", &command, "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .output()
        .expect("script can be started (Debian: bsdutils)");
    let told = fs::read_to_string(scene.home.path("said")).expect("it says why");
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("say --yes"), "{told}");
    assert!(!scene.agent_has(&old));
}

const PASSPHRASE: &str = "a passphrase nobody else has";

#[test]
fn a_host_that_is_down_is_not_forgotten() {
    let scene = Scene::new(&[Shell::Bash, Shell::Dash]);
    let old = scene.old_key("prod-web.pem", &["web-1", "web-2"]);
    let file = old.to_str().expect("a plain path");
    let arguments = [file, "--hosts=web-1,web-2", "--replace", "--key=web"];
    scene.fleet.host("web-2").stop();
    let output = scene.adopt(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_says(&output, &["web-2", "once the new one logs in everywhere"]);
    let written = fs::read_to_string(scene.key_file("web")).expect("the key's file");
    assert!(written.contains("\"web-2\""), "{written}");

    // It is back, and has the new key put there with the adopted one.
    scene.fleet.host("web-2").start();
    let retried = scene.daemon.keyferry(&["host", "retry", "web-2"]);
    assert!(retried.status.success(), "{}", said(&retried));
    wait::until("web-2 has the new key", Duration::from_secs(60), || {
        let key = find(&scene.daemon.status(), "web");
        let mut hosts = key["hosts"].as_array().into_iter().flatten();
        hosts
            .any(|host| host["host"] == "web-2" && host["state"] == "verified")
            .then_some(())
    });
    let output = scene.adopt(&arguments);
    assert!(output.status.success(), "{}", said(&output));
    assert_says(&output, &["to get rid of the adopted key:"]);
    assert!(!scene.lets_in("web-2", &old));

    // A host that its file does not name is no reason to shred it.
    let output = scene.adopt(&[file, "--hosts=web-1,web-2,web-3", "--key=web"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_says(
        &output,
        &[
            "not among its hosts: web-3",
            "may be needed at web-3",
            "once the new one logs in everywhere",
        ],
    );
}

#[test]
fn a_host_whose_key_nobody_knows_yet_is_not_forgotten() {
    let scene = Scene::new(&[Shell::Bash, Shell::Dash]);
    let old = scene.old_key("prod-web.pem", &["web-1", "web-2"]);
    let file = old.to_str().expect("a plain path");
    let known_hosts = scene.fleet.known_hosts();
    let known = fs::read_to_string(&known_hosts).expect("known_hosts");
    let of_the_other = scene.fleet.host("web-2").host_key();
    let others: Vec<&str> = known
        .lines()
        .filter(|line| !line.contains(of_the_other))
        .collect();
    assert!(others.len() < known.lines().count(), "{known}");
    fs::write(&known_hosts, others.join("\n") + "\n").expect("a file can be written");
    let arguments = [file, "--hosts=web-1,web-2", "--replace", "--key=web"];
    let output = scene.adopt(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_says(
        &output,
        &["host key unknown", "once the new one logs in everywhere"],
    );
    let written = fs::read_to_string(scene.key_file("web")).expect("the key's file");
    assert!(written.contains("\"web-2\""), "{written}");
}
