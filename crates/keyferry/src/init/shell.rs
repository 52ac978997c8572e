//! What to type next, in the user's own shell.

use std::path::Path;

/// How to start the daemon and have programs use its agent.
pub(super) fn next_steps(socket: &Path) -> String {
    let shell = std::env::var("SHELL").unwrap_or_default();
    format!(
        "\nnext:\n  keyferry daemon                # or as a service: config/systemd/keyferry.service\n  {}\n  \
         keyferry status --wait\n  ssh-add -l",
        export(&shell, socket)
    )
}

/// The line that names the agent's socket, as the shell of this path has it.
fn export(shell: &str, socket: &Path) -> String {
    let word = word(&socket.display().to_string());
    match shell.rsplit('/').next().unwrap_or_default() {
        "fish" => format!("set -gx SSH_AUTH_SOCK {word}"),
        "csh" | "tcsh" => format!("setenv SSH_AUTH_SOCK {word}"),
        _ => format!("export SSH_AUTH_SOCK={word}"),
    }
}

/// One word of a shell.
fn word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.+@%:,=".contains(&b);
    if text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_its_own_line() {
        let socket = Path::new("/run/user/1000/keyferry/agent.sock");
        for (shell, line) in [
            (
                "/bin/bash",
                "export SSH_AUTH_SOCK=/run/user/1000/keyferry/agent.sock",
            ),
            (
                "/usr/bin/fish",
                "set -gx SSH_AUTH_SOCK /run/user/1000/keyferry/agent.sock",
            ),
            (
                "/bin/tcsh",
                "setenv SSH_AUTH_SOCK /run/user/1000/keyferry/agent.sock",
            ),
            ("", "export SSH_AUTH_SOCK=/run/user/1000/keyferry/agent.sock"),
        ] {
            assert_eq!(export(shell, socket), line);
        }
        assert_eq!(word("/run/it's mine"), "'/run/it'\\''s mine'");
    }
}
