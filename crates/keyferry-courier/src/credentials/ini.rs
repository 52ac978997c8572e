//! INI files as vendors' tools write them.

use serde_json::{Map, Value};

use super::object::WipedValue;

/// Sections of `name = value` as an object of objects. `#` begins a comment anywhere, `;` at the beginning of a line or
/// after white space. What stands before the first section, and lines that are neither, are left out.
pub(super) fn parse(text: &str) -> WipedValue {
    let mut sections = WipedValue(Value::Object(Map::new()));
    let mut current: Option<String> = None;
    for line in text.lines() {
        let line = without_comment(line).trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            current = Some(name.trim().to_owned());
            if let (Value::Object(sections), Some(name)) = (&mut sections.0, &current) {
                sections
                    .entry(name.clone())
                    .or_insert_with(|| Value::Object(Map::new()));
            }
            continue;
        }
        let (Some(section), Some((name, value))) = (&current, line.split_once('=')) else {
            continue;
        };
        if let Some(Value::Object(members)) = sections.0.get_mut(section) {
            members.insert(name.trim().to_owned(), Value::String(value.trim().to_owned()));
        }
    }
    sections
}

fn without_comment(line: &str) -> &str {
    let end = line.char_indices().position(|(at, c)| {
        c == '#' || (c == ';' && line[..at].chars().next_back().is_none_or(char::is_whitespace))
    });
    match end.and_then(|position| line.char_indices().nth(position)) {
        Some((at, _)) => &line[..at],
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sections_and_comments() {
        let text = "lost = 1\n# c\n[default]\ntype = access_key # said so\n; c\naccess_key_id=a;b ; c\nempty =\n junk\n[ prod ]\nx = a=b\n";
        assert_eq!(
            parse(text).0,
            json!({"default": {"type": "access_key", "access_key_id": "a;b", "empty": ""}, "prod": {"x": "a=b"}})
        );
        assert_eq!(parse("[ü]\nü = é;\n").0, json!({"ü": {"ü": "é;"}}));
    }
}
