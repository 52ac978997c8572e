//! `cargo xtask demo | test | bench | soak`: what one types in this project.
//!
//! Everything is built with one profile (`bench` apart, which measures what is shipped), so that a demo makes the
//! tests start sooner and the other way round.

use std::process::ExitCode;

mod bench;
mod demo;
mod requirements;
mod run;
mod suite;
mod test;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo"] => demo::run(false),
        ["demo", "--keep"] => demo::run(true),
        ["test", rest @ ..] => test::test(rest),
        ["bench", rest @ ..] => bench::bench(rest),
        ["soak", rest @ ..] => test::soak(rest),
        ["help" | "--help" | "-h"] => {
            run::say(HELP);
            return ExitCode::SUCCESS;
        }
        _ => {
            run::complain(HELP);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            run::complain(&format!("error: {message}"));
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "\
cargo xtask COMMAND

  demo [--keep]      build, start a loopback cloud and the daemon, watch keys arrive, log in with one;
                     --keep leaves it running and prints what to type
  test [-- ARGS]     format, lints and every test; ARGS go to the test programs
  bench [NAME...]    measure side by side with the installed ssh-agent (release build)
  soak [-- ARGS]     the long forms of the tests that have one";
