//! `keyferry check`.

use keyferry_engine::config;
use keyferry_engine::desired::{FileReport, FileState};
use keyferry_engine::snapshot::FurtherProblem;
use serde_json::json;

use crate::catalogue::Catalogue;
use crate::cli::CheckArguments;
use crate::error::Error;
use crate::exit::Exit;
use crate::paths;
use crate::table::{self, Style};

/// Reads the config directory as the daemon would and prints what is wrong.
pub(crate) fn run(arguments: &CheckArguments) -> Result<Exit, Error> {
    let directory = paths::config(arguments.config.as_deref().or(arguments.config_flag.as_deref()))?;
    if directory.is_file() {
        return Err(Error::ConfigIsFile(directory));
    }
    if !directory.is_dir() {
        return Err(Error::ConfigMissing(directory));
    }
    let catalogue = Catalogue::new(&arguments.plugins.plugin_dirs, Some(&directory))?;
    let reports = config::check(&directory, &catalogue);
    if arguments.json {
        let files: Vec<_> = reports
            .iter()
            .map(|report| {
                json!({
                    "path": report.path,
                    "state": report.state.name(),
                    "line": report.line,
                    "column": report.column,
                    "message": report.message,
                    "further": report.further.iter().map(FurtherProblem::from).collect::<Vec<_>>(),
                })
            })
            .collect();
        table::print(&format!("{:#}", json!({"files": files})))?;
    } else {
        describe(&reports)?;
    }
    let good = reports.iter().all(|report| report.state == FileState::Loaded);
    Ok(if good { Exit::Fine } else { Exit::Failed })
}

fn describe(reports: &[FileReport]) -> Result<(), Error> {
    let style = Style::of_stdout();
    for report in reports {
        let path = report.path.display();
        let place = |line, column| {
            let place = match (line, column) {
                (Some(line), Some(column)) => format!("{path}:{line}:{column}"),
                _ => path.to_string(),
            };
            if report.state == FileState::Loaded {
                place
            } else {
                style.bad(&place)
            }
        };
        if let Some(message) = &report.message {
            table::print(&format!("{}: {message}", place(report.line, report.column)))?;
        }
        for problem in &report.further {
            let (line, column) = (problem.place.map(|at| at.line), problem.place.map(|at| at.column));
            table::print(&format!("{}: {}", place(line, column), problem.message))?;
        }
    }
    let good = reports
        .iter()
        .filter(|report| report.state == FileState::Loaded)
        .count();
    table::print(&format!("{good} of {} files are fine", reports.len()))
}
