//! keyferry's side: a plugin that answers, or an error that says in words why it did not.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyferry_plugin::abi::ABI_MINOR;
use keyferry_plugin::{Step, StepRequest};
use serde::{Deserialize, Serialize};

use crate::answer;
use crate::error::{Fault, SandboxError};
use crate::library::{LibraryCopy, LibraryFacts};
use crate::process::MAX_REQUEST;

mod child;

use child::Child;

/// How to start the sandbox process: the program, which calls [`process::main`](crate::process::main).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Launch {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment. It needs none.
    pub env: Vec<(OsString, OsString)>,
}

/// What a sandbox may use.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limits {
    /// Bytes of memory beyond what the process has before it loads the library.
    pub memory: u64,
    /// Processor time of the whole process, in whole seconds. A process that used it up in honest work is replaced
    /// without an error.
    pub cpu_time: Duration,
    /// Time to start and load the library.
    pub start_time: Duration,
    /// Time to answer one request.
    pub step_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 * 1024 * 1024,
            cpu_time: Duration::from_secs(60),
            start_time: Duration::from_secs(5),
            step_time: Duration::from_secs(2),
        }
    }
}

/// One plugin in a process of its own.
///
/// After an error the process is gone, reaped, and the next [`step`](Self::step) starts another. The process ends when
/// this is dropped, or when we end.
#[derive(Debug)]
pub struct Sandbox {
    launch: Launch,
    library: Arc<LibraryCopy>,
    limits: Limits,
    child: Mutex<Option<Child>>,
}

impl Sandbox {
    /// Checks and copies the library, which must still be the one that was [inspected](crate::library::inspect), starts
    /// the process and loads it. It blocks for at most [`Limits::start_time`], and while the disk works.
    ///
    /// # Errors
    /// [`SandboxError`] when the library is not what it was, or the process does not start or does not load it.
    pub fn start(launch: Launch, facts: LibraryFacts, limits: Limits) -> Result<Self, SandboxError> {
        let library = LibraryCopy::new(&facts).map_err(|error| SandboxError {
            plugin: facts.name.clone(),
            fault: Fault::Refused(error.to_string()),
        })?;
        Self::start_with(launch, Arc::new(library), limits)
    }

    /// The same with a copy that was made before, for a process that may not write files any more.
    ///
    /// # Errors
    /// [`SandboxError`] when the process does not start, or does not load the library.
    pub fn start_with(
        launch: Launch,
        library: Arc<LibraryCopy>,
        limits: Limits,
    ) -> Result<Self, SandboxError> {
        let sandbox = Self {
            launch,
            library,
            limits,
            child: Mutex::new(None),
        };
        let child = sandbox.start_child().map_err(|fault| sandbox.error(fault))?;
        *sandbox.child() = Some(child);
        Ok(sandbox)
    }

    /// Asks the plugin for the next step. It blocks for at most [`Limits::step_time`], plus [`Limits::start_time`] when a
    /// process must be started first; callers on several threads take turns.
    ///
    /// A step is a pure function, so a process that was killed from outside, or used up its processor time, after it
    /// had answered before, is replaced and asked once more.
    ///
    /// # Errors
    /// [`SandboxError`] when there is no answer, or it is not a step.
    pub fn step(&self, request: &StepRequest) -> Result<Step, SandboxError> {
        // It has no value that JSON cannot hold.
        let request = serde_json::to_vec(request).map_err(|error| self.error(Fault::Launch(error.into())))?;
        self.step_json(&request)
    }

    /// The same for a request in JSON, which may hold what this version of the contract has no field for.
    ///
    /// # Errors
    /// As for [`step`](Self::step).
    pub fn step_json(&self, request: &[u8]) -> Result<Step, SandboxError> {
        self.ask(request).map_err(|fault| self.error(fault))
    }

    /// The library that it runs.
    pub fn facts(&self) -> &LibraryFacts {
        self.library.facts()
    }

    /// The process's id, while there is one.
    pub fn process_id(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    fn ask(&self, request: &[u8]) -> Result<Step, Fault> {
        if request.len() > MAX_REQUEST {
            return Err(Fault::RequestTooLong(request.len()));
        }
        let mut place = self.child();
        let mut child = match place.take() {
            Some(child) => child,
            None => self.start_child()?,
        };
        let mut answer = child.ask(request, &self.limits);
        if let Err(Fault::Killed | Fault::CpuTime { .. }) = answer
            && child.answers() > 0
        {
            child = self.start_child()?;
            answer = child.ask(request, &self.limits);
        }
        let step = answer::parse(&answer?, self.facts().minor > ABI_MINOR).map_err(Fault::Garbage)?;
        *place = Some(child);
        Ok(step)
    }

    fn start_child(&self) -> Result<Child, Fault> {
        Child::start(&self.launch, &self.library, &self.limits)
    }

    /// A thread that panicked while it held the lock had taken the child out, so what is inside is sound.
    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, fault: Fault) -> SandboxError {
        SandboxError {
            plugin: self.facts().name.clone(),
            fault,
        }
    }
}
