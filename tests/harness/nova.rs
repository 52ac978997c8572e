//! A genuine Nova and a genuine Keystone on loopback, run by `tests/nova/start.py` in a virtual environment of their own.
//!
//! The first start on a machine takes a minute or two: it installs them and makes their empty databases. Later ones take
//! some ten seconds.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{build, processes, python, wait};

/// Both services. They end when this is dropped, and when this process ends in any other way.
#[derive(Debug)]
pub struct Nova {
    child: Child,
    facts: Facts,
    agent: ureq::Agent,
    users: AtomicU32,
}

/// What they are like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Key pairs per user.
    pub quota: u32,
    /// Seconds that a token lasts.
    pub token_lifetime: u32,
    /// The newest microversion; none: Nova's own.
    pub max_microversion: Option<&'static str>,
    /// Whether they go on when this process ends, until [`Nova::pid`] is ended.
    pub stay: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            quota: 100,
            token_lifetime: 3600,
            max_microversion: None,
            stay: false,
        }
    }
}

/// What `start.py` says when both answer.
#[derive(Debug, Deserialize)]
struct Facts {
    auth_url: String,
    compute_url: String,
    administrator: String,
    member_role: String,
    regions: Vec<String>,
    max_microversion: String,
    folder: PathBuf,
    processes: Vec<u32>,
}

/// A user with a project of their own: their pairs are nobody else's.
#[derive(Clone, Debug)]
pub struct User {
    /// The name, in the domain `default`.
    pub name: String,
    /// The id.
    pub id: String,
    /// The password.
    pub password: String,
    /// The project, of which the user is a member.
    pub project_id: String,
}

/// An answer to a request of a test.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The token, where Keystone gave one.
    pub token: Option<String>,
    /// The body; null where it is not JSON.
    pub body: Value,
}

impl Nova {
    /// Starts both and waits until they answer.
    ///
    /// # Panics
    /// When they cannot be installed or do not come up.
    pub fn start(options: Options) -> Self {
        Self::try_start(options).unwrap_or_else(|message| panic!("no Nova: {message}"))
    }

