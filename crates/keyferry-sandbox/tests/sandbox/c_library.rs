//! Plugins in C, compiled for a test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A plugin's source without its manifest and table.
#[derive(Clone, Debug)]
pub(crate) struct CLibrary {
    /// The plugin's name, in the manifest and as file name.
    pub(crate) name: &'static str,
    /// C before the table: includes, constructors.
    pub(crate) code: String,
    /// The body of `step`, which sees `request` and `length` and may `return answer("...")`.
    pub(crate) step: String,
    /// The manifest's JSON; `NAME` stands for the plugin's name.
    pub(crate) manifest: String,
    /// Definition of the manifest's section.
    pub(crate) section: &'static str,
    /// Definition of the table.
    pub(crate) table: &'static str,
}

impl CLibrary {
    /// A plugin as it should be, that fails every operation with this message.
    pub(crate) fn new(name: &'static str, message: &str) -> Self {
        Self {
            name,
            code: String::new(),
            step: format!(
                r#"return answer("{{\"fail\":{{\"error\":{{\"kind\":\"internal\",\"message\":\"{message}\"}}}}}}");"#
            ),
            manifest: MANIFEST.to_owned(),
            section: "KEYFERRY_MANIFEST(MANIFEST);",
            table: TABLE,
        }
    }

    /// The same with a constructor that creates this file.
    pub(crate) fn with_constructor(mut self, marker: &Path) -> Self {
        self.code.push_str(&format!(
            "#include <fcntl.h>\n__attribute__((constructor)) static void mark(void) {{ open(\"{}\", O_CREAT | O_WRONLY, 0600); }}\n",
            marker.display()
        ));
        self
    }

    /// Compiles it into `directory`, under the name that keyferry looks for.
    pub(crate) fn compile(&self, directory: &Path) -> PathBuf {
        let Self {
            name,
            code,
            step,
            manifest,
            section,
            table,
        } = self;
        let manifest = manifest
            .replace("NAME", name)
            .replace('"', "\\\"")
            .replace('\n', " ");
        let source = format!(
            r#"
#include <stdlib.h>
#include <string.h>
#include "keyferry_plugin.h"
#define MANIFEST "{manifest}"
{code}
static keyferry_buffer answer(const char *text) {{
    keyferry_buffer buffer = {{malloc(strlen(text)), strlen(text)}};
    memcpy(buffer.data, text, buffer.length);
    return buffer;
}}
static keyferry_buffer step(const uint8_t *request, size_t length) {{
    (void)request, (void)length;
    {step}
    return answer("");
}}
static void give_back(keyferry_buffer buffer) {{ free(buffer.data); }}
{section}
{table}
const void *keep[] = {{(const void *)step, (const void *)give_back}};
"#
        );
        let path = directory.join(keyferry_sandbox_file_name(name));
        let file = directory.join(format!("{name}.c"));
        std::fs::write(&file, source).unwrap();
        let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let include = folders.find_map(|folder| {
            let include = folder.join("crates/keyferry-plugin/include");
            include.is_dir().then_some(include)
        });
        let include = include.expect("the project has the header");
        let output = Command::new("cc")
            .args([
                "-std=c11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-D_GNU_SOURCE",
                "-shared",
                "-fPIC",
                "-o",
            ])
            .args([&path, &file])
            .arg("-I")
            .arg(include)
            .output()
            .expect("a C compiler is installed as cc (package gcc or clang)");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}");
        path
    }
}

fn keyferry_sandbox_file_name(name: &str) -> String {
    let suffix = std::env::consts::DLL_SUFFIX;
    format!("libkeyferry_{}{suffix}", name.replace('-', "_"))
}

const TABLE: &str = "const keyferry_plugin_table keyferry_plugin = {KEYFERRY_TABLE_MAGIC, KEYFERRY_ABI_MAJOR, \
                     KEYFERRY_ABI_MINOR, sizeof(keyferry_plugin_table), step, give_back};";

const MANIFEST: &str = r#"{
"name": "NAME", "version": "1.2.3", "title": "A plugin in C", "hosts": ["api.c.example"], "region": "optional",
"headers": ["x-*"], "operations": {"list": {"calls": [{"method": "GET", "path": "/"}]}},
"names": {"min_length": 1, "max_length": 64, "starts_with_letter": false, "punctuation": "-"},
"algorithms": {"create": [], "import": []}, "credentials": {}, "fingerprints": []
}"#;
