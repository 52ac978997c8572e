//! The same client for both agents: one request, one reply, on open connections.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// An open connection to an agent.
pub(crate) struct Connection {
    stream: UnixStream,
    reply: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the agent listens");
        Self {
            stream,
            reply: vec![0; 256 * 1024],
        }
    }

    /// Sends one request and reads its reply, without its length.
    pub(crate) fn ask(&mut self, request: &[u8]) -> &[u8] {
        self.stream.write_all(request).expect("the agent reads");
        let mut have = 0;
        loop {
            let read = self
                .stream
                .read(&mut self.reply[have..])
                .expect("the agent answers");
            assert!(read > 0, "the agent closed the connection");
            have += read;
            if have >= 4 {
                let length =
                    u32::from_be_bytes([self.reply[0], self.reply[1], self.reply[2], self.reply[3]]) as usize;
                if have >= 4 + length {
                    return &self.reply[4..4 + length];
                }
            }
        }
    }
}

/// Requests per second over `connections` open connections, for about `time`; each reply must begin with `expected`.
pub(crate) fn rate(socket: &Path, request: &[u8], expected: u8, connections: usize, time: Duration) -> f64 {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let barrier = Barrier::new(connections + 1);
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut connection = Connection::open(socket);
                assert_eq!(
                    connection.ask(request).first(),
                    Some(&expected),
                    "the agent refuses"
                );
                barrier.wait();
                let mut mine = 0;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(
                        connection.ask(request).first(),
                        Some(&expected),
                        "the agent refuses"
                    );
                    mine += 1;
                }
                count.fetch_add(mine, Ordering::Relaxed);
            });
        }
        barrier.wait();
        let start = Instant::now();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let end = start.elapsed();
        (end, &count)
    });
    count.load(Ordering::Relaxed) as f64 / time.as_secs_f64()
}

/// A request to list identities (RFC 9987, 5.3).
pub(crate) fn list_request() -> Vec<u8> {
    vec![0, 0, 0, 1, 11]
}

/// A request to sign (RFC 9987, 5.6) 200 bytes with the key of this public blob.
pub(crate) fn sign_request(blob: &[u8], flags: u32) -> Vec<u8> {
    let mut body = vec![13];
    for part in [blob, &[7; 200]] {
        body.extend(u32::try_from(part.len()).expect("short").to_be_bytes());
        body.extend(part);
    }
    body.extend(flags.to_be_bytes());
    let mut frame = u32::try_from(body.len()).expect("short").to_be_bytes().to_vec();
    frame.extend(body);
    frame
}
