//! Line b, beyond the manifest's own hosts: URLs that the account's settings, its vendor's files and a login name.
//!
//! A manifest takes the first two kinds with the host `{setting}`, the third with `{catalogue}`. A login's URL counts
//! only where an answer of an allowed host named it, in so many words, while the login went on; it is never weaker than
//! who named it: not without TLS where that had it, and on this machine only if that was.

use keyferry_plugin::contract::OperationKind;
use keyferry_plugin::manifest::{Manifest, SettingType};
use serde_json::Value;

use super::hosts::{Destination, Origin, is_metadata_constant, never_contacted, shown};
use super::{Refusal, Rule};
use crate::setup::Account;

/// Where the requests of an account may go besides the manifest's own hosts and the account's endpoint.
///
/// A login begins with the URLs of the account's settings, adds those of the documents that it reads
/// ([`Self::add_setting`]), and in the end those of its session ([`Self::add_catalogue`]). It is kept beside the
/// credentials: later operations send to all of them. A login itself may follow what its answers named
/// ([`Self::with_named`]).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reach {
    urls: Vec<AllowedUrl>,
}

/// One URL that may be sent to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AllowedUrl {
    pub(crate) origin: Origin,
    /// What `{base}` stands for: the URL's path, without a slash at its end.
    pub(crate) base: String,
    /// Which addresses its host may have.
    pub(crate) destination: Destination,
    kind: UrlKind,
}

/// What named a URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum UrlKind {
    Catalogue,
    Setting,
}

impl Reach {
    /// The URLs of the account's settings of type `url`. The error names the setting.
    pub(crate) fn of_settings(account: &Account, manifest: &Manifest) -> Result<Self, String> {
        let mut reach = Self::default();
        for (name, value) in &account.settings {
            let is_url = manifest.settings.get(name).map(|rules| rules.kind) == Some(SettingType::Url);
            if let Some(text) = value.as_str().filter(|_| is_url) {
                reach
                    .add_setting(text, account.insecure_http)
                    .map_err(|error| format!("the setting {name} {error}"))?;
            }
        }
        Ok(reach)
    }

    /// Adds a URL that the account's settings or a source of its vendor's chain name.
    ///
    /// Plain http is taken on the loopback, elsewhere only with `insecure_http`. A metadata address is left out without
    /// a word: whether it may be asked is decided by the manifest's hosts. The error says what is wrong with the URL, in
    /// words that follow its name (`auth_url`).
    pub(crate) fn add_setting(&mut self, text: &str, insecure_http: bool) -> Result<(), String> {
        let (origin, base) = parse(text).map_err(|error| format!("`{}` {error}", shown(text)))?;
        if is_metadata_constant(&origin) {
            return Ok(());
        }
        if let Some(what) = never_contacted(&origin) {
            return Err(format!("`{origin}` is {what}, which is never contacted"));
        }
        if !origin.https && !origin.is_loopback() && !insecure_http {
            return Err(format!(
                "`{origin}` is plain http, which anybody on the way can read: use https, or set insecure_http = true"
            ));
        }
        let destination = match origin.https || insecure_http {
            true => Destination::Endpoint,
            false => Destination::LoopbackEndpoint,
        };
        self.add(AllowedUrl {
            origin,
            base,
            destination,
            kind: UrlKind::Setting,
        });
        Ok(())
    }

