//! The names that a person gives: of the new key, and of hosts.

use std::path::Path;

use keyferry_engine::config;

use crate::cli::AdoptArguments;
use crate::error::Error;

/// The new key's name: what was asked for, or what fits the file's name.
pub(super) fn of_key(arguments: &AdoptArguments) -> Result<String, Error> {
    if let Some(name) = &arguments.key {
        return match config::is_name(name) {
            true => Ok(name.clone()),
            false => Err(Error::Usage(format!(
                "{name:?} is no key's name: {}",
                config::NAME_RULE
            ))),
        };
    }
    let name = fitted(&arguments.file);
    match config::is_name(&name) {
        true => Ok(name),
        false => Err(Error::Usage("name the new key: --key NAME".to_owned())),
    }
}

fn fitted(file: &Path) -> String {
    let stem = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let letters = stem.chars().map(|c| match c {
        'a'..='z' | '0'..='9' => c,
        _ => '-',
    });
    let name: String = letters.take(LONGEST_NAME).collect();
    name.trim_matches('-').to_owned()
}

/// Whether hosts can be named in a key file and to ssh.
pub(super) fn check_hosts(hosts: &[String]) -> Result<(), Error> {
    for (index, host) in hosts.iter().enumerate() {
        config::Destination::parse(host)
            .map_err(|problem| Error::Usage(format!("--hosts: {host:?} {problem}")))?;
        if hosts.iter().take(index).any(|other| other == host) {
            return Err(Error::Usage(format!("--hosts names {host} twice")));
        }
    }
    match hosts.len() > config::MAX_HOSTS {
        true => Err(Error::Usage(format!(
            "--hosts names more than {} hosts",
            config::MAX_HOSTS
        ))),
        false => Ok(()),
    }
}

const LONGEST_NAME: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_after_its_file() {
        for (file, name) in [
            ("/home/li/Downloads/prod-web.pem", "prod-web"),
            ("id_rsa", "id-rsa"),
            ("My Key (1).pem", "my-key--1"),
            ("/", ""),
            ("__.pem", ""),
        ] {
            assert_eq!(fitted(Path::new(file)), name, "{file}");
        }
    }
}
