//! The file of the new key, in the config directory.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::Error;

/// What a key file is made of.
pub(super) struct Draft<'a> {
    pub(super) account: &'a str,
    pub(super) hosts: &'a [String],
    /// The adopted key's, `SHA256:...`.
    pub(super) fingerprint: &'a str,
    pub(super) replace: bool,
}

impl Draft<'_> {
    pub(super) fn text(&self) -> String {
        let (account, fingerprint) = (quoted(self.account), self.fingerprint);
        let hosts: Vec<String> = self
            .hosts
            .iter()
            .map(|host| format!("  {},\n", quoted(host)))
            .collect();
        let mut text = format!(
            "# keyferry makes keys for these hosts by itself. The first one is put there with an adopted key,\n\
             # {fingerprint}, which is in keyferry's agent.\n\
             account = {account}\n\
             hosts = [\n{}]\n\n\
             [deploy]\n\
             # The adopted key is in memory alone: after a restart of the daemon your own ssh is asked.\n\
             login_with = [\"current\", \"agent:{fingerprint}\", \"ssh-config\"]\n",
            hosts.concat()
        );
        if self.replace {
            text.push_str(&format!(
                "# Taken off each host once keyferry's own key was seen to log in there.\n\
                 replaces = [\"{fingerprint}\"]\n"
            ));
        }
        text
    }
}

/// What stands at the place of a key file.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// The same key was adopted there before.
    Adopted {
        hosts: Vec<String>,
        replaces: bool,
    },
    Nothing,
    Other,
}

/// Looks at the place of a key file.
pub(super) fn standing(path: &Path, fingerprint: &str) -> Result<Standing, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            return Ok(Standing::Nothing);
        }
        Err(error) => {
            return Err(Error::Refused(format!(
                "{} is there and cannot be read: {error}\n  name another key with --key",
                path.display()
            )));
        }
    };
    let Ok(table) = text.parse::<toml::Table>() else {
        return Ok(Standing::Other);
    };
    let strings = |value: Option<&toml::Value>| -> Vec<String> {
        let values = value.and_then(toml::Value::as_array).into_iter().flatten();
        values
            .filter_map(|value| Some(value.as_str()?.to_owned()))
            .collect()
    };
    let deploy = table.get("deploy");
    let of_deploy = |name: &str| strings(deploy.and_then(|deploy| deploy.get(name)));
    let named = format!("agent:{fingerprint}");
    Ok(match of_deploy("login_with").contains(&named) {
        true => Standing::Adopted {
            hosts: strings(table.get("hosts")),
            replaces: of_deploy("replaces").iter().any(|one| one == fingerprint),
        },
        false => Standing::Other,
    })
}

/// As a TOML basic string. What JSON escapes, TOML escapes alike.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new_file;

    const FINGERPRINT: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

    #[test]
    fn what_is_written_is_found_again_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/web.toml");
        assert_eq!(standing(&path, FINGERPRINT).unwrap(), Standing::Nothing);
        let hosts = ["deploy@web-1".to_owned(), "ssh://web-2:2222".to_owned()];
        for replace in [false, true] {
            let draft = Draft {
                account: "aliyun",
                hosts: &hosts,
                fingerprint: FINGERPRINT,
                replace,
            };
            let _ = fs::remove_file(&path);
            new_file::write(&path, &draft.text()).unwrap();
            let expected = Standing::Adopted {
                hosts: hosts.to_vec(),
                replaces: replace,
            };
            assert_eq!(standing(&path, FINGERPRINT).unwrap(), expected);
            assert_eq!(standing(&path, "SHA256:other").unwrap(), Standing::Other);
        }
        let before = fs::read(&path).unwrap();
        let error = new_file::write(&path, "account = \"other\"\n")
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("exists"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
