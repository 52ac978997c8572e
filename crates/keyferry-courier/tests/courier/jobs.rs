//! Jobs that go well, and the many ways to lose one.

use std::time::Duration;

use keyferry_courier::{Courier, JobError, JobResult, Permit, Preview, Rule};
use keyferry_plugin::contract::{Effect, ErrorKind, Operation};

use crate::cloud::{Cloud, PUBLIC_KEY, Reply, honest, private_key};
use crate::fixture::{
    SECRET, TOKEN, courier, create, delete, hooks, import, in_time, job, launch, list, one, reference, setup,
};

fn permit(id: Option<&str>, fingerprint: Option<&str>) -> Permit {
    Permit {
        name: "web-1".to_owned(),
        id: id.map(str::to_owned),
        fingerprint: fingerprint.map(str::to_owned),
    }
}

#[tokio::test]
async fn every_operation_goes_well() {
    let cloud = Cloud::start(honest);
    let courier = courier(setup(&cloud.endpoint, "none"));
    match in_time(courier.run(job(create()))).await.unwrap() {
        JobResult::Created {
            pair,
            private_key: key,
        } => {
            assert_eq!(key.expose(), private_key().as_bytes());
            assert_eq!(
                (pair.name.as_str(), pair.id.as_deref()),
                ("web-1", Some("pair-7"))
            );
            assert_eq!(pair.public_key.as_deref(), Some(PUBLIC_KEY));
        }
        other => panic!("{other:?}"),
    }
    let result = in_time(courier.run(job(import()))).await.unwrap();
    assert!(matches!(result, JobResult::Pair(pair) if pair.name == "web-1"));
    let result = in_time(courier.run(job(list()))).await.unwrap();
    assert!(matches!(result, JobResult::Pairs(pairs) if pairs.len() == 1));
    let mut request = job(delete());
    request.permit = Some(permit(
        Some("pair-7"),
        Some("78:80:c1:ad:46:87:fd:bf:7a:6d:a2:13:12:34:56:78"),
    ));
    assert!(matches!(
        in_time(courier.run(request)).await.unwrap(),
        JobResult::Deleted
    ));
    let actions = cloud.actions();
    assert_eq!(
        actions,
        ["CreatePair", "ImportPair", "ListPairs", "GetPair", "DeletePairs"]
    );
    let requests = cloud.requests();
    assert!(requests[0].target.contains("name=web-1"));
    assert_eq!(requests[0].header("x-security-token"), TOKEN);
    let signature = requests[0]
        .header("authorization")
        .strip_prefix("HOSTILE AKIDEXAMPLE:")
        .unwrap();
    assert_eq!(signature.len(), 64);
    let result = in_time(courier.run(job(Operation::Credentials(Default::default()))))
        .await
        .unwrap();
    assert!(
        matches!(result, JobResult::Credentials { source, .. } if source == "the environment's HOSTILE variables")
    );
    assert!(courier.idle());
    in_time(courier.shutdown()).await;
}

#[tokio::test]
async fn a_delete_is_refused_when_the_provider_disagrees() {
    for (own, expected) in [
        (permit(Some("pair-8"), None), "has id `pair-7`, ours had `pair-8`"),
        (
            permit(Some("pair-7"), Some("00".repeat(16).as_str())),
            "has fingerprint `7880c1ad",
        ),
    ] {
        let cloud = Cloud::start(honest);
        let mut request = job(Operation::Delete(keyferry_plugin::contract::Delete {
            pairs: vec![keyferry_plugin::contract::PairReference {
                id: own.id.clone(),
                ..reference()
            }],
        }));
        request.permit = Some(own);
        let error = one(setup(&cloud.endpoint, "none"), hooks(), request)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(matches!(
            error,
            JobError::Refused {
                rule: Rule::Permit,
                effect: Effect::None,
                ..
            }
        ));
        assert_eq!(cloud.actions(), ["GetPair"]);
    }
}

#[tokio::test]
async fn a_delete_without_a_permit_is_not_even_asked_for() {
    let cloud = Cloud::start(honest);
    let error = one(setup(&cloud.endpoint, "none"), hooks(), job(delete()))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            JobError::Refused {
                rule: Rule::Permit,
                ..
            }
        ),
        "{error}"
    );
    assert!(cloud.requests().is_empty());
}

#[tokio::test]
async fn what_is_reserved_is_refused_by_name() {
    let cloud = Cloud::start(honest);
    let error = one(
        setup(&cloud.endpoint, "none"),
        hooks(),
        job(Operation::RunCommand(keyferry_plugin::contract::RunCommand {
            instance: "i-1".to_owned(),
            script: "true".to_owned(),
        })),
    )
    .await
    .unwrap_err();
    assert_eq!(error.to_string(), "run_command is not in this version");
}

