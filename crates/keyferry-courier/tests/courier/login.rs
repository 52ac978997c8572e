//! Logins: what they give, how long it lasts, and what is said when they fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use keyferry_courier::{Courier, CredentialSource, Hooks, JobError, JobResult, Preview, Rule, Setup};
use keyferry_hostile::Behaviour;
use keyferry_plugin::contract::{Credentials, ErrorKind, Operation, Profiles, ProviderError};

use crate::cloud::{Cloud, LOGIN_TOKEN, Reply, Request, honest, login};
use crate::fixture::{
    PASSWORD, PATIENCE, SECRET, environment, hooks, in_time, job, launch, list, one, setup,
};

fn courier(setup: Setup) -> Courier {
    Courier::spawn(&launch(&[]), setup, hooks()).unwrap()
}

fn credentials() -> Operation {
    Operation::Credentials(Credentials::default())
}

fn logins(cloud: &Cloud) -> usize {
    cloud
        .requests()
        .iter()
        .filter(|request| request.target.ends_with("/login"))
        .count()
}

/// The account gives id, key and password by variables.
fn given(mut setup: Setup) -> Setup {
    let fields = ["access_key_id", "access_key_secret", "password"];
    setup.credentials = CredentialSource::Environment {
        fields: fields
            .map(|field| (field.to_owned(), format!("HOSTILE_{}", field.to_uppercase())))
            .into(),
    };
    setup
}

#[tokio::test]
async fn a_login_gives_what_later_operations_need() {
    // What the catalogue names is another port of this machine, as the login's own is.
    let api = Cloud::start(honest);
    let url = format!("{}/v2", api.endpoint);
    let cloud = Cloud::start(move |_| login(LOGIN_TOKEN, &[&url]));
    let courier = courier(setup(&cloud.endpoint, "login"));
    for _ in 0..3 {
        in_time(courier.run(job(list()))).await.unwrap();
    }
    let asked = cloud.requests();
    assert_eq!(asked.len(), 1);
    let expected = serde_json::json!({"auth": {"user": "li", "password": PASSWORD}});
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&asked[0].body).unwrap(),
        expected
    );
    assert_eq!(api.requests().len(), 3);
    for request in api.requests() {
        assert_eq!(request.header("x-security-token"), LOGIN_TOKEN);
        assert!(
            request
                .header("authorization")
                .starts_with("HOSTILE AKIDEXAMPLE:")
        );
        assert!(request.header("x-session").contains("\"project\":\"p-1\""));
        let said = format!("{:?}{}", request.headers, request.body);
        assert!(!said.contains("sesame") && !said.contains(SECRET), "{said}");
    }
}

