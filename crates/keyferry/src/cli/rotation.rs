//! Options of the commands about rotations, hosts and history.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyferry_engine::snapshot::Timestamp;

use super::RuntimeArguments;
use crate::{exit, when};

/// Options of `keyferry plan`.
#[derive(Args, Debug)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// Names of keys [default: all]
    #[arg(value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry rotate`.
#[derive(Args, Debug)]
pub(crate) struct RotateArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// Names of keys
    #[arg(value_name = "KEY", required = true)]
    pub(crate) keys: Vec<String>,
    /// Wait until the next generation is offered, and was seen to log in at every host that can be reached; exit 1 if a host
    /// fails or the time is over [default without a number: 3600]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "3600", require_equals = true)]
    pub(crate) wait: Option<u64>,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry rollback`.
#[derive(Args, Debug)]
pub(crate) struct RollbackArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// The key's name
    pub(crate) key: String,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry retire`.
#[derive(Args, Debug)]
pub(crate) struct RetireArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// The key's name
    pub(crate) key: String,
    /// A host or an instance that may lose its last login by this, or all; may be given more than once
    #[arg(long = "accept-loss", value_name = "WHAT")]
    pub(crate) accept_loss: Vec<String>,
    /// Wait until no line of it is left on a host and no pair at the provider; exit 1 if something is, or the time is over [default without a number: 3600]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "3600", require_equals = true)]
    pub(crate) wait: Option<u64>,
    /// Keep the key, and give up the instances of --accept-loss that hold its earlier generations back
    #[arg(long, requires = "accept_loss", conflicts_with = "wait")]
    pub(crate) earlier: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print JSON for programs; needs --yes
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry hold`.
#[derive(Args, Debug)]
pub(crate) struct HoldArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// Names of keys
    #[arg(value_name = "KEY", required = true)]
    pub(crate) keys: Vec<String>,
    /// When it ends by itself: 3d, 12h, 2026-12-01 (midnight UTC) or 2026-12-01T09:00:00+08:00 [default: with keyferry resume]
    #[arg(long, value_name = "WHEN", value_parser = when::to_come)]
    pub(crate) until: Option<Timestamp>,
    /// Why, for keyferry status
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry history`.
#[derive(Args, Debug)]
pub(crate) struct HistoryArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// The key's name [default: all]
    pub(crate) key: Option<String>,
    /// What happened since then only: 3d (ago), 2026-12-01 (midnight UTC) or 2026-12-01T09:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = when::gone_by)]
    pub(crate) since: Option<Timestamp>,
    /// State directory, read where no daemon runs [default: as for the daemon]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// The commands below `keyferry host`.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// List the hosts of all keys, and how each key fares there
    #[command(after_help = exit::HELP)]
    List {
        #[command(flatten)]
        runtime: RuntimeArguments,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Accept the host key that a host has now, after it was set up anew
    ///
    /// keyferry pins the host key that it saw when a key was first proven there, and blocks the host when another one
    /// answers. This forgets that pin. known_hosts is ssh's own business: what ssh refuses must be put right there.
    #[command(after_help = exit::HELP)]
    Trust {
        #[command(flatten)]
        runtime: RuntimeArguments,
        /// The host, with or without the login
        host: String,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Try hosts again now that failed, were out of reach or are blocked
    #[command(after_help = exit::HELP)]
    Retry {
        #[command(flatten)]
        runtime: RuntimeArguments,
        /// Hosts, with or without the login; forgotten ones too [default: all that wait for something]
        #[arg(value_name = "HOST")]
        hosts: Vec<String>,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Give a host up: nothing is asked of it any more, and what stands there stays
    #[command(after_help = exit::HELP)]
    Forget {
        #[command(flatten)]
        runtime: RuntimeArguments,
        /// The host, with the login where there are several
        host: String,
        /// Also where it is the only host of a key
        #[arg(long)]
        force: bool,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
}
