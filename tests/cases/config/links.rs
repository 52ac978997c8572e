//! Symbolic links that are swapped: of a file, of the whole directory, and of a mounted Kubernetes volume.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cloud_sim::Service;
use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;

use crate::scene::{KEY, Scene};

const WRONG: &str = "account = \"ecs\"\nalgoritm = \"ecdsa-p256\"\n";

/// Points a link elsewhere in one step, as `ln -sfn` and the kubelet do.
fn swap(link: &Path, target: impl AsRef<Path>) {
    let draft = link.with_file_name(".link.new");
    symlink(target, &draft).expect("a link can be made");
    fs::rename(&draft, link).expect("a link can be renamed");
}

#[test]
fn the_link_of_one_file_is_followed_and_its_target_watched() {
    let scene = Scene::with_keys(&["first"]);
    let store = scene.home.path("store");
    fs::create_dir(&store).expect("a folder can be made");
    fs::write(store.join("wrong.toml"), WRONG).expect("a file can be written");
    fs::write(store.join("right.toml"), KEY).expect("a file can be written");
    let link = scene.home.config().join("keys/linked.toml");
    swap(&link, store.join("wrong.toml"));
    scene.reports("keys/linked.toml", "refused");
    swap(&link, store.join("right.toml"));
    let key = scene.loads("linked");
    scene.reports("keys/linked.toml", "loaded");
    // The target is written where it is.
    fs::write(store.join("right.toml"), WRONG).expect("a file can be written");
    scene.reports("keys/linked.toml", "kept");
    scene.serves("linked", &key["public_key"]);
    fs::write(store.join("right.toml"), KEY).expect("a file can be written");
    scene.reports("keys/linked.toml", "loaded");
    // A link to nothing says so.
    swap(&link, store.join("nothing.toml"));
    let report = scene.reports("keys/linked.toml", "kept");
    assert!(
        report["message"].to_string().contains("link to nothing"),
        "{report:#}"
    );
    scene.serves("linked", &key["public_key"]);
}

#[test]
fn the_link_of_the_whole_directory_is_followed() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.key("first", KEY);
    let (one, two) = (home.path("one"), home.path("two"));
    fs::rename(home.config(), &one).expect("a folder can be renamed");
    symlink(&one, home.config()).expect("a link can be made");
    for folder in ["accounts", "keys"] {
        fs::create_dir_all(two.join(folder)).expect("a folder can be made");
    }
    fs::copy(one.join("accounts/ecs.toml"), two.join("accounts/ecs.toml")).expect("a file can be copied");
    fs::write(two.join("keys/first.toml"), WRONG).expect("a file can be written");
    fs::write(two.join("keys/second.toml"), KEY).expect("a file can be written");
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(60);
    let scene = Scene { daemon, home, cloud };
    let public_key = scene.public_key("first");

    swap(&scene.home.config(), "two");
    scene.loads("second");
    scene.reports("keys/first.toml", "kept");
    scene.serves("first", &public_key);
    // What lies behind the link now is watched, what lay behind it before is not read.
    fs::write(two.join("keys/third.toml"), KEY).expect("a file can be written");
    scene.loads("third");
    fs::write(one.join("keys/nowhere.toml"), KEY).expect("a file can be written");
    swap(&scene.home.config(), &one);
    scene.loads("nowhere");
    scene.reports("keys/first.toml", "loaded");
    scene.reports("keys/third.toml", "missing");
    scene.serves("first", &public_key);
}

/// A volume of a ConfigMap: `FILE -> ..data/FILE`, `..data -> ..TIME/`; a change renames a new `..data` into place.
#[test]
fn a_kubernetes_volume_is_followed() {
    let scene = Scene::with_keys(&["first"]);
    let keys = scene.home.config().join("keys");
    let version = |name: &str, files: &[(&str, &str)]| {
        fs::create_dir(keys.join(name)).expect("a folder can be made");
        for (file, text) in files {
            fs::write(keys.join(name).join(file), text).expect("a file can be written");
        }
        swap(&keys.join("..data"), name);
    };
    version("..2026_01", &[("mounted.toml", WRONG)]);
    symlink("..data/mounted.toml", keys.join("mounted.toml")).expect("a link can be made");
    scene.reports("keys/mounted.toml", "refused");
    version("..2026_02", &[("mounted.toml", KEY), ("added.toml", KEY)]);
    fs::remove_dir_all(keys.join("..2026_01")).expect("a folder can be removed");
    let key = scene.loads("mounted");
    symlink("..data/added.toml", keys.join("added.toml")).expect("a link can be made");
    scene.loads("added");
    version("..2026_03", &[("mounted.toml", WRONG), ("added.toml", KEY)]);
    scene.reports("keys/mounted.toml", "kept");
    scene.serves("mounted", &key["public_key"]);
    version("..2026_04", &[("mounted.toml", KEY), ("added.toml", KEY)]);
    scene.reports("keys/mounted.toml", "loaded");
    scene.serves("mounted", &key["public_key"]);
}
