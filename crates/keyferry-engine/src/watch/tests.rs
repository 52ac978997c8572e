//! The task as a whole, on real files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use notify::event::{CreateKind, Event, EventKind, Flag, RemoveKind};

use super::*;
use crate::config::fixture::{ACCOUNT, Directory, KEY, Manifests};

/// A running task.
struct Watching {
    desired: watch::Receiver<Arc<Desired>>,
    rescan: mpsc::Sender<oneshot::Sender<()>>,
    ear: Arc<Ear>,
    task: tokio::task::JoinHandle<()>,
}

impl Watching {
    fn start(dir: PathBuf) -> Self {
        Self::start_with(dir, open)
    }

    fn start_with(dir: PathBuf, open: watcher::Open) -> Self {
        let (tx, desired) = watch::channel(Arc::default());
        let (rescan, requests) = mpsc::channel(8);
        let changed = Arc::new(Notify::new());
        let ear = Ear::new(Arc::clone(&changed));
        let reading = Reading::new(
            dir,
            Arc::new(Manifests::new()),
            Watcher::new(Arc::clone(&ear), open),
        );
        let task = tokio::spawn(async move { run_with(reading, &changed, tx, requests).await });
        Self {
            desired,
            rescan,
            ear,
            task,
        }
    }

    /// Waits until the files ask for what is expected.
    #[track_caller]
    fn until(&mut self, what: &str, condition: impl Fn(&Desired) -> bool) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            if timeout(DEADLINE, self.desired.wait_for(|desired| condition(desired)))
                .await
                .is_err()
            {
                panic!(
                    "{place}: {what} did not come; there is {:#?}",
                    self.desired.borrow()
                );
            }
        }
    }

    /// Waits until exactly these keys are in force and their files are there.
    #[track_caller]
    fn keys(&mut self, names: &[&str]) -> impl Future<Output = ()> {
        let wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.until("the list of keys", move |desired| {
            desired.keys.keys().eq(wanted.iter()) && desired.keys.values().all(|key| key.present)
        })
    }

    async fn rescan(&self) {
        let (answer, answered) = oneshot::channel();
        self.rescan.send(answer).await.unwrap();
        timeout(DEADLINE, answered)
            .await
            .expect("a rescan is answered")
            .unwrap();
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn region_is(key: &str, region: &str) -> impl Fn(&Desired) -> bool {
    move |desired| {
        desired
            .keys
            .get(key)
            .is_some_and(|key| key.region.as_deref() == Some(region))
    }
}

fn key_in(region: &str) -> String {
    format!("{KEY}region = \"{region}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_a_change_and_a_removal_are_seen() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let mut watching = Watching::start(directory.path());
    watching.keys(&["a"]).await;
    directory.write("keys/b.toml", KEY);
    watching.keys(&["a", "b"]).await;
    directory.write("keys/b.toml", key_in("cn-beijing"));
    watching.until("the region", region_is("b", "cn-beijing")).await;
    directory.write("keyferry.toml", "defaults.max_concurrent = 3");
    watching
        .until("the setting", |desired| desired.daemon.max_concurrent == Some(3))
        .await;
    directory.remove("keys/b.toml");
    watching
        .until("the removal", |desired| !desired.keys["b"].present)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn saving_by_rename_is_seen() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let mut watching = Watching::start(directory.path());
    watching.keys(&["a"]).await;
    for region in ["r1", "r2", "r3"] {
        directory.write("keys/.a.toml.tmp", key_in(region));
        fs::rename(
            directory.path().join("keys/.a.toml.tmp"),
            directory.path().join("keys/a.toml"),
        )
        .unwrap();
        watching.until(region, region_is("a", region)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_appear_later_are_seen() {
    let directory = Directory::new();
    let dir = directory.beside("not/yet/there");
    let mut watching = Watching::start(dir.clone());
    watching
        .until("the first report", |desired| desired.files.len() == 1)
        .await;
    fs::create_dir_all(&dir).unwrap();
    watching
        .until("the directory", |desired| desired.files.is_empty())
        .await;
    fs::create_dir(dir.join("accounts")).unwrap();
    fs::write(dir.join("accounts/aliyun.toml"), ACCOUNT).unwrap();
    fs::create_dir(dir.join("keys")).unwrap();
    fs::write(dir.join("keys/a.toml"), KEY).unwrap();
    watching.keys(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_vanishes_and_comes_back_goes_on() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let mut watching = Watching::start(directory.path());
    watching.keys(&["a"]).await;
    for round in 0..5 {
        fs::rename(directory.path(), directory.beside("away")).unwrap();
        watching
            .until("the vanishing", |desired| !desired.keys["a"].present)
            .await;
        fs::rename(directory.beside("away"), directory.path()).unwrap();
        watching
            .until("the return", |desired| desired.keys["a"].present)
            .await;
        // Made anew under its old name, perhaps with its old inode number.
        fs::remove_dir_all(directory.path().join("keys")).unwrap();
        directory.write("keys/a.toml", KEY);
        let region = format!("r{round}");
        directory.write("keys/a.toml", key_in(&region));
        watching.until("the new folder", region_is("a", &region)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_swapped_is_seen() {
    let directory = Directory::new();
    fs::create_dir(directory.path().join("keys")).unwrap();
    let keys = directory.path().join("keys");
    // As Kubernetes does it: files link through `..data`, which is swapped as a whole.
    let publish = |version: &str| {
        fs::create_dir(keys.join(version)).unwrap();
        fs::write(
            keys.join(version).join("web.toml"),
            key_in(version.trim_start_matches('.')),
        )
        .unwrap();
        symlink(version, keys.join("..next")).unwrap();
        fs::rename(keys.join("..next"), keys.join("..data")).unwrap();
    };
    publish("..v1");
    symlink("..data/web.toml", keys.join("web.toml")).unwrap();
    let mut watching = Watching::start(directory.path());
    watching.until("v1", region_is("web", "v1")).await;
    publish("..v2");
    watching.until("v2", region_is("web", "v2")).await;
    fs::write(keys.join("..v2/web.toml"), key_in("v3")).unwrap();
    watching.until("v3", region_is("web", "v3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_directory_behind_links_is_watched() {
    let directory = Directory::new();
    directory.write("keys/a.toml", key_in("old"));
    directory.write("../other/accounts/aliyun.toml", ACCOUNT);
    directory.write("../other/keys/a.toml", key_in("new"));
    let link = directory.beside("link");
    symlink("config", &link).unwrap();
    let mut watching = Watching::start(link.clone());
    watching.until("the first", region_is("a", "old")).await;
    symlink("other", directory.beside("next")).unwrap();
    fs::rename(directory.beside("next"), &link).unwrap();
    watching.until("the second", region_is("a", "new")).await;
    directory.write("../other/keys/a.toml", key_in("newer"));
    watching
        .until("a change behind the second", region_is("a", "newer"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_files_at_once_are_all_seen() {
    let directory = Directory::new();
    fs::create_dir(directory.path().join("keys")).unwrap();
    let mut watching = Watching::start(directory.path());
    watching.keys(&[]).await;
    for n in 0..1000 {
        directory.write(&format!("keys/k{n}.toml"), KEY);
    }
    watching
        .until("a thousand keys", |desired| desired.keys.len() == 1000)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_writes_without_end_starves_nobody() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let mut watching = Watching::start(directory.path());
    watching.keys(&["a"]).await;
    let stop = AtomicBool::new(false);
    let noise = directory.path().join("keys/noise.swp");
    let (started, running) = oneshot::channel();
    let (directory, stop) = (&directory, &stop);
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut started = Some(started);
                while !stop.load(Ordering::Relaxed) {
                    fs::write(&noise, "x").unwrap();
                    if let Some(started) = started.take() {
                        started.send(()).unwrap();
                    }
                }
            });
            tokio::runtime::Handle::current().block_on(async {
                running.await.unwrap();
                directory.write("keys/b.toml", KEY);
                let seen = timeout(Duration::from_secs(5), watching.keys(&["a", "b"])).await;
                stop.store(true, Ordering::Relaxed);
                seen.expect("a file is seen in spite of the noise");
            });
        });
    });
}

/// A watcher that reports nothing by itself.
struct Deaf;

impl notify::Watcher for Deaf {
    fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Self> {
        Ok(Self)
    }
    fn watch(&mut self, _: &Path, _: notify::RecursiveMode) -> notify::Result<()> {
        Ok(())
    }
    fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
        Ok(())
    }
    fn kind() -> notify::WatcherKind {
        notify::WatcherKind::NullWatcher
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescan_that_is_asked_for_is_answered_after_it_was_published() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let mut watching = Watching::start_with(directory.path(), |_| Ok(Box::new(Deaf)));
    watching.keys(&["a"]).await;
    for n in 0..20 {
        let name = format!("k{n}");
        directory.write(&format!("keys/{name}.toml"), KEY);
        watching.rescan().await;
        assert!(watching.desired.borrow().keys.contains_key(&name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_overflowed_is_a_full_rescan() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let mut watching = Watching::start_with(directory.path(), |_| Ok(Box::new(Deaf)));
    watching.keys(&["a"]).await;
    directory.write("keys/b.toml", KEY);
    assert!(
        watching
            .ear
            .hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)))
    );
    watching.keys(&["a", "b"]).await;
}

/// Writes a file just before its folder is watched for the first time: nothing reports it.
struct Late;

impl notify::Watcher for Late {
    fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Self> {
        Ok(Self)
    }
    fn watch(&mut self, folder: &Path, _: notify::RecursiveMode) -> notify::Result<()> {
        if folder.ends_with("keys") {
            fs::write(folder.join("late.toml"), KEY).unwrap();
        }
        Ok(())
    }
    fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
        Ok(())
    }
    fn kind() -> notify::WatcherKind {
        notify::WatcherKind::NullWatcher
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_between_reading_and_watching_is_seen() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let mut watching = Watching::start_with(directory.path(), |_| Ok(Box::new(Late)));
    watching.keys(&["a", "late"]).await;
}

#[test]
fn watches_that_may_be_gone_are_made_anew() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let keys = directory.path().canonicalize().unwrap().join("keys");
    let ear = Ear::new(Arc::default());
    let mut watcher = Watcher::new(Arc::clone(&ear), |_| Ok(Box::new(Deaf)));
    let mut follow = || watcher.follow(Places::of(&directory.path(), &[]));
    assert!(follow());
    assert!(!follow());
    // A change in the folder leaves its watch alone, one of the folder itself does not.
    let changed = |kind: EventKind, path: &Path| ear.hear(Ok(Event::new(kind).add_path(path.to_owned())));
    assert!(changed(EventKind::Create(CreateKind::File), &keys.join("b.toml")));
    assert!(!follow());
    assert!(changed(EventKind::Remove(RemoveKind::Folder), &keys));
    assert!(follow());
    assert!(!follow());
    assert!(ear.hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
    assert!(follow());
    assert!(!follow());
    // What lies beside the config directory is nobody's business.
    assert!(!changed(
        EventKind::Create(CreateKind::File),
        &directory.beside("other")
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_quiet_ends() {
    let changed = Arc::new(Notify::new());
    let stop = Arc::new(AtomicBool::new(false));
    let noise = std::thread::spawn({
        let (changed, stop) = (Arc::clone(&changed), Arc::clone(&stop));
        move || {
            while !stop.load(Ordering::Relaxed) {
                changed.notify_one();
                std::thread::yield_now();
            }
        }
    });
    let settled = timeout(DEADLINE, settle(&changed)).await;
    stop.store(true, Ordering::Relaxed);
    noise.join().unwrap();
    settled.expect("changes without end are read all the same");
}

/// Holds up the thread that reports, so that the kernel's queue fills.
static GATE: (Mutex<bool>, Condvar) = (Mutex::new(true), Condvar::new());
static OVERFLOWS: AtomicUsize = AtomicUsize::new(0);

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_really_overflows_loses_nothing() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let mut watching = Watching::start_with(directory.path(), |ear| {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            drop(GATE.1.wait_while(GATE.0.lock().unwrap(), |open| !*open).unwrap());
            if event.as_ref().is_ok_and(Event::need_rescan) {
                OVERFLOWS.fetch_add(1, Ordering::Relaxed);
            }
            ear.hear(event);
        })?;
        Ok(Box::new(watcher))
    });
    watching.keys(&["a"]).await;
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    *GATE.0.lock().unwrap() = false;
    let noise = directory.path().join("keys/noise.tmp");
    for _ in 0..limit / 2 + 100 {
        fs::create_dir(&noise).unwrap();
        fs::remove_dir(&noise).unwrap();
    }
    // None of this fits into the queue: a file, and a folder in the place of another.
    directory.write("keys/b.toml", KEY);
    fs::remove_dir_all(directory.path().join("accounts")).unwrap();
    directory.write("accounts/aliyun.toml", ACCOUNT);
    *GATE.0.lock().unwrap() = true;
    GATE.1.notify_all();
    watching.keys(&["a", "b"]).await;
    watching
        .until("the account", |desired| {
            desired.files.iter().all(|file| file.state == FileState::Loaded)
        })
        .await;
    // What comes before it may have had everything read again; it stands at the end of the queue.
    let overflowed = async {
        while OVERFLOWS.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), overflowed)
        .await
        .expect("the queue overflows");
    directory.write("accounts/later.toml", ACCOUNT);
    watching
        .until("a change after the overflow", |desired| {
            desired.accounts.len() == 2
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_watched_it_is_said_and_files_are_seen_all_the_same() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let refuse: watcher::Open = |_| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
    let mut watching = Watching::start_with(directory.path(), refuse);
    watching.keys(&["a"]).await;
    let files = watching.desired.borrow().files.clone();
    let report = files
        .iter()
        .find(|report| report.path == directory.path())
        .expect("the directory has a report");
    let message = report.message.clone().unwrap_or_default();
    assert!(
        message.contains("every 2 s") && message.contains("max_user_watches"),
        "{message}"
    );
    directory.write("keys/b.toml", KEY);
    watching.keys(&["a", "b"]).await;
}

static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[tokio::test(flavor = "multi_thread")]
async fn reading_wakes_nobody() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let mut watching = Watching::start_with(directory.path(), |ear| {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let text = format!("{event:?}");
            if ear.hear(event) {
                REPORTS.lock().unwrap().push(text);
            }
        })?;
        Ok(Box::new(watcher))
    });
    watching.keys(&["a"]).await;
    for _ in 0..5 {
        watching.rescan().await;
    }
    // Reports keep their order: when this one is heard, those of the readings have been.
    fs::rename(
        directory.path().join("keys/a.toml"),
        directory.path().join("keys/z.toml"),
    )
    .unwrap();
    watching
        .until("the rename", |desired| desired.keys.contains_key("z"))
        .await;
    let reports = REPORTS.lock().unwrap();
    assert!(
        !reports.is_empty() && reports.iter().all(|report| report.contains("Name(")),
        "{reports:#?}"
    );
}

const DEADLINE: Duration = Duration::from_secs(30);
