//! Public halves on the disk: `<state>/public/KEY.pub`, a stable path for `IdentityFile`, git and editors.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::private_key::PublicKey;

/// Where a key's public half stands.
pub fn path(state_directory: &Path, key: &str) -> PathBuf {
    state_directory.join("public").join(format!("{key}.pub"))
}

/// Writes a key's public half (mode 0644) in place of the earlier one. A reader sees the old line or the new one,
/// never less, also after a power cut.
///
/// # Errors
/// As the system says; the earlier file is then still there.
pub fn write(state_directory: &Path, key: &str, public: &PublicKey, comment: &str) -> io::Result<()> {
    let path = path(state_directory, key);
    let directory = state_directory.join("public");
    // A state directory that was taken away is not made anew: it would be an empty one, and open to others.
    match DirBuilder::new().mode(0o755).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Key names begin with a letter or digit, so this is no key's file.
    let temporary = directory.join(format!(".{key}.pub.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&temporary)?;
    // Whatever the umask.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(public.line(comment).as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(&directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use keyferry_plugin::contract::Algorithm;

    use super::*;
    use crate::private_key::PrivateKey;

    #[test]
    fn the_file_is_replaced_whole_and_readable_by_all() {
        let state = tempfile::tempdir().unwrap();
        let [one, two] = [(); 2].map(|()| PrivateKey::generate(Algorithm::Ed25519).unwrap());
        write(state.path(), "web", one.public_key(), "first").unwrap();
        let open_before = fs::File::open(path(state.path(), "web")).unwrap();
        write(state.path(), "web", two.public_key(), "second").unwrap();

        let path = path(state.path(), "web");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", two.public_key().line("second")));
        assert_eq!(
            io::read_to_string(open_before).unwrap(),
            format!("{}\n", one.public_key().line("first"))
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_left_over_temporary_file_or_link_is_not_written_through() {
        let state = tempfile::tempdir().unwrap();
        let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        let victim = state.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        fs::create_dir(state.path().join("public")).unwrap();
        std::os::unix::fs::symlink(&victim, state.path().join("public/.web.pub.new")).unwrap();
        write(state.path(), "web", key.public_key(), "c").unwrap();
        assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
    }

    #[test]
    fn a_state_directory_that_is_gone_is_not_made_anew() {
        let state = tempfile::tempdir().unwrap();
        let gone = state.path().join("gone");
        let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        let refused = write(&gone, "web", key.public_key(), "").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        assert!(!gone.exists());
    }
}
