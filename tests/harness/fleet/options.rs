//! What a host is like.

/// What a host is like.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Its name in ssh_config.
    pub name: String,
    /// The login shell of its users.
    pub shell: Shell,
    /// Whether the shell's rc file and `~/.ssh/rc` print: text, escape sequences, bytes that are not UTF-8, a last line
    /// without an end, on standard output and standard error.
    pub rc_noise: bool,
    /// Its users; ssh_config names the first. `root` has number 0, the others numbers that the machine knows nothing of.
    pub users: Vec<String>,
    /// Lines for its sshd_config, which win over this fixture's own (`Match` blocks too).
    pub sshd_config: String,
    /// The size of each home in bytes, as a file system of its own that can be [filled](super::Host::fill); none: a folder.
    pub home_size: Option<u64>,
    /// Whether its users may do everything by `sudo -n`.
    pub sudo: bool,
}

impl HostOptions {
    /// A quiet host with user `deploy`.
    pub fn new(name: &str, shell: Shell) -> Self {
        Self {
            name: name.to_owned(),
            shell,
            rc_noise: false,
            users: vec!["deploy".to_owned()],
            sshd_config: String::new(),
            home_size: None,
            sudo: false,
        }
    }

    /// With rc files that print.
    #[must_use]
    pub fn noisy(self) -> Self {
        Self {
            rc_noise: true,
            ..self
        }
    }

    /// With these lines in its sshd_config.
    #[must_use]
    pub fn with_sshd_config(self, lines: &str) -> Self {
        Self {
            sshd_config: lines.to_owned(),
            ..self
        }
    }

    /// With these users.
    #[must_use]
    pub fn with_users(self, users: &[&str]) -> Self {
        Self {
            users: users.iter().map(|&user| user.to_owned()).collect(),
            ..self
        }
    }
}

/// The password of every user, for hosts whose sshd_config takes one
/// (`AuthenticationMethods publickey,password` and `PasswordAuthentication yes`).
pub const PASSWORD: &str = "correct horse";

/// Login shells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shell {
    /// bash.
    Bash,
    /// busybox's sh, on a host that has no other programs than busybox's.
    Busybox,
    /// The csh of the BSDs.
    Csh,
    /// dash.
    Dash,
    /// fish.
    Fish,
    /// tcsh.
    Tcsh,
}

impl Shell {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Bash,
        Self::Busybox,
        Self::Csh,
        Self::Dash,
        Self::Fish,
        Self::Tcsh,
    ];

    /// The program and the Debian package that has it.
    pub(super) fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Bash => ("/bin/bash", "bash"),
            Self::Busybox => ("/bin/busybox", "busybox"),
            Self::Csh => ("/bin/bsd-csh", "csh"),
            Self::Dash => ("/bin/dash", "dash"),
            Self::Fish => ("/usr/bin/fish", "fish"),
            Self::Tcsh => ("/bin/tcsh", "tcsh"),
        }
    }

    /// The file below the home that it reads before a command that ssh asks for, and what prints in its language; none: it
    /// reads nothing then.
    pub(super) fn rc(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Bash => Some((".bashrc", SH_NOISE)),
            Self::Busybox | Self::Dash => None,
            Self::Csh | Self::Tcsh => Some((".cshrc", CSH_NOISE)),
            Self::Fish => Some((".config/fish/config.fish", FISH_NOISE)),
        }
    }
}

/// What an rc file in the language of sh prints.
pub(super) const SH_NOISE: &str = r"printf 'Welcome!\r\n\033[1mlast maintenance\033[0m: \377\376\n'
echo 'disk usage is at 91%' >&2
alias rm='rm -i'
umask 077
printf 'You have new mail.'
";
const CSH_NOISE: &str = r"printf 'Welcome!\r\n\033[1mlast maintenance\033[0m: \377\376\n'
sh -c 'echo disk usage is at 91% >&2'
alias rm 'rm -i'
umask 077
printf 'You have new mail.'
";
const FISH_NOISE: &str = r"printf 'Welcome!\r\n\e[1mlast maintenance\e[0m: \xff\xfe\n'
echo 'disk usage is at 91%' >&2
function rm; command rm -i $argv; end
umask 077
printf 'You have new mail.'
";
