//! Where credentials come from, and what is said when they do not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keyferry_courier::{CredentialSource, Hooks, JobError, Setup};
use keyferry_plugin::contract::{Effect, ErrorKind};

use crate::cloud::{Cloud, Reply, honest};
use crate::fixture::{SECRET, built_plugin, environment, hooks, import, job, list, one, setup};

fn with(endpoint: &str, credentials: CredentialSource) -> Setup {
    Setup {
        credentials,
        ..setup(endpoint, "none")
    }
}

fn fields(pairs: &[(&str, &str)]) -> CredentialSource {
    CredentialSource::Environment {
        fields: pairs
            .iter()
            .map(|(field, variable)| ((*field).to_owned(), (*variable).to_owned()))
            .collect(),
    }
}

fn command(script: &str) -> CredentialSource {
    CredentialSource::Command {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
    }
}

fn write(path: &Path, text: &str, mode: u32) -> CredentialSource {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    CredentialSource::File {
        path: path.to_owned(),
    }
}

#[track_caller]
fn object() -> String {
    serde_json::json!({ "access_key_id": "AKIDEXAMPLE", "access_key_secret": SECRET, "expires_at": "2099-01-01T00:00:00Z" }).to_string()
}

async fn works(source: CredentialSource, hooks: Hooks) {
    let cloud = Cloud::start(honest);
    one(with(&cloud.endpoint, source), hooks, job(list()))
        .await
        .unwrap();
    assert!(
        cloud.requests()[0]
            .header("authorization")
            .starts_with("HOSTILE AKIDEXAMPLE:")
    );
    assert_eq!(cloud.requests()[0].header("x-security-token"), "");
}

