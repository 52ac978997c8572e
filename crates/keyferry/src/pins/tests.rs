use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn pin(host: &str) -> Pin {
    Pin {
        version: "1.2.3".to_owned(),
        sha256: "0f".repeat(32),
        hosts: [host.to_owned()].into(),
        calls: [
            "create POST /?a!={name}".to_owned(),
            "odd \"\\\u{7f}\u{1}\nä".to_owned(),
        ]
        .into(),
        files: ["~/.config/x.json".to_owned()].into(),
        variables: ["A".to_owned(), "B".to_owned()].into(),
        commands: Default::default(),
    }
}

fn file() -> (tempfile::TempDir, PinFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = PinFile::new(&folder.path().join("config"));
    (folder, file)
}

#[test]
fn what_is_written_reads_back() {
    let (_folder, file) = file();
    assert_eq!(file.read(), Ok(Pins::new()));
    file.change(|pins| drop(pins.insert("b-plugin".to_owned(), pin("b.example"))))
        .unwrap();
    file.change(|pins| drop(pins.insert("a-plugin".to_owned(), pin("a.example"))))
        .unwrap();
    let pins = file.read().unwrap();
    assert_eq!(pins.keys().collect::<Vec<_>>(), ["a-plugin", "b-plugin"]);
    assert_eq!(pins["b-plugin"], pin("b.example"));
    assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o7777, 0o644);

    // A change of one entry is a change of one line.
    let before = fs::read_to_string(file.path()).unwrap();
    file.change(|pins| {
        let hosts = &mut pins.get_mut("a-plugin").unwrap().hosts;
        hosts.insert("z.example".to_owned());
    })
    .unwrap();
    let after = fs::read_to_string(file.path()).unwrap();
    let new: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
    assert_eq!(new, ["    \"z.example\","]);
    assert_eq!(after.lines().count(), before.lines().count() + 1);
}

#[test]
fn a_link_stays_a_link() {
    let (folder, file) = file();
    let kept = folder.path().join("repository.lock");
    fs::write(&kept, "version = 1\n").unwrap();
    fs::create_dir(folder.path().join("config")).unwrap();
    symlink(&kept, file.path()).unwrap();
    file.change(|pins| drop(pins.insert("a".to_owned(), pin("a.example"))))
        .unwrap();
    assert!(file.path().symlink_metadata().unwrap().is_symlink());
    assert!(fs::read_to_string(&kept).unwrap().contains("a.example"));
}

#[test]
fn what_cannot_be_believed_is_an_error_and_no_empty_list() {
    let (_folder, file) = file();
    file.change(|pins| drop(pins.insert("a".to_owned(), pin("a.example"))))
        .unwrap();
    let good = fs::read_to_string(file.path()).unwrap();
    let refused = |text: &str, words: &str| {
        fs::write(file.path(), text).unwrap();
        let error = file.read().unwrap_err();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
        assert!(file.change(|_| {}).is_err());
        assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
    };
    refused("", "missing field `version`");
    refused("version = 2", "update keyferry");
    refused(&good.replace("hosts", "ghosts"), "ghosts");
    refused(&good[..good.len() / 2], "mend it, or take the file away");

    fs::write(file.path(), &good).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(file.read().unwrap_err().contains("chmod go-w"));
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let (_folder, file) = file();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let file = file.clone();
            scope.spawn(move || {
                file.change(|pins| drop(pins.insert(format!("p{number}"), pin("a.example"))))
                    .unwrap();
            });
        }
    });
    assert_eq!(file.read().unwrap().len(), 8);
}
