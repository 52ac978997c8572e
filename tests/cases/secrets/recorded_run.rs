//! A whole run under strace(1), with every key and credential known, and a search for them where they must not be.
//!
//! Private halves of created keys are what the loopback cloud made. Those of imported keys are taken from the daemon's
//! memory (see `memory.rs`). The same search finds keys that were planted in every way that it looks at.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cloud_sim::{CloudSim, Credential, Fault, FaultKind, Service};
use keyferry_tests::build::built;
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;
use keyferry_tests::openssh::{self, Sshd};
use keyferry_tests::{cloud, processes, wait};
use rsa::BigUint;
use rsa::pkcs8::LineEnding;
use ssh_key::public::{EcdsaPublicKey, KeyData};
use ssh_key::{PrivateKey, PublicKey};

use crate::memory;
use crate::needles::{ARMOUR, Needles};
use crate::numbers;
use crate::trace::{Trace, recorder};

#[test]
fn no_secret_is_written_passed_on_or_told() {
    let home = Home::new();
    let cloud = cloud();
    prepare(&home, &cloud);
    let mut needles = Needles::default();
    needles.add_armour();
    for (secret, token) in CREDENTIALS {
        needles.add(&format!("the credential {secret}"), secret.as_bytes());
        if let Some(token) = token {
            needles.add(&format!("the credential {token}"), token.as_bytes());
        }
    }
    let by_hand = key_by_hand(&home, &mut needles);
    plant(&home, &mut needles);

    // The first life of the daemon: keys are made, used, taken away and given back, and one comes broken.
    // Not in the home: the daemon would see each line of its own recording change a folder that it watches.
    let recordings = tempfile::tempdir().unwrap();
    let recording = recordings.path().join("first");
    let mut first = start(&home, &recording, true);
    let listed = use_keys(&home, &first, &by_hand);
    find_imported(worker(&first), &listed, "of the first life", &mut needles);
    let broken = Fault::new(FaultKind::Malformed).action("CreateKeyPair").count(1);
    cloud.fault(broken);
    home.key("broken", "account = \"file\"\ngenerated_by = \"provider\"\n");
    wait::until("the broken answer is told", Duration::from_secs(30), || {
        let status = first.status();
        let keys = status["keys"].as_array()?.clone();
        keys.iter()
            .any(|key| key["name"] == "broken" && (key["error"].is_object() || key["generation"] == 2))
            .then_some(())
    });
    no_credential_in(worker(&first), &needles);
    let mut found = on_disk(&home, &needles);
    let log = stop(&mut first);
    fs::remove_file(home.path("config/keys/broken.toml")).unwrap();

    // The second: everything is lost, so that new keys are made and the old pairs deleted.
    let again = recordings.path().join("second");
    let mut second = start(&home, &again, false);
    second.wait_loaded(60);
    let relisted = openssh::listed(&home.agent_socket());
    log_in(&home.agent_socket(), &relisted);
    find_imported(worker(&second), &relisted, "of the second life", &mut needles);
    found.extend(on_disk(&home, &needles));
    let second_log = stop(&mut second);

    // A list is what no daemon of this version asks for by itself.
    let asked = recordings.path().join("asked");
    let (output, complaints) = ask_for_list(&home, &asked);

    // Every key that the cloud ever made, and that all of them were different.
    let created: Vec<_> = cloud.private_keys().iter().map(|pem| numbers::rsa(pem)).collect();
    assert!(created.len() >= 7, "{} keys were created", created.len());
    for (index, key) in created.iter().enumerate() {
        numbers::add_rsa(&mut needles, &format!("created key {index}"), key);
    }

    found.extend(on_disk(&home, &needles));
    for (name, log) in [("first", &log), ("second", &second_log)] {
        assert!(
            log.contains("TRACE") || log.contains("DEBUG"),
            "the log is not detailed: {log}"
        );
        report(
            &mut found,
            &format!("the {name} log"),
            needles.find(log.as_bytes()),
        );
    }
    report(&mut found, "the output of a command", needles.find(&output));
    report(
        &mut found,
        "the complaints of a command",
        needles.find(&complaints),
    );
    let traces: Vec<Trace> = [recording, again, asked]
        .iter()
        .map(|file| Trace::read(file))
        .collect();
    for trace in &traces {
        search(trace, &needles, &mut found);
    }
    everything_was_recorded(&home, &traces);
    told_apart(&found);
}

