//! What ssh may be told to connect to.

/// Whether a text is a destination: `[user@]name` or `ssh://[user@]name[:port]`, without blanks and control characters, and
/// nothing that ssh would take for an option.
///
/// # Errors
/// What is wrong with it.
pub fn check_destination(text: &str) -> Result<(), String> {
    let wrong = |problem: &str| Err(format!("`{}` is no host: {problem}", shown(text)));
    if text.is_empty() {
        return wrong("it is empty");
    }
    if text.len() > MAX_LENGTH {
        return wrong("it is longer than 500 bytes");
    }
    if text.starts_with('-') {
        return wrong("it begins with `-`");
    }
    if text
        .chars()
        .any(|character| character.is_whitespace() || character.is_control())
    {
        return wrong("it holds a blank or a control character");
    }
    // ssh itself refuses these in user names; they have no place in a host's name either.
    if text.contains([
        '\'', '`', '"', '$', '\\', ';', '&', '<', '>', '|', '(', ')', '{', '}', '#',
    ]) {
        return wrong("it holds a character that has a meaning for shells or in ssh_config");
    }
    let name = text.strip_prefix("ssh://").unwrap_or(text);
    let host = name.rsplit_once('@').map_or(name, |(_, host)| host);
    if host.is_empty() || host.starts_with('-') || name.starts_with('@') {
        return wrong("`[user@]name` or `ssh://[user@]name[:port]` is expected");
    }
    Ok(())
}

/// For messages: one line, of bounded length.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(100)
        .collect()
}

const MAX_LENGTH: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_options_and_commands() {
        for good in [
            "web-1",
            "deploy@web-1.prod.example.com",
            "ssh://deploy@web-1:2222",
            "ssh://[::1]:22",
            "fe80::1%eth0",
            "li@corp@host",
            "10.0.0.1",
        ] {
            assert_eq!(check_destination(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a\nb",
            "li@",
            "@host",
            "li@-oX",
            "ssh://-x",
            "$(x)",
            "a;b",
            "\u{1b}[0m",
        ] {
            let error = check_destination(bad).expect_err(bad);
            assert!(!error.chars().any(char::is_control), "{error:?}");
        }
        assert!(check_destination(&"a".repeat(501)).is_err());
    }
}
