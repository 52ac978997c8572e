//! What happens when the process runs out of file descriptors. A test binary of its own: the limit is the
//! process's.

use keyferry_agent::{Agent, Limits, Listener, Options, serve};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const LIST: &[u8] = &[0, 0, 0, 1, 11];
const EMPTY_LIST: &[u8] = &[0, 0, 0, 5, 12, 0, 0, 0, 0];

#[test]
fn the_agent_outlives_a_lack_of_descriptors() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let listener = {
        let _within = runtime.enter();
        Listener::bind(&path).unwrap()
    };
    // They wait in the backlog: silent ones, and at last one that asks.
    let silent: Vec<_> = (0..60).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut asking = UnixStream::connect(&path).unwrap();
    asking.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    asking.write_all(LIST).unwrap();

    // Room for the agent's own threads and a few clients, though it believes that it may have a thousand.
    let highest = asking.as_raw_fd() as u64;
    let before = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(highest + 18),
            maximum: before.maximum,
        },
    )
    .unwrap();
    let limits = Limits {
        connections: 1000,
        ..Limits::default()
    };
    runtime.spawn(serve(
        listener,
        Agent::new(Options::default()),
        limits,
        std::future::pending(),
    ));
    let mut reply = [0; 9];
    asking.read_exact(&mut reply).unwrap();
    assert_eq!(reply, EMPTY_LIST);

    // The quiet ones made room.
    let mut first = &silent[0];
    first.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(first.read(&mut [0; 1]).unwrap(), 0);

    setrlimit(Resource::Nofile, before).unwrap();
    let mut after = UnixStream::connect(&path).unwrap();
    after.write_all(LIST).unwrap();
    after.read_exact(&mut reply).unwrap();
    assert_eq!(reply, EMPTY_LIST);
}