/// Starts a daemon that logs everything and is recorded. What it was asked to plant is planted just before.
fn start(home: &Home, recording: &Path, planting: bool) -> Daemon {
    let mut wrapper = recorder(recording);
    if planting {
        let script = home.path("planted/plant.sh").display().to_string();
        wrapper.extend(["/bin/sh".to_owned(), script]);
    }
    let options = Options {
        wrapper,
        log: Some("trace".to_owned()),
        ..Options::default()
    };
    Daemon::start_with(home, &options)
}

/// The worker's process: the daemon is started by strace.
fn worker(daemon: &Daemon) -> u32 {
    let daemons: Vec<u32> = daemon
        .children()
        .iter()
        .filter(|process| process.arguments.iter().any(|argument| argument == "daemon"))
        .map(|process| process.pid)
        .collect();
    let [worker] = daemons[..] else {
        panic!("not one worker: {:?}", daemon.children())
    };
    worker
}

/// Ends the daemon, so that strace ends and the recording is whole. Its log.
fn stop(daemon: &mut Daemon) -> String {
    processes::terminate(worker(daemon));
    wait::until("the recording ends", Duration::from_secs(30), || {
        daemon.has_ended().then_some(())
    });
    daemon.log()
}

/// Accounts with each kind of credentials, and keys of each way to be made.
fn prepare(home: &Home, cloud: &CloudSim) {
    for (secret, token) in CREDENTIALS {
        cloud.add_credential(Credential {
            access_key: access_key(secret),
            secret_key: secret.to_owned(),
            session_token: token.map(str::to_owned),
            expires_at: None,
        });
    }
    let [(file, _), (command, command_token), (chain, chain_token)] = CREDENTIALS;
    let (ecs, ens) = (cloud.url(Service::AlibabaEcs), cloud.url(Service::AlibabaEns));
    private(
        home,
        "file.json",
        &serde_json::json!({
            "access_key_id": access_key(file), "access_key_secret": file,
        }),
    );
    private(
        home,
        "command.json",
        &serde_json::json!({
            "access_key_id": access_key(command), "access_key_secret": command, "security_token": command_token,
        }),
    );
    fs::create_dir(home.path(".aliyun")).unwrap();
    private(
        home,
        ".aliyun/config.json",
        &serde_json::json!({
            "current": "prod",
            "profiles": [{
                "name": "prod", "mode": "StsToken", "access_key_id": access_key(chain), "access_key_secret": chain,
                "sts_token": chain_token, "region_id": "cn-hangzhou", "language": "en",
            }],
        }),
    );
    let account = |name: &str, plugin: &str, endpoint: &str, credentials: &str| {
        let text = format!(
            "plugin = \"{plugin}\"\nregion = \"cn-hangzhou\"\nendpoint = \"{endpoint}\"\n[credentials]\n{credentials}\n"
        );
        home.write(&format!("accounts/{name}.toml"), &text);
    };
    account(
        "file",
        "alibaba-ecs",
        ecs,
        &format!("file = {:?}", home.path("file.json")),
    );
    account(
        "command",
        "alibaba-ens",
        ens,
        &format!("command = [\"/bin/cat\", {:?}]", home.path("command.json")),
    );
    account("chain", "alibaba-ecs", ecs, "profile = \"prod\"");
    let created = |account: &str| format!("account = \"{account}\"\ngenerated_by = \"provider\"\n");
    for account in ["file", "command", "chain"] {
        home.key(&format!("created-{account}"), &created(account));
    }
    home.key("imported-rsa", "account = \"file\"\nalgorithm = \"rsa-2048\"\n");
    home.key(
        "imported-p256",
        "account = \"file\"\nalgorithm = \"ecdsa-p256\"\n",
    );
}

/// A key that is added by hand: its path.
fn key_by_hand(home: &Home, needles: &mut Needles) -> String {
    let path = home.path("by-hand").display().to_string();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "by hand", "-f", &path])
        .status()
        .unwrap();
    assert!(made.success());
    let key = PrivateKey::read_openssh_file(Path::new(&path)).unwrap();
    let pair = key.key_data().ed25519().unwrap();
    needles.add("the seed of the key added by hand", pair.private.as_ref());
    path
}

