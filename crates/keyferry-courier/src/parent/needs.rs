//! What a courier may ask of the worker: named variables, and the account's credential command.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use keyferry_plugin::manifest::Source;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{Outgoing, command};
use crate::secret::Secret;
use crate::setup::{CredentialSource, Setup};
use crate::wire::{self, ToCourier};

/// What the worker lends to its couriers.
#[derive(Clone)]
pub struct Hooks {
    /// Looks a variable up. It is asked only for names that the account or the plugin's manifest lists.
    pub environment: Arc<Environment>,
}

/// Looks a variable up by its name.
pub type Environment = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Default for Hooks {
    /// The worker's own environment.
    fn default() -> Self {
        Self {
            environment: Arc::new(|name| std::env::var_os(name)),
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// Answers a courier's needs.
pub(super) struct Needs {
    account: String,
    argv: Option<Vec<String>>,
    allowed: BTreeSet<String>,
    hooks: Hooks,
    outgoing: mpsc::UnboundedSender<Outgoing>,
}

impl Needs {
    pub(super) fn new(setup: Setup, hooks: Hooks, outgoing: mpsc::UnboundedSender<Outgoing>) -> Self {
        let mut allowed = BTreeSet::new();
        let mut argv = None;
        match setup.credentials {
            CredentialSource::Environment { fields } => allowed.extend(fields.into_values()),
            CredentialSource::Command { argv: named } => argv = Some(named),
            CredentialSource::Chain { .. } => {
                for source in setup.library.manifest.sources.into_values() {
                    match source {
                        Source::Environment(variables) => {
                            allowed.extend(variables.public.into_iter().chain(variables.secret.into_keys()))
                        }
                        Source::Command(_) => {}
                        Source::File(file) => allowed.extend(file.path_variable),
                    }
                }
            }
            CredentialSource::File { .. } => {}
        }
        Self {
            account: setup.account.name,
            argv,
            allowed,
            hooks,
            outgoing,
        }
    }

    /// Sends the values of these variables; of others, none.
    pub(super) fn variables(&self, need: u64, names: Vec<String>) {
        let value = |name: &String| {
            let value = self
                .allowed
                .contains(name)
                .then(|| (self.hooks.environment)(name))
                .flatten()?;
            Some(Secret::new(Zeroizing::new(value.into_vec())))
        };
        let values = names
            .into_iter()
            .map(|name| (value(&name), name))
            .map(|(value, name)| (name, value))
            .collect();
        self.send(&ToCourier::Variables { need, values }, Vec::new());
    }

    /// Runs the account's command, in a task of its own.
    pub(super) fn command(&self, need: u64) {
        let refuse = |reason: String| {
            let outcome = Err(reason);
            self.send(&ToCourier::CommandEnded { need, outcome }, Vec::new());
        };
        let Some(argv) = &self.argv else {
            return refuse("is not what this account names".to_owned());
        };
        match command::start(argv, &self.hooks) {
            Err(reason) => refuse(reason),
            Ok((running, stdout, stderr)) => {
                self.send(&ToCourier::CommandStarted { need }, vec![stdout, stderr]);
                let (account, outgoing) = (self.account.clone(), self.outgoing.clone());
                tokio::spawn(async move {
                    let outcome = running.outcome().await;
                    if let Err(reason) = &outcome {
                        tracing::warn!(account, "the credential command {reason}");
                    }
                    send(&outgoing, &ToCourier::CommandEnded { need, outcome }, Vec::new());
                });
            }
        }
    }

    fn send(&self, message: &ToCourier, descriptors: Vec<std::os::fd::OwnedFd>) {
        send(&self.outgoing, message, descriptors);
    }
}

fn send(
    outgoing: &mpsc::UnboundedSender<Outgoing>,
    message: &ToCourier,
    descriptors: Vec<std::os::fd::OwnedFd>,
) {
    match wire::encode(message) {
        // When the courier is gone nobody needs it.
        Ok(whole) => drop(outgoing.send(Outgoing { whole, descriptors })),
        Err(error) => tracing::error!("a message to the courier cannot be sent: {error}"),
    }
}
