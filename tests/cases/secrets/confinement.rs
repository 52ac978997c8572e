//! What the daemon's processes may do and what they hold, as /proc shows it, with the daemon run as an ordinary user.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cloud_sim::Service;
use keyferry_tests::build::built;
use keyferry_tests::cloud;
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;

/// The user that owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn processes_are_closed_to_others_and_hold_only_what_they_need() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this case needs root: it runs the daemon as another user and looks into it"
    );
    let home = Home::new();
    let cloud = cloud();
    home.account("aliyun", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.key("scratch", "account = \"aliyun\"\ngenerated_by = \"provider\"\n");
    let program = install(&home);
    own(home.root());
    // What shells and service managers leave open, dumps allowed, and an environment with a secret of somebody else.
    let inherited = home.path("somebody-elses-file");
    fs::write(&inherited, "not for keyferry").unwrap();
    let leave_open = format!(
        "exec 10<{0} 251<{0}; ulimit -c unlimited; exec \"$@\"",
        inherited.display()
    );
    let mut wrapper = ["/bin/bash", "-c", &leave_open, "bash"]
        .map(str::to_owned)
        .to_vec();
    wrapper.extend(as_nobody());
    let daemon = Daemon::start_with(
        &home,
        &Options {
            wrapper,
            environment: vec![
                (
                    "HTTPS_PROXY".to_owned(),
                    "http://user:password@127.0.0.1:9".to_owned(),
                ),
                ("SOMEBODY_ELSES_TOKEN".to_owned(), "sesame".to_owned()),
                ("SSL_CERT_DIR".to_owned(), "/etc/ssl/certs".to_owned()),
            ],
            program: Some(program),
            ..Options::default()
        },
    );
    daemon.wait_loaded(60);
    let children = daemon.children();
    let of = |role: &str| {
        let found: Vec<u32> = children
            .iter()
            .filter(|child| child.is(role))
            .map(|child| child.pid)
            .collect();
        let [process] = found[..] else {
            panic!("not one {role}: {children:?}")
        };
        process
    };
    let (worker, courier, sandbox) = (daemon.pid(), of("courier"), of("sandbox"));

    for process in [worker, courier, sandbox] {
        assert_eq!(limit(process, "Max core file size"), "0 0");
        is_closed_to_its_own_user(process);
    }
    for process in [courier, sandbox] {
        assert_eq!(limit(process, "Max file size"), "0 0");
    }

    assert_eq!(variables(courier), BTreeSet::from(["SSL_CERT_DIR".to_owned()]));
    assert_eq!(variables(sandbox), BTreeSet::new());

    // The standard streams and the socket once more. A library that was loaded is closed.
    let descriptors = descriptors(sandbox);
    let sockets: BTreeSet<&str> = ends(&descriptors, "socket:");
    assert_eq!(sockets.len(), 1, "{descriptors:?}");
    assert_eq!(descriptors.len(), 4, "{descriptors:?}");
    let descriptors = self::descriptors(courier);
    assert!(
        descriptors
            .iter()
            .all(|(_, what)| !what.starts_with('/') || what == "/dev/null" || what == PLUGIN),
        "{descriptors:?}"
    );
    assert!(descriptors.len() < 12, "{descriptors:?}");
    for process in [worker, courier, sandbox] {
        let descriptors = self::descriptors(process);
        assert!(
            descriptors
                .iter()
                .all(|(_, what)| *what != inherited.display().to_string()),
            "{process} has inherited a file: {descriptors:?}"
        );
        assert!(
            descriptors.iter().any(|(number, _)| *number == 0),
            "{descriptors:?}"
        );
    }
}

/// The plugin's library in memory, whose very bytes were hashed: sealed, for the courier's sandboxes.
const PLUGIN: &str = "/memfd:keyferry-plugin (deleted)";

/// Copies the programs to where everybody may run them: the folder that they are built in may be closed to others.
fn install(home: &Home) -> PathBuf {
    let folder = home.path("bin");
    fs::create_dir(&folder).unwrap();
    let program = folder.join("keyferry");
    let library = built().plugin("alibaba-ecs");
    fs::copy(built().keyferry(), &program).unwrap();
    fs::copy(&library, folder.join(library.file_name().unwrap())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// Gives a folder and all in it to nobody.
fn own(folder: &Path) {
    chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            own(&path);
        }
    }
}

/// The words before a program that have it run as nobody.
fn as_nobody() -> Vec<String> {
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        .map(str::to_owned)
        .to_vec()
}

/// Another process of the same user can neither read the memory of this one nor see its environment or files.
#[track_caller]
fn is_closed_to_its_own_user(process: u32) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert!(users.split_whitespace().all(|user| user == "65534"), "{users}");

    let plain = Plain::start();
    for entry in ["environ", "maps", "fd/0"] {
        let path = |process: u32| format!("/proc/{process}/{entry}");
        assert!(
            readable(&path(plain.0.id())),
            "nobody cannot even read an ordinary process: {entry}"
        );
        assert!(
            !readable(&path(process)),
            "another process can read {}",
            path(process)
        );
    }
    assert_eq!(
        fs::metadata(format!("/proc/{}/mem", plain.0.id())).unwrap().uid(),
        NOBODY
    );
    assert_eq!(fs::metadata(format!("/proc/{process}/mem")).unwrap().uid(), 0);
}

/// An ordinary process of nobody, to compare with.
struct Plain(Child);

impl Plain {
    fn start() -> Self {
        let words = as_nobody();
        let child = Command::new(&words[0])
            .args(&words[1..])
            // It says that it runs, as nobody, and waits for the end of its input.
            .args(["/bin/sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut plain = Self(child);
        let mut line = [0];
        std::io::Read::read_exact(plain.0.stdout.as_mut().unwrap(), &mut line).unwrap();
        plain
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether nobody may open it: a file's content, or where a link leads.
fn readable(path: &str) -> bool {
    let words = as_nobody();
    let output = Command::new(&words[0])
        .args(&words[1..])
        .args([
            "/bin/sh",
            "-c",
            "if [ -L \"$1\" ]; then readlink \"$1\"; else cat \"$1\"; fi",
            "sh",
            path,
        ])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    output.status.success()
}

/// A line of proc_pid_limits(5): soft and hard limit.
fn limit(process: u32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// The names of a process's variables.
fn variables(process: u32) -> BTreeSet<String> {
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap();
    let text = String::from_utf8_lossy(&environment).into_owned();
    text.split('\0')
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// A process's descriptors and what they are.
fn descriptors(process: u32) -> Vec<(u32, String)> {
    let folder = format!("/proc/{process}/fd");
    let mut descriptors: Vec<(u32, String)> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            // One may be closed meanwhile.
            let what = fs::read_link(entry.path()).ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, what.display().to_string()))
        })
        .collect();
    descriptors.sort();
    descriptors
}

fn ends<'a>(descriptors: &'a [(u32, String)], kind: &str) -> BTreeSet<&'a str> {
    descriptors
        .iter()
        .map(|(_, what)| what.as_str())
        .filter(|what| what.starts_with(kind))
        .collect()
}
