//! The signing recipes give the canonical text, signature and authorization of what vendors' own SDKs sent.

#[path = "support/evaluate.rs"]
mod evaluate;
#[path = "support/vector.rs"]
#[expect(dead_code, reason = "no test looks at everything")]
mod vector;

use std::collections::BTreeMap;

use keyferry_plugin::recipe::{Expr, HttpRequest};
use keyferry_plugin::signing::{AccessKey, Scope, acs3, aws4, huawei, rpc, volcengine};

use crate::evaluate::evaluate;
use crate::vector::folder::are_our_own;
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
        let request = case.with_signed_headers(case.request());

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
    check_count(count, 1);
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
    check_count(count, 1);
}

#[test]
fn vectors_of_aws4_are_reproduced() {
    let mut count = 0;
    for vector in vectors("aws-") {
        assert_eq!(vector.signing, aws4::ALGORITHM);
        let case = Case::new(&vector);
        let authorization = vector.authorization.as_deref().unwrap();
        let (_, scope) = authorization.split_once("Credential=").unwrap();
        let scope: Vec<&str> = scope.split(',').next().unwrap().split('/').collect();
        let scope = Scope {
            region: scope[2],
            service: scope[3],
        };
        let request = case.with_signed_headers(case.request());
        case.check(
            "canonical",
            &aws4::canonical_request(&request),
            &case.derived().canonical,
        );
        case.check(
            "string to sign",
            &aws4::string_to_sign(&request, scope),
            &case.derived().string_to_sign,
        );
        case.check(
            "signature",
            &aws4::signature(&request, &KEY, scope),
            vector.signature.as_deref().unwrap(),
        );
        let (name, value) = aws4::sign(request, &KEY, scope).headers.pop().unwrap();
        assert_eq!(name, "authorization");
        case.check("authorization", &value, authorization);
        count += 1;
    }
    check_count(count, 12);
}

#[test]
fn vectors_of_volcengine_are_reproduced() {
    let mut count = 0;
    for vector in vectors("volcengine-") {
        assert_eq!(vector.signing, volcengine::ALGORITHM);
        let case = Case::new(&vector);
        let authorization = vector.authorization.as_deref().unwrap();
        let (_, scope) = authorization.split_once("Credential=").unwrap();
        let scope: Vec<&str> = scope.split(',').next().unwrap().split('/').collect();
        let scope = Scope {
            region: scope[2],
            service: scope[3],
        };
        let request = case.with_signed_headers(case.request());
        case.check(
            "canonical",
            &volcengine::canonical_request(&request),
            &case.derived().canonical,
        );
        case.check(
            "string to sign",
            &volcengine::string_to_sign(&request, scope),
            &case.derived().string_to_sign,
        );
        case.check(
            "signature",
            &volcengine::signature(&request, &KEY, scope),
            vector.signature.as_deref().unwrap(),
        );
        let (name, value) = volcengine::sign(request, &KEY, scope).headers.pop().unwrap();
        assert_eq!(name, "authorization");
        case.check("authorization", &value, authorization);
        count += 1;
    }
    check_count(count, 14);
}

#[test]
fn vectors_of_huawei_are_reproduced() {
    let mut count = 0;
    for vector in vectors("huawei-") {
        assert_eq!(vector.signing, huawei::ALGORITHM);
        let case = Case::new(&vector);
        let authorization = vector.authorization.as_deref().unwrap();
        let request = case.with_signed_headers(case.request());
        case.check(
            "canonical",
            &huawei::canonical_request(&request),
            &case.derived().canonical,
        );
        case.check(
            "string to sign",
            &huawei::string_to_sign(&request),
            &case.derived().string_to_sign,
        );
        case.check(
            "signature",
            &huawei::signature(&request, &KEY),
            vector.signature.as_deref().unwrap(),
        );
        let (name, value) = huawei::sign(request, &KEY).headers.pop().unwrap();
        assert_eq!(name, "authorization");
        case.check("authorization", &value, authorization);
        count += 1;
    }
    check_count(count, 14);
}

#[test]
fn the_project_lookup_before_a_huawei_vector_is_reproduced() {
    let vectors = vectors("huawei-ecs-list-lookup");
    let [vector] = &*vectors else {
        assert!(!are_our_own(), "one vector");
        return;
    };
    let [call] = &*vector.preceding else {
        panic!("one call before it")
    };
    let call = vector::Vector {
        id: format!("{}, preceding", vector.id),
        provider: vector.provider.clone(),
        operation: "lookup".to_owned(),
        variant: vector.variant.clone(),
        signing: vector.signing.clone(),
        credentials: vector::Credentials {
            access_key: vector.credentials.access_key.clone(),
            secret_key: vector.credentials.secret_key.clone(),
            session_token: None,
        },
        request: call.clone(),
        host: vector.host.clone(),
        timestamp: vector.timestamp.clone(),
        nonce: None,
        authorization: call
            .headers
            .iter()
            .find(|(name, _)| name == "Authorization")
            .map(|(_, value)| value.clone()),
        signature: None,
        derived: None,
        preceding: Vec::new(),
    };
    let case = Case::new(&call);
    let request = case.with_signed_headers(case.request());
    let (_, value) = huawei::sign(request, &KEY).headers.pop().unwrap();
    case.check("authorization", &value, call.authorization.as_deref().unwrap());
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

/// At least so many vectors of one scheme were there, if they are our own.
#[track_caller]
fn check_count(count: usize, least: usize) {
    assert!(count >= least || !are_our_own(), "{count} vectors");
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

    /// The same with the headers that the vector's `SignedHeaders` names.
    fn with_signed_headers(&self, request: HttpRequest) -> HttpRequest {
        let authorization = self
            .vector
            .authorization
            .as_deref()
            .expect("a signed vector has an authorization");
        let (_, signed) = authorization
            .split_once("SignedHeaders=")
            .expect("it says which headers are signed");
        let signed: Vec<&str> = signed.split(',').next().unwrap_or_default().split(';').collect();
        self.vector
            .request
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .filter(|(name, _)| name != "host" && signed.contains(&name.as_str()))
            .fold(request, |request, (name, value)| {
                request.with_header(&name, self.value(value))
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
