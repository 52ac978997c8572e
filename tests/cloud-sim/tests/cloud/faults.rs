//! Every fault, and what the cloud holds after it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use cloud_sim::{CloudSim, Fault, FaultKind, Refusal, RequestFilter, Service};

use crate::client::{Connection, DEADLINE, Reply, Unsigned, admin, call, send, start};

const SERVICE: Service = Service::AlibabaEcs;

fn request(name: &str) -> Unsigned {
    Unsigned::new(
        SERVICE,
        "CreateKeyPair",
        &[("RegionId", "cn-hangzhou"), ("KeyPairName", name)],
    )
}

fn create(cloud: &CloudSim, name: &str) -> std::io::Result<Reply> {
    send(cloud.url(SERVICE), &request(name).v3())
}

/// A create under this fault, and whether the pair is there afterwards.
fn create_under(kind: FaultKind) -> (std::io::Result<Reply>, bool, CloudSim) {
    let cloud = start();
    cloud.fault(Fault::new(kind).service(SERVICE).action("CreateKeyPair").count(1));
    let reply = create(&cloud, "web");
    let is_there = cloud.pairs(SERVICE).iter().any(|pair| pair.name == "web");
    (reply, is_there, cloud)
}

#[test]
fn connections_close_without_a_byte_before_or_after_the_commit() {
    for (kind, committed) in [(FaultKind::Drop, false), (FaultKind::LostReply, true)] {
        let name = kind.name();
        let (reply, is_there, cloud) = create_under(kind);
        assert_eq!(reply.err().unwrap().kind(), ErrorKind::ConnectionAborted);
        assert_eq!(is_there, committed);
        let record = &cloud.requests().requests[0];
        assert_eq!(
            (record.outcome.as_deref(), record.fault, record.committed),
            (Some(name), Some(name), committed)
        );
        create(&cloud, "web-2").unwrap().ok();
    }
}

#[test]
fn errors_before_or_after_the_commit() {
    let error = Refusal {
        status: 403,
        code: "Forbidden.RAM".into(),
        message: "no".into(),
        retry_after_ms: None,
    };
    for (kind, status, code, committed) in [
        (FaultKind::ServerError, 500, "InternalError", false),
        (FaultKind::ServerErrorAfterCommit, 500, "InternalError", true),
        (FaultKind::Unavailable, 503, "ServiceUnavailable", false),
        (FaultKind::Quota, 403, "QuotaExceed.KeyPair", false),
        (
            FaultKind::Throttling { retry_after_ms: None },
            400,
            "Throttling.User",
            false,
        ),
        (
            FaultKind::Error {
                error: error.clone(),
                after_commit: false,
            },
            403,
            "Forbidden.RAM",
            false,
        ),
        (
            FaultKind::Error {
                error,
                after_commit: true,
            },
            403,
            "Forbidden.RAM",
            true,
        ),
    ] {
        let (reply, is_there, cloud) = create_under(kind);
        reply.unwrap().expect(status, code);
        assert_eq!(is_there, committed, "{code}");
        assert_eq!(cloud.requests().requests[0].outcome.as_deref(), Some(code));
    }
    let (reply, ..) = create_under(FaultKind::Throttling {
        retry_after_ms: Some(1500),
    });
    assert_eq!(reply.unwrap().header("x-acs-retry-after"), Some("1500"));
}

#[test]
fn spoiled_replies_come_after_the_commit() {
    let (reply, is_there, _) = create_under(FaultKind::Malformed);
    let reply = reply.unwrap();
    assert!(
        is_there && reply.status == 200 && serde_json::from_str::<serde_json::Value>(&reply.body).is_err()
    );

    let (reply, is_there, _) = create_under(FaultKind::NoPrivateKey);
    let reply = reply.unwrap().ok();
    assert!(is_there && reply.get("PrivateKeyBody").is_none() && reply.get("KeyPairId").is_some());

    let (reply, is_there, cloud) = create_under(FaultKind::WrongFingerprint);
    let told = reply.unwrap().ok()["KeyPairFingerPrint"]
        .as_str()
        .unwrap()
        .to_owned();
    let held = &cloud.pairs(SERVICE)[0].fingerprint;
    assert!(is_there && *held != told && held.len() == told.len());

    let (reply, is_there, _) = create_under(FaultKind::Huge { bytes: 5_000_000 });
    assert!(is_there && reply.unwrap().body.len() == 5_000_000);
}

