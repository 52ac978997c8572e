//! What the user says of hosts. It is noted in the ledger; planning follows by itself.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::{Command, EngineHandle, Refusal};
use crate::config::suggestion;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::ledger::{HostRow, HostState, Write};
use crate::plan::{self, Subject};
use crate::snapshot::{ForgottenHost, LeftLine};

impl EngineHandle {
    /// Tries hosts again now, blocked and forgotten ones too where they are named. No name: all that failed, are parked or
    /// are blocked. Gives the hosts, with their logins.
    ///
    /// # Errors
    /// A [`Refusal`] for unknown names; nothing is tried then.
    pub async fn host_retry(&self, hosts: Vec<String>) -> Result<Vec<String>, Refusal> {
        self.tell(|reply| HostCommand::Retry { hosts, reply }).await
    }

    /// Accepts the host key that a host has now, as far as keyferry is concerned: known_hosts is ssh's own. Gives the
    /// host's logins.
    ///
    /// # Errors
    /// A [`Refusal`] for an unknown name.
    pub async fn host_trust(&self, host: String) -> Result<Vec<String>, Refusal> {
        self.tell(|reply| HostCommand::Trust { host, reply }).await
    }

    /// Gives a host up: nothing is asked of it any more, and the lines that stand there stay.
    ///
    /// # Errors
    /// A [`Refusal`] for an unknown or ambiguous name, and, unless `force` is said, where a key would have no host left.
    pub async fn host_forget(&self, host: String, force: bool) -> Result<ForgottenHost, Refusal> {
        self.tell(|reply| HostCommand::Forget { host, force, reply })
            .await
    }

    async fn tell<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> HostCommand,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        // An engine that has ended drops what it is asked.
        let _ = self.commands.send(Command::Host(command(reply)));
        answer.await.unwrap_or(Err(Refusal::Ended))
    }
}

pub(in crate::engine) enum HostCommand {
    Forget {
        host: String,
        force: bool,
        reply: oneshot::Sender<Result<ForgottenHost, Refusal>>,
    },
    Retry {
        hosts: Vec<String>,
        reply: oneshot::Sender<Result<Vec<String>, Refusal>>,
    },
    Trust {
        host: String,
        reply: oneshot::Sender<Result<Vec<String>, Refusal>>,
    },
}

impl Engine {
    pub(super) async fn obey_about_hosts(&mut self, command: HostCommand) -> Result<(), EngineError> {
        match command {
            HostCommand::Forget { host, force, reply } => {
                let decision = self.forgetting(&host, force);
                let _ = reply.send(self.decided(decision).await?);
            }
            HostCommand::Retry { hosts, reply } => {
                let decision = self.retrying(&hosts);
                let answer = self.decided(decision).await?;
                if let Ok(hosts) = &answer {
                    self.try_again(&hosts.iter().cloned().collect());
                }
                let _ = reply.send(answer);
            }
            HostCommand::Trust { host, reply } => {
                let decision = self.trusting(&host);
                let answer = self.decided(decision).await?;
                if let Ok(hosts) = &answer {
                    self.try_again(&hosts.iter().cloned().collect());
                }
                let _ = reply.send(answer);
            }
        }
        Ok(())
    }

    /// What failed at hosts is tried now, beginning with a login.
    pub(super) fn try_again(&mut self, hosts: &BTreeSet<String>) {
        let is_meant = |subject: &Subject| subject.host().is_some_and(|host| hosts.contains(host));
        self.observed.retries.retain(|subject, _| !is_meant(subject));
        self.observed
            .refused_logins
            .retain(|(_, _, host)| !hosts.contains(host));
        let keys = self.keys_with_hosts();
        let urged = keys
            .into_iter()
            .filter(|(_, of_key)| of_key.iter().any(|host| hosts.contains(host)));
        self.observed.urged.extend(urged.map(|(key, _)| key));
    }

    fn retrying(&self, names: &[String]) -> Result<(Write, Vec<String>), Refusal> {
        let mut meant = BTreeSet::new();
        let keys = self.keys_with_hosts();
        let revoked: BTreeSet<&String> = self.view.revocations.keys().map(|(host, _)| host).collect();
        for name in names {
            let logins = self.logins(name)?;
            let is_somebodys = |host: &String| {
                revoked.contains(host) || keys.iter().any(|(_, of_key)| of_key.contains(host))
            };
            if !logins.iter().any(is_somebodys) {
                let host = name.clone();
                return Err(Refusal::NobodysHost { host });
            }
            meant.extend(logins);
        }
        if names.is_empty() {
            let failed = self
                .observed
                .retries
                .keys()
                .filter_map(Subject::host)
                .map(str::to_owned);
            let waiting = self
                .view
                .hosts
                .values()
                .filter(|row| matches!(row.state, HostState::Blocked | HostState::Parked))
                .map(|row| row.address.clone());
            meant.extend(failed.chain(waiting));
        }
        let opened = meant
            .iter()
            .filter_map(|host| self.view.hosts.get(host))
            .filter(|row| matches!(row.state, HostState::Blocked | HostState::Forgotten));
        let write = hosts(opened.map(|row| self.opened(row)).collect());
        Ok((write, meant.into_iter().collect()))
    }

