//! Where secrets are looked for: recordings, logs, files, memory.

use std::collections::BTreeSet;
use std::fs;

use keyferry_tests::home::Home;
use rsa::BigUint;
use ssh_key::PublicKey;
use ssh_key::public::{EcdsaPublicKey, KeyData};

use crate::needles::Needles;
use crate::trace::Trace;
use crate::{memory, numbers};

/// Places that were searched in vain are not in it: each with what was found there.
pub(crate) type Found = Vec<(String, String)>;

pub(crate) fn report(found: &mut Found, place: &str, names: BTreeSet<&str>) {
    found.extend(names.into_iter().map(|name| (place.to_owned(), name.to_owned())));
}

/// Looks through everything that a recording shows.
pub(crate) fn search(trace: &Trace, needles: &Needles, found: &mut Found) {
    for (path, data) in trace.files() {
        report(
            found,
            &format!("written to {}", path.display()),
            needles.find(&data),
        );
    }
    for execution in &trace.executions {
        let program = String::from_utf8_lossy(&execution.arguments[0]);
        for (place, texts) in [
            ("arguments", &execution.arguments),
            ("environment", &execution.environment),
        ] {
            let names = needles.find(&texts.join(&0));
            report(found, &format!("{place} of {program}"), names);
        }
    }
    let messages = trace.plugin_messages();
    for data in messages.questions.values().chain(messages.answers.values()) {
        report(found, "a plugin's message", needles.find(data));
    }
    // The worker reads private keys off the couriers' sockets, credentials never.
    for worker in trace
        .executions
        .iter()
        .filter(|execution| execution.arguments.iter().any(|word| word == b"daemon"))
    {
        let mut received: Vec<u8> = Vec::new();
        for read in trace.reads.iter().filter(|read| read.process == worker.process) {
            received.extend(&read.data);
        }
        let mut names = needles.find(&received);
        names.retain(|name| name.starts_with("the credential"));
        report(found, "what the worker read", names);
    }
}

/// Looks through every file that is there, whoever wrote it, but for those that the test made.
pub(crate) fn on_disk(home: &Home, needles: &Needles) -> Found {
    let mut found = Found::new();
    let mut folders = vec![home.path("config"), home.path("run"), home.path("state")];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                count += 1;
                let content = fs::read(&path).unwrap_or_default();
                report(
                    &mut found,
                    &format!("kept in {}", path.display()),
                    needles.find(&content),
                );
            }
        }
    }
    assert!(count > 5, "{count} files");
    found
}

/// The worker never has a credential that comes from a file, a command or the vendor's chain of files.
pub(crate) fn no_credential_in(worker: u32, needles: &Needles) {
    for piece in memory::of(worker) {
        let mut found = needles.find(&piece);
        found.retain(|name| name.starts_with("the credential"));
        assert!(found.is_empty(), "the worker has {found:?} in memory");
    }
}

/// Adds the private halves of the imported keys among `listed`.
pub(crate) fn find_imported(worker: u32, listed: &[String], life: &str, needles: &mut Needles) {
    let memory = memory::of(worker);
    let mut count = 0;
    for line in listed {
        let key = PublicKey::from_openssh(line).unwrap();
        match key.key_data() {
            KeyData::Rsa(rsa) => {
                let number = |bytes: Option<&[u8]>| BigUint::from_bytes_be(bytes.unwrap());
                let modulus = number(rsa.n.as_positive_bytes());
                let prime =
                    memory::prime_of(&memory, &modulus).expect("a prime of a loaded key is in memory");
                let private = numbers::rsa_of(&modulus, &number(rsa.e.as_positive_bytes()), prime);
                numbers::add_rsa(needles, &format!("an RSA key {life}"), &private);
            }
            KeyData::Ecdsa(EcdsaPublicKey::NistP256(point)) => {
                let scalar = memory::p256_scalar_of(&memory, point.as_ref())
                    .expect("the private number of a loaded key is in memory");
                needles.add(&format!("the P-256 key {life}"), &scalar);
            }
            other => panic!("an unexpected key: {other:?}"),
        }
        count += 1;
    }
    assert_eq!(count, 5, "{listed:?}");
}