#[test]
fn a_truncated_reply_sends_a_part_of_what_it_announces() {
    use std::io::Read as _;
    let cloud = start();
    cloud.fault(Fault::new(FaultKind::Truncated));
    let mut stream =
        std::net::TcpStream::connect(cloud.url(SERVICE).strip_prefix("http://").unwrap()).unwrap();
    let request = request("web").v3();
    let headers: String = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let text = format!(
        "{} {} HTTP/1.1\r\n{headers}content-length: 0\r\n\r\n",
        request.method, request.target
    );
    std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
    let mut received = String::new();
    stream.read_to_string(&mut received).unwrap();
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    let announced = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    assert_eq!(announced.parse::<usize>().unwrap() / 2, body.len());
    assert_eq!(cloud.pairs(SERVICE).len(), 1);
}

#[test]
fn a_slow_answer_is_committed_at_once() {
    let cloud = start();
    let delay = Duration::from_millis(300);
    cloud.fault(Fault::new(FaultKind::Slow { delay }));
    let begin = Instant::now();
    let mut connection = Connection::open(cloud.url(SERVICE));
    connection.send(&request("web").v3()).unwrap();
    let committed = RequestFilter {
        committed: Some(true),
        finished: Some(false),
        ..RequestFilter::default()
    };
    cloud.wait_for_requests(&committed, 1, DEADLINE).unwrap();
    connection.receive().unwrap().ok();
    assert!(begin.elapsed() >= delay);
}

#[test]
fn a_proxy_answers_with_its_own_page_and_nothing_is_done() {
    let (reply, is_there, cloud) = create_under(FaultKind::Intercepted);
    let reply = reply.unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.body.starts_with("<!DOCTYPE html>"), "{}", reply.body);
    assert!(!is_there);
    assert_eq!(
        cloud.requests().requests[0].outcome.as_deref(),
        Some("intercepted")
    );
}

#[test]
fn hanging_requests_go_on_when_released() {
    for (kind, committed) in [
        (FaultKind::HangBeforeCommit, false),
        (FaultKind::HangAfterCommit, true),
    ] {
        let cloud = start();
        cloud.fault(Fault::new(kind).count(1));
        let mut connection = Connection::open(cloud.url(SERVICE));
        connection.send(&request("web").v3()).unwrap();
        let hanging = RequestFilter {
            committed: Some(committed),
            finished: Some(false),
            ..RequestFilter::default()
        };
        cloud.wait_for_requests(&hanging, 1, DEADLINE).unwrap();
        assert_eq!(cloud.pairs(SERVICE).len(), usize::from(committed));
        // Others are served meanwhile.
        create(&cloud, "web-2").unwrap().ok();
        cloud.release();
        connection.receive().unwrap().ok();
        assert_eq!(cloud.pairs(SERVICE).len(), 2);
        assert_eq!(cloud.requests().max_in_flight[crate::client::ACCESS_KEY], 2);
    }
}

#[test]
fn hanging_requests_can_lose_their_reply() {
    for kind in [FaultKind::HangBeforeCommit, FaultKind::HangAfterCommit] {
        let cloud = start();
        cloud.fault(Fault::new(kind.clone()).count(1));
        let mut connection = Connection::open(cloud.url(SERVICE));
        connection.send(&request("web").v3()).unwrap();
        let hanging = RequestFilter {
            committed: Some(kind == FaultKind::HangAfterCommit),
            finished: Some(false),
            ..RequestFilter::default()
        };
        cloud.wait_for_requests(&hanging, 1, DEADLINE).unwrap();
        cloud.lose_replies();
        assert!(connection.receive().is_err(), "{kind:?}");
        assert_eq!(cloud.pairs(SERVICE).len(), 1, "{kind:?}");
        assert_eq!(
            cloud.requests().requests[0].outcome.as_deref(),
            Some("lost_reply")
        );
    }
}

