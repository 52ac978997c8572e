//! `keyferry daemon`: what runs, in the order in which it starts.
//!
//! The agent has threads of its own and answers clients whatever the rest does. Everything else (config directory,
//! engine, control socket, couriers' replies) is one thread more. Cloud work happens in child processes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{env, fs};

use keyferry_agent::{Agent, Event, Limits, Listener, Options, serve};
use keyferry_engine::config;
use keyferry_engine::engine::{Engine, EngineHandle, Parts, SystemClock};
use keyferry_engine::error::EngineError;
use keyferry_engine::ledger::Ledger;
use keyferry_engine::watch as config_watch;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::catalogue::Catalogue;
use crate::cli::DaemonArguments;
use crate::clouds::Couriers;
use crate::control::server::{self, Control};
use crate::error::Error;
use crate::exit::Exit;
use crate::hosts::SshHosts;
use crate::key_ring::AgentKeyRing;
use crate::{
    config_log, events, harden, logging, paths, runtime_directory, service_manager, signals, ssh_agent, table,
};

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(arguments: &DaemonArguments) -> Result<Exit, Error> {
    keyferry_sandbox::jail::close_inherited_descriptors();
    harden::open_files();
    let _log = logging::start();

    let config_directory = paths::config(arguments.config.as_deref())?;
    let state_directory = paths::state(arguments.state.as_deref())?;
    let runtime_flag = arguments.runtime.runtime.as_deref();
    let runtime_directory = paths::runtime(runtime_flag)?;
    runtime_directory::prepare(&runtime_directory, runtime_flag.is_none())?;
    let catalogue = Arc::new(Catalogue::new(
        &arguments.plugins.plugin_dirs,
        Some(&config_directory),
    )?);
    if !config_directory.is_dir() {
        tracing::warn!(path = %config_directory.display(), "there is no config directory yet; it is read when it appears");
    }

    // The agent's socket may be named in keyferry.toml, which is read again, with everything else, further down.
    let settings = config::read(&config_directory, catalogue.as_ref(), None).desired();
    let agent_socket = match (&arguments.agent_socket, &settings.daemon.agent_socket) {
        (Some(path), _) => paths::absolute(path)?,
        (None, Some(path)) => path.clone(),
        (None, None) => paths::agent_socket(&runtime_directory),
    };
    drop(settings);

    let ledger = Ledger::open(&state_directory)?;
    let agent = Agent::new(Options::default());
    let agent_runtime = ssh_agent::runtime()?;
    let (stop_agent, agent_stopped) = oneshot::channel::<()>();
    let agent_listener = {
        let _inside = agent_runtime.enter();
        Listener::bind(&agent_socket)?
    };

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Start)?;
    let outcome = runtime.block_on(async {
        let end = signals::end().map_err(Error::Start)?;
        // A SIGHUP that comes as soon as it is ready is no end.
        let hangups = signal(SignalKind::hangup()).map_err(Error::Start)?;
        let control_listener = Listener::bind(&paths::control_socket(&runtime_directory))?;
        for key in ledger.1.keys.values().filter(|key| key.held_at.is_some()) {
            agent.hold(&key.name);
        }
        let mut served =
            agent_runtime.spawn(serve(agent_listener, agent.clone(), Limits::default(), async {
                // A dropped sender means the same.
                let _ = agent_stopped.await;
            }));

        let (desired, wanted) = watch::channel(Arc::default());
        let (rescan, rescans) = mpsc::channel(16);
        let watching = tokio::spawn(config_watch::run(
            config_directory.clone(),
            catalogue.clone(),
            desired,
            rescans,
        ));
        let telling = tokio::spawn(config_log::run(wanted.clone()));
        let couriers = Arc::new(Couriers::new(Arc::clone(&catalogue), wanted.clone()));
        let hosts = SshHosts::new(
            agent.clone(),
            agent_runtime.handle().clone(),
            &agent_socket,
            &runtime_directory,
        );
        let (hosts, questions) = hosts.map_err(Error::Start)?;
        let hosts = Arc::new(hosts);
        let (engine, mut engine_ended) = Engine::start(Parts {
            state_directory: state_directory.clone(),
            ledger,
            desired: wanted.clone(),
            plugins: catalogue.clone(),
            clouds: Arc::clone(&couriers) as Arc<_>,
            key_ring: Arc::new(AgentKeyRing(agent.clone())),
            hosts: Arc::clone(&hosts) as Arc<_>,
            user_agent: user_agent(&agent_socket),
            clock: Arc::new(SystemClock),
        })
        .map_err(Error::Start)?;
        let holding = tokio::spawn(pass_holds_on(agent.clone(), engine.clone()));
        let announcing = tokio::spawn(events::run(engine.clone(), wanted.clone()));
        let engine_reason = Arc::new(OnceLock::new());
        let control = Arc::new(Control {
            agent_socket: agent_socket.clone(),
            config_directory,
            desired: wanted,
            hosts,
            questions,
            state_directory,
            engine,
            engine_ended: Arc::clone(&engine_reason),
            couriers,
            catalogue,
            plugins: server::SeenPlugins::default(),
            rescan: rescan.clone(),
        });
        let answering = tokio::spawn(async move {
            // Whoever asks as soon as it is ready is told of the files, not of a daemon that has not read them yet.
            first_plan(&control).await;
            server::serve(control_listener, control).await;
        });
        let reloading = tokio::spawn(rescan_on_hangup(hangups, rescan));

        ready(&agent_socket);
        let result = until_the_end(end, &mut engine_ended, &mut served, &engine_reason).await;

        service_manager::notify("STOPPING=1");
        tracing::info!("ending: the keys go with this process");
        for task in [watching, telling, holding, announcing, answering, reloading] {
            task.abort();
        }
        engine_ended.abort();
        let _ = stop_agent.send(());
        if !served.is_finished() {
            let _ = served.await;
        }
        result.map_err(Error::Stopped)
    });
    // What still runs on blocking threads (a library being read) is not waited for.
    runtime.shutdown_background();
    agent_runtime.shutdown_background();
    outcome
}

