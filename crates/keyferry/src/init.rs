//! `keyferry init`: from the profiles that the vendors' own tools have on this machine to a first config directory.

use crate::cli::InitArguments;
use crate::error::Error;
use crate::exit::Exit;
use crate::prompts::terminal;
use crate::{logging, paths, plugin, table};

mod draft;
mod found;
mod obstacles;
mod shell;

use draft::Draft;

/// Finds profiles, shows what it would write, asks, and writes it.
pub(crate) fn run(arguments: &InitArguments) -> Result<Exit, Error> {
    let _log = logging::start();
    let directory = paths::config(arguments.place.config.as_deref())?;
    if directory.is_file() {
        return Err(Error::ConfigIsFile(directory));
    }
    let catalogue = plugin::open(&arguments.place.plugins, arguments.place.config.as_deref())?;
    obstacles::before_writing(&directory, &catalogue)?;
    if arguments.only.is_empty() {
        obstacles::of_plugins(&catalogue)?;
    }
    for name in &arguments.only {
        plugin::facts(&catalogue, name)?;
    }
    let found = found::profiles(&catalogue, &arguments.only)?;
    for offer in found.iter().filter(|offer| offer.profile.unusable.is_some()) {
        let why = offer.profile.unusable.as_deref().unwrap_or_default();
        table::print(&format!(
            "not offered: {} for {}: {why}",
            offer.profile.source,
            offer.plugin()
        ))?;
    }
    let asks = !arguments.yes && terminal::has_person();
    let mut draft = Draft::new(&directory);
    for offer in found.iter().filter(|offer| offer.profile.unusable.is_none()) {
        let region = match offer.region(arguments.region.as_deref()) {
            Ok(region) => region,
            Err(needed) if asks => {
                let region = table::answer(&format!("{needed}; its region (empty: leave it out): "))?;
                region.filter(|region| !region.is_empty())
            }
            Err(needed) => {
                table::print(&format!("not offered: {needed}: give one with --region"))?;
                continue;
            }
        };
        if offer.needs_region() && region.is_none() {
            continue;
        }
        let wanted = !asks
            || agrees(
                &format!("account for {}, from {}?", offer.plugin(), offer.profile.source),
                true,
            )?;
        if wanted && let Err(why) = draft.account(offer, region.as_deref(), &catalogue) {
            table::print(&format!(
                "not offered: {} for {}: {why}",
                offer.profile.source,
                offer.plugin()
            ))?;
        }
    }
    if draft.has_no_account() {
        table::print(
            "no account to write: log in with a vendor's own tool (`aliyun configure`, `aws configure`, a clouds.yaml ...) \
             or set its variables, and start this again; or write accounts/NAME.toml by hand",
        )?;
        return Ok(Exit::Failed);
    }
    draft.first_key(&catalogue);
    table::print(&draft.describe())?;
    if draft.is_empty() {
        table::print("nothing to write: all of it is there already")?;
        obstacles::as_written(&directory, &catalogue)?;
    } else if arguments.yes || (asks && agrees("write these files?", true)?) {
        draft.write()?;
        table::print("written")?;
        obstacles::as_written(&directory, &catalogue)?;
    } else {
        table::print("nothing was written: `keyferry init --yes` writes it")?;
        return Ok(Exit::Failed);
    }
    let runtime = paths::runtime(arguments.runtime.runtime.as_deref())?;
    table::print(&shell::next_steps(&paths::agent_socket(&runtime)))?;
    Ok(Exit::Fine)
}

/// An empty line is the default; the end of the input is no.
fn agrees(question: &str, default: bool) -> Result<bool, Error> {
    let choices = if default { "[Y/n]" } else { "[y/N]" };
    let answer = table::answer(&format!("{question} {choices} "))?;
    Ok(answer.is_some_and(|word| match &*word {
        "" => default,
        word => word.eq_ignore_ascii_case("y") || word.eq_ignore_ascii_case("yes"),
    }))
}
