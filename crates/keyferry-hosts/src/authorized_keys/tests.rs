use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

fn key(n: u8) -> String {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend_from_slice(&[n; 32]);
    format!("ssh-ed25519 {}", STANDARD.encode(blob))
}

fn line(options: &str, n: u8, generation: u64) -> Line {
    Line {
        options: options.to_owned(),
        public_key: key(n),
        marker: Marker {
            owner: "li".to_owned(),
            machine: "laptop-1".to_owned(),
            key: "web".to_owned(),
            n: Some(generation),
        },
    }
}

fn text(bytes: Option<Vec<u8>>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
}

/// The file afterwards, and whether a line was replaced.
fn put_text(file: &str, line: &Line) -> Option<(String, bool)> {
    let put = put(file.as_bytes(), line)?;
    Some((text(Some(put.file))?, put.replaces))
}

#[test]
fn a_line_goes_to_the_end() {
    let ours = line("no-pty", 1, 1);
    for (file, joint) in [
        (String::new(), ""),
        (format!("{} bob\n", key(9)), ""),
        (format!("{} bob", key(9)), "\n"),
        (format!("{} bob\r\n# x\r\n", key(9)), ""),
        (format!("{} bob\r\n# x", key(9)), "\n"),
        (format!("{} bob {ours}\n", key(9)), ""),
        (format!("# {ours}\n"), ""),
    ] {
        assert_eq!(
            put_text(&file, &ours),
            Some((format!("{file}{joint}{ours}\n"), false)),
            "{file:?}"
        );
    }
}

#[test]
fn a_line_that_is_there_stays() {
    let ours = line("from=\"10.0.0.0/8\"", 1, 1);
    for file in [
        format!("{ours}\n"),
        format!("{} a\n{ours}", key(9)),
        format!("{ours}\r\n"),
        format!("{} not ours\n{ours}\n", key(1)),
    ] {
        assert_eq!(put(file.as_bytes(), &ours), None, "{file:?}");
    }
}

#[test]
fn other_options_are_replaced_in_place() {
    let (old, new) = (line("no-pty", 1, 1), line("from=\"10.0.0.0/8\"", 1, 1));
    let foreign = Line {
        marker: Marker {
            machine: "laptop-2".to_owned(),
            ..old.marker.clone()
        },
        ..old.clone()
    };
    let file = format!("# a\r\n{old}\r\n{foreign}\n{}\n{old}", key(9));
    let expected = format!("# a\r\n{new}\r\n{foreign}\n{}\n", key(9));
    assert_eq!(put_text(&file, &new), Some((expected, true)));
    // One that is right already makes the others go.
    let file = format!("{old}\n{new}\n");
    assert_eq!(put_text(&file, &new), Some((format!("{new}\n"), true)));
}

#[test]
fn a_line_is_ours_whatever_user_and_machine_were_called_when_it_was_put() {
    let named = |owner: &str, machine: &str, options: &str| {
        let mut line = line(options, 1, 1);
        (line.marker.owner, line.marker.machine) = (owner.to_owned(), machine.to_owned());
        line
    };
    let old = named("li", "cafe-7f3a1c", "");
    let new = named("root", "laptop-7f3a1c", "no-pty");
    let others = [
        named("li", "cafe-7f3a1d", ""),
        named("li", "7f3a1c", ""),
        named("li", "cafe7f3a1c", ""),
    ];
    let others: String = others.iter().map(|line| format!("{line}\n")).collect();
    let expected = format!("{new}\n{others}");
    assert_eq!(
        put_text(&format!("{old}\n{others}{old}\n"), &new),
        Some((expected, true))
    );
    // Whichever name it goes by.
    for ours in [&old, &new] {
        let removal = remove(
            format!("{old}\n{others}{new}").as_bytes(),
            std::slice::from_ref(ours),
            &[],
        );
        assert_eq!(text(removal.file), Some(others.clone()));
        assert_eq!(removal.left.len(), 3);
    }
}

