//! Whatever stands in a file, it is read without a panic, and what is wrong has its place in it.

use proptest::prelude::*;

use crate::config::fixture::{Directory, Manifests};
use crate::config::{Destination, check as check_directory, parse_hosts, read};

/// Pieces that settings are made of, put together in every way.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "account = \"aliyun\"\n",
            "hosts = ",
            "[\"web\", \"li@web:22\"]",
            "{ file = \"/x\" }",
            "[rotate]\n",
            "every = ",
            "\"30d\"",
            "\"1h\"",
            "grace = ",
            "between = ",
            "\"09:00-18:00\"",
            "\"٠٩:00-é\"",
            "[deploy]\n",
            "options = ",
            "'from=\"x\\\"'",
            "'é=\"'",
            "login_with = ",
            "[\"key:\", \"agent:SHA256:é\"]",
            "also_trust = ",
            "replaces = ",
            "[recovery]\n",
            "identity = ",
            "\"/x.pub\"",
            "command = ",
            "path = ",
            "\"%é\"",
            "users = ",
            "sudo = true\n",
            "[[hosts]]\n",
            "deploy = 1\n",
            "\n",
            ",",
            "]",
            "\"",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn files_of_any_text_are_checked(key in pieces(), daemon in pieces()) {
        let directory = Directory::new();
        directory.write("keys/web.toml", &key);
        directory.write("keyferry.toml", &daemon);
        let reports = check_directory(&directory.path(), &Manifests::new());
        prop_assert_eq!(reports.len(), 3);
        for report in reports.iter().filter(|report| report.message.is_some()) {
            let text = if report.path.ends_with("web.toml") { &key } else { &daemon };
            let lines = u32::try_from(text.matches('\n').count() + 1).unwrap();
            prop_assert!(report.line.is_none_or(|line| (1..=lines).contains(&line)), "{:?}", report);
        }
    }

    #[test]
    fn values_of_any_text_are_checked(value in any::<String>()) {
        // JSON's strings are TOML's, but for DEL.
        let quoted = serde_json::Value::from(value).to_string();
        let directory = Directory::new();
        directory.write(
            "keys/web.toml",
            format!(
                "account = \"aliyun\"\nhosts = [{quoted}]\n[rotate]\nevery = {quoted}\nbetween = {quoted}\n[deploy]\n\
                 options = {quoted}\npath = {quoted}\nlogin_with = [{quoted}]\nalso_trust = [{quoted}]\n\
                 replaces = [{quoted}]\nusers = [{quoted}]\ncommand = [{quoted}]"
            ),
        );
        let reports = check_directory(&directory.path(), &Manifests::new());
        prop_assert!(reports[1].message.is_some(), "`every` and `between` cannot be the same text");
    }

    #[test]
    fn a_destination_that_passes_is_no_option_and_one_word(text in "[-a@:/%.\\[\\] \u{e9}1]{0,12}|\\PC*") {
        if let Ok(destination) = Destination::parse(&text) {
            prop_assert_eq!(destination.as_str(), &text);
            prop_assert!(!text.starts_with('-') && !destination.host().starts_with('-'));
            prop_assert!(text.chars().all(|c| c.is_ascii_graphic()));
            prop_assert_eq!(keyferry_hosts::check_destination(&text), Ok(()));
            prop_assert_eq!(parse_hosts(&text).unwrap(), [text]);
        }
    }

    #[test]
    fn a_list_of_any_text_is_read(text in any::<String>()) {
        let hosts = parse_hosts(&text);
        prop_assert!(hosts.is_err() || hosts.unwrap().len() <= text.lines().count());
    }

    /// What is taken here may stand in front of a key.
    #[test]
    fn options_that_pass_are_some_of_a_line(options in "(from|pty|restrict|#|environment|[=, ,\"\\\\xé]){0,8}") {
        let directory = Directory::new();
        let quoted = serde_json::Value::from(options.as_str()).to_string();
        let key = format!("account = \"aliyun\"\nhosts = [\"web\"]\n[deploy]\noptions = {quoted}");
        directory.write("keys/web.toml", key);
        let desired = read(&directory.path(), &Manifests::new(), None).desired();
        if let Some(spec) = desired.keys.get("web") {
            prop_assert_eq!(&spec.deploy.options, &options);
            prop_assert!(keyferry_hosts::check_options(&options).is_ok(), "{}", options);
        }
    }
}
