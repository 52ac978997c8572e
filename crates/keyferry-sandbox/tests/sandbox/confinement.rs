//! Limits that really hit.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keyferry_hostile::Behaviour;
use keyferry_sandbox::{Fault, Launch, Limits, Sandbox, library};
use serde_json::Value;

use crate::c_library::CLibrary;
use crate::{assert_answers, failure, hostile, launch, list, patient};

const NOBODY: u32 = 65534;

#[test]
fn memory_is_limited() {
    let limits = Limits {
        memory: 160 * 1024 * 1024,
        ..patient()
    };
    let sandbox = Sandbox::start(launch(), hostile(), limits).unwrap();
    let error = sandbox.step(&list(Behaviour::Allocate)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin hostile ran out of its 160 MiB of memory"
    );
    assert_answers(&sandbox);
}

#[test]
fn processor_time_is_limited() {
    let limits = Limits {
        cpu_time: Duration::from_secs(1),
        ..patient()
    };
    let sandbox = Sandbox::start(launch(), hostile(), limits).unwrap();
    let error = sandbox.step(&list(Behaviour::Loop)).unwrap_err();
    assert_eq!(error.to_string(), "plugin hostile used more than 1 s of CPU time");
    assert_answers(&sandbox);
}

#[test]
fn a_plugin_that_ignores_the_first_limit_meets_the_second() {
    let mut plugin = CLibrary::new("stubborn", "");
    plugin.code = "#include <signal.h>".to_owned();
    plugin.step = "signal(SIGXCPU, SIG_IGN); for (volatile int i = 0;; i++) {}".to_owned();
    let error = ask_once(&plugin, 1);
    assert!(matches!(error, Fault::CpuTime { .. }), "{error:?}");
}

#[test]
fn honest_work_beyond_the_limit_is_not_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut plugin = CLibrary::new("diligent", "done");
    plugin.code = "#include <time.h>".to_owned();
    let busy = "for (clock_t end = clock() + CLOCKS_PER_SEC * 2 / 5; clock() < end;) {}";
    plugin.step.insert_str(0, busy);
    let facts = library::inspect(&plugin.compile(folder.path())).unwrap();
    let limits = Limits {
        cpu_time: Duration::from_secs(1),
        ..patient()
    };
    let sandbox = Sandbox::start(launch(), facts, limits).unwrap();
    let mut processes = Vec::new();
    for _ in 0..5 {
        assert_eq!(failure(sandbox.step(&list(Behaviour::None)).unwrap()), "done");
        processes.push(sandbox.process_id());
    }
    processes.dedup();
    assert!(
        processes.len() > 1,
        "no process used up its second: {processes:?}"
    );
}

#[test]
fn a_plugin_that_kills_itself_at_every_step_costs_an_error_each() {
    let mut plugin = CLibrary::new("weary", "");
    plugin.code = "#include <signal.h>\n#include <unistd.h>".to_owned();
    plugin.step = "kill(getpid(), SIGKILL); for (;;) {}".to_owned();
    let error = ask_once(&plugin, 60);
    assert!(matches!(error, Fault::Killed), "{error:?}");
}

#[test]
fn a_plugin_that_closes_the_connection_costs_an_error() {
    let mut plugin = CLibrary::new("mute", "");
    plugin.code = "#include <unistd.h>".to_owned();
    plugin.step = "for (int i = 0; i < 16; i++) { close(i); }\nfor (;;) pause();".to_owned();
    let error = ask_once(&plugin, 60);
    assert!(matches!(error, Fault::Unconnected), "{error:?}");
}

/// Only root can fork there at all.
#[test]
#[cfg(target_os = "linux")]
fn what_it_forked_is_killed_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut plugin = CLibrary::new("prolific", "forked");
    plugin.code = "#include <unistd.h>".to_owned();
    plugin
        .step
        .insert_str(0, "if (fork() == 0) { for (;;) pause(); }\n");
    let facts = library::inspect(&plugin.compile(folder.path())).unwrap();
    let sandbox = Sandbox::start(launch(), facts, patient()).unwrap();
    assert_eq!(failure(sandbox.step(&list(Behaviour::None)).unwrap()), "forked");
    let process = sandbox.process_id().unwrap();
    let group = || {
        let stats = std::fs::read_dir("/proc").unwrap().flatten();
        stats
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
            .filter(|stat| {
                let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
                fields.get(2) == Some(&process.to_string().as_str()) && fields[0] != "Z"
            })
            .count()
    };
    if rustix::process::geteuid().is_root() {
        assert_eq!(group(), 2);
    }
    drop(sandbox);
    wait_until(|| group() == 0);
}