/// Everything that a user does with keys. What the agent listed at last.
fn use_keys(home: &Home, daemon: &Daemon, by_hand: &str) -> Vec<String> {
    let socket = home.agent_socket();
    daemon.wait_loaded(60);
    let added = openssh::ssh_add(&socket, &["-t", "1h", by_hand]);
    assert!(
        added.status.success(),
        "{}",
        String::from_utf8_lossy(&added.stderr)
    );
    let listed = openssh::wait_for_keys(&socket, 6, Duration::from_secs(10));
    let sshd = Sshd::start(&(listed.join("\n") + "\n"));
    let login = sshd.login(&socket, "echo in");
    assert_eq!(
        login.stdout,
        b"in\n",
        "{}",
        String::from_utf8_lossy(&login.stderr)
    );
    for (index, line) in listed.iter().enumerate() {
        let public = home.path(&format!("signer-{index}.pub"));
        fs::write(&public, line).unwrap();
        let document = home.path(&format!("document-{index}"));
        fs::write(&document, "something to sign\n").unwrap();
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", "file", "-f"])
            .args([&public, &document])
            .env("SSH_AUTH_SOCK", &socket)
            .output()
            .unwrap();
        assert!(
            signed.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&signed.stderr)
        );
    }
    // One is held and comes back; then all are, and the one added by hand is gone.
    let public = home.path("state/public/imported-rsa.pub").display().to_string();
    let held = openssh::ssh_add(&socket, &["-d", &public]);
    assert!(held.status.success(), "{}", String::from_utf8_lossy(&held.stderr));
    openssh::wait_for_keys(&socket, 5, Duration::from_secs(10));
    let all = openssh::ssh_add(&socket, &["-D"]);
    assert!(all.status.success());
    let resumed = daemon.keyferry(&["resume"]);
    assert!(
        resumed.status.success(),
        "{}",
        String::from_utf8_lossy(&resumed.stderr)
    );
    openssh::wait_for_keys(&socket, 5, Duration::from_secs(10))
}

fn log_in(socket: &Path, listed: &[String]) {
    let sshd = Sshd::start(&(listed.join("\n") + "\n"));
    let login = sshd.login(socket, "echo in");
    assert_eq!(
        login.stdout,
        b"in\n",
        "{}",
        String::from_utf8_lossy(&login.stderr)
    );
}

/// Adds the private halves of the imported keys among `listed`.
fn find_imported(worker: u32, listed: &[String], life: &str, needles: &mut Needles) {
    let memory = memory::of(worker);
    let mut count = 0;
    for line in listed {
        let key = PublicKey::from_openssh(line).unwrap();
        match key.key_data() {
            KeyData::Rsa(rsa) => {
                let number = |bytes: Option<&[u8]>| BigUint::from_bytes_be(bytes.unwrap());
                let modulus = number(rsa.n.as_positive_bytes());
                let prime =
                    memory::prime_of(&memory, &modulus).expect("a prime of a loaded key is in memory");
                let private = numbers::rsa_of(&modulus, &number(rsa.e.as_positive_bytes()), prime);
                numbers::add_rsa(needles, &format!("an RSA key {life}"), &private);
            }
            KeyData::Ecdsa(EcdsaPublicKey::NistP256(point)) => {
                let scalar = memory::p256_scalar_of(&memory, point.as_ref())
                    .expect("the private number of a loaded key is in memory");
                needles.add(&format!("the P-256 key {life}"), &scalar);
            }
            other => panic!("an unexpected key: {other:?}"),
        }
        count += 1;
    }
    assert_eq!(count, 5, "{listed:?}");
}

/// The worker never has a credential that comes from a file, a command or the vendor's chain of files.
fn no_credential_in(worker: u32, needles: &Needles) {
    for piece in memory::of(worker) {
        let mut found = needles.find(&piece);
        found.retain(|name| name.starts_with("the credential"));
        assert!(found.is_empty(), "the worker has {found:?} in memory");
    }
}

/// Runs `keyferry plugin request` for a list, recorded: what it wrote to standard output and standard error.
fn ask_for_list(home: &Home, recording: &Path) -> (Vec<u8>, Vec<u8>) {
    let words = recorder(recording);
    let output = Command::new(&words[0])
        .args(&words[1..])
        .arg(built().keyferry())
        .args([
            "plugin",
            "request",
            "alibaba-ecs",
            "--operation",
            "list",
            "--account",
        ])
        .arg(home.path("config/accounts/file.toml"))
        .env("KEYFERRY_LOG", "trace")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (output.stdout, output.stderr)
}

