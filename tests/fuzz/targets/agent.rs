//! A client sends anything to an agent that holds a key: frames, dispatcher and state, over a real socket.
//!
//! The agent lives as long as the fuzzer, so that what one input leaves behind meets the next one; a well-behaved client
//! must be answered after each.

#![no_main]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use keyferry_agent::{Agent, Limits, Listener, ManagedKey, Offer, Options, SigningKey, serve};
use keyferry_engine::private_key::PrivateKey;
use keyferry_plugin::contract::Algorithm;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let agent = running();

    let mut client = agent.connect();
    // The agent may hang up in the middle: then writing fails, and what it said before is still to be read.
    let _ = client.write_all(input);
    let _ = client.shutdown(Shutdown::Write);
    let mut replies = Vec::new();
    client
        .read_to_end(&mut replies)
        .expect("the agent closes a connection that was closed");
    whole_frames(&replies);

    // A message of an unknown number is refused, and the connection lives on.
    let mut other = agent.connect();
    for _ in 0..2 {
        other.write_all(&[0, 0, 0, 1, 255]).expect("the agent reads");
        let mut reply = [0; 5];
        other.read_exact(&mut reply).expect("the agent answers");
        assert_eq!(reply, [0, 0, 0, 1, 5], "SSH_AGENT_FAILURE");
    }
});

/// Every reply is a frame, and nothing follows the last.
fn whole_frames(mut bytes: &[u8]) {
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        assert!(length > 0, "an empty reply");
        bytes = rest.get(length..).expect("a reply is cut short");
    }
    assert!(bytes.is_empty(), "half a length follows the last reply");
}

struct Running {
    socket: PathBuf,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Running {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("the agent listens");
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).expect("a time limit can be set");
        stream.set_write_timeout(limit).expect("a time limit can be set");
        stream
    }
}

fn running() -> &'static Running {
    static RUNNING: OnceLock<Running> = OnceLock::new();
    RUNNING.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("agent.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let agent = Agent::new(Options::default());
        let blob = PrivateKey::generate(Algorithm::Ed25519)
            .expect("the system has randomness")
            .into_blob();
        agent
            .load(ManagedKey {
                name: "fuzzed".to_owned(),
                generation: 1,
                key: SigningKey::from_private_blob(&blob).expect("a sound key"),
                comment: "fuzzed".to_owned(),
                offer: Offer::Everywhere,
            })
            .expect("the first key");
        let listener = {
            let _inside = runtime.enter();
            Listener::bind(&socket).expect("a socket")
        };
        runtime.spawn(serve(listener, agent, Limits::default(), std::future::pending()));
        Running {
            socket,
            _folder: folder,
            _runtime: runtime,
        }
    })
}
