//! The user's private group: the primary group that has no other member.
//!
//! Distributions that give each user such a group also set a umask of 002, so group-write is common there and
//! harmless. Read from the local files; a user that only a directory service knows has none, which is the safe side.

/// The group that only this user is in, if the user's primary group is one.
pub(crate) fn private_group(uid: u32) -> Option<u32> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let group = std::fs::read_to_string("/etc/group").ok()?;
    private_group_of(uid, &passwd, &group)
}

/// The name of a user in the local file; none: only a directory service knows one, if anybody.
pub fn user_name(uid: u32) -> Option<String> {
    user_name_of(uid, &std::fs::read_to_string("/etc/passwd").ok()?)
}

/// See passwd(5).
fn user_name_of(uid: u32, passwd: &str) -> Option<String> {
    let mut named = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        (fields.next()?.parse() == Ok(uid) && !name.is_empty()).then_some(name)
    });
    named.next().map(str::to_owned)
}

/// See passwd(5) and group(5).
fn private_group_of(uid: u32, passwd: &str, group: &str) -> Option<u32> {
    let users = || {
        passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?, fields.next()?);
            Some((
                name,
                fields.next()?.parse::<u32>().ok()?,
                fields.next()?.parse::<u32>().ok()?,
            ))
        })
    };
    let (user, _, primary) = users().find(|&(_, id, _)| id == uid)?;
    if users().any(|(_, id, gid)| gid == primary && id != uid) {
        return None;
    }
    let members = group.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.len() == 4 && fields[2].parse() == Ok(primary)).then(|| fields[3])
    })?;
    members
        .split(',')
        .map(str::trim)
        .all(|member| member.is_empty() || member == user)
        .then_some(primary)
}

#[cfg(test)]
mod tests {
    use super::{private_group_of, user_name_of};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nli:x:1000:1000::/home/li:/bin/sh\nmo:x:1001:100::/home/mo:/bin/sh\nno:x:1002:100::/:/bin/sh\n";

    #[test]
    fn a_primary_group_without_other_members_is_private() {
        assert_eq!(
            private_group_of(1000, PASSWD, "root:x:0:\nli:x:1000:\n"),
            Some(1000)
        );
        assert_eq!(private_group_of(1000, PASSWD, "li:x:1000:li\n"), Some(1000));
    }

    #[test]
    fn a_user_is_named_by_number() {
        assert_eq!(user_name_of(1001, PASSWD).as_deref(), Some("mo"));
        assert_eq!(user_name_of(4242, PASSWD), None);
        assert_eq!(
            user_name_of(0, "::0:0::/:\n\nbroken\nroot:x:0\n").as_deref(),
            Some("root")
        );
    }

    #[test]
    fn a_shared_group_is_not() {
        assert_eq!(private_group_of(1000, PASSWD, "li:x:1000:li,mo\n"), None);
        assert_eq!(private_group_of(1001, PASSWD, "users:x:100:\n"), None);
        assert_eq!(private_group_of(1000, PASSWD, "other:x:7:\n"), None);
        assert_eq!(private_group_of(4242, PASSWD, "li:x:1000:\n"), None);
    }
}
