//! What must not be found, in every form that a program might write it in, and the search for it.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Secrets by name. Any [`WINDOW`] bytes in a row of any form of one are found, so that half a secret is found too.
#[derive(Default)]
pub(crate) struct Needles {
    names: Vec<String>,
    windows: HashMap<[u8; WINDOW], usize>,
    /// One bit for the first three bytes of each window: most of a text is ruled out by it.
    starts: Vec<u64>,
}

impl Needles {
    /// Adds a secret of at least [`WINDOW`] bytes: raw, hexadecimal, base64 and as a list of numbers, from either end.
    pub(crate) fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= WINDOW, "{name} is too short to be looked for");
        let backwards: Vec<u8> = secret.iter().rev().copied().collect();
        for bytes in [secret, &backwards] {
            for form in forms(bytes) {
                self.add_form(name, &form);
            }
        }
    }

    /// Adds a text that stands for itself only.
    pub(crate) fn add_form(&mut self, name: &str, form: &[u8]) {
        let index = match self.names.iter().position(|known| known == name) {
            Some(index) => index,
            None => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        if self.starts.is_empty() {
            self.starts = vec![0; 1 << 18];
        }
        for window in form.windows(WINDOW) {
            let window: [u8; WINDOW] = window.try_into().expect("windows have this length");
            let start = start(&window);
            self.starts[start >> 6] |= 1 << (start & 63);
            self.windows.entry(window).or_insert(index);
        }
    }

    /// Adds the beginnings of private keys, whosever they are.
    pub(crate) fn add_armour(&mut self) {
        self.add_form(ARMOUR, b"PRIVATE KEY-----");
        self.add_form(ARMOUR, b"openssh-key-v1\0\0");
        self.add_form(ARMOUR, b"b3BlbnNzaC1rZXktdjEA");
    }

    /// The names of the secrets that `text` holds any part of.
    pub(crate) fn find(&self, text: &[u8]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        if self.starts.is_empty() || text.len() < WINDOW {
            return found;
        }
        let mut start = usize::from(text[0]) << 8 | usize::from(text[1]);
        for (place, &byte) in text[2..=text.len() - WINDOW + 2].iter().enumerate() {
            start = (start << 8 | usize::from(byte)) & 0xff_ffff;
            if self.starts[start >> 6] >> (start & 63) & 1 == 1
                && let Some(&index) = self.windows.get(&text[place..place + WINDOW])
            {
                found.insert(&*self.names[index]);
            }
        }
        found
    }
}

fn start(window: &[u8; WINDOW]) -> usize {
    usize::from(window[0]) << 16 | usize::from(window[1]) << 8 | usize::from(window[2])
}

/// The same bytes as programs write them.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex = |before: &str, upper: bool, after: &str| {
        let digits = bytes.iter().map(|byte| match upper {
            true => format!("{before}{byte:02X}{after}"),
            false => format!("{before}{byte:02x}{after}"),
        });
        digits.collect::<String>().into_bytes()
    };
    let numbers = |between: &str| {
        let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
        numbers.join(between).into_bytes()
    };
    let mut forms = vec![
        bytes.to_vec(),
        hex("", false, ""),
        hex("", true, ""),
        hex("", false, ":"),
        hex("", true, ":"),
        hex("\\x", false, ""),
        numbers(","),
        numbers(", "),
    ];
    // In base64 it depends on what stands before: three ways to begin. The last character may hold bits of what follows.
    for skipped in 0..3 {
        let aligned = &bytes[skipped..];
        let whole = &aligned[..aligned.len() / 3 * 3];
        forms.push(STANDARD_NO_PAD.encode(whole).into_bytes());
        forms.push(URL_SAFE_NO_PAD.encode(whole).into_bytes());
    }
    forms
}

/// How many bytes in a row count as found.
pub(crate) const WINDOW: usize = 16;
/// The name under which [`Needles::add_armour`] is found.
pub(crate) const ARMOUR: &str = "the armour of a private key";

#[test]
fn every_form_of_a_secret_is_found_and_nothing_else() {
    let secret: Vec<u8> = (0..48_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut needles = Needles::default();
    needles.add("it", &secret);
    let backwards: Vec<u8> = secret.iter().rev().copied().collect();
    for bytes in [&secret, &backwards] {
        for form in forms(bytes) {
            let text = [b"before " as &[u8], &form, b" after"].concat();
            assert_eq!(needles.find(&text), BTreeSet::from(["it"]), "{text:?}");
            // A part of it, at the very beginning and at the very end.
            assert!(!needles.find(&form[form.len() - WINDOW..]).is_empty());
            assert!(needles.find(&form[..WINDOW - 1]).is_empty());
        }
    }
    for skipped in 0..4 {
        let text = STANDARD_NO_PAD.encode([&b"xyz."[..skipped], &secret, b"zyx"].concat());
        assert_eq!(needles.find(text.as_bytes()), BTreeSet::from(["it"]), "{skipped}");
    }
    let other: Vec<u8> = secret.iter().map(|byte| byte ^ 1).collect();
    assert!(needles.find(&other).is_empty());
    assert!(needles.find(b"").is_empty());
}
