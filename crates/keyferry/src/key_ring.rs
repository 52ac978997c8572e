//! The agent as the engine sees it.

use keyferry_agent::{Agent, ManagedKey, SigningKey};
use keyferry_engine::engine::{KeyRing, Offer};
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
}

fn of_the_agent(offer: Offer) -> keyferry_agent::Offer {
    match offer {
        Offer::Everywhere => keyferry_agent::Offer::Everywhere,
        Offer::Nowhere => keyferry_agent::Offer::Nowhere,
        Offer::To(hosts) => keyferry_agent::Offer::To(hosts),
    }
}