/// Waits until the config directory was read and planned for, but not for one that cannot be read for long: a file system
/// that does not answer is no reason to keep silent.
async fn first_plan(control: &Control) {
    let mut desired = control.desired.clone();
    let planned = async {
        // An error says that nobody reads any more: then there is nothing to wait for.
        if desired.changed().await.is_ok() {
            control.engine.refresh().await;
        }
    };
    if timeout(FIRST_READING, planned).await.is_err() {
        tracing::warn!(
            path = %control.config_directory.display(),
            "reading the config directory takes long; commands are answered meanwhile"
        );
    }
}

/// Waits for the end: the user's word, or that of the agent. Without the engine nothing new is made, but the keys that are
/// loaded exist nowhere else: they go on serving, and `reason` says why nothing more happens. The error says what ended first.
async fn until_the_end(
    end: impl Future<Output = ()>,
    engine: &mut JoinHandle<Result<(), EngineError>>,
    agent: &mut JoinHandle<()>,
    reason: &OnceLock<String>,
) -> Result<Exit, String> {
    let mut end = std::pin::pin!(end);
    let why = tokio::select! {
        () = &mut end => return Ok(Exit::Fine),
        ended = &mut *agent => return Err(agent_ended(ended)),
        ended = engine => match ended {
            Ok(Ok(())) => "the engine ended by itself".to_owned(),
            Ok(Err(error)) => format!("the engine ended: {error}"),
            Err(error) => format!("the engine crashed: {error}"),
        },
    };
    tracing::error!(
        "{why}; the keys that are loaded go on serving, nothing new is made: start keyferry again"
    );
    let _ = reason.set(why.clone());
    tokio::select! {
        () = &mut end => Err(why),
        ended = agent => Err(agent_ended(ended)),
    }
}

fn agent_ended(ended: Result<(), tokio::task::JoinError>) -> String {
    match ended {
        Ok(()) => "the agent ended by itself".to_owned(),
        Err(error) => format!("the agent crashed: {error}"),
    }
}

/// Says that everything is in place, to people and to systemd.
fn ready(agent_socket: &std::path::Path) {
    // Not a log line: scripts wait for it, whatever the log level.
    let version = env!("CARGO_PKG_VERSION");
    table::complain(&format!(
        "{version} is ready; SSH_AUTH_SOCK={}",
        agent_socket.display()
    ));
    service_manager::notify("READY=1");
}

/// The user's own agent. A shell may have been told of ours already, and that would ask itself.
fn user_agent(own: &Path) -> Option<PathBuf> {
    let socket = PathBuf::from(env::var_os("SSH_AUTH_SOCK")?);
    let is_own = match (fs::canonicalize(&socket), fs::canonicalize(own)) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => socket == own,
    };
    (socket.is_absolute() && !is_own).then_some(socket)
}

/// What a client takes away stays away after a restart, so that the engine notes it.
async fn pass_holds_on(agent: Agent, engine: EngineHandle) {
    let Some(mut events) = agent.events() else { return };
    while let Some(event) = events.recv().await {
        match event {
            Event::Held { name } => engine.held(&name),
            // `ssh-add -D` means every key, the ones on their way too.
            Event::AllHeld => {
                let keys: Vec<String> = engine
                    .snapshots()
                    .borrow()
                    .keys
                    .iter()
                    .map(|key| key.name.clone())
                    .collect();
                for name in keys {
                    agent.hold(&name);
                    engine.held(&name);
                }
            }
        }
    }
}

/// SIGHUP reads the config directory again, as for other daemons.
async fn rescan_on_hangup(mut hangups: Signal, rescan: mpsc::Sender<oneshot::Sender<()>>) {
    while hangups.recv().await.is_some() {
        let (asked, _read) = oneshot::channel();
        if rescan.send(asked).await.is_err() {
            return;
        }
    }
}

/// How long commands wait for the first reading of the config directory.
const FIRST_READING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
