//! The hosts are what they are said to be.

use std::fs;
use std::process::Output;

use super::{Fleet, HostOptions, LoginLoop, LoginOutcome, Shell, fingerprint};

#[track_caller]
fn succeeds(output: &Output) -> Vec<u8> {
    assert!(output.status.success(), "{output:?}");
    output.stdout.clone()
}

fn run(fleet: &Fleet, host: &str, command: &str) -> Output {
    let mut ssh = fleet.ssh(&fleet.ssh_config());
    ssh.args([host, command]).output().unwrap()
}

#[test]
fn every_host_has_its_shell_its_user_and_its_home() {
    let fleet = Fleet::of_shells(&Shell::ALL);
    for (host, shell) in fleet.hosts().iter().zip(Shell::ALL) {
        let printed = succeeds(&run(&fleet, host.name(), "echo $SHELL; id -un; pwd"));
        let printed = String::from_utf8(printed).unwrap();
        let lines: Vec<&str> = printed.lines().collect();
        let name = match shell {
            Shell::Busybox => "bin/sh",
            Shell::Csh => "bsd-csh",
            _ => shell.program().0,
        };
        assert!(lines[0].ends_with(name), "{printed}");
        assert_eq!(lines[1], "deploy");
        assert_eq!(lines[2], host.home_inside("deploy").to_str().unwrap());
        let admin = fs::read_to_string(fleet.admin_public_key()).unwrap();
        let last = host.logins().pop().unwrap();
        assert_eq!(last.outcome, LoginOutcome::Accepted);
        assert_eq!(last.fingerprint, fingerprint(&admin));
        assert_eq!(host.keys().len(), 1);
    }
    // The machine's own users are as they were.
    assert!(!fs::read_to_string("/etc/passwd").unwrap().contains("deploy"));
}

#[test]
fn rc_files_print_around_what_a_command_prints() {
    let hosts = Shell::ALL.map(|shell| HostOptions::new(&format!("{shell:?}").to_lowercase(), shell).noisy());
    let fleet = Fleet::start(hosts);
    for host in fleet.hosts() {
        let printed = succeeds(&run(&fleet, host.name(), "echo answer"));
        let text = String::from_utf8_lossy(&printed);
        assert!(text.contains("new mail."), "{}: {text}", host.name());
        assert!(text.ends_with("answer\n"), "{}: {text}", host.name());
        assert!(String::from_utf8(printed).is_err());
    }
}

#[test]
fn a_host_goes_down_hangs_and_comes_back() {
    let fleet = Fleet::of_shells(&[Shell::Dash]);
    let host = fleet.host("web-1");
    let is_up = || run(&fleet, "web-1", "true").status.success();
    assert!(is_up());
    host.stop();
    let output = run(&fleet, "web-1", "true");
    assert_eq!(output.status.code(), Some(255));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("Connection refused"),
        "{output:?}"
    );
    host.start();
    assert!(is_up());
    host.pause();
    let mut ssh = fleet.ssh(&fleet.ssh_config());
    let output = ssh
        .args(["-o", "ConnectTimeout=1", "web-1", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    host.resume();
    assert!(is_up());
}

#[test]
fn homes_fill_up_become_read_only_and_files_immutable() {
    let options = HostOptions {
        home_size: Some(256 << 10),
        ..HostOptions::new("small", Shell::Dash)
    };
    let fleet = Fleet::start([options, HostOptions::new("plain", Shell::Bash)]);
    let append = |host: &str| {
        let words = "head -c 4096 /dev/zero >> more && cp .ssh/authorized_keys .ssh/draft && mv -f .ssh/draft .ssh/authorized_keys";
        run(&fleet, host, words)
    };
    let says = |output: Output, words: &str| {
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words), "{said}");
    };
    succeeds(&append("small"));
    fleet.host("small").fill("deploy");
    says(append("small"), "No space left");
    fleet.host("small").make_room("deploy");
    succeeds(&append("small"));
    for host in fleet.hosts() {
        host.set_read_only("deploy", true);
        says(append(host.name()), "Read-only file system");
        host.set_read_only("deploy", false);
        succeeds(&append(host.name()));
    }
    fleet.host("plain").set_immutable("deploy", true);
    says(append("plain"), "Operation not permitted");
    fleet.host("plain").set_immutable("deploy", false);
    succeeds(&append("plain"));
}

