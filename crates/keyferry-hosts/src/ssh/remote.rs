//! The script on the host, and the conversation with it.
//!
//! What ssh is told to run is a constant that all login shells read alike; the script itself and all data go over standard
//! input, and answers begin with a random mark, so that what rc files print is passed over. The host sends the file, it is
//! changed here, and the host puts the new one in its place if nobody else changed it meanwhile.

use aws_lc_rs::rand;

use super::connection::Connection;
use super::diagnosis::{cleaned, failure};
use crate::contract::{Account, HostError, HostErrorKind, Outcome};

/// The program that changes the file.
const SCRIPT: &str = include_str!("remote.sh");

/// A file on a host that nobody else changes through keyferry while this is there.
pub(super) struct RemoteFile {
    connection: Box<Connection>,
    mark: String,
    /// Its path there.
    path: String,
    /// What it holds; empty too where it is not there.
    pub(super) bytes: Vec<u8>,
}

/// What a file is wanted for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// To be looked at: nothing is made on the host, and nothing is locked.
    Read,
    /// To be changed.
    Edit,
}

/// What ssh is told to run for the script.
pub(super) fn command(account: &Account) -> String {
    let run = format!(
        "sh -c 's=$(dd bs=1 count={} 2>/dev/null);eval \"$s\"'",
        SCRIPT.len()
    );
    match (account.sudo, &account.owner) {
        (false, _) => format!("exec {run}"),
        // As the owner wherever it is the owner's own file: root has no business in a folder that somebody else can change.
        (true, Some(owner)) if is_below_home(account) => format!("exec sudo -n -u {owner} {run}"),
        (true, _) => format!("exec sudo -n {run}"),
    }
}

/// What ssh is told to run to see that commands run at all, and what to send for it.
pub(super) fn sentinel() -> (&'static str, String, String) {
    let (first, second) = (mark(), mark());
    // The answer is another text than the question: a program that echoes what it reads is no shell.
    let question = format!("{first} {second}\n");
    (
        "exec sh -c 'read -r a b && echo \"$b$a\"'",
        question,
        second + &first,
    )
}

fn is_below_home(account: &Account) -> bool {
    account
        .path
        .as_ref()
        .is_none_or(|path| !path.starts_with('/') || path.starts_with("%h"))
}

impl RemoteFile {
    /// Starts the script over a fresh login that runs [`command`], and reads the file.
    pub(super) async fn open(
        mut connection: Box<Connection>,
        account: &Account,
        access: Access,
        hold: std::time::Duration,
    ) -> Result<Self, HostError> {
        let mark = mark();
        let work = match access {
            Access::Read => "read",
            Access::Edit => "edit",
        };
        let request = format!(
            "{SCRIPT}{mark}\n{work}\n{}\n{MAX_FILE}\n{}\n{}\n",
            hold.as_secs().max(1),
            account.owner.as_deref().unwrap_or("-"),
            account.path.as_deref().unwrap_or("-"),
        );
        connection.send(request.as_bytes()).await?;
        let mut file = Self {
            connection,
            mark,
            path: String::new(),
            bytes: Vec::new(),
        };
        file.path = file.expect("file").await?.1;
        let (bytes, status) = file.expect("end").await?;
        if status != "0" {
            return Err(file.refusal(&format!("read {}", file.path)));
        }
        file.bytes = bytes;
        Ok(file)
    }

    /// Ends a login that only [read](Access::Read).
    pub(super) fn close(self) {
        self.connection.close();
    }

    /// Lets the file be as it is.
    pub(super) async fn leave(mut self) -> Result<(), HostError> {
        self.connection.send(b"leave\n").await?;
        self.expect("unchanged").await?;
        self.connection.close();
        Ok(())
    }

    /// Puts other bytes in its place, for good.
    pub(super) async fn write(mut self, bytes: &[u8]) -> Result<(), HostError> {
        self.replace("write", bytes).await?;
        self.connection.close();
        Ok(())
    }

    /// Puts other bytes in its place until [`RemoteFile::keep`] or [`RemoteFile::restore`] is said; if neither is, the host
    /// puts the old ones back.
    pub(super) async fn write_for_now(&mut self, bytes: &[u8]) -> Result<(), HostError> {
        self.replace("hold", bytes).await
    }

    async fn replace(&mut self, order: &str, bytes: &[u8]) -> Result<(), HostError> {
        let mut message = format!("{order} {}\n", bytes.len()).into_bytes();
        message.extend_from_slice(bytes);
        self.connection.send(&message).await.map_err(unknown)?;
        self.expect("written").await?;
        Ok(())
    }

    /// What was written stays.
    pub(super) async fn keep(mut self) -> Result<(), HostError> {
        self.connection.send(b"keep\n").await.map_err(unknown)?;
        self.expect("kept").await?;
        self.connection.close();
        Ok(())
    }

