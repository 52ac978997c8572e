//! Questions that ssh asks while a person waits: from its askpass program, by way of the daemon, to that person's terminal.
//!
//! The answers are secrets. They are held in wiped memory on the whole way, and nothing of them is logged or written down.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyferry_agent::Listener;
use keyferry_hosts::{Prompting, Prompts};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

pub(crate) mod answering;
pub(crate) mod askpass;
pub(crate) mod terminal;

/// What is asked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Yes or no.
    Confirm,
    /// Nothing: somebody has to know, and perhaps to touch something.
    Notice,
    /// A word that nobody else is to see.
    Secret,
}

/// A question on its way.
pub(crate) struct Question {
    /// Where the login goes.
    pub(crate) host: String,
    pub(crate) kind: Kind,
    /// As ssh put it, fit to be shown.
    pub(crate) text: String,
    /// Where the answer goes; dropped: there is none.
    pub(crate) answer: oneshot::Sender<Zeroizing<Vec<u8>>>,
}

/// Knows who waits for which hosts.
#[derive(Clone)]
pub(crate) struct Desk {
    shared: Arc<Shared>,
}

struct Shared {
    clients: Mutex<Vec<Client>>,
    next: AtomicU64,
    directory: PathBuf,
    runtime: Handle,
}

struct Client {
    id: u64,
    /// Names of hosts, without logins.
    hosts: BTreeSet<String>,
    questions: mpsc::Sender<Question>,
}

/// Somebody who waits, until it is dropped.
pub(crate) struct Waiting {
    desk: Desk,
    id: u64,
    questions: mpsc::Receiver<Question>,
}

impl Desk {
    /// Sockets are made in a folder of the daemon's own, and answered on that runtime.
    pub(crate) fn new(directory: PathBuf, runtime: Handle) -> Self {
        Self {
            shared: Arc::new(Shared {
                clients: Mutex::default(),
                next: AtomicU64::new(0),
                directory,
                runtime,
            }),
        }
    }

    /// From now on questions about these hosts are passed on.
    pub(crate) fn wait(&self, hosts: impl IntoIterator<Item = String>) -> Waiting {
        let (sender, questions) = mpsc::channel(1);
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let client = Client {
            id,
            hosts: hosts.into_iter().map(|host| name(&host).to_owned()).collect(),
            questions: sender,
        };
        self.clients().push(client);
        Waiting {
            desk: self.clone(),
            id,
            questions,
        }
    }

    fn clients(&self) -> MutexGuard<'_, Vec<Client>> {
        self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The next question.
    pub(crate) async fn next(&mut self) -> Option<Question> {
        self.questions.recv().await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.desk.clients().retain(|client| client.id != self.id);
    }
}

impl Prompts for Desk {
    fn open(&self, destination: &str) -> Option<Box<dyn Prompting>> {
        let questions = {
            let clients = self.clients();
            let mut waiting = clients
                .iter()
                .filter(|client| client.hosts.contains(name(destination)));
            waiting
                .find(|client| !client.questions.is_closed())?
                .questions
                .clone()
        };
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let folder = self.shared.directory.join(format!("{FOLDER}{number}"));
        match Booth::open(folder, &self.shared.runtime, destination.to_owned(), questions) {
            Ok(booth) => Some(Box::new(booth)),
            Err(error) => {
                tracing::warn!(error, "questions of ssh cannot be passed on");
                None
            }
        }
    }
}

/// Where the questions of one login are taken.
struct Booth {
    folder: PathBuf,
    program: PathBuf,
    socket: PathBuf,
    taking: AbortHandle,
}

impl Booth {
    fn open(
        folder: PathBuf,
        runtime: &Handle,
        host: String,
        questions: mpsc::Sender<Question>,
    ) -> Result<Self, String> {
        use std::os::unix::fs::DirBuilderExt;

        let failed = |error: std::io::Error| error.to_string();
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(failed)?;
        let (program, socket) = (folder.join(askpass::NAME), folder.join("ask"));
        let opened = || {
            // ssh gives it no argument but the question, so that its name has to say what it is.
            let own = own_program(env::current_exe().map_err(failed)?);
            std::os::unix::fs::symlink(own, &program).map_err(failed)?;
            let _inside = runtime.enter();
            Listener::bind(&socket).map_err(|error| error.to_string())
        };
        let listener = match opened() {
            Ok(listener) => listener,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                return Err(error);
            }
        };
        let taking = runtime.spawn(take(listener, host, questions)).abort_handle();
        Ok(Self {
            folder,
            program,
            socket,
            taking,
        })
    }
}

