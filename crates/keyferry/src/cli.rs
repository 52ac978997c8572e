//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit;

mod account;
mod adopt;
mod exec;
mod pairs;
mod rotation;
mod trust;

use crate::plugin::commands::LibraryCommand;
pub(crate) use account::{
    AccountCheckArguments, AccountCommand, AccountPolicyArguments, ConfigPlace, InitArguments,
};
pub(crate) use adopt::AdoptArguments;
pub(crate) use exec::ExecArguments;
pub(crate) use pairs::{OrphansArguments, RefreshArguments};
pub(crate) use rotation::{
    HistoryArguments, HoldArguments, HostCommand, PlanArguments, RetireArguments, RollbackArguments,
    RotateArguments,
};
pub(crate) use trust::{GrantArguments, RecoverArguments, RevokeArguments};

/// The SSH agent that fetches its own keys.
///
/// A daemon that is the SSH agent on a local socket. It watches a config directory and asks cloud providers,
/// through plugins, to create or import SSH key pairs. Private keys go straight into the agent and never to disk.
#[derive(Debug, Parser)]
#[command(name = "keyferry", version, after_help = exit::HELP, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at accounts: where their credentials come from, and what they must be allowed
    #[command(subcommand, after_help = exit::HELP)]
    Account(AccountCommand),
    /// Run the daemon in the foreground: the SSH agent, and the keys that the config directory asks for
    #[command(after_help = format!("{AFTER_DAEMON}\n\n{}", exit::HELP))]
    Daemon(DaemonArguments),
    /// Show keys, hosts, accounts, plugins and files, each with its last error and what to do about it
    ///
    /// It exits with 1 when a key is lost or blocked, is so on a host, or could not be brought to or off one: somebody has to
    /// look.
    #[command(after_help = exit::HELP)]
    Status(StatusArguments),
    /// Check a config directory without touching anything
    #[command(after_help = exit::HELP)]
    Check(CheckArguments),
    /// Show what keyferry would do next, and why, without doing it
    #[command(after_help = exit::HELP)]
    Plan(PlanArguments),
    /// Make the next generation of keys now, and bring it to their hosts
    ///
    /// The new generation is put on one host first and seen to log in there before anybody is offered it; the old one stays
    /// until the new one was seen to log in, host by host, and the grace time is over. Nothing is waited for unless --wait says
    /// so: `keyferry status` shows how it goes, and ending the command changes nothing. With --wait, at a terminal, whatever ssh
    /// asks while it logs in (a passphrase, a password, a code) is asked there; without, nobody is asked.
    #[command(after_help = exit::HELP)]
    Rotate(RotateArguments),
    /// Give up a rotation that is not through, or go back to the generation before
    #[command(after_help = exit::HELP)]
    Rollback(RollbackArguments),
    /// End a key: take it off its hosts and delete its pairs
    ///
    /// It shows what would be done, and asks. A host whose last login it would be is left as it is, unless --accept-loss names
    /// it or says all: another key of keyferry's or the recovery identity must be seen to log in there first. `keyferry resume KEY` calls
    /// it off, as far as nothing was taken away yet.
    #[command(after_help = exit::HELP)]
    Retire(RetireArguments),
    /// Let the rotation of keys stand still: they sign on, and nothing is put on hosts or taken off
    ///
    /// What keeps a key working goes on: lines that end are renewed, and a pair that is lost with a restart or deleted at the
    /// provider is made anew.
    #[command(after_help = exit::HELP)]
    Hold(HoldArguments),
    /// Serve held keys again, end a hold of their rotation, and try failed ones now
    ///
    /// `ssh-add -d` and `ssh-add -D` hold the daemon's own keys instead of removing them: they neither list nor
    /// sign until they are resumed. `keyferry hold` has the rotation of a key stand still until it is resumed. For a key
    /// that failed, and for its blocked hosts, resuming means: try again now. A key that is being retired stays if it is named.
    #[command(after_help = exit::HELP)]
    Resume(ResumeArguments),
    /// Run a command with a key of its own, which is gone when the command ends
    ///
    /// A key pair is made after the pattern of KEY (its account, region, algorithm and hosts), put on KEY's hosts over KEY, and
    /// seen to log in. COMMAND gets it as SSH_AUTH_SOCK, an agent with that key alone; nobody else is offered it. However
    /// COMMAND ends, the key is taken off the hosts and its pair is deleted. Should this machine die, the lines end by
    /// themselves (a day or two after --for), and a daemon that is started again clears away the rest. At most 32 run at a time.
    /// KEY must not be held, on hold, retiring or without a file.
    #[command(after_help = format!("{}\n\n{}", exec::AFTER, exit::HELP))]
    Exec(ExecArguments),
    /// Have keyferry take over where a private key of yours logs in
    ///
    /// The private half goes into the agent, as with ssh-add, and to no disk. It is tried at each host; then the file of a new
    /// key is shown, and written if you agree, and keyferry puts a key of its own there over the adopted one. At the end it
    /// says how the adopted one is got rid of. Begun again after ^C, it goes on. ssh-add asks for a passphrase where there is
    /// one.
    #[command(after_help = exit::HELP)]
    Adopt(AdoptArguments),
    /// Let somebody else's key in on the hosts of a key, for a while
    ///
    /// keyferry takes its line off when the time is over. The line bears a marker, and an expiry-time a day later, so that
    /// the host itself lets it in no longer where keyferry does not come. Hosts that are added to the key later do not get it.
    #[command(after_help = exit::HELP)]
    Grant(GrantArguments),
    /// Take lines off hosts that other machines or users put there with keyferry, or end a grant
    ///
    /// It looks at the hosts, shows what it found, and asks. A host where nobody else would be let in is left unless
    /// --accept-loss names it. What cannot be done now, since a host is down, is tried again until it is done.
    #[command(after_help = exit::HELP)]
    Revoke(RevokeArguments),
    /// Log in to hosts with the recovery identity now, and put keys there that were lost
    ///
    /// keyferry uses a recovery identity by itself unless it has to be touched: with one of those this is what brings lost
    /// keys back after a restart, while you are there to touch it. Where no key is lost, the login is tried.
    ///
    /// Where nothing logs in any more, --attach has a provider that can put the key on the instance, at a terminal and after
    /// it asked: keyferry recover web-1 --attach i-bp1..., or --attach HOST=INSTANCE for each of several.
    #[command(after_help = exit::HELP)]
    Recover(RecoverArguments),
    /// Show what keyferry did: pairs, lines on hosts, logins that were seen, the newest last
    #[command(after_help = exit::HELP)]
    History(HistoryArguments),
    /// Look at hosts, and say what is to become of those that need a person
    #[command(subcommand, after_help = exit::HELP)]
    Host(HostCommand),
    /// Look at all pairs of accounts now, instead of when check_every says
    ///
    /// A pair that was deleted or replaced at the provider shows in `keyferry status`, and is handled as on_drift in the
    /// key's file says. The loaded key signs on meanwhile.
    #[command(after_help = exit::HELP)]
    Refresh(RefreshArguments),
    /// List pairs that keyferry made and no longer knows, and delete them if asked to
    ///
    /// A pair is an orphan when its name tells of this installation and the ledger has no such pair: after the ledger was
    /// restored from an older copy, for one. Pairs of other installations are listed apart and never deleted here; those of an
    /// installation whose state directory is gone are among them.
    #[command(after_help = exit::HELP)]
    Orphans(OrphansArguments),
    /// Write a first config directory from the profiles that the vendors' own tools have on this machine
    ///
    /// It shows every file that it would write, and asks before it does. What is there already stays as it is.
    #[command(after_help = exit::HELP)]
    Init(InitArguments),
    /// Look at plugins and at the requests they make
    #[command(subcommand, after_help = exit::HELP)]
    Plugin(PluginCommand),
    /// Run a bare SSH agent in the foreground, without config directory, plugins or clouds
    #[command(after_help = exit::HELP)]
    SshAgent(SshAgentArguments),
    /// Print a completion script for a shell
    #[command(after_help = exit::HELP)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one for each command, into a directory
    #[command(after_help = exit::HELP)]
    Manual {
        /// The directory, made where there is none: ~/.local/share/man/man1 is where man(1) looks
        directory: PathBuf,
    },
    /// What the daemon starts itself as; not for people.
    #[command(hide = true)]
    Internal {
        /// The part to play.
        role: Role,
    },
}