    fn trusting(&self, name: &str) -> Result<(Write, Vec<String>), Refusal> {
        let logins = self.logins(name)?;
        let rows = logins.iter().filter_map(|login| self.view.hosts.get(login));
        let rows = rows.map(|row| HostRow {
            pinned_host_key: None,
            ..match row.state {
                HostState::Blocked => self.opened(row),
                _ => row.clone(),
            }
        });
        Ok((hosts(rows.collect()), logins.into_iter().collect()))
    }

    fn forgetting(&self, name: &str, force: bool) -> Result<(Write, ForgottenHost), Refusal> {
        let logins = self.logins(name)?;
        let mut logins = logins.into_iter();
        let (host, others) = (logins.next().unwrap_or_default(), logins);
        let others: Vec<String> = others.collect();
        if !others.is_empty() {
            let logins = std::iter::once(host).chain(others).collect();
            return Err(Refusal::AmbiguousHost {
                name: name.to_owned(),
                logins,
            });
        }
        let is_forgotten = |host: &String| {
            let row = self.view.hosts.get(host);
            row.is_some_and(|row| row.state == HostState::Forgotten)
        };
        let alone: Vec<String> = self
            .keys_with_hosts()
            .into_iter()
            .filter(|(_, hosts)| {
                let mut others = hosts
                    .iter()
                    .filter(|other| **other != host && !is_forgotten(other));
                hosts.contains(&host) && others.next().is_none()
            })
            .map(|(key, _)| key)
            .collect();
        if !alone.is_empty() && !force {
            return Err(Refusal::OnlyHost { host, keys: alone });
        }
        let lines = self.view.placements.values().filter(|line| line.host == host);
        let answer = ForgottenHost {
            host: host.clone(),
            lines: lines
                .map(|line| LeftLine {
                    key: line.key.clone(),
                    generation: line.n,
                    line: line.line.clone(),
                })
                .collect(),
        };
        let row = self.view.hosts.get(&host).cloned().unwrap_or(HostRow {
            address: host,
            pinned_host_key: None,
            state: HostState::New,
            since: 0,
            note: None,
        });
        let row = HostRow {
            state: HostState::Forgotten,
            since: self.clock.now().wall_ms(),
            note: None,
            ..row
        };
        Ok((hosts(vec![row]), answer))
    }

    /// As before keyferry ever tried it, but for the host key.
    pub(super) fn opened(&self, row: &HostRow) -> HostRow {
        HostRow {
            state: HostState::New,
            since: self.clock.now().wall_ms(),
            note: None,
            ..row.clone()
        }
    }

    /// The logins that a name stands for: itself, or all those on the host of that name.
    pub(super) fn logins(&self, name: &str) -> Result<BTreeSet<String>, Refusal> {
        let mut known: BTreeSet<String> = self.view.hosts.keys().cloned().collect();
        known.extend(self.keys_with_hosts().into_iter().flat_map(|(_, hosts)| hosts));
        if known.contains(name) {
            return Ok([name.to_owned()].into());
        }
        let logins: BTreeSet<String> = known
            .iter()
            .filter(|login| host_of(login) == name)
            .cloned()
            .collect();
        if logins.is_empty() {
            return Err(Refusal::UnknownHost {
                name: name.to_owned(),
                nearest: suggestion(name, known.iter().take(MOST_NAMED).map(String::as_str)),
            });
        }
        Ok(logins)
    }

    pub(super) fn keys_with_hosts(&self) -> Vec<(String, BTreeSet<String>)> {
        let mut keys: BTreeSet<&str> = self.desired.keys.keys().map(String::as_str).collect();
        keys.extend(self.view.placements.keys().map(|(key, _, _)| key.as_str()));
        keys.into_iter()
            .map(|key| (key.to_owned(), self.hosts_of(key)))
            .filter(|(_, hosts)| !hosts.is_empty())
            .collect()
    }

    /// The hosts of a key, those that were given up too.
    pub(in crate::engine) fn hosts_of(&self, key: &str) -> BTreeSet<String> {
        let hosts = plan::hosts_of(&self.desired, &self.view, &self.observed, key);
        hosts.into_iter().map(|host| host.address.into_owned()).collect()
    }
}

fn hosts(hosts: Vec<HostRow>) -> Write {
    Write {
        hosts,
        ..Write::default()
    }
}

/// The name in `[user@]name` and `ssh://[user@]name[:port]`.
fn host_of(login: &str) -> &str {
    let (rest, has_port) = match login.strip_prefix("ssh://") {
        Some(rest) => (rest, true),
        None => (login, false),
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    match (has_port, host.rsplit_once(':')) {
        (true, Some((name, port))) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        _ => host,
    }
}

/// In a message about an unknown one.
const MOST_NAMED: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_by_its_name_alone() {
        for (login, host) in [
            ("web-1", "web-1"),
            ("deploy@web-1", "web-1"),
            ("li@corp@web-1", "web-1"),
            ("ssh://deploy@web-1:2222", "web-1"),
            ("ssh://web-1", "web-1"),
            ("ssh://deploy@[::1]:22", "[::1]"),
        ] {
            assert_eq!(host_of(login), host, "{login}");
        }
    }
}
