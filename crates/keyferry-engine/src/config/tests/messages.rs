//! Every other kind of problem, word for word and with its place.

use super::{check, said};
use crate::config::fixture::{Directory, Manifests};
use crate::config::{check as check_directory, read};
use crate::desired::{CredentialSource, FileState, GeneratedBy};

#[track_caller]
fn key(content: &str, expected: &[&str]) {
    check("keys/web.toml", content, expected);
}

#[track_caller]
fn account(content: &str, expected: &[&str]) {
    check("accounts/other.toml", content, expected);
}

#[track_caller]
fn daemon(content: &str, expected: &[&str]) {
    check("keyferry.toml", content, expected);
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    key(
        "acount = \"aliyun\"",
        &["1:1: unknown key `acount`; did you mean `account`?"],
    );
    key(
        "# 密钥\n  account = \"aliyun\"\n\t\"colour\\n\" = 1",
        &[
            "3:2: unknown key `colour\\n`; known here: `account`, `algorithm`, `deploy`, `generated_by`, `hosts`, `name`, `on_drift`, `on_remove`, `region`, `regions`, `rotate`",
        ],
    );
    account(
        "plugn = \"alibaba-ecs\"",
        &["1:1: unknown key `plugn`; did you mean `plugin`?"],
    );
    daemon(
        "[agent]\nsockt = \"/a\"",
        &["2:1: unknown key `sockt` in [agent]; did you mean `socket`?"],
    );
    daemon(
        "[agnt]\nsocket = \"/a\"",
        &["1:2: unknown key `agnt`; did you mean `agent`?"],
    );
    daemon(
        "agent.sockt = \"/a\"",
        &["1:7: unknown key `sockt` in [agent]; did you mean `socket`?"],
    );
}

#[test]
fn wrong_types_say_what_was_expected_and_found() {
    key(
        "account = 1\nname = true\nregion = 1.5\nalgorithm = []\ngenerated_by = 2020-01-01\non_remove = {}",
        &[
            "1:11: `account`: expected a string, found an integer",
            "2:8: `name`: expected a string, found a boolean",
            "3:10: `region`: expected a string, found a float",
            "4:13: `algorithm`: expected a string, found an array",
            "5:16: `generated_by`: expected a string, found a date or time",
            "6:1: `on_remove`: expected a string, found a table",
        ],
    );
    account(
        "plugin = \"alibaba-ecs\"\ninsecure_http = \"yes\"\nmax_concurrent = \"8\"\nsettings = \"x\"\ncredentials = 7",
        &[
            "2:17: `insecure_http`: expected a boolean, found a string",
            "3:18: `max_concurrent`: expected an integer, found a string",
            "4:12: `settings`: expected a table, found a string",
            "5:15: `credentials`: expected a table, found an integer",
        ],
    );
    daemon(
        "plugin_dirs = \"/a\"\nagent = 1\n[network]\nno_proxy = [\"a b\", 7]",
        &[
            "1:15: `plugin_dirs`: expected an array of strings, found a string",
            "2:9: `agent`: expected a table, found an integer",
            "4:13: `network.no_proxy`: `a b` is no host name and no domain suffix such as `.example.com`",
            "4:20: `network.no_proxy`: expected a string, found an integer",
        ],
    );
}

#[test]
fn syntax_errors_have_their_place() {
    key(
        "account = \"aliyun\"\naccount = \"aliyun\"",
        &["2:1: `account` stands here twice: keep one"],
    );
    key(
        "account = \"aliyun",
        &["1:18: not TOML: invalid basic string, expected `\"`"],
    );
    key(
        "account = \"aliyun\"\nregion = \nname\n",
        &[
            "2:10: not TOML: string values must be quoted, expected literal string",
            "3:5: not TOML: key with no value, expected `=`",
        ],
    );
}

#[test]
fn values_out_of_range_and_empty_values_are_named() {
    daemon(
        "[defaults]\nmax_concurrent = 0",
        &["2:18: `defaults.max_concurrent`: 0 is out of range: 1 to 64 are allowed"],
    );
    daemon(
        "[defaults]\nmax_concurrent = 0xFFFFFFFFFFFFFFFFFF",
        &["2:18: `defaults.max_concurrent`: 0xFFFFFFFFFFFFFFFFFF is out of range: 1 to 64 are allowed"],
    );
    key(
        "account = \"\"",
        &["1:11: `account`: is empty: give it a value or take it out"],
    );
    key(
        "account = \"a\\u0000\"",
        &["1:11: `account`: contains a control character: take it out"],
    );
    daemon(
        "plugin_dirs = [\"lib\", \"~/lib\"]",
        &["1:16: `plugin_dirs`: is not absolute: begin with `/` or `~/`"],
    );
    let long = format!("[agent]\nsocket = \"/{}\"", "s".repeat(107));
    daemon(
        &long,
        &["2:10: `agent.socket`: has 108 bytes, and a socket's path holds at most 107: name a shorter one"],
    );
}