#[tokio::test]
async fn what_the_account_gives_is_exchanged_and_no_source_is_read() {
    let cloud = Cloud::start(honest);
    let result = one(
        given(setup(&cloud.endpoint, "login")),
        hooks(),
        job(credentials()),
    )
    .await
    .unwrap();
    match result {
        JobResult::Credentials {
            source,
            attempts,
            expires_at,
        } => {
            assert_eq!(source, "login with environment variables");
            assert_eq!((attempts.len(), expires_at), (0, None));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(logins(&cloud), 1);

    let error = one(
        given(setup(&cloud.endpoint, "login_read_anyway")),
        hooks(),
        job(list()),
    )
    .await
    .unwrap_err();
    match error {
        JobError::Refused {
            rule: Rule::Call,
            message,
            ..
        } => {
            assert!(
                message.contains("though the account names its credentials itself"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
}

/// Gives tokens `token-1`, `token-2` and so on, and takes those from this one on.
fn taking_from(first: usize, life: Option<Duration>) -> Cloud {
    let given = Arc::new(AtomicUsize::new(0));
    Cloud::start(move |request: &Request| {
        if request.target == "/login" {
            let number = given.fetch_add(1, Ordering::Relaxed) + 1;
            let mut body = serde_json::json!({"token": format!("login-token-{number}")});
            if let Some(life) = life {
                body["expires_at"] = humantime::format_rfc3339_millis(SystemTime::now() + life)
                    .to_string()
                    .into();
            }
            return Reply::Json(200, body.to_string());
        }
        let number: usize = request
            .header("x-security-token")
            .rsplit('-')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        match number >= first {
            true => honest(request),
            false => Reply::Json(401, r#"{"message":"the token is not valid"}"#.to_owned()),
        }
    })
}

#[tokio::test]
async fn a_refused_token_leads_to_one_new_login() {
    let cloud = taking_from(2, None);
    let own = courier(setup(&cloud.endpoint, "login"));
    for _ in 0..2 {
        in_time(own.run(job(list()))).await.unwrap();
    }
    assert_eq!((logins(&cloud), cloud.requests().len()), (2, 5));

    let cloud = taking_from(usize::MAX, None);
    let own = courier(setup(&cloud.endpoint, "login"));
    for requests in [4, 5, 6] {
        let error = in_time(own.run(job(list()))).await.unwrap_err();
        assert!(
            matches!(
                error,
                JobError::Provider(ProviderError {
                    kind: ErrorKind::Unauthorized,
                    ..
                })
            ),
            "{error:?}"
        );
        // The first job tries a second login; as nothing was taken since, the others do not.
        assert_eq!((logins(&cloud), cloud.requests().len()), (2, requests));
    }
}

#[tokio::test]
async fn a_short_lived_token_serves_many_requests_and_is_renewed() {
    let cloud = taking_from(1, Some(Duration::from_secs(30)));
    let own = courier(setup(&cloud.endpoint, "login"));
    for _ in 0..5 {
        in_time(own.run(job(list()))).await.unwrap();
    }
    assert_eq!(logins(&cloud), 1);

    let cloud = taking_from(1, Some(Duration::from_secs(3)));
    let own = courier(setup(&cloud.endpoint, "login"));
    let deadline = Instant::now() + PATIENCE;
    while logins(&cloud) < 2 {
        assert!(Instant::now() < deadline, "the token was never renewed");
        in_time(own.run(job(list()))).await.unwrap();
    }
    assert!(cloud.requests().len() > 4, "{}", cloud.requests().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_wait_share_one_login() {
    let cloud = Arc::new(Cloud::start(|request| match request.target.as_str() {
        "/login" => Reply::HoldThen(Box::new(login(LOGIN_TOKEN, &[]))),
        _ => honest(request),
    }));
    let own = courier(setup(&cloud.endpoint, "login"));
    let jobs: Vec<_> = (0..6).map(|_| tokio::spawn(own.run(job(list())))).collect();
    let waiting = Arc::clone(&cloud);
    tokio::task::spawn_blocking(move || waiting.wait_for(1))
        .await
        .unwrap();
    cloud.release();
    for job in jobs {
        in_time(job).await.unwrap().unwrap();
    }
    assert_eq!((logins(&cloud), cloud.requests().len()), (1, 7));
}

#[tokio::test]
async fn a_region_of_its_own_has_a_login_of_its_own() {
    let cloud = Cloud::start(honest);
    let own = courier(setup(&cloud.endpoint, "login"));
    for region in [Some("north"), Some("south"), Some("north"), None] {
        let mut request = job(list());
        request.region = region.map(str::to_owned);
        in_time(own.run(request)).await.unwrap();
    }
    assert_eq!(logins(&cloud), 3);
}

async fn failing(setup: Setup, hooks: Hooks) -> (ProviderError, bool, Vec<String>) {
    match one(setup, hooks, job(list())).await.unwrap_err() {
        JobError::Credentials {
            error,
            answered,
            attempts,
        } => {
            let said = format!("{error:?} {attempts:?}");
            for secret in [SECRET, "sesame", LOGIN_TOKEN] {
                assert!(!said.contains(secret), "{said}");
            }
            assert!(
                error.message.starts_with("credentials of account test: "),
                "{said}"
            );
            (*error, answered, attempts)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_login_that_fails_is_told_as_what_it_is() {
    for (status, kind) in [
        (401, ErrorKind::Unauthorized),
        (429, ErrorKind::Throttled),
        (503, ErrorKind::Unavailable),
    ] {
        let cloud = Cloud::start(move |request| {
            let password =
                serde_json::from_str::<serde_json::Value>(&request.body).unwrap()["auth"]["password"].clone();
            let body = serde_json::json!({"code": "E1", "message": format!("no, not with {}", password.as_str().unwrap())});
            Reply::Json(status, body.to_string())
        });
        let (error, answered, attempts) = failing(setup(&cloud.endpoint, "login"), hooks()).await;
        assert_eq!(
            (error.kind, answered, error.code.as_deref()),
            (kind, true, Some("E1"))
        );
        assert!(
            error.message.ends_with("no, not with <password>"),
            "{}",
            error.message
        );
        assert_eq!(
            attempts,
            [
                "environment: read".to_owned(),
                format!("{}: status {status}", cloud.endpoint)
            ]
        );
        assert_eq!(cloud.requests().len(), 1);
    }
    // Nobody listens there any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let (error, answered, attempts) = failing(setup(&endpoint, "login"), hooks()).await;
    assert_eq!((error.kind, answered), (ErrorKind::Unavailable, false));
    assert!(attempts[1].contains("refused the connection"), "{attempts:?}");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named() {
    let ahead = SystemTime::now() + Duration::from_secs(14 * 60 + 50);
    let date = http_date(ahead);
    let cloud = Cloud::start(move |_| {
        Reply::WithHeaders(
            401,
            format!("Date: {date}\r\n"),
            r#"{"message":"the signature is too old"}"#.to_owned(),
        )
    });
    let (error, ..) = failing(setup(&cloud.endpoint, "login"), hooks()).await;
    let host = cloud.endpoint.strip_prefix("http://").unwrap();
    let expected = format!("; this machine's clock is 14 minutes behind that of {host}: correct it");
    assert!(error.message.ends_with(&expected), "{}", error.message);

    let own = courier(setup(&cloud.endpoint, "none"));
    assert_eq!(own.clock_behind(), None);
    let error = in_time(own.run(job(list()))).await.unwrap_err();
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert!(
        (840..=890).contains(&own.clock_behind().unwrap()),
        "{:?}",
        own.clock_behind()
    );
}

/// As RFC 9110 §5.6.7 writes it. The day of the week is not looked at.
fn http_date(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months[text[5..7].parse::<usize>().unwrap() - 1];
    format!(
        "Sun, {} {month} {} {} GMT",
        &text[8..10],
        &text[..4],
        &text[11..19]
    )
}

#[tokio::test]
async fn nothing_secret_is_kept_in_a_session() {
    // The reply repeats token and password, plain and as base64.
    let cloud = Cloud::start(|request| match request.target.as_str() {
        "/login" => {
            let encoded = "Z0FBQUFBQmxvZ2luLXRva2VuKzAxMjM0NTY3ODk9PQ==";
            let body = serde_json::json!({"token": LOGIN_TOKEN, "again": LOGIN_TOKEN, "encoded": encoded, "note": PASSWORD});
            Reply::WithHeaders(200, format!("X-Token: {LOGIN_TOKEN}\r\n"), body.to_string())
        }
        _ => honest(request),
    });
    for behaviour in [Behaviour::LoginBodyInPublic, Behaviour::LoginTokenAsId] {
        let result = one(setup(&cloud.endpoint, behaviour.name()), hooks(), job(list())).await;
        let said = format!("{result:?}");
        assert!(!said.contains("sesame") && !said.contains(LOGIN_TOKEN), "{said}");
    }
    for request in cloud
        .requests()
        .iter()
        .filter(|request| request.target != "/login")
    {
        for (name, value) in request
            .headers
            .iter()
            .filter(|(name, _)| name != "x-security-token")
        {
            assert!(
                !value.contains(LOGIN_TOKEN) && !value.contains("sesame") && !value.contains("Z0FBQUFBQm"),
                "{name}: {value}"
            );
        }
    }
    assert!(
        cloud
            .requests()
            .iter()
            .any(|request| request.header("x-session").contains("<security_token>"))
    );
}

/// A profile file, and an environment that names it.
struct ProfileFile {
    _directory: tempfile::TempDir,
    path: std::path::PathBuf,
    hooks: Hooks,
}

fn profile(text: &str) -> ProfileFile {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("profile.yaml");
    std::fs::write(&path, text).unwrap();
    let hooks = environment(&[
        ("HOSTILE_PROFILE", path.to_str().unwrap()),
        ("HOSTILE_ACCESS_KEY_SECRET", "of-the-environment"),
        ("PATH", "/usr/bin:/bin"),
    ]);
    ProfileFile {
        _directory: directory,
        path,
        hooks,
    }
}

#[tokio::test]
async fn a_profile_of_a_yaml_file_names_where_to_log_in() {
    let cloud = Cloud::start(|request| match request.target.as_str() {
        "/identity/v3/login" => login(LOGIN_TOKEN, &[]),
        _ => honest(request),
    });
    let text = format!(
        "# a comment\np: &p {{id: AKIDPROFILE, key: {SECRET}, password: 'open \"sesame\" 42', url: {}/identity/v3/}}\nq: *p\n",
        cloud.endpoint
    );
    let file = profile(&text);
    let mut setup = setup(&cloud.endpoint, "login");
    setup.home = Some(file.path.parent().unwrap().to_owned());
    one(setup.clone(), file.hooks.clone(), job(list())).await.unwrap();
    let requests = cloud.requests();
    assert_eq!(requests[0].target, "/identity/v3/login");
    assert!(
        requests[1]
            .header("authorization")
            .starts_with("HOSTILE AKIDPROFILE:")
    );

    let broken = text.replace(SECRET, "\"sesame\\n\"");
    std::fs::write(&file.path, broken).unwrap();
    let (error, ..) = failing(setup.clone(), file.hooks.clone()).await;
    assert!(
        error
            .message
            .contains("the field `access_key_secret` (a login) contains a line end"),
        "{}",
        error.message
    );
    std::fs::write(&file.path, "p: {password: sesame\n").unwrap();
    let (error, answered, _) = failing(setup.clone(), file.hooks.clone()).await;
    assert!(
        error.message.contains("is not YAML (line ") && !answered,
        "{}",
        error.message
    );
    std::fs::remove_file(&file.path).unwrap();
    let (error, _, attempts) = failing(setup, file.hooks.clone()).await;
    assert!(
        error.message.contains("neither password nor token found"),
        "{}",
        error.message
    );
    assert!(attempts[1].ends_with("profile.yaml: not there"), "{attempts:?}");
}

#[tokio::test]
async fn a_variable_names_where_to_log_in() {
    let identity = Cloud::start(|_| login(LOGIN_TOKEN, &[]));
    let cloud = Cloud::start(honest);
    let url = format!("{}/v3/", identity.endpoint);
    let hooks = environment(&[
        ("HOSTILE_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("HOSTILE_ACCESS_KEY_SECRET", SECRET),
        ("HOSTILE_PASSWORD", PASSWORD),
        ("HOSTILE_URL", &url),
    ]);
    one(setup(&cloud.endpoint, "login"), hooks, job(list()))
        .await
        .unwrap();
    assert_eq!(identity.requests()[0].target, "/v3/login");
    assert_eq!(cloud.requests()[0].header("x-security-token"), LOGIN_TOKEN);
    // One that is no URL to send to is told where it was named, and nothing is sent.
    let hooks = environment(&[
        ("HOSTILE_PASSWORD", PASSWORD),
        ("HOSTILE_URL", "http://203.0.113.7/v3"),
    ]);
    let error = one(setup(&cloud.endpoint, "login"), hooks, job(list()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, JobError::Refused { rule: Rule::Host, .. }),
        "{error:?}"
    );
    assert_eq!((logins(&cloud), logins(&identity)), (0, 1));
}

#[tokio::test]
async fn a_token_file_is_the_first_that_is_there() {
    let cloud = Cloud::start(honest);
    let home = tempfile::tempdir().unwrap();
    let mut setup = setup(&cloud.endpoint, "login");
    setup.home = Some(home.path().to_owned());
    let write = |path: &str, token: &str| {
        let path = home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("\n {token} \n")).unwrap();
        path
    };
    let mut variables = vec![
        ("HOSTILE_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("HOSTILE_ACCESS_KEY_SECRET", SECRET),
    ];
    let (error, ..) = failing(setup.clone(), environment(&variables)).await;
    let shown = home.path().display();
    let expected = format!("{shown}/.hostile/token, {shown}/.config/hostile/token");
    assert!(error.message.ends_with(&expected), "{}", error.message);
    write(".config/hostile/token", "token-of-the-alternative");
    one(setup.clone(), environment(&variables), job(list()))
        .await
        .unwrap();
    write(".hostile/token", "token-of-the-path");
    one(setup.clone(), environment(&variables), job(list()))
        .await
        .unwrap();
    let named = write("elsewhere", "token-of-the-variable");
    variables.push(("HOSTILE_TOKEN_FILE", named.to_str().unwrap()));
    one(setup, environment(&variables), job(list())).await.unwrap();
    let sent: Vec<_> = cloud
        .requests()
        .iter()
        .map(|request| request.header("x-security-token").to_owned())
        .collect();
    assert_eq!(
        sent,
        [
            "token-of-the-alternative",
            "token-of-the-path",
            "token-of-the-variable"
        ]
    );
}

#[tokio::test]
async fn a_command_of_a_file_is_run_without_a_shell() {
    let cloud = Cloud::start(honest);
    let setup = setup(&cloud.endpoint, "login");
    let directory = tempfile::tempdir().unwrap();
    let tool = directory.path().join("a tool");
    let script = |body: &str| {
        std::fs::write(&tool, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let object = serde_json::json!({"id": "AKIDTOOL", "key": SECRET, "token": "tool-token-1234", "other": "sesame", "expires": "2099-01-01T00:00:00+08:00"});
    script(&format!(
        "test \"$1\" = '$HOME; x' || exit 4\ntest -z \"$HOSTILE_ACCESS_KEY_SECRET\" || exit 5\nprintf %s '{object}'"
    ));
    let file = profile(&format!("p:\n  command: \"'{}' '$HOME; x'\"\n", tool.display()));
    one(setup.clone(), file.hooks.clone(), job(list())).await.unwrap();
    let sent = cloud.requests().remove(0);
    assert!(sent.header("authorization").starts_with("HOSTILE AKIDTOOL:"));
    assert_eq!(sent.header("x-security-token"), "tool-token-1234");
    match one(setup.clone(), file.hooks.clone(), job(credentials()))
        .await
        .unwrap()
    {
        JobResult::Credentials {
            source,
            attempts,
            expires_at,
        } => {
            assert!(
                source.starts_with("the output of the command ") && source.ends_with("/a tool"),
                "{source}"
            );
            assert_eq!(attempts, ["environment: HOSTILE_PASSWORD is not set"]);
            assert_eq!(expires_at.as_deref().map(|end| &end[..13]), Some("2098-12-31T16"));
        }
        other => panic!("{other:?}"),
    }

    script(&format!(
        "printf %s '{object}'\necho 'refused for {SECRET}' >&2\nexit 3"
    ));
    let (error, ..) = failing(setup.clone(), file.hooks.clone()).await;
    assert!(
        error
            .message
            .contains("failed with exit status 3; what it may have said on standard error is not shown"),
        "{}",
        error.message
    );
    assert!(!error.message.contains("refused for"), "{}", error.message);

    // A file that others may write names nothing that runs.
    let marker = directory.path().join("ran");
    script(&format!("touch {}", marker.display()));
    std::fs::set_permissions(&file.path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let (error, ..) = failing(setup.clone(), file.hooks.clone()).await;
    assert!(
        error.message.contains("the file is not used"),
        "{}",
        error.message
    );
    assert!(!marker.exists());
    for (line, expected) in [
        ("'unclosed", "has a quote without its end"),
        ("\\\"\\\"", "names no program"),
        ("no-such-program-anywhere", "was not found"),
    ] {
        let file = profile(&format!("p:\n  command: \"{line}\"\n"));
        let (error, ..) = failing(setup.clone(), file.hooks.clone()).await;
        assert!(error.message.contains(expected), "{}", error.message);
    }
}

#[tokio::test]
async fn profiles_are_told_without_their_secrets() {
    let cloud = Cloud::start(honest);
    let file = profile("p: {password: sesame}\nq: {id: sesame-7, key: sesame-7-long}\n");
    let operation = Operation::Profiles(Profiles::default());
    match one(
        setup(&cloud.endpoint, "profiles"),
        file.hooks.clone(),
        job(operation),
    )
    .await
    .unwrap()
    {
        JobResult::Profiles(found) => {
            let names: Vec<_> = found
                .iter()
                .map(|profile| profile.name.as_deref().unwrap())
                .collect();
            assert_eq!(names, ["p", "q"]);
            assert!(
                found[1].unusable.as_deref().unwrap().contains("handle"),
                "{found:?}"
            );
            assert!(!format!("{found:?}").contains("sesame-7-long"));
        }
        other => panic!("{other:?}"),
    }
    assert!(cloud.requests().is_empty());
}

#[tokio::test]
async fn a_preview_shows_the_login_and_sends_nothing() {
    let cloud = Cloud::start(honest);
    let preview = Preview {
        now: "2026-11-22T01:36:49Z".to_owned(),
        nonce: "0".repeat(32),
    };
    for setup in [
        setup(&cloud.endpoint, "login"),
        given(setup(&cloud.endpoint, "login")),
    ] {
        let mut request = job(list());
        request.preview = Some(preview.clone());
        match one(setup, hooks(), request).await.unwrap() {
            JobResult::Preview(shown) => {
                assert_eq!(shown.url, format!("{}/login", cloud.endpoint));
                assert_eq!(shown.body, r#"{"auth":{"user":"li","password":"<password>"}}"#);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(cloud.requests().is_empty());
}

#[test]
fn which_variables_are_set_can_be_asked() {
    let manifest = crate::fixture::library().manifest;
    let set = environment(&[("HOSTILE_PASSWORD", "x"), ("HOSTILE_PROFILE", ""), ("PATH", "x")])
        .variables_set(&manifest);
    let expected = [
        ("HOSTILE_ACCESS_KEY_ID", false),
        ("HOSTILE_ACCESS_KEY_SECRET", false),
        ("HOSTILE_PASSWORD", true),
        ("HOSTILE_PROFILE", false),
        ("HOSTILE_SECURITY_TOKEN", false),
        ("HOSTILE_TOKEN_FILE", false),
        ("HOSTILE_URL", false),
    ];
    assert_eq!(
        set,
        BTreeMap::from(expected.map(|(name, set)| (name.to_owned(), set)))
    );
}
