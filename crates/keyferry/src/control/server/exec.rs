//! Keys for one command: made when a client asks, and taken away when it is gone.

use std::io;
use std::time::{Duration, SystemTime};

use keyferry_agent::KeySocket;
use keyferry_engine::engine::Lease;
use keyferry_engine::snapshot::{KeyStatus, LOCKED, RotationStatus};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedReadHalf;
use tokio::time::{Instant, timeout, timeout_at};

use super::questions::ended;
use super::{Answer, Control, HEARTBEAT, MAX_WAIT, write};
use crate::control::exec::{ExecAnswer, ExecRequest};
use crate::exec::course::{self, Course};

impl Control {
    /// Owns a key for as long as the client says nothing, which is until its command has ended or it is gone itself.
    pub(super) async fn exec(
        &self,
        request: ExecRequest,
        reading: &OwnedReadHalf,
        writing: &mut (impl AsyncWriteExt + Unpin),
    ) -> io::Result<()> {
        if self.engine_ended.get().is_some() {
            return write(writing, &self.ended()).await;
        }
        self.read_again().await;
        self.engine.refresh().await;
        let life = Duration::from_millis(request.life_ms);
        let lease = match self.engine.exec(request.key.clone(), life).await {
            Ok(lease) => lease,
            Err(refusal) => return write(writing, &Answer::Refused(refusal.to_string())).await,
        };
        let ready = tokio::select! {
            ready = self.is_ready(&lease, &request, writing) => ready?,
            () = ended(reading) => return Ok(()),
        };
        let (socket, left_out) = match ready {
            Ok(ready) => ready,
            Err(why) => return write(writing, &Answer::Exec(ExecAnswer::NotReady(why))).await,
        };
        let answer = ExecAnswer::Ready {
            key: lease.name().to_owned(),
            socket: socket.path().display().to_string(),
            left_out,
        };
        write(writing, &Answer::Exec(answer)).await?;
        let is_over = tokio::select! {
            () = ended(reading) => None,
            why = self.is_taken_away(&lease) => Some(why),
        };
        // What the command left running has nothing to sign with any more.
        drop(socket);
        if let Some(why) = is_over {
            write(writing, &Answer::Exec(ExecAnswer::Over(why))).await?;
            ended(reading).await;
        }
        let name = lease.name().to_owned();
        drop(lease);
        let left = self.left_of(&name).await;
        write(writing, &Answer::Exec(ExecAnswer::Ended { left })).await
    }

    /// Waits until the key logs in, for as long as the client does. The inner error says why it will not.
    async fn is_ready(
        &self,
        lease: &Lease,
        request: &ExecRequest,
        writing: &mut (impl AsyncWriteExt + Unpin),
    ) -> io::Result<Result<(KeySocket, Vec<String>), String>> {
        let end = Instant::now() + Duration::from_millis(request.timeout_ms).min(MAX_WAIT);
        self.engine.refresh().await;
        let mut snapshots = self.engine.snapshots();
        let mut told = Instant::now();
        loop {
            snapshots.mark_unchanged();
            if self.engine_ended.get().is_some() {
                return Ok(Err("the engine has ended: see `keyferry status`".to_owned()));
            }
            let key = self.key_of(lease.name());
            let is_over = Instant::now() >= end;
            match course::of(key.as_ref(), is_over, request.all_hosts, SystemTime::now()) {
                Course::Ready { generation, left_out } => {
                    let socket = self.hosts.key_socket(lease.name(), generation);
                    return Ok(socket
                        .map(|socket| (socket, left_out))
                        .map_err(|error| format!("its agent socket cannot be made: {error}")));
                }
                Course::Stuck(why) => return Ok(Err(why)),
                Course::UnderWay => {}
            }
            // Time alone may settle it too: then the end of the waiting does.
            let _ = timeout_at(end.min(Instant::now() + HEARTBEAT), snapshots.changed()).await;
            if told.elapsed() >= HEARTBEAT {
                told = Instant::now();
                write(writing, &Answer::Exec(ExecAnswer::Waiting)).await?;
            }
        }
    }

    /// Ends when the key does, and says why.
    async fn is_taken_away(&self, lease: &Lease) -> String {
        let mut snapshots = self.engine.snapshots();
        loop {
            snapshots.mark_unchanged();
            let exec = self.key_of(lease.name()).and_then(|key| key.exec);
            match exec {
                Some(exec) if !exec.ending => {}
                Some(exec) if exec.ends_at.0 <= SystemTime::now() => {
                    return "its time is over (--for)".to_owned();
                }
                _ => return "somebody took it away".to_owned(),
            }
            if snapshots.changed().await.is_err() {
                // Without the engine it stays in the agent, and ends with the daemon.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until nothing is left of a key that ends, but not for long: keyferry goes on with it.
    async fn left_of(&self, name: &str) -> Option<String> {
        let gone = async {
            self.engine.refresh().await;
            let mut snapshots = self.engine.snapshots();
            // An engine that has ended says nothing more.
            let _ = snapshots
                .wait_for(|snapshot| {
                    let mut keys = snapshot.keys.iter();
                    !keys.any(|key| key.name == name && is_ending(key) && !waits_for_unlock(key))
                })
                .await;
        };
        let _ = timeout(TIME_TO_END, gone).await;
        let key = self.key_of(name).filter(is_ending)?;
        let hosts = key.hosts.iter().filter(|host| !host.lines.is_empty());
        let hosts: Vec<&str> = hosts.map(|host| host.host.as_str()).collect();
        let locked = match waits_for_unlock(&key) {
            true => format!("; {LOCKED}"),
            false => String::new(),
        };
        Some(match (hosts.as_slice(), &key.error) {
            ([], Some(error)) => format!("its pair: {}", error.message),
            ([], None) => "its pair".to_owned(),
            (hosts, _) => format!("its line on {}{locked}", crate::table::some(hosts, MOST_NAMED)),
        })
    }

    fn key_of(&self, name: &str) -> Option<KeyStatus> {
        let snapshot = self.engine.snapshots().borrow().clone();
        snapshot.keys.iter().find(|key| key.name == name).cloned()
    }
}

/// One that does not end has the name after ours.
fn is_ending(key: &KeyStatus) -> bool {
    key.exec.as_ref().is_some_and(|exec| exec.ending)
}

/// Whether its end waits for a person, who may not come for long.
fn waits_for_unlock(key: &KeyStatus) -> bool {
    let rotation = key.rotation.as_ref();
    rotation.is_some_and(RotationStatus::waits_for_unlock)
}

/// How long a client waits after its command until everything is taken away.
const TIME_TO_END: Duration = Duration::from_secs(30);
const MOST_NAMED: usize = 3;
