//! Real logins: over private sockets, by hosts, and over forwarded agents.

use crate::harness::*;
use crate::openssh::*;
use keyferry_agent::{Login, Offer, PrivateSocket};

fn private_socket(running: &Running, name: &str, generation: u64) -> PrivateSocket {
    let _within = running.runtime().enter();
    let folder = running.folder.path().join("private");
    running.agent.private_socket(&folder, name, generation).unwrap()
}

/// What a private socket tells, without the sessions' ids, which are all different.
#[track_caller]
fn told(socket: &PrivateSocket) -> Vec<(Vec<u8>, String, bool)> {
    let logins = socket.logins();
    let mut sessions: Vec<_> = logins.iter().map(|login| &login.session_id).collect();
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), logins.len(), "one login in one session");
    let parts = |login: Login| (login.host_key, login.user, login.forwarded);
    logins.into_iter().map(parts).collect()
}

#[test]
fn a_staged_key_logs_in_over_its_private_socket_alone_and_the_login_is_told() {
    let running = Running::start();
    for (kind, bits) in [("ed25519", 256), ("ecdsa", 521), ("rsa", 3072)] {
        let staged = TestKey::generate(kind, bits);
        let host = Sshd::start(&[&staged]);
        running.load_generation("web", 2, &staged, Offer::Nowhere);
        host.login_fails(&running.path, &[]);

        let socket = private_socket(&running, "web", 2);
        host.login_ok(socket.path(), &[]);
        let login = (host.host_key.clone(), user(), false);
        let twice = [login.clone(), login];
        assert_eq!(told(&socket), twice[..1], "{kind}");
        // A server that knows no binding of its own.
        host.login_ok(socket.path(), &["-o", "PubkeyAuthentication=unbound"]);
        assert_eq!(told(&socket), twice, "{kind}");
        host.login_fails(&running.path, &[]);
    }
}

#[test]
fn a_key_that_was_seen_to_log_in_comes_first_there() {
    let running = Running::start();
    let keys: Vec<TestKey> = (1..=10).map(TestKey::ed25519).collect();
    for (name, key) in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
        .into_iter()
        .zip(&keys)
    {
        running.load(name, key);
    }
    // Each hears out one key.
    let (ninth, tenth) = (Sshd::start(&[&keys[8]]), Sshd::start(&[&keys[9]]));
    ninth.login_fails(&running.path, &[]);
    tenth.login_fails(&running.path, &[]);
    for (name, host) in [("i", &ninth), ("j", &tenth)] {
        host.login_ok(private_socket(&running, name, 1).path(), &[]);
    }
    ninth.login_ok(&running.path, &[]);
    tenth.login_ok(&running.path, &[]);
    // Nothing else changes for anybody.
    let listed = Client::connect(&running.path).unwrap().list();
    assert_eq!(listed.len(), 10);
    assert_eq!(listed[0].0, keys[0].public);
}

#[test]
fn a_login_that_another_key_made_is_not_told() {
    let running = Running::start();
    let file = keygen(running.folder.path(), "ed25519", 256);
    let host = Sshd::with(&[&TestKey::read(&file)], "MaxAuthTries 6");
    running.load_generation("web", 1, &TestKey::ed25519(1), Offer::Nowhere);
    let socket = private_socket(&running, "web", 1);
    host.login_ok(socket.path(), &["-i", file.to_str().unwrap()]);
    assert_eq!(told(&socket), []);
}

#[test]
fn a_host_certificate_counts_as_the_key_it_certifies() {
    let running = Running::start();
    let staged = TestKey::ed25519(1);
    let host = Sshd::with(&[&staged], "HostCertificate %d/host_key-cert.pub");
    let authority = keygen(running.folder.path(), "ed25519", 256);
    let certify = [
        "-q",
        "-s",
        authority.to_str().unwrap(),
        "-h",
        "-I",
        "host",
        "-n",
        "127.0.0.1",
    ];
    let public = host.path("host_key.pub");
    running.tool_ok(
        "ssh-keygen",
        &[&certify[..], &[public.to_str().unwrap()]].concat(),
        "",
    );
    let authority = std::fs::read_to_string(authority.with_extension("pub")).unwrap();
    std::fs::write(host.path("known_hosts"), format!("@cert-authority * {authority}")).unwrap();
    host.reload();

    running.load_generation("web", 1, &staged, Offer::Nowhere);
    let socket = private_socket(&running, "web", 1);
    host.login_ok(socket.path(), &[]);
    assert_eq!(told(&socket), [(host.host_key.clone(), user(), false)]);
    running
        .agent
        .offer("web", 1, Offer::To(vec![host.host_key.clone()]));
    host.login_ok(&running.path, &[]);
}

#[test]
fn a_host_is_offered_the_generation_that_it_is_known_to_take() {
    let running = Running::start();
    let (old, new) = (TestKey::ed25519(1), TestKey::ed25519(2));
    // Each hears out one key.
    let (late, early) = (Sshd::start(&[&old]), Sshd::start(&[&new]));
    running.load_generation("web", 1, &old, Offer::Everywhere);
    running.load_generation("web", 2, &new, Offer::Nowhere);
    late.login_ok(&running.path, &[]);
    early.login_fails(&running.path, &[]);

    running.agent.offer("web", 2, Offer::Everywhere);
    running
        .agent
        .offer("web", 1, Offer::To(vec![late.host_key.clone()]));
    late.login_ok(&running.path, &[]);
    early.login_ok(&running.path, &[]);

    assert!(running.agent.unload("web", 1));
    late.login_fails(&running.path, &[]);
    early.login_ok(&running.path, &[]);
}

#[test]
fn over_a_forwarded_agent_the_last_host_counts() {
    let running = Running::start();
    let (old, new, hop) = (TestKey::ed25519(1), TestKey::ed25519(2), TestKey::ed25519(3));
    let (jump, late) = (Sshd::start(&[&hop]), Sshd::start(&[&old]));
    running.load_generation("hop", 1, &hop, Offer::To(vec![jump.host_key.clone()]));
    running.load_generation("web", 1, &old, Offer::To(vec![late.host_key.clone()]));
    running.load_generation("web", 2, &new, Offer::Everywhere);
    let onward = late.ssh(&[]).join(" ") + " echo is in";
    let output = jump.login(&running.path, &["-A"], &onward);
    assert!(
        output.status.success() && output.stdout == b"is in\n",
        "{output:?}"
    );
    // Whoever asks there without saying where to sees what everybody sees.
    let listed = jump.login(&running.path, &["-A"], "ssh-add -L");
    assert_eq!(
        String::from_utf8(listed.stdout).unwrap(),
        format!("{} comment of web\n", new.line())
    );

    // The same key for both hosts over a private socket: the second login is told to come from afar.
    let (jump, late) = (Sshd::start(&[&hop]), Sshd::start(&[&hop]));
    let socket = private_socket(&running, "hop", 1);
    let onward = late.ssh(&[]).join(" ") + " echo is in";
    let output = jump.login(socket.path(), &["-A"], &onward);
    assert!(
        output.status.success() && output.stdout == b"is in\n",
        "{output:?}"
    );
    assert_eq!(
        told(&socket),
        [
            (jump.host_key.clone(), user(), false),
            (late.host_key.clone(), user(), true)
        ]
    );
}
