//! moto's imitation of EC2 and STS on loopback, run by `tests/moto/start.py` in a virtual environment of its own: a second
//! opinion on the form of requests and answers. It checks no signatures.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{build, python};

/// The server. It ends when this is dropped, and when this process ends in any other way.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    url: String,
    agent: ureq::Agent,
}

/// A pair as the server describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pair {
    /// Its name.
    pub name: String,
    /// `ed25519` or `rsa`.
    pub kind: String,
    /// Its public key.
    pub public_key: String,
    /// Its tags as `key=value`.
    pub tags: Vec<String>,
}

impl Moto {
    /// Starts a server without pairs.
    ///
    /// # Panics
    /// When it cannot be installed or does not come up.
    pub fn start() -> Self {
        let folder = build::workspace().join("tests/moto");
        let environment = python::environment("moto", &folder.join("requirements.txt"));
        let mut child = Command::new(environment.join("bin/python"))
            .arg(folder.join("start.py"))
            // It serves as long as this pipe is open.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Python can be started");
        let mut url = String::new();
        let output = child.stdout.take().expect("stdout is a pipe");
        BufReader::new(output)
            .read_line(&mut url)
            .expect("what it says can be read");
        assert!(url.starts_with("http://"), "no moto: {url:?}");
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .proxy(None);
        Self {
            child,
            url: url.trim().to_owned(),
            agent: config.build().new_agent(),
        }
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The pairs of the region `us-east-1`, sorted by name.
    ///
    /// # Panics
    /// When it does not tell.
    pub fn pairs(&self) -> Vec<Pair> {
        let answer = self.ask("DescribeKeyPairs", &[("IncludePublicKey", "true")]);
        let document = roxmltree::Document::parse(&answer).expect("it answers in XML");
        let lists = document
            .descendants()
            .filter(|node| node.tag_name().name() == "keySet");
        let items = lists.flat_map(|list| list.children().filter(roxmltree::Node::is_element));
        let mut pairs: Vec<Pair> = items
            .map(|item| {
                let text = |name: &str| {
                    let child = item.children().find(|child| child.tag_name().name() == name);
                    child
                        .and_then(|child| child.text())
                        .unwrap_or_default()
                        .to_owned()
                };
                let tags = item.descendants().filter(|node| node.tag_name().name() == "key");
                Pair {
                    name: text("keyName"),
                    kind: text("keyType"),
                    public_key: text("publicKey"),
                    tags: tags
                        .map(|key| {
                            let value = key.next_sibling_element().and_then(|value| value.text());
                            format!("{}={}", key.text().unwrap_or_default(), value.unwrap_or_default())
                        })
                        .collect(),
                }
            })
            .collect();
        pairs.sort_by(|left, right| left.name.cmp(&right.name));
        pairs
    }

    /// Imports a pair behind keyferry's back.
    ///
    /// # Panics
    /// When it is refused.
    pub fn import(&self, name: &str, public_key: &str) {
        let material = STANDARD.encode(public_key);
        let answer = self.ask(
            "ImportKeyPair",
            &[("KeyName", name), ("PublicKeyMaterial", &material)],
        );
        assert!(answer.contains("keyFingerprint"), "{answer}");
    }

    fn ask(&self, action: &str, fields: &[(&str, &str)]) -> String {
        let form = [("Action", action), ("Version", "2016-11-15")];
        let form = form.iter().chain(fields).copied();
        // The service that is meant stands in the signature's scope; the signature itself counts for nothing.
        let scope = "AKIATEST/20260101/us-east-1/ec2/aws4_request";
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let request = self.agent.post(&self.url).header("authorization", authorization);
        let answer = request.send_form(form);
        let mut answer = answer.expect("moto answers");
        answer.body_mut().read_to_string().expect("the answer is text")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already: that is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