async fn fails(source: CredentialSource, hooks: Hooks, expected: &str) {
    let cloud = Cloud::start(honest);
    let error = one(with(&cloud.endpoint, source), hooks, job(list()))
        .await
        .unwrap_err();
    assert!(matches!(error, JobError::Credentials { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.starts_with("credentials of account test: "), "{message}");
    assert!(message.contains(expected), "{message}");
    assert!(!message.contains(SECRET), "{message}");
    assert!(cloud.requests().is_empty());
}

fn variables() -> Hooks {
    environment(&[
        ("ID", "AKIDEXAMPLE"),
        ("SECRET", SECRET),
        ("EMPTY", ""),
        ("LINE", "a\nb"),
        ("PATH", "/usr/bin:/bin"),
    ])
}

#[tokio::test]
async fn variables_that_the_account_names() {
    works(
        fields(&[("access_key_id", "ID"), ("access_key_secret", "SECRET")]),
        variables(),
    )
    .await;
    fails(
        fields(&[("access_key_id", "ID"), ("access_key_secret", "UNSET")]),
        variables(),
        "the field `access_key_secret` is missing or empty: the variable UNSET should hold it",
    )
    .await;
    fails(
        fields(&[("access_key_id", "ID"), ("access_key_secret", "EMPTY")]),
        variables(),
        "the variable EMPTY should hold it",
    )
    .await;
    fails(
        fields(&[("access_key_id", "ID"), ("access_key_secret", "LINE")]),
        variables(),
        "(the variable LINE) contains a line end",
    )
    .await;
    fails(
        fields(&[("access_key", "ID")]),
        variables(),
        "it has 1 unknown field (`access_key`); plugin hostile has `access_key_id`, `access_key_secret`, `password`, `security_token`",
    )
    .await;
}

#[tokio::test]
async fn the_chain_of_the_plugin() {
    let needed = [
        ("HOSTILE_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("HOSTILE_ACCESS_KEY_SECRET", SECRET),
    ];
    works(CredentialSource::Chain { profile: None }, environment(&needed)).await;
    fails(
        CredentialSource::Chain { profile: None },
        environment(&needed[..1]),
        "HOSTILE_ACCESS_KEY_SECRET is not set",
    )
    .await;
    fails(
        CredentialSource::Chain { profile: None },
        environment(&needed[1..]),
        "the field `access_key_id` is missing",
    )
    .await;
}

#[tokio::test]
async fn a_file_of_ours_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("credentials.json");
    let shown = path.display().to_string();
    works(write(&path, &object(), 0o600), hooks()).await;
    fails(write(&path, &object(), 0o644), hooks(), "has mode 0644").await;
    fails(
        write(&path, "{", 0o600),
        hooks(),
        &format!("{shown} is not JSON (line 1, column 1)"),
    )
    .await;
    let expired = object().replace("2099", "2019");
    fails(
        write(&path, &expired, 0o600),
        hooks(),
        "they expired at 2019-01-01T00:00:00Z",
    )
    .await;
    for odd in ["soon", SECRET] {
        let odd = object().replace("2099-01-01T00:00:00Z", odd);
        fails(
            write(&path, &odd, 0o600),
            hooks(),
            &format!("{shown}: `expires_at` is not a time like 2026-11-22T01:36:49Z"),
        )
        .await;
    }
    for (object, expected) in [
        // Name and value changed places.
        (
            serde_json::json!({ SECRET: "access_key_secret", "access_key_id": "AKIDEXAMPLE" }),
            "it has 1 unknown field; plugin hostile has `access_key_id`, `access_key_secret`,",
        ),
        (
            serde_json::json!({ "key": "a", "open_sesame": "x", SECRET: "open_sesame" }),
            "it has 3 unknown fields (`key`); plugin hostile has",
        ),
        (
            serde_json::json!({ SECRET: ["access_key_secret"] }),
            "a field that is not a string",
        ),
    ] {
        fails(write(&path, &object.to_string(), 0o600), hooks(), expected).await;
    }
    fails(
        write(&path, &"x".repeat(1_100_000), 0o600),
        hooks(),
        "at most 1048576 are read",
    )
    .await;
    fails(
        CredentialSource::File {
            path: directory.path().join("none"),
        },
        hooks(),
        "none",
    )
    .await;
    fails(
        CredentialSource::File {
            path: directory.path().to_owned(),
        },
        hooks(),
        "not a regular file",
    )
    .await;
}

#[tokio::test]
async fn what_a_command_prints() {
    let printed = format!("printf %s '{}'", object());
    works(command(&printed), variables()).await;
    // It sees what a tool needs of the environment, and nothing of ours.
    let environment_seen = format!("test -z \"$SECRET\" && test -n \"$PATH\" && {printed}");
    works(command(&environment_seen), variables()).await;
    fails(
        command("echo started >&2; echo no such profile >&2; exit 3"),
        variables(),
        "the command sh failed with exit status 3; what it may have said on standard error is not shown, since it may hold a \
         secret: run sh by hand to see it",
    )
    .await;
    // A wrapper that is traced says its secrets there, also those that it never prints.
    for telling in [
        format!("printf %s '{}'; printf %s '{SECRET}' >&2; exit 1", object()),
        format!("set -x; login --password {SECRET}; exit 1"),
        format!("echo debug: secret={SECRET} >&2; exit 1"),
    ] {
        fails(
            command(&telling),
            variables(),
            "failed with exit status 1; what it may have said on standard error is not shown",
        )
        .await;
    }
    fails(command("kill -9 $$"), variables(), "was ended by signal 9").await;
    fails(
        command("echo sesame"),
        variables(),
        "the output of the command sh is not JSON",
    )
    .await;
    fails(
        command("head -c 100000 /dev/zero"),
        variables(),
        "is longer than 65536 bytes",
    )
    .await;
    let argv = |words: &[&str]| CredentialSource::Command {
        argv: words.iter().map(|&word| word.to_owned()).collect(),
    };
    fails(
        argv(&["keyferry-no-such-program"]),
        variables(),
        "the command keyferry-no-such-program was not found",
    )
    .await;
    fails(argv(&[]), variables(), "is empty").await;
}

#[tokio::test]
async fn credentials_are_obtained_once_while_they_last() {
    let directory = tempfile::tempdir().unwrap();
    let count = directory.path().join("count");
    let check = async |object: String, expected: usize| {
        let cloud = Cloud::start(honest);
        let _ = std::fs::remove_file(&count);
        let script = format!("echo x >> {}; printf %s '{object}'", count.display());
        let courier = keyferry_courier::Courier::spawn(
            &crate::fixture::launch(&[]),
            with(&cloud.endpoint, command(&script)),
            variables(),
        )
        .unwrap();
        for _ in 0..3 {
            crate::fixture::in_time(courier.run(job(list()))).await.unwrap();
        }
        assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), expected);
    };
    check(object(), 1).await;
    // Five minutes before the end are too early for what lasts two.
    check(lasting(120), 1).await;
}

