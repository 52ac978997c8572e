//! Hosts with several host keys, and with certificates of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use keyferry_hosts::{HostErrorKind, Reply, public_blob};
use keyferry_tests::fleet::{HostOptions, Shell};
use tempfile::TempDir;

use crate::fixture::{Bench, append, line, verify};

fn keygen(folder: &Path, arguments: &[&str]) {
    let made = Command::new("ssh-keygen")
        .arg("-q")
        .args(arguments)
        .current_dir(folder)
        .status()
        .expect("ssh-keygen can be started");
    assert!(made.success(), "{arguments:?}");
}

/// The public half in a file, without its comment.
fn public_key(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a public half");
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A host with two keys, and ssh knows what `known` makes of its address.
fn bench(more: &str, folder: &TempDir, known: impl Fn(&str) -> String) -> Bench {
    let bench = Bench::new([HostOptions::new("web-1", Shell::Dash).with_sshd_config(more)]);
    append(bench.fleet.host("web-1"), &format!("{}\n", line(1)));
    let address = format!("[127.0.0.1]:{}", bench.fleet.host("web-1").port());
    let path = folder.path().join("known_hosts");
    fs::write(&path, known(&address)).expect("a file can be written");
    bench.set_config(&format!("UserKnownHostsFile {}", path.display()));
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pinned_key_is_asked_for_whatever_else_the_host_has() {
    let folder = tempfile::tempdir().expect("a folder");
    for (kind, bits) in [("ecdsa", "256"), ("rsa", "2048")] {
        keygen(folder.path(), &["-t", kind, "-b", bits, "-N", "", "-f", kind]);
        let second = folder.path().join(kind);
        let public = public_key(&second.with_extension("pub"));
        let bench = bench(&format!("HostKey {}\n", second.display()), &folder, |address| {
            format!("{address} {public}\n")
        });
        // As ssh does by itself where it keeps known_hosts up to date.
        let first = bench.fleet.host("web-1").host_key().to_owned();
        let known = folder.path().join("known_hosts");
        let text = fs::read_to_string(&known).expect("it is there");
        let address = text.split(' ').next().expect("an address");
        fs::write(&known, format!("{address} {first}\n{text}")).expect("a file can be written");

        for pinned in [&public, &first] {
            let mut host = bench.host("web-1");
            host.pinned = public_blob(pinned);
            let host_key = public_blob(pinned).expect("a host key");
            let reply = bench.run_on(host, verify(1)).await;
            assert_eq!(reply, Ok(Reply::Verified { host_key }), "{kind}");
        }

        // Of a type that the host has none of.
        let mut host = bench.host("web-1");
        keygen(
            folder.path(),
            &[
                "-t",
                "ecdsa",
                "-b",
                "521",
                "-N",
                "",
                "-f",
                &format!("{kind}-other"),
            ],
        );
        host.pinned = public_blob(&public_key(&folder.path().join(format!("{kind}-other.pub"))));
        let error = bench.run_on(host, verify(1)).await.expect_err("another host");
        assert_eq!(error.kind, HostErrorKind::HostKeyChanged, "{error:?}");
        assert!(error.remedy.contains("keyferry host trust"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_certificate_counts_as_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    keygen(folder.path(), &["-t", "ed25519", "-N", "", "-f", "ca"]);
    for kind in ["ed25519", "rsa"] {
        keygen(folder.path(), &["-t", kind, "-N", "", "-f", kind]);
        let public = folder.path().join(format!("{kind}.pub"));
        keygen(
            folder.path(),
            &[
                "-h",
                "-s",
                "ca",
                "-I",
                "host",
                "-n",
                "127.0.0.1",
                &format!("{kind}.pub"),
            ],
        );
        let key = folder.path().join(kind);
        let settings = format!("HostKey {0}\nHostCertificate {0}-cert.pub\n", key.display());
        let ca = public_key(&folder.path().join("ca.pub"));
        let bench = bench(&settings, &folder, |address| {
            format!("@cert-authority {address} {ca}\n")
        });
        let host_key = public_blob(&public_key(&public)).expect("a host key");
        for pinned in [None, Some(host_key.clone())] {
            let mut host = bench.host("web-1");
            host.pinned = pinned;
            let reply = bench.run_on(host, verify(1)).await;
            let verified = Reply::Verified {
                host_key: host_key.clone(),
            };
            assert_eq!(reply, Ok(verified), "{kind}");
        }
    }
}
