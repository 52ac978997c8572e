//! What `keyferry recover --attach` says.

use keyferry_engine::snapshot::{Attachable, Attached};
use keyferry_plugin::manifest::{InstanceNeeds, InstanceRules};

use super::super::words::problem;
use crate::table::{self, Style, Table};

/// What would be attached to what, and what that means there.
pub(super) fn preview(agreed: &[Attachable], style: Style) -> String {
    let mut table = Table::new(&["HOST", "INSTANCE", "KEY", "PAIR", "ACCOUNT"]);
    for one in agreed {
        table.row(vec![
            one.host.clone(),
            one.instance.clone(),
            one.key.clone(),
            one.pair.clone(),
            match &one.region {
                Some(region) => format!("{} in {region}", one.account),
                None => one.account.clone(),
            },
        ]);
    }
    let mut text = format!("the provider attaches these pairs:\n\n{}", table.render(style));
    let mut kinds: Vec<InstanceRules> = Vec::new();
    for one in agreed {
        if !kinds.contains(&one.means) {
            kinds.push(one.means);
        }
    }
    for means in kinds {
        let concerned = agreed.iter().filter(|one| one.means == means);
        let named: Vec<String> = concerned
            .map(|one| format!("{} ({})", one.host, one.instance))
            .collect();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        text.push_str(&format!(
            "\nwhat that means for {}:\n",
            table::some(&named, MOST_NAMED)
        ));
        for line in meaning_for_instance(means) {
            text.push_str(&format!("  - {line}\n"));
        }
    }
    for one in agreed.iter().filter(|one| one.logs_in) {
        text.push_str(&format!(
            "\nkey {} logs in to {} already: nothing is to be recovered there\n",
            one.key, one.host
        ));
    }
    text.trim_end().to_owned()
}

/// What came of it, and what a person does next.
pub(super) fn attached(attached: &[Attached], agreed: &[Attachable], style: Style) -> String {
    let mut text = String::new();
    for one in attached {
        let what = format!("{} ({})", one.host, one.instance);
        let Some(error) = &one.error else {
            text.push_str(&format!("attached: pair {} to {what}\n", one.pair));
            continue;
        };
        let mut error = error.clone();
        if let Some(code) = error.code.as_ref().filter(|code| !error.message.contains(*code)) {
            error.message = format!("{} ({code})", error.message);
        }
        let what = match one.is_known {
            true => format!("not attached: {what}"),
            false => format!("not known whether it is attached: {what}"),
        };
        text.push_str(&problem(&what, Some(&error), style));
    }
    let done = |one: &&Attachable| {
        let mut results = attached.iter();
        results.any(|result| result.error.is_none() && result.instance == one.instance)
    };
    for one in agreed.iter().filter(done) {
        let verb = match one.means.needs {
            Some(InstanceNeeds::Stopped) => "start",
            Some(InstanceNeeds::Restart) | None => "restart",
        };
        text.push_str(&format!(
            "\n{verb} {} in the provider's console, which keyferry never does; then `keyferry host retry {}` sees the key log \
             in, or keyferry does by itself after a while\n",
            one.instance, one.host
        ));
    }
    text.trim().to_owned()
}

/// In the vendor's place: what it does not say is expected to be as bad as it can be.
pub(crate) fn meaning_for_instance(means: InstanceRules) -> [&'static str; 3] {
    [
        match means.needs {
            Some(InstanceNeeds::Restart) => {
                "it has to be restarted (or started) by you before the key logs in: keyferry restarts nothing, and until then \
                 nothing is recovered"
            }
            Some(InstanceNeeds::Stopped) => {
                "it has to be stopped by you now, else the provider refuses, and started afterwards: keyferry does neither"
            }
            None => {
                "the vendor does not say whether it has to be restarted before the key logs in: expect that it has, by you, \
                 since keyferry restarts nothing"
            }
        },
        match means.replaces {
            true => "the pair that is bound to it now is replaced",
            false => {
                "the vendor does not say what becomes of a pair that is bound to it now: expect that it is replaced"
            }
        },
        match means.disables_passwords {
            true => "the vendor switches logins by password off there",
            false => {
                "the vendor does not say whether logins by password go on there: expect that they do not"
            }
        },
    ]
}

const MOST_NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use keyferry_engine::snapshot::StatusError;

    use super::*;

    fn one(host: &str, means: InstanceRules) -> Attachable {
        Attachable {
            host: host.to_owned(),
            instance: format!("i-{host}"),
            key: "web".to_owned(),
            generation: 3,
            pair: "keyferry-web-3".to_owned(),
            account: "ecs".to_owned(),
            region: Some("cn-hangzhou".to_owned()),
            means,
            logs_in: host == "web-2",
        }
    }

    fn result(of: &Attachable, error: Option<StatusError>) -> Attached {
        Attached {
            host: of.host.clone(),
            instance: of.instance.clone(),
            key: of.key.clone(),
            generation: of.generation,
            pair: of.pair.clone(),
            is_known: true,
            error,
        }
    }

    #[test]
    fn what_it_means_is_said_once_for_alike_instances() {
        let known = InstanceRules {
            needs: Some(InstanceNeeds::Restart),
            replaces: true,
            disables_passwords: true,
        };
        let unknown = InstanceRules::default();
        let stopped = InstanceRules {
            needs: Some(InstanceNeeds::Stopped),
            ..unknown
        };
        let all = [
            one("web-1", known),
            one("web-2", known),
            one("web-3", stopped),
            one("web-4", unknown),
        ];
        let text = preview(&all, Style::Plain);
        for expected in [
            "web-1  i-web-1   web  keyferry-web-3  ecs in cn-hangzhou",
            "what that means for web-1 (i-web-1), web-2 (i-web-2):\n  - it has to be restarted",
            "  - the pair that is bound to it now is replaced\n",
            "switches logins by password off",
            "what that means for web-3 (i-web-3):\n  - it has to be stopped",
            "what that means for web-4 (i-web-4):\n  - the vendor does not say whether it has to be restarted",
            "expect that it is replaced",
            "expect that they do not",
            "key web logs in to web-2 already",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
        assert_eq!(text.matches("it has to be restarted (").count(), 1, "{text}");
    }

    #[test]
    fn what_failed_is_told_with_the_vendors_code_and_what_worked_with_the_next_step() {
        let agreed = [
            one("web-1", InstanceRules::default()),
            one("web-2", InstanceRules::default()),
        ];
        let error = StatusError {
            kind: "invalid".to_owned(),
            code: Some("IncorrectInstanceStatus".to_owned()),
            message: "the instance is not stopped".to_owned(),
            request_id: None,
            remedy: Some("stop it".to_owned()),
            retry_at: None,
        };
        let results = [result(&agreed[0], None), result(&agreed[1], Some(error))];
        assert_eq!(
            attached(&results, &agreed, Style::Plain),
            "attached: pair keyferry-web-3 to web-1 (i-web-1)\n\n\
             not attached: web-2 (i-web-2): the instance is not stopped (IncorrectInstanceStatus)\n  \
             what to do: stop it\n\n\
             restart i-web-1 in the provider's console, which keyferry never does; then `keyferry host retry web-1` sees the \
             key log in, or keyferry does by itself after a while"
        );
    }
}
