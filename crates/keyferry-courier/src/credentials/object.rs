//! Credentials as one JSON object: a file's, or what a command printed.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use keyferry_ownership::OpenError;
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::given::Raw;
use crate::secret::Secret;

/// A parsed document that is wiped on drop.
pub(super) struct WipedValue(pub(super) Value);

impl Drop for WipedValue {
    fn drop(&mut self) {
        fn wipe(value: &mut Value) {
            match value {
                Value::String(text) => text.zeroize(),
                Value::Array(items) => items.iter_mut().for_each(wipe),
                Value::Object(members) => members.values_mut().for_each(wipe),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        wipe(&mut self.0);
    }
}

/// Reads the file of an account's `file`. The error names it.
pub(super) fn read_file(path: &Path, home: Option<&Path>) -> Result<Raw, String> {
    let path = expand(path, home)?;
    keyferry_ownership::check_private(&path).map_err(|error| format!("the file is not used: {error}"))?;
    let bytes = read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&bytes, &path.display().to_string())
}

/// Parses an object of field names to strings, plus an optional `expires_at`.
pub(super) fn parse(bytes: &[u8], source: &str) -> Result<Raw, String> {
    let value = parse_json(bytes, source)?;
    let Value::Object(members) = &value.0 else {
        return Err(format!("{source} does not hold a JSON object"));
    };
    let mut raw = Raw {
        fields: BTreeMap::new(),
        expires_at: None,
        source: source.to_owned(),
        places: BTreeMap::new(),
    };
    for (name, value) in members {
        match value {
            Value::Null => {}
            Value::String(text) if name == "expires_at" => raw.expires_at = Some(text.clone()),
            Value::String(text) => {
                raw.fields.insert(name.clone(), Secret::from_text(text));
            }
            _ if is_plainly_a_name(name) => {
                return Err(format!("{source}: the field `{name}` is not a string"));
            }
            _ => return Err(format!("{source}: it has a field that is not a string")),
        }
    }
    Ok(raw)
}

/// Whether a field that nobody knows may be shown: where name and value changed places, it is a secret. Those have capitals,
/// digits or other characters.
pub(super) fn is_plainly_a_name(field: &str) -> bool {
    (1..=40).contains(&field.len()) && field.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// The error tells where, and nothing of the content.
pub(super) fn parse_json(bytes: &[u8], source: &str) -> Result<WipedValue, String> {
    serde_json::from_slice(bytes).map(WipedValue).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("{source} is not JSON (line {line}, column {column})")
    })
}

/// A regular file of at most [`MAX_LENGTH`] bytes.
pub(super) fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let (mut file, metadata) = keyferry_ownership::open_regular(path).map_err(|error| match error {
        OpenError::Io(error) => error,
        error @ OpenError::NotAFile => std::io::Error::other(error),
    })?;
    if metadata.len() > MAX_LENGTH {
        return Err(std::io::Error::other(format!(
            "it has {} bytes, at most {MAX_LENGTH} are read",
            metadata.len()
        )));
    }
    // One byte more than there should be: a file that grows meanwhile is not read in part.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(metadata.len()).unwrap_or(0) + 1]);
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..])? {
            0 => break,
            count => length += count,
        }
        if length == bytes.len() {
            return Err(std::io::Error::other("it grew while it was read: try again"));
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// A path with the home directory in place of `~/`. It must be absolute: nobody knows what it would be relative to.
pub(super) fn expand(path: &Path, home: Option<&Path>) -> Result<PathBuf, String> {
    let shown = path.display();
    match (path.strip_prefix("~"), home) {
        (Err(_), _) if path.is_absolute() => Ok(path.to_owned()),
        (Err(_), _) => Err(format!("{shown} is not an absolute path: begin it with / or ~/")),
        (Ok(rest), Some(home)) => Ok(home.join(rest)),
        (Ok(_), None) => Err(format!(
            "{shown} cannot be found: the home directory is not known (HOME is not set)"
        )),
    }
}

/// Bytes of a credential file.
pub(super) const MAX_LENGTH: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read() {
        let raw = parse(
            br#"{"id":"a","secret":"s\n","expires_at":"2030-01-01T00:00:00Z","token":null}"#,
            "x",
        )
        .unwrap();
        assert_eq!(raw.fields["secret"].expose(), b"s\n");
        assert_eq!(raw.expires_at.as_deref(), Some("2030-01-01T00:00:00Z"));
        assert_eq!(raw.fields.len(), 2);
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        assert_eq!(parse(text.as_bytes(), "there").err().unwrap(), expected);
    }

    #[test]
    fn errors_say_nothing_of_the_content() {
        check_error("sesame", "there is not JSON (line 1, column 1)");
        check_error("\"sesame\"", "there does not hold a JSON object");
        check_error(r#"{"id":["sesame"]}"#, "there: the field `id` is not a string");
        check_error(
            r#"{"Sesame7":["id"]}"#,
            "there: it has a field that is not a string",
        );
        check_error(r#"{"id":"sesame"#, "there is not JSON (line 1, column 13)");
    }

    #[test]
    fn the_home_directory_is_put_in() {
        let home = Some(Path::new("/home/li"));
        assert_eq!(
            expand(Path::new("~/.a/b"), home).unwrap(),
            Path::new("/home/li/.a/b")
        );
        assert_eq!(expand(Path::new("/a"), home).unwrap(), Path::new("/a"));
        assert!(expand(Path::new("~/a"), None).unwrap_err().contains("HOME"));
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let (done, outcome) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(read(&path).map(drop)));
        let error = outcome
            .recv_timeout(std::time::Duration::from_secs(20))
            .unwrap()
            .unwrap_err();
        assert!(error.to_string().contains("is not a regular file"), "{error}");
    }
}
