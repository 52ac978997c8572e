//! `cargo xtask demo`: the whole path in a minute, on this machine alone.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyferry_tests::build::{self, Built, workspace};
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};
use keyferry_tests::openssh::{self, Sshd};
use serde_json::Value;

use crate::requirements::{self, CLIENT, COMPILER, SERVER};
use crate::run::say;

/// Runs the demo; with `keep`, leaves everything running and prints what to type.
pub(crate) fn run(keep: bool) -> Result<(), String> {
    requirements::ensure(&[COMPILER, CLIENT, SERVER])?;
    say("Building keyferry, its plugins and the loopback cloud ...");
    let built = build::built();
    let start = Instant::now();
    let home = Home::new();

    say("\n1. A cloud on loopback that checks signatures as the vendor does");
    let cloud = Cloud::start(built)?;
    for service in ["alibaba-ecs", "alibaba-ens"] {
        say(&format!("   {service:<12} {}", cloud.url(service)?));
    }

    say(
        "\n2. The shipped config directory, with the loopback cloud's address and credentials added to its accounts",
    );
    prepare_config(&home, &cloud)?;
    let mut daemon = Daemon::start(built, &home)?;
    let status = daemon.wait(60)?;
    for key in status["keys"].as_array().into_iter().flatten() {
        say(&format!(
            "   {:<16} {:<8} {}",
            text(&key["name"]),
            text(&key["state"]),
            text(&key["fingerprint"])
        ));
    }
    show_agent(&home)?;

    say("\n3. One more key file while the daemon runs: keys/added-while-running.toml");
    home.key(
        "added-while-running",
        "account = \"aliyun-edge\"\ngenerated_by = \"provider\"\n",
    );
    let status = daemon.wait(60)?;
    let keys = show_agent(&home)?;

    say("\n4. A login to a throw-away sshd with the key that the cloud just created");
    let created = status["keys"]
        .as_array()
        .and_then(|keys| keys.iter().find(|key| key["name"] == "added-while-running"))
        .ok_or("the daemon does not know the key that was added")?;
    let sshd = Sshd::start(&format!("{}\n", text(&created["public_key"])));
    let login = sshd.login(&home.agent_socket(), "echo \"hello from $(hostname)\"");
    if !login.status.success() {
        return Err(format!(
            "the login failed: {}",
            String::from_utf8_lossy(&login.stderr)
        ));
    }
    say(&format!(
        "   $ ssh -p {} {}@127.0.0.1",
        sshd.port(),
        openssh::user()
    ));
    say(&format!("   {}", String::from_utf8_lossy(&login.stdout).trim()));

    say(&format!(
        "\nProved in {:.1} s: {keys} keys went from files in a directory through a cloud into the SSH agent, none of them to disk, and one that the cloud created logged in over ssh.",
        start.elapsed().as_secs_f32()
    ));
    if keep {
        leave_running(home, cloud, daemon, sshd, built)
    } else {
        daemon.stop()
    }
}