    /// As [`Nova::start`], for those who can do without.
    ///
    /// # Errors
    /// Why they cannot be installed or do not come up.
    pub fn try_start(options: Options) -> Result<Self, String> {
        let environment = python::try_environment(NAME, &requirements())?;
        let folder = build::workspace().join(FOLDER);
        let mut command = Command::new(environment.join("bin/python"));
        command
            .arg(folder.join("start.py"))
            .args(["--quota", &options.quota.to_string()])
            .args(["--token-lifetime", &options.token_lifetime.to_string()])
            .args(["--max-microversion", options.max_microversion.unwrap_or_default()]);
        if options.stay {
            command.arg("--stay");
        }
        // Unless it stays, it serves as long as this pipe is open.
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("cannot start Python: {error}"))?;
        let mut line = String::new();
        let output = child.stdout.take().expect("stdout is a pipe");
        let read = BufReader::new(output).read_line(&mut line);
        let facts = read.ok().and_then(|_| serde_json::from_str(&line).ok());
        let Some(facts) = facts else {
            drop(child.stdin.take());
            let _ = child.wait();
            return Err(line);
        };
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .proxy(None);
        Ok(Self {
            child,
            facts,
            agent: config.build().new_agent(),
            users: AtomicU32::new(0),
        })
    }

    /// Whether a start finds both installed.
    pub fn is_installed() -> bool {
        python::has_environment(NAME, &requirements())
    }

    /// Where Keystone is.
    pub fn auth_url(&self) -> &str {
        &self.facts.auth_url
    }

    /// Where Nova is: in the catalogue it is there in every region.
    pub fn compute_url(&self) -> &str {
        &self.facts.compute_url
    }

    /// The regions of the catalogue.
    pub fn regions(&self) -> &[String] {
        &self.facts.regions
    }

    /// The newest microversion that Nova announces.
    pub fn max_microversion(&self) -> &str {
        &self.facts.max_microversion
    }

    /// The program that runs both, which `kill` ends.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where their databases and logs are.
    pub fn folder(&self) -> &Path {
        &self.facts.folder
    }

    /// Whether one of the two services still runs.
    pub fn is_running(&self) -> bool {
        let processes = self.facts.processes.iter();
        processes.clone().any(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains("start.py")
        })
    }

    /// A new user with a new project.
    ///
    /// # Panics
    /// When Keystone refuses.
    #[track_caller]
    pub fn user(&self) -> User {
        let number = self.users.fetch_add(1, Ordering::Relaxed);
        let token = self.administrator();
        let (name, password) = (format!("user-{number}"), format!("password of user-{number}"));
        let make = |kind: &str, fields: Value| {
            let url = format!("{}/{kind}s", self.auth_url());
            let answer = self.ask("POST", &url, Some(&token), Some(json!({kind: fields})));
            let id = answer.body[kind]["id"].as_str().map(str::to_owned);
            id.unwrap_or_else(|| panic!("no {kind}: {answer:?}"))
        };
        let project_id = make("project", json!({"name": name, "domain_id": "default"}));
        let id = make(
            "user",
            json!({"name": name, "domain_id": "default", "password": password}),
        );
        let role = &self.facts.member_role;
        let grant = format!(
            "{}/projects/{project_id}/users/{id}/roles/{role}",
            self.auth_url()
        );
        assert_eq!(self.ask("PUT", &grant, Some(&token), None).status, 204);
        User {
            name,
            id,
            password,
            project_id,
        }
    }

    /// A new application credential of a user: its id and its secret.
    ///
    /// # Panics
    /// When Keystone refuses.
    #[track_caller]
    pub fn application_credential(&self, user: &User) -> (String, String) {
        let url = format!("{}/users/{}/application_credentials", self.auth_url(), user.id);
        let secret = format!("secret of {}", user.name);
        let body = json!({"application_credential": {"name": "keyferry", "secret": secret}});
        let answer = self.ask("POST", &url, Some(&self.token(user)), Some(body));
        let id = answer.body["application_credential"]["id"]
            .as_str()
            .map(str::to_owned);
        (
            id.unwrap_or_else(|| panic!("no application credential: {answer:?}")),
            secret,
        )
    }

    /// A new token of a user for their project.
    ///
    /// # Panics
    /// When Keystone refuses.
    #[track_caller]
    pub fn token(&self, user: &User) -> String {
        let user_fields = json!({"id": user.id, "password": user.password});
        self.log_in(user_fields, json!({"id": user.project_id}))
    }

    /// Revokes all tokens of a user, and waits until new ones are good: Keystone counts in whole seconds.
    ///
    /// # Panics
    /// When Keystone refuses, or new tokens are not good within 30 s.
    #[track_caller]
    pub fn revoke_tokens(&self, user: &User) {
        let url = format!("{}/users/{}", self.auth_url(), user.id);
        // A password that is set anew, also to what it was, ends what the old one began.
        let body = json!({"user": {"password": user.password}});
        let answer = self.ask("PATCH", &url, Some(&self.administrator()), Some(body));
        assert_eq!(answer.status, 200, "{answer:?}");
        wait::until("new tokens are good", Duration::from_secs(30), || {
            let token = self.token(user);
            let url = format!("{}/os-keypairs", self.compute_url());
            (self.ask("GET", &url, Some(&token), None).status == 200).then_some(())
        });
    }

    /// Whether Nova takes a token.
    pub fn takes(&self, token: &str) -> bool {
        let url = format!("{}/os-keypairs", self.compute_url());
        self.ask("GET", &url, Some(token), None).status == 200
    }

    /// A user's pairs, sorted by name.
    ///
    /// # Panics
    /// When Nova refuses.
    #[track_caller]
    pub fn pairs(&self, user: &User) -> Vec<Value> {
        let url = format!("{}/os-keypairs", self.compute_url());
        let answer = self.ask("GET", &url, Some(&self.token(user)), None);
        let pairs = answer.body["keypairs"].as_array();
        let pairs = pairs.unwrap_or_else(|| panic!("no pairs: {answer:?}"));
        pairs.iter().map(|item| item["keypair"].clone()).collect()
    }

    /// Makes a pair of somebody else's, as its owner does.
    ///
    /// # Panics
    /// When Nova refuses.
    #[track_caller]
    pub fn plant(&self, user: &User, name: &str) -> Value {
        let url = format!("{}/os-keypairs", self.compute_url());
        let body = json!({"keypair": {"name": name}});
        // While others write, its database may be busy for longer than it waits.
        let answer = wait::until("Nova makes a pair", Duration::from_secs(60), || {
            let answer = self.ask("POST", &url, Some(&self.token(user)), Some(body.clone()));
            (answer.status < 500).then_some(answer)
        });
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut pair = answer.body["keypair"].clone();
        // As a list shows it.
        let shown = pair.as_object_mut().expect("a pair is an object");
        shown.retain(|field, _| ["fingerprint", "name", "public_key"].contains(&&**field));
        pair
    }

    /// Deletes a pair, as its owner does.
    ///
    /// # Panics
    /// When Nova refuses.
    #[track_caller]
    pub fn delete(&self, user: &User, name: &str) {
        let url = format!("{}/os-keypairs/{name}", self.compute_url());
        assert_eq!(
            self.ask("DELETE", &url, Some(&self.token(user)), None).status,
            202
        );
    }

    /// Sends a request.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn ask(&self, method: &str, url: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("x-auth-token", token);
        }
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request.body(text).expect("a request can be made");
        let mut answer = self
            .agent
            .run(request)
            .unwrap_or_else(|error| panic!("{method} {url}: {error}"));
        let token = answer.headers().get("x-subject-token");
        Answer {
            status: answer.status().as_u16(),
            token: token.and_then(|token| Some(token.to_str().ok()?.to_owned())),
            body: answer
                .body_mut()
                .read_to_string()
                .ok()
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default(),
        }
    }

    #[track_caller]
    fn administrator(&self) -> String {
        let user =
            json!({"name": "admin", "domain": {"id": "default"}, "password": self.facts.administrator});
        self.log_in(user, json!({"name": "admin", "domain": {"id": "default"}}))
    }

    #[track_caller]
    fn log_in(&self, user: Value, project: Value) -> String {
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let body = json!({"auth": {"identity": identity, "scope": {"project": project}}});
        let answer = self.ask(
            "POST",
            &format!("{}/auth/tokens", self.auth_url()),
            None,
            Some(body),
        );
        answer
            .token
            .unwrap_or_else(|| panic!("no token: {}", answer.body))
    }
}

impl Drop for Nova {
    fn drop(&mut self) {
        // It ends the services, and removes its folder.
        processes::terminate(self.child.id());
        let _ = self.child.wait();
        // One that was killed left it.
        let _ = fs::remove_dir_all(&self.facts.folder);
    }
}

/// The lock file of both.
fn requirements() -> PathBuf {
    build::workspace().join(FOLDER).join("requirements.txt")
}

/// The name of their virtual environment.
const NAME: &str = "nova";

const FOLDER: &str = "tests/nova";
