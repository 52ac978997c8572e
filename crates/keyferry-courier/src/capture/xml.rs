//! Lifts a secret out of an XML reply.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;

use super::{Lifted, without};
use crate::secret::WipedBuffer;

/// Takes the text of the element at this path out of a body and leaves `<name>` in its place, escaped.
///
/// A path is element names from the root, separated by `/`. Namespaces do not count, and of several elements of one name
/// the first is meant. None where the body is not well-formed XML in UTF-8, has a document type (which may define what
/// stands for what), or has at the path no element, an empty one, or one with elements in it.
pub(crate) fn lift(body: &[u8], path: &str, name: &str) -> Option<Lifted> {
    let start = if body.starts_with(MARK) { MARK.len() } else { 0 };
    let text = std::str::from_utf8(&body[start..]).ok()?;
    let mut search = Search {
        path: path.split('/').collect(),
        depth: 0,
        on_path: 0,
        taken: 0,
        content: None,
        secret: WipedBuffer::default(),
    };
    let mut reader = Reader::from_str(text);
    loop {
        let before = position(&reader)?;
        let event = reader.read_event().ok()?;
        let after = position(&reader)?;
        if let Event::Eof = event {
            break;
        }
        search.see(event, before, after)?;
    }
    // Of an element that was not closed, the end is missing.
    let content = search.content.filter(|_| search.depth == 0)?;
    let secret = search.secret.into_bytes();
    if secret.is_empty() {
        return None;
    }
    let content = content.start + start..content.end + start;
    let rest = without(body, &[content], &format!("&lt;{name}&gt;"));
    Some(Lifted { secret, rest })
}

fn position(reader: &Reader<&[u8]>) -> Option<usize> {
    usize::try_from(reader.buffer_position()).ok()
}

/// How far a pass over the document is. It keeps numbers, not elements: a deep document costs nothing.
struct Search<'p> {
    path: Vec<&'p str>,
    /// Elements that are open.
    depth: usize,
    /// How many of them are on the path, from the root.
    on_path: usize,
    /// For how many names of the path the first element was found.
    taken: usize,
    /// Where the text of the wanted element is.
    content: Option<Range<usize>>,
    secret: WipedBuffer,
}

impl Search<'_> {
    /// Sees an event that is written from `before` to `after`. None: there is nothing to lift.
    fn see(&mut self, event: Event<'_>, before: usize, after: usize) -> Option<()> {
        let is_within = self.on_path == self.path.len();
        match event {
            Event::Start(_) | Event::Empty(_) if is_within => return None,
            // No attribute's value has one (XML 1.0 §3.1): the tag before it has no end.
            Event::Start(element) | Event::Empty(element) if element.contains('<') => return None,
            Event::Start(element) => {
                if self.is_next(element.local_name().as_ref()) {
                    self.on_path += 1;
                    self.taken += 1;
                    if self.on_path == self.path.len() {
                        self.content = Some(after..after);
                    }
                }
                self.depth += 1;
            }
            // The first of its name has nothing in it.
            Event::Empty(element) if self.is_next(element.local_name().as_ref()) => return None,
            Event::End(_) => {
                if is_within && let Some(content) = &mut self.content {
                    content.end = before;
                }
                self.depth = self.depth.checked_sub(1)?;
                self.on_path = self.on_path.min(self.depth);
            }
            Event::Text(text) if is_within => self.push(&text),
            Event::CData(text) if is_within => self.push(&text),
            Event::GeneralRef(reference) if is_within => match reference.resolve_char_ref().ok()? {
                Some(c) => self.secret.push(c.encode_utf8(&mut [0; 4]).as_bytes()),
                None => self.secret.push(resolve_xml_entity(&reference)?.as_bytes()),
            },
            Event::DocType(_) => return None,
            _ => {}
        }
        Some(())
    }

    /// Whether an element of this name, in the one that is open, is the next of the path.
    fn is_next(&self, name: &str) -> bool {
        self.on_path == self.depth && self.taken == self.on_path && self.path.get(self.on_path) == Some(&name)
    }

    /// Adds text, with line ends as a parser gives them (XML 1.0 §2.11).
    fn push(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find('\r') {
            self.secret.push(&rest.as_bytes()[..at]);
            self.secret.push(b"\n");
            rest = &rest[at + 1..];
            rest = rest.strip_prefix('\n').unwrap_or(rest);
        }
        self.secret.push(rest.as_bytes());
    }
}

