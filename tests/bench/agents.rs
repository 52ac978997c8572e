//! Signatures and lists per second, ours and ssh-agent's in turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keyferry_tests::build::built;
use keyferry_tests::{openssh, wait};

use crate::bare::BareKey;
use crate::client::{list_request, rate, sign_request};
use crate::{quantile, say};

/// What is measured: name, what the library alone does of it, request, first byte of the reply, what we aim for at 1 and at
/// 8 connections.
struct Case {
    name: &'static str,
    bare: Option<BareKey>,
    request: Vec<u8>,
    expected: u8,
    aims: [f64; 2],
}

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(400);

pub(crate) fn run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ours = Agent::start(
        &built().keyferry(),
        &["ssh-agent", "-D", "-a"],
        folder.path().join("ours.sock"),
    );
    let theirs = Agent::start(
        Path::new("ssh-agent"),
        &["-D", "-a"],
        folder.path().join("theirs.sock"),
    );
    let keys: Vec<Vec<u8>> = [("ed25519", "256"), ("ecdsa", "256"), ("rsa", "2048")]
        .iter()
        .map(|(kind, bits)| make_key(folder.path(), kind, bits, &[&ours, &theirs]))
        .collect();
    let cases = [
        Case {
            name: "Ed25519",
            bare: Some(BareKey::ed25519()),
            request: sign_request(&keys[0], 0),
            expected: 14,
            aims: [20.0, 25.0],
        },
        Case {
            name: "ECDSA P-256",
            bare: Some(BareKey::p256()),
            request: sign_request(&keys[1], 0),
            expected: 14,
            aims: [8.0, 10.0],
        },
        Case {
            name: "RSA-2048, SHA-256",
            bare: Some(BareKey::rsa2048()),
            request: sign_request(&keys[2], 2),
            expected: 14,
            aims: [2.5, 4.0],
        },
        Case {
            name: "list 3 keys",
            bare: None,
            request: list_request(),
            expected: 12,
            aims: [2.0, 3.0],
        },
    ];
    let version = Command::new("ssh")
        .arg("-V")
        .output()
        .expect("ssh can be started");
    say(&format!(
        "Requests per second, median of {ROUNDS} rounds in turn; {}; bare: what the library signs without a socket",
        String::from_utf8_lossy(&version.stderr).trim()
    ));
    say(&format!(
        "{:<18} {:>11} {:>12} {:>12} {:>8} {:>6} {:>12}",
        "", "connections", "keyferry", "ssh-agent", "ratio", "aim", "bare"
    ));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for case in &cases {
        for (connections, aim) in [1, 8].into_iter().zip(case.aims) {
            let (mut mine, mut other, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            let mut alone = Vec::new();
            for _ in 0..ROUNDS {
                let a = rate(&ours.socket, &case.request, case.expected, connections, ROUND);
                let b = rate(&theirs.socket, &case.request, case.expected, connections, ROUND);
                mine.push(a);
                other.push(b);
                ratios.push(a / b);
                alone.extend(
                    case.bare
                        .as_ref()
                        .map(|key| key.rate(connections.min(cores), ROUND)),
                );
            }
            let [mine, other, ratio] =
                [&mut mine, &mut other, &mut ratios].map(|values| quantile(values, 0.5));
            say(&format!(
                "{:<18} {connections:>11} {mine:>12.0} {other:>12.0} {ratio:>7.1}x {aim:>5}x {:>12}",
                case.name,
                match alone.is_empty() {
                    true => "-".to_owned(),
                    false => format!("{:.0}", quantile(&mut alone, 0.5)),
                }
            ));
        }
    }
}

/// Makes a key, gives it to the agents and returns its public blob.
fn make_key(folder: &Path, kind: &str, bits: &str, agents: &[&Agent]) -> Vec<u8> {
    let path = folder.join(kind);
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-b", bits, "-N", "", "-f"])
        .arg(&path)
        .status();
    assert!(
        status.expect("ssh-keygen can be started").success(),
        "ssh-keygen failed"
    );
    for agent in agents {
        let output = openssh::ssh_add(&agent.socket, &["-q", &path.display().to_string()]);
        assert!(
            output.status.success(),
            "ssh-add failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let line = fs::read_to_string(path.with_extension("pub")).expect("the public half");
    let key = ssh_key::PublicKey::from_openssh(&line).expect("a public key");
    key.to_bytes().expect("a blob")
}

struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(program: &Path, arguments: &[&str], socket: PathBuf) -> Self {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn().expect("the agent can be started");
        wait::until("the agent's socket", Duration::from_secs(10), || {
            socket.exists().then_some(())
        });
        Self { child, socket }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
