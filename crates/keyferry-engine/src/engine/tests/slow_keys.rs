//! RSA keys, which take long to make: nothing waits for them but what is made of them.

use std::sync::atomic::AtomicUsize;

use super::*;

#[test]
fn another_key_is_imported_while_a_slow_one_is_made() {
    run(async {
        let mut world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        for name in ["a-slow", "b-slow"] {
            let spec = key(name, GeneratedBy::Keyferry, |spec| {
                spec.algorithm = Algorithm::Rsa4096;
            });
            world.desired.keys.insert(name.to_owned(), spec);
        }
        let (finish, held) = std::sync::mpsc::channel::<()>();
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let pool = GenerationPool::start_with(move |algorithm| {
            count.fetch_add(1, Ordering::SeqCst);
            // Until the case has seen enough. An engine that waited for it would be stopped for good.
            let _ = held.recv_timeout(Duration::from_secs(30));
            PrivateKey::generate(algorithm)
        });
        let key_ring = Arc::new(FakeKeyRing::with(&world.hosts));
        let (files, desired) = watch::channel(Arc::new(world.desired.clone()));
        let parts = world.parts(None, Arc::clone(&key_ring), desired);
        let (handle, task) = Engine::start_with(parts, pool.unwrap());
        let daemon = Daemon {
            handle,
            task,
            key_ring,
            files,
        };
        let mut snapshots = daemon.handle.snapshots();
        let is_loaded = |snapshot: &Arc<Snapshot>| {
            let mut keys = snapshot.keys.iter();
            keys.any(|status| status.name == "web" && status.state == KeyState::Loaded)
        };
        let loaded = snapshots.wait_for(is_loaded);
        let loaded = tokio::time::timeout(Duration::from_secs(60), loaded).await;
        loaded.expect("web is loaded").unwrap();
        for name in ["a-slow", "b-slow"] {
            let status = daemon.status(name);
            assert_ne!(status.state, KeyState::Loaded, "{status:?}");
            assert!(status.error.is_none(), "{status:?}");
        }
        let imports = world.cloud.requests().into_iter();
        let imports: Vec<_> = imports.filter(|job| matches!(job, Job::Import { .. })).collect();
        assert_eq!(imports.len(), 1, "{imports:?}");
        // The second waits for the first, whose thread may not have had its turn yet.
        assert!(begun.load(Ordering::SeqCst) <= 1);

        drop(finish);
        assert!(daemon.rest().await);
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        world.assert_converged(&daemon);
    });
}
