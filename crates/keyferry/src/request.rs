//! `keyferry plugin request`: the exact signed request, not sent.

use std::time::SystemTime;

use keyferry_courier::{Courier, Hooks, JobRequest, JobResult, Permit, Preview, PreviewedRequest};
use keyferry_engine::config;
use keyferry_engine::desired::{Account, NetworkSettings};
use keyferry_plugin::contract::{
    Algorithm, Attachment, Create, Delete, Import, List, Operation, PairReference,
};
use serde_json::json;

use crate::cli::RequestArguments;
use crate::error::Error;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::{clouds, logging, paths, plugin, table};

/// Runs the plugin and a courier as the daemon would, and prints what would be sent.
pub(crate) fn run(arguments: &RequestArguments) -> Result<Exit, Error> {
    let _log = logging::start();
    let catalogue = plugin::open(&arguments.plugins, arguments.config.as_deref())?;
    let facts = plugin::facts(&catalogue, &arguments.plugin)?;
    let path = paths::absolute(&arguments.account)?;
    if !path.exists() {
        return Err(Error::AccountMissing(path));
    }
    let account = config::read_account(&path, &catalogue).map_err(|problems| {
        let words: Vec<String> = problems
            .iter()
            .map(|problem| format!("{}: {problem}", path.display()))
            .collect();
        Error::Refused(words.join("\n  "))
    })?;
    if account.plugin != arguments.plugin {
        let (asked, named) = (&arguments.plugin, &account.plugin);
        return Err(Error::Usage(format!(
            "{} is an account of plugin {named}, not of {asked}",
            path.display()
        )));
    }
    let create = facts.manifest.algorithms.create.first().copied();
    let operation = Parameters::parse(&arguments.parameters)?.operation(&arguments.operation, create)?;
    let preview = Preview {
        now: arguments
            .now
            .clone()
            .unwrap_or_else(|| humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
        nonce: match &arguments.nonce {
            Some(nonce) => nonce.clone(),
            None => random_hex(),
        },
    };
    humantime::parse_rfc3339(&preview.now)
        .map_err(|error| Error::Usage(format!("--now {:?} is not RFC 3339 in UTC: {error}", preview.now)))?;
    let mut progress = Progress::new();
    // The account's credentials may come from a command, which takes its time.
    progress.show(&format!("{} makes the request ...", arguments.plugin));
    let request = preview_of(account, &facts, operation, preview)?;
    drop(progress);
    table::print(&if arguments.json {
        to_json(&request)
    } else {
        describe(&request)
    })?;
    Ok(Exit::Fine)
}

fn preview_of(
    account: Account,
    facts: &keyferry_sandbox::LibraryFacts,
    operation: Operation,
    preview: Preview,
) -> Result<PreviewedRequest, Error> {
    let permit = match &operation {
        Operation::Delete(delete) => delete.pairs.first().map(|pair| Permit {
            name: pair.name.clone(),
            id: pair.id.clone(),
            fingerprint: None,
        }),
        _ => None,
    };
    let setup = clouds::courier_setup(&account, &NetworkSettings::default(), facts);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Start)?;
    runtime.block_on(async {
        let failed = |error: keyferry_courier::JobError| Error::Refused(error.to_string());
        let courier =
            Courier::spawn(&clouds::role("courier"), setup, Hooks::default()).map_err(Error::Start)?;
        let job = JobRequest {
            permit,
            preview: Some(preview),
            ..JobRequest::new(operation, random_hex())
        };
        match courier.run(job).await.map_err(failed)? {
            JobResult::Preview(request) => Ok(request),
            _ => Err(Error::Answer("the courier sent what it was to show".to_owned())),
        }
    })
}

/// `--param NAME=VALUE`, by name.
#[derive(Default)]
struct Parameters {
    algorithm: Option<String>,
    id: Option<String>,
    instances: Vec<String>,
    names: Vec<String>,
    page_size: Option<u32>,
    public_key: Option<String>,
}

