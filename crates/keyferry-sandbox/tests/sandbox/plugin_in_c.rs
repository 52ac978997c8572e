//! A plugin in C, against the header alone.

use keyferry_hostile::Behaviour;
use keyferry_sandbox::{Sandbox, library};

use crate::c_library::CLibrary;
use crate::{failure, launch, list, patient};

#[test]
fn a_plugin_in_c_is_found_inspected_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut plugin = CLibrary::new("written-in-c", "");
    plugin.code = "#include <stdio.h>".to_owned();
    plugin.step = r#"
        char text[200];
        int known = memmem(request, length, "{\"operation\":{\"list\":", 21) != NULL;
        snprintf(text, sizeof text, "{\"fail\":{\"error\":{\"kind\":\"internal\",\"message\":\"%zu bytes, list: %d\"}}}", length, known);
        return answer(text);"#
        .to_owned();
    let path = plugin.compile(folder.path());

    let directories = [folder.path().to_owned()];
    assert_eq!(library::find(&directories, "written-in-c").unwrap(), path);
    let facts = library::inspect(&path).unwrap();
    assert_eq!(
        (facts.name.as_str(), facts.version.as_str()),
        ("written-in-c", "1.2.3")
    );
    assert_eq!(
        (facts.major, facts.minor),
        (keyferry_plugin::abi::ABI_MAJOR, keyferry_plugin::abi::ABI_MINOR)
    );
    assert_eq!(facts.manifest.hosts, ["api.c.example"]);

    let sandbox = Sandbox::start(launch(), facts, patient()).unwrap();
    let request = list(Behaviour::None);
    let length = serde_json::to_vec(&request).unwrap().len();
    let expected = format!("{length} bytes, list: 1");
    for _ in 0..3 {
        assert_eq!(failure(sandbox.step(&request).unwrap()), expected);
    }
}
