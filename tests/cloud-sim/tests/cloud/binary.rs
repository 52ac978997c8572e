//! The program `cloud-sim`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use cloud_sim::Service;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::{ACCESS_KEY, Connection, SECRET_KEY, Unsigned, send};

struct Program {
    child: Child,
    urls: Value,
}

impl Program {
    fn start(more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cloud-sim"))
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            urls: serde_json::from_str(&line).unwrap(),
        }
    }

    fn url(&self, name: &str) -> &str {
        self.urls[name].as_str().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_serves_with_clock_and_token_until_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut program = Program::start(&["--clock", "2026-01-02T03:04:05Z", "--session-token", "token"]);
        let request = Unsigned {
            token: Some("token".into()),
            time: humantime::parse_rfc3339("2026-01-02T03:14:05Z").unwrap(),
            ..Unsigned::new(
                Service::AlibabaEcs,
                "DescribeKeyPairs",
                &[("RegionId", "cn-hangzhou")],
            )
        };
        send(program.url("alibaba-ecs"), &request.v3()).unwrap().ok();
        kill_process(Pid::from_child(&program.child), signal).unwrap();
        assert!(program.child.wait().unwrap().success());
    }
}

#[test]
fn hundreds_of_connections_at_once_are_served_and_kept_alive() {
    let program = Program::start(&[]);
    let request = || Unsigned::new(Service::AlibabaEns, "DescribeKeyPairs", &[]).v3();
    let mut connections: Vec<Connection> = (0..600)
        .map(|_| Connection::open(program.url("alibaba-ens")))
        .collect();
    for _round in 0..2 {
        for connection in &mut connections {
            connection.send(&request()).unwrap();
        }
        for connection in &mut connections {
            connection.receive().unwrap().ok();
        }
    }
}
