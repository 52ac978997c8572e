//! What a person asks about attaching a key's pair to instances: what it would mean, and then that it is done.

use std::collections::BTreeSet;

use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::InstanceRules;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

mod refusal;

pub use refusal::AttachRefusal;

use super::{Command, EngineHandle, Refusal, TrustRefusal};
use crate::engine::Engine;
use crate::engine::attaching::AttachWait;
use crate::ledger::{Generation, GenerationState, HostState};
use crate::snapshot::{Attachable, Attached};

/// Which instances are to get a key's pair.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct AttachAsked {
    /// Hosts, each with the provider's identifier of the instance that it is.
    pub instances: Vec<(String, String)>,
    /// The key, where several are put on such a host.
    pub key: Option<String>,
    /// The region of the instances, where the key's pairs are in several.
    pub region: Option<String>,
}

impl EngineHandle {
    /// What attaching would mean. Nothing is asked of a provider.
    ///
    /// # Errors
    /// A [`Refusal`] when something of it cannot be done.
    pub async fn preview_attaching(&self, asked: AttachAsked) -> Result<Vec<Attachable>, Refusal> {
        self.about_attaching(|reply| AttachCommand::Preview { asked, reply })
            .await
    }

    /// Attaches what a person has agreed to, in place of the pairs that are bound to those instances. Answers when the
    /// provider did, for each of them; nothing is tried again. What was not begun when the answer is dropped is not done.
    ///
    /// # Errors
    /// A [`Refusal`] when that is not what it would mean any more; nothing is attached then.
    pub async fn attach(&self, agreed: Vec<Attachable>) -> Result<Vec<Attached>, Refusal> {
        self.about_attaching(|reply| AttachCommand::Attach { agreed, reply })
            .await
    }

    async fn about_attaching<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> AttachCommand,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        // An engine that has ended drops what it is asked.
        let _ = self.commands.send(Command::Attach(command(reply)));
        answer.await.unwrap_or(Err(Refusal::Ended))
    }
}

pub(in crate::engine) enum AttachCommand {
    Attach {
        agreed: Vec<Attachable>,
        reply: oneshot::Sender<Result<Vec<Attached>, Refusal>>,
    },
    Preview {
        asked: AttachAsked,
        reply: oneshot::Sender<Result<Vec<Attachable>, Refusal>>,
    },
}

impl Engine {
    /// Begins nothing: what was agreed to waits for its turn.
    pub(super) fn obey_about_attaching(&mut self, command: AttachCommand) {
        match command {
            AttachCommand::Preview { asked, reply } => _ = reply.send(self.attachable(&asked)),
            AttachCommand::Attach { agreed, reply } => match self.still_agreed(&agreed) {
                Ok(()) => self.attach_waits.push(AttachWait::new(agreed, reply)),
                Err(refusal) => _ = reply.send(Err(refusal)),
            },
        }
    }

    fn attachable(&mut self, asked: &AttachAsked) -> Result<Vec<Attachable>, Refusal> {
        let mut found = Vec::new();
        for (host, instance) in &asked.instances {
            let (key, region) = (asked.key.as_deref(), asked.region.as_deref());
            found.push(self.attachable_to(host, instance, key, region)?);
        }
        named_once(&found)?;
        Ok(found)
    }

    /// Whether what a person has agreed to is what it would mean now.
    fn still_agreed(&mut self, agreed: &[Attachable]) -> Result<(), Refusal> {
        named_once(agreed)?;
        for one in agreed {
            let (key, region) = (Some(&*one.key), one.region.as_deref());
            let now = self.attachable_to(&one.host, &one.instance, key, region)?;
            // That it logs in by now is said where it is asked the next time.
            let is_same = Attachable {
                logs_in: one.logs_in,
                ..now
            } == *one;
            if !is_same {
                let key = one.key.clone();
                return Err(AttachRefusal::Changed { key }.into());
            }
        }
        Ok(())
    }

    fn attachable_to(
        &mut self,
        name: &str,
        instance: &str,
        key: Option<&str>,
        region: Option<&str>,
    ) -> Result<Attachable, Refusal> {
        if !is_identifier(instance) {
            let instance = instance.chars().filter(|c| !c.is_control()).take(60).collect();
            return Err(AttachRefusal::Identifier { instance }.into());
        }
        let (key, host) = self.key_at(name, key)?;
        let means = self.means_of_attaching(&key)?;
        let row = self.view.key(&key);
        if row.held_at.is_some() {
            return Err(Refusal::Held { key });
        }
        if row.retire_asked_at.is_some() {
            return Err(Refusal::Retiring { key });
        }
        if let Some(pause) = self.pause_of(&row) {
            return Err(pause);
        }
        let state = self.view.hosts.get(&host).map(|row| row.state);
        if state == Some(HostState::Forgotten) {
            return Err(AttachRefusal::GivenUp { host }.into());
        }
        let Some(active) = self.observed.loaded.get(&key).copied() else {
            return Err(Refusal::NotLoaded { key });
        };
        let pair = self.pair_in(&key, active, region)?;
        let account = self.desired.accounts.get(&pair.account);
        if !account.is_some_and(|account| pair.is_of(account)) {
            let (account, pair) = (pair.account, pair.pair_name);
            return Err(AttachRefusal::OtherAccount { account, pair }.into());
        }
        Ok(Attachable {
            logs_in: self.generation_at(&key, &host) == Some(active),
            host,
            instance: instance.to_owned(),
            key,
            generation: active,
            pair: pair.pair_name,
            account: pair.account,
            region: pair.region,
            means,
        })
    }