/// What some writers begin a document with.
const MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, path: &str, secret: &str, rest: &str) {
        let lifted = lift(body.as_bytes(), path, "key").unwrap();
        assert_eq!(String::from_utf8_lossy(&lifted.secret), secret);
        assert_eq!(String::from_utf8_lossy(&lifted.rest), rest);
    }

    #[test]
    fn the_text_of_an_element_is_lifted_out() {
        check("<A><B>s</B></A>", "A/B", "s", "<A><B>&lt;key&gt;</B></A>");
        check(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<n:A xmlns:n=\"http://x\"><x/><n:B a=\"1>2\">s</n:B ></n:A>\n",
            "A/B",
            "s",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<n:A xmlns:n=\"http://x\"><x/><n:B a=\"1>2\">&lt;key&gt;</n:B ></n:A>\n",
        );
        check("\u{feff}<A>s</A>", "A", "s", "\u{feff}<A>&lt;key&gt;</A>");
    }

    #[test]
    fn references_cdata_and_line_ends_are_as_a_parser_gives_them() {
        for (written, secret) in [
            ("-----BEGIN&#xA;a&#10;b&#x2b;-----", "-----BEGIN\na\nb+-----"),
            ("<![CDATA[a<b>&amp;]]>", "a<b>&amp;"),
            ("x<![CDATA[y]]>z", "xyz"),
            ("&lt;&gt;&amp;&quot;&apos;&#233;", "<>&\"'\u{e9}"),
            ("a\r\nb\rc&#xD;\nd", "a\nb\nc\r\nd"),
            ("a<!-- b -->c<?d e?>f", "acf"),
        ] {
            let lifted = lift(format!("<A><B>{written}</B></A>").as_bytes(), "A/B", "key").unwrap();
            assert_eq!(String::from_utf8_lossy(&lifted.secret), secret);
            assert_eq!(&**lifted.rest, b"<A><B>&lt;key&gt;</B></A>");
        }
    }

    #[test]
    fn the_first_of_several_is_meant() {
        check(
            "<A><C><B>x</B></C><B>s</B><B>t</B></A>",
            "A/B",
            "s",
            "<A><C><B>x</B></C><B>&lt;key&gt;</B><B>t</B></A>",
        );
        // The first of each name, on the whole way.
        assert!(lift(b"<A><C><D/></C><C><B>s</B></C></A>", "A/C/B", "key").is_none());
        assert!(lift(b"<A><B/><B>s</B></A>", "A/B", "key").is_none());
        check("<A><A>s</A></A>", "A/A", "s", "<A><A>&lt;key&gt;</A></A>");
    }

    #[test]
    fn what_is_not_there_is_not_lifted() {
        for body in [
            "",
            "s",
            "{}",
            "<A/>",
            "<A><B></B></A>",
            "<A><B/></A>",
            "<A><C>s</C></A>",
            "<B>s</B>",
            "<A><B>s</B>",
            "<A><B>s</A></B>",
            "<A><B>s",
            "<A><B>s<C/></B></A>",
            "<A><B>s<C>t</C></B></A>",
            "<A><B>&unknown;</B></A>",
            "<A><B>a & b</B></A>",
            "<A><B>&#0;</B></A>",
            "<A><B>&#xd800;</B></A>",
            "<A><B><![CDATA[s</B></A>",
            "<!DOCTYPE A [<!ENTITY e \"s\">]><A><B>&e;</B></A>",
            "<!DOCTYPE A><A><B>s</B></A>",
            "<A><B>s</B></A></A>",
        ] {
            assert!(lift(body.as_bytes(), "A/B", "key").is_none(), "{body}");
        }
        assert!(lift(b"<A><B>\xff</B></A>", "A/B", "key").is_none());
    }

    #[test]
    fn no_cut_or_change_of_a_document_leaves_the_secret_in_the_rest() {
        let text = "<?xml version=\"1.0\"?><!-- c --><n:A b='1'><C/><n:B d=\"2\">se&#x63;<![CDATA[ret]]>&amp;</n:B><B>x</B></n:A>";
        assert_eq!(&**lift(text.as_bytes(), "A/B", "key").unwrap().secret, b"secret&");
        for end in 0..text.len() {
            assert!(lift(&text.as_bytes()[..end], "A/B", "key").is_none(), "{end}");
        }
        let mut lifted = 0;
        for at in 0..text.len() {
            for byte in [b'<', b'>', b'&', b'/', b'"', b' ', b']', b'!', b'?', 0, 0xff] {
                let mut changed = text.as_bytes().to_vec();
                changed[at] = byte;
                if let Some(found) = lift(&changed, "A/B", "key") {
                    let rest = String::from_utf8_lossy(&found.rest);
                    let is_other = &**found.secret == b"x";
                    assert!(is_other || !rest.contains("CDATA"), "{rest}");
                    lifted += 1;
                }
            }
        }
        assert!(lifted > 100, "{lifted}");
    }

    #[test]
    fn a_deep_or_large_document_takes_its_time_and_no_stack() {
        let deep = "<A>".repeat(300_000);
        assert!(lift(deep.as_bytes(), "A/B", "key").is_none());
        let closed = format!("{deep}<B>s</B>{}", "</A>".repeat(300_000));
        assert!(lift(closed.as_bytes(), "A/B", "key").is_none());
        let wide = format!("<A>{}<B>s</B></A>", "<C/>".repeat(250_000));
        assert_eq!(&**lift(wide.as_bytes(), "A/B", "key").unwrap().secret, b"s");
        let entities = format!("<A><B>{}</B></A>", "&amp;".repeat(200_000));
        assert_eq!(
            lift(entities.as_bytes(), "A/B", "key").unwrap().secret.len(),
            200_000
        );
    }
}
