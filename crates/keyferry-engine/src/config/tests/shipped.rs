//! The config directory that is shipped: it passes, and so does every example that stands in it as a comment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use keyferry_plugin::manifest::Manifest;

use crate::config::check as check_directory;
use crate::config::fixture::{Manifests, set_mode};
use crate::desired::{FileReport, FileState};

/// The shipped files with text, below `config/`.
fn shipped() -> Vec<(PathBuf, String)> {
    let root = workspace().join("config");
    let mut files = Vec::new();
    for folder in ["", "accounts", "keys"] {
        for file in fs::read_dir(root.join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    files
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies in crates/")
}

/// The manifests of the plugins that the shipped accounts name.
fn plugins() -> Manifests {
    let manifests = ["alibaba-ecs", "alibaba-ens"].map(|name| {
        let path = workspace().join("plugins").join(name).join("manifest.json");
        let manifest: Manifest = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        (name.to_owned(), Arc::new(manifest))
    });
    Manifests(Mutex::new(BTreeMap::from(manifests)))
}

/// Checks the shipped files with another text for one of them.
fn check(files: &[(PathBuf, String)], changed: Option<(&Path, &str)>) -> Vec<FileReport> {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    // Examples name a token's public half, which is not everybody's.
    let public_half = folder.path().join("token.pub");
    fs::write(&public_half, TOKEN).unwrap();
    for (name, text) in files {
        let text = changed
            .filter(|(path, _)| path == name)
            .map_or(text.as_str(), |(_, text)| text)
            .replace("~/.ssh/id_ed25519_sk.pub", &public_half.display().to_string());
        let path = config.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        set_mode(path.parent().unwrap(), 0o755);
        set_mode(&path, 0o644);
    }
    check_directory(&config, &plugins())
}

#[test]
fn every_shipped_file_passes() {
    let files = shipped();
    let reports = check(&files, None);
    assert_eq!(reports.len(), files.len());
    assert!(
        reports.iter().all(|report| report.state == FileState::Loaded),
        "{reports:#?}"
    );
}

#[test]
fn it_names_neither_endpoint_nor_credentials() {
    for (name, text) in shipped() {
        let table: toml::Table = text.parse().unwrap();
        assert!(
            !table.contains_key("endpoint") && !table.contains_key("credentials"),
            "{}",
            name.display()
        );
    }
}

/// A paragraph's lines of the form `#key = value` are an example. It is tried by taking their `#` away.
#[test]
fn every_example_in_a_comment_passes_or_is_refused_as_not_in_this_version() {
    let files = shipped();
    let mut tried = (0, 0);
    for (name, text) in &files {
        let paragraphs: Vec<&str> = text.split("\n\n").collect();
        for (at, paragraph) in paragraphs.iter().enumerate() {
            let example = |line: &str| {
                line.strip_prefix('#')
                    .is_some_and(|rest| rest.starts_with(|c: char| c == '[' || c.is_alphabetic()))
            };
            if !paragraph.lines().any(example) {
                continue;
            }
            let lines = paragraph
                .lines()
                .map(|line| if example(line) { &line[1..] } else { line });
            let uncommented = lines.collect::<Vec<_>>().join("\n");
            let mut whole = paragraphs.clone();
            whole[at] = &uncommented;
            let reports = check(&files, Some((name, &whole.join("\n\n"))));
            let messages: Vec<&String> = reports
                .iter()
                .flat_map(|report| {
                    report
                        .message
                        .iter()
                        .chain(report.further.iter().map(|problem| &problem.message))
                })
                .collect();
            if paragraph.contains("not in this version") {
                tried.1 += 1;
                assert!(!messages.is_empty(), "{paragraph}");
                assert!(
                    messages
                        .iter()
                        .all(|message| message.contains("not in this version")),
                    "{messages:#?}"
                );
            } else {
                tried.0 += 1;
                assert!(messages.is_empty(), "{paragraph}\n{messages:#?}");
            }
        }
    }
    assert!(tried.0 >= 30 && tried.1 == 2, "{tried:?} examples were found");
}

/// The public half of a key that a token has.
const TOKEN: &str = "sk-ssh-ed25519@openssh.com \
    AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJAAAABHNzaDo= token";