#[tokio::test]
async fn a_preview_sends_nothing_and_shows_no_bearer() {
    let cloud = Cloud::start(honest);
    let mut request = job(delete());
    request.preview = Some(Preview {
        now: "2026-11-22T01:36:49Z".to_owned(),
        nonce: "0".repeat(32),
    });
    let result = one(setup(&cloud.endpoint, "none"), hooks(), request)
        .await
        .unwrap();
    let JobResult::Preview(shown) = result else {
        panic!("{result:?}")
    };
    assert_eq!(shown.method, "POST");
    assert_eq!(shown.url, format!("{}/?names=%5B%22web-1%22%5D", cloud.endpoint));
    let header = |name: &str| {
        shown
            .headers
            .iter()
            .find_map(|(header, value)| (header == name).then_some(value.as_str()))
    };
    assert_eq!(header("host"), cloud.endpoint.strip_prefix("http://"));
    assert_eq!(header("x-security-token"), Some("<security_token>"));
    // HMAC-SHA-256 of the time with the key "HOSTILE" + secret.
    let key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        format!("HOSTILE{SECRET}").as_bytes(),
    );
    let tag: String = aws_lc_rs::hmac::sign(&key, b"2026-11-22T01:36:49Z")
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        header("authorization"),
        Some(format!("HOSTILE AKIDEXAMPLE:{tag}").as_str())
    );
    assert!(cloud.requests().is_empty());
}

#[tokio::test]
async fn a_lost_reply_is_an_unknown_outcome_of_what_changes_something() {
    let cloud = Cloud::start(|_| Reply::Close);
    for (operation, expected) in [
        (create(), Effect::Unknown),
        (import(), Effect::Unknown),
        (list(), Effect::None),
    ] {
        let error = one(setup(&cloud.endpoint, "none"), hooks(), job(operation))
            .await
            .unwrap_err();
        assert_eq!(error.effect(), expected, "{error}");
        assert!(matches!(error, JobError::Provider(error) if error.kind == ErrorKind::Unavailable));
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = one(setup(&format!("http://{free}"), "none"), hooks(), job(create()))
        .await
        .unwrap_err();
    assert_eq!(error.effect(), Effect::None, "{error}");
    assert!(error.to_string().contains("refused the connection"), "{error}");
}

#[tokio::test]
async fn jobs_run_side_by_side_and_no_more_than_allowed() {
    let cloud = Cloud::start(|_| Reply::Hold);
    let mut setup = setup(&cloud.endpoint, "none");
    setup.limits.max_concurrent = 3;
    let courier = courier(setup);
    let jobs: Vec<_> = (0..8).map(|_| tokio::spawn(courier.run(job(list())))).collect();
    let wait = tokio::task::spawn_blocking(move || {
        cloud.wait_for(3);
        cloud.release();
        cloud
    });
    let cloud = in_time(wait).await.unwrap();
    for job in jobs {
        in_time(job).await.unwrap().unwrap();
    }
    assert_eq!(cloud.most_open(), 3);
    assert_eq!(cloud.requests().len(), 8);
}

#[tokio::test]
async fn the_death_of_a_courier_loses_its_jobs_and_says_what_may_have_happened() {
    let cloud = Cloud::start(|_| Reply::Hold);
    let mut setup = setup(&cloud.endpoint, "none");
    setup.limits.max_concurrent = 2;
    let courier = courier(setup);
    let sent = [courier.run(job(create())), courier.run(job(create()))].map(tokio::spawn);
    let cloud = in_time(tokio::task::spawn_blocking(move || {
        cloud.wait_for(2);
        cloud
    }))
    .await
    .unwrap();
    let waiting = tokio::spawn(courier.run(job(create())));
    while courier.idle() {
        tokio::task::yield_now().await;
    }
    let id = courier.process_id().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    for job in sent {
        let error = in_time(job).await.unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the courier was ended by signal 9 before the job was done"
        );
        assert_eq!(error.effect(), Effect::Unknown);
    }
    let error = in_time(waiting).await.unwrap().unwrap_err();
    assert_eq!(error.effect(), Effect::None, "{error}");
    let later = in_time(courier.run(job(list()))).await.unwrap_err();
    assert!(matches!(
        later,
        JobError::Lost {
            effect: Effect::None,
            ..
        }
    ));
    assert!(courier.has_ended());
    // Reaped: a zombie would still be there.
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    assert_eq!(cloud.requests().len(), 2);
}

