//! Passing questions of ssh on to a client that answers them.

use std::io;

use keyferry_engine::snapshot::{HostStatus, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Answer, Control, write};
use crate::prompts::{ANSWER_TIME, Kind, LONGEST_ANSWER, NO_ANSWER, Question};

impl Control {
    /// Until the client goes away. What waits for a person at these hosts is tried again: there is one now.
    pub(super) async fn pass_questions_on(
        &self,
        keys: Vec<String>,
        hosts: Vec<String>,
        mut reading: OwnedReadHalf,
        writing: &mut (impl AsyncWriteExt + Unpin),
    ) -> io::Result<()> {
        let snapshot = self.current();
        let is_all = keys.is_empty() && hosts.is_empty();
        let statuses: Vec<&HostStatus> = statuses(&snapshot, &keys, is_all).collect();
        let known = statuses.iter().map(|status| status.host.clone());
        let mut waiting = self.questions.wait(known.chain(hosts));
        write(writing, &Answer::Noted).await?;
        let needs_person = |status: &&&HostStatus| {
            let error = status.error.as_ref();
            // A file with a passphrase and a host that wants a password look like a refusal.
            error.is_some_and(|error| {
                matches!(error.kind.as_str(), "jump_refused" | "needs_person" | "refused")
            })
        };
        let stuck: Vec<String> = statuses
            .iter()
            .filter(needs_person)
            .map(|status| status.host.clone())
            .collect();
        if !stuck.is_empty() {
            // One that is gone meanwhile is nobody's.
            let _ = self.engine.host_retry(stuck).await;
        }
        loop {
            tokio::select! {
                question = waiting.next() => match question {
                    Some(question) => pass_on(question, &mut reading, writing).await?,
                    None => return Ok(()),
                },
                () = ended(&reading) => return Ok(()),
            }
        }
    }
}

/// A client says nothing by itself: if it does, that is its end too.
pub(super) async fn ended(reading: &OwnedReadHalf) {
    // What was ready before may not be so now.
    while reading.readable().await.is_ok() {
        match reading.try_read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

fn statuses<'a>(
    snapshot: &'a Snapshot,
    keys: &'a [String],
    is_all: bool,
) -> impl Iterator<Item = &'a HostStatus> {
    let meant = snapshot
        .keys
        .iter()
        .filter(move |key| is_all || keys.contains(&key.name));
    meant.flat_map(|key| &key.hosts)
}

async fn pass_on(
    question: Question,
    reading: &mut OwnedReadHalf,
    writing: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<()> {
    let Question {
        host,
        kind,
        text,
        answer,
    } = question;
    write(writing, &Answer::Question { host, kind, text }).await?;
    if kind == Kind::Notice {
        return Ok(());
    }
    // The client gives up before, and says so: what comes late would be taken for the next one's.
    let length = timeout(ANSWER_TIME * 2, reading.read_u32()).await??;
    if length == NO_ANSWER {
        return Ok(());
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > LONGEST_ANSWER {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the answer is too long",
        ));
    }
    let mut word = Zeroizing::new(vec![0; length]);
    reading.read_exact(&mut word).await?;
    // ssh may have given up.
    let _ = answer.send(word);
    Ok(())
}
