//! An agent that is not keyferry's.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keyferry_tests::openssh::ssh_add;
use keyferry_tests::wait;

/// OpenSSH's agent with one key. Ended on drop.
pub(crate) struct OtherAgent {
    child: Child,
    socket: PathBuf,
}

impl OtherAgent {
    pub(crate) fn start(socket: PathBuf, key: &Path) -> Self {
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent can be started (Debian: openssh-client)");
        let agent = Self { child, socket };
        // Its socket is there a moment before it listens.
        wait::until("ssh-agent takes the key", Duration::from_secs(20), || {
            let added = ssh_add(&agent.socket, &["-q", key.to_str().expect("a plain path")]);
            added.status.success().then_some(())
        });
        agent
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for OtherAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
