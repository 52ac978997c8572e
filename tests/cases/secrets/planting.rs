//! Keys that leak on purpose, to see that the search finds them.

use std::fs;
use std::process::Command;

use keyferry_tests::home::Home;
use rsa::pkcs8::LineEnding;

use crate::needles::{ARMOUR, Needles};
use crate::numbers;
use crate::search::Found;

/// Prepares a script that leaks a key in every way, then becomes the program that its arguments name.
pub(crate) fn plant(home: &Home, needles: &mut Needles) {
    use rsa::pkcs1::EncodeRsaPrivateKey;
    use rsa::traits::PrivateKeyParts;

    let sources = home.path("planted");
    fs::create_dir(&sources).unwrap();
    let plant = key_of_nobody();
    numbers::add_rsa(needles, PLANTED, &plant);
    let pem = plant.to_pkcs1_pem(LineEnding::LF).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let prime = plant.primes()[0].to_bytes_be();
    let backwards: Vec<u8> = prime.iter().rev().copied().collect();
    let hex: String = prime.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = format!("{:?}", plant.d().to_bytes_be());
    let contents: [&[u8]; 6] = [
        pem.as_bytes(),
        body.as_bytes(),
        hex.as_bytes(),
        &prime,
        &backwards,
        numbers.as_bytes(),
    ];
    let mut script = "set -e\n".to_owned();
    for (form, content) in PLANTED_FORMS.into_iter().zip(contents) {
        let source = sources.join(form);
        fs::write(&source, content).unwrap();
        // Reads and writes, as a program does that has the key in memory.
        script += &format!(
            "dd if={} of={}/first.{form} bs=1M status=none\n",
            source.display(),
            sources.display()
        );
    }
    script += &format!(
        "read -r body < {sources}/base64 || true\nread -r hex < {sources}/hex || true\n\
         /bin/true \"$body\"\nLEAKED=$hex /bin/true\necho \"$body\" >&2\nunset body hex\nexec \"$@\"\n",
        sources = sources.display()
    );
    fs::write(sources.join("plant.sh"), script).unwrap();
}

/// What was planted was found wherever it was planted; nothing else was found anywhere.
pub(crate) fn told_apart(found: &Found) {
    let (planted, others): (Found, Found) = found
        .iter()
        .cloned()
        .partition(|(_, name)| name.contains(PLANTED));
    let leaks: Vec<_> = others
        .iter()
        // The armour around what was planted is found with it.
        .filter(|(place, name)| name != ARMOUR || !planted.iter().any(|(other, _)| other == place))
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    for form in PLANTED_FORMS {
        let file = format!("/planted/first.{form}");
        assert!(
            planted
                .iter()
                .any(|(found_at, _)| found_at.starts_with("written to") && found_at.ends_with(&file)),
            "what was planted as {form} was not found: {planted:#?}"
        );
    }
    for place in PLANTED_AT {
        assert!(
            planted.iter().any(|(found_at, _)| found_at == place),
            "nothing found: {place}: {planted:#?}"
        );
    }
    let elsewhere: Vec<_> = planted
        .iter()
        .filter(|(place, _)| !(place.contains("/planted/first.") || PLANTED_AT.contains(&&**place)))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

/// An RSA key that no daemon ever sees.
fn key_of_nobody() -> rsa::RsaPrivateKey {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    numbers::rsa(&fs::read_to_string(path).unwrap())
}

/// The name of its numbers begins with what each is.
const PLANTED: &str = "the planted key";
/// How it is written to files.
const PLANTED_FORMS: [&str; 6] = ["pem", "base64", "hex", "p", "backwards", "numbers"];
/// Where else it is found.
const PLANTED_AT: [&str; 3] = [
    "arguments of /bin/true",
    "environment of /bin/true",
    "the first log",
];
