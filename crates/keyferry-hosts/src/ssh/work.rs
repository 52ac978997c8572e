//! What is done over a login: verify, put, remove, inspect.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::command::check_owner;
use super::connection::{Connection, Established};
use super::diagnosis::{failure, settings};
use super::prompts::may_help;
use super::remote::{self, Access, RemoteFile};
use super::{Ssh, within};
use crate::authorized_keys::{self, Put};
use crate::contract::{Host, HostError, HostErrorKind, Identity, Line, Outcome, Proof, Reply};
use crate::line::public_blob;

/// What is to go, and over which login.
pub(super) struct Removal<'a> {
    /// The key that stays.
    pub(super) over: &'a Identity,
    /// Who changes the file, where another login does.
    pub(super) editors: &'a [Identity],
    pub(super) lines: &'a [Line],
    pub(super) foreign: &'a [String],
}

impl Ssh {
    pub(super) async fn verify(
        &self,
        host: &Host,
        identity: &Identity,
        proof: Proof,
    ) -> Result<Reply, HostError> {
        let host_key = self.prove(host, identity, proof, self.deadline).await?;
        Ok(Reply::Verified { host_key })
    }

    /// A login that proves its key; the host key's blob.
    async fn prove(
        &self,
        host: &Host,
        identity: &Identity,
        proof: Proof,
        time: Duration,
    ) -> Result<Vec<u8>, HostError> {
        let (command, question, answer) = remote::sentinel();
        let mut connection = match self.log_in(host, identity, proof, command, time).await? {
            Established::Partly(connection) => connection,
            Established::Whole(mut connection) => {
                // Where commands cannot run, the accepted signature is what was asked for.
                if proof == Proof::Session {
                    connection.send(question.as_bytes()).await?;
                    connection.receive(answer.as_bytes(), MAX_NOISE).await?;
                }
                connection
            }
        };
        if let Some(host_key) = connection.host_key() {
            let host_key = host_key.to_vec();
            connection.close();
            return Ok(host_key);
        }
        let files = self.known_hosts(host).await?;
        connection.find_host_key(&files).ok_or_else(|| {
            settings(
                format!("{}: the host key is in no known_hosts file", host.destination),
                format!("run `ssh {}` once", host.destination),
            )
        })
    }

    pub(super) async fn put(
        &self,
        host: &Host,
        over: &[Identity],
        line: &Line,
        itself: Option<&Identity>,
        proof: Proof,
    ) -> Result<Reply, HostError> {
        line.check().map_err(|error| {
            settings(
                format!("{}: {error}", host.destination),
                "correct `options` in `[deploy]`".to_owned(),
            )
        })?;
        let (over, file) = self.open_file(host, over, Access::Edit).await?;
        let changed = authorized_keys::put(&file.bytes, line);
        let already = changed.is_none();
        let file_hash = match changed {
            None => {
                let hash = hash(&file.bytes);
                file.leave().await?;
                hash
            }
            Some(Put {
                file: bytes,
                replaces,
            }) => {
                match itself.filter(|_| replaces) {
                    None => file.write(&bytes).await?,
                    // It may be the only line that lets us in, and sshd may not take the new one.
                    Some(itself) => {
                        let changed = self.change(host, file, &bytes, itself, proof).await;
                        changed.map_err(with_the_new_line)?;
                    }
                }
                hash(&bytes)
            }
        };
        Ok(Reply::Put {
            over,
            already,
            file_hash,
        })
    }

    pub(super) async fn remove(
        &self,
        host: &Host,
        removal: &Removal<'_>,
        proof: Proof,
    ) -> Result<Reply, HostError> {
        let &Removal {
            over,
            editors,
            lines,
            foreign,
        } = removal;
        let stays = over.public_key().and_then(|key| public_blob(&key));
        let goes = |blob: &Vec<u8>| {
            foreign.contains(&super::host_key::fingerprint(blob))
                || lines
                    .iter()
                    .any(|line| public_blob(&line.public_key).as_ref() == Some(blob))
        };
        if stays.as_ref().is_some_and(goes) {
            return Err(failure(
                HostErrorKind::Internal,
                format!(
                    "{}: the key that stays is among those to be removed",
                    host.destination
                ),
                "report this".to_owned(),
            ));
        }
        // Where somebody else changes the file, the key that stays may not be that login's.
        let editors = match host.account.editor {
            Some(_) => editors,
            None => std::slice::from_ref(over),
        };
        let (_, file) = self.open_file(host, editors, Access::Edit).await?;
        let removal = authorized_keys::remove(&file.bytes, lines, foreign);
        let Some(bytes) = removal.file else {
            let file_hash = hash(&file.bytes);
            file.leave().await?;
            return Ok(Reply::Removed {
                file_hash,
                left: removal.left,
            });
        };
        self.change(host, file, &bytes, over, proof).await?;
        Ok(Reply::Removed {
            file_hash: hash(&bytes),
            left: removal.left,
        })
    }