#[test]
fn no_file_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let sandbox = Sandbox::start(launch(), hostile(), patient()).unwrap();
    let mut request = list(Behaviour::WriteFile);
    let setting = Value::from(path.to_str().unwrap());
    request.context.settings.insert("path".to_owned(), setting);
    let message = failure(sandbox.step(&request).unwrap());
    assert!(
        message.contains("the file was not written: File too large"),
        "{message}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"");
    assert_answers(&sandbox);
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_runs_late_and_with_few_rights() {
    let sandbox = Sandbox::start(launch(), hostile(), patient()).unwrap();
    let process = format!("/proc/{}", sandbox.process_id().unwrap());
    let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!(fields[16], "10", "nice in {stat}");

    let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
    for (name, soft) in [
        ("Max core file size", "0"),
        ("Max file size", "0"),
        ("Max open files", "16"),
        ("Max processes", "0"),
        ("Max cpu time", "60"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line[name.len()..].split_whitespace().next(), Some(soft), "{line}");
    }
    assert_eq!(std::fs::read(format!("{process}/environ")).unwrap(), b"");
    assert_eq!(
        std::fs::read_link(format!("{process}/cwd")).unwrap(),
        Path::new("/")
    );
    assert_eq!(
        std::fs::read_link(format!("{process}/fd/1")).unwrap(),
        Path::new("/dev/null")
    );
    let descriptors: Vec<String> = std::fs::read_dir(format!("{process}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            number > 2
                && !std::fs::read_link(path)
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("socket:")
        })
        .map(|path| path.display().to_string())
        .collect();
    assert!(descriptors.is_empty(), "{descriptors:?}");
}

/// As root nothing of this could be seen: root may fork beyond limits, and read every process.
#[test]
#[cfg(target_os = "linux")]
fn for_an_ordinary_user_it_cannot_fork_and_is_not_dumpable() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut plugin = CLibrary::new("forking", "");
    plugin.code = "#include <unistd.h>".to_owned();
    plugin.step = r#"
        pid_t child = fork();
        if (child == 0) _exit(0);
        return answer(child == -1
            ? "{\"fail\":{\"error\":{\"kind\":\"internal\",\"message\":\"no child\"}}}"
            : "{\"fail\":{\"error\":{\"kind\":\"internal\",\"message\":\"a child\"}}}");"#
        .to_owned();
    let facts = library::inspect(&plugin.compile(folder.path())).unwrap();

    // What the same user's ordinary process looks like.
    let mut plain = Command::new("setpriv")
        .args(AS_NOBODY)
        .args(["cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let owner = |process: u32| {
        std::fs::metadata(format!("/proc/{process}/environ"))
            .unwrap()
            .uid()
    };
    wait_until(|| owner(plain.id()) == NOBODY);
    plain.kill().unwrap();
    plain.wait().unwrap();

    let inner = launch();
    let mut args: Vec<_> = AS_NOBODY.iter().map(Into::into).collect();
    args.push(inner.program.into_os_string());
    let launch = Launch {
        program: "/usr/bin/setpriv".into(),
        args,
        env: Vec::new(),
    };
    let sandbox = Sandbox::start(launch, facts, patient()).unwrap();
    assert_eq!(failure(sandbox.step(&list(Behaviour::None)).unwrap()), "no child");
    let process = sandbox.process_id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{NOBODY}\t{NOBODY}")), "{status}");
    assert_eq!(
        owner(process),
        0,
        "a process that is not dumpable belongs to root in /proc"
    );
}

const AS_NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn the_process_ends_when_the_socket_closes() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut process = Command::new(launch().program)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(ours);
    wait_until(|| process.try_wait().unwrap().is_some());
    assert!(process.wait().unwrap().success());
}

#[test]
fn started_by_hand_it_says_who_starts_it() {
    let mut process = Command::new(launch().program)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = String::new();
    process.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert!(!process.wait().unwrap().success());
    assert!(words.contains("not keyferry's socket"), "{words}");
}

/// Asks a new sandbox with this plugin once.
fn ask_once(plugin: &CLibrary, cpu_seconds: u64) -> Fault {
    let folder = tempfile::tempdir().unwrap();
    let facts = library::inspect(&plugin.compile(folder.path())).unwrap();
    let limits = Limits {
        cpu_time: Duration::from_secs(cpu_seconds),
        ..patient()
    };
    let sandbox = Sandbox::start(launch(), facts, limits).unwrap();
    sandbox.step(&list(Behaviour::None)).unwrap_err().fault
}

#[track_caller]
fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(
            std::time::Instant::now() < deadline,
            "the condition did not come true"
        );
        std::thread::yield_now();
    }
}