    /// What the provider of a key's account says of attaching, if it does that.
    fn means_of_attaching(&mut self, key: &str) -> Result<InstanceRules, Refusal> {
        let spec = self.desired.keys.get(key);
        let account = spec.and_then(|spec| self.desired.accounts.get(&spec.account));
        let Some(plugin) = account.map(|account| account.plugin.clone()) else {
            // Which account is missing is what it waits for.
            return Err(Refusal::NotLoaded { key: key.to_owned() });
        };
        let manifest = self.manifest(&plugin).map_err(|problem| AttachRefusal::Plugin {
            message: format!("plugin {plugin} {problem}"),
        })?;
        let key = key.to_owned();
        match manifest.operations.get(&OperationKind::Attach) {
            Some(rules) => Ok(rules.instance.unwrap_or_default()),
            None => Err(AttachRefusal::NotOffered { plugin, key }.into()),
        }
    }

    /// The key that is meant at a host, and the host with the login.
    fn key_at(&self, name: &str, key: Option<&str>) -> Result<(String, String), Refusal> {
        if let Some(key) = key {
            self.lasting_key(key)?;
        }
        let logins = self.logins(name)?;
        let mut found: Vec<(String, String)> = Vec::new();
        for (of_host, hosts) in self.keys_with_hosts() {
            let is_lasting = self.desired.keys.contains_key(&of_host) && !self.view.is_for_command(&of_host);
            if is_lasting && key.is_none_or(|key| key == of_host) {
                let hosts = hosts.into_iter().filter(|host| logins.contains(host));
                found.extend(hosts.map(|host| (of_host.clone(), host)));
            }
        }
        let keys: BTreeSet<&String> = found.iter().map(|(key, _)| key).collect();
        match (&found[..], key) {
            ([one], _) => Ok(one.clone()),
            ([], Some(key)) => Err(TrustRefusal::NotItsHost {
                host: name.to_owned(),
                key: key.to_owned(),
            }
            .into()),
            ([], None) => Err(Refusal::NobodysHost {
                host: name.to_owned(),
            }),
            (_, _) if keys.len() > 1 => Err(AttachRefusal::SeveralKeys {
                host: name.to_owned(),
                keys: keys.into_iter().cloned().collect(),
            }
            .into()),
            (_, _) => Err(Refusal::AmbiguousHost {
                name: name.to_owned(),
                logins: found.iter().map(|(_, host)| host.clone()).collect(),
            }),
        }
    }

    /// The pair of a key's active generation: the one in that region, where there are several.
    fn pair_in(&self, key: &str, active: u64, region: Option<&str>) -> Result<Generation, Refusal> {
        let rows = self.view.of_key(key);
        let pairs: Vec<&Generation> = rows
            .filter(|row| row.holds(active) && row.state == GenerationState::Live)
            .collect();
        let regions = || pairs.iter().filter_map(|row| row.region.clone()).collect();
        let key = key.to_owned();
        let refusal = match (region, &pairs[..]) {
            (_, []) => AttachRefusal::NoPair { key, n: active },
            (None, [one]) => return Ok(Generation::clone(one)),
            (None, _) => AttachRefusal::SeveralRegions {
                key,
                regions: regions(),
            },
            (Some(region), _) => match pairs.iter().find(|row| row.region.as_deref() == Some(region)) {
                Some(one) => return Ok(Generation::clone(one)),
                None => AttachRefusal::NotInRegion {
                    key,
                    region: region.to_owned(),
                    regions: regions(),
                },
            },
        };
        Err(refusal.into())
    }
}

/// A host is one instance, and an instance one host.
fn named_once(all: &[Attachable]) -> Result<(), AttachRefusal> {
    let mut names = BTreeSet::new();
    let mut all = all.iter().flat_map(|one| [&one.host, &one.instance]);
    match all.find(|name| !names.insert(*name)) {
        Some(name) => Err(AttachRefusal::Twice { name: name.clone() }),
        None => Ok(()),
    }
}

/// Whether it can be a provider's identifier of an instance, whichever provider's.
fn is_identifier(text: &str) -> bool {
    (1..=LONGEST_IDENTIFIER).contains(&text.len())
        && text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-_.:/".contains(&octet))
}

/// Far above any vendor's.
const LONGEST_IDENTIFIER: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_no_room_for_anything_else() {
        for good in ["i-bp1one", "i-0abc", "6f70656e-7374", "ens.7:a/b_c"] {
            assert!(is_identifier(good), "{good}");
        }
        for bad in [
            "",
            "i-1 i-2",
            "i-1\n",
            "i-1\",\"i-2",
            "i-1&Force=true",
            "ï",
            &"i".repeat(201),
        ] {
            assert!(!is_identifier(bad), "{bad:?}");
        }
    }
}
