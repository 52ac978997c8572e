//! The program that ssh starts with a question (`SSH_ASKPASS`, ssh(1)): it asks the daemon that started that ssh.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{ANSWER_TIME, LONGEST_ANSWER};
use crate::harden::{self, Children};

/// The name that this program is started under for it.
pub(crate) const NAME: &str = "keyferry-askpass";
/// The variable that names the socket.
pub(super) const VARIABLE: &str = "KEYFERRY_ASKPASS_SOCKET";

/// What begins a message.
pub(super) const CONFIRM: u8 = b'c';
pub(super) const NOTICE: u8 = b'n';
const SECRET: u8 = b's';
pub(super) const ANSWERED: u8 = b'a';

/// Whether this process was started as askpass.
pub(crate) fn is_meant() -> bool {
    let name = env::args_os().next();
    name.is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == NAME))
}

/// Asks, and prints the answer; fails where there is none.
pub(crate) fn main() -> ExitCode {
    let question = env::args_os().nth(1).unwrap_or_default();
    match harden::process(Children::Ours).and_then(|()| ask(&question)) {
        Ok(true) => ExitCode::SUCCESS,
        // ssh says what it means for the login.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn ask(question: &OsString) -> io::Result<bool> {
    let socket = env::var_os(VARIABLE).ok_or(io::ErrorKind::NotFound)?;
    let kind = match env::var_os("SSH_ASKPASS_PROMPT") {
        Some(hint) if hint == "confirm" => CONFIRM,
        Some(hint) if hint == "none" => NOTICE,
        _ => SECRET,
    };
    let mut stream = UnixStream::connect(socket)?;
    // The daemon gives up before.
    stream.set_read_timeout(Some(ANSWER_TIME + Duration::from_secs(30)))?;
    stream.write_all(&[kind])?;
    let question = question.as_bytes();
    stream.write_all(&question[..question.len().min(LONGEST_QUESTION)])?;
    stream.shutdown(Shutdown::Write)?;
    // With room for all of it, so that it never moves and leaves a copy behind.
    let mut answer = Zeroizing::new(Vec::with_capacity(LONGEST_ANSWER + 64));
    stream.take(LONGEST_ANSWER as u64 + 1).read_to_end(&mut answer)?;
    let Some((&ANSWERED, word)) = answer.split_first() else {
        return Ok(false);
    };
    if kind == SECRET {
        // Unlike standard output of the library, the descriptor keeps no copy.
        let mut output = io::stdout().lock();
        let mut line = Zeroizing::new(Vec::with_capacity(word.len() + 1));
        line.extend_from_slice(word);
        line.push(b'\n');
        rustix::io::write(&output, &line)?;
        output.flush()?;
    }
    Ok(true)
}

const LONGEST_QUESTION: usize = 4 * 1024;
