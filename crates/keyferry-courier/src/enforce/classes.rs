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
mod tests;
