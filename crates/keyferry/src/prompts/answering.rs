//! The client's side: while a command waits, questions of ssh come to its terminal.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use super::{Kind, NO_ANSWER, terminal};
use crate::control::client::{Conversation, Door};
use crate::control::{Answer, Request};
use crate::error::Error;

/// Questions are answered until this is dropped; from then on the terminal is the caller's alone.
pub(crate) struct Answering {
    /// None: there is nobody who could be asked.
    asking: Option<Asking>,
}

struct Asking {
    /// To the daemon.
    connection: UnixStream,
    /// Its end ends a question that stands on the terminal.
    stop: UnixStream,
    thread: JoinHandle<()>,
}

impl Answering {
    /// From now on, for the hosts of these keys and for these hosts; both empty: for all hosts. Nothing happens where there is
    /// no terminal.
    ///
    /// # Errors
    /// When the daemon cannot be talked to.
    pub(crate) fn start(door: &Door, keys: &[String], hosts: &[String]) -> Result<Self, Error> {
        if !terminal::has_person() {
            return Ok(Self { asking: None });
        }
        let request = Request::Questions {
            keys: keys.to_vec(),
            hosts: hosts.to_vec(),
        };
        let (mut conversation, mut stream) = Conversation::start_answering(door, &request)?;
        match conversation.next()? {
            Answer::Noted => {}
            Answer::Refused(message) => return Err(Error::Refused(message)),
            other => return Err(crate::control::client::strange(&other)),
        }
        let lost = |error: std::io::Error| Error::Refused(format!("nobody can be asked: {error}"));
        let connection = stream.try_clone().map_err(lost)?;
        let (stop, stopped) = UnixStream::pair().map_err(lost)?;
        let thread = thread::spawn(move || {
            while let Ok(Answer::Question { host, kind, text }) = conversation.next() {
                // Without a terminal there is no answer.
                let answer = terminal::ask(&host, kind, &text, &stopped).ok().flatten();
                let sent = match (kind, answer) {
                    (Kind::Notice, _) => Ok(()),
                    (_, None) => stream.write_all(&NO_ANSWER.to_be_bytes()),
                    (_, Some(word)) => {
                        let length = u32::try_from(word.len()).unwrap_or(NO_ANSWER);
                        stream
                            .write_all(&length.to_be_bytes())
                            .and_then(|()| stream.write_all(&word))
                    }
                };
                if sent.is_err() {
                    return;
                }
            }
        });
        let asking = Asking {
            connection,
            stop,
            thread,
        };
        Ok(Self { asking: Some(asking) })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(asking) = self.asking.take() {
            let _ = asking.connection.shutdown(Shutdown::Both);
            drop(asking.stop);
            // What is typed next is for whoever comes next.
            let _ = asking.thread.join();
        }
    }
}
