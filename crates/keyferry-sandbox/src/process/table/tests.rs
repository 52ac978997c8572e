use keyferry_plugin::Step;

use super::load;
use crate::library;

#[path = "../../../tests/sandbox/c_library.rs"]
mod c_library;

use c_library::CLibrary;

#[test]
#[cfg(target_os = "linux")]
fn what_was_checked_is_loaded_though_its_name_leads_elsewhere_by_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = CLibrary::new("exchanged", "the checked one").compile(folder.path());
    let (facts, file) = library::open(&path).unwrap();

    let other = tempfile::tempdir().unwrap();
    let marker = other.path().join("constructor-ran");
    let evil = CLibrary::new("exchanged", "the other one").with_constructor(&marker);
    std::fs::rename(evil.compile(other.path()), &path).unwrap();

    let plugin = load(&file, &facts).unwrap();
    let answer = plugin.step(b"{}");
    let step: Step = serde_json::from_slice(answer.bytes()).unwrap();
    match step {
        Step::Fail(fail) => assert_eq!(fail.error.message, "the checked one"),
        other => panic!("{other:?}"),
    }
    assert!(!marker.exists());
}