#[tokio::test]
async fn a_dropped_courier_ends_its_process() {
    let cloud = Cloud::start(honest);
    let courier = courier(setup(&cloud.endpoint, "none"));
    in_time(courier.run(job(list()))).await.unwrap();
    let process = format!("/proc/{}", courier.process_id().unwrap());
    assert!(std::path::Path::new(&process).exists());
    drop(courier);
    in_time(async {
        while std::path::Path::new(&process).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_dropped_future_cancels_its_job_alone() {
    let cloud = Cloud::start(|request| match request.action() {
        "ListPairs" => Reply::Hold,
        _ => honest(request),
    });
    let mut setup = setup(&cloud.endpoint, "none");
    setup.limits.max_concurrent = 1;
    let courier = courier(setup);
    let running = tokio::spawn(courier.run(job(list())));
    let waiting = tokio::spawn(courier.run(job(list())));
    let cloud = in_time(tokio::task::spawn_blocking(move || {
        cloud.wait_for(1);
        cloud
    }))
    .await
    .unwrap();
    running.abort();
    waiting.abort();
    let _ = (running.await, waiting.await);
    assert!(courier.idle());
    let next = tokio::spawn(courier.run(job(create())));
    cloud.release();
    assert!(matches!(
        in_time(next).await.unwrap().unwrap(),
        JobResult::Created { .. }
    ));
    // The one that waited never left.
    assert_eq!(cloud.actions(), ["ListPairs", "CreatePair"]);
}

#[tokio::test]
async fn a_job_ends_in_time() {
    let cloud = Cloud::start(|_| Reply::Hold);
    let mut setup = setup(&cloud.endpoint, "none");
    setup.limits.job_time = Duration::from_millis(500);
    let error = one(setup, hooks(), job(create())).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown, "{error}");
    assert!(
        error.to_string().contains("in time") || error.to_string().contains("not finished within"),
        "{error}"
    );
}

#[tokio::test]
async fn a_setup_that_makes_no_sense_is_named() {
    let check = async |change: fn(&mut keyferry_courier::Setup), expected: &str| {
        let mut setup = setup("http://127.0.0.1:1", "none");
        change(&mut setup);
        let error = one(setup, hooks(), job(list())).await.unwrap_err();
        assert!(matches!(error, JobError::Setup { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(
        |setup| setup.account.endpoint = Some("http://cloud.lan".to_owned()),
        "account test: endpoint `http://cloud.lan` is plain http",
    )
    .await;
    check(
        |setup| setup.account.region = Some("a.b".to_owned()),
        "account test: region `a.b` is not one",
    )
    .await;
    check(
        |setup| setup.network.ca_file = Some("/nowhere".into()),
        "ca_file /nowhere",
    )
    .await;
}

#[tokio::test]
async fn a_program_that_is_no_courier_is_an_error_of_its_jobs() {
    let mut program = launch(&[]);
    program.program = "/bin/true".into();
    let courier = Courier::spawn(&program, setup("http://127.0.0.1:1", "none"), hooks()).unwrap();
    let error = in_time(courier.run(job(list()))).await.unwrap_err();
    assert!(
        matches!(
            error,
            JobError::Lost {
                effect: Effect::None,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_courier_that_says_nothing_is_ended() {
    let mut program = launch(&["3600"]);
    program.program = "/bin/sleep".into();
    let mut setup = setup("http://127.0.0.1:1", "none");
    setup.limits.start_time = Duration::from_millis(100);
    let courier = Courier::spawn(&program, setup, hooks()).unwrap();
    let error = in_time(courier.run(job(list()))).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("said nothing for 0.1 s after its start"),
        "{error}"
    );
    assert!(courier.has_ended());
}

#[tokio::test]
async fn a_future_that_is_never_polled_is_a_cancelled_job() {
    let cloud = Cloud::start(honest);
    let courier = courier(setup(&cloud.endpoint, "none"));
    drop(courier.run(job(create())));
    assert!(courier.idle());
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_process_has_given_up_what_it_does_not_need() {
    let cloud = Cloud::start(honest);
    let courier = courier(setup(&cloud.endpoint, "none"));
    in_time(courier.run(job(list()))).await.unwrap();
    let read = |file: &str| {
        std::fs::read_to_string(format!("/proc/{}/{file}", courier.process_id().unwrap())).unwrap()
    };
    let limits = read("limits");
    for name in ["Max core file size", "Max file size"] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line[name.len()..].split_whitespace().next(), Some("0"), "{line}");
    }
    let environment = read("environ");
    assert!(
        environment
            .split_terminator('\0')
            .all(|variable| variable.starts_with("SSL_CERT_")),
        "{environment}"
    );
    // The 19th field of proc_pid_stat(5), counted from behind the name.
    let stat = read("stat");
    let nice: i32 = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(16)
        .unwrap()
        .parse()
        .unwrap();
    assert!(nice >= 10, "{nice}");
}
