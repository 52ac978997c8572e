//! A courier, or with the argument `sandbox` its sandbox, for the tests of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("sandbox") => keyferry_sandbox::process::main(),
        _ => keyferry_courier::main(),
    }
}
