//! The operations, each through the daemon.

use cloud_sim::FaultKind;
use keyferry_tests::ledger;

use crate::scene::Scene;
use crate::vendor::Vendor;

pub(crate) fn create(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    scene.declare_created("made-there");
    scene.assert_sound();
    assert_eq!(scene.calls(vendor.create).len(), 1);
}

pub(crate) fn import(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    scene.declare_imported("made-here");
    scene.assert_sound();
    assert_eq!(scene.calls(vendor.import).len(), 1);
}

/// `keyferry refresh` looks at every pair; a pair that is deleted behind our back on the last page is missed.
pub(crate) fn list_over_three_pages(vendor: &Vendor) {
    let mut scene = Scene::new(vendor);
    let page = vendor.page.unwrap_or(50);
    // The service's own limit is not what this case is about.
    let settings = scene.cloud.settings(vendor.service);
    scene.cloud.set_settings(
        vendor.service,
        cloud_sim::Settings {
            quota: 10_000,
            ..settings
        },
    );
    scene.plant("a", page);
    scene.plant("z", page + 1);
    scene.declare_imported("watched");
    scene.assert_sound();
    let before = scene.calls(vendor.list).len();
    let output = scene.daemon.keyferry(&["refresh"]);
    assert!(output.status.success(), "{output:?}");
    let pages = scene.calls(vendor.list).len() - before;
    let expected = if vendor.page.is_some() { 3 } else { 1 };
    assert!(pages >= expected, "{pages} pages");
    let key = scene.daemon.key("watched");
    assert!(key["error"].is_null(), "it is on one of the pages: {key:#}");
    scene.assert_sound();
}

/// After a restart the next generation is made, and the pair of the one before is looked at and deleted.
pub(crate) fn get_and_delete(vendor: &Vendor) {
    let mut scene = Scene::new(vendor);
    scene.declare_imported("key");
    scene.assert_sound();
    scene.restart();
    scene.assert_sound();
    assert_eq!(ledger::states(&scene.home, "key"), ["deleted", "live"]);
    assert_eq!(scene.calls(vendor.delete).len(), 1);
}

/// The pair was deleted, and keyferry did not hear of it: the next try finds nothing, which is what was wanted.
pub(crate) fn delete_again(vendor: &Vendor) {
    let mut scene = Scene::new(vendor);
    scene.declare_imported("key");
    scene.assert_sound();
    scene.fault_once(vendor.delete, FaultKind::LostReply);
    scene.restart();
    scene.assert_sound();
    assert_eq!(ledger::states(&scene.home, "key"), ["deleted", "live"]);
}
