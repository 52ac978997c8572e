//! `keyferry retire`.

use std::io::{self, IsTerminal};
use std::time::SystemTime;

use crate::cli::RetireArguments;
use crate::control::client;
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::exit::Exit;
use crate::plan;
use crate::table::{self, Style};

/// `keyferry retire`.
pub(crate) fn run(arguments: &RetireArguments) -> Result<Exit, Error> {
    let RetireArguments {
        runtime,
        key,
        accept_loss,
        earlier,
        yes,
    } = arguments;
    if *earlier {
        let request = Request::GiveUpInstances {
            key: key.clone(),
            instances: accept_loss.clone(),
        };
        return match client::ask(runtime, &request)? {
            Answer::Noted => {
                let text = format!(
                    "key {key}: its earlier generations wait no longer for {}",
                    accept_loss.join(", ")
                );
                table::print(&table::wrapped(&text, table::width()))?;
                Ok(Exit::Fine)
            }
            other => Err(client::strange(&other)),
        };
    }
    if !yes && !io::stdin().is_terminal() {
        return Err(Error::Usage(
            "there is nobody to ask whether to retire the key: say --yes".to_owned(),
        ));
    }
    let request = Request::PlanToRetire {
        key: key.clone(),
        accept_loss: accept_loss.clone(),
    };
    let plans = match client::ask(runtime, &request)? {
        Answer::Planned(plans) => plans,
        other => return Err(client::strange(&other)),
    };
    let text = plan::describe(&plans, SystemTime::now(), Style::of_stdout());
    table::print(&table::wrapped(&text, table::width()))?;
    if !yes && !table::is_confirmed(&format!("retire key {key}?"))? {
        table::print("nothing was changed")?;
        return Ok(Exit::Fine);
    }
    let request = Request::Retire {
        key: key.clone(),
        accept_loss: accept_loss.clone(),
    };
    match client::ask(runtime, &request)? {
        Answer::Noted => {}
        other => return Err(client::strange(&other)),
    }
    let text = format!(
        "key {key} is being retired: `keyferry status` shows what is left of it, `keyferry resume {key}` calls it off\n  \
         remove keys/{key}.toml when it is through"
    );
    table::print(&table::wrapped(&text, table::width()))?;
    Ok(Exit::Fine)
}
