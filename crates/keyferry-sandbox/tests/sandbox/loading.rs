//! What is not loaded, and why; none of its code runs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keyferry_hostile::Behaviour;
use keyferry_sandbox::{Fault, LibraryFacts, Sandbox, library};

use crate::c_library::CLibrary;
use crate::{failure, launch, list, patient};

/// A plugin in a folder of its own, whose constructor would leave a mark.
struct Case {
    folder: tempfile::TempDir,
    path: PathBuf,
    marker: PathBuf,
}

impl Case {
    fn new(change: impl FnOnce(&mut CLibrary)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("constructor-ran");
        let mut plugin = CLibrary::new("marked", "loaded").with_constructor(&marker);
        change(&mut plugin);
        let path = plugin.compile(folder.path());
        Self { folder, path, marker }
    }

    /// The library is refused with these words, and none of its code ran; not even when somebody vouched for it.
    #[track_caller]
    fn check(&self, path: &Path, words: &str) {
        let error = library::inspect(path).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!error.contains('\n'), "{error}");
        assert!(!self.marker.exists(), "the library's constructor ran");
    }
}

#[test]
fn the_mark_is_left_by_a_library_that_is_loaded() {
    let case = Case::new(|_| {});
    let facts = library::inspect(&case.path).unwrap();
    assert!(!case.marker.exists());
    let sandbox = Sandbox::start(launch(), facts, patient()).unwrap();
    assert!(case.marker.exists());
    assert_eq!(failure(sandbox.step(&list(Behaviour::None)).unwrap()), "loaded");
}

#[test]
fn another_major_version_is_refused_with_both_numbers() {
    let case = Case::new(|plugin| {
        plugin.section = "#undef KEYFERRY_ABI_MAJOR\n#define KEYFERRY_ABI_MAJOR 7\nKEYFERRY_MANIFEST(MANIFEST);\n\
                          #undef KEYFERRY_ABI_MAJOR\n#define KEYFERRY_ABI_MAJOR 1";
    });
    case.check(
        &case.path,
        "built for version 7 of the plugin contract, this keyferry has version 1: install matching versions",
    );
}

#[test]
fn what_is_no_plugin_is_refused() {
    let case = Case::new(|plugin| plugin.section = "");
    case.check(&case.path, "is not a keyferry plugin: it has no manifest section");

    let case = Case::new(|plugin| plugin.table = "");
    case.check(&case.path, "does not export the symbol keyferry_plugin");

    let case = Case::new(|plugin| {
        plugin.section = "KEYFERRY_IN_SECTION const char keyferry_manifest[] = \"not a manifest at all\";";
    });
    case.check(&case.path, "does not begin with the manifest's magic bytes");
}

#[test]
fn a_damaged_file_is_refused() {
    let case = Case::new(|_| {});
    let whole = std::fs::read(&case.path).unwrap();
    for length in (0..whole.len() - 64).step_by(97) {
        std::fs::write(&case.path, &whole[..length]).unwrap();
        case.check(&case.path, "");
    }
    std::fs::write(&case.path, &whole[..whole.len() / 2]).unwrap();
    case.check(&case.path, "is not a shared library, or is damaged");
    std::fs::write(&case.path, "#!/bin/sh\necho no library\n").unwrap();
    case.check(&case.path, "is not a shared library, or is damaged");
}

#[test]
fn a_flipped_byte_never_panics() {
    let case = Case::new(|_| {});
    let whole = std::fs::read(&case.path).unwrap();
    for at in 0..whole.len() {
        // Headers densely, the rest sparsely.
        if at > 1024 && at + 4096 < whole.len() && at % 61 != 0 {
            continue;
        }
        let mut flipped = whole.clone();
        flipped[at] ^= 0xff;
        std::fs::write(&case.path, &flipped).unwrap();
        let _ = library::inspect(&case.path);
    }
    assert!(!case.marker.exists());
}

#[test]
#[cfg(target_os = "linux")]
fn another_machine_is_refused() {
    let case = Case::new(|_| {});
    let mut content = std::fs::read(&case.path).unwrap();
    // e_machine of the ELF header: EM_RISCV or EM_S390.
    content[18] = if cfg!(target_arch = "riscv64") { 22 } else { 243 };
    std::fs::write(&case.path, content).unwrap();
    case.check(&case.path, "is built for another machine");
}

#[test]
fn what_others_may_write_is_refused() {
    let case = Case::new(|_| {});
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    chmod(&case.path, 0o777);
    case.check(&case.path, "others may change it (chmod go-w");
    chmod(&case.path, 0o755);
    assert!(library::inspect(&case.path).is_ok());

    chmod(case.folder.path(), 0o777);
    case.check(&case.path, "others may change it (chmod go-w");
    chmod(case.folder.path(), 0o700);

    std::os::unix::fs::chown(&case.path, Some(65534), None).unwrap();
    case.check(&case.path, "belongs to uid 65534");
}