/// Places that were searched in vain are not in it: each with what was found there.
type Found = Vec<(String, String)>;

fn report(found: &mut Found, place: &str, names: BTreeSet<&str>) {
    found.extend(names.into_iter().map(|name| (place.to_owned(), name.to_owned())));
}

/// Looks through everything that a recording shows.
fn search(trace: &Trace, needles: &Needles, found: &mut Found) {
    for (path, data) in trace.files() {
        report(
            found,
            &format!("written to {}", path.display()),
            needles.find(&data),
        );
    }
    for execution in &trace.executions {
        let program = String::from_utf8_lossy(&execution.arguments[0]);
        for (place, texts) in [
            ("arguments", &execution.arguments),
            ("environment", &execution.environment),
        ] {
            let names = needles.find(&texts.join(&0));
            report(found, &format!("{place} of {program}"), names);
        }
    }
    let messages = trace.plugin_messages();
    for data in messages.questions.values().chain(messages.answers.values()) {
        report(found, "a plugin's message", needles.find(data));
    }
    // The worker reads private keys off the couriers' sockets, credentials never.
    for worker in trace
        .executions
        .iter()
        .filter(|execution| execution.arguments.iter().any(|word| word == b"daemon"))
    {
        let mut received: Vec<u8> = Vec::new();
        for read in trace.reads.iter().filter(|read| read.process == worker.process) {
            received.extend(&read.data);
        }
        let mut names = needles.find(&received);
        names.retain(|name| name.starts_with("the credential"));
        report(found, "what the worker read", names);
    }
}

/// Looks through every file that is there, whoever wrote it, but for those that the test made.
fn on_disk(home: &Home, needles: &Needles) -> Found {
    let mut found = Found::new();
    let mut folders = vec![home.path("config"), home.path("run"), home.path("state")];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                count += 1;
                let content = fs::read(&path).unwrap_or_default();
                report(
                    &mut found,
                    &format!("kept in {}", path.display()),
                    needles.find(&content),
                );
            }
        }
    }
    assert!(count > 5, "{count} files");
    found
}

/// A search that finds nothing shows something only where there was something to search.
fn everything_was_recorded(home: &Home, traces: &[Trace]) {
    let [first, second, asked] = traces else {
        panic!("three recordings")
    };
    for trace in [first, second] {
        let files = trace.files();
        let ledger = files
            .iter()
            .filter(|(path, _)| path.starts_with(home.path("state")))
            .map(|(_, data)| data.len())
            .sum::<usize>();
        assert!(ledger > 10_000, "{ledger} bytes of a ledger: {:?}", files.keys());
        assert!(
            files.keys().any(|path| path.to_string_lossy().contains("public")),
            "{:?}",
            files.keys()
        );
    }
    for trace in traces {
        assert_eq!(trace.unseen, Vec::<String>::new());
        for path in &trace.mappings {
            // The ledger's index of its log: page numbers only, and written by no call.
            let name = path.to_string_lossy();
            assert!(name.ends_with("-shm"), "{name} is mapped for writing");
        }
        assert!(!trace.processes("courier").is_empty() && !trace.processes("sandbox").is_empty());
        for courier in trace.of_role("courier") {
            for variable in &courier.environment {
                assert!(
                    variable.starts_with(b"SSL_CERT_"),
                    "{}",
                    String::from_utf8_lossy(variable)
                );
            }
        }
        for sandbox in trace.of_role("sandbox") {
            assert_eq!(sandbox.environment, Vec::<Vec<u8>>::new());
        }
    }
    let mut operations = BTreeSet::new();
    for trace in traces {
        let messages = trace.plugin_messages();
        assert!(!messages.answers.is_empty());
        for frame in messages.frames() {
            let value: serde_json::Value = serde_json::from_slice(frame).unwrap();
            if let Some(operation) = value["operation"].as_object() {
                operations.extend(operation.keys().cloned());
            }
        }
    }
    let expected = ["create", "credentials", "delete", "get", "import", "list"].map(str::to_owned);
    assert!(
        operations.is_superset(&BTreeSet::from(expected)),
        "{operations:?}"
    );
    assert!(!asked.executions.is_empty());
}