#[test]
fn only_key_and_marker_together_make_a_line_ours() {
    let old = line("", 1, 1);
    let not_ours = format!(
        "{} {}\n{} bob {}\n{}\n",
        key(2),
        old.marker,
        key(1),
        old.marker,
        line("", 1, 2)
    );
    let file = format!("{not_ours}no-pty {old}\n{old}");
    let removal = remove(file.as_bytes(), std::slice::from_ref(&old), &[]);
    assert_eq!(text(removal.file), Some(not_ours.clone()));
    assert_eq!(removal.left, not_ours.lines().skip(1).collect::<Vec<_>>());
    let again = remove(not_ours.as_bytes(), &[old], &[]);
    assert_eq!(again.file, None);
}

#[test]
fn a_foreign_key_goes_where_the_user_said_so() {
    let blob = public_blob(&key(7)).expect("a key");
    let kept = format!("# {0}\ncert-authority {0} ca\n{1}\n", key(7), line("", 7, 3));
    let file = format!("{0} li@old\n{kept}no-pty {0}\n", key(7));
    let removal = remove(file.as_bytes(), &[], &[fingerprint(&blob)]);
    assert_eq!(text(removal.file), Some(kept));
    assert_eq!(removal.left.len(), 2);
}

#[test]
fn markers_are_listed_and_others_counted() {
    let ours = line("no-pty", 1, 4);
    let file = format!(
        "# x\n{ours}\r\n{} bob\ngarbage\n{} {}",
        key(2),
        key(3),
        ours.marker
    );
    let (lines, others) = marked(file.as_bytes());
    let second = Line {
        options: String::new(),
        public_key: key(3),
        ..ours.clone()
    };
    assert_eq!(lines, [ours, second]);
    assert_eq!(others, 1);
}

fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        "[ -~]{0,30}".prop_map(String::into_bytes),
        (0..4_u8, 0..3_u64, "[a-z-]{0,6}")
            .prop_map(|(n, generation, options)| line(&options, n, generation).to_string().into_bytes()),
        (0..4_u8, "[ -~]{0,20}").prop_map(|(n, comment)| format!("{} {comment}", key(n)).into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    (proptest::collection::vec((text, end), 0..12), any::<bool>()).prop_map(|(lines, has_end)| {
        let mut file: Vec<u8> = lines
            .iter()
            .flat_map(|(text, end)| [text.as_slice(), end.as_bytes()].concat())
            .collect();
        if !has_end && file.ends_with(b"\n") {
            file.pop();
        }
        file
    })
}

proptest! {
    #[test]
    fn what_was_put_is_there_and_goes_again(file in any_file(), options in "[a-z-]{0,6}") {
        let ours = line(&options, 1, 9);
        prop_assume!(ours.check().is_ok());
        let with = put(&file, &ours).map_or_else(|| file.clone(), |put| put.file);
        prop_assert_eq!(put(&with, &ours), None);
        let others = |file: &[u8]| -> Vec<Vec<u8>> {
            super::lines(file)
                .filter(|text| {
                    !Parsed::of(text).is_some_and(|parsed| {
                        parsed.blob == public_blob(&ours.public_key).expect("a key")
                            && parsed.marker().is_some_and(|marker| marker.is_kin_of(&ours.marker))
                    })
                })
                .map(<[u8]>::to_vec)
                .collect()
        };
        let mut before = others(&file);
        if let Some(last) = before.last_mut()
            && !last.ends_with(b"\n")
            && with.len() > file.len()
            && with.starts_with(&file)
        {
            last.push(b'\n');
        }
        prop_assert_eq!(before, others(&with));
        let without = remove(&with, std::slice::from_ref(&ours), &[]);
        prop_assert!(without.file.is_some());
    }

    #[test]
    fn what_is_left_is_a_part_of_what_was(file in any_file()) {
        let ours = [line("", 1, 1)];
        if let Some(after) = remove(&file, &ours, &[]).file {
            let kept: Vec<&[u8]> = super::lines(&after).collect();
            let mut old = super::lines(&file);
            for text in kept {
                prop_assert!(old.any(|other| other == text));
            }
        }
    }
}
