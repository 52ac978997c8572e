//! What does not go better by itself: told once, in words, and tried again when somebody has mended it.

use std::time::{Duration, SystemTime};

use cloud_sim::{Credential, Fault, FaultKind, Options, Plant, Refusal, Service, Settings};
use keyferry_tests::home::{ACCESS_KEY, SECRET_KEY};
use keyferry_tests::ledger;
use serde_json::Value;

use crate::scene::{ALL, Scene, Shown, account_error, wait_for_errors, wait_for_state};

/// Each key is tried exactly once and shows the error; once mended, `keyferry resume` loads it.
#[track_caller]
fn check_final(scene: &Scene, shown: &Shown, mend: impl FnOnce(&Scene)) {
    scene.declare(&ALL);
    for declared in &ALL {
        scene.wait_for_error(declared.key, shown);
        assert_eq!(scene.daemon.key(declared.key)["state"], "failed");
    }
    // A refusal of the credentials is the whole account's.
    let of_account = ["ecs", "ens"].map(|account| account_error(&scene.daemon, account)["kind"].clone());
    let expected = if shown.kind == "unauthorized" {
        shown.kind.into()
    } else {
        Value::Null
    };
    assert_eq!(of_account, [expected.clone(), expected]);
    let (code, status) = scene.daemon.wait(60);
    assert_eq!(code, 1, "a failed key is no success: {status:#}");
    let tries: Vec<usize> = ALL.iter().map(|declared| scene.tries(declared).len()).collect();
    assert_eq!(tries, [1, 1, 1, 1]);
    mend(scene);
    for declared in &ALL {
        let output = scene.daemon.keyferry(&["resume", declared.key]);
        assert!(output.status.success(), "{output:?}");
    }
    scene.assert_sound();
    let tries: Vec<usize> = ALL.iter().map(|declared| scene.tries(declared).len()).collect();
    assert_eq!(
        tries,
        [2, 2, 2, 2],
        "mended credentials are read before anything is sent"
    );
}

fn unauthorized(code: &'static str, words: &'static str) -> Shown {
    Shown {
        kind: "unauthorized",
        code: Some(code),
        words,
        again: false,
    }
}

/// A scene whose credential files hold another secret than the cloud knows.
fn with_secret(secret: &str) -> Scene {
    let scene = Scene::new();
    write_secret(&scene, secret);
    scene
}

fn write_secret(scene: &Scene, secret: &str) {
    for (account, service) in [("ecs", Service::AlibabaEcs), ("ens", Service::AlibabaEns)] {
        scene
            .home
            .account_with(account, service.name(), scene.cloud.url(service), secret);
    }
}

#[test]
fn wrong_secret() {
    let scene = with_secret("AnotherSecret0123456789abcdefghijkl");
    let shown = unauthorized(
        "SignatureDoesNotMatch",
        "the access key secret does not belong to this access key id",
    );
    check_final(&scene, &shown, |scene| write_secret(scene, SECRET_KEY));
}

#[test]
fn unknown_access_key() {
    let cloud = cloud_sim::CloudSim::start(Options::new("LTAI5tSomebodyElse", SECRET_KEY))
        .expect("a loopback cloud can be started");
    let scene = Scene::with(cloud);
    let shown = unauthorized("InvalidAccessKeyId.NotFound", "the access key id does not exist");
    check_final(&scene, &shown, |scene| {
        scene.cloud.add_credential(permanent());
    });
}

#[test]
fn missing_security_token() {
    let options = Options::new(ACCESS_KEY, SECRET_KEY).session_token("t");
    let cloud = cloud_sim::CloudSim::start(options).expect("a loopback cloud can be started");
    let scene = Scene::with(cloud);
    let shown = unauthorized("InvalidSecurityToken.Malformed", "the security token");
    check_final(&scene, &shown, |scene| {
        scene.cloud.add_credential(permanent());
    });
}

#[test]
fn lack_of_permission() {
    let scene = Scene::new();
    scene.cloud.fault(Fault::new(FaultKind::Error {
        error: Refusal::new(403, "Forbidden.RAM", "User not authorized to operate."),
        after_commit: false,
    }));
    let shown = unauthorized("Forbidden.RAM", "lacks the permission e");
    check_final(&scene, &shown, |scene| scene.cloud.clear_faults());
}

#[test]
fn invalid_parameter() {
    let scene = Scene::new();
    scene.cloud.fault(Fault::new(FaultKind::Error {
        error: Refusal::new(400, "InvalidParameter.Zone", "The zone is not valid."),
        after_commit: false,
    }));
    let shown = Shown {
        kind: "invalid",
        code: Some("InvalidParameter.Zone"),
        words: "the zone is not valid",
        again: false,
    };
    check_final(&scene, &shown, |scene| scene.cloud.clear_faults());
}

