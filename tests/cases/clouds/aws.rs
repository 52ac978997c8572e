//! AWS's chain, through the daemon: roles, web identities, containers, and what is refused by name. The vendor's files lie
//! where its own tools have them.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use cloud_sim::{CloudSim, Credential, RequestRecord, Service};
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};
use keyferry_tests::ledger;

use crate::scene::{Shown, wait_for_error};

/// A cloud, and a home with one account, `cloud`, and one key, `web`, that is imported.
struct Bench {
    home: Home,
    cloud: CloudSim,
    environment: Vec<(String, String)>,
}

impl Bench {
    /// `account`: lines of the account's file besides plugin, region and endpoint.
    fn new(account: &str) -> Self {
        let (home, cloud) = (Home::new(), keyferry_tests::cloud());
        home.write(
            "accounts/cloud.toml",
            &format!(
                "plugin = \"aws-ec2\"\nregion = \"eu-central-1\"\nendpoint = \"{}\"\n{account}",
                cloud.url(Service::AwsEc2)
            ),
        );
        home.key("web", "account = \"cloud\"\n");
        Self {
            home,
            cloud,
            environment: Vec::new(),
        }
    }

    /// With a private file below the home.
    fn file(self, below: &str, text: &str) -> Self {
        let path = self.home.path(below);
        fs::create_dir_all(path.parent().expect("it is below the home")).expect("a folder can be made");
        fs::write(&path, text).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("modes can be set");
        self
    }

    fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    fn start(&self) -> Daemon {
        let options = Options {
            environment: self.environment.clone(),
            ..Options::default()
        };
        Daemon::start_with(&self.home, &options)
    }

    /// Everything loads, and the cloud holds what the ledger knows.
    #[track_caller]
    fn loads(&self) -> Daemon {
        let daemon = self.start();
        daemon.wait_loaded(60);
        ledger::assert_matches_cloud(&self.home, &self.cloud);
        daemon
    }

    fn requests(&self, action: &str) -> Vec<RequestRecord> {
        let requests = self.cloud.requests().requests.into_iter();
        requests.filter(|request| request.action == action).collect()
    }
}

fn keys_file() -> String {
    format!("[base]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
}

#[test]
fn roles_are_assumed_one_after_the_other() {
    let bench = Bench::new("[credentials]\nprofile = \"deploy\"\n")
        .file(".aws/credentials", &keys_file())
        .file(
            ".aws/config",
            "[profile deploy]\nrole_arn = arn:aws:iam::222222222222:role/deploy\nsource_profile = hop\nexternal_id = e+1\n\
             duration_seconds = 900\n\n[profile hop]\nrole_arn = arn:aws:iam::111111111111:role/hop\nsource_profile = base\n",
        );
    let daemon = bench.loads();
    let [hop, deploy] = &*bench.requests("AssumeRole") else {
        panic!("{:?}", bench.requests("AssumeRole"))
    };
    assert_eq!(hop.access_key, ACCESS_KEY);
    assert_eq!(hop.parameters["RoleSessionName"], "keyferry");
    assert!(deploy.access_key.starts_with("ASIA"), "{}", deploy.access_key);
    assert_eq!(
        (
            &*deploy.parameters["ExternalId"],
            &*deploy.parameters["DurationSeconds"]
        ),
        ("e+1", "900")
    );
    let [import] = &*bench.requests("ImportKeyPair") else {
        panic!("{:?}", bench.requests("ImportKeyPair"))
    };
    assert!(import.access_key.starts_with("ASIA") && import.access_key != deploy.access_key);
    assert!(!daemon.log().contains(SECRET_KEY));
}

#[test]
fn a_web_identity_becomes_a_role() {
    let arn = "arn:aws:iam::111111111111:role/pod";
    let token = "eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl";
    let bench = Bench::new("").file("token", &format!("{token}\n"));
    bench.cloud.add_credential(Credential {
        access_key: arn.to_owned(),
        secret_key: token.to_owned(),
        session_token: None,
        expires_at: None,
    });
    let path = bench.home.path("token").display().to_string();
    let bench = bench
        .variable("AWS_WEB_IDENTITY_TOKEN_FILE", path)
        .variable("AWS_ROLE_ARN", arn);
    let daemon = bench.loads();
    assert_eq!(bench.requests("AssumeRoleWithWebIdentity").len(), 1);
    assert!(!daemon.log().contains(token));
}

#[test]
fn a_container_hands_out_keys() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it has an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let lines = BufReader::new(stream.try_clone().expect("a stream can be shared")).lines();
            let head: Vec<String> = lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .map(|line| line.to_ascii_lowercase())
                .collect();
            let allowed = head
                .first()
                .is_some_and(|line| line.starts_with("get /creds/7/ "))
                && head.contains(&"authorization: box token".to_owned());
            let body = serde_json::json!({
                "AccessKeyId": "ASIABOX",
                "SecretAccessKey": SECRET_KEY,
                "Token": "box/session+token==",
                "Expiration": "2126-11-22T02:00:00Z",
            });
            let (status, body) = match allowed {
                true => ("200 OK", body.to_string()),
                false => ("403 Forbidden", head.join(" ")),
            };
            // Who hung up is not answered.
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let bench = Bench::new("").file("token", "Box Token").variable(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        format!("http://{address}/creds/7/"),
    );
    let path = bench.home.path("token").display().to_string();
    let bench = bench.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path);
    bench.cloud.add_credential(Credential {
        access_key: "ASIABOX".to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        session_token: Some("box/session+token==".to_owned()),
        expires_at: None,
    });
    let daemon = bench.loads();
    let log = daemon.log();
    assert!(
        !log.contains("session+token") && !log.contains("Box Token"),
        "{log}"
    );
}

#[test]
fn what_wants_a_person_and_what_is_missing_is_said() {
    let unusable = [
        ("[default]\nsso_session = corp\n", "single sign-on"),
        (
            "[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = base\nmfa_serial = arn:aws:iam::1:mfa/li\n",
            "one-time code",
        ),
        (
            "[default]\nregion = eu-central-1\n",
            "/.aws/config: profile \"default\" has no keys",
        ),
    ];
    for (config, words) in unusable {
        let bench = Bench::new("")
            .file(".aws/config", config)
            .variable("AWS_EC2_METADATA_DISABLED", "true");
        let daemon = bench.start();
        let shown = Shown {
            kind: "credentials",
            code: None,
            words,
            again: false,
        };
        wait_for_error(&daemon, "web", &shown);
        assert!(bench.cloud.requests().requests.is_empty(), "{words}");
    }
}
