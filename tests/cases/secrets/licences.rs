//! What the program is built from may be passed on by whoever builds it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use keyferry_tests::build::workspace;

#[test]
fn every_dependency_is_under_an_allowed_licence() {
    let allowed = allowed();
    let mut used = BTreeSet::new();
    for (package, licence) in dependencies() {
        let words = licence
            .replace('/', " OR ")
            .replace('(', " ( ")
            .replace(')', " ) ");
        let words: Vec<&str> = words.split_whitespace().collect();
        let taken = any_of(&mut words.into_iter().peekable(), &allowed)
            .unwrap_or_else(|| panic!("{package} is under {licence}, which .deny.toml does not allow"));
        used.extend(taken);
    }
    let unused: Vec<_> = allowed.iter().filter(|name| !used.contains(&**name)).collect();
    assert!(
        unused.is_empty(),
        "no dependency is under {unused:?} any more: see .deny.toml"
    );
}

/// `licenses.allow` of `.deny.toml`.
fn allowed() -> BTreeSet<String> {
    let text = fs::read_to_string(workspace().join(".deny.toml")).unwrap();
    let settings: toml::Table = text.parse().unwrap();
    let allowed = settings["licenses"]["allow"].as_array().unwrap();
    allowed
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// The packages that are not ours, for every platform, each with its licences (SPDX).
fn dependencies() -> Vec<(String, String)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let others = packages.iter().filter(|package| !package["source"].is_null());
    let dependencies: Vec<(String, String)> = others
        .map(|package| {
            let text = |field: &str| package[field].as_str().unwrap_or("no licence").to_owned();
            (text("name"), text("license"))
        })
        .collect();
    assert!(dependencies.len() > 100, "{dependencies:?}");
    dependencies
}

type Words<'a> = std::iter::Peekable<std::vec::IntoIter<&'a str>>;

/// `A OR B`: the licences that are made use of, if there is a choice that is allowed.
fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let mut choices = vec![all_of(words, allowed)];
    while words.next_if_eq(&"OR").is_some() {
        choices.push(all_of(words, allowed));
    }
    choices.into_iter().flatten().reduce(|one, other| &one | &other)
}

/// `A AND B`, which binds closer.
fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let mut needed = vec![one(words, allowed)];
    while words.next_if_eq(&"AND").is_some() {
        needed.push(one(words, allowed));
    }
    needed
        .into_iter()
        .try_fold(BTreeSet::new(), |all, one| Some(&all | &one?))
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let word = words.next()?;
    if word == "(" {
        let inside = any_of(words, allowed);
        assert_eq!(words.next(), Some(")"), "an unbalanced licence expression");
        return inside;
    }
    if words.next_if_eq(&"WITH").is_some() {
        // An exception only ever adds to what is allowed, and has a name of its own in the list.
        let exception = words.next()?;
        let name = format!("{word} WITH {exception}");
        return allowed.contains(&name).then(|| BTreeSet::from([name]));
    }
    allowed.contains(word).then(|| BTreeSet::from([word.to_owned()]))
}

#[test]
fn licence_expressions_are_read_as_spdx_has_them() {
    let allowed = BTreeSet::from(["A", "B", "C"].map(str::to_owned));
    let check = |text: &str, expected: Option<&[&str]>| {
        let text = text.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = text.split_whitespace().collect();
        let taken = any_of(&mut words.into_iter().peekable(), &allowed);
        let expected = expected.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(taken, expected, "{text}");
    };
    check("A", Some(&["A"]));
    check("X", None);
    check("X OR B", Some(&["B"]));
    check("X AND B", None);
    check("X AND A OR B", Some(&["B"]));
    check("A OR B AND X", Some(&["A"]));
    check("A AND (X OR B)", Some(&["A", "B"]));
    check("(A OR X) AND X", None);
    check("X WITH E OR C", Some(&["C"]));
    check("A WITH E", None);
}
