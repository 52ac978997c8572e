use keyferry_plugin::contract::{Create, Delete, Import, List};

use super::*;

const MANIFEST: &str = r#"{
    "name": "test", "version": "1.0.0", "title": "A test", "hosts": ["example.com"], "region": "optional",
    "headers": ["authorization", "x-acs-*"],
    "operations": {
        "create": {"calls": [{
            "method": "POST", "path": "/", "headers": {"x-acs-action": "CreateKeyPair"},
            "parameters": {"KeyPairName": "{name}", "RegionId": "{region}", "Tag.*.Key": "*"}, "required": ["RegionId"]}]},
        "import": {"calls": [{
            "method": "POST", "path": "/", "headers": {"x-acs-action": "ImportKeyPair"},
            "parameters": {"KeyPairName": "{name}", "PublicKeyBody": "{public_key}"}}]},
        "list": {"calls": [{
            "method": "POST", "path": "/", "headers": {"x-acs-action": "DescribeKeyPairs"},
            "parameters": {"PageNumber": "*"}}]},
        "get": {"calls": [{"method": "GET", "path": "/keys/{name}", "parameters": {"Region": "{region}"}}]},
        "delete": {"calls": [
            {"method": "POST", "path": "/", "headers": {"x-acs-action": "DeleteKeyPairs"},
             "parameters": {"KeyPairNames": "[\"{name}\"]", "KeyPairId": "{id}", "RegionId": "*"}},
            {"method": "DELETE", "path": "/keys/{id}"},
            {"method": "POST", "path": "/batch", "body": {"json": {"/names/*": "{name}", "/ids/*": "{id}", "/force": "false"}}},
            {"method": "DELETE", "path": "{base}/*/keys/{name}"}]},
        "attach": {"calls": [
            {"method": "GET", "path": "/lookup"},
            {"method": "POST", "path": "/attach", "body": "form",
             "parameters": {"Name": "{name}", "Id": "{id}", "Instance.*": "{instance}"}},
            {"method": "POST", "path": "/attach-all", "body": "form", "parameters": {"Name": "{name}", "Instances": "{instances}"}}]},
        "list_instances": {"calls": [{"method": "GET", "path": "{base}"}, {"method": "GET", "path": "{base}/", "parameters": {"key": "{name}"}}]},
        "credentials": {"calls": [
            {"method": "POST", "path": "/tokens", "required": ["/auth/methods/0", "nocatalog"], "parameters": {"nocatalog": "*"},
             "body": {"json": {"/auth/methods/*": "password", "/auth/password": "*", "/auth/remember": "false", "/auth/ttl": "*",
                               "/auth/a~1b": "*"}}}]}
    },
    "names": {"min_length": 1, "max_length": 10, "starts_with_letter": true, "punctuation": "-"},
    "algorithms": {"create": [], "import": []},
    "credentials": {}, "fingerprints": []
}"#;

fn request(method: &str, path: &str, action: &str, query: &[(&str, &str)]) -> EvaluatedRequest {
    let value = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
    let mut headers = vec![("authorization".to_owned(), value("x"))];
    if !action.is_empty() {
        headers.push(("x-acs-action".to_owned(), value(action)));
    }
    EvaluatedRequest {
        method: method.to_owned(),
        origin: Origin::parse("https://example.com").unwrap(),
        path: path.to_owned(),
        query: query
            .iter()
            .map(|&(name, text)| (name.to_owned(), value(text)))
            .collect(),
        headers,
        body: value(""),
    }
}

fn judge(operation: &Operation, request: &EvaluatedRequest) -> Result<(), String> {
    let manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
    let subject = Subject::new(operation, Some("cn-hangzhou"));
    let bases = ["/v2.1/p7".to_owned(), String::new()];
    check(request, &manifest, operation.kind(), &subject, &bases)
        .map(drop)
        .map_err(|refusal| refusal.message)
}

#[track_caller]
fn allowed(operation: &Operation, request: &EvaluatedRequest) {
    judge(operation, request).unwrap();
}

#[track_caller]
fn refused(operation: &Operation, request: &EvaluatedRequest, expected: &str) {
    let message = judge(operation, request).unwrap_err();
    assert!(message.contains(expected), "{message}");
}

fn create() -> Operation {
    Operation::Create(Create {
        name: "web-1".to_owned(),
        algorithm: keyferry_plugin::contract::Algorithm::Rsa2048,
    })
}

fn import() -> Operation {
    Operation::Import(Import {
        name: "web-1".to_owned(),
        public_key: "ssh-rsa AAAA".to_owned(),
    })
}