#[test]
fn a_proxy_has_host_and_port_and_no_password() {
    daemon(
        "[network]\nproxy = \"socks5://127.0.0.1:1080\"\nno_proxy = [\".example.com\", \"10.0.0.1\", \"::1\"]",
        &[],
    );
    daemon(
        "[network]\nproxy = \"http://li:HUSH@proxy:1\"",
        &[
            "2:9: `network.proxy`: holds a user name or password, which does not belong in these files: write \
           `http://HOST[:PORT]` or `socks5://HOST[:PORT]`",
        ],
    );
    daemon(
        "[network]\nproxy = \"http://proxy\"",
        &["2:9: `network.proxy`: names no port: write it, as in `http://proxy.example.com:3128`"],
    );
}

#[test]
fn an_account_must_exist_and_be_sound() {
    key(
        "account = \"aliyum\"",
        &[
            "1:11: `account`: there is no account `aliyum`: create accounts/aliyum.toml; did you mean `aliyun`?",
        ],
    );
    key(
        "account = \"../x\"",
        &[
            "1:11: `account`: `../x` is no account's name: lower-case letters, digits and `-`, at most 48, not \
           beginning with `-`; known here: `aliyun`",
        ],
    );
    let directory = Directory::new();
    directory.write("accounts/aliyun.toml", "plugin = 1");
    directory.write("keys/web.toml", "account = \"aliyun\"");
    let reports = check_directory(&directory.path(), &Manifests::new());
    let expected = ["1:11: `account`: account `aliyun` has an error, see accounts/aliyun.toml"];
    assert_eq!(said(&reports, &directory, "keys/web.toml"), expected);
}

#[test]
fn algorithms_follow_the_manifest() {
    key(
        "account = \"aliyun\"\nalgorithm = \"ed25519\"",
        &[
            "2:13: `algorithm`: plugin `alibaba-ecs` does not take `ed25519` with generated_by = \"keyferry\": \
           `rsa-3072`, `ecdsa-p256` can be had",
        ],
    );
    key(
        "account = \"aliyun\"\nalgorithm = \"rsa-3072\"\ngenerated_by = \"provider\"",
        &[
            "2:13: `algorithm`: plugin `alibaba-ecs` does not take `rsa-3072` with generated_by = \"provider\": \
           `rsa-2048` can be had",
        ],
    );
    key(
        "account = \"aliyun\"\nalgorithm = \"ed25518\"\ngenerated_by = \"provder\"",
        &[
            "2:13: `algorithm`: unknown value `ed25518`; did you mean `ed25519`?",
            "3:16: `generated_by`: unknown value `provder`; did you mean `provider`?",
        ],
    );
    let directory = Directory::new();
    directory.write(
        "accounts/bare.toml",
        "plugin = \"bare\"\n[credentials]\nfile = \"/x\"",
    );
    directory.write("keys/web.toml", "account = \"bare\"");
    let reports = check_directory(&directory.path(), &Manifests::new());
    let expected = ["1:1: plugin `bare` cannot import pairs: write `generated_by = \"provider\"`"];
    assert_eq!(said(&reports, &directory, "keys/web.toml"), expected);
}

#[test]
fn a_pair_name_must_do_in_its_longest_form() {
    key("account = \"aliyun\"\nname = \"abcdefghijklmnop\"", &[]);
    key(
        "account = \"aliyun\"\nname = \"abcdefghijklmnopq\"",
        &[
            "2:8: `name`: plugin `alibaba-ecs` does not allow `abcdefghijklmnopq`: its pairs are named up to \
           `abcdefghijklmnopq-ffffff-999999`, which has 31 characters, 2 to 30 are allowed",
        ],
    );
    key(
        "account = \"aliyun\"\nname = \"9lives\"",
        &[
            "2:8: `name`: plugin `alibaba-ecs` does not allow `9lives`: its pairs are named up to \
           `9lives-ffffff-999999`, which does not start with a letter",
        ],
    );
    key(
        "account = \"aliyun\"\nname = \"a/b\"",
        &[
            "2:8: `name`: plugin `alibaba-ecs` does not allow `a/b`: its pairs are named up to `a/b-ffffff-999999`, \
           which contains '/'; allowed are letters, digits and `:` `_` `-`",
        ],
    );
}

