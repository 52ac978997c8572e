//! `keyferry plugin request`: held against requests captured from the vendors' own SDKs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use cloud_sim::Service;
use cloud_sim::vectors::{self, Vector};
use cloud_sim::wire::Request;
use keyferry_tests::home::Home;
use serde_json::{Value, json};

use crate::program::{Ran, command, keyferry, text};

/// The captured requests for pairs of Alibaba's services that are signed as the plugins sign, with permanent
/// (`basic`) and temporary (`sts`) credentials.
fn captured() -> Vec<Vector> {
    let is_meant = |vector: &Vector| {
        vector.service.name().starts_with("alibaba-")
            && ["create", "import", "list", "delete", "attach", "detach"].contains(&&*vector.operation)
            && ["basic", "sts"].contains(&&*vector.variant)
            && vector.signing != "HMAC-SHA1"
    };
    vectors::captured().into_iter().filter(is_meant).collect()
}

fn parameters(request: &Request) -> BTreeMap<String, String> {
    let pairs = request.parameters().expect("parameters are text");
    let count = pairs.len();
    let map: BTreeMap<String, String> = pairs.into_iter().collect();
    assert_eq!(map.len(), count, "a parameter stands there twice");
    map
}

/// How the credentials get into the account.
#[derive(Clone, Copy, Debug)]
enum From {
    Environment,
    File,
}

/// Runs `keyferry plugin request` as the vector has it.
fn ask(home: &Home, vector: &Vector, from: From, json: bool) -> Ran {
    let names = [
        ("access_key_id", Some(&vector.credential.access_key)),
        ("access_key_secret", Some(&vector.credential.secret_key)),
        ("security_token", vector.credential.session_token.as_ref()),
    ];
    let given = names
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_ref()?)));
    let mut command = command(home.root());
    let source = match from {
        From::File => {
            let path = home.path("credentials.json");
            let fields: BTreeMap<&str, &String> = given.map(|(name, value)| (name, *value)).collect();
            fs::write(&path, json!(fields).to_string()).expect("a file can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("modes can be set");
            format!("file = \"{}\"", path.display())
        }
        From::Environment => {
            let fields: Vec<String> = given
                .map(|(name, value)| {
                    let variable = format!("CASE_{}", name.to_uppercase());
                    command.env(&variable, value);
                    format!("{name} = \"{variable}\"")
                })
                .collect();
            format!("env = {{ {} }}", fields.join(", "))
        }
    };
    let region = parameters(&vector.request).get("RegionId").cloned();
    home.write(
        "accounts/captured.toml",
        &format!(
            "plugin = \"{}\"\nregion = \"{}\"\nendpoint = \"http://{}\"\n[credentials]\n{source}\n",
            vector.service.name(),
            region.unwrap_or_else(|| "cn-hangzhou".to_owned()),
            vector.host
        ),
    );
    command
        .args([
            "plugin",
            "request",
            vector.service.name(),
            "--operation",
            &vector.operation,
        ])
        .arg("--account")
        .arg(home.config().join("accounts/captured.toml"))
        .args([
            "--now",
            &humantime::format_rfc3339_seconds(vector.time).to_string(),
        ])
        .args(vector.nonce.iter().flat_map(|nonce| ["--nonce", nonce]))
        .args(asked_parameters(vector));
    if json {
        command.arg("--json");
    }
    let output = command.output().expect("keyferry can be started");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("text is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("text is UTF-8"),
    }
}

/// The contract's parameters for what the vector's request asks.
fn asked_parameters(vector: &Vector) -> Vec<String> {
    let parameters = parameters(&vector.request);
    let mut asked = Vec::new();
    asked.extend(parameters.get("KeyPairName").map(|name| format!("name={name}")));
    if let Some(names) = parameters.get("KeyPairNames") {
        let names: Vec<String> = serde_json::from_str(names).expect("KeyPairNames is a JSON list");
        asked.extend(names.iter().map(|name| format!("name={name}")));
    }
    // Where each name is a parameter of its own, the manifest lists one: no more is ever deleted at once.
    asked.extend(
        parameters
            .get("KeyPairNames.1")
            .map(|name| format!("name={name}")),
    );
    if let Some(instances) = parameters.get("InstanceIds") {
        let instances: Vec<String> = serde_json::from_str(instances).expect("InstanceIds is a JSON list");
        asked.extend(instances.iter().map(|id| format!("instance={id}")));
    }
    let numbered = (1..).map_while(|n| parameters.get(&format!("InstanceIds.{n}")));
    asked.extend(numbered.map(|id| format!("instance={id}")));
    asked.extend(
        parameters
            .get("PublicKeyBody")
            .map(|key| format!("public_key={key}")),
    );
    asked
        .into_iter()
        .flat_map(|parameter| ["--param".to_owned(), parameter])
        .collect()
}

