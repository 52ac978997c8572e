//! The command: started, sent signals, waited for.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use keyferry_sandbox::signals::is_ignored;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::Key;
use crate::control::exec::ExecAnswer;
use crate::error::Error;
use crate::progress::Progress;
use crate::table;

/// Runs a command with this agent socket, and gives the key back when it has ended. Gives the command's exit code.
///
/// # Errors
/// When the command could not be started.
pub(super) fn run(words: &[OsString], socket: &str, key: Key) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Start)?;
    let ended = runtime.block_on(async {
        // Before it is there: a signal that comes between is for it.
        let mut signals = Signals::new().map_err(Error::Start)?;
        let (program, arguments) = words.split_first().ok_or_else(|| {
            Error::Usage("there is no command: keyferry exec --key KEY -- COMMAND".to_owned())
        })?;
        let child = Command::new(program)
            .args(arguments)
            .env("SSH_AUTH_SOCK", socket)
            .spawn();
        let child = child.map_err(|source| Error::Command {
            program: program.clone(),
            source,
        })?;
        let mut key = key;
        let status = until_it_ends(child, &mut signals, &mut key).await?;
        key.give_back();
        // A daemon that lives says something before that.
        if timeout(PATIENCE, until_nothing_is_left(&mut signals, &mut key))
            .await
            .is_err()
        {
            table::complain("the daemon does not say what became of the key: see `keyferry status`");
        }
        Ok::<_, Error>(status)
    });
    ended.map(exit_code)
}

/// Waits for the command, passes signals on to it, and tells what becomes of its key.
async fn until_it_ends(mut child: Child, signals: &mut Signals, key: &mut Key) -> Result<ExitStatus, Error> {
    let mut has_news = true;
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(Error::Start),
            signal = signals.next() => {
                let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
                if let Some(pid) = pid.filter(|_| !is_from_the_terminal(signal)) {
                    // One that has ended meanwhile is waited for next.
                    let _ = kill_process(pid, signal);
                }
            }
            said = key.news.recv(), if has_news => {
                let name = &key.name;
                match said {
                    Some(Ok(ExecAnswer::Over(why))) => table::complain(&format!(
                        "key {name} is taken away while the command runs: {why}"
                    )),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => {
                        has_news = false;
                        table::complain(&format!(
                            "the daemon is gone, and key {name} with it; the command runs on\n  its lines are taken off when \
                             keyferry is started again, and end by themselves in any case"
                        ));
                    }
                }
            }
        }
    }
}

/// Waits until the key is gone. Whoever sends a signal does not want to wait: keyferry goes on with it.
async fn until_nothing_is_left(signals: &mut Signals, key: &mut Key) {
    let mut progress = Progress::new();
    let mut is_long = false;
    let long = sleep(Duration::from_secs(1));
    tokio::pin!(long);
    loop {
        tokio::select! {
            _ = signals.next() => return,
            () = &mut long, if !is_long => {
                is_long = true;
                progress.show(&format!("the command ended; key {} is taken off its hosts ...", key.name));
            }
            said = key.news.recv() => match said {
                Some(Ok(ExecAnswer::Ended { left: Some(left) })) => {
                    let name = &key.name;
                    drop(progress);
                    table::complain(&format!(
                        "the command ended, and of key {name} there is left {left}\n  keyferry goes on with it: see `keyferry \
                         status`"
                    ));
                    return;
                }
                Some(Ok(ExecAnswer::Over(_) | ExecAnswer::Waiting)) => {}
                _ => return,
            },
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Whether the command got the signal too: ^C and ^\ go to all that run in the foreground of a terminal, and a program that gets
/// it twice may take that for something else.
fn is_from_the_terminal(signal: Signal) -> bool {
    let is_foreground = || {
        let terminal = std::fs::File::open("/dev/tty").ok()?;
        Some(rustix::termios::tcgetpgrp(&terminal).ok()? == getpgrp())
    };
    matches!(signal, Signal::INT | Signal::QUIT) && is_foreground().unwrap_or(false)
}

/// How long the daemon is waited for once the command has ended; it waits 30 s itself.
const PATIENCE: Duration = Duration::from_secs(45);

/// Signals that are meant for the command. One that was ignored from the start (nohup, a script's background) stays so, for
/// this process and for the command, which would take it after all if it were caught here.
struct Signals {
    hangup: Option<unix::Signal>,
    interrupt: Option<unix::Signal>,
    quit: Option<unix::Signal>,
    terminate: Option<unix::Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: unless_ignored(SignalKind::hangup())?,
            interrupt: unless_ignored(SignalKind::interrupt())?,
            quit: unless_ignored(SignalKind::quit())?,
            terminate: unless_ignored(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            () = comes(&mut self.hangup) => Signal::HUP,
            () = comes(&mut self.interrupt) => Signal::INT,
            () = comes(&mut self.quit) => Signal::QUIT,
            () = comes(&mut self.terminate) => Signal::TERM,
        }
    }
}

fn unless_ignored(kind: SignalKind) -> std::io::Result<Option<unix::Signal>> {
    match is_ignored(kind.as_raw_value())? {
        true => Ok(None),
        false => signal(kind).map(Some),
    }
}

async fn comes(caught: &mut Option<unix::Signal>) {
    match caught {
        Some(caught) => _ = caught.recv().await,
        None => std::future::pending().await,
    }
}
