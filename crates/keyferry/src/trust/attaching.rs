//! `keyferry recover --attach`: the provider puts a key on instances, for a person who was told what that means.

use keyferry_engine::engine::AttachAsked;
use keyferry_engine::snapshot::{Attachable, Attached};
use serde_json::json;

use super::outcome;
use crate::cli::RecoverArguments;
use crate::control::attach::{AttachAnswer, AttachRequest};
use crate::control::{Answer, Request, client};
use crate::error::Error;
use crate::exit::Exit;
use crate::prompts::terminal;
use crate::table::{self, Style, print_json};

mod words;

pub(crate) use words::meaning_for_instance;

/// `keyferry recover --attach`.
pub(super) fn attach(arguments: &RecoverArguments) -> Result<Exit, Error> {
    let asked = asked(arguments)?;
    if !terminal::has_person() {
        return Err(Error::Usage(
            "--attach is for a person at a terminal, who is shown what it means and asked: nothing else attaches a key"
                .to_owned(),
        ));
    }
    let agreed = match ask(
        arguments,
        AttachRequest::Preview(asked),
        "looking at what is known",
    )? {
        AttachAnswer::Previewed(agreed) => agreed,
        other => return Err(client::strange(&Answer::Attach(other))),
    };
    // Whoever is asked has to see it, also where the output is a file.
    let text = words::preview(&agreed, Style::of_stdout());
    table::print_for_person(&table::wrapped(&text, table::width()))?;
    if !table::is_confirmed("attach this?")? {
        table::print_for_person("nothing was changed")?;
        return Ok(Exit::Failed);
    }
    let request = AttachRequest::Attach {
        agreed: agreed.clone(),
    };
    let attached = match ask(arguments, request, "asking the provider")? {
        AttachAnswer::Attached(attached) => attached,
        AttachAnswer::UnderWay => {
            table::complain(
                "the provider takes long to answer: what was sent to it goes on, and nothing more is begun; `keyferry history` shows what came of it",
            );
            return Ok(Exit::Failed);
        }
        other => return Err(client::strange(&Answer::Attach(other))),
    };
    tell(arguments, &attached, &agreed)?;
    Ok(outcome(attached.iter().map(|one| &one.error)))
}

fn tell(arguments: &RecoverArguments, attached: &[Attached], agreed: &[Attachable]) -> Result<(), Error> {
    if arguments.json {
        return print_json(&json!({ "attached": attached }));
    }
    let text = words::attached(attached, agreed, Style::of_stdout());
    table::print(&table::wrapped(&text, table::width()))
}

fn ask(arguments: &RecoverArguments, request: AttachRequest, waiting: &str) -> Result<AttachAnswer, Error> {
    let request = Request::Attach(request);
    match table::while_waiting(waiting, || client::ask(&arguments.runtime, &request))? {
        Answer::Attach(answer) => Ok(answer),
        other => Err(client::strange(&other)),
    }
}

/// Which instance each host is, as the command line says it.
fn asked(arguments: &RecoverArguments) -> Result<AttachAsked, Error> {
    let pairs = arguments.attach.iter().map(|given| given.rsplit_once('='));
    let instances = match (&arguments.hosts[..], &arguments.attach[..]) {
        ([host], [instance]) if !instance.contains('=') => vec![(host.clone(), instance.clone())],
        ([], given) => {
            let instances: Option<Vec<(String, String)>> = pairs
                .map(|pair| pair.map(|(host, instance)| (host.to_owned(), instance.to_owned())))
                .collect();
            instances.ok_or_else(|| {
                let instance = given.iter().find(|given| !given.contains('='));
                let instance = instance.map_or("INSTANCE", String::as_str);
                Error::Usage(format!(
                    "which host is {instance}? say keyferry recover HOST --attach {instance}, or --attach HOST={instance}"
                ))
            })?
        }
        _ => {
            return Err(Error::Usage(
                "which instance is which host? say it once for each: --attach HOST=INSTANCE --attach HOST=INSTANCE".to_owned(),
            ));
        }
    };
    Ok(AttachAsked {
        instances,
        key: arguments.key.clone(),
        region: arguments.region.clone(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Command, CommandLine};

    fn instances(words: &[&str]) -> Result<Vec<(String, String)>, String> {
        let line = ["keyferry", "recover"].iter().chain(words);
        let line = CommandLine::try_parse_from(line).map_err(|error| error.to_string())?;
        let Command::Recover(arguments) = line.command else {
            panic!("another command");
        };
        asked(&arguments)
            .map(|asked| asked.instances)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn each_host_is_one_instance() {
        let pair = |host: &str, instance: &str| (host.to_owned(), instance.to_owned());
        assert_eq!(
            instances(&["web-1", "--attach", "i-1"]),
            Ok(vec![pair("web-1", "i-1")])
        );
        assert_eq!(
            instances(&["--attach", "a=b@web-1=i-1", "--attach", "web-2=i-2"]),
            Ok(vec![pair("a=b@web-1", "i-1"), pair("web-2", "i-2")])
        );
        for (words, expected) in [
            (&["--attach", "i-1"][..], "which host is i-1?"),
            (
                &["--attach", "web-1=i-1", "--attach", "i-2"],
                "which host is i-2?",
            ),
            (
                &["web-1", "web-2", "--attach", "i-1"],
                "which instance is which host?",
            ),
            (
                &["web-1", "--attach", "web-1=i-1"],
                "which instance is which host?",
            ),
            (
                &["web-1", "--attach", "i-1", "--attach", "i-2"],
                "which instance is which host?",
            ),
            (&["--all", "--attach", "i-1"], "cannot be used"),
            (&["web-1", "--key", "web"], "--attach"),
        ] {
            let error = instances(words).expect_err("it is not understood");
            assert!(error.contains(expected), "{words:?}: {error}");
        }
    }
}