/// Parts that the program plays as a child of its own.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// Network access and credentials of one account.
    Courier,
    /// One plugin library.
    Sandbox,
}

/// Options of `keyferry daemon`.
#[derive(Args, Debug)]
pub(crate) struct DaemonArguments {
    /// Config directory [default: $XDG_CONFIG_HOME/keyferry, else ~/.config/keyferry]
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// State directory: the ledger and the public halves [default: $XDG_STATE_HOME/keyferry, else ~/.local/state/keyferry]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    #[command(flatten)]
    pub(crate) plugins: PluginDirectories,
    /// Path of the agent's socket [default: agent.sock in the runtime directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) agent_socket: Option<PathBuf>,
}

/// Where the daemon's sockets are.
#[derive(Args, Clone, Debug)]
pub(crate) struct RuntimeArguments {
    /// Runtime directory: the sockets [default: $XDG_RUNTIME_DIR/keyferry, else keyferry-UID in the system's temp folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime: Option<PathBuf>,
}

/// Where plugins are looked for.
#[derive(Args, Clone, Debug)]
pub(crate) struct PluginDirectories {
    /// Directory to look for plugins in; may be given more than once and replaces keyferry.toml's
    #[arg(long = "plugin-dir", value_name = "DIR")]
    pub(crate) plugin_dirs: Vec<PathBuf>,
}