#[test]
fn a_client_that_goes_away_ends_the_hanging() {
    let cloud = start();
    cloud.fault(Fault::new(FaultKind::HangBeforeCommit));
    let mut connection = Connection::open(cloud.url(SERVICE));
    connection.send(&request("web").v3()).unwrap();
    cloud
        .wait_for_requests(&RequestFilter::default(), 1, DEADLINE)
        .unwrap();
    drop(connection);
    let gone = RequestFilter {
        outcome: Some("client_gone".into()),
        ..RequestFilter::default()
    };
    cloud.wait_for_requests(&gone, 1, DEADLINE).unwrap();
    assert!(cloud.pairs(SERVICE).is_empty());
}

#[test]
fn faults_hit_what_they_name_as_often_as_they_say() {
    let cloud = start();
    let quota = || {
        Fault::new(FaultKind::Quota)
            .service(SERVICE)
            .action("CreateKeyPair")
    };
    cloud.fault(quota().name("never"));
    cloud.fault(quota().after(1).count(2));
    let codes: Vec<String> = ["a1", "a2", "a3", "a4", "never"]
        .into_iter()
        .map(|name| create(&cloud, name).unwrap().code())
        .collect();
    assert_eq!(
        codes,
        [
            "",
            "QuotaExceed.KeyPair",
            "QuotaExceed.KeyPair",
            "",
            "QuotaExceed.KeyPair"
        ]
    );
    call(
        &cloud,
        Service::AlibabaEns,
        "CreateKeyPair",
        &[("KeyPairName", "never")],
    )
    .ok();
    call(
        &cloud,
        SERVICE,
        "DescribeKeyPairs",
        &[("RegionId", "cn-hangzhou")],
    )
    .ok();
    cloud.clear_faults();
    create(&cloud, "never").unwrap().ok();
}

#[test]
fn an_unsigned_request_uses_up_no_fault() {
    let cloud = start();
    cloud.fault(Fault::new(FaultKind::ServerError).count(1));
    let bad = Unsigned {
        secret_key: "wrong".into(),
        ..request("web")
    };
    send(cloud.url(SERVICE), &bad.v3())
        .unwrap()
        .expect(400, "SignatureDoesNotMatch");
    create(&cloud, "web").unwrap().expect(500, "InternalError");
}

#[test]
fn every_kind_has_its_word_in_the_admin_interface() {
    let cloud = start();
    for (fault, kind) in [
        (r#"{"kind":"slow","ms":1}"#, "slow"),
        (r#"{"kind":"huge"}"#, "huge"),
        (
            r#"{"kind":"throttling","retry_after_ms":5,"service":"alibaba-ens"}"#,
            "throttling",
        ),
        (
            r#"{"kind":"error","error":{"status":400,"code":"X","message":"y"},"service":null,"action":null,"count":null}"#,
            "error",
        ),
        (
            r#"{"kind":"lost_reply","action":"CreateKeyPair","count":1,"after":2}"#,
            "lost_reply",
        ),
        (r#"{"kind":"hang_after_commit"}"#, "hang_after_commit"),
        (r#"{"kind":"intercepted"}"#, "intercepted"),
        (r#"{"kind":"wrong_fingerprint"}"#, "wrong_fingerprint"),
    ] {
        assert_eq!(admin(&cloud, "DELETE", "/faults", "").status, 200);
        let added = admin(&cloud, "POST", "/faults", fault);
        assert_eq!(added.status, 200, "{fault}: {}", added.body);
        assert_eq!(admin(&cloud, "GET", "/faults", "").json()[0]["kind"], kind);
    }
    for wrong in [
        r#"{"kind":"slow"}"#,
        r#"{"kind":"unheard_of"}"#,
        r#"{"kind":"drop","ms":1}"#,
        r#"{"kind":"drop","coutn":1}"#,
        r#"{"kind":"error"}"#,
        r#"{"kind":"drop","service":"alibaba-nowhere"}"#,
    ] {
        assert_eq!(admin(&cloud, "POST", "/faults", wrong).status, 400, "{wrong}");
    }
}
