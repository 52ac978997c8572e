//! Real logins and real signatures with every kind of key that a manifest allows.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use keyferry_tests::daemon::find;
use keyferry_tests::openssh::{Sshd, listed};
use keyferry_tests::{ledger, openssh};

use crate::scene::{QUICK, Scene};

#[test]
fn a_login_with_every_kind_of_key() {
    let imported = |account: &str, algorithm: &str| {
        (
            format!("{account}-{algorithm}"),
            format!("account = \"{account}\"\nalgorithm = \"{algorithm}\"\n"),
        )
    };
    let created = |account: &str| {
        (
            format!("{account}-created"),
            format!("account = \"{account}\"\ngenerated_by = \"provider\"\n"),
        )
    };
    let mut declared = vec![created("ecs"), created("ens")];
    for algorithm in ["rsa-2048", "rsa-3072", "rsa-4096"] {
        declared.extend([imported("ecs", algorithm), imported("ens", algorithm)]);
    }
    for algorithm in ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521"] {
        declared.push(imported("ecs", algorithm));
    }
    let keys: Vec<(&str, &str)> = declared
        .iter()
        .map(|(name, file)| (name.as_str(), file.as_str()))
        .collect();
    let scene = Scene::new(&keys);
    let status = scene.daemon.status();
    let lines: Vec<String> = listed(&scene.socket());
    assert_eq!(lines.len(), keys.len());
    let short = scene.ssh_add(&["-l"]);
    let short = String::from_utf8_lossy(&short.stdout).into_owned();

    for (name, _) in &keys {
        let key = find(&status, name);
        let text = |field: &str| key[field].as_str().unwrap_or_default().to_owned();
        let pair_name = ledger::pair_name(&scene.home, name, 1);
        // What ssh-add shows, status shows, and the file holds is one line: algorithm, blob, the pair's name.
        assert!(text("public_key").ends_with(&format!(" {pair_name}")), "{key:#}");
        assert!(lines.contains(&text("public_key")), "{key:#}");
        let bits = text("algorithm").rsplit(['-', 'p']).next().map(str::to_owned);
        let line = short
            .lines()
            .find(|line| line.contains(&pair_name))
            .unwrap_or_else(|| panic!("{name} is not in {short}"));
        assert!(line.contains(&text("fingerprint")), "{line}");
        assert_eq!(line.split(' ').next().map(str::to_owned), bits, "{line}");

        // One at a time, so that it is this key that lets in.
        let sshd = Sshd::start(&format!("{}\n", text("public_key")));
        let output = login(&scene, &sshd, name);
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.stdout, b"in\n");
        scene.assert_signs(name);
    }
    ledger::assert_matches_cloud(&scene.home, &scene.cloud);
}

fn login(scene: &Scene, sshd: &Sshd, key: &str) -> std::process::Output {
    let identity = format!("IdentityFile={}", scene.public(key).display());
    Command::new("ssh")
        .args(
            sshd.ssh_arguments()
                .iter()
                .map(|argument| argument.replace("IdentityFile=none", &identity)),
        )
        .args(["-o", "IdentitiesOnly=yes", "echo in"])
        .env("SSH_AUTH_SOCK", scene.socket())
        .stdin(Stdio::null())
        .output()
        .expect("ssh can be started (Debian: openssh-client)")
}

#[test]
fn killing_couriers_and_sandboxes_stops_no_signature() {
    let scene = Scene::new(&[("calm", QUICK)]);
    let public = scene.public("calm");
    let (stop, signed) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let output = openssh::sign(&scene.socket(), &public);
                if !output.status.success() {
                    stop.store(true, Ordering::Relaxed);
                    panic!("not signed: {}", String::from_utf8_lossy(&output.stderr));
                }
                signed.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0..6 {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let name = format!("round-{round}");
            scene.cloud.clear_requests();
            scene.home.key(&name, QUICK);
            // In the midst of the work for the new key.
            let _ = scene.cloud.wait_for_requests(
                &cloud_sim::RequestFilter::action("ImportKeyPair"),
                1,
                std::time::Duration::from_secs(30),
            );
            let role = if round % 2 == 0 { "courier" } else { "sandbox" };
            let children = scene.daemon.children();
            children
                .iter()
                .filter(|child| child.is(role))
                .for_each(|child| child.kill());
            scene.wait_for_state(&name, "loaded");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(signed.into_inner() >= 10);
    ledger::assert_matches_cloud(&scene.home, &scene.cloud);
}
