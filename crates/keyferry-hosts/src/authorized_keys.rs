//! What becomes of a file when lines are put in or taken out. It is done here rather than on the host, so that nothing but
//! this code ever takes lines apart, and what it leaves alone stays byte for byte.

use crate::contract::{Line, Marker};
use crate::line::{Parsed, public_blob};
use crate::ssh::host_key::fingerprint;

/// What [`put`] makes.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Put {
    /// The file afterwards.
    pub(crate) file: Vec<u8>,
    /// Whether another line with the same key is gone from it.
    pub(crate) replaces: bool,
}

/// The file with a line put in; none: it has the line already.
///
/// Lines of ours with the same key and other options are replaced, the first in its place. A new line goes to the end.
pub(crate) fn put(file: &[u8], line: &Line) -> Option<Put> {
    let blob = public_blob(&line.public_key)?;
    let is_of_ours = |parsed: &Parsed<'_>| {
        parsed.blob == blob
            && parsed
                .marker()
                .is_some_and(|marker| marker.is_kin_of(&line.marker))
    };
    let is_it = |parsed: &Parsed<'_>| {
        parsed.options == line.options.as_bytes() && parsed.marker().as_ref() == Some(&line.marker)
    };
    let of_ours: Vec<(usize, bool)> = lines(file)
        .enumerate()
        .filter_map(|(index, text)| {
            let parsed = Parsed::of(text).filter(&is_of_ours)?;
            Some((index, is_it(&parsed)))
        })
        .collect();
    let kept = of_ours.iter().find(|(_, is_it)| *is_it);
    if kept.is_some() && of_ours.len() == 1 {
        return None;
    }
    let text = line.to_string();
    let Some((place, _)) = kept.or(of_ours.first()) else {
        let mut result = file.to_vec();
        if !file.is_empty() && !file.ends_with(b"\n") {
            result.push(b'\n');
        }
        result.extend_from_slice(text.as_bytes());
        result.push(b'\n');
        return Some(Put {
            file: result,
            replaces: false,
        });
    };
    let mut result = Vec::with_capacity(file.len() + text.len());
    for (index, old) in lines(file).enumerate() {
        if index == *place {
            result.extend_from_slice(text.as_bytes());
            result.extend_from_slice(line_end(old));
        } else if !of_ours.iter().any(|(other, _)| *other == index) {
            result.extend_from_slice(old);
        }
    }
    Some(Put {
        file: result,
        replaces: true,
    })
}

/// What [`remove`] makes.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Removal {
    /// The file afterwards; none: nothing was to be taken out.
    pub(crate) file: Option<Vec<u8>>,
    /// Lines that hold one of the keys and stay.
    pub(crate) left: Vec<String>,
}

/// Takes out lines of ours (key and marker both the same, by whatever names of user and machine), and lines of foreign keys that bear no marker of keyferry's.
pub(crate) fn remove(file: &[u8], ours: &[Line], foreign: &[String]) -> Removal {
    let ours: Vec<(Vec<u8>, &Marker)> = ours
        .iter()
        .filter_map(|line| Some((public_blob(&line.public_key)?, &line.marker)))
        .collect();
    let mut result = Vec::with_capacity(file.len());
    let mut left = Vec::new();
    for text in lines(file) {
        let goes = Parsed::of(text).is_some_and(|parsed| {
            let marker = parsed.marker();
            let is_meant = |ours: &Marker| {
                let found = marker.as_ref();
                found.is_some_and(|found| found.is_kin_of(ours) && found.n == ours.n)
            };
            let is_ours = ours
                .iter()
                .any(|(blob, ours)| *blob == parsed.blob && is_meant(ours));
            let is_foreign = !foreign.is_empty() && foreign.contains(&fingerprint(&parsed.blob));
            if is_ours || (is_foreign && marker.is_none() && !parsed.is_authority()) {
                return true;
            }
            if is_foreign || ours.iter().any(|(blob, _)| *blob == parsed.blob) {
                left.push(String::from_utf8_lossy(text).trim_end().to_owned());
            }
            false
        });
        if !goes {
            result.extend_from_slice(text);
        }
    }
    Removal {
        file: (result.len() != file.len()).then_some(result),
        left,
    }
}

/// Lines with a marker of keyferry's, and how many keys are let in besides.
pub(crate) fn marked(file: &[u8]) -> (Vec<Line>, usize) {
    let mut marked = Vec::new();
    let mut others = 0;
    for parsed in lines(file).filter_map(Parsed::of) {
        match parsed.marker() {
            Some(marker) => marked.push(Line {
                options: String::from_utf8_lossy(parsed.options).into_owned(),
                public_key: String::from_utf8_lossy(parsed.public_key)
                    .split_ascii_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
                marker,
            }),
            None => others += 1,
        }
    }
    (marked, others)
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|byte| *byte == b'\n')
}

fn line_end(line: &[u8]) -> &[u8] {
    let length = if line.ends_with(b"\r\n") {
        2
    } else {
        usize::from(line.ends_with(b"\n"))
    };
    &line[line.len() - length..]
}

#[cfg(test)]
mod tests;
