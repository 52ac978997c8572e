//! Replies as no vendor should send them.

use keyferry_courier::DryReply;
use serde_json::{Value, json};

/// Numbers that look random and are the same at every run (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 up to, not including, `below`; 0 where that is 0.
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = usize::try_from((mixed ^ (mixed >> 31)) & 0xffff_ffff).unwrap_or(0);
        number.checked_rem(below).unwrap_or(0)
    }
}

/// Bodies that are no answer of any vendor.
pub(crate) fn malformed() -> Vec<Vec<u8>> {
    let texts = [
        "",
        " ",
        "null",
        "[]",
        "{}",
        "true",
        "0",
        "\"\"",
        "{\"a\":",
        "<html><head><title>Sign in to the network</title></head><body>Welcome</body></html>",
        "<?xml version=\"1.0\"?><a><b></a></b>",
        "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"&b;&b;\">]><a>&b;</a>",
        "\u{0}\u{1}\u{2}",
        "\u{fffd}\u{fffd}",
    ];
    let mut bodies: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    bodies.push("[".repeat(5000).into_bytes());
    bodies.push("<a>".repeat(5000).into_bytes());
    bodies
}

/// The reply with its body cut short, at some twenty places.
pub(crate) fn truncated(reply: &DryReply) -> Vec<DryReply> {
    let length = reply.body.len();
    let cuts = (0..20).map(|part| length * part / 20);
    let mut cuts: Vec<usize> = cuts.chain([length.saturating_sub(1)]).collect();
    cuts.dedup();
    let cut = cuts.into_iter().filter(|&cut| cut < length);
    cut.map(|cut| with_body(reply, reply.body[..cut].to_vec()))
        .collect()
}

/// The reply with every field of its JSON body in every wrong type, and missing.
pub(crate) fn wrong_types(reply: &DryReply) -> Vec<DryReply> {
    let Ok(body) = serde_json::from_slice::<Value>(&reply.body) else {
        return Vec::new();
    };
    let mut places = Vec::new();
    collect(&body, String::new(), &mut places);
    let values = [
        Value::Null,
        json!(-1),
        json!(1e308),
        json!(""),
        json!("\u{0}\n\"'<&%"),
        json!([[]]),
        json!({"a": [null]}),
    ];
    let mut replies = Vec::new();
    for place in &places {
        for value in &values {
            let mut changed = body.clone();
            if let Some(at) = changed.pointer_mut(place) {
                *at = value.clone();
            }
            replies.push(with_body(reply, changed.to_string().into_bytes()));
        }
        let mut changed = body.clone();
        if let Some((parent, name)) = place.rsplit_once('/')
            && let Some(Value::Object(members)) = changed.pointer_mut(parent)
        {
            members.remove(&name.replace("~1", "/").replace("~0", "~"));
            replies.push(with_body(reply, changed.to_string().into_bytes()));
        }
    }
    replies
}

/// The reply with fields that nobody knows, in every object or element; none where it has no such form.
pub(crate) fn with_unknown_fields(reply: &DryReply) -> Option<DryReply> {
    fn add(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.values_mut().for_each(add);
                members.insert("xUnknownField".to_owned(), json!({"a": [1, "b", null]}));
            }
            Value::Array(items) => items.iter_mut().for_each(add),
            _ => {}
        }
    }
    let mut headers = reply.headers.clone();
    headers.push(("x-unknown-header".to_owned(), "unknown".to_owned()));
    let body = match serde_json::from_slice::<Value>(&reply.body) {
        Ok(mut body @ (Value::Object(_) | Value::Array(_))) => {
            add(&mut body);
            body.to_string().into_bytes()
        }
        _ => {
            // After the root's own tag, where it is XML.
            let text = String::from_utf8(reply.body.clone()).ok()?;
            let root = text.find('<').filter(|_| text.contains("</"))?;
            let root = if text[root..].starts_with("<?") {
                text[root + 1..].find('<')? + root + 1
            } else {
                root
            };
            let end = root + text[root..].find('>')? + 1;
            format!(
                "{}<xUnknown a=\"b\"><c>1</c></xUnknown>{}",
                &text[..end],
                &text[end..]
            )
            .into_bytes()
        }
    };
    Some(DryReply {
        status: reply.status,
        headers,
        body,
    })
}

