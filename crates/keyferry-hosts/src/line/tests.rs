use proptest::prelude::*;

use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKYVZ3Kl6hNBYxJgLFy3oSI0x1lOyDRMHcQYF/SoYb9";

fn line(options: &str) -> Line {
    Line {
        options: options.to_owned(),
        public_key: KEY.to_owned(),
        marker: Marker {
            owner: "li".to_owned(),
            machine: "m".to_owned(),
            key: "k".to_owned(),
            n: Some(1),
        },
    }
}

#[test]
fn lines_are_read_as_sshd_reads_them() {
    let blob = public_blob(KEY).expect("a key");
    for (text, options, comment) in [
        (KEY.to_owned(), "", ""),
        (format!("  \t{KEY}   a  comment \r\n"), "", "a  comment"),
        (
            format!("no-pty,command=\"echo \\\"a b\\\"\"\t {KEY} x"),
            "no-pty,command=\"echo \\\"a b\\\"\"",
            "x",
        ),
        (format!("from=\"a,b c\" {KEY} {KEY}"), "from=\"a,b c\"", KEY),
    ] {
        let parsed = Parsed::of(text.as_bytes()).unwrap_or_else(|| panic!("{text:?} is a key"));
        assert_eq!(parsed.options, options.as_bytes(), "{text:?}");
        assert_eq!(parsed.comment, comment.as_bytes(), "{text:?}");
        assert_eq!(parsed.blob, blob, "{text:?}");
    }
    for text in [
        "",
        "\n",
        "# a comment",
        &format!("#{KEY}"),
        "ssh-ed25519",
        "ssh-ed25519 ",
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJKYVZ3Kl6hNBYxJgLFy3oSI0x1lOyDRMHcQYF/SoYb9",
        "ssh-ed25519 AAAA!",
        &format!("from=\"a {KEY}"),
    ] {
        assert_eq!(Parsed::of(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn nothing_of_the_options_gets_into_a_log() {
    let blob = public_blob(KEY).expect("a key");
    let line = format!("command=\"TOKEN=secret run\" {KEY} bob's\u{1b}[0m laptop");
    assert_eq!(
        described(&line),
        format!("{} bob's[0m laptop", fingerprint(&blob))
    );
    assert_eq!(described(KEY), fingerprint(&blob));
    assert_eq!(described("environment=\"TOKEN=secret"), "a line without a key");
}

#[test]
fn authorities_are_told_from_keys() {
    for (options, is_authority) in [
        ("", false),
        ("cert-authority", true),
        ("no-pty,Cert-Authority,principals=\"a\"", true),
        ("command=\"x,cert-authority,y\"", false),
        ("cert-authority2", false),
    ] {
        let text = format!("{options} {KEY}");
        let parsed = Parsed::of(text.as_bytes()).unwrap_or_else(|| panic!("{options:?}"));
        assert_eq!(parsed.is_authority(), is_authority, "{options:?}");
    }
}

#[test]
fn options_that_would_do_something_else_are_refused() {
    for options in [
        "from=\"a",
        "from=\"a\" no-pty",
        "no-pty\nssh-ed25519",
        "a\0b",
        "#no-pty",
        " no-pty",
        "\"\\\"",
    ] {
        assert!(line(options).check().is_err(), "{options:?}");
    }
    for options in ["", "no-pty", "from=\"10.0.0.0/8\",command=\"echo \\\"a b\\\"\""] {
        assert_eq!(line(options).check(), Ok(()), "{options:?}");
    }
    let mut wrong = line("");
    wrong.public_key = "ssh-ed25519 AAAA".to_owned();
    assert!(wrong.check().is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>) {
        if let Some(parsed) = Parsed::of(&bytes) {
            parsed.is_authority();
            parsed.marker();
        }
    }

    #[test]
    fn a_checked_line_is_read_as_it_is_meant(options in "[a-z=\", \\\\#]{0,20}") {
        let line = line(&options);
        if line.check().is_ok() {
            let text = line.to_string();
            let parsed = Parsed::of(text.as_bytes()).expect("it lets a key in");
            prop_assert_eq!(parsed.options, options.as_bytes());
            prop_assert_eq!(parsed.marker(), Some(line.marker));
        }
    }
}
