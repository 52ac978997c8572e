//! Requests as recipes: small expressions over bytes that the courier evaluates, so that no secret enters a
//! plugin and no vendor enters the courier.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

/// An expression over bytes.
///
/// Where a secret may stand depends on its class in the manifest: see [`FieldClass`](crate::manifest::FieldClass).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expr {
    /// These UTF-8 bytes.
    Text(String),
    /// The value of a credential field.
    Secret(String),
    /// One after the other.
    Concat(Vec<Expr>),
    /// Lower-case hexadecimal.
    Hex(Box<Expr>),
    /// Standard base64 with padding (RFC 4648 §4).
    Base64(Box<Expr>),
    /// Percent-encoding of everything but `A-Z a-z 0-9 - _ . ~` (RFC 3986), upper-case hex.
    Percent(Box<Expr>),
    /// A JSON string with its quotes (RFC 8259 §7).
    JsonString(Box<Expr>),
    /// SHA-256, as 32 bytes.
    Sha256(Box<Expr>),
    /// HMAC-SHA-256 (RFC 2104), as 32 bytes.
    HmacSha256(Box<Hmac>),
    /// HMAC-SHA-1 (RFC 2104), as 20 bytes.
    HmacSha1(Box<Hmac>),
    /// HMAC-SHA-512. Reserved: refused in this version.
    HmacSha512(Box<Hmac>),
    /// RSASSA-PKCS1-v1_5 with SHA-256. Reserved: refused in this version.
    RsaSha256(Box<Hmac>),
}

/// Key and data of an HMAC.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Hmac {
    /// The key.
    pub key: Expr,
    /// The authenticated data.
    pub data: Expr,
}

impl Expr {
    /// These UTF-8 bytes.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The value of a credential field.
    pub fn secret(name: impl Into<String>) -> Self {
        Self::Secret(name.into())
    }

    /// One after the other. Nested ones are taken apart and neighbouring texts joined, so that recipes stay small.
    pub fn concat(parts: impl IntoIterator<Item = Expr>) -> Self {
        let mut joined = Vec::new();
        parts.into_iter().for_each(|part| append(&mut joined, part));
        match joined.len() {
            0 => Self::text(""),
            1 => joined.remove(0),
            _ => Self::Concat(joined),
        }
    }

    /// Lower-case hexadecimal of this.
    pub fn hex(self) -> Self {
        Self::Hex(Box::new(self))
    }

    /// Standard base64 of this.
    pub fn base64(self) -> Self {
        Self::Base64(Box::new(self))
    }

    /// Percent-encoding of this.
    pub fn percent(self) -> Self {
        Self::Percent(Box::new(self))
    }

    /// This as a JSON string.
    pub fn json_string(self) -> Self {
        Self::JsonString(Box::new(self))
    }

    /// SHA-256 of this.
    pub fn sha256(self) -> Self {
        Self::Sha256(Box::new(self))
    }

    /// HMAC-SHA-256 of `data`.
    pub fn hmac_sha256(key: Expr, data: Expr) -> Self {
        Self::HmacSha256(Box::new(Hmac { key, data }))
    }

    /// HMAC-SHA-1 of `data`.
    pub fn hmac_sha1(key: Expr, data: Expr) -> Self {
        Self::HmacSha1(Box::new(Hmac { key, data }))
    }
}

fn append(joined: &mut Vec<Expr>, part: Expr) {
    match (joined.last_mut(), part) {
        (_, Expr::Concat(parts)) => parts.into_iter().for_each(|part| append(joined, part)),
        (Some(Expr::Text(before)), Expr::Text(text)) => before.push_str(&text),
        (_, part) => joined.push(part),
    }
}

impl From<&str> for Expr {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Expr {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// An HTTP/1.1 request as a recipe.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HttpRequest {
    /// The method, in upper case.
    pub method: String,
    /// Scheme, host and port: `https://ecs.cn-hangzhou.aliyuncs.com`. The courier sends the matching `host` header.
    pub origin: String,
    /// The path, percent-encoded, beginning with `/`.
    pub path: String,
    /// Query parameters in the order they are sent. The courier percent-encodes names and values.
    #[serde(default)]
    pub query: Vec<(String, Expr)>,
    /// Headers besides `host` and `content-length`; names in lower case.
    #[serde(default)]
    pub headers: Vec<(String, Expr)>,
    /// The body; empty text: none.
    #[serde(default = "empty")]
    pub body: Expr,
}

impl HttpRequest {
    /// A request without query, headers and body.
    pub fn new(method: &str, origin: impl Into<String>, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            origin: origin.into(),
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: empty(),
        }
    }

