//! The script alone, in the shells that hosts have.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

use super::*;

const SHELLS: [&[&str]; 4] = [
    &["bash", "--posix"],
    &["busybox", "sh"],
    &["dash"],
    &["env", "-u", "BASH_ENV", "bash"],
];

struct Script {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Script {
    fn start(shell: &[&str], home: &Path, seconds: u32) -> Self {
        let path = std::env::var("PATH").expect("there is one");
        Self::with_path(shell, home, seconds, &path)
    }

    fn with_path(shell: &[&str], home: &Path, seconds: u32, path: &str) -> Self {
        let bootstrap = command(&Account::default());
        let bootstrap = bootstrap.strip_prefix("exec sh -c '").expect("it is sh's");
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", bootstrap.strip_suffix('\'').expect("it is quoted")])
            .env("HOME", home)
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the shell is installed");
        let mut stdin = child.stdin.take().expect("a pipe");
        write!(stdin, "{SCRIPT}MARK\nedit\n{seconds}\n{MAX_FILE}\n-\n-\n").expect("it is read");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Self {
            child,
            stdin: Some(stdin),
            stdout,
        }
    }

    fn send(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("it is open");
        stdin.write_all(text.as_bytes()).expect("it is read");
    }

    #[track_caller]
    fn expect(&mut self, line: &str) {
        let mut text = String::new();
        self.stdout.read_line(&mut text).expect("text");
        assert_eq!(text.trim_end(), line);
    }

    #[track_caller]
    fn end(mut self, rest: &str) {
        self.stdin = None;
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).expect("text");
        assert_eq!(text, rest);
        self.child.wait().expect("it ends");
    }
}

fn home(text: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    fs::create_dir(home.path().join(".ssh")).expect("a folder");
    fs::write(home.path().join(".ssh/authorized_keys"), text).expect("a file");
    home
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// A script that has taken a line out for now.
fn holding(shell: &[&str], seconds: u32) -> (tempfile::TempDir, Script) {
    let home = home("one\ntwo");
    let file = home.path().join(".ssh/authorized_keys");
    let mut script = Script::start(shell, home.path(), seconds);
    script.expect(&format!("MARK file {}", file.display()));
    script.expect("one");
    script.expect("twoMARK end 0");
    script.send("hold 4\none\n");
    script.expect("MARK written");
    assert_eq!(fs::read(&file).expect("it is there"), b"one\n");
    (home, script)
}

fn file(home: &tempfile::TempDir) -> Vec<u8> {
    fs::read(home.path().join(".ssh/authorized_keys")).expect("it is there")
}

fn assert_clean(home: &tempfile::TempDir) {
    let lock = home.path().join(".ssh/.keyferry-lock");
    until("the lock is gone", || !lock.exists());
}

#[test]
fn a_removal_is_kept_or_not() {
    for shell in SHELLS {
        for (verdict, answer, after) in [
            ("keep\n", "MARK kept\n", "one\n"),
            ("restore\n", "MARK restored\n", "one\ntwo"),
            ("nonsense\n", "MARK restored\n", "one\ntwo"),
            ("", "MARK restored\n", "one\ntwo"),
        ] {
            let (home, mut script) = holding(shell, 30);
            script.send(verdict);
            script.end(answer);
            assert_eq!(file(&home), after.as_bytes(), "{shell:?}: {verdict:?}");
            assert_clean(&home);
        }
    }
}

#[test]
fn without_a_word_the_old_file_comes_back() {
    for shell in SHELLS {
        // The connection hangs: no end of input.
        let (home, mut script) = holding(shell, 1);
        until("the file is back", || file(&home) == b"one\ntwo");
        assert_clean(&home);
        script.send("keep\n");
        script.end("MARK restored\n");
        assert_eq!(file(&home), b"one\ntwo", "{shell:?}");

        // The shell itself is killed.
        let (home, mut script) = holding(shell, 1);
        script.child.kill().expect("it runs");
        script.child.wait().expect("it ends");
        until("the file is back", || file(&home) == b"one\ntwo");
        assert_clean(&home);
    }
}

#[test]
fn what_somebody_else_wrote_meanwhile_stays() {
    for shell in SHELLS {
        let (home, mut script) = holding(shell, 30);
        fs::write(home.path().join(".ssh/authorized_keys"), "three\n").expect("a file");
        script.send("restore\n");
        script.end("MARK changed\n");
        assert_eq!(file(&home), b"three\n", "{shell:?}");
        assert_clean(&home);
    }
}

#[test]
fn a_file_that_changed_since_it_was_read_is_left() {
    for shell in SHELLS {
        for other in [Some("three\n"), None] {
            let home = home("one\n");
            let path = home.path().join(".ssh/authorized_keys");
            let mut script = Script::start(shell, home.path(), 30);
            script.expect(&format!("MARK file {}", path.display()));
            script.expect("one");
            script.expect("MARK end 0");
            match other {
                Some(text) => fs::write(&path, text).expect("a file"),
                None => fs::remove_file(&path).expect("it is there"),
            }
            script.send("write 4\ntwo\n");
            script.end(&format!("MARK refused changed {}\n", path.display()));
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), other, "{shell:?}");
            assert_clean(&home);
        }
    }
}

