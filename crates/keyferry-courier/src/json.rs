//! A pass over JSON text (RFC 8259) that says where its scalars are. It copies no value, so that secrets stay where they
//! can be wiped.

use std::collections::BTreeSet;
use std::ops::Range;

use zeroize::Zeroizing;

/// One step on the way to a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Token {
    Index(usize),
    Key(Zeroizing<Vec<u8>>),
}

impl Token {
    /// Whether a token of a JSON pointer (RFC 6901) means this one. `*` means any index.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        match self {
            Self::Index(_) if wanted == "*" => true,
            Self::Index(index) => index.to_string() == wanted,
            Self::Key(key) => **key == *wanted.as_bytes(),
        }
    }
}

/// A value without parts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Leaf {
    /// The content of a string, without its quotes.
    String(Range<usize>),
    /// A number, `true`, `false` or `null`.
    Word(Range<usize>),
    /// `[]` or `{}`.
    Empty,
}

/// How much is asked of the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Strictness {
    /// What a provider writes: its words are not looked at, and a key may be there twice.
    Lenient,
    /// What a plugin writes: nothing may be read in two ways.
    Strict,
}

/// Passes the whole text, and shows each leaf with the way to it. None where it is not JSON, or nests too deeply.
pub(crate) fn walk(text: &[u8], strictness: Strictness, see: &mut dyn FnMut(&[Token], Leaf)) -> Option<()> {
    let mut walk = Walk {
        text,
        at: 0,
        path: Vec::new(),
        strict: strictness == Strictness::Strict,
        see,
    };
    walk.white_space();
    walk.value()?;
    walk.white_space();
    (walk.at == text.len()).then_some(())
}

/// The tokens of a JSON pointer; none where it is not one.
pub(crate) fn tokens(pointer: &str) -> Option<Vec<String>> {
    let token = |token: &str| token.replace("~1", "/").replace("~0", "~");
    Some(pointer.strip_prefix('/')?.split('/').map(token).collect())
}

/// Whether a path is the one that these tokens of a pointer mean.
pub(crate) fn is_at(path: &[Token], tokens: &[String]) -> bool {
    path.len() == tokens.len() && path.iter().zip(tokens).all(|(token, wanted)| token.is(wanted))
}

/// The value of a string's content, as UTF-8; none where an escape or the text is not valid.
pub(crate) fn unescape(content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(content.len()));
    let mut rest = content;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'"' | b'\\' | b'/' => out.push(escape),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut units = vec![unit(rest)?];
                rest = &rest[4..];
                if (0xd800..0xdc00).contains(&units[0]) {
                    rest = rest.strip_prefix(b"\\u")?;
                    units.push(unit(rest)?);
                    rest = &rest[4..];
                }
                for c in char::decode_utf16(units) {
                    out.extend_from_slice(c.ok()?.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            _ => return None,
        }
    }
    std::str::from_utf8(&out).is_ok().then_some(out)
}

