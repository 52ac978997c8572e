//! The signing recipes give the canonical text, signature and authorization of what vendors' own SDKs sent.

#[path = "support/evaluate.rs"]
mod evaluate;
#[path = "support/vector.rs"]
#[expect(dead_code, reason = "no test looks at everything")]
mod vector;

use std::collections::BTreeMap;

use keyferry_plugin::recipe::{Expr, HttpRequest};
use keyferry_plugin::signing::{AccessKey, acs3, rpc};

use crate::evaluate::evaluate;
use crate::vector::{Vector, vectors};

const KEY: AccessKey = AccessKey {
    id: "access_key_id",
    secret: "access_key_secret",
};

#[test]
fn vectors_of_acs3_are_reproduced() {
    let mut count = 0;
    for vector in vectors("alibaba-")
        .iter()
        .filter(|vector| vector.signing == acs3::ALGORITHM)
    {
        let case = Case::new(vector);
        let authorization = vector.authorization.as_deref().unwrap();
        let (_, signed) = authorization.split_once("SignedHeaders=").unwrap();
        let signed: Vec<&str> = signed.split(',').next().unwrap().split(';').collect();
        let request = vector
            .request
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .filter(|(name, _)| name != "host" && signed.contains(&name.as_str()))
            .fold(case.request(), |request, (name, value)| {
                request.with_header(&name, case.value(value))
            });

        case.check(
            "canonical",
            &acs3::canonical_request(&request),
            &case.derived().canonical,
        );
        case.check(
            "string to sign",
            &acs3::string_to_sign(&request),
            &case.derived().string_to_sign,
        );
        case.check(
            "signature",
            &acs3::signature(&request, &KEY),
            vector.signature.as_deref().unwrap(),
        );
        let (name, value) = acs3::sign(request, &KEY).headers.pop().unwrap();
        assert_eq!(name, "authorization");
        case.check("authorization", &value, authorization);
        count += 1;
    }
    assert_ne!(count, 0, "no vector is signed with {}", acs3::ALGORITHM);
}

#[test]
fn vectors_of_rpc_are_reproduced() {
    let mut count = 0;
    for vector in vectors("alibaba-")
        .iter()
        .filter(|vector| vector.signing == rpc::METHOD)
    {
        let case = Case::new(vector);
        let mut request = case.request();
        request.query.retain(|(name, _)| name != "Signature");

        case.check(
            "canonical",
            &rpc::canonical_parameters(&request),
            &case.derived().canonical,
        );
        case.check(
            "string to sign",
            &rpc::string_to_sign(&request),
            &case.derived().string_to_sign,
        );
        let (name, value) = rpc::sign(request, &KEY).query.pop().unwrap();
        assert_eq!(name, "Signature");
        case.check("signature", &value, vector.signature.as_deref().unwrap());
        count += 1;
    }
    assert_ne!(count, 0, "no vector is signed with {}", rpc::METHOD);
}

#[test]
fn all_signed_vectors_have_a_scheme() {
    for vector in vectors("alibaba-") {
        assert!(
            [acs3::ALGORITHM, rpc::METHOD].contains(&&*vector.signing),
            "{}: {}",
            vector.id,
            vector.signing
        );
    }
}

struct Case<'a> {
    vector: &'a Vector,
    secrets: BTreeMap<&'static str, String>,
}

impl<'a> Case<'a> {
    fn new(vector: &'a Vector) -> Self {
        let credentials = &vector.credentials;
        let mut secrets = BTreeMap::from([
            (KEY.id, credentials.access_key.clone()),
            (KEY.secret, credentials.secret_key.clone()),
        ]);
        if let Some(token) = &credentials.session_token {
            secrets.insert("security_token", token.clone());
        }
        Self { vector, secrets }
    }

    fn derived(&self) -> &'a vector::Derived {
        self.vector
            .derived
            .as_ref()
            .unwrap_or_else(|| panic!("{} has no derived texts", self.vector.id))
    }

    /// The request without headers; credentials in it are recipes, as a plugin would have them.
    fn request(&self) -> HttpRequest {
        let (path, query) = self.vector.target();
        let request = HttpRequest::new(
            &self.vector.request.method,
            format!("http://{}", self.vector.host),
            &path,
        )
        .with_body(&*self.vector.request.body);
        query.iter().fold(request, |request, (name, value)| {
            request.with_query(name, self.value(value))
        })
    }

    fn value(&self, value: &str) -> Expr {
        match self.secrets.iter().find(|(_, secret)| *secret == value) {
            Some((name, _)) => Expr::secret(*name),
            None => Expr::text(value),
        }
    }

    #[track_caller]
    fn check(&self, what: &str, expr: &Expr, expected: &str) {
        let found = evaluate(expr, &self.secrets);
        assert_eq!(
            String::from_utf8_lossy(&found),
            expected,
            "{what} of {}",
            self.vector.id
        );
    }
}