#[test]
fn a_link_may_not_leave_its_folder() {
    let case = Case::new(|_| {});
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join(library::file_name("marked"));
    std::os::unix::fs::symlink(&case.path, &link).unwrap();
    case.check(
        &link,
        "outside of its plugin directory: copy the library, or add its directory to plugin_dirs",
    );

    let inside = case.folder.path().join("marked-1.2.3");
    std::fs::rename(&case.path, &inside).unwrap();
    std::os::unix::fs::symlink("marked-1.2.3", &case.path).unwrap();
    assert_eq!(library::inspect(&case.path).unwrap().name, "marked");
}

#[test]
fn what_is_no_ordinary_file_is_refused() {
    let case = Case::new(|_| {});
    let remade = |make: &dyn Fn(&Path)| {
        std::fs::remove_file(&case.path).unwrap();
        make(&case.path);
    };
    remade(&|path| {
        let mode = rustix::fs::Mode::from_bits_truncate(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    });
    case.check(&case.path, "is not a regular file");
    remade(&|path| {
        let file = std::fs::File::create(path).unwrap();
        file.set_len(64 * 1024 * 1024 + 1).unwrap();
    });
    case.check(&case.path, "a plugin has at most 67108864");
    remade(&|path| std::fs::create_dir(path).unwrap());
    case.check(&case.path, "is not a regular file");
    std::fs::remove_dir(&case.path).unwrap();
    case.check(&case.path, "cannot read");
}

#[test]
fn its_path_and_name_must_fit() {
    let case = Case::new(|_| {});
    let other = case.folder.path().join(library::file_name("other"));
    std::fs::copy(&case.path, &other).unwrap();
    case.check(
        &other,
        "name: it is \"marked\", but the file's name stands for \"other\"",
    );
    let nameless = case.folder.path().join("marked.so");
    std::fs::copy(&case.path, &nameless).unwrap();
    case.check(&nameless, "is not named like a plugin");
    case.check(
        Path::new(&library::file_name("marked")),
        "must be an absolute path in UTF-8",
    );
}

#[test]
fn a_library_replaced_after_it_was_inspected_is_not_run() {
    let case = Case::new(|_| {});
    let facts = library::inspect(&case.path).unwrap();
    let next = tempfile::tempdir().unwrap();
    let mut other = CLibrary::new("marked", "somebody else's").with_constructor(&case.marker);
    other.code.push_str("const char padding[4096] = {1};");
    std::fs::rename(other.compile(next.path()), &case.path).unwrap();

    let error = Sandbox::start(launch(), facts, patient()).unwrap_err();
    let words = error.to_string();
    assert!(matches!(error.fault, Fault::Refused(_)), "{words}");
    assert!(
        words.contains("was replaced since it was checked: the new file is used at the next try"),
        "{words}"
    );
    assert!(!case.marker.exists());
}

/// Same file, same length, same times: only the bytes tell.
#[test]
fn a_library_changed_in_place_after_it_was_inspected_is_not_run() {
    let case = Case::new(|_| {});
    let facts = library::inspect(&case.path).unwrap();
    let mut content = std::fs::read(&case.path).unwrap();
    let modified = std::fs::metadata(&case.path).unwrap().modified().unwrap();
    let version = b"1.2.3";
    let at = content
        .windows(version.len())
        .position(|window| window == version)
        .unwrap();
    // Beyond the manifest: in the code or its data.
    let last = content.iter().rposition(|&byte| byte == 0).unwrap();
    assert_ne!(at, last);
    content[last] = 1;
    let mut file = std::fs::OpenOptions::new().write(true).open(&case.path).unwrap();
    std::io::Write::write_all(&mut file, &content).unwrap();
    file.set_modified(modified).unwrap();

    let now = library::inspect(&case.path).unwrap();
    let mut but_for_the_hash = now.clone();
    but_for_the_hash.sha256.clone_from(&facts.sha256);
    assert_eq!(but_for_the_hash, facts);
    assert_ne!(now.sha256, facts.sha256);

    let error = Sandbox::start(launch(), facts, patient())
        .unwrap_err()
        .to_string();
    assert!(error.contains("was replaced since it was checked"), "{error}");
    assert!(!case.marker.exists());
}

const NEWER_MINOR: &str =
    "#undef KEYFERRY_ABI_MINOR\n#define KEYFERRY_ABI_MINOR 9\nKEYFERRY_MANIFEST(MANIFEST);";

#[test]
fn a_newer_minor_version_works_and_may_answer_with_fields_of_its_own() {
    let step = r#"return answer("{\"fail\":{\"error\":{\"kind\":\"internal\",\"message\":\"newer\",\"mood\":\"fine\"}}}");"#;
    let newer = Case::new(|plugin| {
        plugin.section = NEWER_MINOR;
        plugin.step = step.to_owned();
    });
    let facts = library::inspect(&newer.path).unwrap();
    assert_eq!((facts.major, facts.minor), (1, 9));
    let sandbox = Sandbox::start(launch(), facts, patient()).unwrap();
    assert_eq!(failure(sandbox.step(&list(Behaviour::None)).unwrap()), "newer");

    // The same answer from a plugin of our own version is not understood.
    let own = Case::new(|plugin| plugin.step = step.to_owned());
    let sandbox = Sandbox::start(launch(), library::inspect(&own.path).unwrap(), patient()).unwrap();
    let error = sandbox.step(&list(Behaviour::None)).unwrap_err().to_string();
    assert!(error.contains("it has the unknown field error.mood"), "{error}");
}

/// A rule that is not known might forbid something: it is never passed over.
#[test]
fn a_manifest_with_rules_of_a_newer_minor_version_is_refused_with_the_way_out() {
    let newer = Case::new(|plugin| {
        plugin.section = NEWER_MINOR;
        plugin.manifest = plugin.manifest.replace("\"region\"", "\"moods\": [], \"region\"");
    });
    newer.check(
        &newer.path,
        "built for a newer plugin contract than 1.0: update keyferry",
    );
}

#[test]
fn the_process_checks_by_itself() {
    let case = Case::new(|_| {});
    let facts = library::inspect(&case.path).unwrap();
    let start = |facts: LibraryFacts| {
        Sandbox::start(launch(), facts, patient())
            .unwrap_err()
            .to_string()
    };

    let mut forged = facts.clone();
    forged.manifest.hosts.push("evil.example".to_owned());
    assert!(start(forged).contains("was replaced"));

    std::fs::set_permissions(&case.path, PermissionsExt::from_mode(0o666)).unwrap();
    assert!(start(facts).contains("others may change it"));
    assert!(!case.marker.exists());
}

/// A table that contradicts the header shows only when the library is loaded.
#[test]
fn a_table_that_cannot_be_used_is_refused() {
    for (table, words) in [
        (
            "{0, 1, 0, sizeof(keyferry_plugin_table), step, give_back}",
            "does not begin with the table's magic number",
        ),
        (
            "{KEYFERRY_TABLE_MAGIC, 9, 0, sizeof(keyferry_plugin_table), step, give_back}",
            "it has version 9 of the plugin contract, this keyferry has version 1",
        ),
        (
            "{KEYFERRY_TABLE_MAGIC, 1, 5, sizeof(keyferry_plugin_table), step, give_back}",
            "it has minor version 5, the manifest's header has 0",
        ),
        (
            "{KEYFERRY_TABLE_MAGIC, 1, 0, 24, step, give_back}",
            "it has 24 bytes, at least 32 are needed",
        ),
        (
            "{KEYFERRY_TABLE_MAGIC, 1, 0, sizeof(keyferry_plugin_table), 0, give_back}",
            "its `step` is null",
        ),
        (
            "{KEYFERRY_TABLE_MAGIC, 1, 0, sizeof(keyferry_plugin_table), step, 0}",
            "its `free` is null",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut plugin = CLibrary::new("crooked", "");
        let definition = format!("const keyferry_plugin_table keyferry_plugin = {table};");
        plugin.table = "";
        plugin.section = "KEYFERRY_MANIFEST(MANIFEST);";
        plugin.step = "return answer(\"\");".to_owned();
        plugin.code = format!(
            "static keyferry_buffer step(const uint8_t *, size_t);\nstatic void give_back(keyferry_buffer);\n{definition}\n"
        );
        let facts = library::inspect(&plugin.compile(folder.path())).unwrap();
        let error = Sandbox::start(launch(), facts, patient()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(words), "{message}");
        assert!(
            message.contains("build it with the current plugin kit"),
            "{message}"
        );
    }
}

#[test]
fn a_library_that_crashes_or_hangs_while_it_loads_costs_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut plugin = CLibrary::new("stillborn", "");
    plugin.code = "__attribute__((constructor)) static void die(void) { abort(); }".to_owned();
    let facts = library::inspect(&plugin.compile(folder.path())).unwrap();
    let error = Sandbox::start(launch(), facts, patient()).unwrap_err();
    assert!(matches!(error.fault, Fault::Aborted), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let mut plugin = CLibrary::new("dozing", "");
    plugin.code =
        "#include <unistd.h>\n__attribute__((constructor)) static void doze(void) { for (;;) pause(); }"
            .to_owned();
    let facts = library::inspect(&plugin.compile(folder.path())).unwrap();
    let mut limits = patient();
    limits.start_time = std::time::Duration::from_secs(1);
    let error = Sandbox::start(launch(), facts, limits).unwrap_err();
    assert_eq!(error.to_string(), "plugin dozing did not load within 1 s");
}

#[test]
fn a_program_that_is_no_sandbox_costs_an_error() {
    let facts = crate::hostile();
    for (program, words) in [
        (
            "/bin/false",
            "ended its process instead of answering (exit status 1)",
        ),
        ("/nonexistent/program", "starting it failed"),
    ] {
        let mut launch = launch();
        launch.program = program.into();
        let error = Sandbox::start(launch, facts.clone(), patient()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}
