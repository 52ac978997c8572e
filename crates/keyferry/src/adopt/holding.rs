//! The key in the agent while it is adopted: whose it is there, and how long it stays.

use std::collections::BTreeSet;
use std::time::Duration;

use keyferry_engine::config;
use keyferry_engine::private_key::PrivateKey;
use keyferry_hosts::fingerprint;

use super::Adoption;
use super::agent::{Agent, FOR_NOW, Listed, Stay};
use super::private_file::Found;
use crate::control::adopt::{AdoptAnswer, AdoptRequest};
use crate::control::client::{self, Conversation};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::paths;
use crate::table;

/// The key, in the agent.
pub(super) struct Adopted<'a> {
    agent: &'a Agent,
    pub(super) public_blob: Vec<u8>,
    /// `SHA256:...`.
    pub(super) fingerprint: String,
    /// What was added here; none: ssh-add added it, or it was there before.
    private: Option<PrivateKey>,
    place: Place,
}

/// Whose the key is in the agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Something relies on it by now.
    Adopted,
    /// It was there before, and its end is as it was.
    Before,
    /// Only this command put it there, and it goes by itself after a while.
    Ours,
    /// It was there before, and asking for its passphrase has given it another end. Whether it was a user's or is left of a
    /// run that was broken off, its comment does not tell.
    Renewed,
}

impl Adopted<'_> {
    /// What becomes of it in the agent when it is not adopted.
    pub(super) fn without_adoption(&self) -> &'static str {
        match self.place {
            Place::Adopted | Place::Before => "was in the agent before and is still there",
            Place::Ours => "is not in the agent any more",
            Place::Renewed => "was in the agent before and goes from there within ten minutes",
        }
    }

    /// Whether somebody else said how long it stays there.
    pub(super) fn stays_as_it_was(&self) -> bool {
        self.place == Place::Before
    }
}

impl Drop for Adopted<'_> {
    fn drop(&mut self) {
        if self.place == Place::Ours {
            // An agent that is gone has it no more either.
            let _ = self.agent.remove(&self.public_blob);
        }
    }
}

impl Adoption<'_> {
    /// Adds the private half to the agent.
    pub(super) fn put_into_agent(&self, found: Found) -> Result<Adopted<'_>, Error> {
        let before = self.agent.list()?;
        let passing = self.passing()?;
        let known = |blob: &[u8]| before.iter().find(|known| known.public_blob == blob);
        let (public_blob, private, place) = match found {
            Found::Plain(key) => {
                let blob = key.public_key().blob().to_vec();
                // One that a run left which was broken off goes soon: it is added as if it were not there.
                let is_left_over = |known: &Listed| {
                    known.comment.starts_with(COMMENT.as_bytes())
                        && passing.contains(&fingerprint(&known.public_blob))
                };
                match known(&blob) {
                    Some(known) if !is_left_over(known) => (blob, None, Place::Before),
                    _ => (blob, Some(key), Place::Ours),
                }
            }
            Found::Encrypted(public) => match public.or_else(|| self.public_half_beside()) {
                Some(public) if known(&public).is_some() && !passing.contains(&fingerprint(&public)) => {
                    (public, None, Place::Before)
                }
                _ => {
                    self.agent
                        .add_with_passphrase(&self.arguments.file, Stay::ForNow)?;
                    let blob = self.added_since(&before)?;
                    let place = match known(&blob) {
                        Some(_) => Place::Renewed,
                        None => Place::Ours,
                    };
                    (blob, None, place)
                }
            },
        };
        let fingerprint = fingerprint(&public_blob);
        if let Some((_, key)) = self.own.iter().find(|(own, _)| *own == fingerprint) {
            return Err(Error::Refused(format!(
                "that is a generation of key {key}: keyferry has made it, and there is nothing to adopt"
            )));
        }
        if let Some(key) = &private {
            self.agent.add(key, &self.comment(), Stay::ForNow)?;
        }
        Ok(Adopted {
            agent: &self.agent,
            fingerprint,
            private,
            public_blob,
            place,
        })
    }

    /// Has the agent keep the key until it is taken out: something relies on it from now on.
    pub(super) fn let_stay(&self, adopted: &mut Adopted<'_>) -> Result<(), Error> {
        match (adopted.private.take(), adopted.place) {
            (_, Place::Adopted | Place::Before) => return Ok(()),
            (Some(key), _) => self.agent.add(&key, &self.comment(), Stay::ForGood)?,
            (None, Place::Ours | Place::Renewed) => {
                table::complain("the agent has the key for ten minutes: once more, so that it keeps it");
                self.agent
                    .add_with_passphrase(&self.arguments.file, Stay::ForGood)?;
            }
        }
        adopted.place = Place::Adopted;
        Ok(())
    }

    /// Fingerprints of keys that the agent has for no longer than a run of this command wants it to.
    fn passing(&self) -> Result<BTreeSet<String>, Error> {
        let mut conversation = Conversation::start(&self.door, &Request::Adopt(AdoptRequest::Lifetimes))?;
        match conversation.next()? {
            Answer::Adopt(AdoptAnswer::Lifetimes(lifetimes)) => Ok(lifetimes
                .into_iter()
                .filter(|lifetime| Duration::from_millis(lifetime.left_ms) <= FOR_NOW)
                .map(|lifetime| lifetime.fingerprint)
                .collect()),
            other => Err(client::strange(&other)),
        }
    }

    fn comment(&self) -> String {
        format!("{COMMENT}{}", self.key)
    }

    /// The public half that lies beside the file.
    fn public_half_beside(&self) -> Option<Vec<u8>> {
        let file = paths::absolute(&self.arguments.file).ok()?;
        let line = std::fs::read_to_string(format!("{}.pub", file.display())).ok()?;
        keyferry_hosts::public_blob(&config::public_key(&line).ok()?)
    }

    /// Which key `ssh-add` added: a new one, or one that got this file's comment.
    fn added_since(&self, before: &[Listed]) -> Result<Vec<u8>, Error> {
        let now = self.agent.list()?;
        let is_new = |key: &&Listed| !before.iter().any(|known| known.public_blob == key.public_blob);
        if let Some(key) = now.iter().find(is_new) {
            return Ok(key.public_blob.clone());
        }
        let file = paths::absolute(&self.arguments.file)?;
        let with_comment = now
            .iter()
            .find(|key| key.comment == file.as_os_str().as_encoded_bytes());
        let public_half = || {
            let blob = self.public_half_beside()?;
            now.iter().any(|known| known.public_blob == blob).then_some(blob)
        };
        with_comment
            .map(|key| key.public_blob.clone())
            .or_else(public_half)
            .ok_or_else(|| {
                Error::Refused(
                    "the key is in the agent already, and which one it is cannot be told\n  take it out first: `ssh-add -d`"
                        .to_owned(),
                )
            })
    }
}

/// How the comment of a key begins that this command added.
const COMMENT: &str = "adopted as ";
