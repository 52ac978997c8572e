//! Any bytes as the private key that a provider answered. What is taken must be a key that the agent can sign with.

#![no_main]

use keyferry_agent::SigningKey;
use keyferry_engine::private_key::PrivateKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(key) = PrivateKey::parse(input) else {
        return;
    };
    let fingerprint = key.public_key().fingerprint();
    let signing = SigningKey::from_private_blob(&key.into_blob()).expect("a key that was read can sign");
    assert_eq!(signing.fingerprint(), fingerprint);
});
