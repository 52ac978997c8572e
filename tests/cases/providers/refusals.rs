//! What a vendor does not take, or keyferry on its behalf.

use std::time::{Duration, SystemTime};

use cloud_sim::{Credential, FaultKind, Refusal, Settings};
use keyferry_tests::ledger;

use crate::scene::{Scene, permanent};
use crate::vendor::Vendor;

pub(crate) fn name_too_long(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    name_refused(&scene, &"n".repeat(vendor.longest_name + 1), "characters");
}

pub(crate) fn name_with_a_bad_first_character(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    if let Some(name) = vendor.bad_first {
        name_refused(&scene, name, "start with a letter");
    } else {
        // A digit in front is fine here, and the pair is made under that very name.
        scene.home.key(
            "key",
            &format!(
                "account = \"cloud\"\nalgorithm = \"{}\"\nname = \"1st-key\"\n",
                vendor.algorithm
            ),
        );
        scene.assert_sound();
        let pairs = scene.cloud.pairs(vendor.service);
        assert!(
            pairs.iter().any(|pair| pair.name.starts_with("1st-key")),
            "{pairs:#?}"
        );
    }
}

pub(crate) fn name_that_is_not_ascii(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    name_refused(&scene, "schlüssel", "'ü'");
}

fn name_refused(scene: &Scene<'_>, name: &str, words: &str) {
    let text = format!(
        "account = \"cloud\"\nalgorithm = \"{}\"\nname = \"{name}\"\n",
        scene.vendor.algorithm
    );
    scene.home.key("key", &text);
    scene.assert_file_refused("key", words);
}

/// Somebody else's pair has the name: it stays, and the next name is taken.
pub(crate) fn duplicate(vendor: &Vendor) {
    let mut scene = Scene::new(vendor);
    let taken = ledger::pair_name(&scene.home, "key", 1);
    scene.plant_named(&taken);
    scene.declare_imported("key");
    scene.wait_for_error("key", "already_exists", vendor.duplicate);
    scene.assert_sound();
    assert_eq!(ledger::states(&scene.home, "key"), ["foreign", "live"]);
}

pub(crate) fn quota(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    let settings = scene.cloud.settings(vendor.service);
    scene
        .cloud
        .set_settings(vendor.service, Settings { quota: 1, ..settings });
    scene.declare_imported("key");
    let error = scene.wait_for_error("key", "quota", vendor.quota);
    assert!(error["retry_at"].is_string(), "somebody may make room: {error:#}");
    scene.cloud.set_settings(vendor.service, settings);
    scene.resume();
    scene.assert_sound();
}

pub(crate) fn wrong_secret(vendor: &Vendor) {
    let wrong = Credential {
        secret_key: "AnotherSecret0123456789abcdefghijkl".to_owned(),
        ..permanent()
    };
    let scene = Scene::with(vendor, &wrong, |_| {});
    scene.declare_imported("key");
    let error = scene.wait_for_error("key", "unauthorized", vendor.wrong_secret);
    assert!(
        error["retry_at"].is_null(),
        "trying again does not help: {error:#}"
    );
    scene.write_credentials(&permanent());
    scene.resume();
    scene.assert_sound();
}

/// The permission that is missing is named.
pub(crate) fn lack_of_permission(vendor: &Vendor) {
    let scene = Scene::new(vendor);
    let (code, permission) = vendor.lacking;
    let error = Refusal::new(403, code, "You are not allowed to do this.");
    let after_commit = false;
    scene.fault_once(vendor.import, FaultKind::Error { error, after_commit });
    scene.declare_imported("key");
    let error = scene.wait_for_error("key", "unauthorized", Some(code));
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains(permission), "{message}");
    assert!(
        error["retry_at"].is_null(),
        "trying again does not help: {error:#}"
    );
    scene.resume();
    scene.assert_sound();
}

pub(crate) fn expired_token(vendor: &Vendor) {
    let temporary = |token: &str, expires_at| Credential {
        session_token: Some(token.to_owned()),
        expires_at: Some(expires_at),
        ..permanent()
    };
    let now = SystemTime::now();
    let expired = temporary("TokenOfYesterday0123456789", now - Duration::from_secs(60));
    let scene = Scene::with(vendor, &expired, |cloud| cloud.add_credential(expired.clone()));
    scene.declare_imported("key");
    scene.wait_for_error("key", "unauthorized", vendor.expired_token);
    let fresh = temporary("TokenOfToday0123456789", now + Duration::from_secs(3600));
    scene.cloud.add_credential(fresh.clone());
    scene.write_credentials(&fresh);
    scene.resume();
    scene.assert_sound();
}