#[test]
fn half_a_file_is_not_written() {
    for shell in SHELLS {
        let home = home("one\n");
        let path = home.path().join(".ssh/authorized_keys");
        let mut script = Script::start(shell, home.path(), 30);
        script.expect(&format!("MARK file {}", path.display()));
        script.expect("one");
        script.expect("MARK end 0");
        script.send("write 40\ntwo\n");
        script.end("MARK refused write the new file did not arrive whole\n");
        assert_eq!(file(&home), b"one\n", "{shell:?}");
        assert_clean(&home);
    }
}

#[test]
fn a_dd_that_knows_only_what_posix_has_will_do() {
    let tools = tempfile::tempdir().expect("a folder");
    let dd = tools.path().join("dd");
    let text = "#!/bin/sh\ncase $* in *iflag*) exit 1 ;; esac\nexec /bin/dd \"$@\"\n";
    fs::write(&dd, text).expect("a file");
    fs::set_permissions(&dd, fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = format!(
        "{}:{}",
        tools.path().display(),
        std::env::var("PATH").expect("there is one")
    );
    for shell in [&["bash"][..], &["dash"]] {
        let home = home("one\n");
        let mut script = Script::with_path(shell, home.path(), 30, &path);
        script.expect(&format!(
            "MARK file {}/.ssh/authorized_keys",
            home.path().display()
        ));
        script.expect("one");
        script.expect("MARK end 0");
        let new = "two\r\n".repeat(10_000);
        script.send(&format!("write {}\n{new}", new.len()));
        script.end("MARK written\n");
        assert_eq!(file(&home), new.as_bytes(), "{shell:?}");
        assert_clean(&home);
    }
}

/// A lock as it is left when the power fails, or everything is killed, while a line is out for now.
fn cut_off(home: &tempfile::TempDir, holder: &str, old: &str, wrote: &str) {
    let lock = home.path().join(".ssh/.keyferry-lock");
    fs::create_dir(&lock).expect("a folder");
    for (name, text) in [("holder", holder), ("old", old), ("wrote", wrote)] {
        fs::write(lock.join(name), text).expect("a file");
    }
}

fn node() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("the machine's name");
    name.trim().to_owned()
}

/// Numbers that no process has.
const NOBODY: [u32; 2] = [4_194_305, 4_194_306];

#[test]
fn a_change_that_was_cut_off_before_it_was_final_is_undone() {
    for shell in SHELLS {
        for (now, shown) in [("one\n", "one\ntwo\n"), ("three\n", "three\n")] {
            let home = home(now);
            let holder = format!("{} {}\nOTHER\n{}\n", node(), NOBODY[0], NOBODY[1]);
            cut_off(&home, &holder, "one\ntwo\n", "one\n");
            let mut script = Script::start(shell, home.path(), 30);
            script.expect(&format!(
                "MARK file {}/.ssh/authorized_keys",
                home.path().display()
            ));
            for line in shown.lines() {
                script.expect(line);
            }
            script.expect("MARK end 0");
            script.send("leave\n");
            script.end("MARK unchanged\n");
            assert_eq!(file(&home), shown.as_bytes(), "{shell:?}");
            assert_clean(&home);
        }
    }
}

#[test]
fn a_lock_whose_holder_did_not_reach_the_disk_is_taken_over() {
    for shell in SHELLS {
        let home = home("one\n");
        cut_off(&home, "", "one\ntwo\n", "one\n");
        let lock = home.path().join(".ssh/.keyferry-lock");
        let long_ago = SystemTime::now() - Duration::from_secs(600);
        let folder = fs::File::open(&lock).expect("it is there");
        folder.set_modified(long_ago).expect("times can be set");
        let mut script = Script::start(shell, home.path(), 30);
        script.expect(&format!(
            "MARK file {}/.ssh/authorized_keys",
            home.path().display()
        ));
        script.expect("one");
        script.expect("two");
        script.expect("MARK end 0");
        script.send("leave\n");
        script.end("MARK unchanged\n");
        assert_eq!(file(&home), b"one\ntwo\n", "{shell:?}");
        assert_clean(&home);
    }
}

