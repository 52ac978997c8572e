//! The sandbox process by itself, for this crate's tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyferry_sandbox::process::main()
}
