//! The ways in which editors and tools save.

use std::fs::{self, File};
use std::io::Write;

use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;

use crate::scene::{KEY, Scene};

#[test]
fn a_file_renamed_into_place_is_seen() {
    let scene = Scene::with_keys(&["first"]);
    // As editors do: another name first.
    let keys = scene.home.config().join("keys");
    fs::write(keys.join("renamed.toml~"), KEY).expect("a file can be written");
    fs::rename(keys.join("renamed.toml~"), keys.join("renamed.toml")).expect("a file can be renamed");
    scene.loads("renamed");
    // From outside, as `mv` does.
    fs::write(scene.home.path("outside"), KEY).expect("a file can be written");
    fs::rename(scene.home.path("outside"), keys.join("moved.toml")).expect("a file can be renamed");
    scene.loads("moved");
    // A second name for a file that is there.
    fs::hard_link(keys.join("moved.toml"), keys.join("linked.toml")).expect("a link can be made");
    scene.loads("linked");
}

#[test]
fn a_file_written_in_place_is_seen_when_it_is_whole() {
    let scene = Scene::with_keys(&["first"]);
    let path = scene.home.config().join("keys/inplace.toml");
    let mut file = File::create(&path).expect("a file can be made");
    // Half a file that stays so for a while is an error, and one with a place.
    file.write_all(&KEY.as_bytes()[..KEY.len() - 4])
        .expect("a file can be written");
    let report = scene.reports("keys/inplace.toml", "refused");
    assert_eq!(report["line"], 2, "{report:#}");
    file.write_all(&KEY.as_bytes()[KEY.len() - 4..])
        .expect("a file can be written");
    let before = scene.loads("inplace");
    scene.reports("keys/inplace.toml", "loaded");

    // Truncated and written anew, as a shell's `>` does, with what is wrong and with what is right.
    fs::write(&path, "account = \"ecs\"\nalgoritm = \"ecdsa-p256\"\n").expect("a file can be written");
    scene.reports("keys/inplace.toml", "kept");
    fs::write(&path, KEY).expect("a file can be written");
    scene.reports("keys/inplace.toml", "loaded");
    scene.serves("inplace", &before["public_key"]);
    // Emptied: an error, and nothing is lost.
    File::create(&path).expect("a file can be truncated");
    scene.reports("keys/inplace.toml", "kept");
    scene.serves("inplace", &before["public_key"]);
    assert_eq!(scene.imports(), 2, "saving the same again makes no new pair");
}

#[test]
fn a_directory_made_after_the_start_is_seen_level_by_level() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(cloud_sim::Service::AlibabaEcs));
    let account = fs::read_to_string(home.config().join("accounts/ecs.toml")).expect("it was written");
    fs::remove_dir_all(home.config()).expect("a folder can be removed");
    let daemon = Daemon::start(&home);
    let scene = Scene { daemon, home, cloud };
    let report = scene.reports("", "missing");
    let message = report["message"].as_str().expect("a message");
    assert!(message.contains("no such directory"), "{message}");

    fs::create_dir(scene.home.config()).expect("a folder can be made");
    fs::create_dir(scene.home.config().join("keys")).expect("a folder can be made");
    scene.home.key("early", KEY);
    let report = scene.reports("keys/early.toml", "refused");
    assert!(report["message"].to_string().contains("no account"), "{report:#}");
    fs::create_dir(scene.home.config().join("accounts")).expect("a folder can be made");
    scene.home.write("accounts/ecs.toml", &account);
    scene.loads("early");
    scene.home.key("late", KEY);
    scene.loads("late");
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_watched_again() {
    let scene = Scene::with_keys(&["first"]);
    let public_key = scene.public_key("first");
    let keys = scene.home.config().join("keys");
    for name in ["second", "third"] {
        fs::remove_dir_all(&keys).expect("a folder can be removed");
        scene.reports("keys/first.toml", "missing");
        scene.serves("first", &public_key);
        fs::create_dir(&keys).expect("a folder can be made");
        scene.home.key(name, KEY);
        scene.loads(name);
    }
    // Another folder in its place.
    let other = scene.home.path("other");
    fs::create_dir(&other).expect("a folder can be made");
    fs::write(other.join("fourth.toml"), KEY).expect("a file can be written");
    fs::rename(&keys, scene.home.path("old")).expect("a folder can be renamed");
    fs::rename(&other, &keys).expect("a folder can be renamed");
    scene.loads("fourth");
    scene.home.key("fifth", KEY);
    scene.loads("fifth");
    scene.serves("first", &public_key);
}

#[test]
fn an_account_saved_after_its_keys_makes_them_load() {
    let scene = Scene::with_keys(&["first"]);
    scene
        .home
        .key("waiting", "account = \"other\"\nalgorithm = \"ecdsa-p256\"\n");
    scene.reports("keys/waiting.toml", "refused");
    scene.home.account(
        "other",
        "alibaba-ecs",
        scene.cloud.url(cloud_sim::Service::AlibabaEcs),
    );
    scene.loads("waiting");
    scene.reports("keys/waiting.toml", "loaded");
}