#[test]
fn regions_are_labels_and_may_be_required() {
    key(
        "account = \"aliyun\"\nregion = \"cn_hangzhou\"",
        &[
            "2:10: `region`: `cn_hangzhou` contains '_': write lower-case letters, digits and `-`, as in `cn-hangzhou`",
        ],
    );
    key(
        "account = \"aliyun\"\nregion = \"-cn\"",
        &[
            "2:10: `region`: `-cn` is no region: write lower-case letters, digits and `-`, as in `cn-hangzhou`",
        ],
    );
    let directory = Directory::new();
    directory.write("accounts/aliyun.toml", "plugin = \"alibaba-ecs\"");
    directory.write("keys/web.toml", "\naccount = \"aliyun\"");
    directory.write("keys/here.toml", "account = \"aliyun\"\nregion = \"cn-beijing\"");
    let reports = check_directory(&directory.path(), &Manifests::new());
    let expected = [
        "2:11: plugin `alibaba-ecs` needs a region, and neither this key nor accounts/aliyun.toml names \
                     one: add `region = \"...\"`",
    ];
    assert_eq!(said(&reports, &directory, "keys/web.toml"), expected);
    assert_eq!(said(&reports, &directory, "keys/here.toml"), [""; 0]);
}

#[test]
fn several_regions_are_named_once_each_and_need_an_import() {
    key(
        "account = \"aliyun\"\nregions = [\"cn-hangzhou\", \"cn-beijing\"]",
        &[],
    );
    key(
        "account = \"aliyun\"\nregion = \"cn-hangzhou\"\nregions = [\"cn-hangzhou\", \"cn-hangzhou\", \"CN\"]",
        &[
            "2:1: `region` and `regions` stand here both: keep `regions`, with the one where the key is made in front",
            "3:27: `regions`: names `cn-hangzhou` twice: keep one",
            "3:42: `regions`: `CN` contains 'C': write lower-case letters, digits and `-`, as in `cn-hangzhou`",
        ],
    );
    key(
        "account = \"aliyun\"\nregions = []",
        &["2:11: `regions`: is empty: name at least one region, or take it out"],
    );
    key(
        "account = \"aliyun\"\ngenerated_by = \"provider\"\nregions = [\"cn-hangzhou\", \"cn-beijing\"]",
        &[
            "3:11: `regions`: plugin `alibaba-ecs` does not import `rsa-2048`, so such a key can be in one region only: \
           write `region`, or another `algorithm`",
        ],
    );
    let directory = Directory::new();
    directory.write(
        "accounts/bare.toml",
        "plugin = \"bare\"\ncredentials.file = \"/x\"",
    );
    directory.write(
        "keys/web.toml",
        "account = \"bare\"\ngenerated_by = \"provider\"\nregions = [\"one\", \"two\"]",
    );
    let reports = check_directory(&directory.path(), &Manifests::new());
    assert_eq!(
        said(&reports, &directory, "keys/web.toml"),
        [
            "3:11: `regions`: plugin `bare` cannot import pairs, so a key can be in one region only: write `region`"
        ]
    );
}

#[test]
fn drift_is_handled_in_one_of_two_ways() {
    key("account = \"aliyun\"\non_drift = \"report\"", &[]);
    key(
        "account = \"aliyun\"\non_drift = \"recreat\"",
        &["2:12: `on_drift`: unknown value `recreat`; did you mean `recreate`?"],
    );
    for (name, said) in [
        ("30m", None),
        ("never", None),
        ("1h", None),
        (
            "31d",
            Some("`31d` is out of range: 1s to 30d are allowed, or `never`"),
        ),
        (
            "0s",
            Some("`0s` is out of range: 1s to 30d are allowed, or `never`"),
        ),
        (
            "often",
            Some("`often` is no time: write a number with s, m, h or d, as in `30m`, or `never`"),
        ),
    ] {
        let expected: Vec<String> = said
            .map(|said| format!("2:15: `defaults.check_every`: {said}"))
            .into_iter()
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(
            "keyferry.toml",
            format!("[defaults]\ncheck_every = \"{name}\""),
            &expected,
        );
    }
}

