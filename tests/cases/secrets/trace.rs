//! What processes did, as strace(1) wrote it down: data and the files, sockets and pipes that they went to.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// The words before a program that have strace record it and all that it starts in `file`.
pub(crate) fn recorder(file: &Path) -> Vec<String> {
    // With a question mark strace takes the name of a call that this machine does not have.
    let calls = [EXECUTIONS, PROCESSES, READS, WRITES, MAPPINGS, UNSEEN]
        .concat()
        .join(",?");
    // Everything in hexadecimal (-xx) and whole (-s), descriptors with what they are (-yy), environments too (-v).
    let words = [
        "strace",
        "-f",
        "-qq",
        "-v",
        "-yy",
        "-xx",
        "-s",
        "10000000",
        "--seccomp-bpf",
    ];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.extend([
        "-e".to_owned(),
        format!("trace=?{calls}"),
        "-e".to_owned(),
        "signal=none".to_owned(),
    ]);
    words.extend(["-o".to_owned(), file.display().to_string()]);
    words
}

/// A whole recording.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Programs that were started, in order.
    pub(crate) executions: Vec<Execution>,
    /// Data that were written, in order.
    pub(crate) writes: Vec<Transfer>,
    /// Data that were read, in order.
    pub(crate) reads: Vec<Transfer>,
    /// Files that were mapped so that writing to memory writes to them.
    pub(crate) mappings: Vec<PathBuf>,
    /// Calls that move data in ways that are not recorded, as they stand in the recording.
    pub(crate) unseen: Vec<String>,
}

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Execution {
    /// Its process.
    pub(crate) process: u32,
    /// Its arguments.
    pub(crate) arguments: Vec<Vec<u8>>,
    /// Its environment.
    pub(crate) environment: Vec<Vec<u8>>,
}

/// Data that were moved by one call.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// The process that made the call.
    pub(crate) process: u32,
    /// What stands behind its descriptor.
    pub(crate) descriptor: Descriptor,
    /// The data.
    pub(crate) data: Vec<u8>,
    /// Whether it is of the frames: a descriptor that is passed on has a byte of its own.
    is_frame: bool,
}

/// What stands behind a descriptor.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Descriptor {
    /// A file on a file system.
    File(PathBuf),
    /// A connected local socket, by the numbers of its two ends: its own first.
    Socket(u64, u64),
    /// Anything else that keeps nothing: pipes, network sockets, devices, events.
    Passing(String),
}

impl Descriptor {
    fn is_library(&self) -> bool {
        matches!(self, Self::File(path) if path.extension().is_some_and(|end| end == "so"))
    }
}

