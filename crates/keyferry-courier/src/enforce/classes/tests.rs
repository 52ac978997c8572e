use super::*;
use crate::recipe::Field;
use crate::secret::Secret;

fn fields() -> BTreeMap<String, CredentialField> {
    let field = |class, places: &[&str]| CredentialField {
        class,
        optional: false,
        places: places.iter().map(|&place| place.to_owned()).collect(),
    };
    BTreeMap::from([
        ("id".to_owned(), field(FieldClass::Public, &[])),
        ("key".to_owned(), field(FieldClass::HmacKey, &[])),
        (
            "token".to_owned(),
            field(FieldClass::Bearer, &["header:x-token", "query:Token"]),
        ),
        (
            "password".to_owned(),
            field(
                FieldClass::Bearer,
                &["json:/auth/password", "json:/many/*/secret", "form:Password"],
            ),
        ),
    ])
}

fn request(place: &str, value: Expr) -> HttpRequest {
    let mut request = HttpRequest {
        method: "POST".to_owned(),
        origin: "https://example.com".to_owned(),
        path: "/".to_owned(),
        query: Vec::new(),
        headers: Vec::new(),
        body: Expr::text(""),
    };
    match place.split_once(':') {
        Some(("query", name)) => request.query.push((name.to_owned(), value)),
        Some((_, name)) => request.headers.push((name.to_owned(), value)),
        None => request.body = value,
    }
    request
}

#[track_caller]
fn allowed(place: &str, value: Expr) {
    check(&request(place, value), &fields(), &Fields::new()).unwrap();
}

#[track_caller]
fn refused(place: &str, value: Expr) -> String {
    check(&request(place, value), &fields(), &Fields::new())
        .unwrap_err()
        .message
}

fn key() -> Expr {
    Expr::secret("key")
}

fn token() -> Expr {
    Expr::secret("token")
}

fn text() -> Expr {
    Expr::text("text")
}

#[test]
fn an_hmac_key_signs_and_derives() {
    let signed = Expr::hmac_sha256(key(), text());
    allowed("header:authorization", signed.clone().hex());
    allowed(
        "query:Signature",
        Expr::hmac_sha1(Expr::concat([key(), Expr::text("&")]), text()).base64(),
    );
    let derived = Expr::hmac_sha256(Expr::concat([Expr::text("AWS4"), key()]), text());
    allowed(
        "body",
        Expr::hmac_sha256(Expr::hmac_sha256(derived, text()), text()).hex(),
    );
}

#[test]
fn an_hmac_key_stands_nowhere_else() {
    refused("header:x-token", key());
    refused("query:q", key());
    refused("body", key());
    refused("body", key().sha256().hex());
    refused("body", key().base64());
    refused("body", Expr::hmac_sha256(key().sha256(), text()));
    refused("body", Expr::hmac_sha256(Expr::concat([key(), key()]), text()));
    refused(
        "body",
        Expr::hmac_sha256(Expr::concat([key(), Expr::secret("id")]), text()),
    );
    refused("body", Expr::hmac_sha256(text(), key()));
    // Sealed by itself it is still no data.
    refused("body", Expr::hmac_sha256(key(), key()));
    let message = refused("header:x-other", Expr::concat([Expr::text("a"), key()]));
    assert_eq!(
        message,
        "put the credential field `key` in header:x-other: it may stand only in the key of an HMAC, with literal text around it"
    );
}

#[test]
fn a_bearer_stands_in_its_places_and_under_a_seal() {
    allowed("header:X-Token", token());
    allowed("header:x-token", Expr::concat([Expr::text("Bearer "), token()]));
    allowed("query:Token", token());
    allowed(
        "header:authorization",
        Expr::hmac_sha256(key(), Expr::concat([token(), text()]).sha256().hex()).hex(),
    );
    let derived = Expr::hmac_sha256(key(), text());
    allowed(
        "header:authorization",
        Expr::hmac_sha256(derived, token().percent()).hex(),
    );
}

