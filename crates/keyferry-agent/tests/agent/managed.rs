//! Managed keys: loaded by the daemon, held by clients, resumed by the user.

use crate::harness::*;
use keyferry_agent::{Event, LoadError, ManagedKey, Offer, SigningKey};

fn held(name: &str) -> Event {
    Event::Held {
        name: name.to_owned(),
    }
}

#[test]
fn removing_a_managed_key_holds_it_until_it_is_resumed() {
    let running = Running::start();
    let mut events = running.agent.events().unwrap();
    assert!(running.agent.events().is_none(), "there is one stream");
    let (web, db) = (TestKey::ed25519(1), TestKey::ed25519(2));
    running.load("web", &web);
    running.load("db", &db);
    let mut client = running.connect();
    let comments: Vec<_> = client
        .list()
        .into_iter()
        .map(|(_, comment)| String::from_utf8(comment).unwrap())
        .collect();
    assert_eq!(
        comments,
        ["comment of db", "comment of web"],
        "in the order of names"
    );

    assert_eq!(client.ask(&remove(&web.public)), SUCCESS);
    assert_eq!(events.try_recv().unwrap(), held("web"));
    assert!(running.agent.is_held("web") && !running.agent.is_held("db"));
    assert_eq!(client.list().len(), 1);
    assert_eq!(client.ask(&sign(&web.public, b"", 0)), FAILURE);
    assert_eq!(
        client.ask(&remove(&web.public)),
        FAILURE,
        "it is not listed any more"
    );
    assert_eq!(
        client.ask(&add(&web.private, b"")),
        FAILURE,
        "held is not free to be added"
    );

    // The next generation of a held name is held as well.
    let next = TestKey::ed25519(3);
    running.load_generation("web", 2, &next, Offer::Everywhere);
    assert_eq!(client.list().len(), 1);
    assert_eq!(client.ask(&sign(&next.public, b"", 0)), FAILURE);

    assert!(running.agent.resume("web"));
    assert!(!running.agent.resume("web"));
    let blobs: Vec<_> = client.list().into_iter().map(|(blob, _)| blob).collect();
    assert_eq!(
        blobs,
        [db.public, next.public.clone(), web.public.clone()],
        "the newest generation first"
    );
    for key in [&next, &web] {
        verified(&key.public, b"", &client.ask(&sign(&key.public, b"", 0)));
    }

    assert!(!running.agent.unload("web", 3));
    assert!(running.agent.unload("web", 1));
    assert!(!running.agent.unload("web", 1));
    assert_eq!(client.ask(&sign(&web.public, b"", 0)), FAILURE);
    assert_eq!(client.list().len(), 2);
    assert!(events.try_recv().is_err());
}

#[test]
fn ssh_add_takes_away_all_keys_and_managed_ones_come_back() {
    let running = Running::start();
    let mut events = running.agent.events().unwrap();
    for (name, seed) in [("a", 1), ("b", 2), ("c", 3)] {
        running.load(name, &TestKey::ed25519(seed));
    }
    running.agent.hold("b");
    let file = keygen(running.folder.path(), "ed25519", 256);
    running.tool_ok("ssh-add", &["-q", file.to_str().unwrap()], "");
    let mut client = running.connect();
    assert_eq!(client.list().len(), 3);

    running.tool_ok("ssh-add", &["-q", "-D"], "");
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert_eq!(told, [held("a"), held("c"), Event::AllHeld]);
    for name in ["a", "b", "c"] {
        assert!(running.agent.resume(name));
    }
    assert_eq!(client.list().len(), 3, "the key added by hand is gone for good");
}

#[test]
fn a_hold_from_before_the_key_came_counts() {
    let running = Running::start();
    running.agent.hold("early");
    running.load("early", &TestKey::ed25519(1));
    let mut client = running.connect();
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    assert!(running.agent.resume("early"));
    assert_eq!(client.list().len(), 1);
}

#[test]
fn a_key_is_managed_or_added_never_both() {
    let running = Running::start();
    let key = TestKey::ed25519(1);
    let mut client = running.connect();
    assert_eq!(
        client.ask(&add_constrained(&key.private, b"by hand", &[1, 0, 0, 0, 60])),
        SUCCESS
    );
    running.load("managed", &key);
    assert_eq!(
        client.list(),
        [(key.public.clone(), b"comment of managed".to_vec())]
    );
    assert_eq!(client.ask(&add(&key.private, b"by hand")), FAILURE);
    assert_eq!(client.list().len(), 1);

    let load = |name: &str, comment: &str| {
        let key = SigningKey::from_private_blob(&key.private).unwrap();
        running.agent.load(ManagedKey {
            name: name.to_owned(),
            generation: 1,
            key,
            comment: comment.to_owned(),
            offer: Offer::Everywhere,
        })
    };
    let same = LoadError::SamePair {
        name: "twin".to_owned(),
        generation: 1,
        other: "managed".to_owned(),
        other_generation: 1,
    };
    assert_eq!(load("twin", ""), Err(same));
    assert_eq!(
        load("managed", "a\0b"),
        Err(LoadError::Comment {
            name: "managed".to_owned()
        })
    );
    assert_eq!(load("managed", "again"), Ok(()));
    assert_eq!(client.list(), [(key.public.clone(), b"again".to_vec())]);
}

#[test]
fn more_managed_keys_than_a_list_holds_still_sign() {
    let running = Running::start();
    let keys: Vec<_> = (0..300_u16)
        .map(|number| {
            let mut seed = [0; 32];
            seed[..2].copy_from_slice(&number.to_be_bytes());
            TestKey::ed25519_of(seed)
        })
        .collect();
    for (number, key) in keys.iter().enumerate() {
        let loaded = SigningKey::from_private_blob(&key.private).unwrap();
        let (name, comment) = (format!("{number:04}"), "c".repeat(1000));
        running
            .agent
            .load(ManagedKey {
                name,
                generation: 1,
                key: loaded,
                comment,
                offer: Offer::Everywhere,
            })
            .unwrap();
    }
    let mut client = running.connect();
    let reply = client.ask(LIST);
    assert!(
        reply.len() <= 256 * 1024 && reply.len() > 250 * 1024,
        "{}",
        reply.len()
    );
    let last = keys.last().unwrap();
    verified(&last.public, b"", &client.ask(&sign(&last.public, b"", 0)));
}
