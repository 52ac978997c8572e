//! `include/keyferry_plugin.h` says the same as the Rust types, and a C plugin can be built with it.

use std::collections::BTreeMap;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use keyferry_plugin::abi::{self, Buffer, PluginTable, manifest_from_section};
use keyferry_plugin::manifest::Manifest;
use object::{Object, ObjectSection};

#[test]
fn the_header_says_the_same_as_rust() {
    let program = compile("tests/c/layout.c", "layout", &[]);
    let output = Command::new(&program)
        .output()
        .expect("the program was just compiled");
    assert!(output.status.success(), "{:?}", output.status);
    let printed = String::from_utf8(output.stdout).expect("the program prints ASCII");
    let mut printed: BTreeMap<&str, &str> =
        printed.lines().filter_map(|line| line.rsplit_once(' ')).collect();

    let manifest = printed
        .remove("keyferry_manifest")
        .expect("the program prints the manifest");
    let manifest: Vec<u8> = (0..manifest.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&manifest[at..at + 2], 16).expect("two hex digits"))
        .collect();
    let expected = (abi::ABI_MAJOR, abi::ABI_MINOR, "{\"name\":\"layout\"}");
    assert_eq!(manifest_from_section(&manifest), Ok(expected));

    let numbers = [
        ("KEYFERRY_ABI_MAJOR", usize::from(abi::ABI_MAJOR)),
        ("KEYFERRY_ABI_MINOR", usize::from(abi::ABI_MINOR)),
        ("KEYFERRY_MANIFEST_HEADER_LENGTH", abi::MANIFEST_HEADER_LENGTH),
        ("KEYFERRY_MANIFEST_MAX_LENGTH", abi::MANIFEST_MAX_LENGTH),
        ("sizeof keyferry_buffer", size_of::<Buffer>()),
        ("keyferry_buffer.data", offset_of!(Buffer, data)),
        ("keyferry_buffer.length", offset_of!(Buffer, length)),
        ("sizeof keyferry_plugin_table", size_of::<PluginTable>()),
        ("keyferry_plugin_table.magic", offset_of!(PluginTable, magic)),
        ("keyferry_plugin_table.major", offset_of!(PluginTable, major)),
        ("keyferry_plugin_table.minor", offset_of!(PluginTable, minor)),
        ("keyferry_plugin_table.size", offset_of!(PluginTable, size)),
        ("keyferry_plugin_table.step", offset_of!(PluginTable, step)),
        ("keyferry_plugin_table.free", offset_of!(PluginTable, free)),
    ];
    let magic = std::str::from_utf8(&abi::MANIFEST_MAGIC).expect("the magic is ASCII");
    let texts = [
        ("KEYFERRY_MANIFEST_MAGIC", magic),
        ("KEYFERRY_ELF_SECTION", abi::ELF_SECTION),
        ("KEYFERRY_MACHO_SEGMENT", abi::MACHO_SEGMENT),
        ("KEYFERRY_MACHO_SECTION", abi::MACHO_SECTION),
    ];
    let table_magic = ("KEYFERRY_TABLE_MAGIC", abi::TABLE_MAGIC.to_string());
    let expected: BTreeMap<&str, String> = numbers
        .map(|(name, number)| (name, number.to_string()))
        .into_iter()
        .chain(texts.map(|(name, text)| (name, text.to_owned())))
        .chain([table_magic])
        .collect();
    let printed: BTreeMap<&str, String> = printed
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    assert_eq!(printed, expected);
}

#[test]
fn a_plugin_in_c_keeps_its_manifest() {
    let options = ["-shared", "-fPIC", "-ffunction-sections", "-fdata-sections"];
    let dead_strip = if cfg!(target_vendor = "apple") {
        "-Wl,-dead_strip"
    } else {
        "-Wl,--gc-sections"
    };
    let library = compile(
        "examples/pebble.c",
        "pebble",
        &[&options[..], &[dead_strip]].concat(),
    );
    assert_eq!(manifest(&library).name, "pebble");
}

#[test]
fn a_plugin_in_rust_keeps_its_manifest_and_exports_one_symbol() {
    let library = example("pebble");
    assert_eq!(manifest(&library).title, "Pebble Cloud, which does not exist");

    let bytes = std::fs::read(&library).expect("the library was just built");
    let file = object::File::parse(&*bytes).expect("it is a library");
    let names: Vec<_> = file
        .exports()
        .expect("it has a symbol table")
        .map(|export| match export.expect("the table is sound").name() {
            object::NameOrOrdinal::Name(name) => String::from_utf8_lossy(name).into_owned(),
            object::NameOrOrdinal::Ordinal(number) => panic!("symbol {number} has no name"),
        })
        .collect();
    let symbol = if cfg!(target_vendor = "apple") {
        "_keyferry_plugin"
    } else {
        abi::SYMBOL
    };
    assert_eq!(names, [symbol]);
}

/// The library of an example, which is built where it was not with everything else before the tests were started.
fn example(name: &str) -> PathBuf {
    if std::env::var_os("KEYFERRY_BUILT").is_some() {
        let test = std::env::current_exe().expect("this program has a path");
        let built = test.ancestors().nth(2).expect("it is in a folder of a build");
        let file = format!("{DLL_PREFIX}{name}{DLL_SUFFIX}");
        return built.join("examples").join(file);
    }
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--package",
            "keyferry-plugin",
            "--example",
            name,
            "--message-format",
            "json",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs these tests");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("cargo prints UTF-8")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("cargo prints JSON"))
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["filenames"][0].as_str().map(PathBuf::from))
        .expect("cargo says what it built")
}

/// Reads the manifest as keyferry does, from the file.
#[track_caller]
fn manifest(library: &Path) -> Manifest {
    let bytes = std::fs::read(library).expect("the library was just built");
    let file = object::File::parse(&*bytes).expect("it is a library");
    let name = if cfg!(target_vendor = "apple") {
        abi::MACHO_SECTION
    } else {
        abi::ELF_SECTION
    };
    let section = file.section_by_name(name).expect("it has the section");
    let (major, minor, json) = manifest_from_section(section.data().expect("the section has data"))
        .expect("the section is a manifest");
    assert_eq!((major, minor), (abi::ABI_MAJOR, abi::ABI_MINOR));
    serde_json::from_str(json).expect("the manifest is one")
}

/// Compiles a C file of this crate, every warning an error.
#[track_caller]
fn compile(source: &str, name: &str, options: &[&str]) -> PathBuf {
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let compiled = Command::new("cc")
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wpedantic",
            "-O1",
            "-I",
            "include",
        ])
        .args(options)
        .arg("-o")
        .arg(&output)
        .arg(source)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    match compiled {
        Ok(compiled) => assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        ),
        Err(error) => panic!("no C compiler `cc` ({error}): install the package gcc"),
    }
    output
}