impl Trace {
    /// Reads a recording.
    ///
    /// # Panics
    /// When there is a line that is not understood: nothing may be overlooked.
    pub(crate) fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("strace wrote its recording (Debian: strace)");
        let mut trace = Self::default();
        // Threads by number, and the process that each belongs to.
        let mut processes: HashMap<u32, u32> = HashMap::new();
        for (thread, call) in whole_calls(&text) {
            let (name, rest) = call
                .split_once('(')
                .unwrap_or_else(|| panic!("no call: {call:.200}"));
            // The last one: data are hexadecimal, so that only the end of a line has it plain.
            let Some((arguments, outcome)) = rest.rsplit_once(" = ") else {
                panic!("no outcome: {call:.200}")
            };
            let outcome = outcome.split([' ', '<']).next().unwrap_or_default();
            let succeeded = outcome.parse::<i64>().ok().filter(|&number| number >= 0);
            if EXECUTIONS.contains(&name) && succeeded.is_some() {
                let (arguments, environment) = arguments.rsplit_once("], [").expect("execve has two lists");
                let (_, arguments) = arguments
                    .split_once(", [")
                    .expect("execve has a list of arguments");
                trace.executions.push(Execution {
                    process: thread,
                    arguments: strings(arguments),
                    environment: strings(environment),
                });
            } else if PROCESSES.contains(&name)
                && let Some(child) = succeeded
            {
                let child = u32::try_from(child).expect("a process's number");
                if arguments.contains("CLONE_THREAD") {
                    processes.insert(child, thread);
                }
            } else if (READS.contains(&name) || WRITES.contains(&name))
                && let Some(count) = succeeded
            {
                let (descriptor, arguments) =
                    descriptor(arguments).unwrap_or_else(|| panic!("no descriptor: {call:.200}"));
                // Programs and libraries hold no secret, and are most of what is read.
                if READS.contains(&name) && descriptor.is_library() {
                    continue;
                }
                let mut data = strings(arguments).concat();
                // Of what was offered only this much was taken. A message's may have an address and more than data.
                if !name.contains("msg") {
                    data.truncate(usize::try_from(count).expect("a count of bytes"));
                }
                let to = if READS.contains(&name) {
                    &mut trace.reads
                } else {
                    &mut trace.writes
                };
                to.push(Transfer {
                    process: thread,
                    descriptor,
                    data,
                    is_frame: !arguments.contains("SCM_RIGHTS"),
                });
            } else if MAPPINGS.contains(&name)
                && arguments.contains("MAP_SHARED")
                && arguments.contains("PROT_WRITE")
            {
                let (_, from) = arguments.split_once("MAP_SHARED").expect("it was looked for");
                if let Some((Descriptor::File(path), _)) =
                    from.split_once(", ").and_then(|(_, from)| descriptor(from))
                {
                    trace.mappings.push(path);
                }
            } else if UNSEEN.contains(&name) && succeeded.is_some_and(|moved| moved > 0) {
                trace.unseen.push(call);
            }
        }
        let process = |thread: u32| {
            let mut process = thread;
            while let Some(&parent) = processes.get(&process) {
                process = parent;
            }
            process
        };
        for transfer in trace.reads.iter_mut().chain(&mut trace.writes) {
            transfer.process = process(transfer.process);
        }
        for execution in &mut trace.executions {
            execution.process = process(execution.process);
        }
        trace
    }

    /// What was written to each file, one call after the other.
    pub(crate) fn files(&self) -> BTreeMap<&Path, Vec<u8>> {
        let mut files: BTreeMap<&Path, Vec<u8>> = BTreeMap::new();
        for write in &self.writes {
            if let Descriptor::File(path) = &write.descriptor {
                files.entry(path).or_default().extend(&write.data);
            }
        }
        files
    }

    /// The processes that became `keyferry internal ROLE`.
    pub(crate) fn processes(&self, role: &str) -> Vec<u32> {
        self.of_role(role).map(|execution| execution.process).collect()
    }

    /// The starts of `keyferry internal ROLE`.
    pub(crate) fn of_role(&self, role: &str) -> impl Iterator<Item = &Execution> {
        self.executions.iter().filter(move |execution| {
            execution.arguments.get(1..) == Some(&[b"internal".to_vec(), role.into()][..])
        })
    }

    /// What the sandboxes were told and what they answered: the bytes of each direction of each of their sockets.
    pub(crate) fn plugin_messages(&self) -> PluginMessages {
        let sandboxes = self.processes("sandbox");
        let mut messages = PluginMessages::default();
        let ends: Vec<(u64, u64)> = self
            .writes
            .iter()
            .filter(|write| sandboxes.contains(&write.process))
            .filter_map(|write| match write.descriptor {
                Descriptor::Socket(own, other) => Some((own, other)),
                _ => None,
            })
            .collect();
        for write in self.writes.iter().filter(|write| write.is_frame) {
            let Descriptor::Socket(own, other) = write.descriptor else {
                continue;
            };
            if ends.contains(&(own, other)) {
                messages.answers.entry(own).or_default().extend(&write.data);
            } else if ends.contains(&(other, own)) {
                messages.questions.entry(other).or_default().extend(&write.data);
            }
        }
        messages
    }
}

/// Everything that went to and came from plugins. By socket.
#[derive(Debug, Default)]
pub(crate) struct PluginMessages {
    /// To the sandboxes.
    pub(crate) questions: BTreeMap<u64, Vec<u8>>,
    /// From them.
    pub(crate) answers: BTreeMap<u64, Vec<u8>>,
}

impl PluginMessages {
    /// The frames that the sandboxes were sent.
    ///
    /// # Panics
    /// When the bytes are not whole frames.
    pub(crate) fn frames(&self) -> Vec<&[u8]> {
        let mut frames = Vec::new();
        for mut bytes in self.questions.values().map(Vec::as_slice) {
            while let Some((length, rest)) = bytes.split_first_chunk() {
                let (frame, next) = rest
                    .split_at_checked(u32::from_be_bytes(*length) as usize)
                    .expect("whole frames are written");
                frames.push(frame);
                bytes = next;
            }
        }
        frames
    }
}

