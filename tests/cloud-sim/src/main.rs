//! `cloud-sim`: the loopback cloud in the foreground.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser;
use cloud_sim::{CloudSim, Options};
use tokio::signal::unix::{SignalKind, signal};

/// A cloud on 127.0.0.1 that answers the key-pair calls of several vendors and checks signatures as they do.
///
/// Prints one line of JSON with the URLs of all services and of the admin interface, then serves until SIGTERM
/// or SIGINT. GET / of the admin interface lists what it takes.
#[derive(Parser)]
#[command(name = "cloud-sim", version)]
struct Arguments {
    /// The access key id that it knows (a throw-away one).
    #[arg(long, value_name = "ID")]
    access_key: String,
    /// The access key secret.
    #[arg(long, value_name = "SECRET")]
    secret_key: String,
    /// The security token that must come with the access key.
    #[arg(long, value_name = "TOKEN")]
    session_token: Option<String>,
    /// Stops the clock at this time, such as 2026-01-02T03:04:05Z.
    #[arg(long, value_name = "RFC3339", value_parser = humantime::parse_rfc3339)]
    clock: Option<SystemTime>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "cloud-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before the line is printed: who reads it may send a signal at once.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut options = Options::new(arguments.access_key, arguments.secret_key);
        options.credential.session_token = arguments.session_token;
        options.clock = arguments.clock;
        let cloud = CloudSim::start(options)?;
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", serde_json::to_string(cloud.urls())?)?;
        stdout.flush()?;
        drop(stdout);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