/// The printed request as it would be on the wire, with the security token back in its place.
fn on_the_wire(printed: &Value, vector: &Vector) -> Request {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let url = text(&printed["url"]);
    let rest = url.strip_prefix("http://").expect("the account's endpoint");
    let (host, target) = match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('?') => (&rest[..at], format!("/{}", &rest[at..])),
        Some(at) => (&rest[..at], rest[at..].to_owned()),
        None => (rest, "/".to_owned()),
    };
    assert_eq!(host, vector.host, "{}", vector.id);
    let token = vector
        .credential
        .session_token
        .as_deref()
        .unwrap_or("no token was given");
    let mut headers: Vec<(String, String)> = printed["headers"]
        .as_array()
        .expect("headers are a list")
        .iter()
        .map(|header| {
            assert_eq!(header.as_array().map(Vec::len), Some(2), "{header:#}");
            (
                text(&header[0]),
                text(&header[1]).replace("<security_token>", token),
            )
        })
        .collect();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        headers.push(("host".to_owned(), host.to_owned()));
    }
    Request {
        method: text(&printed["method"]),
        target,
        headers,
        body: text(&printed["body"]).into_bytes(),
    }
}

#[test]
fn vectors_are_asked_for_in_the_same_words_and_signed_validly() {
    let home = Home::new();
    let mut seen = Vec::new();
    for vector in captured() {
        for from in [From::Environment, From::File] {
            let ran = ask(&home, &vector, from, true);
            assert_eq!(ran.code, 0, "{} {from:?}: {ran:#?}", vector.id);
            let printed: Value = serde_json::from_str(&ran.stdout).expect("--json prints JSON");
            let fields: Vec<&String> = printed.as_object().expect("an object").keys().collect();
            assert_eq!(fields, ["body", "headers", "method", "url"], "{}", vector.id);
            let request = on_the_wire(&printed, &vector);
            assert_eq!(request.method, vector.request.method, "{}", vector.id);
            assert_eq!(request.path(), vector.request.path(), "{}", vector.id);
            same_parameters(&request, &vector);

            let claim = vector
                .service
                .verify(&request, std::slice::from_ref(&vector.credential), vector.time)
                .unwrap_or_else(|refusal| panic!("{} {from:?}: {refusal:?}\n{printed:#}", vector.id));
            assert_eq!(claim.nonce, vector.nonce, "{}", vector.id);
            assert_eq!(claim.timestamp, vector.timestamp, "{}", vector.id);
            for name in ["x-acs-action", "x-acs-version"] {
                assert_eq!(request.header(name), vector.request.header(name), "{}", vector.id);
            }
        }
        seen.push(format!("{}-{}", vector.service.name(), vector.operation));
    }
    if vectors::are_our_own() {
        for service in [Service::AlibabaEcs, Service::AlibabaEns, Service::AlibabaSwas] {
            for operation in ["create", "import", "list", "delete", "attach", "detach"] {
                let wanted = format!("{}-{operation}", service.name());
                assert!(seen.contains(&wanted), "no vector for {wanted}");
            }
        }
    }
}

/// Method, host and path are compared as they are; so are parameters, but for lists of names that are JSON text,
/// and for `list`, which pages and asks for the public keys.
#[track_caller]
fn same_parameters(request: &Request, vector: &Vector) {
    let (mut ours, mut theirs) = (parameters(request), parameters(&vector.request));
    if vector.service == Service::AlibabaSwas {
        // The SDK sends one where it is told to.
        assert_eq!(ours.remove("ClientToken").is_some(), vector.operation != "list");
        theirs.remove("KeyPairNames.2");
    }
    match (vector.service, &*vector.operation) {
        (_, "delete" | "attach" | "detach") => {
            let lists = |from: &mut BTreeMap<String, String>| {
                let texts = ["KeyPairNames", "InstanceIds"].map(|name| from.remove(name));
                texts.map(|text| {
                    text.map(|text| serde_json::from_str::<Vec<String>>(&text).expect("a list is JSON"))
                })
            };
            assert_eq!(lists(&mut ours), lists(&mut theirs), "{}", vector.id);
        }
        (_, "list") => {
            let more = [
                "IncludePublicKey",
                "MaxResults",
                "NextToken",
                "PageNumber",
                "PageSize",
            ];
            ours.retain(|name, _| !more.contains(&name.as_str()));
            theirs.retain(|name, _| !more.contains(&name.as_str()));
        }
        _ => {}
    }
    assert_eq!(ours, theirs, "{}", vector.id);
}

