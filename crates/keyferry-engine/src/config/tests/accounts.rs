//! Every kind of problem of an account file, word for word and with its place.

use super::{check, said};
use crate::config::fixture::{Directory, Manifests};
use crate::config::read;

#[track_caller]
fn account(content: &str, expected: &[&str]) {
    check("accounts/other.toml", content, expected);
}

#[test]
fn a_missing_plugin_says_where_it_was_looked_for() {
    account(
        "region = \"cn-hangzhou\"\nplugin = \"alibaba-esc\"",
        &[
            "2:10: `plugin`: `alibaba-esc` is in none of the plugin directories: /one/plugins, /two/plugins; did you \
           mean `alibaba-ecs`?",
        ],
    );
    account(
        "",
        &["1:1: names no plugin: add `plugin = \"...\"`; known here: `alibaba-ecs`, `alibaba-ens`, `bare`"],
    );
}

#[test]
fn settings_follow_the_manifest() {
    account(
        "plugin = \"alibaba-ecs\"\n[settings]\nresource_grup = \"x\"\ndry = 1\npage_size = 1.0\nresource_group = \"rg\"",
        &[
            "3:1: unknown setting `resource_grup` of plugin `alibaba-ecs`; did you mean `resource_group`?",
            "4:7: `settings.dry`: expected a boolean, found an integer",
            "5:13: `settings.page_size`: expected an integer, found a float",
        ],
    );
}

#[test]
fn an_account_is_where_its_urls_lead() {
    let place = |settings: &str| {
        let directory = Directory::new();
        directory.write(
            "accounts/other.toml",
            format!("plugin = \"alibaba-ecs\"\ninsecure_http = true\n{settings}"),
        );
        let desired = read(&directory.path(), &Manifests::new(), None).desired();
        desired.accounts["other"].place.clone()
    };
    // What is no URL leads nowhere.
    assert_eq!(place("settings.resource_group = \"https://x.example\""), "");
    let k = "auth_url=https://k.example/v3";
    for same in [
        "https://k.example/v3",
        "https://K.Example:443/v3/",
        "https://k.example/v3//",
    ] {
        assert_eq!(place(&format!("settings.auth_url = {same:?}")), k);
    }
    for other in [
        "https://k.example:5000/v3",
        "http://k.example/v3",
        "https://k.example/V3",
        "https://l.example/v3",
    ] {
        assert_ne!(place(&format!("settings.auth_url = {other:?}")), k);
    }
    assert_eq!(
        place("settings.auth_url = \"http://[::1]:80\""),
        "auth_url=http://[::1]"
    );
}

#[test]
fn maps_and_urls_are_checked() {
    account(
        "plugin = \"alibaba-ecs\"\n[settings]\ntags = { team = \"web\", \"cost centre\" = \"7\" }\nauth_url = \"https://k.example:5000/v3\"",
        &[],
    );
    account(
        "plugin = \"alibaba-ecs\"\nsettings.auth_url = \"http://127.0.0.1:5000/v3/\"",
        &[],
    );
    account(
        "plugin = \"alibaba-ecs\"\ninsecure_http = true\nsettings.auth_url = \"http://k.example/identity\"",
        &[],
    );
    account(
        "plugin = \"alibaba-ecs\"\n[settings]\ntags = [\"web\"]\nauth_url = \"http://k.example/v3\"",
        &[
            "3:8: `settings.tags`: expected a table, found an array",
            "4:12: `settings.auth_url`: plain http shows every request to the network: use https, or write \
           `insecure_http = true`",
        ],
    );
    account(
        "plugin = \"alibaba-ecs\"\n[settings]\ntags = { team = 1, owner = \"\" }",
        &[
            "3:17: `tags.team`: expected a string, found an integer",
            "3:28: `tags.owner`: is empty: give it a value or take it out",
        ],
    );
    let url = |url: &str, said: &str| {
        account(
            &format!("plugin = \"alibaba-ecs\"\nsettings.auth_url = {url:?}"),
            &[&format!("2:21: `settings.auth_url`: {said}")],
        );
    };
    url("k.example", "is no URL: write `https://HOST[:PORT][/PATH]`");
    url(
        "https://k.example/v3?x=1",
        "has a query or a fragment: write `https://HOST[:PORT][/PATH]`",
    );
    url(
        "https://k.example/a b",
        "has a path with characters that must be percent-encoded: write `https://HOST[:PORT][/PATH]`",
    );
    url(
        "ftp://k.example",
        "is no such address: write `https://HOST[:PORT]` or `http://HOST[:PORT]`",
    );
    url(
        "https://me:secret@k.example/v3",
        "holds a user name or password, which does not belong in these files: write `https://HOST[:PORT]` or \
         `http://HOST[:PORT]`",
    );
}

#[test]
fn an_account_has_limits_of_its_own() {
    account(
        "plugin = \"alibaba-ecs\"\nmax_per_second = 5\nmax_pairs = 600\ncheck_every = \"never\"",
        &[],
    );
    account(
        "plugin = \"alibaba-ecs\"\nmax_per_second = 0\nmax_pairs = 0",
        &[
            "2:18: `max_per_second`: 0 is out of range: 1 to 1000 are allowed",
            "3:13: `max_pairs`: 0 is out of range: 1 to 1000000 are allowed",
        ],
    );
}

