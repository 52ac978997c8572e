//! What a courier may ask of the worker: named variables, and to run the account's credential command or one that a file of
//! the vendor's chain names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use keyferry_plugin::manifest::{Manifest, Source};
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

/// Variables that a plugin's `credentials` may look at: those of its sources, and those that name a source's path.
pub(super) fn variables_of(manifest: &Manifest) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in manifest.sources.values() {
        match source {
            Source::Command(_) => {}
            Source::Environment(variables) => {
                names.extend(variables.public.iter().chain(variables.secret.keys()).cloned());
            }
            Source::File(file) => names.extend(file.path_variable.clone()),
        }
    }
    names
}

impl Hooks {
    /// Of the environment variables that a plugin's `credentials` looks at, which ones are set and not empty here. Names
    /// alone.
    pub fn variables_set(&self, manifest: &Manifest) -> BTreeMap<String, bool> {
        let is_set = |name: &String| (self.environment)(name).is_some_and(|value| !value.is_empty());
        let names = variables_of(manifest).into_iter();
        names
            .map(|name| (is_set(&name), name))
            .map(|(set, name)| (name, set))
            .collect()
    }
}

/// Answers a courier's needs.
pub(super) struct Needs {
    account: String,
    argv: Option<Vec<String>>,
    /// Whether files of the vendor's chain, which the account uses, may name commands.
    files_name_commands: bool,
    allowed: BTreeSet<String>,
    hooks: Hooks,
    outgoing: mpsc::UnboundedSender<Outgoing>,
}

impl Needs {
    pub(super) fn new(setup: Setup, hooks: Hooks, outgoing: mpsc::UnboundedSender<Outgoing>) -> Self {
        let manifest = &setup.library.manifest;
        let mut allowed = BTreeSet::new();
        let mut argv = None;
        let mut files_name_commands = false;
        match setup.credentials {
            CredentialSource::Environment { fields } => allowed.extend(fields.into_values()),
            CredentialSource::Command { argv: named } => argv = Some(named),
            CredentialSource::Chain { .. } => {
                allowed = variables_of(manifest);
                files_name_commands = manifest
                    .sources
                    .values()
                    .any(|source| matches!(source, Source::File(file) if !file.commands.is_empty()));
            }
            CredentialSource::File { .. } => {}
        }
        Self {
            account: setup.account.name,
            argv,
            files_name_commands,
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

    /// Runs a command in a task of its own: the account's, or one that a file names. What the file says is the courier's word;
    /// it has seen that nobody else may write the file, as we have for those of the configuration.
    pub(super) fn command(&self, need: u64, named: Option<Vec<String>>) {
        let refuse = |reason: String| {
            let outcome = Err(reason);
            self.send(&ToCourier::CommandEnded { need, outcome }, Vec::new());
        };
        let argv = match &named {
            None => self.argv.as_ref(),
            Some(argv) => Some(argv).filter(|_| self.files_name_commands),
        };
        let Some(argv) = argv else {
            return refuse("is not what this account names".to_owned());
        };
        if named.is_some() {
            let program = argv
                .first()
                .map(|program| crate::enforce::cleaning::clean(program, 100));
            let program = program.unwrap_or_default();
            tracing::info!(
                account = self.account,
                program,
                "runs the command that a file of the vendor's chain names"
            );
        }
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
