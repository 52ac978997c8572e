//! Options of `keyferry refresh` and `keyferry orphans`.

use clap::Args;

use super::RuntimeArguments;

/// Options of `keyferry refresh`.
#[derive(Args, Debug)]
pub(crate) struct RefreshArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// Names of accounts, or of keys, whose accounts are meant [default: all accounts]
    #[arg(value_name = "ACCOUNT|KEY")]
    pub(crate) names: Vec<String>,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry orphans`.
#[derive(Args, Debug)]
pub(crate) struct OrphansArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// Delete the orphans of this installation, after asking
    #[arg(long)]
    pub(crate) delete: bool,
    /// Do not ask before deleting
    #[arg(long, requires = "delete")]
    pub(crate) yes: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}