/// Copies `config/` and adds what it leaves out: endpoint and credentials.
fn prepare_config(home: &Home, cloud: &Cloud) -> Result<(), String> {
    copy(&workspace().join("config"), &home.config())
        .map_err(|error| format!("cannot copy config/: {error}"))?;
    let accounts = fs::read_dir(home.path("config/accounts")).map_err(|error| error.to_string())?;
    for entry in accounts.flatten() {
        let path = entry.path();
        let shipped = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let plugin = shipped
            .lines()
            .find_map(|line| line.strip_prefix("plugin = \"")?.split('"').next())
            .ok_or_else(|| format!("{} names no plugin", path.display()))?;
        // Ahead of the shipped text, since a TOML table runs until the next one begins.
        let text = format!(
            "endpoint = \"{}\"\ncredentials = {{ env = {{ access_key_id = \"DEMO_ACCESS_KEY_ID\", access_key_secret = \"DEMO_ACCESS_KEY_SECRET\" }} }}\n{shipped}",
            cloud.url(plugin)?
        );
        fs::write(&path, text).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Prints `ssh-add -l` and counts its keys.
fn show_agent(home: &Home) -> Result<usize, String> {
    let output = openssh::ssh_add(&home.agent_socket(), &["-l"]);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    say("   $ ssh-add -l");
    for line in lines.lines() {
        say(&format!("   {line}"));
    }
    if output.status.success() {
        Ok(lines.lines().count())
    } else {
        Err("the agent lists no keys".to_owned())
    }
}

fn leave_running(home: Home, cloud: Cloud, daemon: Daemon, sshd: Sshd, built: &Built) -> Result<(), String> {
    say("\nLeft running. Type:");
    say(&format!(
        "  export SSH_AUTH_SOCK={}",
        home.agent_socket().display()
    ));
    say("  ssh-add -l");
    say(&format!(
        "  {} status --runtime {}",
        built.keyferry().display(),
        home.path("run").display()
    ));
    say(&format!(
        "  cat > {}/keys/mine.toml <<< 'account = \"aliyun\"'",
        home.config().display()
    ));
    say(&format!("  ssh {} echo hello", sshd.ssh_arguments().join(" ")));
    say(&format!("  curl {}/pairs", cloud.url("admin")?));
    say(&format!(
        "and when you have seen enough:\n  kill {} {} {}; rm -r {}",
        daemon.child.id(),
        cloud.child.id(),
        sshd.pid(),
        home.root().display()
    ));
    // They outlive this program, by design.
    std::mem::forget((home, cloud, daemon, sshd));
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// The loopback cloud as a program of its own, so that `--keep` can leave it running.
struct Cloud {
    child: Child,
    urls: Value,
}

impl Cloud {
    fn start(built: &Built) -> Result<Self, String> {
        let mut child = Command::new(built.program("cloud-sim"))
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start cloud-sim: {error}"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(|error| error.to_string())?;
        }
        let urls =
            serde_json::from_str(&line).map_err(|error| format!("cloud-sim says {line:?}: {error}"))?;
        Ok(Self { child, urls })
    }

    fn url(&self, service: &str) -> Result<&str, String> {
        self.urls[service]
            .as_str()
            .ok_or_else(|| format!("the loopback cloud has no {service}"))
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon, logging into a file: with `--keep` nobody is left to read a pipe.
struct Daemon {
    child: Child,
    keyferry: std::path::PathBuf,
    runtime: std::path::PathBuf,
    log: std::path::PathBuf,
}

impl Daemon {
    fn start(built: &Built, home: &Home) -> Result<Self, String> {
        let log = home.path("daemon.log");
        let file = fs::File::create(&log).map_err(|error| error.to_string())?;
        let child = Command::new(built.keyferry())
            .arg("daemon")
            .arg("--config")
            .arg(home.config())
            .arg("--state")
            .arg(home.path("state"))
            .arg("--runtime")
            .arg(home.path("run"))
            .env("HOME", home.root())
            .env("DEMO_ACCESS_KEY_ID", ACCESS_KEY)
            .env("DEMO_ACCESS_KEY_SECRET", SECRET_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(|error| format!("cannot start keyferry: {error}"))?;
        let mut daemon = Self {
            child,
            keyferry: built.keyferry(),
            runtime: home.path("run"),
            log,
        };
        let end = Instant::now() + Duration::from_secs(20);
        while !fs::read_to_string(&daemon.log).is_ok_and(|log| log.contains(" ready")) {
            if Instant::now() > end || daemon.child.try_wait().ok().flatten().is_some() {
                return Err(format!("the daemon does not start: {}", daemon.words()));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(daemon)
    }

    /// `keyferry status --wait`.
    fn wait(&mut self, seconds: u32) -> Result<Value, String> {
        let output = Command::new(&self.keyferry)
            .args(["status", "--json", &format!("--wait={seconds}"), "--runtime"])
            .arg(&self.runtime)
            .output()
            .map_err(|error| format!("cannot start keyferry: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("not all keys are there: {said}\n{}", self.words()));
        }
        serde_json::from_str(&said).map_err(|error| format!("status is not JSON: {error}"))
    }

    fn stop(&mut self) -> Result<(), String> {
        keyferry_tests::processes::terminate(self.child.id());
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the daemon ended with {status}: {}", self.words()))
        }
    }

    fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
