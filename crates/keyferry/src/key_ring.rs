//! The agent as the engine sees it.

use std::path::PathBuf;

use keyferry_agent::{Agent, Foreign, ManagedKey, SigningKey};
use keyferry_engine::engine::{KeyRing, Offer};
use tokio::sync::watch;
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
        offer: Offer,
    ) -> Result<(), String> {
        let key = SigningKey::from_private_blob(&private_key).map_err(|error| error.to_string())?;
        let managed = ManagedKey {
            name: name.to_owned(),
            generation,
            key,
            comment: comment.to_owned(),
            offer: of_the_agent(offer),
        };
        self.0.load(managed).map_err(|error| error.to_string())
    }

    fn offer(&self, name: &str, generation: u64, offer: Offer) {
        self.0.offer(name, generation, of_the_agent(offer));
    }

    fn unload(&self, name: &str, generation: u64) {
        self.0.unload(name, generation);
    }

    fn resume(&self, name: &str) {
        self.0.resume(name);
    }

    fn lock_changes(&self) -> watch::Receiver<u64> {
        self.0.lock_changes()
    }

    fn lend(
        &self,
        public_blob: &[u8],
        comment: &str,
        agent: PathBuf,
        host_keys: Vec<Vec<u8>>,
    ) -> Result<(), String> {
        let foreign = Foreign {
            public_blob: public_blob.to_vec(),
            comment: comment.to_owned(),
            socket: agent,
        };
        let offer = keyferry_agent::Offer::To(host_keys);
        self.0.lend(foreign, offer).map_err(|error| error.to_string())
    }

    fn unlend(&self, public_blob: &[u8]) {
        self.0.unlend(public_blob);
    }
}

fn of_the_agent(offer: Offer) -> keyferry_agent::Offer {
    match offer {
        Offer::Everywhere => keyferry_agent::Offer::Everywhere,
        Offer::Nowhere => keyferry_agent::Offer::Nowhere,
        Offer::To(hosts) => keyferry_agent::Offer::To(hosts),
    }
}