#[test]
fn files_that_are_no_text_or_too_large_are_refused() {
    check(
        "keys/web.toml",
        b"account = \"aliyun\"\n# \xe5\xaf\x86\xff",
        &["2:4: is not UTF-8 from here on: save the file as UTF-8"],
    );
    check(
        "keys/web.toml",
        "\u{feff}acount = \"aliyun\"",
        &["1:1: unknown key `acount`; did you mean `account`?"],
    );
    let comment = |size: usize| format!("account = \"aliyun\"\n{}", "#".repeat(size - 19));
    check("keys/web.toml", comment(256 * 1024), &[]);
    check(
        "keys/web.toml",
        comment(256 * 1024 + 1),
        &["is larger than 256 KiB: no config file needs that"],
    );
}

#[test]
fn names_that_are_none_are_reported_with_one_that_would_do() {
    let rule = "lower-case letters, digits and `-`, at most 48, not beginning with `-`";
    check(
        "keys/Web_1.toml",
        "",
        &[&format!(
            "the file's name is the key's name, and this is none: {rule}; rename it to web-1.toml"
        )],
    );
    check(
        "accounts/-a.toml",
        "",
        &[&format!(
            "the file's name is the account's name, and this is none: {rule}; rename it to a.toml"
        )],
    );
    check(
        "keys/web.yaml",
        "",
        &["files here end in `.toml`, and this one is not read; rename it to web.toml, or move it away"],
    );
    check(
        "web.toml",
        "",
        &["is not read: keys belong in keys/, accounts in accounts/, the daemon's settings in keyferry.toml"],
    );
}

#[test]
fn what_is_fine_becomes_settings() {
    let directory = Directory::new();
    directory.write(
        "keyferry.toml",
        "plugin_dirs = [\"/p\"]\nagent.socket = \"/run/a\"\nnetwork.ca_file = \"/ca\"\ndefaults.max_concurrent = 64",
    );
    directory.write(
        "accounts/ens.toml",
        "plugin = \"alibaba-ens\"\nmax_concurrent = 3\ncredentials.command = [\"pass\", \"show\"]\nsettings.page_size = 0x10",
    );
    directory.write("keys/web.toml", "account = \"aliyun\"");
    directory.write(
        "keys/made.toml",
        "account = \"ens\"\ngenerated_by = \"provider\"\nregion = \"cn-beijing\"\nname = \"made\"",
    );
    let desired = read(&directory.path(), &Manifests::new(), None).desired();
    assert_eq!(
        desired.files.iter().map(|file| file.state).collect::<Vec<_>>(),
        [FileState::Loaded; 5]
    );
    assert_eq!(
        desired.daemon.plugin_dirs,
        ["/p".into()] as [std::path::PathBuf; 1]
    );
    assert_eq!(desired.daemon.agent_socket, Some("/run/a".into()));
    assert_eq!(desired.daemon.network.ca_file, Some("/ca".into()));
    assert_eq!(desired.daemon.max_concurrent, Some(64));
    let ens = &desired.accounts["ens"];
    assert_eq!(
        (
            ens.plugin.as_str(),
            ens.max_concurrent,
            &ens.settings["page_size"]
        ),
        ("alibaba-ens", Some(3), &16.into())
    );
    assert_eq!(
        ens.credentials,
        CredentialSource::Command(vec!["pass".into(), "show".into()])
    );
    assert_eq!(
        desired.accounts["aliyun"].credentials,
        CredentialSource::Chain { profile: None }
    );
    let (web, made) = (&desired.keys["web"], &desired.keys["made"]);
    assert_eq!(
        (web.generated_by, web.algorithm.name()),
        (GeneratedBy::Keyferry, "rsa-3072")
    );
    assert_eq!(
        (made.generated_by, made.algorithm.name()),
        (GeneratedBy::Provider, "rsa-2048")
    );
    assert_eq!(
        (made.region.as_deref(), made.pair_name.as_deref()),
        (Some("cn-beijing"), Some("made"))
    );
}

/// A cloud without hosts of its own names its regions as it likes.
#[test]
fn regions_that_are_no_part_of_a_host_are_names() {
    let directory = Directory::new();
    let credentials = "\n[credentials]\nfile = \"~/x\"";
    directory.write(
        "accounts/lab.toml",
        format!("plugin = \"bare\"\nregion = \"RegionOne\"{credentials}"),
    );
    directory.write(
        "accounts/bad.toml",
        format!("plugin = \"bare\"\nregion = \"Region/One\"{credentials}"),
    );
    let reports = check_directory(&directory.path(), &Manifests::new());
    assert_eq!(said(&reports, &directory, "accounts/lab.toml"), [""; 0]);
    assert_eq!(
        said(&reports, &directory, "accounts/bad.toml"),
        [
            "2:10: `region`: `Region/One` contains '/': write letters, digits, `.`, `_` and `-`, as in `RegionOne`",
        ]
    );
}
