//! The hosts of a key, where a file or a program says which they are.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use keyferry_engine::config::parse_hosts;
use keyferry_engine::desired::HostList;

use super::program::{self, MAX_BYTES};

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
            let output = program::run(&argv, Vec::new(), DEADLINE)
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

const DEADLINE: Duration = Duration::from_secs(60);

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
