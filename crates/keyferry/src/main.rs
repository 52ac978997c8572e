//! The `keyferry` program. Everything is in the library, so that tests and other programs can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyferry::main()
}
