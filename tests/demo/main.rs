//! What `cargo xtask demo` runs: the whole path in a minute, on this machine alone.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use keyferry_tests::build::{self, Built};
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};
use keyferry_tests::nova::Nova;
use keyferry_tests::openssh::{self, Sshd};
use serde_json::Value;

mod accounts;
mod openstack;
mod programs;

use self::programs::{Cloud, Daemon};

fn main() -> ExitCode {
    let keep = std::env::args().skip(1).any(|argument| argument == "--keep");
    match run(keep) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; with `keep`, leaves everything running and prints what to type.
fn run(keep: bool) -> Result<(), String> {
    let start = Instant::now();
    let built = build::built();
    let home = Home::new();

    say("1. Clouds on loopback that check signatures as the vendors do");
    let cloud = Cloud::start(built)?;
    for service in CLOUDS {
        say(&format!("   {service:<15} {}", cloud.url(service)?));
    }
    say(
        "\n2. The shipped config directory, with addresses and credentials added, and accounts at the other providers",
    );
    accounts::write(&home, &cloud)?;
    let mut daemon = Daemon::start(built, &home, &VARIABLES)?;
    let status = daemon.wait(60)?;
    show_keys(&status, |_| true);
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
    let public_half = home.path("state/public/added-while-running.pub");
    let login = sshd.login_with(
        &home.agent_socket(),
        &public_half,
        "echo \"hello from $(hostname)\"",
    );
    if !login.status.success() {
        return Err(format!(
            "the login failed: {}",
            String::from_utf8_lossy(&login.stderr)
        ));
    }
    say(&format!(
        "   $ ssh -o IdentitiesOnly=yes -i {} -p {} {}@127.0.0.1",
        public_half.display(),
        sshd.port(),
        openssh::user()
    ));
    say(&format!("   {}", String::from_utf8_lossy(&login.stdout).trim()));

    say(&format!(
        "\nProved in {:.1} s: {keys} keys of {} providers went from files in a directory through a cloud into the SSH agent, none of them to disk, and one that the cloud created logged in over ssh.",
        start.elapsed().as_secs_f32(),
        plugins(&status).len()
    ));

    // Last, since nothing above is to wait for what has to be installed.
    say("\n5. The genuine OpenStack besides: an account and two keys more, while the daemon runs");
    let nova = match openstack::start(keep) {
        Ok(nova) => Some(nova),
        Err(message) => {
            say(&format!("   openstack-nova is left out: {message}"));
            None
        }
    };
    if let Some(nova) = &nova {
        accounts::write_openstack(&home, nova)?;
        let status = daemon.wait(60)?;
        show_keys(&status, |key| key["account"] == accounts::OPENSTACK);
        let keys = show_agent(&home)?;
        let plugins = plugins(&status);
        if !plugins.contains("openstack-nova") {
            return Err("the daemon has no key of OpenStack's".to_owned());
        }
        say(&format!(
            "\nWith OpenStack {keys} keys of {} providers, {:.1} s after the beginning.",
            plugins.len(),
            start.elapsed().as_secs_f32()
        ));
    }
    if keep {
        let processes = [
            Some(daemon.pid()),
            Some(cloud.pid()),
            Some(sshd.pid()),
            nova.as_ref().map(Nova::pid),
        ];
        let processes: Vec<String> = processes
            .into_iter()
            .flatten()
            .map(|pid| pid.to_string())
            .collect();
        explain(&home, &cloud, &sshd, built, &processes.join(" "))?;
        // They outlive this program, by design.
        std::mem::forget((home, cloud, daemon, sshd, nova));
        Ok(())
    } else {
        daemon.stop()
    }
}

/// The providers of the loopback cloud.
const CLOUDS: [&str; 6] = [
    "alibaba-ecs",
    "alibaba-ens",
    "alibaba-swas",
    "volcengine-ecs",
    "huawei-ecs",
    "aws-ec2",
];

/// The credentials, where the accounts of the demo say that they are.
const VARIABLES: [(&str, &str); 2] = [
    ("DEMO_ACCESS_KEY_ID", ACCESS_KEY),
    ("DEMO_ACCESS_KEY_SECRET", SECRET_KEY),
];

/// What the agent holds at least, wherever it is looked at.
const FEWEST_KEYS: usize = 2;

/// Prints those keys of a status that are `wanted`.
fn show_keys(status: &Value, wanted: impl Fn(&Value) -> bool) {
    let keys = status["keys"].as_array().into_iter().flatten();
    for key in keys.filter(|key| wanted(key)) {
        say(&format!(
            "   {:<22} {:<15} {:<8} {}",
            text(&key["name"]),
            plugin(status, key),
            text(&key["state"]),
            text(&key["fingerprint"])
        ));
    }
}

/// Prints `ssh-add -l` and counts its keys.
fn show_agent(home: &Home) -> Result<usize, String> {
    let output = openssh::ssh_add(&home.agent_socket(), &["-l"]);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    say("   $ ssh-add -l");
    for line in lines.lines() {
        say(&format!("   {line}"));
    }
    let keys = match output.status.success() {
        true => lines.lines().count(),
        // It says on standard output that there are none.
        false => 0,
    };
    match keys {
        FEWEST_KEYS.. => Ok(keys),
        _ => Err(format!("the agent lists {keys} keys, fewer than {FEWEST_KEYS}")),
    }
}

/// What to type while everything goes on running.
fn explain(home: &Home, cloud: &Cloud, sshd: &Sshd, built: &Built, processes: &str) -> Result<(), String> {
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
    say(&format!(
        "  ssh -o IdentitiesOnly=yes -i {} {} echo hello",
        home.path("state/public/added-while-running.pub").display(),
        sshd.ssh_arguments().join(" ")
    ));
    say(&format!("  curl {}/pairs", cloud.url("admin")?));
    say(&format!(
        "and when you have seen enough:\n  kill {processes}; rm -r {}",
        home.root().display()
    ));
    Ok(())
}

/// The plugins that the keys of a status are of.
fn plugins(status: &Value) -> BTreeSet<&str> {
    let keys = status["keys"].as_array().into_iter().flatten();
    keys.map(|key| plugin(status, key)).collect()
}

/// The plugin of a key's account.
fn plugin<'a>(status: &'a Value, key: &Value) -> &'a str {
    let mut accounts = status["accounts"].as_array().into_iter().flatten();
    accounts
        .find(|account| account["name"] == key["account"])
        .map_or("-", |account| text(&account["plugin"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// Prints a line.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