#[test]
fn what_is_final_is_on_the_disk_before_it_is_said() {
    let tools = tempfile::tempdir().expect("a folder");
    let said = tools.path().join("said");
    let sync = tools.path().join("sync");
    let text = format!(
        "#!/bin/sh\nfor path; do if [ -e \"$path/kept\" ]; then echo final >>{0}; else echo \"${{path##*/}}\" >>{0}; fi; done\n",
        said.display()
    );
    fs::write(&sync, text).expect("a file");
    fs::set_permissions(&sync, fs::Permissions::from_mode(0o755)).expect("its mode can be set");
    let path = std::env::var("PATH").expect("there is one");
    let home = home("one\ntwo");
    let path = format!("{}:{path}", tools.path().display());
    let mut script = Script::with_path(&["dash"], home.path(), 30, &path);
    script.expect(&format!(
        "MARK file {}/.ssh/authorized_keys",
        home.path().display()
    ));
    script.expect("one");
    script.expect("twoMARK end 0");
    script.send("hold 4\none\n");
    script.expect("MARK written");
    script.send("keep\n");
    script.end("MARK kept\n");
    let said = fs::read_to_string(said).expect("it was called");
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(
        said,
        ["old", "wrote", "holder", ".keyferry-lock", "new", ".ssh", "final"]
    );
}

#[test]
fn nobody_takes_a_lock_while_its_watch_lives() {
    for shell in SHELLS {
        let (home, mut first) = holding(shell, 4);
        first.child.kill().expect("it runs");
        first.child.wait().expect("it ends");
        let mut next = Script::start(shell, home.path(), 30);
        next.expect(&format!(
            "MARK file {}/.ssh/authorized_keys",
            home.path().display()
        ));
        next.expect("one");
        next.expect("twoMARK end 0");
        next.send("leave\n");
        next.end("MARK unchanged\n");
        assert_eq!(file(&home), b"one\ntwo", "{shell:?}");
        assert_clean(&home);
    }
}

#[test]
fn whoever_lost_the_lock_changes_nothing() {
    for shell in SHELLS {
        // Somebody else has it when the order comes.
        let begun = home("one\n");
        let lock = begun.path().join(".ssh/.keyferry-lock");
        let mut script = Script::start(shell, begun.path(), 30);
        script.expect(&format!(
            "MARK file {}/.ssh/authorized_keys",
            begun.path().display()
        ));
        script.expect("one");
        script.expect("MARK end 0");
        fs::write(lock.join("holder"), "elsewhere 1\nOTHER\n").expect("a file");
        script.send("write 4\ntwo\n");
        script.end(&format!("MARK refused busy {}\n", lock.display()));
        assert_eq!(file(&begun), b"one\n", "{shell:?}");
        assert!(lock.exists(), "{shell:?}: it is somebody else's");

        // And when the word comes that a change is to stay, or time is up.
        for word in ["keep\n", ""] {
            let (home, mut script) = holding(shell, 1);
            let lock = home.path().join(".ssh/.keyferry-lock");
            fs::write(lock.join("holder"), "elsewhere 1\nOTHER\n").expect("a file");
            fs::write(home.path().join(".ssh/authorized_keys"), "one\n").expect("a file");
            script.send(word);
            script.end("MARK changed\n");
            assert_eq!(file(&home), b"one\n", "{shell:?}");
            assert!(lock.join("old").exists(), "{shell:?}: it is somebody else's");
        }
    }
}

#[test]
fn of_many_who_find_a_stale_lock_each_has_a_turn() {
    for shell in SHELLS {
        let home = home("");
        let path = home.path().join(".ssh/authorized_keys");
        cut_off(&home, &format!("{} {}\n", node(), NOBODY[0]), "", "nothing");
        thread::scope(|scope| {
            for number in 0..4 {
                let (home, path) = (home.path(), &path);
                scope.spawn(move || {
                    let mut script = Script::start(shell, home, 30);
                    let mut text = String::new();
                    loop {
                        let mut line = String::new();
                        script.stdout.read_line(&mut line).expect("text");
                        if line == format!("MARK file {}\n", path.display()) {
                            break;
                        }
                        // On a busy machine the others may take longer than a script waits for its turn.
                        assert!(line.starts_with("MARK refused busy "), "{shell:?}: {line}");
                        script = Script::start(shell, home, 30);
                    }
                    loop {
                        let mut line = String::new();
                        script.stdout.read_line(&mut line).expect("text");
                        if line == "MARK end 0\n" {
                            break;
                        }
                        text.push_str(&line);
                    }
                    text.push_str(&format!("{number}\n"));
                    script.send(&format!("write {}\n{text}", text.len()));
                    script.end("MARK written\n");
                });
            }
        });
        let text = String::from_utf8(file(&home)).expect("text");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["0", "1", "2", "3"], "{shell:?}");
        assert_clean(&home);
    }
}
