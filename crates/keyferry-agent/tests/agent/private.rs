//! Private sockets, byte by byte.

use crate::harness::*;
use crate::session::*;
use keyferry_agent::{Login, Offer, PrivateSocket, PrivateSocketError};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt};

const SESSION: &[u8] = &[7; 32];

fn open(running: &Running, name: &str, generation: u64) -> Result<PrivateSocket, PrivateSocketError> {
    let _within = running.runtime().enter();
    let folder = running.folder.path().join("private");
    running.agent.private_socket(&folder, name, generation)
}

fn connect(socket: &PrivateSocket) -> Client {
    Client::connect(socket.path()).unwrap()
}

#[test]
fn it_lists_one_generation_and_signs_logins_with_it_and_nothing_else() {
    let running = Running::start();
    let (host, other_host) = (TestKey::ed25519(101), TestKey::ed25519(102));
    let (old, staged) = (TestKey::ed25519(1), TestKey::ed25519(2));
    running.load_generation("web", 1, &old, Offer::Everywhere);
    running.load_generation("web", 2, &staged, Offer::Nowhere);
    let socket = open(&running, "web", 2).unwrap();
    let sign_login = |data: &[u8]| sign(&staged.public, data, 0);

    let mut client = connect(&socket);
    assert_eq!(client.comments(), ["comment of web"]);
    assert_eq!(client.list()[0].0, staged.public);
    let unbound = sign_login(&login(SESSION, &staged, None));
    assert_eq!(client.ask(&unbound), FAILURE, "it is not bound");
    let mut client = client.bound(&host, SESSION);

    let good = login(SESSION, &staged, Some(&host));
    let at = |place: usize, byte: u8| {
        let mut data = good.clone();
        data[place] = byte;
        data
    };
    let session_end = 4 + SESSION.len();
    let refused = [
        ("anything", b"data".to_vec()),
        ("nothing", vec![]),
        ("another session", login(&[8; 32], &staged, Some(&host))),
        ("a session cut short", login(&SESSION[1..], &staged, Some(&host))),
        ("another host", login(SESSION, &staged, Some(&other_host))),
        ("another key", login(SESSION, &old, Some(&host))),
        ("another message", at(session_end, 51)),
        ("another service", at(session_end + 1 + 4 + 6 + 4, b'S')),
        ("another method", at(session_end + 1 + 4 + 6 + 4 + 14 + 4, b'P')),
        ("a name that is no text", at(session_end + 1 + 4, 0xff)),
        ("a question without a signature", {
            let method = b"publickey-hostbound-v00@openssh.com".len();
            at(session_end + 1 + 4 + 6 + 4 + 14 + 4 + method, 0)
        }),
        ("one with more behind it", [&good[..], &[0]].concat()),
        ("one cut short", good[..good.len() - 1].to_vec()),
    ];
    for (name, data) in &refused {
        assert_eq!(client.ask(&sign_login(data)), FAILURE, "{name}");
    }
    assert_eq!(
        client.ask(&sign(&old.public, &login(SESSION, &old, None), 0)),
        FAILURE,
        "a key that is not its own"
    );
    let requests = [
        ("add", add(&TestKey::ed25519(9).private, b"")),
        ("remove", remove(&staged.public)),
        ("remove all", REMOVE_ALL.to_vec()),
        ("remove all of the first protocol", vec![9]),
        ("lock", [&[22][..], &string(b"x")].concat()),
        ("unlock", [&[23][..], &string(b"x")].concat()),
        ("another extension", [&[27][..], &string(b"query")].concat()),
    ];
    for (name, message) in &requests {
        assert_eq!(client.ask(message), FAILURE, "{name}");
    }
    assert_eq!(socket.logins(), []);
    assert!(!running.agent.is_held("web"));

    for data in [good, login(SESSION, &staged, None)] {
        let expected = socket.logins().len() + 1;
        verified(&staged.public, &data, &client.ask(&sign_login(&data)));
        let logins = socket.logins();
        assert_eq!(logins.len(), expected);
        let told = Login {
            host_key: host.public.clone(),
            session_id: SESSION.to_vec(),
            user: "deploy".to_owned(),
            forwarded: false,
        };
        assert_eq!(logins.last(), Some(&told));
    }
}

#[test]
fn over_other_hosts_a_login_says_which_host_it_met() {
    let running = Running::start();
    let (hop, host, key) = (TestKey::ed25519(101), TestKey::ed25519(102), TestKey::ed25519(1));
    running.load("web", &key);
    let socket = open(&running, "web", 1).unwrap();
    let mut client = connect(&socket);
    assert_eq!(client.ask(&bind_to(&hop, &[1], true)), SUCCESS);
    let asks = |client: &mut Client, data: &[u8]| client.ask(&sign(&key.public, data, 0));
    assert_eq!(
        asks(&mut client, &login(&[1], &key, Some(&hop))),
        FAILURE,
        "the session carries the agent on and is no login"
    );
    let mut client = client.bound(&host, &[2]);
    for refused in [login(&[2], &key, None), login(&[1], &key, Some(&hop))] {
        assert_eq!(asks(&mut client, &refused), FAILURE);
    }
    let data = login(&[2], &key, Some(&host));
    verified(&key.public, &data, &asks(&mut client, &data));
    let logins = socket.logins();
    assert_eq!(logins.len(), 1);
    assert!(logins[0].forwarded && logins[0].host_key == host.public);
}

