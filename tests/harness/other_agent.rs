//! An agent that is not keyferry's.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::openssh::ssh_add;
use crate::wait;

/// OpenSSH's agent with one key. Ended on drop.
pub struct OtherAgent {
    child: Child,
    socket: PathBuf,
}

impl OtherAgent {
    /// Starts it, and waits until it has the key.
    ///
    /// # Panics
    /// Where there is no ssh-agent, or it does not take the key.
    pub fn start(socket: PathBuf, key: &Path) -> Self {
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

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for OtherAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