/// What was planted was found wherever it was planted; nothing else was found anywhere.
fn told_apart(found: &Found) {
    let (planted, others): (Found, Found) = found
        .iter()
        .cloned()
        .partition(|(_, name)| name.contains(PLANTED));
    let leaks: Vec<_> = others
        .iter()
        // The armour around what was planted is found with it.
        .filter(|(place, name)| name != ARMOUR || !planted.iter().any(|(other, _)| other == place))
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    for form in PLANTED_FORMS {
        let file = format!("/planted/first.{form}");
        assert!(
            planted
                .iter()
                .any(|(found_at, _)| found_at.starts_with("written to") && found_at.ends_with(&file)),
            "what was planted as {form} was not found: {planted:#?}"
        );
    }
    for place in PLANTED_AT {
        assert!(
            planted.iter().any(|(found_at, _)| found_at == place),
            "nothing found: {place}: {planted:#?}"
        );
    }
    let elsewhere: Vec<_> = planted
        .iter()
        .filter(|(place, _)| !(place.contains("/planted/first.") || PLANTED_AT.contains(&&**place)))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

/// Prepares a script that leaks a key in every way, then becomes the program that its arguments name.
fn plant(home: &Home, needles: &mut Needles) {
    use rsa::pkcs1::EncodeRsaPrivateKey;
    use rsa::traits::PrivateKeyParts;

    let sources = home.path("planted");
    fs::create_dir(&sources).unwrap();
    let plant = key_of_nobody();
    numbers::add_rsa(needles, PLANTED, &plant);
    let pem = plant.to_pkcs1_pem(LineEnding::LF).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let prime = plant.primes()[0].to_bytes_be();
    let backwards: Vec<u8> = prime.iter().rev().copied().collect();
    let hex: String = prime.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = format!("{:?}", plant.d().to_bytes_be());
    let contents: [&[u8]; 6] = [
        pem.as_bytes(),
        body.as_bytes(),
        hex.as_bytes(),
        &prime,
        &backwards,
        numbers.as_bytes(),
    ];
    let mut script = "set -e\n".to_owned();
    for (form, content) in PLANTED_FORMS.into_iter().zip(contents) {
        let source = sources.join(form);
        fs::write(&source, content).unwrap();
        // Reads and writes, as a program does that has the key in memory.
        script += &format!(
            "dd if={} of={}/first.{form} bs=1M status=none\n",
            source.display(),
            sources.display()
        );
    }
    script += &format!(
        "read -r body < {sources}/base64 || true\nread -r hex < {sources}/hex || true\n\
         /bin/true \"$body\"\nLEAKED=$hex /bin/true\necho \"$body\" >&2\nunset body hex\nexec \"$@\"\n",
        sources = sources.display()
    );
    fs::write(sources.join("plant.sh"), script).unwrap();
}

/// An RSA key that no daemon ever sees.
fn key_of_nobody() -> rsa::RsaPrivateKey {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    numbers::rsa(&fs::read_to_string(path).unwrap())
}

/// Writes a file for its owner only.
fn private(home: &Home, name: &str, content: &serde_json::Value) {
    let path = home.path(name);
    fs::write(&path, content.to_string()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn access_key(secret: &str) -> String {
    format!("LTAI5t{}", &secret[..8])
}

/// Of the accounts `file`, `command` and `chain`: access key secret and security token.
const CREDENTIALS: [(&str, Option<&str>); 3] = [
    ("FileSecret4q8w7e1r2t3y5u6i9o0p", None),
    (
        "CommSecret5z6x7c8v9b1n2m3a4s0d",
        Some("CAISecommandtoken7Hq2Lw9Rk4Tz8Vb1Nc6Xm3Jp5"),
    ),
    (
        "ChaiSecret1l2k3j4h5g6f7d8s9a0q",
        Some("CAISechaintoken0Wn5Yt3Uo8Ed2Gs7Fa4Kb9Ci6Zx1"),
    ),
];
const PLANTED: &str = "the planted key";
/// How it is written to files.
const PLANTED_FORMS: [&str; 6] = ["pem", "base64", "hex", "p", "backwards", "numbers"];
/// Where else it is found.
const PLANTED_AT: [&str; 3] = [
    "arguments of /bin/true",
    "environment of /bin/true",
    "the first log",
];
