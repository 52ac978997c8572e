//! Line a: where a credential field may stand in a recipe.
//!
//! - `hmac_key`: in the key of an HMAC, with nothing but literal text before and after it.
//! - `bearer`: in a place that the manifest names for it, in a header or parameter with nothing but literal text around
//!   it, in a form or a JSON body as a whole value; and anywhere in the data of an HMAC whose key derives from an
//!   `hmac_key`. An HMAC with a key that everybody can know hides nothing, so its data count as outside.
//! - `public`: anywhere.
//!
//! Only the shape of a recipe is looked at, and of a body what it is with names in place of bearers, never a value.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_plugin::manifest::{CredentialField, FieldClass};
use keyferry_plugin::recipe::{Expr, Hmac, HttpRequest};

use super::{Refusal, Rule, calls};
use crate::recipe::{Evaluator, Fields, MAX_DEPTH, MAX_NODES};

/// Checks all recipes of a request. A name is one of the manifest's fields, or one of `values` that is such a field.
pub(crate) fn check(
    request: &HttpRequest,
    fields: &BTreeMap<String, CredentialField>,
    values: &Fields,
) -> Result<(), Refusal> {
    let mut walk = Walk::new(fields, values);
    walk.check_request(request)?;
    let bearers = walk.in_body.iter().map(|&name| (name, walk.rules(name)));
    let bearers: BTreeMap<&str, &CredentialField> =
        bearers.filter_map(|(name, rules)| Some((name, rules?))).collect();
    if bearers.is_empty() {
        return Ok(());
    }
    // Where in the body they stand shows with their names in place of their values. What JSON strings and
    // percent-encoding make of either is one value.
    let shown = Evaluator::new(values, true)
        .bytes(&request.body)
        .map_err(|error| {
            let message = format!("made a request that has no value: {error}");
            Refusal::new(error.rule(), message)
        })?;
    check_body(&shown, &bearers)
}

/// Checks that bearers are whole values of a body, at places of theirs. In the body, `<name>` stands for them.
fn check_body(shown: &[u8], bearers: &BTreeMap<&str, &CredentialField>) -> Result<(), Refusal> {
    // A form has no `{`, so a body is not both.
    let (form, json) = (calls::form(shown), calls::values(shown));
    for (name, field) in bearers {
        let mark = format!("<{name}>").into_bytes();
        let listed = |kind: &str| -> Vec<&str> {
            let places = field.places.iter();
            places.filter_map(|place| place.strip_prefix(kind)).collect()
        };
        let in_form = form
            .iter()
            .flatten()
            .filter(|(parameter, value)| **value == mark && listed("form:").contains(&parameter.as_str()));
        let pointers: Vec<_> = listed("json:")
            .into_iter()
            .filter_map(crate::json::tokens)
            .collect();
        let in_json = json.iter().flatten().filter(|value| {
            *value.text == mark
                && pointers
                    .iter()
                    .any(|pointer| crate::json::is_at(&value.path, pointer))
        });
        let in_place = in_form.count() + in_json.count();
        let percented = format!("%3C{name}%3E").into_bytes();
        let count = |needle: &[u8]| {
            let windows = shown.windows(needle.len());
            windows.filter(|window| *window == needle).count()
        };
        if in_place == 0 || in_place != count(&mark) + count(&percented) {
            return Err(Refusal::new(
                Rule::CredentialPlace,
                format!(
                    "put the credential field `{name}` in body: it may stand only as the whole value in the places that its \
                     manifest names"
                ),
            ));
        }
    }
    Ok(())
}

/// What an expression is, seen from the nearest place or HMAC.
#[derive(Clone, Copy, Eq, PartialEq)]
enum At {
    /// The whole value of a place of the request, but for literal text.
    Place,
    /// The whole key of an HMAC, but for literal text.
    Key,
    /// The whole of a JSON string or of something percent-encoded in the body.
    Value,
    /// A part of something else.
    Part,
}

struct Walk<'a> {
    fields: &'a BTreeMap<String, CredentialField>,
    values: &'a Fields,
    /// Where in the request it is: `header:x-token`.
    place: String,
    /// Expressions of the request so far.
    visited: usize,
    /// Bearers that are values of the body.
    in_body: BTreeSet<&'a str>,
}

impl<'a> Walk<'a> {
    fn new(fields: &'a BTreeMap<String, CredentialField>, values: &'a Fields) -> Self {
        Self {
            fields,
            values,
            place: String::new(),
            visited: 0,
            in_body: BTreeSet::new(),
        }
    }

