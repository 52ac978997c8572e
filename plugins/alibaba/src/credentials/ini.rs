//! `~/.alibabacloud/credentials.ini`: sections, each with a type. A `#` ends a value.

use keyferry_plugin::contract::{Document, Profile};
use serde_json::Value;

use super::role::Role;
use super::way::{Key, Way, Wins};
use super::{Miss, Search, before_comment, refused};

/// The types that lead to an access key here.
const TYPES: [&str; 4] = ["access_key", "ram_role_arn", "ecs_ram_role", "oidc_role_arn"];

pub(super) fn find(search: &Search, document: &Document) -> Result<Way, Miss> {
    if !document.found {
        return Err(Miss::Absent("no such file".to_owned()));
    }
    let name = search.profile.as_deref().unwrap_or("default");
    if document.content.get(name).is_none_or(Value::is_null) {
        return Err(Miss::Absent(format!("no section [{name}]")));
    }
    let section = Section { document, name };
    let source = section.source();
    let kind = section.text("type").unwrap_or_default();
    Ok(match kind {
        "access_key" => Way::key(section.key()?, source),
        "ram_role_arn" => Way::key(section.key()?, source).assuming(section.role(search)?),
        "ecs_ram_role" if search.environment.metadata_disabled => {
            return Err(Miss::Absent(format!(
                "section [{name}] needs the metadata service, which ALIBABA_CLOUD_ECS_METADATA_DISABLED switches off"
            )));
        }
        "ecs_ram_role" => {
            let role = section.text("role_name").map(str::to_owned);
            Way::metadata(
                role.or_else(|| search.environment.metadata_role.clone()),
                source,
                Wins::Always,
            )
        }
        "oidc_role_arn" => {
            let mut role = section.role(search)?;
            let provider = section.text("oidc_provider_arn").map(str::to_owned);
            role.oidc_provider_arn = provider.or_else(|| search.environment.oidc_provider_arn.clone());
            if role.oidc_provider_arn.is_none() {
                return Err(section.has_no("oidc_provider_arn"));
            }
            search.check_token_file(section.text("oidc_token_file_path"), &source)?;
            Way::open_id_connect(role, source)
        }
        _ => {
            let what = format!("section [{name}]");
            return Err(refused(document, &what, "type", kind, &TYPES.join(", ")));
        }
    })
}

/// Every section of the file, `default` first.
pub(super) fn profiles(document: &Document) -> Vec<Profile> {
    let sections = document.content.as_object();
    let mut names: Vec<&String> = sections
        .into_iter()
        .flat_map(|sections| sections.keys())
        .collect();
    names.sort_by_key(|name| *name != "default");
    let profile = |name: &String| {
        let section = Section { document, name };
        let kind = section.text("type").unwrap_or_default();
        let known = TYPES.contains(&kind);
        Profile {
            name: Some(name.clone()),
            source: section.source(),
            unusable: (!known).then(|| format!("type {kind:?} is not in this version")),
            ..Profile::default()
        }
    };
    names.into_iter().map(profile).collect()
}

/// One section of the file.
struct Section<'a> {
    document: &'a Document,
    name: &'a str,
}

impl<'a> Section<'a> {
    fn pointer(&self, field: &str) -> String {
        let section = self.name.replace('~', "~0").replace('/', "~1");
        format!("/{section}/{field}")
    }

    fn text(&self, field: &str) -> Option<&'a str> {
        before_comment(self.document.text(&self.pointer(field)))
    }

    fn source(&self) -> String {
        format!("section [{}] of {}", self.name, self.document.location)
    }

    fn has_no(&self, field: &str) -> Miss {
        Miss::Absent(format!("section [{}] has no {field}", self.name))
    }

    fn key(&self) -> Result<Key, Miss> {
        let id = self.text("access_key_id");
        let secret = self.document.secret(&self.pointer("access_key_secret"));
        Ok(Key {
            id: id.ok_or_else(|| self.has_no("access_key_id"))?.to_owned(),
            secret: secret.ok_or_else(|| self.has_no("access_key_secret"))?,
            token: None,
        })
    }

    fn role(&self, search: &Search) -> Result<Role, Miss> {
        let environment = &search.environment;
        let field = |name: &str| self.text(name).map(str::to_owned);
        let arn = field("role_arn").or_else(|| environment.role_arn.clone());
        Ok(Role {
            arn: arn.ok_or_else(|| self.has_no("role_arn"))?,
            session_name: field("role_session_name").or_else(|| environment.session_name.clone()),
            policy: field("policy"),
            sts_region: environment.sts_region.clone(),
            vpc: environment.vpc,
            ..Role::default()
        })
    }
}
