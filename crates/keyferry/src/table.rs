//! Printing: tables, colours on a terminal, and never a panic on a closed stream.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

/// Prints text and a line end on standard output. A reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Prints a line on standard error.
pub(crate) fn complain(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr(), "keyferry: {text}");
}

/// Says at a terminal what is waited for, as soon as the work takes more than a second.
pub(crate) fn while_waiting<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let (done, waiting) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let start = Instant::now();
            let mut stderr = io::stderr();
            // There is nobody else to tell.
            while waiting.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let _ = write!(stderr, "\r{what} ... {} s", start.elapsed().as_secs());
            }
            if start.elapsed() >= Duration::from_secs(1) {
                let _ = write!(stderr, "\r\x1b[K");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    /// For people at a terminal.
    Coloured,
    /// For files and pipes, and where NO_COLOR asks for it.
    Plain,
}

impl Style {
    /// What fits standard output.
    pub(crate) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !unwanted {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    /// Something that needs a look.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// A key's state.
    pub(crate) fn state(self, state: &str) -> String {
        match state {
            "loaded" => self.paint("32", state),
            "failed" | "lost" => self.paint("31", state),
            _ => self.paint("33", state),
        }
    }

    /// A heading.
    pub(crate) fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// Rows in columns as wide as they need to be.
pub(crate) struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self {
            heading: heading.iter().map(|&word| word.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as lines.
    pub(crate) fn render(&self, style: Style) -> String {
        let widths: Vec<usize> = (0..self.heading.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells
                    .chain([&self.heading[column]])
                    .map(|cell| visible_width(cell))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let line = |cells: &[String]| {
            let mut text = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                text.push_str(cell);
                text.push_str(&" ".repeat(width - visible_width(cell) + 2));
            }
            text.truncate(text.trim_end().len());
            text
        };
        let mut text = format!("{}\n", style.heading(&line(&self.heading)));
        for row in &self.rows {
            text.push_str(&line(row));
            text.push('\n');
        }
        text
    }
}

/// Characters that show: colour sequences do not.
fn visible_width(cell: &str) -> usize {
    let mut width = 0;
    let mut in_sequence = false;
    for character in cell.chars() {
        match character {
            '\x1b' => in_sequence = true,
            'm' if in_sequence => in_sequence = false,
            _ if in_sequence => {}
            _ => width += 1,
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colour() {
        let build = |style: Style| {
            let mut table = Table::new(&["KEY", "STATE"]);
            table.row(vec!["a".into(), style.state("loaded")]);
            table.row(vec!["longer".into(), style.state("failed")]);
            table.render(style)
        };
        assert_eq!(
            build(Style::Plain),
            "KEY     STATE\na       loaded\nlonger  failed\n"
        );
        let stripped: Vec<usize> = build(Style::Coloured).lines().map(visible_width).collect();
        assert_eq!(stripped, [13, 14, 14]);
    }
}