    /// The manifest's rules for what a recipe names.
    fn rules(&self, name: &str) -> Option<&'a CredentialField> {
        let of = self.values.get(name).and_then(|value| value.of.as_deref());
        self.fields.get(of.unwrap_or(name))
    }

    fn check_request(&mut self, request: &'a HttpRequest) -> Result<(), Refusal> {
        let query = request
            .query
            .iter()
            .map(|(name, value)| (format!("query:{name}"), value));
        let headers = request
            .headers
            .iter()
            .map(|(name, value)| (format!("header:{}", name.to_ascii_lowercase()), value));
        for (place, value) in query.chain(headers).chain([(BODY.to_owned(), &request.body)]) {
            self.place = place;
            self.check(value, At::Place, false, 0)?;
        }
        Ok(())
    }

    /// `sealed`: within the data of an HMAC whose key derives from an `hmac_key`.
    fn check(&mut self, expr: &'a Expr, at: At, sealed: bool, depth: usize) -> Result<(), Refusal> {
        if depth > MAX_DEPTH {
            return Err(Refusal::new(
                Rule::Limit,
                format!("made a recipe that nests more than {MAX_DEPTH} deep"),
            ));
        }
        self.visited += 1;
        // Parts are counted before they are looked at.
        let parts_to_come = match expr {
            Expr::Concat(parts) => parts.len(),
            _ => 0,
        };
        if self.visited + parts_to_come > MAX_NODES {
            return Err(Refusal::new(
                Rule::Limit,
                format!("made a request whose recipes have more than {MAX_NODES} parts"),
            ));
        }
        match expr {
            Expr::Text(_) => Ok(()),
            Expr::Secret(name) => self.check_secret(name, at, sealed),
            Expr::Concat(parts) => {
                let is_text = |part: &&Expr| matches!(part, Expr::Text(_));
                let alone = at != At::Value && parts.len() - parts.iter().filter(is_text).count() == 1;
                for part in parts {
                    self.check(part, if alone { at } else { At::Part }, sealed, depth + 1)?;
                }
                Ok(())
            }
            Expr::JsonString(inner) | Expr::Percent(inner) if depth <= 1 && self.place == BODY => {
                self.check(inner, At::Value, sealed, depth + 1)
            }
            Expr::Hex(inner)
            | Expr::Base64(inner)
            | Expr::Percent(inner)
            | Expr::JsonString(inner)
            | Expr::Sha256(inner) => self.check(inner, At::Part, sealed, depth + 1),
            Expr::HmacSha256(parts) | Expr::HmacSha1(parts) => {
                self.check(&parts.key, At::Key, sealed, depth + 1)?;
                let sealed = sealed || self.is_keyed(&parts.key);
                self.check(&parts.data, At::Part, sealed, depth + 1)
            }
            Expr::HmacSha512(_) => Err(self.reserved("HMAC-SHA-512")),
            Expr::RsaSha256(_) => Err(self.reserved("RSA-SHA-256")),
        }
    }

    fn check_secret(&mut self, name: &'a str, at: At, sealed: bool) -> Result<(), Refusal> {
        let place = &self.place;
        let Some(field) = self.rules(name) else {
            let message = format!("used `{name}` in {place}, which is not one of its credential fields");
            return Err(Refusal::new(Rule::CredentialPlace, message));
        };
        let (allowed, rule) = match field.class {
            FieldClass::Public => (true, ""),
            FieldClass::HmacKey => (
                at == At::Key,
                "it may stand only in the key of an HMAC, with literal text around it",
            ),
            FieldClass::Bearer if at == At::Value && !sealed => {
                // Where it stands is looked at when all of the body is known.
                self.in_body.insert(name);
                return Ok(());
            }
            FieldClass::Bearer => (
                sealed
                    || (at == At::Place
                        && field
                            .places
                            .iter()
                            .any(|listed| listed.eq_ignore_ascii_case(place))),
                "it may stand only in the places that its manifest names, and in what an HMAC key seals",
            ),
        };
        if allowed {
            Ok(())
        } else {
            Err(Refusal::new(
                Rule::CredentialPlace,
                format!("put the credential field `{name}` in {place}: {rule}"),
            ))
        }
    }

    /// Whether a key cannot be known without an `hmac_key`.
    fn is_keyed(&self, key: &Expr) -> bool {
        match key {
            Expr::Text(_) => false,
            Expr::Secret(name) => self
                .rules(name)
                .is_some_and(|field| field.class == FieldClass::HmacKey),
            Expr::Concat(parts) => parts.iter().any(|part| self.is_keyed(part)),
            Expr::Hex(inner)
            | Expr::Base64(inner)
            | Expr::Percent(inner)
            | Expr::JsonString(inner)
            | Expr::Sha256(inner) => self.is_keyed(inner),
            Expr::HmacSha256(parts)
            | Expr::HmacSha1(parts)
            | Expr::HmacSha512(parts)
            | Expr::RsaSha256(parts) => {
                let Hmac { key, data: _ } = parts.as_ref();
                self.is_keyed(key)
            }
        }
    }

    fn reserved(&self, what: &str) -> Refusal {
        Refusal::new(
            Rule::Version,
            format!("used {what} in {}: not in this version", self.place),
        )
    }
}

const BODY: &str = "body";

#[cfg(test)]
mod tests {
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
}