/// A bearer credential is shown by its name, the secret not at all, in JSON and in text.
#[test]
fn vectors_are_shown_without_their_secrets() {
    let home = Home::new();
    let mut tokens = 0;
    for vector in captured() {
        for json in [true, false] {
            let ran = ask(&home, &vector, From::File, json);
            assert_eq!(ran.code, 0, "{}: {ran:#?}", vector.id);
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert!(
                !all.contains(&vector.credential.secret_key),
                "{}: the secret is shown",
                vector.id
            );
            assert!(
                all.contains(&vector.credential.access_key),
                "{}: {all}",
                vector.id
            );
            let Some(token) = &vector.credential.session_token else {
                assert!(!all.contains("<security_token>"), "{}: {all}", vector.id);
                continue;
            };
            tokens += 1;
            assert!(!all.contains(token.as_str()), "{}: the token is shown", vector.id);
            assert!(all.contains("<security_token>"), "{}: {all}", vector.id);
        }
    }
    assert!(tokens > 0 || !vectors::are_our_own(), "no vector has a token");
}

#[test]
fn a_request_needs_no_cloud_and_no_nonce() {
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", "http://127.0.0.1:9");
    let account = text(&home.config().join("accounts/ecs.toml"));
    let base = [
        "plugin",
        "request",
        "alibaba-ecs",
        "--account",
        &account,
        "--json",
        "--operation",
    ];
    let run = |more: &[&str]| keyferry(home.root(), &[&base[..], more].concat());
    let (one, other) = (run(&["list"]), run(&["list"]));
    assert_eq!((one.code, other.code), (0, 0), "{one:#?}");
    assert_ne!(one.stdout, other.stdout, "a nonce of its own each time");
    let ran = run(&["list", "--param", "page_size=7"]);
    assert!(ran.stdout.contains("=7"), "{ran:#?}");
}

#[test]
fn wrong_words_are_answered_with_the_right_ones() {
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", "http://127.0.0.1:9");
    let account = text(&home.config().join("accounts/ecs.toml"));
    for (plugin, more, code, words) in [
        (
            "alibaba-ecs",
            &["--operation", "craete"][..],
            2,
            &["create, import, list, get, delete, attach, detach, list_instances"][..],
        ),
        (
            "alibaba-ecs",
            &["--operation", "create"],
            2,
            &["create needs --param name="],
        ),
        (
            "alibaba-ecs",
            &["--operation", "import", "--param", "name=a"],
            2,
            &["public_key"],
        ),
        (
            "alibaba-ecs",
            &["--operation", "create", "--param", "nmae=a"],
            2,
            &["name, public_key, id, instance"],
        ),
        (
            "alibaba-ecs",
            &["--operation", "create", "--param", "name"],
            2,
            &["NAME=VALUE"],
        ),
        (
            "alibaba-ecs",
            &["--operation", "list", "--param", "name=a"],
            2,
            &["takes no parameter name"],
        ),
        (
            "alibaba-ecs",
            &["--operation", "list", "--param", "page_size=many"],
            2,
            &["whole number"],
        ),
        (
            "alibaba-ecs",
            &["--operation", "create", "--param", "name=a", "--param", "name=b"],
            2,
            &["takes one name"],
        ),
        (
            "alibaba-ecs",
            &["--operation", "list", "--now", "yesterday"],
            2,
            &["RFC 3339"],
        ),
        (
            "alibaba-ecs",
            &[
                "--operation",
                "import",
                "--param",
                "name=web",
                "--param",
                "public_key=hello",
            ],
            2,
            &["public_key", "authorized_keys"],
        ),
        (
            "alibaba-ens",
            &["--operation", "list"],
            2,
            &["account of plugin alibaba-ecs"],
        ),
        ("alibaba-esc", &["--operation", "list"], 1, &["alibaba-ecs"]),
    ] {
        let arguments = [&["plugin", "request", plugin, "--account", &account], more].concat();
        let ran = keyferry(home.root(), &arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:#?}");
        for word in words {
            assert!(
                ran.stderr.contains(word),
                "{arguments:?}: {word} is not in {}",
                ran.stderr
            );
        }
        assert!(ran.stdout.is_empty(), "{ran:#?}");
    }
}