/// Replies many times as long as any vendor's.
pub(crate) fn huge(reply: &DryReply) -> Vec<DryReply> {
    let mut replies = vec![
        with_body(reply, vec![b'x'; 8 * HUGE]),
        with_body(reply, format!("\"{}\"", "x".repeat(HUGE)).into_bytes()),
        with_body(reply, format!("[{}0]", "0,".repeat(HUGE / 2)).into_bytes()),
        with_body(
            reply,
            format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100)).into_bytes(),
        ),
        with_body(
            reply,
            format!("<a>{}</a>", "<b>c</b>".repeat(HUGE / 8)).into_bytes(),
        ),
    ];
    if let Ok(body) = serde_json::from_slice::<Value>(&reply.body) {
        let mut places = Vec::new();
        collect(&body, String::new(), &mut places);
        for place in &places {
            let mut changed = body.clone();
            match changed.pointer_mut(place) {
                Some(Value::String(text)) => *text = "y".repeat(HUGE),
                Some(Value::Array(items)) if !items.is_empty() => {
                    *items = items.iter().cycle().take(200).cloned().collect();
                }
                _ => continue,
            }
            replies.push(with_body(reply, changed.to_string().into_bytes()));
        }
    }
    replies
}

/// The reply with its bytes, its values or its status changed by chance.
pub(crate) fn fuzzed(reply: &DryReply, dice: &mut Dice) -> DryReply {
    let mut changed = reply.clone();
    if dice.roll(8) == 0 {
        changed.status = STATUSES[dice.roll(STATUSES.len())];
    }
    if dice.roll(3) == 0
        && let mut replies = wrong_types(reply)
        && !replies.is_empty()
    {
        changed.body = replies.swap_remove(dice.roll(replies.len())).body;
    }
    for _ in 0..=dice.roll(6) {
        let (length, body) = (changed.body.len(), &mut changed.body);
        match dice.roll(6) {
            0 if length > 0 => body[dice.roll(length)] = u8::try_from(dice.roll(256)).unwrap_or(0),
            1 => body.insert(dice.roll(length + 1), PUNCTUATION[dice.roll(PUNCTUATION.len())]),
            2 if length > 0 => drop(body.remove(dice.roll(length))),
            3 => body.truncate(dice.roll(length + 1)),
            4 => {
                let from = dice.roll(length + 1);
                let piece = body[from..(from + dice.roll(40)).min(length)].to_vec();
                let at = dice.roll(length + 1);
                body.splice(at..at, piece);
            }
            _ => body.extend_from_slice(WORDS[dice.roll(WORDS.len())].as_bytes()),
        }
    }
    changed
}

/// The same reply with another body.
pub(crate) fn with_body(reply: &DryReply, body: Vec<u8>) -> DryReply {
    DryReply {
        status: reply.status,
        headers: reply.headers.clone(),
        body,
    }
}

/// JSON pointers of everything below the root.
fn collect(value: &Value, at: String, places: &mut Vec<String>) {
    let mut visit = |place: String, value: &Value| {
        places.push(place.clone());
        collect(value, place, places);
    };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                visit(
                    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                    member,
                );
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate().take(2) {
                visit(format!("{at}/{index}"), item);
            }
        }
        _ => {}
    }
}

const HUGE: usize = 16 * 1024;
const STATUSES: [u16; 16] = [
    200, 201, 202, 204, 206, 301, 400, 401, 403, 404, 409, 413, 429, 500, 503, 599,
];
const PUNCTUATION: &[u8] = b"{}[]\",:<>/\\&;= \n\0";
const WORDS: [&str; 6] = ["null", "{}", "]]>", "\u{feff}", "\\u0000", "-1e999"];

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str) -> DryReply {
        DryReply {
            status: 200,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_replies() {
        let reply = reply(r#"{"a": [{"b": 1}, "c"]}"#);
        let many = |seed| {
            let mut dice = Dice::new(seed);
            (0..200)
                .map(|_| fuzzed(&reply, &mut dice).body)
                .collect::<Vec<_>>()
        };
        assert_eq!(many(1), many(1));
        assert_ne!(many(1), many(2));
    }

    #[test]
    fn every_field_is_changed_and_left_out() {
        let bodies: Vec<String> = wrong_types(&reply(r#"{"a":{"b/c":1}}"#))
            .into_iter()
            .map(|reply| String::from_utf8(reply.body).unwrap())
            .collect();
        for expected in ["{}", r#"{"a":{}}"#, r#"{"a":{"b/c":null}}"#, r#"{"a":[[]]}"#] {
            assert!(
                bodies.iter().any(|body| body == expected),
                "{expected}: {bodies:#?}"
            );
        }
    }

    #[test]
    fn unknown_fields_go_into_json_and_xml_and_nothing_else() {
        let text = |body: &str| {
            with_unknown_fields(&reply(body)).map(|reply| String::from_utf8(reply.body).unwrap())
        };
        assert_eq!(
            text(r#"[{"a":1}]"#).unwrap(),
            r#"[{"a":1,"xUnknownField":{"a":[1,"b",null]}}]"#
        );
        assert_eq!(
            text("<?xml version=\"1.0\"?>\n<r b=\"c\"><d/></r>").unwrap(),
            "<?xml version=\"1.0\"?>\n<r b=\"c\"><xUnknown a=\"b\"><c>1</c></xUnknown><d/></r>"
        );
        assert_eq!(text("plain"), None);
        assert_eq!(text(""), None);
    }
}
