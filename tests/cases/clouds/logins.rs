//! Logins before the first pair: tokens for names and passwords, projects that are looked up, roles that are assumed.

use std::time::{Duration, SystemTime};

use cloud_sim::{CloudSim, Fault, FaultKind, Refusal, RequestFilter, RequestRecord, Service, Tag};
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};
use keyferry_tests::ledger;
use serde_json::json;

use crate::credentials::write;
use crate::scene::{Shown, wait_for_error};

const LOGIN: &str = "KeystoneCreateUserTokenByPassword";
const LOOKUP: &str = "KeystoneListProjects";

/// A daemon with one account, `cloud`, and one key, `web`, that is imported.
struct Bench {
    daemon: Daemon,
    home: Home,
    cloud: CloudSim,
}

impl Bench {
    /// `account`: lines of the account's file besides plugin, region and endpoint.
    fn start(service: Service, region: &str, account: &str, prepare: impl FnOnce(&Home)) -> Self {
        let (home, cloud) = (Home::new(), keyferry_tests::cloud());
        prepare(&home);
        home.write(
            "accounts/cloud.toml",
            &format!(
                "plugin = \"{}\"\nregion = \"{region}\"\nendpoint = \"{}\"\n{account}",
                service.name(),
                cloud.url(service)
            ),
        );
        home.key("web", "account = \"cloud\"\nalgorithm = \"rsa-2048\"\n");
        let variables = [
            ("MY_USER", ACCESS_KEY),
            ("MY_PASSWORD", SECRET_KEY),
            ("MY_DOMAIN", "acme"),
        ];
        let options = Options {
            environment: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Options::default()
        };
        let daemon = Daemon::start_with(&home, &options);
        Self { daemon, home, cloud }
    }

    fn huawei(account: &str) -> Self {
        Self::start(Service::HuaweiEcs, "cn-north-4", account, |_| {})
    }

    fn requests(&self, action: &str) -> Vec<RequestRecord> {
        let requests = self.cloud.requests().requests.into_iter();
        requests.filter(|request| request.action == action).collect()
    }

    #[track_caller]
    fn assert_loaded(&self) {
        self.daemon.wait_loaded(60);
        ledger::assert_matches_cloud(&self.home, &self.cloud);
        let log = self.daemon.log();
        assert!(!log.contains(SECRET_KEY), "{log}");
    }
}

const USER: &str =
    "[credentials]\nenv = { username = \"MY_USER\", password = \"MY_PASSWORD\", domain = \"MY_DOMAIN\" }\n";

#[test]
fn a_user_gets_one_token_for_all() {
    let bench = Bench::huawei(USER);
    bench.assert_loaded();
    bench
        .home
        .key("created", "account = \"cloud\"\ngenerated_by = \"provider\"\n");
    bench.assert_loaded();
    assert_eq!(bench.requests(LOGIN).len(), 1);
    // The token names the project.
    assert!(bench.requests(LOOKUP).is_empty());
    let made = bench.requests("NovaCreateKeypair");
    assert!(
        made.len() == 2 && made.iter().all(|request| request.access_key == "token"),
        "{made:?}"
    );
    let shown = format!("{:?}", bench.cloud.requests());
    assert!(!shown.contains(SECRET_KEY), "{shown}");
}

#[test]
fn a_token_that_has_expired_is_replaced() {
    let bench = Bench::huawei(USER);
    bench.assert_loaded();
    bench
        .cloud
        .set_clock(Some(SystemTime::now() + Duration::from_secs(25 * 60 * 60)));
    bench
        .home
        .key("later", "account = \"cloud\"\nalgorithm = \"rsa-2048\"\n");
    bench.assert_loaded();
    assert_eq!(bench.requests(LOGIN).len(), 2);
    let refused = bench
        .requests("NovaCreateKeypair")
        .into_iter()
        .filter(|request| request.outcome.as_deref() == Some("APIGW.0301"));
    assert_eq!(refused.count(), 1);
}

#[test]
fn a_wrong_password_is_told() {
    let account = USER.replace("password = \"MY_PASSWORD\"", "password = \"MY_DOMAIN\"");
    let bench = Bench::huawei(&account);
    let error = wait_for_error(
        &bench.daemon,
        "web",
        &Shown {
            kind: "unauthorized",
            code: None,
            words: "check the account's credentials",
            again: false,
        },
    );
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| !message.contains("acme")),
        "{error:#}"
    );
    assert!(bench.requests("NovaCreateKeypair").is_empty());
}

#[test]
fn the_vendors_own_file_and_a_project_that_is_looked_up() {
    let write_file = |home: &Home| {
        let text = format!("[basic]\nak = {ACCESS_KEY}\nsk = {SECRET_KEY}\n");
        write(&home.path(".huaweicloud/credentials"), &text, 0o600);
    };
    let bench = Bench::start(
        Service::HuaweiEcs,
        "cn-east-3",
        "[settings]\ntype = \"ssh\"\n",
        write_file,
    );
    bench.assert_loaded();
    let [lookup] = &*bench.requests(LOOKUP) else {
        panic!("{:?}", bench.requests(LOOKUP))
    };
    assert_eq!(
        (&*lookup.access_key, &*lookup.parameters["name"]),
        (ACCESS_KEY, "cn-east-3")
    );
    let pairs = bench.cloud.pairs(Service::HuaweiEcs);
    assert_eq!(pairs[0].region.as_deref(), Some("cn-east-3"));
    let made = bench.requests("NovaCreateKeypair");
    assert_eq!(made[0].parameters["type"], "ssh");
}