#[test]
fn a_bearer_stands_nowhere_else() {
    refused("header:x-other", token());
    refused("query:token", Expr::concat([token(), Expr::secret("id")]));
    refused("body", token());
    for disguise in [
        Expr::sha256,
        Expr::hex,
        Expr::base64,
        Expr::percent,
        Expr::json_string,
    ] {
        refused("header:x-token", disguise(token()));
        refused("body", disguise(token()));
    }
    refused("header:x-token", Expr::concat([token(), token()]));
    refused("body", Expr::hmac_sha256(token(), text()).hex());
}

/// What the body of this text is judged, with a recipe for each `$`.
fn body(text: &str, parts: &[Expr]) -> Result<(), String> {
    let mut pieces = Vec::new();
    for (index, piece) in text.split('$').enumerate() {
        if index > 0 {
            pieces.push(parts[index - 1].clone());
        }
        pieces.push(Expr::text(piece));
    }
    let field = |of: Option<&str>| Field {
        class: FieldClass::Bearer,
        of: of.map(str::to_owned),
        value: Secret::from_text("sesame\",\"x\":\"&y=z"),
    };
    let values = Fields::from([
        ("password".to_owned(), field(None)),
        ("token".to_owned(), field(None)),
        ("handle-1".to_owned(), field(Some("password"))),
        (
            "key".to_owned(),
            Field {
                class: FieldClass::HmacKey,
                ..field(None)
            },
        ),
    ]);
    check(&request("body", Expr::concat(pieces)), &fields(), &values).map_err(|refusal| {
        assert_eq!(refusal.rule, Rule::CredentialPlace);
        refusal.message
    })
}

fn json(name: &str) -> Expr {
    Expr::secret(name).json_string()
}

fn percent(name: &str) -> Expr {
    Expr::secret(name).percent()
}

