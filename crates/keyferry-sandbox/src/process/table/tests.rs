use keyferry_plugin::Step;

use super::load;
use crate::library::{self, LibraryCopy};

#[path = "../../../tests/sandbox/c_library.rs"]
mod c_library;

use c_library::CLibrary;

/// A library as it was checked, and what `change` does to its file before it is loaded.
#[track_caller]
fn the_checked_one_is_loaded(change: impl FnOnce(&std::path::Path, &[u8])) {
    let folder = tempfile::tempdir().unwrap();
    let path = CLibrary::new("exchanged", "the checked one").compile(folder.path());
    let (facts, content) = library::read(&path).unwrap();

    let other = tempfile::tempdir().unwrap();
    let marker = other.path().join("constructor-ran");
    let evil = CLibrary::new("exchanged", "the other one").with_constructor(&marker);
    change(&path, &std::fs::read(evil.compile(other.path())).unwrap());

    let copy = LibraryCopy::of(facts, &content).unwrap();
    let plugin = load_once(copy);
    let answer = plugin.step(b"{}");
    let step: Step = serde_json::from_slice(answer.bytes()).unwrap();
    match step {
        Step::Fail(fail) => assert_eq!(fail.error.message, "the checked one"),
        other => panic!("{other:?}"),
    }
    assert!(!marker.exists());
}

/// Keeps the copy for good: the loader takes a second one under the same number for the first.
fn load_once(copy: LibraryCopy) -> super::Plugin {
    let copy = Box::leak(Box::new(copy));
    load(&copy.place().path(), copy.facts()).unwrap()
}

#[test]
fn what_was_checked_is_loaded_though_its_name_leads_elsewhere_by_now() {
    the_checked_one_is_loaded(|path, evil| {
        let next = path.with_extension("next");
        std::fs::write(&next, evil).unwrap();
        std::fs::rename(next, path).unwrap();
    });
}

#[test]
fn what_was_checked_is_loaded_though_its_file_holds_something_else_by_now() {
    // In place: the file that was opened and hashed is the file that changes.
    the_checked_one_is_loaded(|path, evil| {
        let inode = |path: &std::path::Path| {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(path).unwrap().ino()
        };
        let before = inode(path);
        std::fs::write(path, evil).unwrap();
        assert_eq!(inode(path), before);
    });
}

/// As it goes in a courier: the copy is made once, and is good for processes that are started later.
#[test]
fn a_copy_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = CLibrary::new("exchanged", "the copied one").compile(folder.path());
    let copy = LibraryCopy::new(&library::inspect(&path).unwrap()).unwrap();
    std::fs::write(&path, "not a library").unwrap();
    let plugin = load_once(copy);
    assert!(plugin.step(b"{}").bytes().ends_with(b"}}}"));
}
