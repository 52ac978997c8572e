use super::check as check_directory;
use super::fixture::{Directory, Manifests};
use crate::desired::{FileReport, FileState};

mod accounts;
mod any_text;
mod deploying;
mod keeping;
mod later;
mod messages;
mod outside;
mod rotation;
mod shipped;
mod trust;

/// All that is said about one file, as `LINE:COLUMN: MESSAGE` lines.
fn said(reports: &[FileReport], directory: &Directory, file: &str) -> Vec<String> {
    let path = directory.path().join(file);
    let report = reports
        .iter()
        .find(|report| report.path == path)
        .expect("the file has a report");
    let mut lines = Vec::new();
    if let Some(message) = &report.message {
        lines.push(match (report.line, report.column) {
            (Some(line), Some(column)) => format!("{line}:{column}: {message}"),
            _ => message.clone(),
        });
    }
    lines.extend(report.further.iter().map(ToString::to_string));
    assert_eq!(report.state == FileState::Loaded, lines.is_empty(), "{report:?}");
    lines
}

/// Puts a file beside a good account and compares all that is said about it.
#[track_caller]
fn check(file: &str, content: impl AsRef<[u8]>, expected: &[&str]) {
    let directory = Directory::new();
    directory.write(file, content);
    let reports = check_directory(&directory.path(), &Manifests::new());
    assert_eq!(said(&reports, &directory, file), expected);
}