fn reference(name: &str, id: Option<&str>) -> PairReference {
    PairReference {
        name: name.to_owned(),
        id: id.map(str::to_owned),
    }
}

fn delete(pairs: &[PairReference]) -> Operation {
    Operation::Delete(Delete {
        pairs: pairs.to_vec(),
    })
}

#[test]
fn a_listed_call_is_allowed() {
    allowed(
        &create(),
        &request(
            "POST",
            "/",
            "CreateKeyPair",
            &[
                ("RegionId", "cn-hangzhou"),
                ("KeyPairName", "web-1"),
                ("Tag.12.Key", "a"),
            ],
        ),
    );
    allowed(
        &import(),
        &request(
            "POST",
            "/",
            "ImportKeyPair",
            &[("KeyPairName", "web-1"), ("PublicKeyBody", "ssh-rsa AAAA")],
        ),
    );
    allowed(
        &Operation::List(List::default()),
        &request("POST", "/", "DescribeKeyPairs", &[("PageNumber", "7")]),
    );
    allowed(
        &Operation::Get(reference("a/b", None)),
        &request("GET", "/keys/a%2Fb", "", &[("Region", "cn-hangzhou")]),
    );
}

#[test]
fn a_call_of_another_operation_is_refused() {
    let list = Operation::List(List::default());
    refused(
        &list,
        &request("POST", "/", "DeleteKeyPairs", &[("KeyPairNames", "[\"web-1\"]")]),
        "its header `x-acs-action` has another value than the call allows",
    );
    refused(
        &list,
        &request("DELETE", "/keys/1", "", &[]),
        "its method is `DELETE`",
    );
    refused(
        &Operation::Profiles(Default::default()),
        &request("POST", "/", "GetCallerIdentity", &[]),
        "which has no calls",
    );
}

#[test]
fn every_part_of_a_request_is_listed() {
    let good = [("RegionId", "cn-hangzhou"), ("KeyPairName", "web-1")];
    let with = |extra: (&'static str, &'static str)| {
        request("POST", "/", "CreateKeyPair", &[good[0], good[1], extra])
    };
    allowed(&create(), &request("POST", "/", "CreateKeyPair", &good));
    refused(
        &create(),
        &request("POST", "/", "", &good),
        "it has no header `x-acs-action`",
    );
    refused(
        &create(),
        &request("POST", "/other", "CreateKeyPair", &good),
        "its path is `/other`",
    );
    refused(
        &create(),
        &request("PUT", "/", "CreateKeyPair", &good),
        "its method is `PUT`",
    );
    refused(
        &create(),
        &request("POST", "/", "CreateKeyPair", &good[1..]),
        "the parameter `RegionId` is missing",
    );
    refused(
        &create(),
        &with(("Other", "x")),
        "the parameter `Other` is not listed",
    );
    refused(
        &create(),
        &with(("Tag.x.Key", "x")),
        "the parameter `Tag.x.Key` is not listed",
    );
    refused(
        &create(),
        &with(("RegionId", "cn-hangzhou")),
        "sent the parameter `RegionId` twice",
    );
    refused(
        &create(),
        &request(
            "POST",
            "/",
            "CreateKeyPair",
            &[("RegionId", "cn-beijing"), good[1]],
        ),
        "the parameter `RegionId` has another value",
    );
    let mut odd = request("POST", "/", "CreateKeyPair", &good);
    odd.headers
        .push(("x-other".to_owned(), Zeroizing::new(b"x".to_vec())));
    refused(&create(), &odd, "the header `x-other` is not listed");
    let mut odd = request("POST", "/", "CreateKeyPair", &good);
    odd.body.push(b'x');
    refused(&create(), &odd, "it has a body");
}

fn with_body(mut request: EvaluatedRequest, body: &str) -> EvaluatedRequest {
    request.body = Zeroizing::new(body.as_bytes().to_vec());
    request
}

fn with_header(mut request: EvaluatedRequest, name: &str, value: &str) -> EvaluatedRequest {
    let value = Zeroizing::new(value.as_bytes().to_vec());
    request.headers.push((name.to_owned(), value));
    request
}

