//! Line f: a delete is of the one pair that the worker's permit names, and the provider must agree which one that is.

use keyferry_plugin::contract::{Delete, Pair};
use keyferry_plugin::fingerprint;

use super::{Refusal, Rule};
use crate::job::Permit;

/// Checks that what is to be deleted is what the permit names.
pub(crate) fn check<'a>(delete: &Delete, permit: Option<&'a Permit>) -> Result<&'a Permit, Refusal> {
    let Some(permit) = permit else {
        return Err(Refusal::new(Rule::Permit, "was asked to delete without a permit"));
    };
    match delete.pairs.as_slice() {
        [pair] if pair.name == permit.name && pair.id == permit.id => Ok(permit),
        [_] => Err(Refusal::new(
            Rule::Permit,
            format!(
                "was asked to delete another pair than the permitted `{}`",
                permit.name
            ),
        )),
        pairs => Err(Refusal::new(
            Rule::Permit,
            format!(
                "was asked to delete {} pairs, and a permit is for one",
                pairs.len()
            ),
        )),
    }
}

/// Whether the permit knows something that the provider can be asked about.
pub(crate) fn is_comparable(permit: &Permit) -> bool {
    permit.id.is_some() || permit.fingerprint.is_some()
}

/// Compares what the provider says about the pair with the permit. What one of them does not know is not compared.
pub(crate) fn check_found(permit: &Permit, found: &Pair) -> Result<(), Refusal> {
    let differ = |what: &str, ours: &str, theirs: &str| {
        Err(Refusal::new(
            Rule::Permit,
            format!(
                "did not delete `{}`: the provider's pair of that name has {what} `{theirs}`, ours had `{ours}`; \
                 somebody has replaced it, so it is left alone",
                permit.name
            ),
        ))
    };
    if found.name != permit.name {
        return differ("the name", &permit.name, &found.name);
    }
    if let (Some(ours), Some(theirs)) = (&permit.id, &found.id)
        && ours != theirs
    {
        return differ("id", ours, theirs);
    }
    if let (Some(ours), Some(theirs)) = (&permit.fingerprint, &found.fingerprint)
        && !fingerprint::same(ours, theirs)
    {
        return differ("fingerprint", ours, theirs);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use keyferry_plugin::contract::PairReference;

    use super::*;

    fn permit(id: Option<&str>, fingerprint: Option<&str>) -> Permit {
        Permit {
            name: "web-1".to_owned(),
            id: id.map(str::to_owned),
            fingerprint: fingerprint.map(str::to_owned),
        }
    }

    fn pair(name: &str, id: Option<&str>, fingerprint: Option<&str>) -> Pair {
        Pair {
            name: name.to_owned(),
            id: id.map(str::to_owned),
            fingerprint: fingerprint.map(str::to_owned),
            ..Pair::default()
        }
    }

    fn delete(names: &[&str]) -> Delete {
        let reference = |&name: &&str| PairReference {
            name: name.to_owned(),
            id: None,
        };
        Delete {
            pairs: names.iter().map(reference).collect(),
        }
    }

    #[test]
    fn a_delete_is_of_the_permitted_pair() {
        let own = permit(None, None);
        check(&delete(&["web-1"]), Some(&own)).unwrap();
        for (delete, permit) in [
            (delete(&["web-1"]), None),
            (delete(&["web-2"]), Some(&own)),
            (delete(&["web-1", "web-2"]), Some(&own)),
            (delete(&[]), Some(&own)),
            (delete(&["web-1"]), Some(&permit(Some("ssh-1"), None))),
        ] {
            assert_eq!(check(&delete, permit).unwrap_err().rule, Rule::Permit);
        }
    }

    #[test]
    fn the_provider_must_agree() {
        let md5 = "7880c1ad4687fdbf7a6da21312345678";
        let colons = "MD5:78:80:C1:AD:46:87:FD:BF:7A:6D:A2:13:12:34:56:78";
        let own = permit(Some("ssh-1"), Some(md5));
        check_found(&own, &pair("web-1", Some("ssh-1"), Some(colons))).unwrap();
        let hyphens = "78-80-c1-ad-46-87-fd-bf-7a-6d-a2-13-12-34-56-78";
        check_found(&own, &pair("web-1", None, Some(hyphens))).unwrap();
        check_found(&own, &pair("web-1", None, None)).unwrap();
        check_found(&permit(None, None), &pair("web-1", Some("ssh-2"), Some("x"))).unwrap();
        for found in [
            pair("web-2", Some("ssh-1"), Some(md5)),
            pair("web-1", Some("ssh-2"), Some(md5)),
            pair("web-1", Some("ssh-1"), Some("7880c1ad4687fdbf7a6da21312345679")),
            pair("web-1", None, Some("SHA256:AAAA")),
        ] {
            assert_eq!(
                check_found(&own, &found).unwrap_err().rule,
                Rule::Permit,
                "{found:?}"
            );
        }
        let sha256 = permit(None, Some("SHA256:aB+c="));
        check_found(&sha256, &pair("web-1", None, Some("aB+c"))).unwrap();
        assert!(check_found(&sha256, &pair("web-1", None, Some("ab+c"))).is_err());
    }
}
