//! The rules for credential fields and for what `credentials` may read.

use std::collections::BTreeMap;

use keyferry_plugin::manifest::{
    CredentialField, FieldClass, FileFormat, FileSource, Manifest, PROTECTED_PLACES, Source,
};

use super::operations::is_parameter;
use super::{Checked, is_header, is_line, is_snake_case, is_variable, not_snake_case, require};

pub(super) fn check_credential(name: &str, field: &CredentialField) -> Checked {
    let place = format!("credentials.{name}");
    require(is_snake_case(name), &place, not_snake_case)?;
    require(name != "private_key", &place, || {
        "is the name of a new key's private half".to_owned()
    })?;
    let bearer = field.class == FieldClass::Bearer;
    require(bearer != field.places.is_empty(), &place, || match bearer {
        true => "a bearer must say in which places it may be sent (`places`)".to_owned(),
        false => "only a bearer has places".to_owned(),
    })?;
    for (i, at) in field.places.iter().enumerate() {
        let good = match at.split_once(':') {
            Some(("header", header)) => is_header(header),
            Some(("query" | "form", parameter)) => is_parameter(parameter) && !parameter.contains('*'),
            Some(("json", pointer)) => is_pointer(pointer),
            _ => false,
        };
        require(good, format!("{place}.places[{i}]"), || {
            format!(
                "{at:?} is neither `header:NAME` in lower case nor `query:NAME`, `form:NAME` or `json:POINTER`"
            )
        })?;
    }
    Ok(())
}

pub(super) fn check_source(name: &str, source: &Source, manifest: &Manifest) -> Checked {
    let place = format!("sources.{name}");
    require(is_snake_case(name), &place, not_snake_case)?;
    let (none, no_commands) = (Vec::new(), BTreeMap::new());
    let (public, secret, urls, commands) = match source {
        Source::Command(command) => (&command.public, &command.secret, &none, &no_commands),
        Source::Environment(variables) => (
            &variables.public,
            &variables.secret,
            &variables.urls,
            &no_commands,
        ),
        Source::File(file) => {
            check_file(file, &place)?;
            (&file.public, &file.secret, &file.urls, &file.commands)
        }
    };
    let listed = public.len() + secret.len() + commands.len();
    require(listed > 0, &place, || "names nothing to read".to_owned())?;
    let text = matches!(source, Source::File(file) if file.format == FileFormat::Text);
    let mut seen = BTreeMap::new();
    for item in public.iter().chain(secret.keys()).chain(commands.keys()) {
        let (good, form) = match source {
            Source::Environment(_) => (is_variable(item), "a variable's name in upper case"),
            Source::File(_) if text => (item.is_empty(), "the empty pointer, at which a text stands"),
            Source::File(_) | Source::Command(_) => (is_pointer(item), "a JSON pointer"),
        };
        require(good, &place, || format!("{item:?} is not {form}"))?;
        require(seen.insert(item, ()).is_none(), &place, || {
            format!("{item:?} stands there twice")
        })?;
    }
    require(!text || secret.len() == 1, &place, || {
        "is a text, which is one secret".to_owned()
    })?;
    for item in urls {
        require(public.contains(item), format!("{place}.urls"), || {
            format!("{item:?} is not among the public ones")
        })?;
    }
    for (item, name) in commands {
        let named = manifest.sources.get(name);
        require(
            matches!(named, Some(Source::Command(_))),
            format!("{place}.commands"),
            || format!("{item:?} is said to print {name:?}, which is not a source of the kind `command`"),
        )?;
    }
    for (item, field) in secret {
        let class = manifest.credentials.get(field).map(|field| field.class);
        require(class.is_some(), &place, || {
            format!("{item:?} is said to be {field:?}, which is not among the credentials")
        })?;
        require(class != Some(FieldClass::Public), &place, || {
            format!("{item:?} is said to be {field:?}, which is public: list it under `public`")
        })?;
    }
    Ok(())
}

fn check_file(file: &FileSource, place: &str) -> Checked {
    let variable = file.path_variable.as_deref();
    require(
        variable.is_none_or(is_variable),
        format!("{place}.path_variable"),
        || "is not a variable's name in upper case".to_owned(),
    )?;
    require(
        !file.inline_comments || file.format == FileFormat::Ini,
        format!("{place}.inline_comments"),
        || "only files of the format `ini` have them".to_owned(),
    )?;
    // Only a variable may name it.
    if file.path.is_empty() && variable.is_some() && file.alternatives.is_empty() {
        return Ok(());
    }
    let first = ("path".to_owned(), &file.path);
    let others = file.alternatives.iter().enumerate();
    for (part, path) in
        std::iter::once(first).chain(others.map(|(i, path)| (format!("alternatives[{i}]"), path)))
    {
        let relative = path.strip_prefix("~/").or_else(|| path.strip_prefix('/'));
        let good = relative.is_some_and(|path| {
            path.split('/').all(|part| !["", ".", ".."].contains(&part)) && !path.contains(char::is_control)
        });
        require(good, format!("{place}.{part}"), || {
            format!("{path:?} is not a path from `/` or `~/` without `..`")
        })?;
        let protected = PROTECTED_PLACES.into_iter().find(|place| is_below(path, place));
        require(protected.is_none(), format!("{place}.{part}"), || {
            let protected = protected.unwrap_or_default();
            format!("is {path:?}, and no plugin may read what lies below {protected}")
        })?;
    }
    Ok(())
}

/// Whether a path is this place or below it; of a place in the home directory, in anybody's.
fn is_below(path: &str, place: &str) -> bool {
    let path = format!("{path}/");
    match place.strip_prefix('~') {
        Some(place) => path.contains(&format!("{place}/")),
        None => path.starts_with(&format!("{place}/")),
    }
}

/// A JSON pointer (RFC 6901) below the root, on one line; `*` may be a token.
pub(super) fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && is_line(text, 400)
}