fn unit(text: &[u8]) -> Option<u16> {
    let digits = text
        .get(..4)
        .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

struct Walk<'t, 's> {
    text: &'t [u8],
    at: usize,
    path: Vec<Token>,
    strict: bool,
    see: &'s mut dyn FnMut(&[Token], Leaf),
}

impl Walk<'_, '_> {
    fn value(&mut self) -> Option<()> {
        if self.path.len() > MAX_DEPTH {
            return None;
        }
        let leaf = match self.text.get(self.at)? {
            b'{' => return self.object(),
            b'[' => return self.array(),
            b'"' => {
                let content = self.string()?;
                if self.strict {
                    unescape(&self.text[content.clone()])?;
                }
                Leaf::String(content)
            }
            _ => Leaf::Word(self.word()?),
        };
        (self.see)(&self.path, leaf);
        Some(())
    }

    fn object(&mut self) -> Option<()> {
        // No request has a secret for a key: it would not be in its place.
        let mut keys = BTreeSet::new();
        self.list(b'{', b'}', |walk, _| {
            let key = walk.string()?;
            walk.white_space();
            walk.byte(b':')?;
            walk.white_space();
            let raw = &walk.text[key];
            let key = match unescape(raw) {
                Some(key) => key,
                // Nothing looks for it.
                None if !walk.strict => Zeroizing::new(raw.to_vec()),
                None => return None,
            };
            if walk.strict && !keys.insert(key.to_vec()) {
                return None;
            }
            walk.path.push(Token::Key(key));
            walk.value()?;
            walk.path.pop();
            Some(())
        })
    }

    fn array(&mut self) -> Option<()> {
        self.list(b'[', b']', |walk, index| {
            walk.path.push(Token::Index(index));
            walk.value()?;
            walk.path.pop();
            Some(())
        })
    }

    /// Passes items between brackets.
    fn list(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self, usize) -> Option<()>,
    ) -> Option<()> {
        self.byte(open)?;
        self.white_space();
        if self.byte(close).is_some() {
            (self.see)(&self.path, Leaf::Empty);
            return Some(());
        }
        for index in 0.. {
            self.white_space();
            item(self, index)?;
            self.white_space();
            if self.byte(close).is_some() {
                break;
            }
            self.byte(b',')?;
        }
        Some(())
    }

    /// Passes a string; where its content is.
    fn string(&mut self) -> Option<Range<usize>> {
        self.byte(b'"')?;
        let start = self.at;
        loop {
            match self.text.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(start..self.at - 1);
                }
                b'\\' => self.at += 2,
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    fn word(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
            .count();
        self.at += length;
        let word = &rest[..length];
        let is_known = matches!(word, b"true" | b"false" | b"null")
            || serde_json::from_slice::<serde_json::Number>(word).is_ok();
        (length > 0 && (is_known || !self.strict)).then_some(start..self.at)
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.text.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn white_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

/// As deep as the parsers that come after.
const MAX_DEPTH: usize = 127;

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(text: &str, strictness: Strictness) -> Option<Vec<String>> {
        let mut seen = Vec::new();
        walk(text.as_bytes(), strictness, &mut |path, leaf| {
            let path: String = path
                .iter()
                .map(|token| match token {
                    Token::Index(index) => format!("/{index}"),
                    Token::Key(key) => format!("/{}", String::from_utf8_lossy(key)),
                })
                .collect();
            let value = match leaf {
                Leaf::String(range) => format!("\"{}", &text[range]),
                Leaf::Word(range) => text[range].to_owned(),
                Leaf::Empty => "empty".to_owned(),
            };
            seen.push(format!("{path} {value}"));
        })?;
        Some(seen)
    }

    #[test]
    fn every_leaf_is_seen_with_the_way_to_it() {
        let text = r#" {"a": [1, {"\u0062": "x\"y"}, []], "c": {}, "d": null} "#;
        let expected = ["/a/0 1", "/a/1/b \"x\\\"y", "/a/2 empty", "/c empty", "/d null"];
        assert_eq!(leaves(text, Strictness::Strict).unwrap(), expected);
        assert_eq!(leaves("7", Strictness::Strict).unwrap(), [" 7"]);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_json_to_the_strict() {
        for text in [
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"a": 01}"#,
            r#"{"a": NaN}"#,
            r#"{"a": 1e}"#,
            r#"{"a": "\x"}"#,
            r#"{"a": "\ud800"}"#,
            r#"{"\x": 1}"#,
        ] {
            assert_eq!(leaves(text, Strictness::Strict), None, "{text}");
            assert!(leaves(text, Strictness::Lenient).is_some(), "{text}");
        }
        for text in [
            "",
            "{",
            "{}x",
            "{\"a\"}",
            "[1,]",
            "[1 2]",
            "{\"a\":1,}",
            "{a:1}",
            "\"a",
            "\"a\\",
            "'a'",
            "\u{feff}{}",
        ] {
            assert_eq!(leaves(text, Strictness::Strict), None, "{text}");
        }
        assert_eq!(leaves(&"[".repeat(100_000), Strictness::Lenient), None);
    }

    #[test]
    fn a_pointers_token_means_an_index_or_a_key() {
        let key = |text: &str| Token::Key(Zeroizing::new(text.as_bytes().to_vec()));
        assert!(Token::Index(7).is("*") && Token::Index(7).is("7") && !Token::Index(7).is("07"));
        assert!(key("a/b").is("a/b") && key("*").is("*") && !key("a").is("*"));
        assert_eq!(tokens("/a~1b/~01").unwrap(), ["a/b", "~1"]);
        assert_eq!(tokens("a"), None);
    }
}
