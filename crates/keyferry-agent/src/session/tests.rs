use super::*;
use crate::agent::{ManagedKey, Offer, Options};
use crate::wire::put_string;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

fn key() -> SigningKey {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let public = pair.public_key().as_ref();
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519");
    put_string(&mut blob, public);
    put_string(&mut blob, &[&[1; 32], public].concat());
    SigningKey::from_private_blob(&blob).unwrap()
}

#[test]
fn what_was_listed_signs_for_as_long_as_a_login_takes() {
    let agent = Agent::new(Options::default());
    let public = key().public_blob().to_vec();
    agent
        .load(ManagedKey {
            name: "web".to_owned(),
            generation: 1,
            key: key(),
            comment: String::new(),
            offer: Offer::Everywhere,
        })
        .unwrap();
    let mut session = Session::new(agent.clone(), Reach::Offered, Duration::ZERO);
    let ask = |session: &mut Session, message: &[u8]| {
        let mut replies = Vec::new();
        assert!(session.begin(message, true, &mut replies).is_none());
        replies[4]
    };
    let mut request = vec![number::SIGN_REQUEST];
    put_string(&mut request, &public);
    put_string(&mut request, b"data");
    request.extend([0; 4]);

    assert_eq!(
        ask(&mut session, &[number::REQUEST_IDENTITIES]),
        number::IDENTITIES_ANSWER
    );
    agent.offer("web", 1, Offer::Nowhere);
    assert_eq!(ask(&mut session, &request), number::SIGN_RESPONSE);
    let listed = session.listed.as_mut().unwrap();
    listed.at = listed.at.checked_sub(LOGIN_TIME).unwrap();
    assert_eq!(ask(&mut session, &request), number::FAILURE);
}
