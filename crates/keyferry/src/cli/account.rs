//! Options of `keyferry account` and `keyferry init`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{PluginDirectories, RuntimeArguments};
use crate::exit;

/// The commands below `keyferry account`.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Say where an account's credentials come from, and try them with the cheapest request that reads
    ///
    /// The daemon obtains them anew, in its own environment, and tells what it looked at and why that did not do. What is
    /// set in this shell and not in the daemon is named. Without a daemon it is done here, in this shell's environment; --config
    /// and --plugin-dir are for that.
    #[command(after_help = exit::HELP)]
    Check(AccountCheckArguments),
    /// Print the least permissions that an account needs at its vendor, as the vendor's policy document
    #[command(after_help = exit::HELP)]
    Policy(AccountPolicyArguments),
}

/// Options of `keyferry account check`.
#[derive(Args, Debug)]
pub(crate) struct AccountCheckArguments {
    /// The account's name [default: all]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    #[command(flatten)]
    pub(crate) place: ConfigPlace,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry account policy`.
#[derive(Args, Debug)]
pub(crate) struct AccountPolicyArguments {
    /// The account's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) place: ConfigPlace,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry init`.
#[derive(Args, Debug)]
pub(crate) struct InitArguments {
    #[command(flatten)]
    pub(crate) place: ConfigPlace,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// Region for accounts whose profile names none
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Only accounts of this plugin; may be given more than once
    #[arg(long = "plugin", value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Write without asking
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The config directory and where plugins are.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigPlace {
    /// Config directory [default: as for the daemon]
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) plugins: PluginDirectories,
}