#[test]
fn a_bearer_is_a_whole_value_of_a_body_in_its_place() {
    for name in ["password", "handle-1"] {
        body(r#"{"auth": {"user": "x", "password": $}}"#, &[json(name)]).unwrap();
        body(
            r#"{"many": [{"secret": $}, {"secret": $}]}"#,
            &[json(name), json(name)],
        )
        .unwrap();
        body("User=x&Password=$", &[percent(name)]).unwrap();
    }
    let signed = Expr::hmac_sha256(key(), json("password")).hex();
    body(
        r#"{"auth": {"password": $}, "sign": "$"}"#,
        &[json("password"), signed],
    )
    .unwrap();
}

#[test]
fn a_bearer_is_nothing_else_in_a_body() {
    let password = || Expr::secret("password");
    let around = || Expr::concat([Expr::text("x"), password()]);
    for (text, parts) in [
        (r#"{"auth": {"user": $}}"#, vec![json("password")]),
        (r#"{"auth": {"password": {"x": $}}}"#, vec![json("password")]),
        (r#"{"auth": {$: "x"}}"#, vec![json("password")]),
        (
            r#"{"auth": {"password": $, "user": $}}"#,
            vec![json("password"), json("password")],
        ),
        (
            r#"{"auth": {"password": $, $: "x"}}"#,
            vec![json("password"), json("password")],
        ),
        (
            r#"{"auth": {"password": $}, "user": "<password>"}"#,
            vec![json("password")],
        ),
        (
            r#"{"auth": {"password": "<password>", "user": $}}"#,
            vec![json("password")],
        ),
        (
            r#"{"auth": {"password": $, "user": "$"}}"#,
            vec![json("password"), percent("password")],
        ),
        (
            r#"{"auth": {"password": $}, "auth": {"password": $}}"#,
            vec![json("password"), json("password")],
        ),
        (r#"{"auth": {"password": $}"#, vec![json("password")]),
        (r#"[$]"#, vec![json("password")]),
        ("$", vec![json("password")]),
        // Not as it is, not within something, not disguised.
        (r#"{"auth": {"password": "$"}}"#, vec![password()]),
        (r#"{"auth": {"password": $}}"#, vec![around().json_string()]),
        (r#"{"auth": {"password": "$"}}"#, vec![percent("password")]),
        (
            r#"{"auth": {"password": $, "user": "$"}}"#,
            vec![json("password"), json("password").hex()],
        ),
        (
            r#"{"auth": {"password": $, "user": "$"}}"#,
            vec![json("password"), password().hex()],
        ),
        (r#"{"auth": {"password": $}}"#, vec![json("token")]),
        ("User=$", vec![percent("password")]),
        ("Password=x$", vec![percent("password")]),
        ("Password=$", vec![json("password")]),
        ("Password=$", vec![password()]),
        ("$=x", vec![percent("password")]),
        (
            "Password=$&User=$",
            vec![percent("password"), percent("password")],
        ),
        ("Password=$", vec![percent("token")]),
        ("$", vec![percent("password")]),
    ] {
        let shown = format!("{text} {parts:?}");
        let message = body(text, &parts).expect_err(&shown);
        assert!(
            message.starts_with("put the credential field"),
            "{shown}: {message}"
        );
    }
    for disguise in [Expr::hex, Expr::base64, Expr::sha256] {
        assert!(body("$", &[disguise(json("password"))]).is_err());
    }
    refused("header:x-token", percent("password"));
    refused("query:Password", Expr::secret("password"));
}

#[test]
fn an_hmac_with_a_key_that_anybody_knows_seals_nothing() {
    refused("body", Expr::hmac_sha256(text(), token()).hex());
    refused("body", Expr::hmac_sha256(Expr::secret("id"), token()).hex());
    // The secret in the data of the key's HMAC is not its key.
    refused(
        "body",
        Expr::hmac_sha256(Expr::hmac_sha256(text(), Expr::secret("id")), token()),
    );
}

#[test]
fn public_stands_anywhere_and_the_unknown_nowhere() {
    allowed(
        "body",
        Expr::concat([Expr::secret("id"), Expr::secret("id").sha256()]),
    );
    assert!(refused("body", Expr::secret("private_key")).contains("not one of its credential fields"));
}

#[test]
fn what_is_reserved_is_refused_by_name() {
    let parts = Box::new(Hmac {
        key: key(),
        data: text(),
    });
    assert_eq!(
        refused("body", Expr::HmacSha512(parts.clone())),
        "used HMAC-SHA-512 in body: not in this version"
    );
    assert_eq!(
        refused("body", Expr::RsaSha256(parts)),
        "used RSA-SHA-256 in body: not in this version"
    );
}

#[test]
fn parts_are_counted_before_they_are_looked_at() {
    let (fields, values) = (fields(), Fields::new());
    let visited = |value: Expr| {
        let mut walk = Walk::new(&fields, &values);
        let request = request("body", value);
        let outcome = walk.check_request(&request);
        (walk.visited, outcome.map_err(|refusal| refusal.rule))
    };
    let many = |count| Expr::Concat(vec![text(); count]);
    assert_eq!(visited(many(350_000)), (1, Err(Rule::Limit)));
    // Spread over several, they are still those of one request.
    let (looked_at, outcome) = visited(Expr::Concat(vec![many(1000); 350]));
    assert_eq!(outcome, Err(Rule::Limit));
    assert!(looked_at <= MAX_NODES, "{looked_at}");
    assert_eq!(visited(many(MAX_NODES - 1)), (MAX_NODES, Ok(())));
    let mut headers = request("body", text());
    headers.headers = vec![("x-note".to_owned(), text()); 350_000];
    let mut walk = Walk::new(&fields, &values);
    assert_eq!(walk.check_request(&headers).unwrap_err().rule, Rule::Limit);
    assert_eq!(walk.visited, MAX_NODES + 1);
}

#[test]
fn depth_is_limited() {
    let deep = (0..=MAX_DEPTH).fold(text(), |expr, _| expr.hex());
    assert!(refused("body", deep).contains("nests more than 32 deep"));
}
