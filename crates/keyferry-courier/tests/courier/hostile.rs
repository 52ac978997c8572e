//! Every line of the contract has a plugin that crosses it, and is refused with a message.

use keyferry_courier::{JobError, JobRequest, JobResult, Permit, Rule};
use keyferry_hostile::{Behaviour, Rule as Line};
use keyferry_plugin::contract::{Effect, Operation, OperationKind, Profiles};

use crate::cloud::{Cloud, LOGIN_TOKEN, PUBLIC_KEY, Reply, Request, honest, private_key};
use crate::fixture::{
    PATIENCE, SECRET, TOKEN, attachment, create, delete, hooks, import, job, list, one, reference, setup,
};

fn request(kind: OperationKind) -> JobRequest {
    let mut request = job(match kind {
        OperationKind::Create => create(),
        OperationKind::Import => import(),
        OperationKind::Get => Operation::Get(reference()),
        OperationKind::Delete => delete(),
        OperationKind::Attach => Operation::Attach(attachment()),
        OperationKind::Detach => Operation::Detach(attachment()),
        OperationKind::ListInstances => Operation::ListInstances(reference()),
        OperationKind::Credentials => Operation::Credentials(Default::default()),
        OperationKind::Profiles => Operation::Profiles(Profiles::default()),
        _ => list(),
    });
    request.permit = (kind == OperationKind::Delete).then(|| Permit {
        name: "web-1".to_owned(),
        id: Some("pair-7".to_owned()),
        fingerprint: None,
    });
    request
}

async fn run(behaviour: Behaviour) -> (Result<JobResult, JobError>, Cloud) {
    let cloud = Cloud::start(honest);
    let kind = behaviour.operation().unwrap_or(OperationKind::List);
    let mut setup = setup(&cloud.endpoint, behaviour.name());
    // Steps are counted here, however slow the machine is.
    setup.limits.job_time = PATIENCE;
    let result = one(setup, hooks(), request(kind)).await;
    // Whatever came of it says no secret.
    let said = format!("{result:?}");
    let key = private_key();
    let key_line = key.lines().nth(1).unwrap();
    for secret in [SECRET, TOKEN, LOGIN_TOKEN, "sesame", key_line] {
        assert!(!said.contains(secret), "{behaviour:?}: {said}");
    }
    (result, cloud)
}

/// Which of our rules may refuse what crosses a line.
fn rules(line: Line) -> &'static [Rule] {
    match line {
        Line::SecretPlace => &[Rule::CredentialPlace],
        Line::Host => &[Rule::Host],
        Line::Call => &[Rule::Call],
        Line::PrivateKey => &[Rule::Capture, Rule::CredentialPlace, Rule::Version],
        Line::Permit => &[Rule::Permit],
        Line::Cap => &[Rule::Limit],
        Line::Reserved => &[Rule::Version, Rule::Call, Rule::CredentialPlace],
        Line::Allowed | Line::Answer | Line::Echo | Line::Outcome | Line::Text => &[],
    }
}