impl Parameters {
    fn parse(words: &[String]) -> Result<Self, Error> {
        let mut parameters = Self::default();
        for word in words {
            let usage = |message: &str| Error::Usage(format!("--param {word}: {message}"));
            let (name, value) = word.split_once('=').ok_or_else(|| usage("write NAME=VALUE"))?;
            let once = |place: &mut Option<String>| match place.replace(value.to_owned()) {
                Some(_) => Err(usage("is given twice")),
                None => Ok(()),
            };
            match name {
                "algorithm" => once(&mut parameters.algorithm)?,
                "id" => once(&mut parameters.id)?,
                "instance" => parameters.instances.push(value.to_owned()),
                "name" => parameters.names.push(value.to_owned()),
                "page_size" => {
                    let size = value.parse().map_err(|_| usage("is not a whole number"))?;
                    parameters.page_size = Some(size);
                }
                "public_key" => once(&mut parameters.public_key)?,
                _ => {
                    return Err(usage(
                        "there are name, public_key, id, instance, page_size and algorithm",
                    ));
                }
            }
        }
        Ok(parameters)
    }

    fn operation(self, operation: &str, create: Option<Algorithm>) -> Result<Operation, Error> {
        if !SHOWN.contains(&operation) {
            return Err(Error::Usage(format!(
                "{operation:?} cannot be shown: there are {}",
                SHOWN.join(", ")
            )));
        }
        let missing = |name: &str| Error::Usage(format!("{operation} needs --param {name}=..."));
        let given = [
            ("algorithm", self.algorithm.is_some(), "create"),
            ("id", self.id.is_some(), "get delete attach detach list_instances"),
            ("instance", !self.instances.is_empty(), "attach detach"),
            ("page_size", self.page_size.is_some(), "list"),
            ("public_key", self.public_key.is_some(), "import"),
            (
                "name",
                !self.names.is_empty(),
                "create import get delete attach detach list_instances",
            ),
        ];
        if let Some((name, ..)) = given
            .iter()
            .find(|(_, given, of)| *given && !of.split(' ').any(|word| word == operation))
        {
            return Err(Error::Usage(format!("{operation} takes no parameter {name}")));
        }
        let one_name = || match self.names.as_slice() {
            [] => Err(missing("name")),
            [name] => Ok(name.clone()),
            _ => Err(Error::Usage(format!("{operation} takes one name"))),
        };
        let one_pair = || {
            Ok::<_, Error>(PairReference {
                name: one_name()?,
                id: self.id.clone(),
            })
        };
        Ok(match operation {
            "create" => Operation::Create(Create {
                name: one_name()?,
                algorithm: match &self.algorithm {
                    Some(name) => Algorithm::from_name(name)
                        .ok_or_else(|| Error::Usage(format!("there is no algorithm {name}")))?,
                    None => create.ok_or_else(|| Error::Usage("this plugin creates no pairs".to_owned()))?,
                },
            }),
            "import" => Operation::Import(Import {
                name: one_name()?,
                public_key: match &self.public_key {
                    Some(line) if looks_like_public_key(line) => line.clone(),
                    Some(_) => {
                        return Err(Error::Usage(
                            "--param public_key is no public key: give one whole line as in authorized_keys, \
                             such as \"ssh-rsa AAAA...\" (for a file: \"public_key=$(cat FILE.pub)\")"
                                .to_owned(),
                        ));
                    }
                    None => return Err(missing("public_key")),
                },
            }),
            "list" => Operation::List(List {
                page_size: self.page_size,
            }),
            "get" => Operation::Get(one_pair()?),
            "list_instances" => Operation::ListInstances(one_pair()?),
            "attach" | "detach" if self.instances.is_empty() => return Err(missing("instance")),
            "attach" | "detach" => {
                let attachment = Attachment {
                    pair: one_pair()?,
                    instances: self.instances,
                };
                match operation {
                    "attach" => Operation::Attach(attachment),
                    _ => Operation::Detach(attachment),
                }
            }
            _ if self.names.is_empty() => return Err(missing("name")),
            _ => {
                let id = self.id.clone();
                let pairs = self
                    .names
                    .into_iter()
                    .map(|name| PairReference { name, id: id.clone() });
                Operation::Delete(Delete {
                    pairs: pairs.collect(),
                })
            }
        })
    }
}

