//! Options of the commands about other public keys than keyferry's own: grant, revoke, recover.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use keyferry_engine::snapshot::Timestamp;

use super::RuntimeArguments;
use crate::when;

/// Options of `keyferry grant`.
#[derive(Args, Debug)]
pub(crate) struct GrantArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// File of the public half that is to be let in, as FILE.pub
    #[arg(value_name = "FILE", required_unless_present = "list")]
    pub(crate) file: Option<PathBuf>,
    /// The key on whose hosts it is let in, bound by the same options as that key's own lines
    #[arg(long, value_name = "KEY", required_unless_present = "list")]
    pub(crate) key: Option<String>,
    /// How long: 24h, 3d, or until when: 2026-12-01 (midnight UTC), 2026-12-01T09:00:00+08:00; 1000 days at most
    #[arg(long = "for", value_name = "TIME", value_parser = when::to_come, required_unless_present = "list")]
    pub(crate) until: Option<Timestamp>,
    /// A host of the key; may be given more than once [default: all of them]
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    /// List what is granted, with the recovery identity and what also_trust names
    #[arg(long, conflicts_with_all = ["file", "key", "until", "hosts"])]
    pub(crate) list: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry revoke`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["key", "machine", "owner", "grant"]))]
pub(crate) struct RevokeArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// Lines of the key of that name, whichever machine's; this machine's own key of that name is retired
    pub(crate) key: Option<String>,
    /// Lines that another machine put there, named as in their comment: li-thinkpad-7f3a1c
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: Option<String>,
    /// Lines that another user's keyferry put there, or that of another machine of yours
    #[arg(long, value_name = "OWNER")]
    pub(crate) owner: Option<String>,
    /// A granted key, by its fingerprint SHA256:...
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) grant: Option<String>,
    /// Hosts to look at, also such as no key of keyferry's has; not with this machine's own key, which goes from all of its
    /// hosts [default: the key's, else all that are known]
    #[arg(long, value_name = "HOST", num_args = 1.., conflicts_with = "key_hosts")]
    pub(crate) hosts: Vec<String>,
    /// As --hosts, one at a time.
    #[arg(long = "host", id = "key_hosts", value_name = "HOST", hide = true)]
    pub(crate) more_hosts: Vec<String>,
    /// A host where nobody else may be let in afterwards, as far as keyferry sees, or all; may be given more than once
    #[arg(long = "accept-loss", value_name = "HOST")]
    pub(crate) accept_loss: Vec<String>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry recover`.
#[derive(Args, Debug)]
pub(crate) struct RecoverArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// Hosts, with or without the login
    #[arg(value_name = "HOST", required_unless_present_any = ["all", "attach"])]
    pub(crate) hosts: Vec<String>,
    /// All hosts of all keys
    #[arg(long, conflicts_with = "hosts")]
    pub(crate) all: bool,
    /// Have the provider attach the key's pair to the instance that HOST is; with several hosts HOST=INSTANCE for each
    ///
    /// It says first what that means there, and asks: a pair that is bound to the instance is replaced, and the instance has
    /// to be restarted by you.
    #[arg(long, value_name = "INSTANCE", conflicts_with = "all")]
    pub(crate) attach: Vec<String>,
    /// The key, where several are put on such a host
    #[arg(long, value_name = "KEY", requires = "attach")]
    pub(crate) key: Option<String>,
    /// The region of the instances, where the key has pairs in several
    #[arg(long, value_name = "REGION", requires = "attach")]
    pub(crate) region: Option<String>,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}