/// Options of `keyferry status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Read the config directory again, then wait until every key is loaded and on its hosts, held, lost, or failed with its
    /// next try more than 5 s away; exit 1 also if one failed or the time is over [default without a number: 60]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    pub(crate) wait: Option<u64>,
}

/// Options of `keyferry check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// Config directory [default: as for the daemon]
    #[arg(value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// As for the daemon, for those who are used to it.
    #[arg(long = "config", value_name = "DIR", hide = true, conflicts_with = "config")]
    pub(crate) config_flag: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) plugins: PluginDirectories,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry resume`.
#[derive(Args, Debug)]
pub(crate) struct ResumeArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// Names of keys [default: all]
    #[arg(value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// The commands below `keyferry plugin`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List the plugins that can be found, without running their code
    #[command(after_help = exit::HELP)]
    List {
        #[command(flatten)]
        plugins: PluginDirectories,
        /// Config directory, for keyferry.toml's plugin_dirs [default: as for the daemon]
        #[arg(long, value_name = "DIR")]
        config: Option<PathBuf>,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Show what a plugin may do: hosts, calls, files, variables, permissions, settings
    #[command(after_help = exit::HELP)]
    Info {
        /// The plugin's name
        name: String,
        #[command(flatten)]
        plugins: PluginDirectories,
        /// Config directory, for keyferry.toml's plugin_dirs [default: as for the daemon]
        #[arg(long, value_name = "DIR")]
        config: Option<PathBuf>,
        /// Print JSON for programs: the plugin's manifest
        #[arg(long)]
        json: bool,
    },
    /// Print the exact signed request that a plugin would make, without sending it
    ///
    /// Where credentials want a request first (a login, a role), it is that one.
    Request(RequestArguments),
    #[command(flatten)]
    Library(LibraryCommand),
}

/// Options of `keyferry plugin request`.
#[derive(Args, Debug)]
#[command(after_help = format!("{AFTER_REQUEST}\n\n{}", exit::HELP))]
pub(crate) struct RequestArguments {
    /// The plugin's name
    pub(crate) plugin: String,
    /// create, import, list, get, delete, attach, detach or list_instances
    #[arg(long, value_name = "OP")]
    pub(crate) operation: String,
    /// Account file, as in accounts/
    #[arg(long, value_name = "FILE")]
    pub(crate) account: PathBuf,
    /// Parameter of the operation
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub(crate) parameters: Vec<String>,
    /// Time to sign with, RFC 3339 in UTC: 2026-11-29T08:00:00Z [default: now]
    #[arg(long, value_name = "RFC3339")]
    pub(crate) now: Option<String>,
    /// Nonce to sign with [default: random]
    #[arg(long, value_name = "TEXT")]
    pub(crate) nonce: Option<String>,
    #[command(flatten)]
    pub(crate) plugins: PluginDirectories,
    /// Config directory, for keyferry.toml [default: as for the daemon]
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON for programs: {method, url, headers, body}
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyferry ssh-agent`, named as ssh-agent(1) has them.
#[derive(Args, Debug)]
pub(crate) struct SshAgentArguments {
    /// Stay in the foreground (required in this version)
    #[arg(short = 'D', required = true)]
    pub(crate) foreground: bool,
    /// Path of the socket
    #[arg(short = 'a', value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// How long added keys live unless they say so themselves: seconds, or 10m, 2h, 1d, 1w as in sshd_config(5)
    #[arg(short = 't', value_name = "LIFE")]
    pub(crate) lifetime: Option<String>,
}

const AFTER_DAEMON: &str = "\
When it is ready it prints one line on standard error (and tells systemd, where it is started by it). Then:

  export SSH_AUTH_SOCK=.../keyferry/agent.sock     (the ready line names it)
  keyferry status --wait
  ssh-add -l

KEYFERRY_LOG sets what is logged: error, warn, info (default), debug or trace, also per module. No level \
ever shows a secret. SIGHUP reads the config directory again; SIGTERM and SIGINT end it, and the keys with it.";

const AFTER_REQUEST: &str = "\
Parameters of the operations:
  create   name, algorithm (default: the plugin's first)
  import   name, public_key (one line as in authorized_keys)
  list     page_size
  get      name, id
  delete   name (may be given more than once), id
  attach, detach            name, id, instance (may be given more than once)
  list_instances            name, id

The values of bearer credentials are shown as <name>. The signature is real: treat it as you would the request.";
