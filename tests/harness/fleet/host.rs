//! One host.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::authorized_keys::{self, AuthorizedKey};
use super::login_log::{self, Login};
use super::making::{free_port, namespace, sshd_config, uid, write_users};
use super::namespace::{Namespace, child_of};
use super::options::{HostOptions, SH_NOISE};
use crate::openssh::sshd_path;
use crate::{processes, wait};

/// A host: an sshd, its users and their homes. Ended on drop.
#[derive(Debug)]
pub struct Host {
    name: String,
    users: Vec<String>,
    folder: PathBuf,
    port: u16,
    host_key: String,
    home_size: Option<u64>,
    sshd: Mutex<Option<Sshd>>,
    namespace: Namespace,
}

/// A running sshd.
#[derive(Debug)]
struct Sshd {
    /// nsenter, whose child it is.
    starter: Child,
    pid: u32,
}

impl Host {
    pub(super) fn start_new(folder: &Path, options: &HostOptions, admin: &str) -> Self {
        let (program, package) = options.shell.program();
        assert!(
            Path::new(program).exists(),
            "{program} is not installed (Debian: {package})"
        );
        fs::create_dir_all(folder.join("etc")).expect("folders can be made");
        super::generate(&folder.join("host_key"), &options.name);
        let host_key = fs::read_to_string(folder.join("host_key.pub")).expect("the host key's public half");
        write_users(folder, options);
        // sshd as root wants its privilege separation folder.
        let _ = fs::create_dir_all("/run/sshd");
        let namespace = namespace(folder, options);
        let mut host = Self {
            name: options.name.clone(),
            users: options.users.clone(),
            folder: folder.to_owned(),
            port: 0,
            host_key: authorized_keys::public_key(&host_key).to_owned(),
            home_size: options.home_size,
            sshd: Mutex::new(None),
            namespace,
        };
        for user in &options.users {
            host.furnish(user, options, admin);
        }
        for _ in 0..20 {
            host.port = free_port();
            fs::write(
                folder.join("sshd_config"),
                sshd_config(folder, options, host.port),
            )
            .expect("a file can be written");
            if host.try_start() {
                return host;
            }
        }
        panic!("sshd does not come up: {}", host.log());
    }

    /// Its name in ssh_config: what ssh is told to connect to.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user that ssh_config names.
    pub fn user(&self) -> &str {
        &self.users[0]
    }

    /// Each of its users, as ssh is told to connect: the first by the host's name alone, the others as `user@name`.
    pub fn destinations(&self) -> impl Iterator<Item = String> {
        self.users.iter().enumerate().map(|(index, user)| match index {
            0 => self.name.clone(),
            _ => format!("{user}@{}", self.name),
        })
    }

    /// Its users, the one that ssh_config names first.
    pub fn users(&self) -> &[String] {
        &self.users
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its host key: `TYPE BASE64`.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// The bytes of the first user's authorized_keys.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn authorized_keys(&self) -> Vec<u8> {
        self.authorized_keys_of(self.user())
    }