/// Many keys that failed for good keep none of the others from its try.
#[test]
fn every_key_of_a_refused_account_is_told() {
    let scene = with_secret("AnotherSecret0123456789abcdefghijkl");
    for n in 0..30 {
        scene.home.key(
            &format!("many-{n}"),
            "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n",
        );
    }
    let (code, status) = scene.daemon.wait(60);
    assert_eq!(code, 1);
    let keys = status["keys"].as_array().expect("keys is a list");
    assert_eq!(keys.len(), 30);
    for key in keys {
        assert_eq!(key["state"], "failed", "{key:#}");
        assert_eq!(key["error"]["kind"], "unauthorized", "{key:#}");
    }
    assert_eq!(scene.cloud.requests().requests.len(), 30);
    write_secret(&scene, SECRET_KEY);
    assert!(scene.daemon.keyferry(&["resume"]).status.success());
    scene.assert_sound();
}

/// Saving the account's file tries again too, without `resume`.
#[test]
fn a_saved_account_file_tries_again() {
    let scene = with_secret("AnotherSecret0123456789abcdefghijkl");
    scene.declare(&ALL);
    for declared in &ALL {
        let shown = unauthorized("SignatureDoesNotMatch", "secret");
        scene.wait_for_error(declared.key, &shown);
    }
    write_secret(&scene, SECRET_KEY);
    for (account, service) in [("ecs", Service::AlibabaEcs), ("ens", Service::AlibabaEns)] {
        let (url, file) = (
            scene.cloud.url(service),
            scene.home.path(&format!("{account}.json")),
        );
        let text = format!(
            "plugin = \"{}\"\nregion = \"cn-hangzhou\"\nendpoint = \"{url}\"\nmax_concurrent = 4\n[credentials]\nfile = \"{}\"\n",
            service.name(),
            file.display()
        );
        scene.home.write(&format!("accounts/{account}.toml"), &text);
    }
    scene.assert_sound();
}

#[test]
fn quota() {
    let scene = Scene::new();
    let quota = |quota| {
        for service in Service::ALL {
            let settings = scene.cloud.settings(service);
            scene.cloud.set_settings(service, Settings { quota, ..settings });
        }
    };
    quota(0);
    scene.declare(&ALL);
    for declared in &ALL {
        let shown = Shown {
            kind: "quota",
            code: Some("QuotaExceed.KeyPair"),
            words: "key pairs",
            again: true,
        };
        let error = scene.wait_for_error(declared.key, &shown);
        let remedy = error["remedy"].as_str().unwrap_or_default();
        assert!(remedy.contains("delete") && remedy.contains("resume"), "{remedy}");
    }
    quota(500);
    let output = scene.daemon.keyferry(&["resume"]);
    assert!(output.status.success(), "{output:?}");
    scene.assert_sound();
}

/// Somebody else's pairs have the next three names: they stay, and the fourth name is taken.
#[test]
fn duplicate_names() {
    let scene = Scene::new();
    let mut planted = Vec::new();
    for declared in &ALL {
        for n in 1..=3 {
            let is_ecs = declared.service == Service::AlibabaEcs;
            let plant = Plant {
                service: declared.service,
                region: is_ecs.then(|| "cn-hangzhou".to_owned()),
                name: ledger::pair_name(&scene.home, declared.key, n),
                public_key: None,
            };
            let pair = scene.cloud.plant(plant).expect("a pair can be planted");
            planted.push((declared.service, pair));
        }
    }
    scene.declare(&ALL);
    let expected = ALL.each_ref().map(|declared| {
        let shown = Shown {
            kind: "already_exists",
            code: Some(match declared.service {
                Service::AlibabaEcs => "KeyPair.AlreadyExist",
                _ => "PubKeyNameExisted",
            }),
            words: "the name is taken",
            again: true,
        };
        (declared.key, shown)
    });
    wait_for_errors(&scene.daemon, &expected);
    for declared in &ALL {
        wait_for_state(&scene.daemon, declared.key, "loaded");
    }
    scene.assert_sound();
    for declared in &ALL {
        assert_eq!(
            ledger::states(&scene.home, declared.key),
            ["foreign", "foreign", "foreign", "live"],
            "{}",
            declared.key
        );
    }
    for (service, pair) in planted {
        assert!(
            scene.cloud.pairs(service).contains(&pair),
            "{} was touched",
            pair.name
        );
    }
}

/// The clock is set right without anyone touching keyferry, so this is tried again by itself.
#[track_caller]
fn check_clock(provider_time: SystemTime) {
    let scene = Scene::new();
    scene.cloud.set_clock(Some(provider_time));
    scene.declare(&ALL);
    let shown = Shown {
        kind: "unavailable",
        code: Some("InvalidTimeStamp.Expired"),
        words: "check this machine's clock: the request was signed at 20",
        again: true,
    };
    wait_for_errors(
        &scene.daemon,
        &ALL.each_ref().map(|declared| (declared.key, shown)),
    );
    for declared in &ALL {
        scene.wait_for_tries(declared, 2);
    }
    scene.cloud.set_clock(None);
    for declared in &ALL {
        wait_for_state(&scene.daemon, declared.key, "loaded");
    }
    scene.assert_sound();
}

#[test]
fn a_clock_that_is_slow() {
    check_clock(SystemTime::now() + HOUR);
}

#[test]
fn a_clock_that_is_fast() {
    check_clock(SystemTime::now() - HOUR);
}

const HOUR: Duration = Duration::from_secs(3600);

fn permanent() -> Credential {
    Credential {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        session_token: None,
        expires_at: None,
    }
}
