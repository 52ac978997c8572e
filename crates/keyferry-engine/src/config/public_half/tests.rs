use keyferry_plugin::contract::Algorithm;

use super::*;
use crate::private_key::PrivateKey;

fn line(algorithm: Algorithm) -> String {
    PrivateKey::generate(algorithm)
        .unwrap()
        .public_key()
        .line("li@home")
}

/// The line of a hardware's key: its fields behind the type.
fn hardware(key_type: &str, fields: &[&[u8]]) -> String {
    let mut blob = Vec::new();
    for field in [&[key_type.as_bytes()], fields].concat() {
        blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend(field);
    }
    format!("{key_type} {}", STANDARD.encode(blob))
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(public_key(text).unwrap_err(), expected);
}

#[test]
fn keys_of_every_type_are_read_without_their_comment() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP384, Algorithm::Rsa2048] {
        let line = line(algorithm);
        let bare = line.strip_suffix(" li@home").unwrap();
        assert_eq!(public_key(&line).unwrap(), bare);
        assert_eq!(
            public_key(&format!("# mine\n\n  {line} with more words\r\n")).unwrap(),
            bare
        );
    }
    let mut point = [1; 65];
    point[0] = 4;
    for line in [
        hardware("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"]),
        hardware(
            "sk-ecdsa-sha2-nistp256@openssh.com",
            &[b"nistp256", &point, b"ssh:"],
        ),
    ] {
        assert_eq!(public_key(&format!("{line} token")).unwrap(), line);
    }
}

#[test]
fn a_private_key_is_refused_and_not_shown() {
    let expected = "holds a private key, which belongs in no such place: name the public half, and keep the private one where \
                    it is";
    for form in ["OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "PRIVATE KEY"] {
        refused(
            &format!("-----BEGIN {form}-----\nHUSH\n-----END {form}-----\n"),
            expected,
        );
    }
    refused("PuTTY-User-Key-File-3: ssh-ed25519\nHUSH", expected);
}

#[test]
fn what_is_no_public_key_says_what_it_is() {
    let none = "holds no public key: one line is wanted, as in `ssh-ed25519 AAAA... comment`";
    refused("", none);
    refused("# nothing\n", none);
    refused("HUSH HUSH", none);
    let line = line(Algorithm::Ed25519);
    refused(
        &format!("{line}\n{line}\n"),
        "holds more than one line: keep one public key",
    );
    refused(
        &format!("restrict {line}"),
        "has something in front of the key's type: take the options out",
    );
    refused(
        "ssh-dss AAAA",
        "is a DSA key, which OpenSSH does not take any more",
    );
    refused(
        "ssh-ed25519-cert-v01@openssh.com AAAA",
        "is a certificate: name the public key that it is for",
    );
    refused(
        "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----",
        "is in the form of RFC 4716: write it as OpenSSH does, with `ssh-keygen -i -f FILE`",
    );
    let broken = "has a `ssh-ed25519` key that is cut or changed: copy it once more";
    refused("ssh-ed25519", broken);
    refused("ssh-ed25519 ????", broken);
    refused(&line[..40], broken);
    let rsa = hardware("ssh-rsa", &[b"\x03", b"\x7f"]);
    refused(&rsa.replacen("ssh-rsa", "ssh-ed25519", 1), broken);
    for line in [
        hardware("sk-ssh-ed25519@openssh.com", &[&[7; 32], b""]),
        hardware("sk-ssh-ed25519@openssh.com", &[&[7; 31], b"ssh:"]),
        hardware("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:", b""]),
    ] {
        refused(
            &line,
            "has a `sk-ssh-ed25519@openssh.com` key that is cut or changed: copy it once more",
        );
    }
}

#[test]
fn only_files_of_public_halves_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| Outside::read(folder.path().join(name)).found;
    let line = line(Algorithm::EcdsaP256);
    std::fs::write(folder.path().join("id"), &line).unwrap();
    std::fs::write(folder.path().join("id.pub"), &line).unwrap();
    std::fs::write(folder.path().join("large.pub"), "#".repeat(64 * 1024 + 1)).unwrap();
    std::fs::write(folder.path().join("bytes.pub"), b"\xff").unwrap();
    std::fs::create_dir(folder.path().join("folder.pub")).unwrap();
    let below = folder.path().display();
    assert_eq!(read("id.pub").unwrap(), line.strip_suffix(" li@home").unwrap());
    for (name, expected) in [
        ("id", "does not end in `.pub`: name the file of the public half"),
        ("large.pub", "is larger than 64 KiB, which no public key is"),
        ("bytes.pub", NO_PUBLIC_KEY),
        ("folder.pub", "is not a regular file"),
        (
            "none.pub",
            "cannot be read: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(read(name).unwrap_err(), format!("{below}/{name} {expected}"));
    }
}