/// The operations whose requests can be shown.
const SHOWN: [&str; 8] = [
    "create",
    "import",
    "list",
    "get",
    "delete",
    "attach",
    "detach",
    "list_instances",
];

/// Whether a text has the form of a line in authorized_keys without options. What the vendor makes of it is not judged here.
fn looks_like_public_key(line: &str) -> bool {
    // Every SSH blob begins with the length of its type's name, which is far below 65,536: `AAAA` in base64.
    let mut words = line.split_ascii_whitespace();
    words.next().is_some_and(|kind| kind.contains('-'))
        && words.next().is_some_and(|blob| blob.starts_with("AAAA"))
}

/// 32 hex digits, as nonces and idempotency tokens have them.
fn random_hex() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};

    // Not a secret: it only has to differ from call to call, which the standard library's seeds do.
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

fn to_json(request: &PreviewedRequest) -> String {
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| json!([name, value]))
        .collect();
    format!(
        "{:#}",
        json!({"method": request.method, "url": request.url, "headers": headers, "body": request.body})
    )
}

fn describe(request: &PreviewedRequest) -> String {
    let mut text = format!("{} {}\n", request.method, request.url);
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    if !request.body.is_empty() {
        text.push_str(&format!("\n{}", request.body));
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(operation: &str, words: &[&str], expected: Result<Operation, &str>) {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let result = Parameters::parse(&words).and_then(|p| p.operation(operation, Some(Algorithm::Rsa2048)));
        match (result, expected) {
            (Ok(operation), Ok(expected)) => assert_eq!(operation, expected),
            (Err(error), Err(words)) => {
                assert!(error.to_string().contains(words), "{error} should say {words}");
                assert_eq!(error.exit(), Exit::Usage);
            }
            (result, expected) => panic!("{result:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn parameters_are_the_contracts() {
        let pair = |name: &str, id: Option<&str>| PairReference {
            name: name.into(),
            id: id.map(Into::into),
        };
        check(
            "create",
            &["name=a"],
            Ok(Operation::Create(Create {
                name: "a".into(),
                algorithm: Algorithm::Rsa2048,
            })),
        );
        check(
            "list",
            &["page_size=7"],
            Ok(Operation::List(List { page_size: Some(7) })),
        );
        check(
            "get",
            &["name=a", "id=x"],
            Ok(Operation::Get(pair("a", Some("x")))),
        );
        check(
            "detach",
            &["name=a", "instance=i", "instance=j"],
            Ok(Operation::Detach(Attachment {
                pair: pair("a", None),
                instances: vec!["i".into(), "j".into()],
            })),
        );
        check(
            "list_instances",
            &["name=a"],
            Ok(Operation::ListInstances(pair("a", None))),
        );
        check(
            "delete",
            &["name=a", "name=b=c"],
            Ok(Operation::Delete(Delete {
                pairs: vec![pair("a", None), pair("b=c", None)],
            })),
        );
    }

    #[test]
    fn what_makes_no_sense_is_usage() {
        check("create", &[], Err("needs --param name"));
        check("create", &["name=a", "name=b"], Err("takes one name"));
        check(
            "create",
            &["name=a", "algorithm=rsa-9"],
            Err("no algorithm rsa-9"),
        );
        check("import", &["name=a"], Err("needs --param public_key"));
        check("list", &["page_size=many"], Err("not a whole number"));
        check("list", &["name=a"], Err("takes no parameter name"));
        check("get", &["name"], Err("NAME=VALUE"));
        check("get", &["colour=red"], Err("there are name"));
        check("attach", &["name=a"], Err("needs --param instance"));
        check(
            "list_instances",
            &["instance=i"],
            Err("takes no parameter instance"),
        );
        check("run_command", &["name=a"], Err("cannot be shown"));
    }
}
