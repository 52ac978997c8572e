//! Tasks on real hosts: sshd, ssh, an agent.

mod files;
mod fixture;
mod host_keys;
mod jumps;
mod keys;
mod owners;
mod removal;
mod shells;
mod trouble;
