//! Having a program of the user's put lines on hosts, where a key's file names one: a fleet tool, say. What it did is seen
//! by logging in, as ever.

use std::collections::BTreeMap;

use serde_json::json;

use crate::engine::failure::{Failure, Pace};
use crate::engine::{Engine, Finished, Task};
use crate::error::EngineError;
use crate::ledger::{Effect, EffectKind, EffectOutcome, Placement, PlacementState, Write};
use crate::plan::{Action, GenerationId, Subject};

/// The hosts that a program gets, by generation.
pub(in crate::engine) type Deployments = BTreeMap<GenerationId, Vec<String>>;

/// A host that a program puts a line on.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Deployed {
    host: String,
    /// What was known of the line before.
    before: Option<Placement>,
    effect: Effect,
}

impl Engine {
    /// Keeps what a program does for when all of it is known; anything else is given back.
    pub(in crate::engine) fn put_aside(
        &self,
        action: Action,
        for_programs: &mut Deployments,
    ) -> Option<Action> {
        match action {
            Action::Put { id, host } if !self.deploy(&id.0).command.is_empty() => {
                for_programs.entry(id).or_default().push(host);
                None
            }
            action => Some(action),
        }
    }

    /// Starts the program of each key once, for all hosts whose turn has come.
    pub(in crate::engine) async fn begin_deploying(
        &mut self,
        for_programs: Deployments,
    ) -> Result<(), EngineError> {
        for (id, hosts) in for_programs {
            let Some(line) = self.line(&id) else {
                for host in hosts {
                    self.has_no_public_half(&id, &host);
                }
                continue;
            };
            let placing = hosts.iter().map(|host| self.placing(&id, host, &line));
            let (before, placed): (Vec<_>, Vec<_>) = placing.unzip();
            // The program writes the file, whatever it was.
            let placed = placed.into_iter().map(|placed| Placement {
                file_hash: None,
                ..placed
            });
            let mut effects: Vec<Effect> = Vec::new();
            for (count, host) in (0..).zip(&hosts) {
                let effect = self.intents(EffectKind::Put, host, [id.clone()]);
                effects.extend(effect.into_iter().map(|effect| Effect {
                    id: effect.id + count,
                    ..effect
                }));
            }
            let write = Write {
                hosts: hosts.iter().map(|host| self.host_row(host)).collect(),
                placements: placed.collect(),
                effects: effects.clone(),
                ..Write::default()
            };
            if let Err(message) = self.record(write).await? {
                for host in hosts {
                    self.fail_for_disk(Subject::Host(id.0.clone(), host), message.clone());
                }
                continue;
            }
            let lines = hosts
                .iter()
                .map(|host| json!({ "host": host, "line": line.to_string() }));
            let document = json!({
                "key": id.0,
                "generation": id.1,
                "lines": lines.collect::<Vec<_>>(),
            });
            let program = self
                .hosts
                .deploy(self.deploy(&id.0).command, document.to_string());
            let task = self.tasks.spawn(async move { Finished::Deployed(program.await) });
            for host in &hosts {
                self.observed
                    .refused_logins
                    .remove(&(id.0.clone(), id.1, host.clone()));
                self.observed.host_tasks.insert(host.clone(), id.0.clone());
            }
            let hosts = hosts.into_iter().zip(before).zip(effects);
            let hosts = hosts.map(|((host, before), effect)| Deployed { host, before, effect });
            let hosts = hosts.collect();
            self.running.insert(task.id(), Task::Deploy { id, hosts });
        }
        Ok(())
    }

    /// The program ended. Where it failed, any host may have its line or not.
    pub(in crate::engine) async fn deployed(
        &mut self,
        id: GenerationId,
        hosts: Vec<Deployed>,
        finished: Finished,
    ) -> Result<(), EngineError> {
        let result = match finished {
            Finished::Deployed(result) => result,
            _ => Err("was given up inside keyferry".to_owned()),
        };
        let outcome = match &result {
            Ok(()) => EffectOutcome::Done,
            Err(_) => EffectOutcome::Unknown,
        };
        let mut write = Write::default();
        let command = self.deploy(&id.0).command;
        let program = command.first().map_or("", String::as_str);
        for Deployed { host, before, effect } in hosts {
            self.observed.host_tasks.remove(&host);
            let known = self.view.placements.get(&(id.0.clone(), id.1, host.clone()));
            let known = known.cloned().map(|known| match (&result, before) {
                (Ok(()), _) => Placement {
                    state: PlacementState::Placed,
                    changed_at: self.clock.now().wall_ms(),
                    ..known
                },
                // The line that stood there before may stand there still.
                (Err(_), Some(before)) => Placement {
                    line: before.line,
                    changed_at: before.changed_at,
                    ..known
                },
                (Err(_), None) => known,
            });
            write.placements.extend(known);
            write.effects.extend(self.outcomes(&[effect], outcome));
            if let Err(problem) = &result {
                let message = format!("the command {program} {problem}");
                let remedy = format!(
                    "see what it says by itself, or correct command in [deploy] of keys/{}.toml: keyferry tries again",
                    id.0
                );
                let failure = Failure::local("deploy_command", message, &remedy, Pace::Host);
                self.fail(Subject::Host(id.0.clone(), host), &failure);
            }
        }
        self.note(write).await
    }
}