    /// The same with one more query parameter.
    pub fn with_query(mut self, name: &str, value: impl Into<Expr>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// The same with one more header; the name in lower case.
    pub fn with_header(mut self, name: &str, value: impl Into<Expr>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same with this body.
    pub fn with_body(self, body: impl Into<Expr>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// What the `host` header says (RFC 9110 §7.2): the origin's host in lower case, and its port where it is not the
    /// scheme's own. Signatures cover it, so both sides must write it alike.
    pub fn authority(&self) -> String {
        let origin = self.origin.to_ascii_lowercase();
        let (scheme, authority) = origin.split_once("://").unwrap_or(("https", &origin));
        let own_port = if scheme == "http" { 80 } else { 443 };
        let (host, port) = match authority.rsplit_once(':') {
            // Not the last colon of an address in brackets.
            Some((host, port)) if !port.contains(']') => match port.parse::<u16>() {
                Ok(port) => (host, Some(port)),
                Err(_) => return authority.to_owned(),
            },
            _ => (authority, None),
        };
        let address = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']')?.parse::<Ipv6Addr>().ok());
        let host = address.map_or_else(|| host.to_owned(), |address| format!("[{address}]"));
        match port {
            Some(port) if port != own_port => format!("{host}:{port}"),
            _ => host,
        }
    }
}

fn empty() -> Expr {
    Expr::Text(String::new())
}

/// Origin and path of a URL: `https://cloud.example.com:5000` and `/v3` of `https://cloud.example.com:5000/v3`. The path is
/// empty or begins with a slash; a query or fragment stays where it stands. It checks nothing: what is no URL is cut at
/// its first slash.
pub fn origin_and_path(url: &str) -> (&str, &str) {
    let authority = url.find("://").map_or(0, |scheme| scheme + 3);
    let path = url[authority..].find('/');
    url.split_at(path.map_or(url.len(), |slash| authority + slash))
}

/// The name of the capture of a `create`: the private key that the vendor made.
pub const PRIVATE_KEY: &str = "private_key";

/// Where in a reply a secret lies, and what it is called.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Capture {
    /// [`PRIVATE_KEY`] of a `create`, or a credential field of a login.
    pub name: String,
    /// Where it is.
    pub place: Place,
}

/// A place in a reply.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// JSON pointer (RFC 6901) into the body.
    JsonPointer(String),
    /// A path of element names into an XML body, from the root: `CreateKeyPairResponse/keyMaterial`. Namespaces do not
    /// count; of several elements of one name the first is meant.
    XmlPath(String),
    /// A header, in lower case.
    Header(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concat_joins_neighbouring_texts() {
        let nested = Expr::concat([Expr::text("b"), Expr::secret("s"), Expr::text("c")]);
        let expected = Expr::Concat(vec![Expr::text("ab"), Expr::secret("s"), Expr::text("cd")]);
        assert_eq!(Expr::concat([Expr::text("a"), nested, Expr::text("d")]), expected);
        assert_eq!(Expr::concat([Expr::text("a"), Expr::text("b")]), Expr::text("ab"));
        assert_eq!(Expr::concat([]), Expr::text(""));
    }

    #[test]
    fn a_url_has_an_origin_and_a_path() {
        for (origin, path) in [
            ("https://c.example:5000", "/v3"),
            ("https://c.example", "/identity/v3/"),
            ("http://[::1]:5000", ""),
            ("http://127.0.0.1", "/?at=http://c.example/"),
            ("https://", "/v3"),
            ("c.example", "/v3"),
            ("", ""),
        ] {
            let url = format!("{origin}{path}");
            assert_eq!(origin_and_path(&url), (origin, path), "{url}");
        }
    }

    #[test]
    fn the_authority_is_the_host_header() {
        for (origin, authority) in [
            ("https://ens.aliyuncs.com", "ens.aliyuncs.com"),
            ("https://ens.aliyuncs.com:443", "ens.aliyuncs.com"),
            ("https://ens.aliyuncs.com:80", "ens.aliyuncs.com:80"),
            ("http://127.0.0.1:80", "127.0.0.1"),
            ("http://[::1]:8731", "[::1]:8731"),
            ("http://[0:0::1]:80", "[::1]"),
            ("http://[::1]", "[::1]"),
            ("HTTPS://ENS.aliyuncs.com:0443", "ens.aliyuncs.com"),
        ] {
            assert_eq!(HttpRequest::new("GET", origin, "/").authority(), authority);
        }
    }
}
