//! What is needed beyond Rust, by the package that brings it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::say;

/// A program that is needed.
pub(crate) struct Requirement {
    program: &'static str,
    package: &'static str,
    /// Arguments with which it must succeed, where being there is not enough.
    works: &'static [&'static str],
}

/// A C compiler for aws-lc and SQLite, and for the plugin written in C.
pub(crate) const COMPILER: Requirement = Requirement {
    program: "cc",
    package: "gcc",
    works: &[],
};
/// ssh, ssh-add and ssh-keygen.
pub(crate) const CLIENT: Requirement = Requirement {
    program: "ssh-add",
    package: "openssh-client",
    works: &[],
};
/// The server that logins go to.
pub(crate) const SERVER: Requirement = Requirement {
    program: "sshd",
    package: "openssh-server",
    works: &[],
};
/// Shows every system call: how the tests look for keys in files.
pub(crate) const TRACER: Requirement = Requirement {
    program: "strace",
    package: "strace",
    works: &[],
};

/// Runs the servers that are written in it: Nova, Keystone, moto.
pub(crate) const PYTHON: Requirement = Requirement {
    program: "python3",
    package: "python3-venv",
    works: &["-c", "import ensurepip, venv"],
};

/// Gives a test's own network the addresses of metadata services.
pub(crate) const NETWORK: Requirement = Requirement {
    program: "ip",
    package: "iproute2",
    works: &[],
};

/// What the hosts in tests are made of that not every Debian has: login shells, sudo, immutable files, passwords, and git
/// for a config directory that goes back to an older branch.
pub(crate) const HOSTS: [Requirement; 8] = [
    Requirement {
        program: "busybox",
        package: "busybox",
        works: &[],
    },
    Requirement {
        program: "bsd-csh",
        package: "csh",
        works: &[],
    },
    Requirement {
        program: "chattr",
        package: "e2fsprogs",
        works: &[],
    },
    Requirement {
        program: "fish",
        package: "fish",
        works: &[],
    },
    Requirement {
        program: "git",
        package: "git",
        works: &[],
    },
    Requirement {
        program: "openssl",
        package: "openssl",
        works: &[],
    },
    Requirement {
        program: "sudo",
        package: "sudo",
        works: &[],
    },
    Requirement {
        program: "tcsh",
        package: "tcsh",
        works: &[],
    },
];

/// Looks for programs; installs what is missing where that is allowed (root, with apt-get), else names it.
pub(crate) fn ensure<'a>(requirements: impl IntoIterator<Item = &'a Requirement>) -> Result<(), String> {
    let missing = |of: Vec<&'a Requirement>| {
        of.into_iter()
            .filter(|requirement| !requirement.is_met())
            .collect::<Vec<_>>()
    };
    let wanted = missing(requirements.into_iter().collect());
    if wanted.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = wanted.iter().map(|requirement| requirement.package).collect();
    if rustix::process::geteuid().is_root() && is_there("apt-get") {
        say(&format!("installing {}", packages.join(" ")));
        for arguments in [
            &["update"][..],
            &["install", "--yes", "--no-install-recommends"][..],
        ] {
            let mut command = Command::new("apt-get");
            command
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdout(Stdio::null());
            if arguments.len() > 1 {
                command.args(&packages);
            }
            // What could not be had shows below, by name.
            let _ = command.status();
        }
    }
    let wanted = missing(wanted);
    if wanted.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = wanted
        .iter()
        .map(|requirement| format!("{} (Debian package {})", requirement.program, requirement.package))
        .collect();
    let packages: Vec<&str> = wanted.iter().map(|requirement| requirement.package).collect();
    Err(format!(
        "missing: {}; install with: sudo apt-get install {}",
        names.join(", "),
        packages.join(" ")
    ))
}

impl Requirement {
    fn is_met(&self) -> bool {
        is_there(self.program)
            && (self.works.is_empty()
                || Command::new(self.program)
                    .args(self.works)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()
                    .is_ok_and(|status| status.success()))
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // sshd is in a folder that is often not on a user's PATH.
    let usual = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(usual)
        .any(|folder| Path::new(&folder).join(program).is_file())
}