#[test]
fn a_hold_and_a_lock_count_there_too() {
    let running = Running::start();
    let (host, key) = (TestKey::ed25519(101), TestKey::generate("rsa", 2048));
    running.load_generation("web", 1, &key, Offer::Nowhere);
    let socket = open(&running, "web", 1).unwrap();
    let mut client = connect(&socket).bound(&host, SESSION);
    let data = login(SESSION, &key, Some(&host));
    let request = sign(&key.public, &data, 4);
    verified(&key.public, &data, &client.ask(&request));

    running.agent.hold("web");
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    assert_eq!(client.ask(&request), FAILURE);
    assert!(running.agent.resume("web"));
    assert_eq!(client.list().len(), 1);

    let mut public = running.connect();
    assert_eq!(public.ask(&[&[22][..], &string(b"x")].concat()), SUCCESS);
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    assert_eq!(client.ask(&request), FAILURE);
    assert_eq!(public.ask(&[&[23][..], &string(b"x")].concat()), SUCCESS);
    verified(&key.public, &data, &client.ask(&request));
    assert_eq!(socket.logins().len(), 2);

    // Another key in the generation's place is not the one that was asked for.
    running.load_generation("web", 1, &TestKey::ed25519(9), Offer::Nowhere);
    assert_eq!(client.ask(&request), FAILURE);
    assert!(running.agent.unload("web", 1));
    assert_eq!(client.ask(LIST), EMPTY_LIST);
}

#[test]
fn it_lies_in_a_private_folder_and_goes_when_it_is_dropped() {
    let running = Running::start();
    running.load("web", &TestKey::ed25519(1));
    assert!(matches!(
        open(&running, "web", 2),
        Err(PrivateSocketError::NotLoaded { generation: 2, .. })
    ));
    let (first, second) = (
        open(&running, "web", 1).unwrap(),
        open(&running, "web", 1).unwrap(),
    );
    let folder = running.folder.path().join("private");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(first.path())), (0o700, 0o600));
    assert_eq!(first.path().parent(), Some(&folder as _));
    assert!(std::fs::metadata(first.path()).unwrap().file_type().is_socket());
    assert_ne!(first.path(), second.path());

    let mut client = connect(&first);
    assert_eq!(client.list().len(), 1);
    let path = first.path().to_owned();
    drop(first);
    assert!(!path.exists());
    assert!(client.is_closed());
    assert_eq!(connect(&second).list().len(), 1);

    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o710)).unwrap();
    assert!(matches!(
        open(&running, "web", 1),
        Err(PrivateSocketError::Directory { .. })
    ));
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    let link = running.folder.path().join("link");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    let _within = running.runtime().enter();
    assert!(running.agent.private_socket(&link, "web", 1).is_err());
    assert!(running.agent.private_socket(&folder, "web", 1).is_ok());
}

#[test]
fn of_an_added_key_it_lasts_as_long_as_the_key() {
    let running = Running::start();
    let (host, added, other) = (TestKey::ed25519(101), TestKey::ed25519(1), TestKey::ed25519(2));
    running.load("web", &other);
    let open = |key: &TestKey| {
        let _within = running.runtime().enter();
        let folder = running.folder.path().join("private");
        running.agent.private_socket_of_added(&folder, &key.public)
    };
    for key in [&added, &other] {
        assert!(matches!(open(key), Err(PrivateSocketError::NotAdded)));
    }
    let mut public = running.connect();
    assert_eq!(public.ask(&add(&added.private, b"mine")), SUCCESS);
    assert_eq!(running.agent.added(), std::slice::from_ref(&added.public));
    let socket = open(&added).unwrap();

    let mut client = connect(&socket).bound(&host, SESSION);
    assert_eq!(client.comments(), ["mine"]);
    let data = login(SESSION, &added, Some(&host));
    let request = sign(&added.public, &data, 0);
    verified(&added.public, &data, &client.ask(&request));
    assert_eq!(socket.logins().len(), 1);
    assert_eq!(client.ask(&sign(&added.public, b"data", 0)), FAILURE, "no login");
    let others = login(SESSION, &other, Some(&host));
    assert_eq!(
        client.ask(&sign(&other.public, &others, 0)),
        FAILURE,
        "another key"
    );

    assert_eq!(public.ask(&remove(&added.public)), SUCCESS);
    assert_eq!(client.ask(&request), FAILURE);
    assert_eq!(client.ask(LIST), EMPTY_LIST);
    assert!(running.agent.added().is_empty());
}