/// Requests that leave before the line is crossed.
fn honest_requests(behaviour: Behaviour) -> usize {
    use Behaviour as B;
    match behaviour {
        B::PrivateKeyInRecipe
        | B::PrivateKeyHashed
        | B::PrivateKeyUncaptured
        | B::PrivateKeyElsewhere
        | B::PrivateKeyElsewhereInXml
        | B::PrivateKeyInNoHeader
        | B::PrivateKeyLeftInHeader
        | B::Session => 1,
        B::LoginKeepPassword | B::LoginLargePublic => 1,
        B::LoginUrlLinkLocal | B::LoginUrlNeverNamed | B::LoginUrlPlainHttp => 1,
        // All steps but the one that reads.
        B::LoginEndlessRequests => 63,
        B::EmitTooMany | B::LargeState => 1,
        B::EndlessSteps => 2000,
        // The question whether the provider agrees, and the permitted delete.
        B::DeleteSecond => 2,
        _ if behaviour.operation() == Some(OperationKind::Delete) => 1,
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_holds() {
    let mut tried = 0;
    for &behaviour in Behaviour::ALL {
        let allowed = rules(behaviour.rule());
        if allowed.is_empty() {
            continue;
        }
        tried += 1;
        let (result, cloud) = run(behaviour).await;
        match &result {
            Err(JobError::Refused { rule, message, .. }) => {
                assert!(allowed.contains(rule), "{behaviour:?}: {rule:?} {message}");
                assert!(message.starts_with("plugin hostile "), "{behaviour:?}: {message}");
            }
            other => panic!("{behaviour:?} was not refused: {other:?}"),
        }
        assert_eq!(
            cloud.requests().len(),
            honest_requests(behaviour),
            "{behaviour:?}: {:?}",
            cloud.actions()
        );
        assert!(
            cloud
                .requests()
                .iter()
                .all(|request| !request.target.contains("somebody-elses")),
            "{behaviour:?}"
        );
        let effect = result.err().map(|error| error.effect());
        let changed =
            matches!(behaviour.rule(), Line::PrivateKey | Line::Permit) && honest_requests(behaviour) > 0;
        let only_asked = cloud.actions() == ["GetPair"];
        let expected = if changed && !only_asked {
            Effect::Unknown
        } else {
            Effect::None
        };
        assert_eq!(effect, Some(expected), "{behaviour:?}");
    }
    assert!(tried > 60, "{tried}");
}

/// Each of these could be refused by the same rule for something else.
#[tokio::test]
async fn what_is_refused_is_told_by_its_name() {
    for (behaviour, expected) in [
        (
            Behaviour::EmitInGet,
            "emitted pairs during get, which list alone does",
        ),
        (Behaviour::EmitTooMany, "listed more than 100000 pairs"),
        (
            Behaviour::LoginUrlLinkLocal,
            "link-local address, which is never contacted",
        ),
        (
            Behaviour::LoginUrlPlainHttp,
            "plain http: the account must say insecure_http = true",
        ),
    ] {
        let (result, _cloud) = run(behaviour).await;
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{behaviour:?}: {message}");
    }
}

/// What a plugin says of a pair by itself permits no deletion of it, and ends none.
#[tokio::test]
async fn nothing_is_so_that_the_provider_did_not_answer() {
    type Cloudy = fn(&Request) -> Reply;
    let silent: Cloudy = |_| Reply::Close;
    for (behaviour, cloudy, kinds) in [
        (
            Behaviour::GetUnasked,
            honest as Cloudy,
            &[OperationKind::Get, OperationKind::Delete][..],
        ),
        (
            Behaviour::GetUnanswered,
            silent,
            &[OperationKind::Get, OperationKind::Delete],
        ),
        (Behaviour::DeleteUnasked, honest, &[OperationKind::Delete]),
    ] {
        for &kind in kinds {
            let cloud = Cloud::start(cloudy);
            let setup = setup(&cloud.endpoint, behaviour.name());
            let error = one(setup, hooks(), request(kind)).await.unwrap_err();
            let operation = behaviour.operation().unwrap();
            let expected = format!("ended a {operation} that the provider never answered");
            assert!(error.to_string().contains(&expected), "{behaviour:?}: {error}");
            assert_eq!(error.effect(), Effect::None, "{behaviour:?}: {error}");
            let asked = cloud.actions();
            assert!(
                asked.iter().all(|action| action == "GetPair"),
                "{behaviour:?}: {asked:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_bearer_may_have_text_around_it_in_its_own_place() {
    let (result, cloud) = run(Behaviour::BearerWithText).await;
    result.unwrap();
    assert_eq!(
        cloud.requests()[0].header("x-security-token"),
        format!("token {TOKEN}")
    );
}

#[tokio::test]
async fn a_private_key_is_captured_where_it_is() {
    for (behaviour, expected) in [
        (Behaviour::PrivateKeyFromXml, private_key()),
        (
            Behaviour::PrivateKeyFromHeader,
            private_key()
                .lines()
                .filter(|line| !line.starts_with('-'))
                .collect(),
        ),
    ] {
        let (result, cloud) = run(behaviour).await;
        assert_eq!(cloud.actions(), ["CreatePair"]);
        match result.unwrap() {
            JobResult::Created { private_key, pair } => {
                assert_eq!(private_key.expose(), expected.as_bytes());
                assert!(pair.name.contains("web-1"), "{}", pair.name);
            }
            other => panic!("{behaviour:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_was_captured_is_blanked_where_it_is_repeated() {
    let (result, cloud) = run(Behaviour::EchoCapturedXml).await;
    let message = result.unwrap_err().to_string();
    let blank = "&lt;security_token&gt;";
    let expected =
        format!("<Login><Token>{blank}</Token><Again>{blank}</Again><Again>{blank}</Again></Login>");
    assert!(message.contains(&expected), "{message}");
    assert_eq!(cloud.requests().len(), 1);
}

#[tokio::test]
async fn a_login_that_captures_nothing_sees_no_secret() {
    let whole = format!("{{\"token\":\"{LOGIN_TOKEN}\",\"again\":\"{LOGIN_TOKEN}\",\"id\":\"i-1\"}}");
    let cut = whole.trim_end_matches('}').to_owned();
    let xml = format!("<Login><Token>{LOGIN_TOKEN}</Token><Id>i-1</Id></Login>");
    let (uncaptured, in_xml) = (Behaviour::EchoUncaptured, Behaviour::EchoUncapturedXml);
    for (behaviour, body, expected) in [
        (
            uncaptured,
            &whole,
            r#"{"token":"<secret>","again":"<secret>","id":"i-1"}"#,
        ),
        (
            in_xml,
            &xml,
            "<Login><Token>&lt;secret&gt;</Token><Id>i-1</Id></Login>",
        ),
        // In what cannot be read to its end, or is of another form, it may stand anywhere.
        (uncaptured, &cut, ": [(\"content-length\""),
        (in_xml, &whole, ": [(\"content-length\""),
    ] {
        let body = body.clone();
        let cloud = Cloud::start(move |_| Reply::Json(200, body.clone()));
        let setup = setup(&cloud.endpoint, behaviour.name());
        let message = one(setup, hooks(), job(list())).await.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains(LOGIN_TOKEN), "{message}");
        assert_eq!(cloud.requests().len(), 1);
    }
    let headers = format!("X-Subject-Token: {LOGIN_TOKEN}\r\n");
    let cloud = Cloud::start(move |_| Reply::WithHeaders(201, headers.clone(), "{}".to_owned()));
    let setup = setup(&cloud.endpoint, uncaptured.name());
    let message = one(setup, hooks(), job(list())).await.unwrap_err().to_string();
    assert!(
        message.contains("(\"x-subject-token\", \"<secret>\")"),
        "{message}"
    );
}

#[tokio::test]
async fn pairs_are_bound_and_released() {
    for kind in [OperationKind::Attach, OperationKind::Detach] {
        let cloud = Cloud::start(honest);
        let result = one(setup(&cloud.endpoint, "none"), hooks(), request(kind)).await;
        match result.unwrap() {
            JobResult::Attached(results) => {
                assert_eq!(results.len(), 2);
                assert!(results.iter().all(|result| result.error.is_none()));
            }
            other => panic!("{other:?}"),
        }
        let asked = cloud.requests();
        let (content_type, body) = match kind {
            OperationKind::Attach => (
                "application/json",
                r#"{"instances":["i-1","i-2"],"pair":{"id":"pair-7","name":"web-1"}}"#,
            ),
            _ => (
                "application/x-www-form-urlencoded",
                "name=web-1&instance.1=i-1&instance.2=i-2",
            ),
        };
        assert_eq!(asked[0].header("content-type"), content_type);
        assert_eq!(asked[0].body, body);

        // They change something: what became of a lost reply is open.
        let cloud = Cloud::start(|_| Reply::Close);
        let error = one(setup(&cloud.endpoint, "none"), hooks(), request(kind))
            .await
            .unwrap_err();
        assert_eq!(error.effect(), Effect::Unknown, "{error}");

        let mut nothing = request(kind);
        match &mut nothing.operation {
            Operation::Attach(attachment) | Operation::Detach(attachment) => attachment.instances.clear(),
            _ => {}
        }
        let error = one(setup(&cloud.endpoint, "none"), hooks(), nothing)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), format!("{kind} needs an instance"));
        assert_eq!(error.effect(), Effect::None);
    }
    let (result, _cloud) = run(Behaviour::AttachedOther).await;
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains("answered for an instance that it was not asked about"),
        "{message}"
    );
}

#[tokio::test]
async fn the_instances_of_a_pair_are_listed() {
    let cloud = Cloud::start(honest);
    let result = one(
        setup(&cloud.endpoint, "none"),
        hooks(),
        request(OperationKind::ListInstances),
    )
    .await;
    match result.unwrap() {
        JobResult::Instances(instances) => assert_eq!(instances, ["i-1[2J", "i-2"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(cloud.requests()[0].target, "/pairs/web-1/instances/all");
}

#[tokio::test]
async fn the_outcome_of_another_operation_is_no_outcome() {
    let (result, _cloud) = run(Behaviour::OtherOutcome).await;
    assert!(
        matches!(result, Err(JobError::Plugin { message, .. }) if message.contains("finished a list with the outcome of something else"))
    );
}

#[tokio::test]
async fn what_the_provider_did_is_not_denied() {
    for behaviour in [
        Behaviour::DenyCreate,
        Behaviour::DenyImport,
        Behaviour::DenyDelete,
    ] {
        let (result, cloud) = run(behaviour).await;
        let error = result.unwrap_err();
        assert!(matches!(error, JobError::Provider(_)), "{behaviour:?}: {error:?}");
        assert_eq!(error.effect(), Effect::Unknown, "{behaviour:?}");
        let asked_first = usize::from(behaviour == Behaviour::DenyDelete);
        assert_eq!(cloud.requests().len(), asked_first + 1, "{behaviour:?}");
    }
}

#[tokio::test]
async fn echoes_of_secrets_are_blanked() {
    let (result, cloud) = run(Behaviour::EchoSecrets).await;
    let message = result.unwrap_err().to_string();
    let sent = cloud.requests().remove(0);
    let signature = sent
        .header("authorization")
        .rsplit_once(':')
        .unwrap()
        .1
        .to_owned();
    assert_eq!(sent.header("x-security-token"), TOKEN);
    assert!(
        message.contains("<security_token>") && message.contains("<signature>"),
        "{message}"
    );
    assert!(!message.contains(&signature), "{message}");

    let (result, _cloud) = run(Behaviour::EchoInPair).await;
    match result.unwrap() {
        JobResult::Pairs(pairs) => assert!(pairs[0].name.contains("<signature>"), "{}", pairs[0].name),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_escaped_echo_is_blanked_or_withheld() {
    // As Gson escapes it, and once more in a URL.
    for (equals, expected) in [
        ("\\u003d", "<security_token>"),
        ("%5Cu003d", "was not given a reply"),
    ] {
        let cloud = Cloud::start(move |_| {
            let token = TOKEN.replace('=', equals);
            Reply::Json(400, format!("{{\"message\":\"token {token}\"}}"))
        });
        let setup = setup(&cloud.endpoint, Behaviour::EchoSecrets.name());
        let message = one(setup, hooks(), job(list())).await.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("CAIS"), "{message}");
    }
}

#[tokio::test]
async fn text_of_a_provider_is_not_reused() {
    for behaviour in [Behaviour::CommentInKey, Behaviour::ControlCharacters] {
        match run(behaviour).await.0.unwrap() {
            JobResult::Pair(pair) => {
                assert_eq!(pair.public_key.as_deref(), Some(PUBLIC_KEY));
                assert!(!pair.name.chars().any(char::is_control), "{:?}", pair.name);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_plugin_that_gives_no_answer_costs_one_error() {
    let cloud = Cloud::start(honest);
    for behaviour in [
        Behaviour::Abort,
        Behaviour::Exit,
        Behaviour::Garbage,
        Behaviour::Segfault,
        Behaviour::Sleep,
        Behaviour::UnknownField,
    ] {
        let error = one(
            setup(&cloud.endpoint, behaviour.name()),
            hooks(),
            request(OperationKind::List),
        )
        .await
        .unwrap_err();
        assert!(
            matches!(
                error,
                JobError::Plugin {
                    effect: Effect::None,
                    ..
                } | JobError::Credentials { .. }
            ),
            "{behaviour:?}: {error:?}"
        );
        assert!(
            error.to_string().contains("plugin hostile"),
            "{behaviour:?}: {error}"
        );
    }
    assert!(cloud.requests().is_empty());
}