    /// As [`Host::authorized_keys`], of another user.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn authorized_keys_of(&self, user: &str) -> Vec<u8> {
        let path = self.authorized_keys_path(user);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Replaces them, as a file of the user's own with mode 0600.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn set_authorized_keys(&self, bytes: &[u8]) {
        self.set_authorized_keys_of(self.user(), bytes);
    }

    /// As [`Host::set_authorized_keys`], of another user.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn set_authorized_keys_of(&self, user: &str, bytes: &[u8]) {
        let path = self.authorized_keys_path(user);
        let draft = path.with_extension("draft");
        self.write_as(user, &draft, bytes, 0o600);
        fs::rename(&draft, &path).expect("a file can be renamed");
    }

    /// What the first user's authorized_keys lets in.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn keys(&self) -> Vec<AuthorizedKey> {
        authorized_keys::parse(&self.authorized_keys())
    }

    /// A user's authorized_keys, where this process reaches it: to be looked at, linked, damaged.
    pub fn authorized_keys_path(&self, user: &str) -> PathBuf {
        self.home(user).join(".ssh/authorized_keys")
    }

    /// A user's home, where this process reaches it.
    pub fn home(&self, user: &str) -> PathBuf {
        self.namespace.path(&self.home_inside(user))
    }

    /// A user's home, as the host's own processes name it.
    pub fn home_inside(&self, user: &str) -> PathBuf {
        self.folder.join("home").join(user)
    }

    /// A user's number.
    ///
    /// # Panics
    /// When the host has no such user.
    pub fn uid(&self, user: &str) -> u32 {
        uid(&self.users, user)
    }

    /// Its logins so far, in the order of sshd's log.
    pub fn logins(&self) -> Vec<Login> {
        login_log::parse(&self.log())
    }

    /// What sshd logged so far.
    pub fn log(&self) -> String {
        fs::read(self.folder.join("log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Takes it down: nobody listens any more, and its connections break.
    ///
    /// # Panics
    /// When another thread panicked while it did so.
    pub fn stop(&self) {
        if let Some(sshd) = self.sshd.lock().expect("no thread panics with it").take() {
            sshd.end();
        }
    }

    /// Brings it up again, on the same port.
    ///
    /// # Panics
    /// When it does not come up within 20 s.
    pub fn start(&self) {
        wait::until(
            &format!("{} comes up again", self.name),
            Duration::from_secs(20),
            || self.try_start().then_some(()),
        );
    }

    /// Makes it hang: connections are taken and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends that.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Makes a user's home read-only, or writable again.
    ///
    /// # Panics
    /// When it cannot be mounted so.
    pub fn set_read_only(&self, user: &str, read_only: bool) {
        let options = match (read_only, self.home_size.is_some()) {
            (true, true) => "remount,ro",
            (false, true) => "remount,rw",
            (true, false) => "remount,bind,ro",
            (false, false) => "remount,bind,rw",
        };
        let home = self.home_inside(user);
        self.namespace
            .run("mount", &["-o".as_ref(), options.as_ref(), home.as_os_str()]);
    }

    /// Makes a user's authorized_keys immutable (chattr(1)), or a plain file again.
    ///
    /// # Panics
    /// When the file system does not know it.
    pub fn set_immutable(&self, user: &str, immutable: bool) {
        let output = Command::new("chattr")
            .arg(if immutable { "+i" } else { "-i" })
            .arg(self.authorized_keys_path(user))
            .output()
            .expect("chattr can be started (Debian: e2fsprogs)");
        assert!(output.status.success(), "{output:?}");
    }

    /// Fills a user's home up to the last byte.
    ///
    /// # Panics
    /// When it is no file system of its own ([`HostOptions::home_size`]).
    pub fn fill(&self, user: &str) {
        assert!(self.home_size.is_some(), "only a home with a size can be filled");
        let mut file = File::create(self.filling(user)).expect("a file can be made");
        for size in [4096, 1] {
            while file.write_all(&vec![b'.'; size]).is_ok() {}
        }
    }

    /// Makes room again.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn make_room(&self, user: &str) {
        fs::remove_file(self.filling(user)).expect("the filling can be removed");
    }

    fn filling(&self, user: &str) -> PathBuf {
        self.home(user).join("filling")
    }

    /// Whether sshd listens: another program may have its port.
    fn try_start(&self) -> bool {
        let program = sshd_path().expect("sshd is installed (Debian: openssh-server)");
        let mut sshd = self.sshd.lock().expect("no thread panics with it");
        assert!(sshd.is_none(), "{} runs already", self.name);
        let log = self.folder.join("log");
        let before = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let mut starter = self
            .namespace
            .command(&program)
            .args(["-D", "-E"])
            .arg(&log)
            .arg("-f")
            .arg(self.folder.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter can be started (Debian: util-linux)");
        let listens = wait::until("sshd listens or ends", Duration::from_secs(20), || {
            let text = fs::read(&log).unwrap_or_default();
            let new = text.get(usize::try_from(before).ok()?..).unwrap_or_default();
            let listens = String::from_utf8_lossy(new).contains("Server listening");
            let ended = starter.try_wait().ok().flatten().is_some();
            (listens || ended).then_some(listens)
        });
        if listens {
            let pid = child_of(starter.id()).expect("sshd runs");
            *sshd = Some(Sshd { starter, pid });
        }
        listens
    }

    fn signal(&self, signal: Signal) {
        let sshd = self.sshd.lock().expect("no thread panics with it");
        let sshd = sshd.as_ref().expect("it is up");
        for pid in sshd.all() {
            send(pid, signal);
        }
    }

    /// Makes a user's home: rc files and authorized_keys.
    fn furnish(&self, user: &str, options: &HostOptions, admin: &str) {
        let uid = self.uid(user);
        for folder in ["", ".ssh", ".config", ".config/fish"] {
            let path = self.home(user).join(folder);
            let mode = if folder == ".ssh" { 0o700 } else { 0o755 };
            fs::create_dir_all(&path).expect("folders can be made");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("modes can be set");
            chown(&path, Some(uid), Some(uid)).expect("owners can be set");
        }
        self.set_authorized_keys_of(user, admin.as_bytes());
        if options.rc_noise {
            let own = options.shell.rc();
            for (name, text) in own.into_iter().chain([(".ssh/rc", SH_NOISE)]) {
                self.write_as(user, &self.home(user).join(name), text.as_bytes(), 0o644);
            }
        }
    }

    fn write_as(&self, user: &str, path: &Path, bytes: &[u8], mode: u32) {
        let uid = self.uid(user);
        fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("modes can be set");
        chown(path, Some(uid), Some(uid)).expect("owners can be set");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
        for user in &self.users {
            // Else the folder could not be removed.
            let _ = Command::new("chattr")
                .arg("-i")
                .arg(self.authorized_keys_path(user))
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Sshd {
    fn all(&self) -> Vec<u32> {
        let mut all: Vec<u32> = processes::descendants(self.starter.id())
            .into_iter()
            .map(|process| process.pid)
            .collect();
        // nsenter stops itself when its child does, and does not go on by itself.
        all.push(self.starter.id());
        all.push(self.pid);
        all
    }

    fn end(mut self) {
        // The listener first, so that no more come.
        send(self.pid, Signal::STOP);
        for pid in self.all() {
            send(pid, Signal::KILL);
        }
        let _ = self.starter.wait();
    }
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may be gone already.
        let _ = kill_process(pid, signal);
    }
}
