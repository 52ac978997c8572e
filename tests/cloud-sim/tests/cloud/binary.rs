//! The program `cloud-sim`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::SystemTime;

use cloud_sim::Service;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::{ACCESS_KEY, Connection, SECRET_KEY, Unsigned, admin_at, send};

struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
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
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        Self {
            child,
            output,
            urls: serde_json::from_str(&line).unwrap(),
        }
    }

    fn url(&self, name: &str) -> &str {
        self.urls[name].as_str().unwrap()
    }

    /// Ends it by a signal, and looks whether it did well and printed nothing after its line.
    #[track_caller]
    fn end(mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "it prints one line");
        assert!(self.child.wait().unwrap().success());
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
        let program = Program::start(&["--clock", "2026-01-02T03:04:05Z", "--session-token", "token"]);
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
        program.end(signal);
    }
}

#[test]
fn its_line_says_where_pairs_requests_and_the_clock_are() {
    let program = Program::start(&["--clock", "2026-01-02T03:04:05Z"]);
    let ask = |method: &str, path: &str, body: &str| {
        let reply = admin_at(program.url("admin"), method, path, body);
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.body);
        reply.json()
    };
    let create = |time: SystemTime| {
        let request = Unsigned {
            time,
            ..Unsigned::new(Service::AlibabaEns, "CreateKeyPair", &[("KeyPairName", "web")])
        };
        send(program.url("alibaba-ens"), &request.v3()).unwrap()
    };
    let later = humantime::parse_rfc3339("2026-03-04T05:06:07Z").unwrap();
    assert_ne!(create(later).status, 200, "its clock stands at another time");
    assert_eq!(ask("GET", "/pairs", "")["alibaba-ens"], serde_json::json!([]));
    let clock = ask("POST", "/clock", r#"{"time":"2026-03-04T05:06:07Z"}"#);
    assert_eq!(clock, ask("GET", "/clock", ""));
    create(later).ok();

    let pairs = ask("GET", "/pairs", "");
    assert_eq!(pairs["alibaba-ens"][0]["name"], "web", "{pairs:#}");
    let log = ask("GET", "/requests", "");
    let committed: Vec<_> = log["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| (&request["action"], &request["committed"]))
        .collect();
    assert_eq!(
        committed,
        [
            (&"CreateKeyPair".into(), &false.into()),
            (&"CreateKeyPair".into(), &true.into())
        ]
    );
    program.end(Signal::TERM);
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
