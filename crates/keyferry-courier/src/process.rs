//! The courier process: standard input is the socket to the worker, and the first frame says what to work for.
//!
//! One thread reads frames; jobs run on a few threads of their own. The process ends when the socket closes, whatever
//! its jobs are doing.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use keyferry_sandbox::frame::{self, FrameError};
use keyferry_sandbox::library::LibraryCopy;
use keyferry_sandbox::{Fault, Sandbox, SandboxError, jail};
use zeroize::Zeroizing;

use crate::credentials::Vault;
use crate::enforce::hosts::{self, Endpoint};
use crate::http::Client;
use crate::job::JobRequest;
use crate::setup::Setup;
use crate::wire::{self, FromCourier, MAX_FRAME, ToCourier};

mod jobs;
pub(crate) mod line;

use jobs::Jobs;
use line::{Answer, DescriptorReader, Line};

/// What all jobs of a courier share.
pub(crate) struct Shared {
    pub(crate) setup: Setup,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) client: Client,
    pub(crate) vault: Vault,
    pub(crate) line: Arc<Line>,
    /// The plugin as it was when this process began; else why there is none.
    library: Result<Arc<LibraryCopy>, String>,
    sandbox: Mutex<Option<Arc<Sandbox>>>,
}

impl Shared {
    /// The error names the setting that is wrong.
    pub(crate) fn new(setup: Setup, line: Arc<Line>) -> Result<Self, String> {
        let account = &setup.account;
        let endpoint = account
            .endpoint
            .as_deref()
            .map(|text| Endpoint::parse(text, account.insecure_http))
            .transpose();
        let endpoint = endpoint.map_err(|error| format!("account {}: {error}", account.name))?;
        // Where no host is made of it, a region is a name as the vendor chose it, `RegionOne`.
        let templates = &setup.library.manifest.hosts;
        let is_of_host = templates.iter().any(|host| host.contains("{region}"));
        if let Some(region) = account
            .region
            .as_deref()
            .filter(|region| is_of_host && !hosts::is_label(region))
        {
            let region = crate::enforce::cleaning::clean(region, 80);
            return Err(format!(
                "account {}: region `{region}` is not one: lower-case letters, digits and hyphens are allowed",
                account.name
            ));
        }
        Ok(Self {
            client: Client::new(&setup.network, &setup.limits)?,
            endpoint,
            vault: Vault::default(),
            line,
            library: LibraryCopy::new(&setup.library)
                .map(Arc::new)
                .map_err(|error| error.to_string()),
            sandbox: Mutex::new(None),
            setup,
        })
    }

    /// The region of a job.
    pub(crate) fn region<'a>(&'a self, job: &'a JobRequest) -> Option<&'a str> {
        job.region.as_deref().or(self.setup.account.region.as_deref())
    }

    /// The sandbox, started when it is first needed. It replaces its own process after an error.
    pub(crate) fn sandbox(&self) -> Result<Arc<Sandbox>, SandboxError> {
        let mut place = self.sandbox.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sandbox) = place.as_ref() {
            return Ok(Arc::clone(sandbox));
        }
        let launch = keyferry_sandbox::Launch {
            program: self.setup.sandbox.program.clone(),
            args: self.setup.sandbox.args.clone(),
            env: Vec::new(),
        };
        let library = self.library.as_ref().map_err(|words| SandboxError {
            plugin: self.setup.library.name.clone(),
            fault: Fault::Refused(words.clone()),
        })?;
        let limits = self.setup.limits.sandbox;
        let sandbox = Arc::new(Sandbox::start_with(launch, Arc::clone(library), limits)?);
        *place = Some(Arc::clone(&sandbox));
        Ok(sandbox)
    }
}

/// Runs the courier process until the worker closes the socket.
///
/// It is to be called first thing in `main`, before the process has opened anything: descriptors that leaked into it are
/// closed.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) | Err(Ended::Frame(FrameError::Closed | FrameError::Cut)) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be listening: then there is nobody to tell.
            let _ = writeln!(io::stderr(), "courier: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("cannot give up rights: {0}")]
    Jail(#[source] io::Error),
    #[error("{0}")]
    Setup(String),
    #[error("standard input is not keyferry's socket, which starts this process: {0}")]
    Socket(#[source] io::Error),
    #[error(transparent)]
    Version(#[from] wire::Misunderstood),
    #[error("the first message is not a setup: restart keyferry, it may have been updated while it ran")]
    NoSetup,
}

fn run() -> Result<(), Ended> {
    jail::close_inherited_descriptors();
    jail::harden().map_err(Ended::Jail)?;
    lower_priority().map_err(Ended::Jail)?;
    // Landlock (files may be read and none written) belongs here.
    std::panic::set_hook(Box::new(tell_panic));
    // Where nobody set a provider for rustls, a dependency would have to guess.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Ended::Socket)?;
    let socket = UnixStream::from(stdin);
    socket.peer_addr().map_err(Ended::Socket)?;
    let line = Arc::new(Line::new(socket.try_clone().map_err(Ended::Socket)?));
    let mut reader = DescriptorReader::new(socket);

    let first: Zeroizing<Vec<u8>> = frame::read(&mut reader, MAX_FRAME)?;
    let ToCourier::Setup(setup) = wire::decode(&first)? else {
        return Err(Ended::NoSetup);
    };
    let shared = Shared::new(*setup, Arc::clone(&line));
    // The library was copied; nothing that this process is given from here on may reach a file.
    jail::forbid_file_writes().map_err(Ended::Jail)?;
    let shared = match shared {
        Ok(shared) => Arc::new(shared),
        Err(message) => {
            let failed = FromCourier::SetupFailed {
                message: message.clone(),
            };
            line.send(&failed)?;
            return Err(Ended::Setup(message));
        }
    };
    line.send(&FromCourier::Ready)?;
    let jobs = Jobs::new(shared);
    loop {
        let content: Zeroizing<Vec<u8>> = frame::read(&mut reader, MAX_FRAME)?;
        let mut descriptors = reader.take_descriptors();
        match wire::decode(&content)? {
            ToCourier::Setup(_) => return Err(Ended::NoSetup),
            ToCourier::Job { id, request } => jobs.start(id, *request),
            ToCourier::Cancel { id } => jobs.cancel(id),
            ToCourier::Variables { need, values } => line.answered(need, Answer::Variables(values)),
            ToCourier::CommandStarted { need } => {
                let (stderr, stdout) = (descriptors.pop(), descriptors.pop());
                if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
                    line.answered(need, Answer::CommandStarted { stdout, stderr });
                }
            }
            ToCourier::CommandEnded { need, outcome } => line.answered(need, Answer::CommandEnded(outcome)),
        }
    }
}

/// Signing goes first: nice 10, unless we were started with that or more.
fn lower_priority() -> io::Result<()> {
    const NICE: i32 = 10;
    if rustix::process::getpriority_process(None)? < NICE {
        rustix::process::setpriority_process(None, NICE)?;
    }
    Ok(())
}

/// Where a panic was, and not what it says: its message may hold what was worked on.
fn tell_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map(|place| format!(" at {}:{}", place.file(), place.line()));
    let _ = writeln!(
        io::stderr(),
        "courier: internal error{}",
        place.unwrap_or_default()
    );
}
