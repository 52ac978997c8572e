//! INI files as vendors' tools write them.

use serde_json::{Map, Value};

use super::object::WipedValue;

/// Sections of `name = value` or `name: value` as an object of objects, names in lower case. A line that begins with `#`
/// or `;` is a comment, and with `inline_comments` a `#` ends a value. What follows the `]` of a section, what stands before
/// the first one, and lines that are neither, are left out.
pub(super) fn parse(text: &str, inline_comments: bool) -> WipedValue {
    let mut sections = WipedValue(Value::Object(Map::new()));
    let mut current: Option<String> = None;
    for line in text.lines() {
        let line = match line.split_once('#') {
            Some((before, _)) if inline_comments => before.trim(),
            _ => line.trim(),
        };
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.rsplit_once(']')) {
            current = Some(name.trim().to_owned());
            if let (Value::Object(sections), Some(name)) = (&mut sections.0, &current) {
                sections
                    .entry(name.clone())
                    .or_insert_with(|| Value::Object(Map::new()));
            }
            continue;
        }
        let (Some(section), Some((name, value))) = (&current, line.split_once(['=', ':'])) else {
            continue;
        };
        if let Some(Value::Object(members)) = sections.0.get_mut(section) {
            let name = name.trim().to_lowercase();
            let value = Value::String(value.trim().to_owned());
            drop(members.insert(name, value).map(WipedValue));
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sections_and_comments() {
        let text = "lost = 1\n# c\n[default]\ntype = access_key # said so\n  ; c\nAccess_Key_ID=a;b ; c\nempty =\n junk\n[ Prod ]\nx = a=b:c\ny: z=1\n";
        assert_eq!(
            parse(text, true).0,
            json!({
                "default": {"type": "access_key", "access_key_id": "a;b ; c", "empty": ""},
                "Prod": {"x": "a=b:c", "y": "z=1"},
            })
        );
        assert_eq!(parse("[ü]\nü = é;\n", true).0, json!({"ü": {"ü": "é;"}}));
    }

    #[test]
    fn a_number_sign_is_part_of_a_value_where_comments_have_lines_of_their_own() {
        let text = "# c\n[profile a] # said so\nCredential_Process = tool --x \"#1\"\n  # c = d\n[b]\nkey=a#b\n#=c\n";
        assert_eq!(
            parse(text, false).0,
            json!({
                "profile a": {"credential_process": "tool --x \"#1\""},
                "b": {"key": "a#b"},
            })
        );
    }
}
