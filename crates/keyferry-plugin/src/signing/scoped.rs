//! What AWS's Signature Version 4 and Volcengine's signature share: a key that derives from the secret by day, region and
//! service, and an `authorization` header that names these.

use crate::recipe::{Expr, HttpRequest};
use crate::signing::{Scope, SigningKey, canonical_request, content_sha256, header_names, header_text};

/// In what the schemes differ.
pub(super) struct Scheme {
    /// Its name.
    pub(super) algorithm: &'static str,
    /// The header with the time: `20261122T013818Z`.
    pub(super) time_header: &'static str,
    /// What stands before the secret in the first key; empty: nothing.
    pub(super) secret_prefix: &'static str,
    /// The last part of every scope.
    pub(super) terminator: &'static str,
    /// The headers that are signed, in the form that both sides hash.
    pub(super) signed_headers: fn(&HttpRequest) -> Vec<(String, Expr)>,
    /// The parameters in the form that both sides hash.
    pub(super) canonical_query: fn(&[(String, Expr)]) -> Expr,
}

impl Scheme {
    pub(super) fn sign(&self, request: HttpRequest, key: &impl SigningKey, scope: Scope<'_>) -> HttpRequest {
        let authorization = Expr::concat([
            format!("{} Credential=", self.algorithm).into(),
            key.id(),
            format!(
                "/{}, SignedHeaders={}, Signature=",
                self.credential_scope(&request, scope),
                header_names(&(self.signed_headers)(&request))
            )
            .into(),
            self.signature(&request, key, scope),
        ]);
        request.with_header("authorization", authorization)
    }

    pub(super) fn signature(&self, request: &HttpRequest, key: &impl SigningKey, scope: Scope<'_>) -> Expr {
        let secret = match self.secret_prefix {
            "" => key.secret(),
            prefix => Expr::concat([Expr::text(prefix), key.secret()]),
        };
        let signing_key = [self.date(request), scope.region, scope.service, self.terminator]
            .into_iter()
            .fold(secret, |key, part| Expr::hmac_sha256(key, part.into()));
        Expr::hmac_sha256(signing_key, self.string_to_sign(request, scope)).hex()
    }

    pub(super) fn string_to_sign(&self, request: &HttpRequest, scope: Scope<'_>) -> Expr {
        let time = header_text(request, self.time_header);
        let credential_scope = self.credential_scope(request, scope);
        Expr::concat([
            format!("{}\n{time}\n{credential_scope}\n", self.algorithm).into(),
            self.canonical_request(request).sha256().hex(),
        ])
    }

    pub(super) fn canonical_request(&self, request: &HttpRequest) -> Expr {
        canonical_request(
            request,
            &request.path,
            (self.canonical_query)(&request.query),
            &(self.signed_headers)(request),
            content_sha256(&request.body),
        )
    }

    fn credential_scope(&self, request: &HttpRequest, scope: Scope<'_>) -> String {
        let Scope { region, service } = scope;
        format!("{}/{region}/{service}/{}", self.date(request), self.terminator)
    }

    /// The day: what the time has before its `T`.
    fn date<'a>(&self, request: &'a HttpRequest) -> &'a str {
        let time = header_text(request, self.time_header);
        time.split_once('T').map_or(time, |(date, _)| date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{AccessKey, canonical_headers, canonical_query};

    #[test]
    fn the_scope_is_in_the_key_and_in_the_header() {
        let scheme = Scheme {
            algorithm: "HASH",
            time_header: "x-time",
            secret_prefix: "V1",
            terminator: "end",
            signed_headers: canonical_headers,
            canonical_query: |parameters| canonical_query(parameters),
        };
        let key = AccessKey {
            id: "id",
            secret: "key",
        };
        let scope = Scope {
            region: "north",
            service: "ecs",
        };
        let request =
            HttpRequest::new("GET", "https://c.example", "/").with_header("x-time", "20261122T013749Z");

        let signature = scheme.signature(&request, &key, scope);
        let secret = Expr::concat([Expr::text("V1"), Expr::secret("key")]);
        let derived = ["20261122", "north", "ecs", "end"]
            .into_iter()
            .fold(secret, |key, part| Expr::hmac_sha256(key, part.into()));
        let text = scheme.string_to_sign(&request, scope);
        assert_eq!(signature, Expr::hmac_sha256(derived, text).hex());

        let (name, value) = scheme.sign(request, &key, scope).headers.pop().unwrap();
        let expected = Expr::concat([
            Expr::text("HASH Credential="),
            Expr::secret("id"),
            Expr::text("/20261122/north/ecs/end, SignedHeaders=host;x-time, Signature="),
            signature,
        ]);
        assert_eq!((&*name, value), ("authorization", expected));
    }
}
