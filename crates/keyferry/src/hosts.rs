//! Hosts as the engine sees them: the system's ssh, with sockets of the agent that have one key each.

mod agent_keys;
mod list;
pub(crate) mod program;

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyferry_agent::{Agent, Foreign, KeySocket, PrivateSocket, PrivateSocketError};
use keyferry_engine::desired::HostList;
use keyferry_engine::engine::{DeployFuture, HostFuture, HostListFuture, Hosts};
use keyferry_hosts::{Login, OneKeySocket, Parts, Sockets, Ssh, Task};
use tokio::runtime::Handle;

use crate::prompts::Desk;

/// Logs in with the system's ssh.
pub(crate) struct SshHosts {
    ssh: Arc<Ssh>,
    agent: Agent,
    /// Sockets with one key are answered on it.
    agent_runtime: Handle,
    /// And they are in there.
    directory: PathBuf,
}

impl SshHosts {
    /// Private sockets are answered on the agent's own runtime. For jump hosts the user's agent is the one that `SSH_AUTH_SOCK`
    /// names; without it, the daemon's. Who waits at the desk is asked what ssh asks.
    pub(crate) fn new(
        agent: Agent,
        agent_runtime: Handle,
        agent_socket: &Path,
        runtime_directory: &Path,
    ) -> io::Result<(Self, Desk)> {
        let directory = runtime_directory.join("ssh");
        let desk = Desk::new(directory.clone(), agent_runtime.clone());
        let sockets = AgentSockets {
            agent: agent.clone(),
            runtime: agent_runtime.clone(),
            directory: directory.clone(),
        };
        let mut parts = Parts::new(Arc::new(sockets), directory.clone());
        parts.prompts = Some(Arc::new(desk.clone()));
        parts.auth_socket = env::var_os("SSH_AUTH_SOCK")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .or_else(|| Some(agent_socket.to_owned()));
        let hosts = Self {
            ssh: Arc::new(Ssh::new(parts)?),
            agent,
            agent_runtime,
            directory,
        };
        Ok((hosts, desk))
    }

    /// An agent's socket with one generation of a key alone, for one command.
    pub(crate) fn key_socket(&self, key: &str, n: u64) -> Result<KeySocket, PrivateSocketError> {
        let _inside = self.agent_runtime.enter();
        self.agent.key_socket(&self.directory, key, n)
    }

    /// Whether the user added the key of a fingerprint to the daemon's agent.
    pub(crate) fn has_added(&self, fingerprint: &str) -> bool {
        agent_keys::added(&self.agent, fingerprint).is_some()
    }

    /// Fingerprints of keys that were added to the daemon's agent and go by themselves, and when they do.
    pub(crate) fn lifetimes_of_added(&self) -> Vec<(String, Duration)> {
        let lifetimes = self.agent.lifetimes_of_added().into_iter();
        lifetimes
            .map(|(blob, left)| (keyferry_hosts::fingerprint(&blob), left))
            .collect()
    }
}

impl Hosts for SshHosts {
    fn run(&self, task: Task) -> HostFuture {
        let (ssh, agent) = (Arc::clone(&self.ssh), self.agent.clone());
        Box::pin(async move { ssh.run(agent_keys::resolved(&agent, task).await).await })
    }

    fn list(&self, list: HostList) -> HostListFuture {
        Box::pin(list::read(list))
    }

    fn deploy(&self, command: Vec<String>, document: String) -> DeployFuture {
        Box::pin(async move {
            let said = program::run(&command, document.into_bytes(), DEPLOY_DEADLINE).await?;
            tracing::debug!(octets = said.len(), "what a deploying program says is not read");
            Ok(())
        })
    }
}

/// A fleet tool may go to many hosts.
const DEPLOY_DEADLINE: Duration = Duration::from_secs(600);

/// The agent's sockets with one key each.
struct AgentSockets {
    agent: Agent,
    runtime: Handle,
    directory: PathBuf,
}

impl Sockets for AgentSockets {
    fn open(&self, key: &str, n: u64) -> Result<Box<dyn OneKeySocket>, String> {
        self.opened(|directory| self.agent.private_socket(directory, key, n))
    }

    fn open_foreign(&self, agent: &Path, public_key: &str) -> Result<Box<dyn OneKeySocket>, String> {
        if public_key.starts_with(agent_keys::SHA256) {
            return Err(format!(
                "neither keyferry's agent nor that of SSH_AUTH_SOCK has the key {public_key}"
            ));
        }
        let public_blob = keyferry_hosts::public_blob(public_key)
            .ok_or_else(|| format!("`{public_key}` is no public key"))?;
        // What the user added here has no other agent to be asked.
        if self.agent.added().contains(&public_blob) {
            return self.opened(|directory| self.agent.private_socket_of_added(directory, &public_blob));
        }
        let foreign = Foreign {
            public_blob,
            comment: String::new(),
            socket: agent.to_owned(),
        };
        self.opened(|directory| self.agent.private_socket_of(directory, foreign))
    }
}

impl AgentSockets {
    fn opened(
        &self,
        open: impl FnOnce(&Path) -> Result<PrivateSocket, PrivateSocketError>,
    ) -> Result<Box<dyn OneKeySocket>, String> {
        let _inside = self.runtime.enter();
        match open(&self.directory) {
            Ok(socket) => Ok(Box::new(Opened(socket))),
            Err(error) => Err(error.to_string()),
        }
    }
}

struct Opened(PrivateSocket);

impl OneKeySocket for Opened {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn logins(&self) -> Vec<Login> {
        let logins = self.0.logins().into_iter();
        logins
            .map(|login| Login {
                host_key: login.host_key,
                session_id: login.session_id,
                user: login.user,
                forwarded: login.forwarded,
            })
            .collect()
    }
}
