//! How far something is, while somebody waits for it.

use std::io::{self, IsTerminal, Write};

use crate::prompts::terminal;
use crate::table;

/// One line on a terminal, which goes when this is dropped: what is said next begins a line.
pub(crate) struct Progress {
    is_on_terminal: bool,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            is_on_terminal: io::stderr().is_terminal(),
            is_shown: false,
        }
    }

    /// Says it anew, unless a question stands there.
    pub(crate) fn show(&mut self, line: &str) {
        if self.is_on_terminal && !terminal::is_asking() {
            // One that is broken over two lines could not be taken back.
            let most = table::width().unwrap_or(80).saturating_sub(1);
            let line: String = line.chars().take(most).collect();
            // There is nobody else to tell.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            self.is_shown = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