    /// What was there before comes back.
    pub(super) async fn restore(mut self) -> Result<(), HostError> {
        self.connection.send(b"restore\n").await.map_err(unknown)?;
        self.expect("restored").await?;
        self.connection.close();
        Ok(())
    }

    /// The next answer: what came before it, and what it says besides its first word.
    async fn expect(&mut self, expected: &str) -> Result<(Vec<u8>, String), HostError> {
        let is_at_risk = matches!(expected, "written" | "kept" | "restored");
        let received = self.connection.receive(self.mark.as_bytes(), MAX_RECEIVED).await;
        let (before, answer) = received.map_err(|error| if is_at_risk { unknown(error) } else { error })?;
        let (word, rest) = answer.trim_start().split_once(' ').unwrap_or((answer.trim(), ""));
        match word {
            "refused" => Err(self.refusal(rest)),
            word if word == expected => Ok((before, rest.to_owned())),
            "restored" => Err(failure(
                HostErrorKind::NoAnswer,
                format!(
                    "{}: {} was put back as it was, since no word came in time that the change stays",
                    self.connection.destination(),
                    self.path
                ),
                "it is tried again".to_owned(),
            )),
            "changed" => Err(unknown(self.busy())),
            _ => Err(failure(
                HostErrorKind::Internal,
                format!("{}: the answer makes no sense", self.connection.destination()),
                "report this with the system and shell of that host".to_owned(),
            )),
        }
    }

    fn busy(&self) -> HostError {
        failure(
            HostErrorKind::Busy,
            format!(
                "{}: {} is being changed by somebody else",
                self.connection.destination(),
                cleaned(&self.path)
            ),
            "it is tried again; if nobody is at it, remove `.keyferry-lock` beside the file".to_owned(),
        )
    }

    /// Why the script did nothing.
    fn refusal(&self, text: &str) -> HostError {
        let (why, detail) = text.split_once(' ').unwrap_or((text, ""));
        let (host, detail) = (self.connection.destination(), cleaned(detail));
        let file = |message: String, remedy: &str| failure(HostErrorKind::File, message, remedy.to_owned());
        match why {
            "busy" | "changed" => self.busy(),
            "home" => file(
                format!("{host}: the home folder {detail} is not there"),
                "make it, or name another `path`",
            ),
            "kind" => file(
                format!("{host}: {detail} is no plain file or folder"),
                "put it out of the way",
            ),
            "large" => file(
                format!("{host}: {detail} is larger than {} MiB", MAX_FILE >> 20),
                "take out what is not needed any more",
            ),
            "link" => file(
                format!("{host}: {detail} is a symbolic link"),
                "make it a plain file or folder, or name what it leads to as `path`",
            ),
            "owner" => file(
                format!("{host}: {detail} belongs to another user"),
                "give it to the login's user (`chown`), or set `sudo` and `login_user`",
            ),
            "path" | "user" => failure(
                HostErrorKind::Settings,
                format!("{host}: there is no user or path {detail}"),
                "correct `users` or `path` in `[deploy]`".to_owned(),
            ),
            "read" => file(
                format!("{host}: the file cannot be read: {detail}"),
                "see that its user may read it",
            ),
            "root" => file(
                format!("{host}: root changes no file in {detail}, which other users can change"),
                "name a `path` in the home of its user, or in folders that are root's alone; the host needs `su`",
            ),
            "writable" => file(
                format!("{host}: others may write to {detail}"),
                "take that right away (`chmod go-w`); sshd trusts no such file either",
            ),
            "write" => {
                let remedy = WRITE_REMEDIES
                    .iter()
                    .find(|(needle, _)| detail.contains(needle))
                    .map_or("see what keeps the file from being written", |(_, remedy)| remedy);
                file(format!("{host}: the file cannot be changed: {detail}"), remedy)
            }
            _ => failure(
                HostErrorKind::Internal,
                format!("{host}: the answer makes no sense"),
                "report this with the system and shell of that host".to_owned(),
            ),
        }
    }
}

fn unknown(error: HostError) -> HostError {
    HostError {
        outcome: Outcome::Unknown,
        ..error
    }
}

/// 32 random hexadecimal digits.
fn mark() -> String {
    let mut bytes = [0; 16];
    // It keeps answers apart from other text, no more: without it the text would be the same each time.
    if rand::fill(&mut bytes).is_err() {
        tracing::warn!("the system gave no random bytes");
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const WRITE_REMEDIES: &[(&str, &str)] = &[
    ("No space left", "make room on the disk"),
    ("quota exceeded", "make room: the user's disk quota is used up"),
    ("Read-only file system", "mount the home folder for writing"),
    (
        "Operation not permitted",
        "take the immutable attribute away (`chattr -i`), of the file or its folder",
    ),
    ("Permission denied", "give folder and file to the login's user"),
];
/// 10,000 lines of RSA-2048 keys are some 4 MB.
const MAX_FILE: usize = 8 << 20;
/// With what rc files print.
const MAX_RECEIVED: usize = MAX_FILE + (1 << 20);

#[cfg(test)]
mod tests;
