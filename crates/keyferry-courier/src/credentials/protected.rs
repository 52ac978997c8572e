//! Keeps what a plugin may have read away from keys, devices and keyferry's own files.

use std::path::Path;

use keyferry_plugin::manifest::PROTECTED_PLACES;

use super::object::expand;

/// Checks that a file does not lie below a protected place, by its path or by what that leads to. `variable`: what named the
/// path, where it was not the manifest.
pub(super) fn check(path: &Path, home: Option<&Path>, variable: Option<&str>) -> Result<(), String> {
    let real = |path: &Path| path.canonicalize();
    let shown = path.display();
    let target = real(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    for place in PROTECTED_PLACES {
        // Without a home directory there is nothing below it.
        let Ok(place_here) = expand(Path::new(place), home) else {
            continue;
        };
        let is_below = |path: &Path, place: &Path| path.starts_with(place);
        let by_target = real(&place_here).is_ok_and(|place| is_below(&target, &place));
        if is_below(path, &place_here) || by_target {
            let way_out = match variable {
                Some(variable) => format!("put it elsewhere, and name that in {variable}"),
                None => "let it be a file of its own".to_owned(),
            };
            return Err(format!(
                "the file is not used: {shown}: no plugin may read what lies below {place}: {way_out}"
            ));
        }
    }
    Ok(())
}