#[test]
fn iam_at_a_url_of_its_own() {
    let (home, cloud) = (Home::new(), keyferry_tests::cloud());
    // Nothing answers at the endpoint's own port but the service; IAM is at the other cloud.
    let iam = keyferry_tests::cloud();
    let account = format!(
        "plugin = \"huawei-ecs\"\nregion = \"cn-north-4\"\nendpoint = \"{}\"\n[settings]\niam_endpoint = \"{}/\"\n",
        cloud.url(Service::HuaweiEcs),
        iam.url(Service::HuaweiEcs),
    );
    let credentials = json!({"access_key_id": ACCESS_KEY, "access_key_secret": SECRET_KEY}).to_string();
    let path = home.path("secret.json");
    write(&path, &credentials, 0o600);
    let credentials = format!("[credentials]\nfile = \"{}\"\n", path.display());
    home.write("accounts/cloud.toml", &(account + &credentials));
    home.key("web", "account = \"cloud\"\nalgorithm = \"rsa-2048\"\n");
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(60);
    ledger::assert_matches_cloud(&home, &cloud);
    let actions = |cloud: &CloudSim| -> Vec<String> {
        cloud
            .requests()
            .requests
            .into_iter()
            .map(|request| request.action)
            .collect()
    };
    assert_eq!(actions(&iam), [LOOKUP]);
    assert!(!actions(&cloud).contains(&LOOKUP.to_owned()));
}

#[test]
fn each_region_has_a_login_of_its_own() {
    let bench = Bench::huawei(USER);
    bench.assert_loaded();
    bench.home.key(
        "elsewhere",
        "account = \"cloud\"\nregion = \"cn-east-3\"\nalgorithm = \"rsa-2048\"\n",
    );
    bench.assert_loaded();
    let logins = bench.requests(LOGIN);
    let regions: Vec<&str> = logins.iter().map(|login| &*login.parameters["name"]).collect();
    assert_eq!(regions, ["cn-north-4", "cn-east-3"]);
    let pairs = bench.cloud.pairs(Service::HuaweiEcs);
    let regions: Vec<_> = pairs
        .iter()
        .map(|pair| pair.region.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(regions, ["cn-north-4", "cn-east-3"]);
}

/// A profile of Volcengine's command line that assumes a role.
fn write_role(home: &Home) {
    let config = json!({"current": "deploy", "profiles": {"deploy": {
        "mode": "RamRoleArn", "access-key": ACCESS_KEY, "secret-key": SECRET_KEY,
        "role-name": "deploy", "account-id": "2100000000",
    }}});
    write(&home.path(".volcengine/config.json"), &config.to_string(), 0o600);
}

#[test]
fn a_role_of_the_vendors_command_line_is_assumed() {
    let bench = Bench::start(Service::VolcengineEcs, "cn-beijing", "", write_role);
    bench.assert_loaded();
    let [assumed] = &*bench.requests("AssumeRole") else {
        panic!("{:?}", bench.requests("AssumeRole"))
    };
    assert_eq!(assumed.access_key, ACCESS_KEY);
    assert_eq!(assumed.parameters["RoleTrn"], "trn:iam::2100000000:role/deploy");
    let made = bench.requests("ImportKeyPair");
    assert!(
        made.iter().all(|request| request.access_key.starts_with("AKTP")),
        "{made:?}"
    );
}

#[test]
fn the_settings_of_an_account_are_those_of_its_pairs() {
    let account = "[settings]\ndescription = \"made by keyferry\"\nproject = \"web\"\n\
         tags = { team = \"web\", cost = \"7\" }\n\
         [credentials]\nenv = { access_key_id = \"MY_USER\", access_key_secret = \"MY_PASSWORD\" }\n";
    let bench = Bench::start(Service::VolcengineEcs, "cn-beijing", account, |_| {});
    bench.assert_loaded();
    let pair = bench.cloud.pairs(Service::VolcengineEcs).remove(0);
    let tag = |key: &str, value: &str| Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    assert_eq!(pair.resource_group.as_deref(), Some("web"));
    assert_eq!(pair.tags, [tag("cost", "7"), tag("team", "web")]);
    let made = bench.requests("ImportKeyPair");
    assert_eq!(made[0].parameters["Description"], "made by keyferry");
    assert_eq!(made[0].parameters["ClientToken"].len(), 32);
}

#[test]
fn an_error_with_status_200_is_one() {
    let account =
        "[credentials]\nenv = { access_key_id = \"MY_USER\", access_key_secret = \"MY_PASSWORD\" }\n";
    let bench = Bench::start(Service::VolcengineEcs, "cn-beijing", account, |_| {});
    bench.assert_loaded();
    let refusal = Refusal::new(
        200,
        "InvalidProject.NotFound",
        "The specified Project does not exist.",
    );
    let fault = FaultKind::Error {
        error: refusal,
        after_commit: false,
    };
    bench.cloud.fault(Fault::new(fault).action("CreateKeyPair"));
    bench
        .home
        .key("refused", "account = \"cloud\"\ngenerated_by = \"provider\"\n");
    wait_for_error(
        &bench.daemon,
        "refused",
        &Shown {
            kind: "invalid",
            code: Some("InvalidProject.NotFound"),
            words: "`project`",
            again: false,
        },
    );
    let filter = RequestFilter::action("CreateKeyPair");
    let seen = bench.cloud.wait_for_requests(&filter, 1, Duration::from_secs(5));
    assert_eq!(seen.map(|seen| seen.len()).ok(), Some(1));
    ledger::assert_matches_cloud(&bench.home, &bench.cloud);
}
