//! What the engine asks of hosts.

use std::pin::Pin;

use keyferry_hosts::{HostError, Reply, Task};

use crate::desired::HostList;

/// Does things on hosts. The daemon has ssh behind it.
pub trait Hosts: Send + Sync + 'static {
    /// Does one thing on one host. It has a deadline of its own. Dropping the future ends the login; what it was to change
    /// may then have changed or not.
    fn run(&self, task: Task) -> HostFuture;

    /// The hosts of a list that a file or a program holds, as they stand there.
    fn list(&self, list: HostList) -> HostListFuture;

    /// Runs the program of a key's file that puts lines on hosts, with a JSON document on its standard input. Whether it
    /// did is seen by logging in.
    fn deploy(&self, command: Vec<String>, document: String) -> DeployFuture;
}

/// See [`Hosts::run`].
pub type HostFuture = Pin<Box<dyn Future<Output = Result<Reply, HostError>> + Send>>;

/// See [`Hosts::list`]. The error is for people: what is wrong, and where.
pub type HostListFuture = Pin<Box<dyn Future<Output = Result<Vec<String>, String>> + Send>>;

/// See [`Hosts::deploy`]. The error is for people: it follows the program's name.
pub type DeployFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
