//! Builds the plugin, and starts couriers for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyferry_courier::{
    Account, Courier, CredentialSource, Hooks, JobError, JobRequest, JobResult, Launch, Limits, Network,
    Setup,
};
use keyferry_plugin::contract::{
    Algorithm, Attachment, Create, Delete, Import, List, Operation, PairReference,
};
use keyferry_sandbox::LibraryFacts;
use rustix::process::Pid;

pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY";
pub(crate) const TOKEN: &str = "CAIS-bearer/token+value==";
pub(crate) const PASSWORD: &str = "open \"sesame\" 42";

/// The folder of this profile's build.
fn build_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().to_owned()
}

/// The hostile plugin's library. The first call builds it, and the courier.
pub(crate) fn library() -> LibraryFacts {
    static LIBRARY: OnceLock<LibraryFacts> = OnceLock::new();
    let build = || {
        build(&["keyferry-courier", "--example", "courier"]);
        own_link("examples/courier");
        built_plugin("keyferry-hostile-plugin", "hostile")
    };
    LIBRARY.get_or_init(build).clone()
}

/// Builds a plugin, and looks at its library.
pub(crate) fn built_plugin(package: &str, plugin: &str) -> LibraryFacts {
    build(&[package, "--lib"]);
    let file = own_link(&keyferry_sandbox::library::file_name(plugin));
    keyferry_sandbox::library::inspect(&file).unwrap()
}

/// A link of our own to a built file: another build may replace the file while a test runs, which is rightly refused.
fn own_link(built: &str) -> PathBuf {
    let built = build_folder().join(built);
    let link = own_folder().join(built.file_name().unwrap());
    if !link.exists() {
        std::fs::hard_link(&built, &link).unwrap();
    }
    link
}

/// The folder of this process. The first call removes those of processes that are gone.
fn own_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("courier");
        std::fs::create_dir_all(&all).unwrap();
        for entry in std::fs::read_dir(&all).unwrap().flatten() {
            let id = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
                .and_then(Pid::from_raw);
            if id.is_none_or(|id| rustix::process::test_kill_process(id).is_err()) {
                // Another test may do the same.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let own = all.join(std::process::id().to_string());
        std::fs::create_dir_all(&own).unwrap();
        own
    })
}

/// Where everything was built before the tests were started, that is what they are to find: for a part of it cargo would
/// choose other features of the libraries below, and build those again.
fn build(what: &[&str]) {
    if std::env::var_os("KEYFERRY_BUILT").is_some() {
        return;
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "-p"]).args(what);
    if build_folder().ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
}

pub(crate) fn launch(args: &[&str]) -> Launch {
    Launch {
        program: own_folder().join("courier"),
        args: args.iter().map(OsString::from).collect(),
    }
}

pub(crate) fn setup(endpoint: &str, behaviour: &str) -> Setup {
    Setup {
        account: Account {
            name: "test".to_owned(),
            endpoint: Some(endpoint.to_owned()),
            settings: BTreeMap::from([("behaviour".to_owned(), behaviour.into())]),
            ..Account::default()
        },
        credentials: CredentialSource::Chain { profile: None },
        home: None,
        library: library(),
        limits: Limits::default(),
        network: Network::default(),
        sandbox: launch(&["sandbox"]),
    }
}

/// A worker's environment with all that the hostile plugin's chain looks for.
pub(crate) fn hooks() -> Hooks {
    environment(&[
        ("HOSTILE_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("HOSTILE_ACCESS_KEY_SECRET", SECRET),
        ("HOSTILE_PASSWORD", PASSWORD),
        ("HOSTILE_SECURITY_TOKEN", TOKEN),
        ("PATH", "/usr/bin:/bin"),
    ])
}

pub(crate) fn environment(variables: &[(&str, &str)]) -> Hooks {
    let variables: BTreeMap<String, OsString> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.into()))
        .collect();
    Hooks {
        environment: Arc::new(move |name| variables.get(name).cloned()),
    }
}

pub(crate) fn courier(setup: Setup) -> Courier {
    Courier::spawn(&launch(&[]), setup, hooks()).unwrap()
}

/// One job of a courier of its own, whose process is seen to end.
pub(crate) async fn one(setup: Setup, hooks: Hooks, request: JobRequest) -> Result<JobResult, JobError> {
    let courier = Courier::spawn(&launch(&[]), setup, hooks).unwrap();
    let result = in_time(courier.run(request)).await;
    assert!(courier.idle());
    in_time(courier.shutdown()).await;
    result
}

/// Nothing here takes so long, unless it never ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// Waits for what should come.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

pub(crate) fn job(operation: Operation) -> JobRequest {
    JobRequest::new(operation, "0123456789abcdef0123456789abcdef")
}

pub(crate) fn create() -> Operation {
    Operation::Create(Create {
        name: "web-1".to_owned(),
        algorithm: Algorithm::Rsa2048,
    })
}

pub(crate) fn import() -> Operation {
    Operation::Import(Import {
        name: "web-1".to_owned(),
        public_key: crate::cloud::PUBLIC_KEY.to_owned(),
    })
}

pub(crate) fn list() -> Operation {
    Operation::List(List::default())
}

pub(crate) fn reference() -> PairReference {
    PairReference {
        name: "web-1".to_owned(),
        id: Some("pair-7".to_owned()),
    }
}

pub(crate) fn delete() -> Operation {
    Operation::Delete(Delete {
        pairs: vec![reference()],
    })
}

pub(crate) fn attachment() -> Attachment {
    Attachment {
        pair: reference(),
        instances: vec!["i-1".to_owned(), "i-2".to_owned()],
    }
}
