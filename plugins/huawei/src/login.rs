//! The login. A user's name and password become a token of IAM; an access key is good as it is. Either way the login finds
//! the project of the region, which stands in every path.
//!
//! The account gives fields itself (`access_key_id` and `access_key_secret`, or `username`, `password` and `domain`, or a
//! `token`), or it leaves them to the vendor's chain.

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, Credentials, Effect, ErrorKind, HttpStep, ProviderError, Reply, Session,
    Step,
};
use keyferry_plugin::recipe::{Expr, HttpRequest, Place, origin_and_path};
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::authorised;
use crate::reply::answer;
use crate::{
    ACCESS_KEY_ID, ACCESS_KEY_SECRET, DOMAIN, PASSWORD, SECURITY_TOKEN, TOKEN, USERNAME, chain, metadata,
};

/// The next step on the way to the account's credentials and project.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when what would win is not in this version; [`ErrorKind::Unauthorized`] with every
/// attempt when nothing is found, and when IAM refuses.
pub fn credentials(credentials: &Credentials, turn: &Turn<'_>) -> Answer {
    match turn.reply {
        None if turn.context.credential_fields.is_empty() => chain::begin(credentials),
        None => given(turn),
        Some(Reply::Document(document)) => chain::read(turn, document),
        Some(_) => match turn.state()? {
            Waiting::Metadata(search) => metadata::answered(search, turn),
            Waiting::Project(login) => login.project(turn),
            Waiting::Token(login) => login.token(turn),
        },
    }
}

/// The answer that is waited for.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Waiting {
    Metadata(metadata::Search),
    Project(Login),
    Token(Login),
}

/// Credentials that lack a project.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Login {
    pub(crate) set: CredentialSet,
    /// The project, where something names it.
    pub(crate) project_id: Option<String>,
    /// IAM's URL, where a document names one.
    pub(crate) iam: Option<String>,
    /// When the token ends, as the vendor wrote it.
    pub(crate) expires_at: Option<String>,
}

/// A login with the fields that the account itself gives.
fn given(turn: &Turn<'_>) -> Answer {
    let complete = |names: &[&str]| names.iter().all(|name| turn.has_credential(name));
    let login = |fields: &[&str], source: &str| {
        let present = fields.iter().filter(|name| turn.has_credential(name));
        Login {
            set: CredentialSet {
                fields: present
                    .map(|name| ((*name).to_owned(), CredentialValue::Kept))
                    .collect(),
                source: source.to_owned(),
                expires_at: None,
                attempts: Vec::new(),
            },
            project_id: None,
            iam: None,
            expires_at: None,
        }
    };
    if complete(&[TOKEN]) {
        login(&[TOKEN], "the account's token").with_project(turn)
    } else if complete(&[USERNAME, PASSWORD, DOMAIN]) {
        login(&[], "a login with the account's user name and password").ask_token(turn)
    } else if complete(&[ACCESS_KEY_ID, ACCESS_KEY_SECRET]) {
        let fields = [ACCESS_KEY_ID, ACCESS_KEY_SECRET, SECURITY_TOKEN];
        login(&fields, "the account's access key").with_project(turn)
    } else {
        Err(ProviderError::new(
            ErrorKind::Unauthorized,
            "the account's [credentials] are incomplete: it takes access_key_id and access_key_secret, or username, \
             password and domain, or a token",
        ))
    }
}

impl Login {
    /// Asks IAM for a token.
    fn ask_token(self, turn: &Turn<'_>) -> Answer {
        let scope = match turn.setting("project_id") {
            Some(id) => json!({ "id": id }),
            None => json!({ "name": turn.region()? }),
        };
        let field = |name: &str| Expr::secret(name).json_string();
        let body = Expr::concat([
            r#"{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"name":"#.into(),
            field(DOMAIN),
            r#"},"name":"#.into(),
            field(USERNAME),
            r#","password":"#.into(),
            field(PASSWORD),
            format!(r#"}}}}}},"scope":{{"project":{scope}}}}}}}"#).into(),
        ]);
        let request = self
            .iam_request(turn, "POST", "/v3/auth/tokens")?
            .with_header("content-type", "application/json;charset=utf-8")
            .with_body(body);
        Ok(HttpStep::new(request)
            .capturing_at(TOKEN, Place::Header("x-subject-token".to_owned()))
            .with_state(json!(Waiting::Token(self)))
            .into())
    }

    /// The token came; its project, where IAM names it.
    fn token(mut self, turn: &Turn<'_>) -> Answer {
        let answered = iam_answer(turn, "a token")?;
        if !answered.has_captured(TOKEN) {
            return Err(answered.garbled("the answer of IAM holds no token"));
        }
        let text = |pointer| {
            answered
                .body
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        self.project_id = text("/token/project/id");
        self.expires_at = text("/token/expires_at");
        self.set.fields = BTreeMap::from([(TOKEN.to_owned(), CredentialValue::Kept)]);
        self.with_project(turn)
    }

    /// Ends the login where the project is known, else asks IAM for the region's.
    pub(crate) fn with_project(mut self, turn: &Turn<'_>) -> Answer {
        if let Some(id) = turn.setting("project_id") {
            self.project_id = Some(id.to_owned());
        }
        if self.project_id.is_some() {
            return self.done(turn);
        }
        let request = self
            .iam_request(turn, "GET", "/v3/projects")?
            .with_query("name", turn.region()?);
        let request = authorised(request, &turn.context.time, &self.set.fields);
        Ok(HttpStep::new(request)
            .with_state(json!(Waiting::Project(self)))
            .into())
    }

    /// The projects of this region came: there must be one.
    fn project(mut self, turn: &Turn<'_>) -> Answer {
        let answered = iam_answer(turn, "the projects")?;
        let projects = answered.body["projects"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let [project] = projects else {
            let message = format!(
                "IAM names {} projects for region {:?}, and one is needed: set `project_id` in the account's [settings]",
                projects.len(),
                turn.region()?
            );
            return Err(ProviderError::new(ErrorKind::Invalid, message));
        };
        let id = project["id"]
            .as_str()
            .ok_or_else(|| answered.garbled("IAM's project has no id"))?;
        self.project_id = Some(id.to_owned());
        self.done(turn)
    }

    fn done(self, turn: &Turn<'_>) -> Answer {
        let session = Session {
            captures: Vec::new(),
            public: json!({ "project_id": self.project_id, "region": turn.region()? }),
            urls: Vec::new(),
            expires_at: self.expires_at,
        };
        Ok(Step::logged_in(self.set, session))
    }

    /// A request to IAM: at the URL that the account or a document names, else at the account's endpoint, else at the
    /// region's own host.
    fn iam_request(&self, turn: &Turn<'_>, method: &str, path: &str) -> Result<HttpRequest, ProviderError> {
        let named = turn.setting("iam_endpoint").or(self.iam.as_deref());
        let url = match named {
            Some(url) => url.to_owned(),
            None => turn.origin(&format!("iam.{}.myhuaweicloud.com", turn.region()?)),
        };
        let (origin, base) = origin_and_path(url.trim_end_matches('/'));
        Ok(HttpRequest::new(method, origin, &format!("{base}{path}")))
    }
}

fn iam_answer<'a>(turn: &Turn<'a>, what: &str) -> Result<crate::Answered<'a>, ProviderError> {
    let permission = format!("to ask IAM for {what}");
    answer(turn, Effect::None, &permission)?
        .ok_or_else(|| ProviderError::new(ErrorKind::Internal, "IAM was not asked"))
}
