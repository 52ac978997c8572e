//! What a courier and its sandbox write to standard error: drained always, logged in moderation.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;

use crate::enforce::cleaning;

/// Reads until the processes have closed it.
pub(super) async fn drain(mut output: ChildStderr, account: String) {
    let mut lines = Lines::default();
    let mut chunk = [0; 4096];
    loop {
        let count = match output.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        for &byte in &chunk[..count] {
            if let Some(line) = lines.push(byte, Instant::now()) {
                tracing::warn!(account, "{line}");
            }
        }
    }
    if let Some(line) = lines.end() {
        tracing::warn!(account, "{line}");
    }
}

/// Puts lines together, shortens them, and lets only so many through.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    began: Option<Instant>,
    passed: usize,
}

impl Lines {
    fn push(&mut self, byte: u8, now: Instant) -> Option<String> {
        if byte != b'\n' {
            if self.line.len() < MAX_LINE {
                self.line.push(byte);
            }
            return None;
        }
        let line = std::mem::take(&mut self.line);
        if self.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            self.began = Some(now);
            self.passed = 0;
        }
        self.passed += 1;
        match self.passed.cmp(&MAX_LINES) {
            std::cmp::Ordering::Less => Some(cleaning::clean(&String::from_utf8_lossy(&line), MAX_LINE))
                .filter(|line| !line.is_empty()),
            std::cmp::Ordering::Equal => Some("(more lines follow, and are not shown)".to_owned()),
            std::cmp::Ordering::Greater => None,
        }
    }

    fn end(&mut self) -> Option<String> {
        let line = cleaning::clean(&String::from_utf8_lossy(&self.line), MAX_LINE);
        (!line.is_empty() && self.passed < MAX_LINES).then_some(line)
    }
}

/// Bytes of a line.
const MAX_LINE: usize = 400;
/// Lines within [`PERIOD`].
const MAX_LINES: usize = 20;
const PERIOD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(lines: &mut Lines, text: &str, now: Instant) -> Vec<String> {
        text.bytes().filter_map(|byte| lines.push(byte, now)).collect()
    }

    #[test]
    fn lines_are_cleaned_shortened_and_limited() {
        let start = Instant::now();
        let mut lines = Lines::default();
        assert_eq!(feed(&mut lines, "a\x1b[31mb\n\n", start), ["a[31mb"]);
        assert_eq!(
            feed(&mut lines, &format!("{}\n", "x".repeat(9000)), start)[0].len(),
            MAX_LINE
        );
        let flood = feed(&mut lines, &"flood\n".repeat(1000), start);
        assert_eq!(flood.len(), MAX_LINES - 3);
        assert_eq!(flood.last().unwrap(), "(more lines follow, and are not shown)");
        assert_eq!(feed(&mut lines, "later\nend", start + PERIOD), ["later"]);
        assert_eq!(lines.end().unwrap(), "end");
    }
}
