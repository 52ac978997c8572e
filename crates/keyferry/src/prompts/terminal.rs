//! Questions at a person's terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{Kind, LONGEST_ANSWER};

/// Whether somebody is there who can be asked.
pub(crate) fn has_person() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; none: there is no answer, or none is wanted. It ends without one when something is to be read from `stopped`, as its
/// end is.
///
/// # Errors
/// When there is no terminal.
pub(crate) fn ask(
    host: &str,
    kind: Kind,
    text: &str,
    stopped: &impl AsFd,
) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let _asking = lock(&ASKING);
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let text = text.trim_end_matches('\n');
    write!(terminal, "\r\x1b[K{host}: {text}")?;
    match kind {
        Kind::Notice => {
            writeln!(terminal)?;
            Ok(None)
        }
        Kind::Confirm => {
            write!(terminal, " [y/N] ")?;
            let answer = read_hidden(&mut terminal, stopped)?;
            let agrees = answer.is_some_and(|answer| matches!(&answer[..], b"y" | b"Y" | b"yes"));
            Ok(agrees.then(|| Zeroizing::new(Vec::new())))
        }
        Kind::Secret => {
            if !text.ends_with(' ') {
                write!(terminal, " ")?;
            }
            read_hidden(&mut terminal, stopped)
        }
    }
}

/// A line that is not shown. `^C` and `^D` are no answer.
fn read_hidden(terminal: &mut File, stopped: &impl AsFd) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let hidden = Hidden::new(terminal)?;
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_ANSWER));
    let answer = loop {
        if !is_typed(terminal, stopped)? {
            break None;
        }
        let mut byte = Zeroizing::new([0]);
        if terminal.read(&mut *byte)? == 0 {
            break None;
        }
        match byte[0] {
            b'\r' | b'\n' => break Some(line),
            INTERRUPT | END => break None,
            BACKSPACE | DELETE => _ = line.pop(),
            KILL => line.clear(),
            // A longer one is no answer, and is not cut either.
            _ if line.len() == LONGEST_ANSWER => break None,
            byte => line.push(byte),
        }
    };
    drop(hidden);
    writeln!(terminal)?;
    Ok(answer)
}

/// Waits until something is typed; false: nobody waits for it any more.
fn is_typed(terminal: &File, stopped: &impl AsFd) -> io::Result<bool> {
    let mut waits = [
        PollFd::new(terminal, PollFlags::IN),
        PollFd::new(stopped, PollFlags::IN),
    ];
    loop {
        match poll(&mut waits, None) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(waits[1].revents().is_empty()),
        }
    }
}

/// Whether a question stands on the terminal, which nobody else should write to now.
pub(crate) fn is_asking() -> bool {
    ASKING.try_lock().is_err()
}

/// Nobody waits for an answer any more: what is typed shows again.
fn give_up() {
    if let Some((terminal, before)) = lock(&BEFORE).take() {
        // There is nobody else to tell.
        let _ = tcsetattr(&terminal, OptionalActions::Flush, &before);
    }
}

/// A terminal that shows nothing of what is typed and sends no signals, until it is dropped.
struct Hidden;

impl Hidden {
    fn new(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        modes
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&terminal, OptionalActions::Flush, &modes)?;
        *lock(&BEFORE) = Some((terminal, before));
        Ok(Self)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        give_up();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held while a question stands on the terminal.
static ASKING: Mutex<()> = Mutex::new(());
/// The terminal and how it was, while it shows nothing.
static BEFORE: Mutex<Option<(File, Termios)>> = Mutex::new(None);
const INTERRUPT: u8 = 3;
const END: u8 = 4;
const BACKSPACE: u8 = 8;
const KILL: u8 = 21;
const DELETE: u8 = 127;