#[test]
fn a_host_may_want_a_second_factor() {
    let options = HostOptions::new("web-1", Shell::Bash)
        .with_sshd_config("AuthenticationMethods publickey,password\nPasswordAuthentication yes\n");
    let fleet = Fleet::start([options]);
    let output = run(&fleet, "web-1", "true");
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    let host = fleet.host("web-1");
    let last = host.logins().pop().unwrap_or_else(|| panic!("{}", host.log()));
    assert_eq!(last.outcome, LoginOutcome::Partial);
}

#[test]
fn users_of_a_host_may_use_sudo_where_that_is_asked_for() {
    let options = HostOptions {
        sudo: true,
        ..HostOptions::new("web-1", Shell::Bash).with_users(&["deploy", "www"])
    };
    let fleet = Fleet::start([options, HostOptions::new("web-2", Shell::Bash)]);
    let printed = succeeds(&run(&fleet, "web-1", "sudo -n -u www id -un; sudo -n id -u"));
    assert_eq!(String::from_utf8(printed).unwrap(), "www\n0\n");
    assert!(!run(&fleet, "web-2", "sudo -n true").status.success());
    let destinations: Vec<String> = fleet.hosts()[0].destinations().collect();
    assert_eq!(destinations, ["web-1", "www@web-1"]);
    succeeds(&run(&fleet, "www@web-1", "true"));
}

#[test]
fn logins_in_a_loop_are_counted_and_refused_ones_recorded() {
    let fleet = Fleet::of_shells(&[Shell::Dash, Shell::Bash]);
    let agent = fleet.path("agent.sock");
    let mut openssh = std::process::Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&agent)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    crate::wait::until("ssh-agent listens", std::time::Duration::from_secs(10), || {
        agent.exists().then_some(())
    });
    let admin = fleet.admin_key();
    let added = crate::openssh::ssh_add(&agent, &["-q", admin.to_str().unwrap()]);
    assert!(added.status.success(), "{added:?}");
    let logins = LoginLoop::start(&fleet, &agent);
    logins.wait_for(2);
    fleet.host("web-2").set_authorized_keys(b"");
    crate::wait::until("a refused login", std::time::Duration::from_secs(30), || {
        (!logins.so_far().refused.is_empty()).then_some(())
    });
    let logins = logins.stop();
    openssh.kill().unwrap();
    openssh.wait().unwrap();
    assert!(logins.count() > 4);
    let refused = &logins.refused;
    assert!(
        refused.iter().all(|login| login.destination == "web-2"),
        "{refused:#?}"
    );
    assert!(refused[0].words.contains("Permission denied"), "{refused:#?}");
}

#[test]
fn lines_of_authorized_keys_are_read_as_sshd_reads_them() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
    let file = format!(
        "# ssh-ed25519 AAAA\n\n{key}\nfrom=\"10.0.0.0/8, 127.0.0.1\",command=\"say \\\"hi there\\\"\" {key} keyferry owner=li machine=m key=web gen=1\r\nnonsense {key}x\n{key} a b"
    );
    let keys = super::parse(file.as_bytes());
    assert_eq!(keys.len(), 3, "{keys:#?}");
    assert!(keys.iter().all(|line| line.public_key == key));
    assert!(keys[1].options.ends_with("there\\\"\""));
    assert!(keys[1].is_of("web") && !keys[1].is_of("we"));
    assert_eq!(keys[2].comment, "a b");
    assert_eq!(super::public_key(file.lines().last().unwrap()), key);
    assert_eq!(super::public_key(key), key);
}