    /// Puts other bytes in a file's place, for good if a key that has to log in there afterwards does; else it is put back.
    async fn change(
        &self,
        host: &Host,
        mut file: RemoteFile,
        bytes: &[u8],
        stays: &Identity,
        proof: Proof,
    ) -> Result<(), HostError> {
        file.write_for_now(bytes).await?;
        let time = within(self.deadline, self.hold);
        match self.prove(host, stays, proof, time).await {
            Ok(_) => file.keep().await,
            Err(error) => {
                let restored = file.restore().await;
                Err(after_restoring(error, restored))
            }
        }
    }

    pub(super) async fn remove_last(
        &self,
        host: &Host,
        over: &[Identity],
        lines: &[Line],
    ) -> Result<Reply, HostError> {
        let (_, mut file) = self.open_file(host, over, Access::Edit).await?;
        let removal = authorized_keys::remove(&file.bytes, lines, &[]);
        let file_hash = match removal.file {
            None => {
                let file_hash = hash(&file.bytes);
                file.leave().await?;
                file_hash
            }
            Some(bytes) => {
                file.write_for_now(&bytes).await?;
                file.keep().await?;
                hash(&bytes)
            }
        };
        Ok(Reply::Removed {
            file_hash,
            left: removal.left,
        })
    }

    pub(super) async fn inspect(&self, host: &Host, over: &[Identity]) -> Result<Reply, HostError> {
        let (_, file) = self.open_file(host, over, Access::Read).await?;
        let (lines, others) = authorized_keys::marked(&file.bytes);
        file.close();
        Ok(Reply::Marked { lines, others })
    }

    /// The file, over the first identity that logs in and gets there.
    async fn open_file(
        &self,
        host: &Host,
        over: &[Identity],
        access: Access,
    ) -> Result<(Identity, RemoteFile), HostError> {
        check_owner(host)?;
        let mut host = host.clone();
        if let Some(editor) = &host.account.editor {
            host.destination = with_user(&host.destination, editor);
        }
        let mut tried = Vec::new();
        for identity in over {
            match self.open_file_over(&host, identity, access).await {
                Ok(file) => return Ok((identity.clone(), file)),
                Err(error) if error.kind.is_of_the_login() => tried.push((identity, error)),
                Err(error) => return Err(error),
            }
        }
        if let Some((identity, file)) = self.open_file_asking(&host, &mut tried, access).await? {
            return Ok((identity, file));
        }
        Err(nobody_logs_in(&host, tried))
    }

    /// The same with a person's help, where that may get in and somebody waits who can be asked.
    async fn open_file_asking(
        &self,
        host: &Host,
        tried: &mut [(&Identity, HostError)],
        access: Access,
    ) -> Result<Option<(Identity, RemoteFile)>, HostError> {
        let Some(prompts) = &self.prompts else {
            return Ok(None);
        };
        let command = remote::command(&host.account);
        for (identity, error) in tried
            .iter_mut()
            .filter(|(identity, error)| may_help(identity, error))
        {
            let Some(prompting) = prompts.open(&host.destination) else {
                return Ok(None);
            };
            match self.log_in_asking(host, identity, &command, prompting).await {
                Ok(Established::Whole(connection) | Established::Partly(connection)) => {
                    let file = RemoteFile::open(connection, &host.account, access, self.hold).await?;
                    return Ok(Some(((*identity).clone(), file)));
                }
                Err(asked) if asked.kind.is_of_the_login() => *error = asked,
                Err(asked) => return Err(asked),
            }
        }
        Ok(None)
    }

    async fn open_file_over(
        &self,
        host: &Host,
        identity: &Identity,
        access: Access,
    ) -> Result<RemoteFile, HostError> {
        let command = remote::command(&host.account);
        let connection: Box<Connection> = match self
            .log_in(host, identity, Proof::Session, &command, self.deadline)
            .await?
        {
            Established::Whole(connection) | Established::Partly(connection) => connection,
        };
        RemoteFile::open(connection, &host.account, access, self.hold).await
    }
}