#[test]
fn every_value_of_a_json_body_is_listed() {
    let login = Operation::Credentials(Default::default());
    let post = |body: &str| with_body(request("POST", "/tokens", "", &[("nocatalog", "")]), body);
    for body in [
        r#"{"auth": {"methods": ["password"], "password": "x\"y", "remember": false, "ttl": 3600, "a/b": null}}"#,
        r#" {"auth":{"methods":["password","password"],"remember":"false"}} "#,
    ] {
        allowed(&login, &post(body));
    }
    for (body, expected) in [
        (
            r#"{"auth": {"methods": ["password"], "extra": 1}}"#,
            "the body's field `/auth/extra` is not listed",
        ),
        (
            r#"{"auth": {"methods": ["password"]}, "x": "y"}"#,
            "the body's field `/x` is not listed",
        ),
        (
            r#"{"auth": {"methods": ["password"], "password": {"a": 1}}}"#,
            "`/auth/password/a` is not listed",
        ),
        (
            r#"{"auth": {"methods": ["password"], "password": ["a"]}}"#,
            "`/auth/password/0` is not listed",
        ),
        (
            r#"{"auth": {"methods": ["password"], "more": {}}}"#,
            "`/auth/more` is not listed",
        ),
        (
            r#"{"auth": {"methods": ["password", []]}}"#,
            "`/auth/methods/1` has another value",
        ),
        (
            r#"{"auth": {"methods": ["token"]}}"#,
            "the body's field `/auth/methods/0` has another value",
        ),
        (
            r#"{"auth": {"methods": ["password"], "remember": true}}"#,
            "`/auth/remember` has another value",
        ),
        (
            r#"{"auth": {"methods": ["password"], "remember": 0}}"#,
            "`/auth/remember` has another value",
        ),
        (
            r#"{"auth": {"methods": {"0": "password", "x": "password"}}}"#,
            "`/auth/methods/0` is not listed",
        ),
        (
            r#"{"auth": {"methods": "password"}}"#,
            "the body has no `/auth/methods/0`",
        ),
        (
            r#"{"auth": {"password": "x"}}"#,
            "the body has no `/auth/methods/0`",
        ),
        (
            r#"{"auth": {"methods": ["password"], "ttl": 1, "ttl": 2}}"#,
            "every name is there once",
        ),
        (
            r#"{"auth": {"methods": ["password"]}, "auth": {}}"#,
            "every name is there once",
        ),
        (
            r#"{"auth": {"methods": ["password"], "ttl": 01}}"#,
            "is not a JSON object",
        ),
        (r#"["password"]"#, "is not a JSON object"),
        ("{}", "is not a JSON object"),
        ("methods=password", "is not a JSON object"),
        ("", "it has no body"),
    ] {
        refused(&login, &post(body), expected);
    }
    let good = r#"{"auth": {"methods": ["password"]}}"#;
    refused(
        &login,
        &with_body(request("POST", "/tokens", "", &[]), good),
        "the parameter `nocatalog` is missing",
    );
    for (value, expected) in [
        ("application/json; charset=utf-8", None),
        ("application/json", None),
        (
            "application/x-www-form-urlencoded",
            Some("its content-type is not application/json"),
        ),
        ("text/plain", Some("its content-type is not application/json")),
    ] {
        // Listed by what the manifest says of headers.
        let mut manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
        manifest.headers.push("content-type".to_owned());
        let request = with_header(post(good), "content-type", value);
        let judged = check(
            &request,
            &manifest,
            login.kind(),
            &Subject::new(&login, None),
            &[String::new()],
        );
        let message = judged.err().map(|refusal| refusal.message);
        match expected {
            None => assert_eq!(message, None),
            Some(expected) => assert!(message.unwrap().ends_with(expected)),
        }
    }
}

#[test]
fn a_json_body_names_the_pair_of_a_delete() {
    let known = delete(&[reference("web-1", Some("ssh-7"))]);
    let batch = |body: &str| with_body(request("POST", "/batch", "", &[]), body);
    allowed(&known, &batch(r#"{"names": ["web-1"]}"#));
    allowed(&known, &batch(r#"{"ids": ["ssh-7"], "force": false}"#));
    for body in [
        r#"{"names": ["web-1", "web-2"]}"#,
        r#"{"names": ["web-2"]}"#,
        r#"{"names": ["web-1"], "ids": ["ssh-8"]}"#,
        r#"{"force": false}"#,
        r#"{"names": []}"#,
        r#"{"names": "web-1"}"#,
    ] {
        let refusal = judge(&known, &batch(body)).unwrap_err();
        assert!(!refusal.is_empty(), "{body}");
    }
}

#[test]
fn a_form_is_held_to_the_parameters() {
    let attach = Operation::Attach(keyferry_plugin::contract::Attachment {
        pair: reference("web 1", Some("ssh-7")),
        instances: vec!["i-1".to_owned(), "i-2".to_owned()],
    });
    let post = |body: &str| with_body(request("POST", "/attach", "", &[]), body);
    allowed(&attach, &post("Name=web%201&Instance.1=i-1"));
    allowed(&attach, &post("Instance.1=i%2d1&Id=ssh-7&Instance.2=i-2"));
    allowed(&attach, &post("Name=web+1&Instance.1=i-2"));
    allowed(&attach, &request("GET", "/lookup", "", &[]));
    for (body, expected) in [
        (
            "Name=other&Instance.1=i-1",
            "the parameter `Name` has another value",
        ),
        ("Name=web%201&Id=ssh-8", "the parameter `Id` has another value"),
        ("Name=web%201&Name=web%201", "sent the parameter `Name` twice"),
        ("Name=web%201&%4eame=other", "sent the parameter `Name` twice"),
        ("Name=web%201&Force=true", "the parameter `Force` is not listed"),
        ("Instance.1=i-1", "does not say which pair it is about ({name})"),
        ("Name=web%201", "does not say which instances it is about"),
        (
            "Name=web%201&Instance.1=i-1&Instance.2=i-3",
            "the parameter `Instance.2` has another value",
        ),
        ("Name=web 1", "is not a form"),
        ("Name=web%201&", "is not a form"),
        ("Name", "is not a form"),
        ("Name=web%2", "is not a form"),
        ("Name=web%201;Id=ssh-8", "is not a form"),
        (r#"{"Name":"web 1"}"#, "is not a form"),
    ] {
        refused(&attach, &post(body), expected);
    }
    let mut both = post("Name=web%201");
    both.query
        .push(("Name".to_owned(), Zeroizing::new(b"other".to_vec())));
    refused(&attach, &both, "it has a query besides the form");
}

#[test]
fn a_list_of_instances_holds_those_that_were_asked_for_alone() {
    let attach = Operation::Attach(keyferry_plugin::contract::Attachment {
        pair: reference("web-1", None),
        instances: vec!["i-1".to_owned(), "i-2".to_owned()],
    });
    let post = |list: &str| {
        let list = percent_text(list);
        let body = format!("Name=web-1&Instances={list}");
        with_body(request("POST", "/attach-all", "", &[]), &body)
    };
    for list in [r#"["i-1"]"#, r#"["i-1", "i-2"]"#, r#"["i-2","i-1"]"#] {
        allowed(&attach, &post(list));
    }
    for list in [
        r#"["i-3"]"#,
        r#"["i-1","i-3"]"#,
        "[]",
        "i-1",
        r#""i-1""#,
        r#"["i-1"] ["i-3"]"#,
        r#"{"i-1":"i-3"}"#,
    ] {
        refused(
            &attach,
            &post(list),
            "the parameter `Instances` has another value",
        );
    }
}

#[test]
fn a_path_is_the_calls_below_its_base() {
    let named = delete(&[reference("web-1", None)]);
    let path = |path: &str| request("DELETE", path, "", &[]);
    allowed(&named, &path("/v2.1/p7/x/keys/web-1"));
    allowed(&named, &path("/x/keys/web-1"));
    for odd in [
        "/v2.1/p8/x/keys/web-1",
        "/v2.1/p7/keys/web-1",
        "/v2.1/p7/x/y/keys/web-1",
        "/v2.1/p7//keys/web-1",
        "/v2.1/p7/x%2Fy/keys/web-1",
        "/v2.1/p7/x%252Fy/keys/web-1",
        "/v2.1/p7/x/keys/web-2",
        "/v2.1/p7x/x/keys/web-1",
    ] {
        refused(&named, &path(odd), "its path is");
    }
    let instances = Operation::ListInstances(reference("web-1", None));
    for good in ["/v2.1/p7", "/"] {
        allowed(&instances, &request("GET", good, "", &[]));
    }
    allowed(&instances, &request("GET", "/v2.1/p7/", "", &[("key", "web-1")]));
    refused(
        &instances,
        &request("GET", "/v2.1/p7/", "", &[("key", "web-2")]),
        "has another value",
    );
    refused(&instances, &request("GET", "/v2.1", "", &[]), "its path is");
}

#[test]
fn a_public_key_may_be_in_base64_once_more() {
    for (key, is_good) in [("c3NoLXJzYSBBQUFB", true), ("c3NoLXJzYSBCQkJC", false)] {
        let query = [("KeyPairName", "web-1"), ("PublicKeyBody", key)];
        assert_eq!(
            judge(&import(), &request("POST", "/", "ImportKeyPair", &query)).is_ok(),
            is_good
        );
    }
}

#[test]
fn the_form_of_a_request_is_keyferrys() {
    let good = [("RegionId", "cn-hangzhou"), ("KeyPairName", "web-1")];
    for (name, value, expected) in [
        ("host", "evil.example", "set the header `host`"),
        ("content-length", "0", "set the header `content-length`"),
        (
            "transfer-encoding",
            "chunked",
            "set the header `transfer-encoding`",
        ),
        ("proxy-authorization", "x", "set the header `proxy-authorization`"),
        ("X-Acs-Date", "x", "used the header name"),
        ("x-acs-a: b", "x", "used the header name"),
        (
            "x-acs-date",
            "a\r\nx-other: b",
            "put control or other than ASCII characters",
        ),
        ("x-acs-action", "CreateKeyPair", "twice"),
    ] {
        let mut odd = request("POST", "/", "CreateKeyPair", &good);
        odd.headers
            .push((name.to_owned(), Zeroizing::new(value.as_bytes().to_vec())));
        refused(&create(), &odd, expected);
    }
    for path in [
        "",
        "keys",
        "/keys?x=y",
        "/keys#x",
        "/a b",
        "/keys/../x",
        "/keys/%2E%2e/x",
        "/ü",
    ] {
        refused(
            &create(),
            &request("POST", path, "CreateKeyPair", &good),
            "used the path",
        );
    }
    refused(
        &create(),
        &request("CONNECT", "/", "CreateKeyPair", &good),
        "used the method `CONNECT`",
    );
    let mut long = request("POST", "/", "CreateKeyPair", &good);
    long.query.push((
        "Tag.1.Key".to_owned(),
        Zeroizing::new(vec![b'x'; caps::MAX_REQUEST]),
    ));
    refused(&create(), &long, "made a request of more than 262144 bytes");
}

#[test]
fn name_and_public_key_are_ours() {
    let region = ("RegionId", "cn-hangzhou");
    refused(
        &create(),
        &request("POST", "/", "CreateKeyPair", &[region, ("KeyPairName", "other")]),
        "`KeyPairName` has another value",
    );
    refused(
        &create(),
        &request("POST", "/", "CreateKeyPair", &[region]),
        "does not say which pair it is about ({name})",
    );
    refused(
        &import(),
        &request(
            "POST",
            "/",
            "ImportKeyPair",
            &[("KeyPairName", "web-1"), ("PublicKeyBody", "ssh-rsa BBBB")],
        ),
        "`PublicKeyBody` has another value",
    );
    refused(
        &import(),
        &request("POST", "/", "ImportKeyPair", &[("KeyPairName", "web-1")]),
        "({public_key})",
    );
}

#[test]
fn a_delete_names_its_pair() {
    let named = delete(&[reference("web-1", None)]);
    let known = delete(&[reference("web-1", Some("ssh-7"))]);
    let by = |query: &[(&str, &str)]| request("POST", "/", "DeleteKeyPairs", query);
    allowed(&named, &by(&[("KeyPairNames", "[\"web-1\"]")]));
    allowed(&known, &by(&[("KeyPairId", "ssh-7"), ("RegionId", "x")]));
    allowed(&known, &request("DELETE", "/keys/ssh-7", "", &[]));
    for odd in [
        by(&[("KeyPairNames", "[\"web-2\"]")]),
        by(&[("KeyPairNames", "[\"web-1\",\"web-2\"]")]),
        by(&[("KeyPairNames", "[\"web-1\"]"), ("KeyPairId", "ssh-8")]),
        by(&[("KeyPairId", "ssh-8")]),
        by(&[("RegionId", "x")]),
        by(&[]),
        request("DELETE", "/keys/ssh-8", "", &[]),
        request("DELETE", "/keys/*", "", &[]),
    ] {
        assert!(judge(&known, &odd).is_err());
    }
    // Without an id there is nothing that an id may be.
    assert!(judge(&named, &by(&[("KeyPairNames", "[\"web-1\"]"), ("KeyPairId", "")])).is_err());
    assert!(judge(&named, &request("DELETE", "/keys/", "", &[])).is_err());
    let several = delete(&[reference("a", None), reference("b", None)]);
    allowed(&several, &by(&[("KeyPairNames", "[\"a\",\"b\"]")]));
}

#[test]
fn the_value_of_a_header_is_not_quoted() {
    let secret = "s".repeat(150);
    let message = judge(
        &create(),
        &request("POST", "/", &secret, &[("RegionId", "cn-hangzhou")]),
    )
    .unwrap_err();
    assert!(
        message.ends_with("its header `x-acs-action` has another value than the call allows"),
        "{message}"
    );
}