impl Prompting for Booth {
    fn program(&self) -> &Path {
        &self.program
    }

    fn variable(&self) -> (&str, &Path) {
        (askpass::VARIABLE, &self.socket)
    }
}

impl Drop for Booth {
    fn drop(&mut self) {
        self.taking.abort();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Where this program is. Once an upgrade has put another file in its place, Linux says so behind the name: then the new one
/// is taken. Where there is none ssh names it as what it cannot run.
fn own_program(path: PathBuf) -> PathBuf {
    if path.exists() {
        return path;
    }
    let text = path.to_str().and_then(|text| text.strip_suffix(" (deleted)"));
    text.map(PathBuf::from).unwrap_or(path)
}

/// One question after the other.
async fn take(listener: Listener, host: String, questions: mpsc::Sender<Question>) {
    while let Ok(client) = listener.accept_own().await {
        let Some(stream) = client else { continue };
        if let Err(error) = pass_on(stream, &host, &questions).await {
            tracing::debug!(%error, "a question of ssh came to nothing");
        }
    }
}

async fn pass_on(
    mut stream: UnixStream,
    host: &str,
    questions: &mpsc::Sender<Question>,
) -> std::io::Result<()> {
    let mut text = Vec::new();
    let mut asked = (&mut stream).take(MAX_QUESTION);
    timeout(ASK_TIME, asked.read_to_end(&mut text)).await??;
    let Some((kind, text)) = text.split_first() else {
        return Ok(());
    };
    let kind = match *kind {
        askpass::CONFIRM => Kind::Confirm,
        askpass::NOTICE => Kind::Notice,
        _ => Kind::Secret,
    };
    let (answer, answered) = oneshot::channel();
    let question = Question {
        host: host.to_owned(),
        kind,
        text: cleaned(&String::from_utf8_lossy(text)),
        answer,
    };
    if questions.send(question).await.is_err() {
        return Ok(());
    }
    // Nobody: the connection is closed without a word.
    if let Ok(Ok(answer)) = timeout(ANSWER_TIME, answered).await {
        stream.write_all(&[askpass::ANSWERED]).await?;
        stream.write_all(&answer).await?;
    }
    Ok(())
}

/// No control characters but line ends, none that change the order of others on a terminal, and not long.
fn cleaned(text: &str) -> String {
    let is_direction =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let plain = text
        .chars()
        .filter(|&c| (!c.is_control() || c == '\n') && !is_direction(c));
    plain.take(LONGEST_TEXT).collect()
}

/// A destination without the login: another may change the file.
fn name(destination: &str) -> &str {
    let rest = destination.strip_prefix("ssh://").unwrap_or(destination);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}

/// The longest answer, in bytes: ssh takes no longer one.
pub(crate) const LONGEST_ANSWER: usize = 1024;
/// How long somebody may think.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(120);
/// What a client says instead of an answer's length when there is none.
pub(crate) const NO_ANSWER: u32 = u32::MAX;
const LONGEST_TEXT: usize = 1024;
const MAX_QUESTION: u64 = 4 * 1024 + 1;
const ASK_TIME: Duration = Duration::from_secs(5);
/// What an earlier daemon left under such names is cleared away with the folders of logins.
const FOLDER: &str = "login-ask-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_fit_to_be_shown() {
        assert_eq!(
            cleaned("li's \u{1b}[31mpassword\u{202e}: \r\n"),
            "li's [31mpassword: \n"
        );
        assert_eq!(cleaned(&"x".repeat(5000)).len(), LONGEST_TEXT);
    }

    #[test]
    fn an_upgrade_takes_nobody_the_way_to_ask() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("keyferry");
        let deleted = folder.path().join("keyferry (deleted)");
        assert_eq!(own_program(deleted.clone()), program);
        std::fs::write(&program, "").unwrap();
        assert_eq!(own_program(program.clone()), program);
        assert_eq!(own_program(deleted.clone()), program);
        // Of that name indeed.
        std::fs::write(&deleted, "").unwrap();
        assert_eq!(own_program(deleted.clone()), deleted);
    }

    #[test]
    fn a_question_is_for_whoever_waits_for_that_host() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::new(folder.path().to_owned(), runtime.handle().clone());
        assert!(desk.open("deploy@web-1").is_none());
        let waiting = desk.wait(["deploy@web-1".to_owned()]);
        assert!(desk.open("deploy@web-2").is_none());
        let booth = desk.open("ssh://admin@web-1").unwrap();
        assert!(booth.program().symlink_metadata().is_ok());
        drop(booth);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(waiting);
        assert!(desk.open("deploy@web-1").is_none());
    }
}
