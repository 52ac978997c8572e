//! Printing: tables, colours on a terminal, and never a panic on a closed stream.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Error;
use crate::prompts::terminal;

/// Prints text and a line end on standard output. A reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Prints a value as JSON for programs.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Answer(error.to_string()))?;
    print(&text)
}

/// Prints a line on standard error.
pub(crate) fn complain(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr(), "keyferry: {text}");
}

/// Prints text and a line end on standard error: what a person has to read before a question, whatever becomes of the output.
pub(crate) fn print_for_person(text: &str) -> Result<(), Error> {
    writeln!(io::stderr(), "{text}").map_err(Error::Output)
}

/// Asks at the terminal; everything but `y` and `yes` is no. The question is no part of the output, which may be a file.
pub(crate) fn is_confirmed(question: &str) -> Result<bool, Error> {
    let answer = answer(&format!("\n{question} [y/N] "))?.unwrap_or_default();
    Ok(matches!(&*answer.to_ascii_lowercase(), "y" | "yes"))
}

/// What the person at the terminal types after a question; none: the input has ended.
pub(crate) fn answer(question: &str) -> Result<Option<String>, Error> {
    // What it is about stands above it.
    io::stdout().flush().map_err(Error::Output)?;
    write!(io::stderr(), "{question}").map_err(Error::Output)?;
    let mut line = String::new();
    let length = io::stdin().lock().read_line(&mut line).map_err(Error::Output)?;
    Ok((length > 0).then(|| line.trim().to_owned()))
}

/// Refuses to go on where a question would be asked and nobody sees it; `what` ends the sentence.
pub(crate) fn check_for_a_person(what: &str) -> Result<(), Error> {
    match terminal::has_person() {
        true => Ok(()),
        false => Err(Error::Usage(format!("there is nobody to ask {what}: say --yes"))),
    }
}

/// How many characters fit a line of standard output's terminal; none: it is no terminal.
pub(crate) fn width() -> Option<usize> {
    let (terminal_size::Width(width), _) = terminal_size::terminal_size_of(io::stdout())?;
    // One that cannot be known is told as nothing.
    Some(usize::from(width)).filter(|width| *width > 0)
}

/// Text whose lines are broken between words where they are too long; what follows is two characters further in.
pub(crate) fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else {
        return text.to_owned();
    };
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let (indent, rest) = line.split_at(indent);
        let further = format!("{indent}  ");
        let room = |taken: &str| width.saturating_sub(taken.len()).max(NARROWEST);
        let mut prefix = indent;
        for part in broken(rest, room(indent), room(&further)) {
            lines.push(format!("{prefix}{part}"));
            prefix = &further;
        }
    }
    lines.join("\n")
}

/// A line in parts that fit, broken between words. At least one part, and no word is broken.
fn broken(line: &str, first_room: usize, room: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    for word in line.split(' ') {
        let room = if parts.is_empty() { first_room } else { room };
        if !part.is_empty() && visible_width(&part) + 1 + visible_width(word) > room {
            parts.push(std::mem::take(&mut part));
        } else if !part.is_empty() {
            part.push(' ');
        }
        part.push_str(word);
    }
    parts.push(part);
    parts
}

/// Some of these names, and how many there are besides.
pub(crate) fn some(names: &[&str], most: usize) -> String {
    let named = names.get(..most).unwrap_or(names).join(", ");
    match names.len().saturating_sub(most) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Narrower than that nothing can be read.
const NARROWEST: usize = 20;

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
                if !terminal::is_asking() {
                    let _ = write!(stderr, "\r{what} ... {} s", start.elapsed().as_secs());
                }
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

    /// The state of a key, or of a host.
    pub(crate) fn state(self, state: &str) -> String {
        match state {
            "loaded" | "verified" => self.paint("32", state),
            "blocked" | "failed" | "lost" => self.paint("31", state),
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
        self.render_within(style, None)
    }

    /// As [`Table::render`]; what does not fit the width is broken between words in the last column.
    pub(crate) fn render_within(&self, style: Style, width: Option<usize>) -> String {
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
        let before_last: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
        let room = width.map_or(usize::MAX, |width| {
            width.saturating_sub(before_last).max(NARROWEST)
        });
        for row in &self.rows {
            let Some((last, others)) = row.split_last() else {
                continue;
            };
            let mut parts = broken(last, room, room).into_iter();
            let mut cells = others.to_vec();
            cells.extend(parts.next());
            text.push_str(&line(&cells));
            text.push('\n');
            for part in parts {
                text.push_str(&format!("{}{part}\n", " ".repeat(before_last)));
            }
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
    fn nothing_is_wider_than_the_terminal() {
        let text =
            "key web: generation 4 is offered now\n  web-7 cannot be reached: it keeps generation 3\n\nend";
        assert_eq!(wrapped(text, None), text);
        assert_eq!(wrapped(text, Some(200)), text);
        assert_eq!(
            wrapped(text, Some(24)),
            "key web: generation 4 is\n  offered now\n  web-7 cannot be\n    reached: it keeps\n    generation 3\n\nend"
        );
        let mut table = Table::new(&["KEY", "WHAT"]);
        table.row(vec!["web".into(), "its line was put on deploy@web-1".into()]);
        assert_eq!(
            table.render_within(Style::Plain, Some(27)),
            "KEY  WHAT\nweb  its line was put on\n     deploy@web-1\n"
        );
        assert_eq!(some(&["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(some(&["a", "b"], 2), "a, b");
    }

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