#[test]
fn credentials_have_one_source() {
    let account = |credentials: &str, expected: &[&str]| {
        account(&format!("plugin = \"alibaba-ecs\"\n{credentials}"), expected);
    };
    account(
        "[credentials]\nfile = \"/x\"\ncommand = [\"a\"]",
        &["4:1: `file`, `command`: one account has one source, keep exactly one of them"],
    );
    account(
        "[credentials]",
        &[
            "2:2: [credentials] is empty: name one of `profile`, `env`, `file` and `command`, or take the table out \
           for the vendor's own chain",
        ],
    );
    account(
        "[credentials]\nprofil = \"a\"",
        &["3:1: unknown key `profil` in [credentials]; did you mean `profile`?"],
    );
    account(
        "credentials.command = []",
        &["2:23: `credentials.command`: is empty: name a program and its arguments"],
    );
    account(
        "credentials.command = [\"./a\"]",
        &["2:24: `credentials.command`: is not absolute: begin with `/` or `~/`"],
    );
    account(
        "[credentials.env]\naccess_key_di = \"A\"\naccess_key_secret = \"B\"",
        &[
            "2:14: `env` lacks `access_key_id`: name a variable for each",
            "3:1: unknown credential field `access_key_di` of plugin `alibaba-ecs`; did you mean `access_key_id`?",
        ],
    );
}

#[test]
fn a_plugin_without_a_chain_needs_credentials() {
    account(
        "plugin = \"bare\"",
        &[
            "1:1: the plugin knows no place to look for credentials: add [credentials] with `env`, `file` or `command`",
        ],
    );
    account(
        "plugin = \"bare\"\ncredentials.profile = \"x\"",
        &["2:13: the plugin knows no profiles: name `env`, `file` or `command` instead"],
    );
}

#[test]
fn credentials_are_never_values_and_never_shown() {
    let secret = "LTAI5tHUSHhush7777";
    for (text, place) in [
        (
            "access_key_secret = \"SECRET\"",
            "2:1: `access_key_secret` looks like a credential",
        ),
        (
            "[settings]\npassword = \"SECRET\"",
            "3:1: `password` looks like a credential",
        ),
        (
            "[credentials]\naccess_key_secret = \"SECRET\"",
            "3:1: `access_key_secret` must not be written here",
        ),
        (
            "[credentials.env]\naccess_key_id = \"SECRET\"\naccess_key_secret = \"B\"",
            "3:17: `env.access_key_id`: must be the name of an environment variable",
        ),
        ("access_key_secret = SECRET", "2:21: not TOML"),
        (
            "endpoint = \"https://li:SECRET@x\"",
            "2:12: `endpoint`: holds a user name or password",
        ),
    ] {
        let directory = Directory::new();
        let text = format!("plugin = \"alibaba-ecs\"\n{}", text.replace("SECRET", secret));
        directory.write("accounts/other.toml", text);
        let state = read(&directory.path(), &Manifests::new(), None);
        let lines = said(&state.desired().files, &directory, "accounts/other.toml");
        assert!(
            lines[0].starts_with(place),
            "{lines:?} should start with {place:?}"
        );
        assert!(
            !format!("{:?}", state.desired()).contains(secret),
            "{:?}",
            state.desired()
        );
    }
}

#[test]
fn an_endpoint_is_an_origin() {
    let account = |endpoint: &str, expected: &[&str]| {
        account(
            &format!("plugin = \"alibaba-ecs\"\nendpoint = \"{endpoint}\""),
            expected,
        );
    };
    for fine in [
        "https://example.com",
        "https://a.b:8443",
        "http://127.0.0.1:8731",
        "http://[::1]:1",
        "http://localhost",
    ] {
        account(fine, &[]);
    }
    let wanted = "write `https://HOST[:PORT]` or `http://HOST[:PORT]`";
    account(
        "ftp://x",
        &[&format!("2:12: `endpoint`: is no such address: {wanted}")],
    );
    account(
        "https://u@x",
        &[&format!(
            "2:12: `endpoint`: holds a user name or password, which does not belong in these files: {wanted}"
        )],
    );
    for rest in ["/", "/api", "?x", "#x"] {
        let expected =
            format!("2:12: `endpoint`: has something after the host: {wanted}, without `/` at the end");
        account(&format!("https://x{rest}"), &[&expected]);
    }
    for port in ["0", "65536", "+1", "x", ""] {
        account(
            &format!("https://x:{port}"),
            &["2:12: `endpoint`: has a port that is no number from 1 to 65535"],
        );
    }
    for host in ["", "a..b", "-a", "a b", "[::g]", "é"] {
        account(
            &format!("https://{host}"),
            &[&format!("2:12: `endpoint`: has no sound host name: {wanted}")],
        );
    }
    let insecure =
        "plain http shows every request to the network: use https, or write `insecure_http = true`";
    account("http://10.0.0.1", &[&format!("2:12: `endpoint`: {insecure}")]);
    account(
        "http://127.0.0.1.example.com",
        &[&format!("2:12: `endpoint`: {insecure}")],
    );
    account("http://10.0.0.1\"\ninsecure_http = true # \"", &[]);
}

#[test]
fn what_looks_like_a_pasted_key_is_no_variable() {
    let named = |word: &str| {
        let directory = Directory::new();
        let env = format!("access_key_id = \"{word}\"\naccess_key_secret = \"B\"");
        directory.write(
            "accounts/other.toml",
            format!("plugin = \"alibaba-ecs\"\n[credentials.env]\n{env}"),
        );
        let state = read(&directory.path(), &Manifests::new(), None);
        state.desired().accounts.contains_key("other")
    };
    for name in [
        "A",
        "MY_KEY_ID",
        "TF_VAR_access_key",
        "key1",
        "ALIBABACLOUDACCESSKEYID",
    ] {
        assert!(named(name), "{name}");
    }
    for value in [
        "LTAI5tabcdefghijklmnop",
        "wJalrXUtnFEMIbPxRfiCYEXAMPLE",
        "AKIAIOSFODNN7EXAMPLE",
        "1A",
        "a-b",
        "a/b+c=",
    ] {
        assert!(!named(value), "{value}");
    }
}
