//! Access keys that the vendor issues for a time: roles, tokens, commands and URLs, and what happens when they end.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, SystemTime};

use cloud_sim::{CloudSim, Credential, RequestFilter, RequestRecord};
use keyferry_tests::home::{ACCESS_KEY, SECRET_KEY};
use serde_json::{Value, json};

use crate::credentials::{Bench, TOKEN, write, write_account, write_config};
use crate::scene::wait_for_state;

const ROLE: &str = "acs:ram::1234567890:role/deploy";
const PROVIDER: &str = "acs:ram::1234567890:oidc-provider/cluster";

/// A profile that assumes a role with the cloud's own access key.
fn role(name: &str) -> Value {
    json!({
        "name": name, "mode": "RamRoleArn", "access_key_id": ACCESS_KEY, "access_key_secret": SECRET_KEY,
        "ram_role_arn": ROLE, "ram_session_name": "case", "expired_seconds": 900,
    })
}

fn requests(cloud: &CloudSim, action: &str) -> Vec<RequestRecord> {
    cloud
        .requests()
        .requests
        .into_iter()
        .filter(|request| request.action == action)
        .collect()
}

/// The key is loaded, imported with an issued access key.
#[track_caller]
fn assert_loaded_with_a_role(bench: &Bench) {
    bench.assert_loaded();
    for request in requests(&bench.cloud, "ImportKeyPair") {
        assert!(request.access_key.starts_with("STS."), "{request:?}");
    }
}

#[test]
fn a_profile_assumes_a_role() {
    let (home, cloud) = Bench::prepare();
    write_config(&home, &[role("default")]);
    write_account(&home, &cloud, "");
    let bench = Bench::start(home, cloud, &[]);
    assert_loaded_with_a_role(&bench);
    let [assumed] = &*requests(&bench.cloud, "AssumeRole") else {
        panic!("one role is assumed once")
    };
    assert_eq!(assumed.access_key, ACCESS_KEY);
    assert_eq!(assumed.parameters["RoleArn"], ROLE);
    assert_eq!(assumed.parameters["RoleSessionName"], "case");
}

#[test]
fn a_role_assumes_another_role() {
    let (home, cloud) = Bench::prepare();
    let second = json!({
        "name": "second", "mode": "ChainableRamRoleArn", "source_profile": "first",
        "ram_role_arn": "acs:ram::1234567890:role/second",
    });
    write_config(&home, &[second, role("first")]);
    write_account(&home, &cloud, "");
    let bench = Bench::start(home, cloud, &[]);
    assert_loaded_with_a_role(&bench);
    let assumed = requests(&bench.cloud, "AssumeRole");
    assert_eq!(assumed.len(), 2);
    assert!(assumed[1].access_key.starts_with("STS."));
    let imported = &requests(&bench.cloud, "ImportKeyPair")[0];
    assert_ne!(imported.access_key, assumed[1].access_key);
}

#[test]
fn a_token_in_a_file_stands_for_an_access_key() {
    let (home, cloud) = Bench::prepare();
    let token = "header.claims.signature-of-the-cluster";
    cloud.add_credential(Credential {
        access_key: PROVIDER.to_owned(),
        secret_key: token.to_owned(),
        session_token: None,
        expires_at: None,
    });
    let file = home.path("oidc-token");
    write(&file, &format!("{token}\n"), 0o600);
    write_account(&home, &cloud, "");
    let path = file.display().to_string();
    let bench = Bench::start(
        home,
        cloud,
        &[
            ("ALIBABA_CLOUD_ROLE_ARN", ROLE),
            ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", PROVIDER),
            ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", &path),
        ],
    );
    assert_loaded_with_a_role(&bench);
    assert_eq!(requests(&bench.cloud, "AssumeRoleWithOIDC").len(), 1);
    assert!(!bench.daemon.log().contains(token), "the token is in the log");
}

