//! Which client is shown which generation.

use crate::harness::*;
use crate::session::*;
use keyferry_agent::Offer;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A key `web` with three generations: everywhere, staged, and for one host; and another key.
struct Scene {
    running: Running,
    host: TestKey,
    stranger: TestKey,
    /// Of `web`, the first generation first.
    web: [TestKey; 3],
    other: TestKey,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            running: Running::start(),
            host: TestKey::ed25519(101),
            stranger: TestKey::ed25519(102),
            web: [1, 2, 3].map(TestKey::ed25519),
            other: TestKey::ed25519(4),
        };
        let offers = [
            Offer::To(vec![TestKey::ed25519(103).public, scene.host.public.clone()]),
            Offer::Everywhere,
            Offer::Nowhere,
        ];
        for ((generation, key), offer) in (1..).zip(&scene.web).zip(offers) {
            scene.running.load_generation("web", generation, key, offer);
        }
        scene.running.load("app", &scene.other);
        scene
    }

    fn blobs(&self, keys: &[&TestKey], client: &mut Client) {
        let listed: Vec<_> = client.list().into_iter().map(|(blob, _)| blob).collect();
        let expected: Vec<_> = keys.iter().map(|key| key.public.clone()).collect();
        assert_eq!(listed, expected);
    }
}

#[test]
fn a_client_sees_and_signs_with_what_is_offered_to_its_host() {
    let scene = Scene::new();
    let [old, new, staged] = &scene.web;
    let mut unbound = scene.running.connect();
    scene.blobs(&[&scene.other, new], &mut unbound);
    unbound.signs(new);
    unbound.signs(&scene.other);
    unbound.refuses(old);
    unbound.refuses(staged);

    // It may be one of the others' hosts, with another of its host keys: what is offered to them comes last.
    let mut stranger = scene.running.connect().bound(&scene.stranger, &[1]);
    scene.blobs(&[&scene.other, new, old], &mut stranger);
    for key in [new, &scene.other, old] {
        stranger.signs(key);
    }
    stranger.refuses(staged);

    let mut bound = scene.running.connect().bound(&scene.host, &[1]);
    // What is known to be taken there comes first, and nothing else of that name comes.
    scene.blobs(&[old, &scene.other], &mut bound);
    bound.signs(old);
    bound.signs(&scene.other);
    bound.refuses(new);
    bound.refuses(staged);

    // A client that is only carried on by the host does not say where it goes.
    let mut forwarded = scene.running.connect();
    assert_eq!(forwarded.ask(&bind_to(&scene.host, &[1], true)), SUCCESS);
    scene.blobs(&[&scene.other, new], &mut forwarded);
    forwarded.refuses(old);
    assert_eq!(forwarded.ask(&bind_to(&scene.stranger, &[2], true)), SUCCESS);
    assert_eq!(forwarded.ask(&bind_to(&scene.host, &[3], false)), SUCCESS);
    scene.blobs(&[old, &scene.other], &mut forwarded);

    let mut by_hand = scene.running.connect();
    let added = TestKey::ed25519(5);
    assert_eq!(by_hand.ask(&add(&added.private, b"")), SUCCESS);
    scene.blobs(&[old, &scene.other, &added], &mut bound);
    bound.signs(&added);
}

#[test]
fn an_offer_that_changes_in_the_midst_of_a_login_does_not_make_it_fail() {
    let scene = Scene::new();
    let [_, new, staged] = &scene.web;
    // Something is offered to it by name, so that nothing else of others' is.
    let known = TestKey::ed25519(6);
    scene
        .running
        .load_generation("zoo", 1, &known, Offer::To(vec![scene.stranger.public.clone()]));
    let mut told = scene.running.connect().bound(&scene.stranger, &[1]);
    told.list();
    scene
        .running
        .agent
        .offer("web", 2, Offer::To(vec![scene.host.public.clone()]));
    scene.running.agent.offer("web", 3, Offer::Everywhere);
    told.signs(new);
    scene.running.connect().refuses(new);
    scene.blobs(&[&known, &scene.other, staged], &mut told);
    told.refuses(new);

    // A binding begins anew.
    let mut moving = scene.running.connect();
    scene.blobs(&[&scene.other, staged], &mut moving);
    scene
        .running
        .agent
        .offer("web", 3, Offer::To(vec![scene.host.public.clone()]));
    let mut moving = moving.bound(&scene.stranger, &[1]);
    moving.refuses(staged);

    // Also of what is for nobody any more; but what is gone is gone.
    scene.running.agent.offer("web", 3, Offer::Everywhere);
    let mut told = scene.running.connect();
    scene.blobs(&[&scene.other, staged], &mut told);
    assert!(scene.running.agent.offer("web", 3, Offer::Nowhere));
    told.signs(staged);
    scene.running.connect().refuses(staged);
    scene.running.agent.hold("web");
    told.refuses(staged);
    scene.running.agent.resume("web");
    told.signs(staged);
    assert!(scene.running.agent.unload("web", 3));
    told.refuses(staged);
    scene
        .running
        .load_generation("web", 3, &scene.web[2], Offer::Nowhere);
    assert!(!scene.running.agent.offer("web", 4, Offer::Nowhere));
    assert!(!scene.running.agent.offer("unheard-of", 1, Offer::Nowhere));
}

