//! The hosts of a key, where a file or a program says which they are.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs};

use keyferry_engine::config::parse_hosts;
use keyferry_engine::desired::HostList;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// The hosts, as they stand there.
pub(super) async fn read(list: HostList) -> Result<Vec<String>, String> {
    match list {
        HostList::Listed(hosts) => Ok(hosts),
        HostList::File(path) => {
            let name = path.display().to_string();
            let text = tokio::task::spawn_blocking(move || read_file(&path))
                .await
                .map_err(|error| error.to_string())?;
            parse(&text?).map_err(|problem| format!("{name}{problem}"))
        }
        HostList::Command(argv) => {
            let program = argv.first().map(String::as_str).unwrap_or_default();
            let output = run(&argv)
                .await
                .map_err(|problem| format!("the command {program} {problem}"))?;
            parse(&output).map_err(|problem| format!("what the command {program} prints{problem}"))
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    keyferry_ownership::check(path).map_err(|distrust| distrust.to_string())?;
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_BYTES as u64 {
        return Err(format!("{} is larger than 1 MiB", path.display()));
    }
    fs::read(path).map_err(failed)
}

/// The hosts of a list. The error goes behind a name.
fn parse(text: &[u8]) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(text).map_err(|_| " is not UTF-8".to_owned())?;
    parse_hosts(text).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        match problems.len() {
            0 | 1 => format!(":{first}"),
            more => format!(":{first} (and {} more)", more - 1),
        }
    })
}

/// Runs a program as credential commands are: by argv, without a shell, in a cleared environment. What it says on standard
/// error is not shown. The error follows `the command NAME`.
async fn run(argv: &[String]) -> Result<Vec<u8>, String> {
    let (program, arguments) = argv.split_first().ok_or("has no name")?;
    let environment = NAMES.iter().filter_map(|name| Some((name, env::var_os(name)?)));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                "was not found: name it with its whole path, or see that PATH has it".to_owned()
            }
            _ => format!("was not started: {error}"),
        })?;
    let stdout = child.stdout.take().ok_or("was started without a pipe")?;
    let mut running = Group(child);
    let mut output = Vec::new();
    let reading = async {
        // One byte more than allowed, so that too much is seen.
        let mut limited = stdout.take(MAX_BYTES as u64 + 1);
        limited.read_to_end(&mut output).await?;
        if output.len() > MAX_BYTES {
            return Ok(None);
        }
        running.0.wait().await.map(Some)
    };
    let status = match tokio::time::timeout(DEADLINE, reading).await {
        Err(_) => return Err(format!("did not finish within {} s", DEADLINE.as_secs())),
        Ok(Err(error)) => return Err(format!("cannot be read: {error}")),
        Ok(Ok(None)) => return Err("prints more than 1 MiB".to_owned()),
        Ok(Ok(Some(status))) => status,
    };
    if status.success() {
        return Ok(output);
    }
    Err(match status.code() {
        Some(code) => format!("failed with exit status {code}"),
        None => format!("was ended by signal {}", status.signal().unwrap_or_default()),
    })
}

/// A program that ends with what it started, unless it has ended by itself.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

const NAMES: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TZ",
    "LANG",
    "LC_ALL",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
];
const DEADLINE: Duration = Duration::from_secs(60);
const MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn command(script: &str) -> Result<Vec<String>, String> {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        read(HostList::Command(argv)).await
    }

    #[tokio::test]
    async fn a_file_has_one_host_on_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let list = || read(HostList::File(path.clone()));
        assert!(list().await.unwrap_err().contains("hosts"));
        fs::write(&path, "# web\nweb-1 # the first\r\n\n  deploy@web-2\n").unwrap();
        assert_eq!(list().await.unwrap(), ["web-1", "deploy@web-2"]);
        fs::write(&path, "web-1\n-oProxyCommand=x\n").unwrap();
        let error = list().await.unwrap_err();
        assert!(
            error.contains("hosts:2:1: `-oProxyCommand=x` begins with `-`"),
            "{error}"
        );
        let many: String = (0..10_001).map(|n| format!("web-{n}\n")).collect();
        fs::write(&path, many).unwrap();
        assert!(list().await.unwrap_err().contains("10000 hosts"));
        fs::write(&path, "#".repeat(MAX_BYTES + 1)).unwrap();
        assert!(list().await.unwrap_err().contains("1 MiB"));
        fs::write(&path, "web-1\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(list().await.is_err(), "others may write it");
    }

    #[tokio::test]
    async fn a_command_prints_them() {
        assert_eq!(
            command("echo web-1; echo secret >&2; echo web-2").await.unwrap(),
            ["web-1", "web-2"]
        );
        assert_eq!(
            command("echo $0$CARGO_MANIFEST_DIR").await.unwrap(),
            ["sh"],
            "nothing of our environment"
        );
        let error = command("echo web-1; echo secret >&2; exit 3").await.unwrap_err();
        assert_eq!(error, "the command sh failed with exit status 3");
        let error = command("echo 'web 1'").await.unwrap_err();
        assert!(
            error.starts_with("what the command sh prints:1:1: has more than one word"),
            "{error}"
        );
        let error = command("exec cat /dev/zero").await.unwrap_err();
        assert_eq!(error, "the command sh prints more than 1 MiB");
        let error = command("kill -9 $$").await.unwrap_err();
        assert_eq!(error, "the command sh was ended by signal 9");
        let missing = read(HostList::Command(vec!["/nonexistent/list".to_owned()])).await;
        assert!(missing.unwrap_err().contains("was not found"));
    }
}
