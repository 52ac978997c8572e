//! What is no proof: other keys that log in, connections that are open.

use std::process::{Command, Stdio};

use keyferry_hosts::{HostErrorKind, HostKeys, Identity, Proof, Reply, Work};
use keyferry_tests::fleet::{HostOptions, PASSWORD, Shell};

use crate::fixture::{Bench, append, generation, key_file, line, public_key, put, put_over, verify};

async fn assert_not_verified(bench: &Bench, case: &str) {
    let result = bench.verify("web-1", 1).await;
    let kind = result.expect_err(case).kind;
    assert!(
        matches!(kind, HostErrorKind::AnotherKey | HostErrorKind::Refused),
        "{case}: {kind:?}"
    );
}

/// How the generation may stand on the host without letting anybody in.
fn useless_lines() -> [(&'static str, String); 4] {
    let ours = line(1);
    [
        ("not deployed", String::new()),
        ("from another place only", format!("from=\"10.9.9.9\" {ours}\n")),
        ("expired", format!("expiry-time=\"20200101Z\" {ours}\n")),
        ("as an authority", format!("cert-authority {ours}\n")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_identity_file_is_not_our_key() {
    let bench = Bench::of_one();
    let host = bench.fleet.host("web-1");
    let admin = bench.fleet.admin_key();
    let file = |path: &std::path::Path| format!("IdentityFile {}", path.display());
    let useless = key_file(&bench.path("useless"));
    assert!(!useless.is_empty());
    let configs = [
        file(&admin),
        format!("{}\n{}", file(&bench.path("useless")), file(&admin)),
        // In a block for the host itself, and twice.
        format!("Host web-1\n  {0}\n  {0}\nHost *", file(&admin)),
        format!("IdentitiesOnly no\n{}", file(&admin)),
    ];
    let original = bench.admin_and("");
    for (how, text) in useless_lines() {
        for (config_number, config) in configs.iter().enumerate() {
            bench.set_config(config);
            host.set_authorized_keys(format!("{original}{text}").as_bytes());
            assert_not_verified(
                &bench,
                &format!("{how}, settings {config_number}, after the admin's"),
            )
            .await;
            host.set_authorized_keys(format!("{text}{original}").as_bytes());
            assert_not_verified(
                &bench,
                &format!("{how}, settings {config_number}, before the admin's"),
            )
            .await;
        }
    }
    // And with them, one that is deployed is seen.
    append(host, &format!("{}\n", line(1)));
    for config in &configs {
        bench.set_config(config);
        assert!(bench.verify("web-1", 1).await.is_ok(), "{config}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_not_our_key_and_in_nobodys_way() {
    let bench = Bench::of_one();
    let host = bench.fleet.host("web-1");
    let authority = key_file(&bench.path("ca"));
    key_file(&bench.path("user"));
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-s"])
        .arg(bench.path("ca"))
        .args(["-I", "somebody", "-n", "deploy"])
        .arg(bench.path("user.pub"))
        .stderr(Stdio::null())
        .status()
        .expect("ssh-keygen can be started");
    assert!(signed.success());
    append(host, &format!("cert-authority {authority}"));
    bench.set_config(&format!(
        "CertificateFile {0}-cert.pub\nIdentityFile {0}",
        bench.path("user").display()
    ));
    // It works for the user.
    let over = vec![Identity::SshConfig];
    let reply = bench.run("web-1", Work::Inspect { over }).await;
    assert!(matches!(reply, Ok(Reply::Marked { others: 2, .. })), "{reply:?}");
    assert_not_verified(&bench, "a certificate").await;
    append(host, &format!("{}\n", line(1)));
    assert!(bench.verify("web-1", 1).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_connection_is_no_login() {
    let bench = Bench::of_one();
    let control = bench.path("control");
    bench.set_config(&format!(
        "IdentityFile {}\nControlPath {}\nControlMaster auto",
        bench.fleet.admin_key().display(),
        control.display()
    ));
    let config = bench.host("web-1").ssh[2].clone();
    let opened = Command::new("ssh")
        .args(["-F", &config, "-f", "-N", "-M", "web-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("ssh can be started");
    assert!(opened.success() && control.exists());
    assert_not_verified(&bench, "a connection that is open").await;
    bench.run("web-1", put(1)).await.expect("the admin's key logs in");
    assert!(bench.verify("web-1", 1).await.is_ok());
    // Also where the program that is named says so itself.
    let mut host = bench.host("web-1");
    host.ssh
        .extend(["-o", "ControlMaster=auto", "-o"].map(str::to_owned));
    host.ssh.push(format!("ControlPath={}", control.display()));
    let result = bench.run_on(host, verify(2)).await;
    assert!(result.is_err(), "{result:?}");
    let closed = Command::new("ssh")
        .args(["-F", &config, "-O", "exit", "web-1"])
        .stderr(Stdio::null())
        .status()
        .expect("ssh can be started");
    assert!(closed.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_the_users_agent_is_not_our_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("agent.sock");
    let agent = Agent::start(&socket);
    let bench = Bench::with([HostOptions::new("web-1", Shell::Bash)], |parts| {
        parts.auth_socket = Some(socket.clone());
    });
    agent.add(&bench.fleet.admin_key());
    bench.set_config(&format!("IdentityAgent {}\nIdentitiesOnly no", socket.display()));
    assert_not_verified(&bench, "a key in the agent").await;
    bench.set_config("");
    assert_not_verified(&bench, "a key in the agent of the environment").await;

    // Asked for by name, it is one.
    let public = std::fs::read_to_string(bench.fleet.admin_public_key()).expect("the admin's key");
    let admin = Identity::Agent {
        socket: socket.clone(),
        public_key: public.trim().to_owned(),
    };
    let work = |identity: &Identity| Work::Verify {
        identity: identity.clone(),
        proof: Proof::Session,
    };
    let verified = Ok(Reply::Verified {
        host_key: bench.host_key("web-1"),
    });
    assert_eq!(bench.run("web-1", work(&admin)).await, verified);
    assert_eq!(bench.run("web-1", work(&Identity::SshConfig)).await, verified);
    let other = Identity::Agent {
        socket,
        public_key: public_key(9),
    };
    bench.set_config(&format!("IdentityFile {}", bench.fleet.admin_key().display()));
    assert!(bench.run("web-1", work(&other)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_of_key_logs_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("agent.sock");
    let agent = Agent::start(&socket);
    let bench = Bench::of_one();
    bench.set_config("IdentityFile none");
    for arguments in [
        &["-t", "rsa", "-b", "2048"][..],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "521"],
    ] {
        let path = folder.path().join(arguments.concat());
        let made = Command::new("ssh-keygen")
            .args(arguments)
            .args(["-q", "-N", "", "-f"])
            .arg(&path)
            .status()
            .expect("ssh-keygen can be started");
        assert!(made.success());
        agent.add(&path);
        let public_key = std::fs::read_to_string(path.with_extension("pub")).expect("the public half");
        let work = Work::Verify {
            identity: Identity::Agent {
                socket: socket.clone(),
                public_key: public_key.clone(),
            },
            proof: Proof::Session,
        };
        assert!(bench.run("web-1", work.clone()).await.is_err(), "{arguments:?}");
        append(bench.fleet.host("web-1"), &public_key);
        let verified = Reply::Verified {
            host_key: bench.host_key("web-1"),
        };
        assert_eq!(bench.run("web-1", work).await, Ok(verified), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_with_more_keys_than_a_host_hears_out_is_in_nobodys_way() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let agent = Agent::start(&folder.path().join("agent"));
    for n in 1..=5 {
        let path = folder.path().join(format!("key-{n}"));
        key_file(&path);
        agent.add(&path);
    }
    let few = HostOptions::new("web-1", Shell::Dash).with_sshd_config("MaxAuthTries 3\n");
    let bench = Bench::with([few], |parts| parts.auth_socket = Some(agent.socket.clone()));
    let work = |n| put_over(vec![Identity::SshConfig], n);
    // Neither the file nor the agent has what the host takes: the first try tells more.
    bench.set_config("IdentityFile none");
    let error = bench.run("web-1", work(1)).await.expect_err("nobody is let in");
    assert_eq!(error.kind, HostErrorKind::Refused, "{error:?}");
    assert!(error.message.contains("MaxAuthTries"), "{error:?}");

    bench.set_config(&format!("IdentityFile {}", bench.fleet.admin_key().display()));
    let reply = bench.run("web-1", work(1)).await;
    assert!(
        matches!(reply, Ok(Reply::Put { already: false, .. })),
        "{reply:?}"
    );
    // The sixth in the agent, named by its public half alone.
    agent.add(&bench.fleet.admin_key());
    let named = bench.path("named.pub");
    std::fs::copy(bench.fleet.admin_public_key(), &named).expect("a file can be written");
    bench.set_config(&format!("IdentityFile {}", named.display()));
    let reply = bench.run("web-1", work(2)).await;
    assert!(
        matches!(reply, Ok(Reply::Put { already: false, .. })),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_for_people_are_in_nobodys_way() {
    let bench = Bench::of_one();
    append(bench.fleet.host("web-1"), &format!("{}\n", line(1)));
    bench.set_config(
        "AddKeysToAgent yes
BatchMode no
ExitOnForwardFailure yes
ForkAfterAuthentication yes
ForwardAgent yes
ForwardX11 yes
FingerprintHash md5
IdentityAgent none
LocalCommand touch /nonexistent/file
LocalForward 127.0.0.1:1 127.0.0.1:1
LogLevel QUIET
PermitLocalCommand yes
PreferredAuthentications password,keyboard-interactive
PubkeyAcceptedAlgorithms rsa-sha2-512
PubkeyAuthentication no
RemoteCommand echo no
RequestTTY force
SendEnv LANG
SessionType none
StdinNull yes
VisualHostKey yes",
    );
    let verified = Reply::Verified {
        host_key: bench.host_key("web-1"),
    };
    assert_eq!(bench.verify("web-1", 1).await, Ok(verified));
    let over = vec![generation(1)];
    let reply = bench.run("web-1", put_over(over, 2)).await;
    assert!(
        matches!(reply, Ok(Reply::Put { already: false, .. })),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_factor_is_told_from_a_login() {
    let both = "AuthenticationMethods publickey,password\nPasswordAuthentication yes\n";
    let bench = Bench::new([
        HostOptions::new("web-1", Shell::Dash).with_sshd_config(both),
        HostOptions::new("web-2", Shell::Dash)
            .with_sshd_config("AuthenticationMethods publickey,publickey\n"),
    ]);
    assert!(!PASSWORD.is_empty());
    let proof = Proof::PublicKey;
    let work = |n| Work::Verify {
        identity: generation(n),
        proof,
    };
    for name in ["web-1", "web-2"] {
        append(bench.fleet.host(name), &format!("{}\n", line(1)));
        let error = bench.verify(name, 1).await.expect_err(name);
        let expected = [HostErrorKind::NeedsPerson, HostErrorKind::AnotherKey];
        assert!(expected.contains(&error.kind), "{name}: {error:?}");
        let verified = Reply::Verified {
            host_key: bench.host_key(name),
        };
        assert_eq!(bench.run(name, work(1)).await, Ok(verified), "{name}");
        let error = bench.run(name, work(2)).await.expect_err(name);
        let expected = [HostErrorKind::Refused, HostErrorKind::AnotherKey];
        assert!(expected.contains(&error.kind), "{name}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_key_gets_nothing() {
    let bench = Bench::of_one();
    append(bench.fleet.host("web-1"), &format!("{}\n", line(1)));
    let before = bench.file();
    let mut host = bench.host("web-1");
    host.pinned = Some(keyferry_hosts::public_blob(&public_key(3)).expect("a key"));
    for work in [verify(1), put(2), put_over(vec![Identity::SshConfig], 2)] {
        let error = bench
            .run_on(host.clone(), work)
            .await
            .expect_err("another machine");
        assert_eq!(error.kind, HostErrorKind::HostKeyChanged, "{error:?}");
    }
    assert_eq!(bench.file(), before);
    host.pinned = Some(bench.host_key("web-1"));
    assert!(bench.run_on(host, verify(1)).await.is_ok());

    // Not known at all.
    let known = bench.path("known");
    bench.set_config(&format!("UserKnownHostsFile {}", known.display()));
    let mut host = bench.host("web-1");
    let error = bench
        .run_on(host.clone(), verify(1))
        .await
        .expect_err("not known");
    assert_eq!(error.kind, HostErrorKind::HostKeyUnknown, "{error:?}");
    assert!(!known.exists());
    host.host_keys = HostKeys::AcceptNew;
    // The fleet's own settings say yes; what is asked for here comes first.
    assert!(bench.run_on(host.clone(), verify(1)).await.is_ok());
    std::fs::write(
        &known,
        format!(
            "[127.0.0.1]:{} {}\n",
            bench.fleet.host("web-1").port(),
            public_key(3)
        ),
    )
    .expect("a file can be written");
    let error = bench.run_on(host, verify(1)).await.expect_err("another one");
    assert_eq!(error.kind, HostErrorKind::HostKeyChanged, "{error:?}");
}

/// OpenSSH's own agent.
struct Agent {
    process: std::process::Child,
    socket: std::path::PathBuf,
}

impl Agent {
    fn start(socket: &std::path::Path) -> Self {
        let process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent can be started");
        keyferry_tests::wait::until("the agent's socket", std::time::Duration::from_secs(10), || {
            socket.exists().then_some(())
        });
        Self {
            process,
            socket: socket.to_owned(),
        }
    }

    fn add(&self, key: &std::path::Path) {
        let added = Command::new("ssh-add")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .stderr(Stdio::null())
            .status()
            .expect("ssh-add can be started");
        assert!(added.success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