fn nobody_logs_in(host: &Host, tried: Vec<(&Identity, HostError)>) -> HostError {
    let labels: Vec<String> = tried.iter().map(|(identity, _)| identity.label()).collect();
    let wants_person = |error: &HostError| error.kind == HostErrorKind::NeedsPerson;
    let errors = tried.into_iter().map(|(_, error)| error);
    let (with_person, alone): (Vec<_>, Vec<_>) = errors.partition(wants_person);
    // What may pass by itself decides whether it is tried again: nobody has to come for that.
    let (Some(last), further) = (match alone.into_iter().next_back() {
        Some(last) => (Some(last), with_person.into_iter().next_back()),
        None => (with_person.into_iter().next_back(), None),
    }) else {
        return failure(
            HostErrorKind::Refused,
            format!("{}: there is no key to log in with", host.destination),
            "name a way in with `login_with`".to_owned(),
        );
    };
    let last = match further {
        Some(further) => HostError {
            message: format!("{}; {}", last.message, further.message),
            remedy: format!("{}; or {}", last.remedy, further.remedy),
            ..last
        },
        None => last,
    };
    if labels.len() < 2 {
        return last;
    }
    HostError {
        message: format!("{} (tried: {})", last.message, labels.join(", ")),
        ..last
    }
}

/// The error of a login that works with the line as it was, and not as it is to be.
fn with_the_new_line(error: HostError) -> HostError {
    match error.kind {
        HostErrorKind::AnotherKey | HostErrorKind::Refused => HostError {
            message: format!("with the line as it is to be: {}", error.message),
            remedy: "see in the host's log what sshd has against it, and correct `options` or `expires` in `[deploy]`"
                .to_owned(),
            ..error
        },
        _ => error,
    }
}

/// The error of the second login, with what became of the file.
fn after_restoring(error: HostError, restored: Result<(), HostError>) -> HostError {
    match restored {
        Ok(()) => HostError {
            message: format!("{}; the file was put back as it was", error.message),
            outcome: Outcome::Restored,
            ..error
        },
        Err(restoring) => HostError {
            message: format!(
                "{}; whether the file was put back is not known: {}",
                error.message, restoring.message
            ),
            outcome: Outcome::Unknown,
            ..error
        },
    }
}

/// The destination with another user.
fn with_user(destination: &str, user: &str) -> String {
    let (scheme, rest) = match destination.strip_prefix("ssh://") {
        Some(rest) => ("ssh://", rest),
        None => ("", destination),
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}{user}@{host}")
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// What rc files may print before a command's answer.
const MAX_NOISE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_gets_another_user() {
        for (destination, expected) in [
            ("web-1", "admin@web-1"),
            ("deploy@web-1", "admin@web-1"),
            ("ssh://deploy@web-1:2222", "ssh://admin@web-1:2222"),
            ("ssh://web-1:2222", "ssh://admin@web-1:2222"),
        ] {
            assert_eq!(with_user(destination, "admin"), expected);
        }
    }

    #[test]
    fn what_may_pass_by_itself_is_told_before_what_wants_a_person() {
        let host = Host {
            destination: "web-1".to_owned(),
            account: crate::contract::Account::default(),
            ssh: vec!["ssh".to_owned()],
            host_keys: crate::contract::HostKeys::default(),
            pinned: None,
        };
        let agent = Identity::Agent {
            socket: "/run/agent".into(),
            public_key: "ssh-ed25519 AAAA".to_owned(),
        };
        let refused = failure(
            HostErrorKind::Refused,
            "refused".to_owned(),
            "see to it".to_owned(),
        );
        let touch = failure(
            HostErrorKind::NeedsPerson,
            "no touch".to_owned(),
            "touch it".to_owned(),
        );
        let both = [(&Identity::SshConfig, refused), (&agent, touch.clone())];
        for tried in [both.to_vec(), both.iter().rev().cloned().collect()] {
            let error = nobody_logs_in(&host, tried);
            assert_eq!(error.kind, HostErrorKind::Refused);
            assert!(
                error.message.contains("refused") && error.message.contains("no touch"),
                "{error:?}"
            );
            assert!(
                error.remedy.contains("see to it") && error.remedy.contains("touch it"),
                "{error:?}"
            );
        }
        let error = nobody_logs_in(&host, vec![(&agent, touch)]);
        assert_eq!(error.kind, HostErrorKind::NeedsPerson);
    }
}
