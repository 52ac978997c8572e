//! The daemon's agent as `ssh-add` sees it.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use keyferry_engine::private_key::PrivateKey;
use zeroize::Zeroizing;

use crate::control::peer::Believed;
use crate::error::Error;

/// The agent behind a socket.
pub(super) struct Agent {
    socket: PathBuf,
    believed: Believed,
}

/// How long a key that is added stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stay {
    /// Until it is known whether it is adopted: one who gives up (`^C`) leaves no key behind.
    ForNow,
    /// Until it is taken out.
    ForGood,
}

/// A key on its list.
pub(super) struct Listed {
    pub(super) public_blob: Vec<u8>,
    pub(super) comment: Vec<u8>,
}

impl Agent {
    /// Only one of such a user is told anything.
    pub(super) fn at(socket: PathBuf, believed: Believed) -> Self {
        Self { socket, believed }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The keys that it lists.
    pub(super) fn list(&self) -> Result<Vec<Listed>, Error> {
        let reply = self.ask(&[REQUEST_IDENTITIES])?;
        parse(&reply).ok_or_else(|| self.broken(io::Error::other("its list is malformed")))
    }

    /// Adds a key, or lets one that is there stay as long as is said now.
    pub(super) fn add(&self, key: &PrivateKey, comment: &str, stay: Stay) -> Result<(), Error> {
        let blob = key.copy_blob();
        // With room for all of it, so that it never moves and leaves a copy behind.
        let mut message = Zeroizing::new(Vec::with_capacity(1 + blob.len() + 4 + comment.len() + 5));
        message.push(match stay {
            Stay::ForNow => ADD_ID_CONSTRAINED,
            Stay::ForGood => ADD_IDENTITY,
        });
        message.extend_from_slice(&blob);
        put_string(&mut message, comment.as_bytes());
        if let Stay::ForNow = stay {
            message.push(CONSTRAIN_LIFETIME);
            message.extend_from_slice(&seconds(FOR_NOW).to_be_bytes());
        }
        match self.ask(&message)?.first() {
            Some(&SUCCESS) => Ok(()),
            _ => Err(Error::Refused(
                "the agent does not take the key: it is locked (`ssh-add -X` unlocks it), full, or has it as one of \
                 keyferry's own keys already"
                    .to_owned(),
            )),
        }
    }

    /// Takes away a key that was added. One that is gone already is fine.
    pub(super) fn remove(&self, public_blob: &[u8]) -> Result<(), Error> {
        let mut message = vec![REMOVE_IDENTITY];
        put_string(&mut message, public_blob);
        self.ask(&message).map(|_| ())
    }

    /// Has OpenSSH's `ssh-add` add a file that is encrypted: it asks for the passphrase, which keyferry never sees.
    pub(super) fn add_with_passphrase(&self, file: &Path, stay: Stay) -> Result<(), Error> {
        // That asks at the same socket.
        self.list()?;
        // A certificate beside the file is not asked for, and a path from the root is no option.
        let mut command = Command::new("ssh-add");
        command.args(["-q", "-k"]);
        if let Stay::ForNow = stay {
            command.args(["-t", &seconds(FOR_NOW).to_string()]);
        }
        command.arg(crate::paths::absolute(file)?);
        command.env("SSH_AUTH_SOCK", &self.socket).stdout(Stdio::null());
        let added = command.status().map_err(|error| {
            Error::Refused(format!(
                "ssh-add, which asks for passphrases, cannot be started: {error}\n  install the OpenSSH client"
            ))
        })?;
        match added.success() {
            true => Ok(()),
            false => Err(Error::Refused(format!(
                "ssh-add did not add {}: see what it says",
                file.display()
            ))),
        }
    }

    fn ask(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let asked = || {
            let mut stream = self.believed.connect(&self.socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let length = u32::try_from(message.len()).map_err(io::Error::other)?;
            stream.write_all(&length.to_be_bytes())?;
            stream.write_all(message)?;
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length);
            if length > MAX_REPLY {
                return Err(io::Error::other("its answer is too long"));
            }
            let mut reply = Vec::new();
            stream.take(u64::from(length)).read_to_end(&mut reply)?;
            Ok(reply)
        };
        asked().map_err(|error| self.broken(error))
    }

    fn broken(&self, error: io::Error) -> Error {
        Error::Refused(format!(
            "the agent at {} cannot be talked to: {error}",
            self.socket.display()
        ))
    }
}

/// As the agent is told how long a key stays.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

fn put_string(message: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(bytes);
}

fn parse(reply: &[u8]) -> Option<Vec<Listed>> {
    let (number, rest) = reply.split_first()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    if *number != IDENTITIES_ANSWER {
        return None;
    }
    let mut string = || {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (string, behind) = behind.split_at_checked(length)?;
        rest = behind;
        Some(string.to_vec())
    };
    let mut keys = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        keys.push(Listed {
            public_blob: string()?,
            comment: string()?,
        });
    }
    Some(keys)
}

/// Messages of RFC 9987 section 6.1.
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const ADD_IDENTITY: u8 = 17;
const REMOVE_IDENTITY: u8 = 18;
const ADD_ID_CONSTRAINED: u8 = 25;
const CONSTRAIN_LIFETIME: u8 = 1;
/// How long a key stays of which nobody knows yet whether it is adopted.
pub(super) const FOR_NOW: Duration = Duration::from_secs(600);
/// As OpenSSH's own client has it.
const MAX_REPLY: u32 = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use keyferry_plugin::contract::Algorithm;

    use super::*;
    use crate::control::peer::Believed;

    /// What is sent for a key that is to stay that long.
    fn sent(stay: Stay) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut message = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut message).unwrap();
            stream.write_all(&[0, 0, 0, 1, SUCCESS]).unwrap();
            message
        });
        let believed = Believed::in_directory(folder.path(), true).unwrap();
        let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        Agent::at(path, believed).add(&key, "adopted", stay).unwrap();
        served.join().unwrap()
    }

    #[test]
    fn a_key_that_is_not_adopted_yet_goes_by_itself() {
        let for_now = sent(Stay::ForNow);
        assert_eq!(for_now[0], 25);
        // SSH_AGENT_CONSTRAIN_LIFETIME, ten minutes.
        assert!(for_now.ends_with(b"adopted\x01\x00\x00\x02\x58"), "{for_now:?}");
        let for_good = sent(Stay::ForGood);
        assert_eq!(for_good[0], 17);
        assert!(for_good.ends_with(b"adopted"), "{for_good:?}");
    }
}
