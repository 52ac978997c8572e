//! Two installations on the same hosts, as of two people with one set of files.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use cloud_sim::CloudSim;
use keyferry_tests::daemon::{Daemon, find};
use keyferry_tests::fleet::{self, Fleet, Shell};
use keyferry_tests::home::Home;
use keyferry_tests::wait;

use crate::scene::{ECS, KEY, cloud, live, pairs};

const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn two_installations_rotate_on_the_same_hosts_at_once() {
    let fleet = Fleet::of_shells(&[Shell::Dash, Shell::Bash]);
    let cloud = cloud(1, 100);
    let homes = [(); 2].map(|()| home(&fleet, &cloud));
    let daemons = homes.each_ref().map(Daemon::start);
    for generation in 1..=3 {
        if generation > 1 {
            thread::scope(|scope| {
                for daemon in &daemons {
                    scope.spawn(move || {
                        let output = daemon.keyferry(&["rotate", "web", "--wait=120"]);
                        assert!(
                            output.status.success(),
                            "{}\n{}",
                            String::from_utf8_lossy(&output.stderr),
                            daemon.log()
                        );
                    });
                }
            });
        }
        let is_through = || daemons.iter().all(|daemon| is_verified(daemon, generation));
        wait::until("both are verified everywhere", DEADLINE, || {
            is_through().then_some(())
        });
        let own = daemons.each_ref().map(public_key);
        wait::until("each host has both lines and no third", DEADLINE, || {
            let hosts = fleet.hosts().iter();
            let mut lines = hosts.map(|host| {
                let keys = host.keys().into_iter().filter(|key| key.is_of("web"));
                keys.map(|key| key.public_key).collect::<Vec<_>>()
            });
            let is_exact = |lines: Vec<String>| lines.len() == 2 && own.iter().all(|key| lines.contains(key));
            lines.all(is_exact).then_some(())
        });
        for home in &homes {
            for host in fleet.hosts() {
                let mut ssh = fleet.ssh(&fleet.agent_config());
                ssh.args([host.name(), "true"])
                    .env("SSH_AUTH_SOCK", home.agent_socket());
                let output = ssh.output().expect("ssh can be started (Debian: openssh-client)");
                assert!(
                    output.status.success(),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
        wait::until(
            "the account holds what both know of, and no more",
            DEADLINE,
            || {
                let known: BTreeSet<String> = homes.iter().flat_map(live).collect();
                let mut there = pairs(&cloud);
                there.remove("of-a-colleague-0").then_some(())?;
                (known.len() == 2 && there == known).then_some(())
            },
        );
    }
}

fn home(fleet: &Fleet, cloud: &CloudSim) -> Home {
    let home = Home::new();
    home.account("ecs", ECS.name(), cloud.url(ECS));
    home.write(
        "keyferry.toml",
        &format!(
            "[ssh]\ncommand = [\"ssh\", \"-F\", \"{}\"]\n",
            fleet.ssh_config().display()
        ),
    );
    let names: Vec<&str> = fleet.hosts().iter().map(fleet::Host::name).collect();
    let rotate = "[rotate]\nevery = \"30d\"\ngrace = \"0s\"\n";
    home.key("web", &format!("{KEY}hosts = {names:?}\n{rotate}"));
    home
}

fn is_verified(daemon: &Daemon, generation: u64) -> bool {
    let status = daemon.status();
    let keys = status["keys"].as_array().into_iter().flatten();
    let hosts = keys.filter_map(|key| key["hosts"].as_array()).flatten();
    let mut hosts = hosts.peekable();
    hosts.peek().is_some()
        && hosts.all(|host| host["state"] == "verified" && host["generation"] == generation)
}

fn public_key(daemon: &Daemon) -> String {
    let key = find(&daemon.status(), "web");
    let line = key["public_key"]
        .as_str()
        .expect("a loaded key has a public half");
    fleet::public_key(line).to_owned()
}