#[test]
fn a_hold_covers_every_generation_and_a_staged_one_is_nobodys_to_take() {
    let scene = Scene::new();
    let [old, new, staged] = &scene.web;
    let mut bound = scene.running.connect().bound(&scene.host, &[1]);
    assert_eq!(bound.ask(&remove(&staged.public)), FAILURE);
    assert!(!scene.running.agent.is_held("web"));
    assert_eq!(bound.ask(&remove(&new.public)), SUCCESS);
    assert!(scene.running.agent.is_held("web"));
    scene.blobs(&[&scene.other], &mut bound);
    for key in [old, new, staged] {
        bound.refuses(key);
    }
    assert!(scene.running.agent.resume("web"));
    scene.blobs(&[old, &scene.other], &mut bound);

    assert_eq!(bound.ask(REMOVE_ALL), SUCCESS);
    assert!(scene.running.agent.is_held("web") && scene.running.agent.is_held("app"));
}

#[test]
fn a_generation_that_is_loaded_again_is_replaced() {
    let scene = Scene::new();
    let again = TestKey::ed25519(9);
    scene.running.load_generation("web", 2, &again, Offer::Everywhere);
    let mut client = scene.running.connect();
    scene.blobs(&[&scene.other, &again], &mut client);
    client.refuses(&scene.web[1]);
}

#[test]
fn nobody_is_refused_while_generations_come_and_go() {
    let running = Running::start();
    let key = |generation: u64| TestKey::ed25519(u8::try_from(generation).unwrap());
    let host_keys = [TestKey::ed25519(101), TestKey::ed25519(102)];
    // Which keys each host takes. Whoever logs in holds it; a line goes only when nobody is at it (the grace).
    let hosts = [(); 2].map(|()| RwLock::new(vec![key(1).public]));
    running.load_generation("web", 1, &key(1), Offer::Everywhere);
    let (logins, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for place in [0, 1, 0, 1] {
            let (running, hosts, logins, is_over) = (&running, &hosts, &logins, &is_over);
            let bind = bind_to(&host_keys[place], &[1], false);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let takes = hosts[place].read().unwrap();
                    let mut client = running.connect();
                    assert_eq!(client.ask(&bind), SUCCESS);
                    let listed = client.list();
                    let taken = listed.iter().find(|(blob, _)| takes.contains(blob));
                    let (blob, _) = taken.expect("a key that this host takes is listed");
                    verified(blob, b"data", &client.ask(&sign(blob, b"data", 0)));
                    drop(takes);
                    logins.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _over = SetOnDrop(&is_over);
        for old in 1..60 {
            let new = old + 1;
            let next = key(new);
            let put = |place: usize| hosts[place].write().unwrap().push(next.public.clone());
            let next_login = || {
                let before = logins.load(Ordering::Relaxed);
                eventually("somebody logs in", || logins.load(Ordering::Relaxed) > before);
            };
            running.load_generation("web", new, &next, Offer::Nowhere);
            put(0);
            running.agent.offer("web", new, Offer::Everywhere);
            running
                .agent
                .offer("web", old, Offer::To(vec![host_keys[1].public.clone()]));
            next_login();
            put(1);
            running.agent.offer("web", old, Offer::Nowhere);
            next_login();
            for host in &hosts {
                host.write().unwrap().remove(0);
            }
            assert!(running.agent.unload("web", old));
        }
    });
}

/// Also when a test fails, so that it ends.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