/// The calls in the order in which they began, each with the thread that made it. One that another interrupted stands in
/// two lines.
fn whole_calls(text: &str) -> Vec<(u32, String)> {
    let mut calls: Vec<(u32, String)> = Vec::new();
    let mut begun: HashMap<u32, usize> = HashMap::new();
    for line in text.lines() {
        let (thread, rest) = line
            .split_once(' ')
            .unwrap_or_else(|| panic!("no thread: {line:.200}"));
        let thread: u32 = thread
            .parse()
            .unwrap_or_else(|_| panic!("no thread: {line:.200}"));
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            // What a thread began and another's exec ended has no first half left.
            let Some(place) = begun.remove(&thread) else {
                continue;
            };
            let (_, end) = resumed.split_once(" resumed>").expect("a call goes on");
            calls[place].1.push_str(end);
        } else if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, calls.len());
            calls.push((thread, begin.to_owned()));
        } else if !rest.starts_with("+++") && !rest.starts_with("---") {
            calls.push((thread, rest.to_owned()));
        }
    }
    // Of those that never ended, the data count as moved: whoever was killed may have moved them.
    for place in begun.into_values() {
        let (_, call) = &mut calls[place];
        call.push_str(&format!(" = {}", u32::MAX));
    }
    calls
}

/// The descriptor that an argument list begins with, and the rest of the list.
fn descriptor(arguments: &str) -> Option<(Descriptor, &str)> {
    let (number, rest) = arguments.split_once('<')?;
    number.parse::<u32>().ok()?;
    let end = [">,", ">)", ">(deleted)"]
        .iter()
        .filter_map(|end| rest.find(end))
        .min()?;
    let (what, rest) = (&rest[..end], &rest[end + 1..]);
    let numbers = || {
        let (own, other) = what.strip_prefix("UNIX-STREAM:[")?.split_once("->")?;
        let other = other.split(|c: char| !c.is_ascii_digit()).next()?;
        Some((own.parse().ok()?, other.parse().ok()?))
    };
    let descriptor = if let Some((own, other)) = numbers() {
        Descriptor::Socket(own, other)
    } else if what.starts_with("\\x2f") && !what.contains("<char ") {
        let path = unescaped(what.split("(deleted)").next()?);
        Descriptor::File(PathBuf::from(String::from_utf8_lossy(&path).into_owned()))
    } else {
        Descriptor::Passing(what.to_owned())
    };
    Some((descriptor, rest))
}

/// The contents of every string literal.
fn strings(arguments: &str) -> Vec<Vec<u8>> {
    let mut parts = arguments.split('"');
    let mut strings = Vec::new();
    while let (Some(_), Some(literal)) = (parts.next(), parts.next()) {
        strings.push(unescaped(literal));
    }
    let shortened = arguments.contains("\"...");
    assert!(!shortened, "strace shortened a string");
    strings
}

/// The bytes of `\x2f\x62...`.
fn unescaped(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("strace writes hexadecimal") as u8;
    let pairs = text.as_bytes().chunks(4);
    pairs
        .map(|escape| match escape {
            [b'\\', b'x', high, low] => digit(*high) << 4 | digit(*low),
            other => panic!("not hexadecimal: {}", String::from_utf8_lossy(other)),
        })
        .collect()
}

const EXECUTIONS: &[&str] = &["execve", "execveat"];
const PROCESSES: &[&str] = &["clone", "clone3", "fork", "vfork"];
const READS: &[&str] = &["read", "readv", "recvfrom", "recvmsg"];
const WRITES: &[&str] = &[
    "pwrite64", "pwritev", "pwritev2", "sendmsg", "sendto", "write", "writev",
];
const MAPPINGS: &[&str] = &["mmap"];
/// None of these is used: what they move would be missing here.
const UNSEEN: &[&str] = &[
    "copy_file_range",
    "io_uring_setup",
    "process_vm_writev",
    "sendfile",
    "sendmmsg",
    "splice",
    "tee",
    "vmsplice",
];
