//! The agent as the engine sees it.

use keyferry_agent::{Agent, ManagedKey, SigningKey};
use keyferry_engine::engine::KeyRing;
use zeroize::Zeroizing;

/// Hands keys from the engine to the agent.
pub(crate) struct AgentKeyRing(pub(crate) Agent);

impl KeyRing for AgentKeyRing {
    fn load(
        &self,
        name: &str,
        generation: u64,
        private_key: Zeroizing<Vec<u8>>,
        comment: &str,
    ) -> Result<(), String> {
        let key = SigningKey::from_private_blob(&private_key).map_err(|error| error.to_string())?;
        let managed = ManagedKey {
            name: name.to_owned(),
            generation,
            key,
            comment: comment.to_owned(),
        };
        self.0.load(managed).map_err(|error| error.to_string())
    }

    fn resume(&self, name: &str) {
        self.0.resume(name);
    }
}
