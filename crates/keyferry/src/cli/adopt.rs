//! Options of `keyferry adopt`.

use std::path::PathBuf;

use clap::Args;

use super::RuntimeArguments;

/// Options of `keyferry adopt`.
#[derive(Args, Debug)]
pub(crate) struct AdoptArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// File of the private half: PEM (PKCS#1, PKCS#8, SEC 1) or OpenSSH's format
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where it may log in, with commas between: [user@]host, or ssh://[user@]host[:port]
    #[arg(long, value_name = "DEST", value_delimiter = ',', required = true)]
    pub(crate) hosts: Vec<String>,
    /// The account whose provider gets the public halves of the keys to come
    #[arg(long, value_name = "NAME")]
    pub(crate) account: String,
    /// Name of the new key [default: after the file]
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Have the adopted key's lines taken off its hosts, each once the new key was seen to log in there
    #[arg(long)]
    pub(crate) replace: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// How long to wait for the new key to be seen everywhere
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) wait: u64,
}
