//! Hosts as the engine sees them.

use keyferry_engine::desired::HostList;
use keyferry_engine::engine::{HostFuture, HostListFuture, Hosts};
use keyferry_hosts::{HostError, HostErrorKind, Outcome, Task};

/// Logs in with the system's ssh.
pub(crate) struct SshHosts;

impl Hosts for SshHosts {
    fn run(&self, task: Task) -> HostFuture {
        Box::pin(async move {
            Err(HostError {
                kind: HostErrorKind::Settings,
                message: format!("{} cannot be logged in to in this version", task.host.destination),
                remedy: "take hosts out of the key's file".to_owned(),
                outcome: Outcome::Unchanged,
            })
        })
    }

    fn list(&self, _: HostList) -> HostListFuture {
        Box::pin(async { Err("lists of hosts cannot be read in this version".to_owned()) })
    }
}