    /// Adds a URL of a login's session: one that an answer named, or its beginning.
    ///
    /// # Errors
    /// The URL was not named, or is weaker than the host that named it.
    pub(crate) fn add_catalogue(
        &mut self,
        text: &str,
        named: &NamedUrls,
        insecure_http: bool,
    ) -> Result<(), Refusal> {
        let refuse = |reason: String| {
            let text = shown(text);
            Err(Refusal::new(
                Rule::Host,
                format!("named `{text}` as a URL of the session, {reason}"),
            ))
        };
        let (origin, base) = match parse(text) {
            Ok(url) => url,
            Err(error) => return refuse(format!("which {error}")),
        };
        if let Some(what) = never_contacted(&origin) {
            return refuse(format!("{what}, which is never contacted"));
        }
        let begins = |path: &str| {
            path.strip_prefix(base.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // One that may name it is enough.
        let mut namers: Vec<&Origin> = named
            .urls
            .iter()
            .filter(|url| url.origin == origin && begins(&url.base))
            .map(|url| &url.by)
            .collect();
        if namers.is_empty() {
            return refuse("which no answer of this login named".to_owned());
        }
        namers.retain(|namer| namer.is_loopback() || !origin.is_loopback());
        if namers.is_empty() {
            return refuse("which is on this machine, and was named by a host that is not".to_owned());
        }
        namers.retain(|namer| !namer.https || origin.https);
        if namers.is_empty() {
            return refuse("which is without TLS, and was named by a host that has it".to_owned());
        }
        if !origin.https && !origin.is_loopback() && !insecure_http {
            return refuse(
                "which is plain http: the account must say insecure_http = true for that".to_owned(),
            );
        }
        let on_this_machine = namers.iter().any(|namer| namer.is_loopback());
        let destination = match (on_this_machine, origin.https || insecure_http) {
            (true, true) => Destination::Endpoint,
            (true, false) => Destination::LoopbackEndpoint,
            (false, _) => Destination::Vendor,
        };
        if self
            .urls
            .iter()
            .filter(|url| url.kind == UrlKind::Catalogue)
            .count()
            >= MAX_CATALOGUE
        {
            return refuse(format!("after {MAX_CATALOGUE} others"));
        }
        self.add(AllowedUrl {
            origin,
            base,
            destination,
            kind: UrlKind::Catalogue,
        });
        Ok(())
    }

    /// The same while a login goes on: a request of it may follow a URL that an earlier answer named, by the rules of
    /// [`Self::add_catalogue`], as later operations may.
    pub(crate) fn with_named(
        &self,
        origin: &str,
        path: &str,
        named: &NamedUrls,
        insecure_http: bool,
    ) -> Self {
        let mut reach = self.clone();
        let Ok(origin) = Origin::parse(origin) else {
            return reach;
        };
        let bases = named.urls.iter().filter(|url| url.origin == origin);
        let bases = bases.map(|url| url.base.as_str()).take(MAX_CATALOGUE - 1);
        for base in bases.chain([path]) {
            // What may not be sent to is not added, and the request is refused for it.
            let _ = reach.add_catalogue(&format!("{origin}{base}"), named, insecure_http);
        }
        reach
    }

    /// The URLs of this origin that a manifest with these hosts may send to.
    pub(super) fn at<'a>(
        &'a self,
        origin: &'a Origin,
        hosts: &'a [String],
    ) -> impl Iterator<Item = &'a AllowedUrl> {
        let takes = |placeholder: &str| hosts.iter().any(|host| host == placeholder);
        let (catalogue, setting) = (takes(CATALOGUE), takes(SETTING));
        self.urls.iter().filter(move |url| {
            url.origin == *origin
                && match url.kind {
                    UrlKind::Catalogue => catalogue,
                    UrlKind::Setting => setting,
                }
        })
    }

    fn add(&mut self, url: AllowedUrl) {
        if !self.urls.contains(&url) {
            self.urls.push(url);
        }
    }
}

/// The URLs that the answers of a login named.
#[derive(Debug, Default)]
pub(crate) struct NamedUrls {
    urls: Vec<NamedUrl>,
}

#[derive(Debug)]
struct NamedUrl {
    origin: Origin,
    base: String,
    by: Origin,
}

impl NamedUrls {
    /// Notes the URLs of a successful answer of this origin: strings of its JSON that are one, entirely.
    pub(crate) fn note(&mut self, kind: OperationKind, by: &Origin, status: u16, body: &[u8]) {
        if kind != OperationKind::Credentials || !(200..300).contains(&status) {
            return;
        }
        // The text that the plugin sees.
        if let Ok(body) = serde_json::from_str::<Value>(&String::from_utf8_lossy(body)) {
            self.note_value(by, &body);
        }
    }

    fn note_value(&mut self, by: &Origin, value: &Value) {
        match value {
            Value::String(text) if text.len() <= MAX_URL && self.urls.len() < MAX_NAMED => {
                if let Ok((origin, base)) = parse(text) {
                    self.urls.push(NamedUrl {
                        origin,
                        base,
                        by: by.clone(),
                    });
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.note_value(by, item)),
            Value::Object(members) => members.values().for_each(|member| self.note_value(by, member)),
            _ => {}
        }
    }
}

/// Origin and path of an http or https URL, the path without a slash at its end.
fn parse(text: &str) -> Result<(Origin, String), String> {
    if text.len() > MAX_URL {
        return Err(format!("has more than {MAX_URL} characters"));
    }
    let start = text.find("://").map_or(0, |scheme| scheme + 3);
    let (origin, path) = match text[start..].find('/') {
        Some(slash) => text.split_at(start + slash),
        None => (text, ""),
    };
    let origin = Origin::parse(origin).map_err(|error| error.replace("host[:port]", "host[:port][/path]"))?;
    let path = path.trim_end_matches('/');
    if !path.is_empty() && !super::calls::is_path(path) || path.contains("//") {
        return Err("has a path that is not plain: no query, no `//`, no `..`".to_owned());
    }
    Ok((origin, path.to_owned()))
}

/// What a manifest lists among its hosts to send to URLs of a login's session.
const CATALOGUE: &str = "{catalogue}";
/// What a manifest lists among its hosts to send to URLs of settings and documents.
const SETTING: &str = "{setting}";
/// URLs of one session.
const MAX_CATALOGUE: usize = 32;
/// URLs that are remembered of the answers of one login: a large catalogue has some hundred.
const MAX_NAMED: usize = 4096;
const MAX_URL: usize = 2048;

#[cfg(test)]
mod tests;