/// Credentials that end after so many seconds.
fn lasting(seconds: u64) -> String {
    let end = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
    let mut object: serde_json::Value = serde_json::from_str(&object()).unwrap();
    object["expires_at"] = humantime::format_rfc3339_millis(end).to_string().into();
    object.to_string()
}

#[tokio::test]
async fn credentials_are_renewed_before_they_end() {
    let directory = tempfile::tempdir().unwrap();
    let (count, object) = (directory.path().join("count"), directory.path().join("object"));
    let cloud = Cloud::start(honest);
    let script = format!("echo x >> {}; cat {}", count.display(), object.display());
    let courier = keyferry_courier::Courier::spawn(
        &crate::fixture::launch(&[]),
        with(&cloud.endpoint, command(&script)),
        variables(),
    )
    .unwrap();
    let runs = || std::fs::read_to_string(&count).unwrap().lines().count();
    std::fs::write(&object, lasting(8)).unwrap();
    let deadline = std::time::Instant::now() + crate::fixture::PATIENCE;
    let mut jobs = 0;
    while jobs == 0 || runs() == 1 {
        assert!(std::time::Instant::now() < deadline, "they were never renewed");
        crate::fixture::in_time(courier.run(job(list()))).await.unwrap();
        jobs += 1;
        std::fs::write(&object, lasting(3600)).unwrap();
    }
    assert!(jobs > 2, "{jobs}");
    crate::fixture::in_time(courier.run(job(list()))).await.unwrap();
    assert_eq!(runs(), 2);
}

/// Refuses every access key but this one, as Alibaba Cloud does.
fn knows_only(access_key: &'static str) -> Cloud {
    Cloud::start(move |request| {
        if request
            .header("authorization")
            .contains(&format!("Credential={access_key},"))
        {
            return Reply::Json(
                200,
                r#"{"RequestId":"R-2","KeyPairName":"web-1","KeyPairFingerPrint":"aa"}"#.to_owned(),
            );
        }
        let body = r#"{"RequestId":"R-1","Code":"InvalidAccessKeyId.NotFound","Message":"Specified access key is not found."}"#;
        Reply::Json(404, body.to_owned())
    })
}

#[tokio::test]
async fn refused_credentials_are_obtained_anew_once() {
    let directory = tempfile::tempdir().unwrap();
    let check = async |access_key: &'static str, script: &str, expected: [usize; 2]| {
        let cloud = knows_only(access_key);
        let count = directory.path().join("count");
        let _ = std::fs::remove_file(&count);
        let count = count.display();
        let script = format!("echo x >> {count}; n=$(wc -l < {count}); {script}");
        let mut setup = with(&cloud.endpoint, command(&script));
        setup.library = built_plugin("keyferry-alibaba-ens", "alibaba-ens");
        setup.account.settings.clear();
        let result = one(setup, variables(), job(import())).await;
        let runs = std::fs::read_to_string(count.to_string())
            .unwrap()
            .lines()
            .count();
        assert_eq!([runs, cloud.requests().len()], expected, "{result:?}");
        result
    };
    let print =
        |id: &str| format!(r#"printf '{{"access_key_id":"%s","access_key_secret":"{SECRET}"}}' {id}"#);
    // The second set works.
    check("KEY2", &print("KEY$n"), [2, 2]).await.unwrap();
    // The second set is refused too: no third one is asked for.
    let error = check("KEY3", &print("KEY$n"), [2, 2]).await.unwrap_err();
    assert!(
        matches!(&error, JobError::Provider(error) if error.kind == ErrorKind::Unauthorized),
        "{error:?}"
    );
    assert_eq!(error.effect(), Effect::None);
    // The same set again is not sent again.
    check("KEY3", &print("KEY"), [2, 1]).await.unwrap_err();
}
