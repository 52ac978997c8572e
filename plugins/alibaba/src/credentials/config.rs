//! `~/.aliyun/config.json`, which the vendor's command line writes: profiles, each with a mode.

use keyferry_plugin::contract::{Document, Profile};
use serde_json::Value;

use super::role::Role;
use super::way::{Key, Way, Wins};
use super::{Miss, Search, refused};

/// The modes that lead to an access key here.
const MODES: [&str; 7] = [
    "AK",
    "StsToken",
    "RamRoleArn",
    "EcsRamRole",
    "OIDC",
    "ChainableRamRoleArn",
    "External",
];

/// How many profiles may lead to each other by `source_profile`.
const MOST_SOURCES: usize = 8;

pub(super) fn find(search: &Search, document: &Document) -> Result<Way, Miss> {
    if !document.found {
        return Err(Miss::Absent("no such file".to_owned()));
    }
    let Some(name) = search.profile.as_deref().or_else(|| document.text("/current")) else {
        return Err(Miss::Absent("it names no `current` profile".to_owned()));
    };
    way(search, document, name, MOST_SOURCES)
}

/// Every profile of the file, its `current` one first.
pub(super) fn profiles(document: &Document) -> Vec<Profile> {
    let current = document.text("/current");
    let mut profiles: Vec<Profile> = listed(document)
        .filter_map(|entry| {
            let name = entry.text("name")?.to_owned();
            let mode = entry.text("mode").unwrap_or_default();
            let known = MODES.contains(&mode);
            Some(Profile {
                source: entry.source(&name),
                region: entry.text("region_id").map(str::to_owned),
                unusable: (!known).then(|| format!("mode {mode:?} is not in this version")),
                name: Some(name),
                ..Profile::default()
            })
        })
        .collect();
    profiles.sort_by_key(|profile| profile.name.as_deref() != current);
    profiles
}

fn way(search: &Search, document: &Document, name: &str, sources_left: usize) -> Result<Way, Miss> {
    let entry = listed(document)
        .find(|entry| entry.text("name") == Some(name))
        .ok_or_else(|| Miss::Absent(format!("no profile {name:?}")))?;
    let source = entry.source(name);
    let what = format!("profile {name:?}");
    let mode = entry.text("mode").unwrap_or_default();
    Ok(match mode {
        "AK" => Way::key(entry.key(&what, false)?, source),
        "StsToken" => Way::key(entry.key(&what, true)?, source),
        "RamRoleArn" => Way::key(entry.key(&what, false)?, source).assuming(entry.role(search, &what)?),
        "EcsRamRole" if search.environment.metadata_disabled => {
            return Err(Miss::Absent(format!(
                "{what} needs the metadata service, which ALIBABA_CLOUD_ECS_METADATA_DISABLED switches off"
            )));
        }
        "EcsRamRole" => {
            let role = entry.text("ram_role_name").map(str::to_owned);
            Way::metadata(
                role.or_else(|| search.environment.metadata_role.clone()),
                source,
                Wins::Always,
            )
        }
        "OIDC" => {
            let mut role = entry.role(search, &what)?;
            role.session_name = entry
                .text("role_session_name")
                .map(str::to_owned)
                .or(role.session_name);
            let provider = entry.text("oidc_provider_arn").map(str::to_owned);
            role.oidc_provider_arn = provider.or_else(|| search.environment.oidc_provider_arn.clone());
            if role.oidc_provider_arn.is_none() {
                return Err(entry.has_no(&what, "oidc_provider_arn"));
            }
            search.check_token_file(entry.text("oidc_token_file"), &source)?;
            Way::open_id_connect(role, source)
        }
        "ChainableRamRoleArn" => {
            let first = entry
                .text("source_profile")
                .ok_or_else(|| entry.has_no(&what, "source_profile"))?;
            if sources_left == 0 {
                return Err(Miss::Refused(format!(
                    "{source} leads to itself by `source_profile`, or through more than {MOST_SOURCES} others"
                )));
            }
            let role = entry.role(search, &what)?;
            way(search, document, first, sources_left - 1)?
                .assuming(role)
                .named(source)
        }
        "External" => Way::command(entry.pointer("process_command"), source),
        _ => return Err(refused(document, &what, "mode", mode, &MODES.join(", "))),
    })
}

/// One profile of the file.
struct Entry<'a> {
    document: &'a Document,
    index: usize,
}

fn listed(document: &Document) -> impl Iterator<Item = Entry<'_>> {
    let profiles = document.content.pointer("/profiles").and_then(Value::as_array);
    (0..profiles.map_or(0, Vec::len)).map(move |index| Entry { document, index })
}

impl<'a> Entry<'a> {
    fn pointer(&self, field: &str) -> String {
        format!("/profiles/{}/{field}", self.index)
    }

    fn text(&self, field: &str) -> Option<&'a str> {
        self.document.text(&self.pointer(field))
    }

    fn source(&self, name: &str) -> String {
        format!("profile {name:?} of {}", self.document.location)
    }

    fn has_no(&self, what: &str, field: &str) -> Miss {
        Miss::Absent(format!("{what} has no {field}"))
    }

    fn key(&self, what: &str, with_token: bool) -> Result<Key, Miss> {
        let secret = |field: &str| {
            let secret = self.document.secret(&self.pointer(field));
            secret.ok_or_else(|| self.has_no(what, field))
        };
        let id = self.text("access_key_id");
        Ok(Key {
            id: id.ok_or_else(|| self.has_no(what, "access_key_id"))?.to_owned(),
            secret: secret("access_key_secret")?,
            token: with_token.then(|| secret("sts_token")).transpose()?,
        })
    }

    fn role(&self, search: &Search, what: &str) -> Result<Role, Miss> {
        let environment = &search.environment;
        let field = |name: &str| self.text(name).map(str::to_owned);
        let arn = field("ram_role_arn").or_else(|| environment.role_arn.clone());
        let value = |name: &str| self.document.content.pointer(&self.pointer(name));
        Ok(Role {
            arn: arn.ok_or_else(|| self.has_no(what, "ram_role_arn"))?,
            session_name: field("ram_session_name").or_else(|| environment.session_name.clone()),
            seconds: value("expired_seconds")
                .and_then(Value::as_u64)
                .filter(|seconds| *seconds > 0),
            policy: field("policy"),
            external_id: field("external_id"),
            sts_region: field("sts_region").or_else(|| environment.sts_region.clone()),
            vpc: value("enable_vpc")
                .and_then(Value::as_bool)
                .unwrap_or(environment.vpc),
            ..Role::default()
        })
    }
}

impl Search {
    /// The token's file is read where a variable says it is: a path inside another file is followed by nobody.
    pub(super) fn check_token_file(&self, named: Option<&str>, source: &str) -> Result<(), Miss> {
        match (named, self.environment.oidc_token_file.as_deref()) {
            (Some(path), Some(variable)) if path == variable => Ok(()),
            (None, Some(_)) => Ok(()),
            (None, None) => Err(Miss::Absent(format!("{source} names no file with a token"))),
            (Some(path), _) => Err(Miss::Refused(format!(
                "{source} has its token in {path}: set ALIBABA_CLOUD_OIDC_TOKEN_FILE to that path for the daemon, since a \
                 path that stands in another file is not followed"
            ))),
        }
    }
}
