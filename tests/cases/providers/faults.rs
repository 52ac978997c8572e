//! What goes wrong on the way, and is right again without anybody.

use cloud_sim::{Credential, FaultKind};
use keyferry_tests::ledger;

use crate::scene::{Scene, permanent};
use crate::vendor::Vendor;

pub(crate) fn throttled(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    let retry_after_ms = None;
    scene.fault_once(vendor.import, FaultKind::Throttling { retry_after_ms });
    scene.declare_imported("key");
    scene.assert_sound();
    // What was throttled did not take effect, and is known not to have.
    assert_eq!(ledger::states(&scene.home, "key"), ["absent", "live"]);
    assert_eq!(scene.calls(vendor.import).len(), 2);
}

/// The private half was in the reply, so the pair is deleted and the next one made; with an idempotency token the vendor
/// gives the same reply again.
pub(crate) fn lost_reply_of_create(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    scene.fault_once(vendor.create, FaultKind::LostReply);
    scene.declare_created("key");
    scene.assert_sound();
    let states = ledger::states(&scene.home, "key");
    assert!(states == ["live"] || states == ["deleted", "live"], "{states:?}");
}

/// The private half is here, so the pair that was made is found and kept.
pub(crate) fn lost_reply_of_import(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    scene.fault_once(vendor.import, FaultKind::LostReply);
    scene.declare_imported("key");
    scene.assert_sound();
    let states = ledger::states(&scene.home, "key");
    assert_eq!(states.last().map(String::as_str), Some("live"), "{states:?}");
}

pub(crate) fn server_error_then_fine(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    scene.fault_once(vendor.create, FaultKind::ServerError);
    scene.fault_once(vendor.import, FaultKind::ServerError);
    scene.declare_created("made-there");
    scene.declare_imported("made-here");
    scene.assert_sound();
}

/// The account's credentials are replaced at the vendor and in their file while the daemon runs: the old ones are refused
/// once, the new ones read, and nobody notices.
pub(crate) fn credentials_renewed_in_mid_run(vendor: &Vendor) {
    let temporary = |token: &str| Credential {
        session_token: Some(token.to_owned()),
        ..permanent()
    };
    let before = temporary("TokenBefore0123456789");
    let scene = Scene::with(vendor, &before, |cloud| cloud.add_credential(before.clone()));
    scene.declare_imported("first");
    scene.assert_sound();
    let after = temporary("TokenAfter0123456789");
    scene.cloud.add_credential(after.clone());
    scene.write_credentials(&after);
    scene.declare_imported("second");
    scene.declare_created("third");
    scene.assert_sound();
    for key in ["second", "third"] {
        assert_eq!(ledger::states(&scene.home, key), ["live"]);
    }
}
