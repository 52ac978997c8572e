//! `keyferry plugin new`: the beginnings of a plugin.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyferry_sandbox::library;

use super::commands::NewArguments;
use crate::error::Error;
use crate::exit::Exit;
use crate::{paths, table};

/// Writes a small package that builds, and passes `plugin check`, as it stands.
pub(super) fn new(arguments: &NewArguments) -> Result<Exit, Error> {
    let name = &arguments.name;
    if library::plugin_name(&library::file_name(name)).as_ref() != Some(name) {
        return Err(Error::Usage(format!(
            "{name:?} is no name for a plugin: lower-case letters, digits and hyphens are allowed, up to 48, the first \
             one no hyphen"
        )));
    }
    let kit = paths::absolute(&arguments.kit)?;
    if !kit.join("src/contract.rs").is_file() {
        return Err(Error::Usage(format!(
            "{} is not the plugin kit: name crates/keyferry-plugin of keyferry's sources",
            kit.display()
        )));
    }
    let folder = match &arguments.directory {
        Some(folder) => paths::absolute(folder)?,
        None => paths::absolute(Path::new(name))?,
    };
    let failed = |source: io::Error| Error::Plugin(format!("cannot write {}: {source}", folder.display()));
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    // What is there is never written over.
    fs::create_dir(&folder).map_err(failed)?;
    let kit = kit
        .display()
        .to_string()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    for (path, template) in TEMPLATES {
        let path: PathBuf = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::write(
            path,
            fill(template, name).replace("\"KIT\"", &format!("\"{kit}\"")),
        )
        .map_err(failed)?;
    }
    let library = library::file_name(name);
    table::print(&format!(
        "wrote {}\n\nnext:\n  cd {}\n  cargo build\n  keyferry plugin check target/debug/{library}",
        folder.display(),
        folder.display()
    ))?;
    Ok(Exit::Fine)
}

/// The template for a plugin of this name, which is `my-cloud` there.
fn fill(template: &str, name: &str) -> String {
    let words: Vec<String> = name
        .split('-')
        .map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        })
        .collect();
    // A type's name does not begin with a digit.
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    let type_name = format!("{}{}", if digit { "Cloud" } else { "" }, words.concat());
    template
        .replace("MyCloud", &type_name)
        .replace("My Cloud", words.join(" ").trim())
        .replace("my-cloud", name)
        .replace("my_cloud", &name.replace('-', "_"))
}

const TEMPLATES: [(&str, &str); 5] = [
    (
        "Cargo.toml",
        include_str!("../../../keyferry-plugin/template/Cargo.toml.template"),
    ),
    (
        "manifest.json",
        include_str!("../../../keyferry-plugin/template/manifest.json"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../keyferry-plugin/template/lib.rs"),
    ),
    (
        "conformance/keys.json",
        include_str!("../../../keyferry-plugin/template/conformance.json"),
    ),
    (
        "README.md",
        include_str!("../../../keyferry-plugin/template/README.md"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_types_files_and_titles() {
        let filled = |name| fill("MyCloud My Cloud my-cloud my_cloud", name);
        assert_eq!(
            filled("edge-2-node"),
            "Edge2Node Edge 2 Node edge-2-node edge_2_node"
        );
        assert_eq!(filled("7up"), "Cloud7up 7up 7up 7up");
    }
}
