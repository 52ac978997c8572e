//! `keyferry exec`: a command with a key of its own.
//!
//! The daemon has the key and knows nothing of the command; the command is this process's child. What holds them together is
//! the connection: however this process ends, the daemon sees it, and takes the key away.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::cli::ExecArguments;
use crate::control::client::{self, Conversation, Door};
use crate::control::exec::{ExecAnswer, ExecRequest};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::progress::Progress;
use crate::prompts::answering::Answering;
use crate::{table, with_causes};

mod command;
pub(crate) mod course;

/// `keyferry exec`.
pub(crate) fn run(arguments: &ExecArguments) -> Result<ExitCode, Error> {
    // Its exit code may be any; so what is said has to tell that it never ran.
    let not_started = |error: &Error| {
        let command = arguments.command.first().map(|word| word.to_string_lossy());
        table::complain(&format!(
            "{} was not started: {}",
            command.unwrap_or_default(),
            with_causes(error)
        ));
        ExitCode::from(error.exit())
    };
    let (ready, conversation, stream) = match prepare(arguments) {
        Ok(prepared) => prepared,
        Err(error) => return Ok(not_started(&error)),
    };
    for host in &ready.left_out {
        table::complain(&format!("not on every host: {host}"));
    }
    let key = Key {
        name: ready.key,
        stream,
        news: listen(conversation),
    };
    match command::run(&arguments.command, &ready.socket, key) {
        Ok(code) => Ok(code),
        Err(error) => Ok(not_started(&error)),
    }
}

/// What the command is started with.
struct Ready {
    key: String,
    socket: String,
    left_out: Vec<String>,
}

/// The daemon's side, while the command runs.
struct Key {
    name: String,
    /// Ending it tells the daemon that the command has ended.
    stream: UnixStream,
    news: mpsc::UnboundedReceiver<Result<ExecAnswer, Error>>,
}

impl Key {
    /// The command has ended, or never began.
    fn give_back(&self) {
        // A daemon that is gone needs not be told.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// Has the key made, and waits until it logs in.
fn prepare(arguments: &ExecArguments) -> Result<(Ready, Conversation, UnixStream), Error> {
    let door = Door::of(&arguments.runtime)?;
    let request = Request::Exec(ExecRequest {
        key: arguments.key.clone(),
        life_ms: u64::try_from(arguments.life.as_millis()).unwrap_or(u64::MAX),
        timeout_ms: arguments.wait.saturating_mul(1_000),
        all_hosts: arguments.all_hosts,
    });
    // Before anything is tried, and no longer than that.
    let _answering = Answering::start(&door, std::slice::from_ref(&arguments.key), &[])?;
    let (mut conversation, stream) = Conversation::start_answering(&door, &request)?;
    let (start, mut progress) = (Instant::now(), Progress::new());
    loop {
        match conversation.next()? {
            Answer::Exec(ExecAnswer::Waiting) => progress.show(&format!(
                "a key after {} is made and brought to its hosts ... {} s",
                arguments.key,
                start.elapsed().as_secs()
            )),
            Answer::Exec(ExecAnswer::Ready {
                key,
                socket,
                left_out,
            }) => {
                let ready = Ready {
                    key,
                    socket,
                    left_out,
                };
                // From here on nothing need be said for hours.
                conversation.have_patience()?;
                return Ok((ready, conversation, stream));
            }
            Answer::Exec(ExecAnswer::NotReady(why)) | Answer::Refused(why) => {
                return Err(Error::Refused(why));
            }
            other => return Err(client::strange(&other)),
        }
    }
}

/// What the daemon says while the command runs; the last is an end or an error.
fn listen(mut conversation: Conversation) -> mpsc::UnboundedReceiver<Result<ExecAnswer, Error>> {
    let (sender, news) = mpsc::unbounded_channel();
    thread::spawn(move || {
        loop {
            let said = match conversation.next() {
                Ok(Answer::Exec(answer)) => Ok(answer),
                Ok(other) => Err(client::strange(&other)),
                Err(error) => Err(error),
            };
            let is_last = !matches!(said, Ok(ExecAnswer::Over(_) | ExecAnswer::Waiting));
            if sender.send(said).is_err() || is_last {
                return;
            }
        }
    });
    news
}
