//! Another implementation's client, with its own idea of the messages.

use crate::harness::*;
use ssh_agent_lib::agent::Session as _;
use ssh_agent_lib::client::Client as OtherClient;
use ssh_agent_lib::proto::{
    AddIdentity, AddIdentityConstrained, KeyConstraint, PrivateCredential, PublicCredential, RemoveIdentity,
    SignRequest,
};
use ssh_agent_lib::ssh_key::PrivateKey;

#[test]
fn the_client_of_ssh_agent_lib_agrees() {
    let running = Running::start();
    let file = keygen(running.folder.path(), "ed25519", 256);
    let key = PrivateKey::from_openssh(std::fs::read_to_string(&file).unwrap()).unwrap();
    let public = TestKey::read(&file).public;
    let credential = || PrivateCredential::Key {
        privkey: key.key_data().clone(),
        comment: "théirs".to_owned(),
    };
    running.runtime().block_on(async {
        let stream = tokio::net::UnixStream::connect(&running.path).await.unwrap();
        let mut client = OtherClient::new(stream);
        client
            .add_identity(AddIdentity {
                credential: credential(),
            })
            .await
            .unwrap();
        let listed = client.request_identities().await.unwrap();
        let expected = PublicCredential::Key(key.public_key().key_data().clone());
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (&listed[0].credential, listed[0].comment.as_str()),
            (&expected, "théirs")
        );

        let request = SignRequest {
            credential: expected,
            data: b"data".to_vec(),
            flags: 0,
        };
        let signature = client.sign(request.clone()).await.unwrap();
        let blob = [
            string(signature.algorithm().as_str().as_bytes()),
            string(signature.as_bytes()),
        ]
        .concat();
        verified(&public, b"data", &[&[14], &string(&blob)[..]].concat());

        client.lock("pässphrase".to_owned()).await.unwrap();
        assert!(client.request_identities().await.unwrap().is_empty());
        assert!(client.sign(request).await.is_err());
        assert!(client.unlock("passphrase".to_owned()).await.is_err());
        client.unlock("pässphrase".to_owned()).await.unwrap();

        let constrained = |constraints| AddIdentityConstrained {
            identity: AddIdentity {
                credential: credential(),
            },
            constraints,
        };
        assert!(
            client
                .add_identity_constrained(constrained(vec![KeyConstraint::Confirm]))
                .await
                .is_err()
        );
        client
            .add_identity_constrained(constrained(vec![KeyConstraint::Lifetime(600)]))
            .await
            .unwrap();
        let removed = RemoveIdentity {
            credential: PublicCredential::Key(key.public_key().key_data().clone()),
        };
        client.remove_identity(removed).await.unwrap();
        client.remove_all_identities().await.unwrap();
        assert!(client.request_identities().await.unwrap().is_empty());
    });
}
