//! What is allowed and still worth a word.

use super::value::spoken;
use crate::desired::{Desired, KeySpec, LoginWith};

/// What speaks against settings of a key that are not wrong, one sentence each. A file's report has no room for it: a file
/// that is fine is fine.
pub fn warnings(spec: &KeySpec, desired: &Desired) -> Vec<String> {
    let mut warnings = Vec::new();
    if spec.hosts.is_none() {
        return warnings;
    }
    let deploy = &spec.deploy;
    if let (Some(expires), Some(rotate)) = (deploy.expires, &spec.rotate)
        && expires < rotate.every * 3
    {
        warnings.push(format!(
            "`deploy.expires` is {}, less than three times `rotate.every`: while this machine is away for so long, the key's \
             lines stop to work on every host; {} gives time to notice",
            spoken(expires),
            spoken(rotate.every * 3)
        ));
    }
    for login in &deploy.login_with {
        if let LoginWith::Key(name) = login
            && !desired.keys.contains_key(name)
        {
            warnings.push(format!(
                "`deploy.login_with` names key `{name}`, and there is no keys/{name}.toml"
            ));
        }
    }
    let outlasts_restart = |login: &LoginWith| matches!(login, LoginWith::Agent(_) | LoginWith::SshConfig);
    if desired.daemon.recovery.is_none()
        && deploy.command.is_empty()
        && !deploy.login_with.iter().any(outlasts_restart)
    {
        warnings.push(
            "after a restart of this machine nothing that `deploy.login_with` names can log in to the key's hosts: name a key \
             that is always there, `[recovery] identity` in keyferry.toml, or add \"ssh-config\""
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests;
