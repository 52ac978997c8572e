//! Reading one file: what it holds, or why that is not believed.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyferry_ownership::{OpenError, open_regular};

use super::problem::{Place, Problem};

/// The greatest size of a config file in bytes.
pub const MAX_FILE_SIZE: u64 = 256 * 1024;

/// What a file held when it was last opened.
#[derive(Debug)]
pub(super) struct Content {
    /// None: look again at the next reading.
    stamp: Option<Stamp>,
    /// The text, or why there is none.
    pub(super) text: Result<Text, Problem>,
}

/// How [`content`] fared.
pub(super) enum Found {
    /// The file is not there any more.
    Gone,
    /// It was opened.
    Read(Arc<Content>),
    /// It is as it was.
    Unchanged(Arc<Content>),
}

/// Reads a file unless it is the one that was read before. `link` says that the path is a symbolic link.
pub(super) fn content(path: &Path, link: bool, previous: Option<&Arc<Content>>) -> Found {
    let failed = |error: io::Error| {
        let way_out = match error.kind() {
            io::ErrorKind::NotFound => "it is a link to nothing: mend or remove it".to_owned(),
            io::ErrorKind::PermissionDenied => format!("{error}: chmod u+r {}", path.display()),
            _ => error.to_string(),
        };
        Found::Read(Arc::new(Content {
            stamp: None,
            text: Err(Problem::whole(format!("cannot be read: {way_out}"))),
        }))
    };
    let stamp = match std::fs::metadata(path) {
        Ok(metadata) => Stamp::of(&metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !link => return Found::Gone,
        Err(error) => return failed(error),
    };
    if let Some(previous) = previous.filter(|previous| previous.stamp == Some(stamp)) {
        // What failed is tried again, for the cause may lie elsewhere. So may a link's target: its folders are
        // judged each time, as nobody else looks at them.
        if previous.text.is_ok() && (!link || keyferry_ownership::check(path).is_ok()) {
            return Found::Unchanged(Arc::clone(previous));
        }
    }
    match open_regular(path) {
        Ok((file, metadata)) => Found::Read(Arc::new(read(path, file, &metadata))),
        Err(OpenError::NotAFile) => Found::Read(Arc::new(Content {
            stamp: None,
            text: Err(not_a_file()),
        })),
        Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound && !link => Found::Gone,
        Err(OpenError::Io(error)) => failed(error),
    }
}

/// The text of one file, whatever is known of it.
pub(super) fn read_text(path: &Path) -> Result<Text, Problem> {
    let (file, metadata) = open_regular(path).map_err(|error| match error {
        OpenError::NotAFile => not_a_file(),
        OpenError::Io(error) => Problem::whole(format!("cannot be read: {error}")),
    })?;
    text(path, file, &metadata)
}

fn not_a_file() -> Problem {
    Problem::whole("is not a regular file: put a file or a link to one here")
}

fn read(path: &Path, file: File, metadata: &Metadata) -> Content {
    Content {
        stamp: Some(Stamp::of(metadata)).filter(|stamp| stamp.is_settled(SystemTime::now())),
        text: text(path, file, metadata),
    }
}

fn text(path: &Path, file: File, metadata: &Metadata) -> Result<Text, Problem> {
    keyferry_ownership::check(path).map_err(|distrust| Problem::whole(distrust.to_string()))?;
    let too_large = || {
        Problem::whole(format!(
            "is larger than {} KiB: no config file needs that",
            MAX_FILE_SIZE / 1024
        ))
    };
    if metadata.len() > MAX_FILE_SIZE {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::whole(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(too_large());
    }
    Text::from_bytes(bytes)
}

/// A file's text, for turning offsets into places.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Result<Self, Problem> {
        String::from_utf8(bytes).map(Self).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            Problem {
                place: Some(place(&String::from_utf8_lossy(&error.as_bytes()[..valid]))),
                message: "is not UTF-8 from here on: save the file as UTF-8".to_owned(),
            }
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The place of a byte offset.
    pub(super) fn place(&self, offset: usize) -> Place {
        let mut end = offset.min(self.0.len());
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        place(&self.0[..end])
    }
}

/// The place right after a text.
fn place(before: &str) -> Place {
    let before = before.strip_prefix('\u{feff}').unwrap_or(before);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
    Place {
        line: count(before.matches('\n').count()),
        column: count(before[line_start..].chars().count()),
    }
}

/// What tells one state of a file from another without opening it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the content's last change.
    modified: (i64, i64),
    /// Seconds and nanoseconds of the last change of content, owner or mode.
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the same stamp will mean the same content. A file may be written twice within one tick of the clock
    /// that stamps it, so while it is young its stamp says little.
    fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let since_epoch = Duration::new(
            u64::try_from(seconds).unwrap_or_default(),
            u32::try_from(nanoseconds).unwrap_or_default(),
        );
        UNIX_EPOCH
            .checked_add(since_epoch)
            .and_then(|changed| now.duration_since(changed).ok())
            .is_some_and(|age| age > YOUNG)
    }
}

/// Longer than the tick of any clock that stamps files.
const YOUNG: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, expected: (u32, u32)) {
        let place = place(before);
        assert_eq!((place.line, place.column), expected);
    }

    #[test]
    fn places_are_counted_in_characters_from_one() {
        check("", (1, 1));
        check("ab", (1, 3));
        check("a\n", (2, 1));
        check("a\r\n\tb", (2, 3));
        check("# 密钥 é", (1, 7));
        check("\u{feff}a", (1, 2));
    }

    #[test]
    fn an_offset_inside_a_character_or_past_the_end_is_no_panic() {
        let text = Text::from_bytes("é".as_bytes().to_vec()).unwrap();
        assert_eq!(text.place(1), Place { line: 1, column: 1 });
        assert_eq!(text.place(99), Place { line: 1, column: 2 });
    }

    #[test]
    fn the_first_bad_byte_is_named() {
        let problem = Text::from_bytes(b"# \xc3\xa9\na = \"\xff\"".to_vec()).unwrap_err();
        assert_eq!(problem.place, Some(Place { line: 2, column: 6 }));
    }

    #[test]
    fn a_young_file_is_not_taken_as_unchanged() {
        let stamp = Stamp {
            device: 1,
            inode: 1,
            size: 1,
            modified: (0, 0),
            changed: (1_000, 999_000_000),
        };
        let settled = |milliseconds| stamp.is_settled(UNIX_EPOCH + Duration::from_millis(milliseconds));
        assert!(!settled(1_000_999));
        assert!(!settled(1_001_049));
        assert!(settled(1_001_060));
        // The clock was set back.
        assert!(!settled(900_000));
    }
}
