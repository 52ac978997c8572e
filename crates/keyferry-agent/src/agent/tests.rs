use super::*;
use crate::private_socket::Signer;
use crate::wire::put_string;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

fn private_blob(seed: u8) -> Vec<u8> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public = pair.public_key().as_ref();
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519");
    put_string(&mut blob, public);
    put_string(&mut blob, &[&[seed; 32], public].concat());
    blob
}

fn load(agent: &Agent, name: &str, seed: u8) -> SigningKey {
    let key = || SigningKey::from_private_blob(&private_blob(seed)).unwrap();
    agent
        .load(ManagedKey {
            name: name.to_owned(),
            generation: 1,
            key: key(),
            comment: String::new(),
            offer: Offer::Everywhere,
        })
        .unwrap();
    key()
}

fn own(entry: &snapshot::Entry) -> &Arc<SigningKey> {
    match entry.signer() {
        Signer::Own(key) => key,
        Signer::Foreign(_) => panic!("it is in another agent"),
    }
}

#[tokio::test]
async fn what_is_removed_is_dropped_everywhere() {
    let agent = Agent::new(Options::default());
    let twin = load(&agent, "managed", 1);
    let managed = Arc::downgrade(own(agent.snapshot().find(twin.public_blob()).unwrap()));
    let mut body = private_blob(2);
    put_string(&mut body, b"");
    agent.add(Zeroizing::new(body), false).await.unwrap();
    let public = SigningKey::from_private_blob(&private_blob(2)).unwrap();
    let added = Arc::downgrade(own(agent.snapshot().find(public.public_blob()).unwrap()));

    agent.remove_all().unwrap();
    assert!(
        added.upgrade().is_none(),
        "nothing keeps an added key after remove-all"
    );
    assert!(managed.upgrade().is_some(), "a held key is kept");
    assert!(agent.unload("managed", 1));
    assert!(managed.upgrade().is_none());
}

#[tokio::test]
async fn a_key_is_dropped_when_its_time_is_over_though_nobody_asks() {
    let agent = Agent::new(Options {
        default_lifetime: Some(Duration::from_millis(500)),
    });
    let expiring = tokio::spawn({
        let agent = agent.clone();
        async move { agent.expire_keys().await }
    });
    let mut body = private_blob(1);
    put_string(&mut body, b"");
    agent.add(Zeroizing::new(body), false).await.unwrap();
    // Not through `Agent::snapshot`, which would look at the clock itself.
    let key = {
        let snapshot = agent.shared.snapshot.load();
        let public = SigningKey::from_private_blob(&private_blob(1)).unwrap();
        snapshot
            .find(public.public_blob())
            .map(|entry| Arc::downgrade(own(entry)))
    };
    let key = key.expect("500 ms are not over yet");
    let gone = async {
        while key.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .expect("the key is still there");
    expiring.abort();
}

#[tokio::test]
async fn whoever_asks_is_told_of_the_lock() {
    let agent = Agent::new(Options::default());
    let mut changes = agent.lock_changes();
    load(&agent, "managed", 1);
    assert!(!changes.has_changed().unwrap(), "a key is no lock");
    let passphrase = || Zeroizing::new(b"word".to_vec());
    agent.lock(passphrase()).await.unwrap();
    assert_eq!(*changes.borrow_and_update(), 1);
    agent.lock(passphrase()).await.unwrap_err();
    agent.unload("managed", 1);
    assert!(!changes.has_changed().unwrap(), "it is locked as before");
    agent.unlock(passphrase()).await.unwrap();
    assert_eq!(*changes.borrow_and_update(), 2);
}
