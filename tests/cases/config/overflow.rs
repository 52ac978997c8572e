//! More changes than the system's queue holds.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use keyferry_tests::wait;
use rustix::fs::inotify;
use rustix::process::Signal;

use crate::scene::{KEY, PATIENCE, Scene};

/// While the daemon sleeps, its queue fills with other files' changes and a key is saved last: the kernel drops that
/// change. A watch of our own, which asks for less, shows that it was dropped.
#[test]
fn a_key_whose_change_did_not_fit_the_queue_loads() {
    let scene = Scene::with_keys(&["first"]);
    let public_key = scene.public_key("first");
    let keys = scene.home.config().join("keys");
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .expect("Linux has inotify")
        .trim()
        .parse()
        .expect("a number");
    for round in 0..2 {
        let ours = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)
            .expect("an inotify instance can be had");
        inotify::add_watch(
            &ours,
            &keys,
            inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE,
        )
        .expect("a folder can be watched");

        scene.daemon.signal(Signal::STOP);
        // Each file is made, renamed and deleted: three changes at least.
        for number in 0..limit / 3 + 500 {
            churn(&keys, number);
        }
        let name = format!("last-{round}");
        scene.home.key(&name, KEY);
        assert!(
            overflowed(&ours),
            "the queue did not overflow: the case shows nothing"
        );
        scene.daemon.signal(Signal::CONT);
        scene.loads(&name);
        scene.serves("first", &public_key);
    }
    // And the folder is still watched.
    scene.home.key("after", KEY);
    scene.loads("after");
}

/// With the daemon awake: a storm of other files' changes delays a key by no more than moments.
#[test]
fn a_key_saved_in_a_storm_of_changes_loads() {
    let scene = Scene::with_keys(&["first"]);
    let keys = scene.home.config().join("keys");
    let (stop, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                churn(&keys, changes.fetch_add(1, Ordering::Relaxed));
            }
        });
        wait::until("the storm has begun", PATIENCE, || {
            (changes.load(Ordering::Relaxed) > 1000).then_some(())
        });
        scene.home.key("stormy", KEY);
        // The storm ends before any failure is told, or the scope would wait for it for ever.
        let end = Instant::now() + PATIENCE;
        let loaded = || {
            let status = scene.daemon.status();
            let keys = status["keys"].as_array().cloned().unwrap_or_default();
            keys.iter()
                .any(|key| key["name"] == "stormy" && key["state"] == "loaded")
        };
        let seen = loop {
            let seen = loaded();
            if seen || Instant::now() > end {
                break seen;
            }
        };
        stop.store(true, Ordering::Relaxed);
        assert!(seen, "the key does not load while other files change");
    });
}

fn churn(folder: &Path, number: usize) {
    let (draft, file) = (
        folder.join(format!(".{number}")),
        folder.join(format!(".{number}.swp")),
    );
    fs::write(&draft, "").expect("a file can be written");
    fs::rename(&draft, &file).expect("a file can be renamed");
    fs::remove_file(&file).expect("a file can be removed");
}

/// Whether a queue that nobody read yet ran over (inotify(7), IN_Q_OVERFLOW).
fn overflowed(queue: impl AsFd) -> bool {
    let mut buffer = vec![MaybeUninit::uninit(); 1 << 16];
    let mut reader = inotify::Reader::new(queue, &mut buffer);
    while let Ok(event) = reader.next() {
        if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
            return true;
        }
    }
    false
}