#[test]
fn a_profile_runs_a_command() {
    let (home, cloud) = Bench::prepare();
    let printed = json!({
        "mode": "StsToken", "access_key_id": "STS.printed", "access_key_secret": "PrintedSecret0123456789",
        "sts_token": TOKEN,
    });
    cloud.add_credential(Credential {
        access_key: "STS.printed".to_owned(),
        secret_key: "PrintedSecret0123456789".to_owned(),
        session_token: Some(TOKEN.to_owned()),
        expires_at: None,
    });
    let file = home.path("printed keys.json");
    write(&file, &printed.to_string(), 0o600);
    let command = format!("cat '{}'", file.display());
    write_config(
        &home,
        &[json!({"name": "default", "mode": "External", "process_command": command})],
    );
    write_account(&home, &cloud, "");
    let bench = Bench::start(home, cloud, &[]);
    assert_loaded_with_a_role(&bench);
    assert!(!bench.daemon.log().contains("PrintedSecret"));
}

/// Answers every request with this body, until the process ends.
fn serve(body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("it has an address").port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = client.read(&mut request);
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = client.write_all(format!("{head}{body}").as_bytes());
        }
    });
    format!("http://127.0.0.1:{port}/credentials")
}

#[test]
fn a_url_has_the_access_key() {
    let (home, cloud) = Bench::prepare();
    let end = SystemTime::now() + Duration::from_secs(3600);
    cloud.add_credential(Credential {
        access_key: "STS.served".to_owned(),
        secret_key: "ServedSecret0123456789".to_owned(),
        session_token: Some(TOKEN.to_owned()),
        expires_at: Some(end),
    });
    let url = serve(
        json!({
            "Code": "Success", "AccessKeyId": "STS.served", "AccessKeySecret": "ServedSecret0123456789",
            "SecurityToken": TOKEN, "Expiration": humantime::format_rfc3339_seconds(end).to_string(),
        })
        .to_string(),
    );
    write_account(&home, &cloud, "");
    let bench = Bench::start(home, cloud, &[("ALIBABA_CLOUD_CREDENTIALS_URI", &url)]);
    assert_loaded_with_a_role(&bench);
    assert!(!bench.daemon.log().contains("ServedSecret"));
}

/// The cloud's clock passes the end of the issued key, while the daemon still takes it for good.
#[test]
fn a_key_that_ends_in_mid_run_is_replaced() {
    let (home, cloud) = Bench::prepare();
    let now = SystemTime::now();
    let ten_minutes = Duration::from_secs(600);
    cloud.set_clock(Some(now - ten_minutes));
    write_config(&home, &[role("default")]);
    write_account(&home, &cloud, "");
    let bench = Bench::start(home, cloud, &[]);
    assert_loaded_with_a_role(&bench);
    bench.cloud.set_clock(Some(now + ten_minutes));
    bench
        .home
        .key("second", "account = \"cloud\"\nalgorithm = \"ecdsa-p256\"\n");
    wait_for_state(&bench.daemon, "second", "loaded");
    assert_loaded_with_a_role(&bench);
    let expired = RequestFilter {
        outcome: Some("InvalidSecurityToken.Expired".to_owned()),
        ..RequestFilter::default()
    };
    bench
        .cloud
        .wait_for_requests(&expired, 1, Duration::from_secs(1))
        .expect("the old key was refused once");
    assert_eq!(requests(&bench.cloud, "AssumeRole").len(), 2);
}

#[test]
fn a_role_that_cannot_be_assumed_is_told_with_its_profile() {
    let (home, cloud) = Bench::prepare();
    let mut profile = role("default");
    profile["access_key_secret"] = json!("not the secret");
    write_config(&home, &[profile]);
    write_account(&home, &cloud, "");
    let bench = Bench::start(home, cloud, &[]);
    let shown = crate::scene::Shown {
        kind: "unauthorized",
        code: Some("SignatureDoesNotMatch"),
        words: "profile \"default\"",
        again: false,
    };
    let error = crate::scene::wait_for_error(&bench.daemon, "web", &shown);
    let message = error["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("config.json") && message.contains("access key secret"),
        "{message}"
    );
    assert!(requests(&bench.cloud, "ImportKeyPair").is_empty());
    write_config(&bench.home, &[role("default")]);
    let output = bench.daemon.keyferry(&["resume", "web"]);
    assert!(output.status.success(), "{output:?}");
    assert_loaded_with_a_role(&bench);
}
