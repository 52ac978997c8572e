use std::path::Path;

use keyferry_plugin::manifest::Manifest;
use serde_json::{Value, json};

use super::{file_name, find, list, manifest_rules, plugin_name};

fn good() -> Value {
    serde_json::from_str(include_str!("../../../../tests/hostile-plugin/manifest.json")).unwrap()
}

/// A good one that sends to no URL and does not log in.
fn plain() -> Value {
    let mut json = good();
    json["hosts"] = json!(["api.hostile.example"]);
    json["login"] = json!(false);
    json["sources"]["profile"]["file"]["urls"] = json!([]);
    json["operations"]["credentials"] = json!({});
    for (parent, name) in [("operations", "list_instances"), ("settings", "login_url")] {
        json[parent].as_object_mut().unwrap().remove(name);
    }
    for source in json["sources"].as_object_mut().unwrap().values_mut() {
        for kind in source.as_object_mut().unwrap().values_mut() {
            kind.as_object_mut().unwrap().remove("urls");
        }
    }
    json
}

/// With this value at this place, the manifest is refused, for this place and with these words.
#[track_caller]
fn check(pointer: &str, value: Value, place: &str, words: &str) {
    check_in(good(), pointer, value, place, words);
}

#[track_caller]
fn check_in(json: Value, pointer: &str, value: Value, place: &str, words: &str) {
    let problem = judge(json, pointer, value).err().unwrap();
    assert_eq!(problem.place, place, "{}", problem.words);
    assert!(problem.words.contains(words), "{}", problem.words);
}

#[track_caller]
fn accept(pointer: &str, value: Value) {
    if let Err(problem) = judge(good(), pointer, value) {
        panic!("{}: {}", problem.place, problem.words);
    }
}

fn judge(mut json: Value, pointer: &str, value: Value) -> Result<(), manifest_rules::Problem> {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match json.pointer_mut(parent).unwrap() {
        Value::Object(object) => drop(object.insert(last.to_owned(), value)),
        Value::Array(array) => array[last.parse::<usize>().unwrap()] = value,
        other => panic!("{other}"),
    }
    let manifest: Manifest = serde_json::from_value(json).unwrap();
    manifest_rules::check(&manifest, "hostile")
}

#[test]
fn shipped_manifests_keep_the_rules() {
    let manifest: Manifest = serde_json::from_value(good()).unwrap();
    assert!(manifest_rules::check(&manifest, "hostile").is_ok());
    assert!(judge(plain(), "/hosts/0", json!("api.hostile.example")).is_ok());

    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let mut checked = 0;
    for entry in std::fs::read_dir(plugins).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(folder.join("manifest.json")) else {
            continue;
        };
        let manifest: Manifest = serde_json::from_str(&text).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        if let Err(problem) = manifest_rules::check(&manifest, name) {
            panic!("{name}: {}: {}", problem.place, problem.words);
        }
        checked += 1;
    }
    assert!(checked >= 2, "{checked}");
}

#[test]
fn names_must_agree_and_texts_be_lines() {
    check("/name", json!("friendly"), "name", "stands for \"hostile\"");
    check("/version", json!(""), "version", "one line");
    check("/title", json!("two\nlines"), "title", "one line");
}

#[test]
fn hosts_are_named_one_by_one() {
    for (host, words) in [
        ("*.hostile.example", "has a wildcard"),
        ("example", "at least two labels"),
        ("{region}.example", "last two labels literally"),
        ("api.{region}", "last two labels literally"),
        (
            "169.254.169.254",
            "credentials alone may ask, and it has no calls",
        ),
        ("169.254.169.1", "is not a host's name"),
        ("{catalogue}", "needs the operation credentials"),
        ("{setting}", "and none is one of them"),
        ("{setting}.example.com", "a whole label"),
        ("https://api.example.com", "without scheme"),
        ("api.example.com:443", "without scheme"),
        ("api.example.com/path", "without scheme"),
        ("user@api.example.com", "without scheme"),
        ("API.example.com", "in lower case"),
        ("api..example.com", "labels in lower case"),
        ("ecs-{region}.example.com", "a whole label"),
        ("{host}.example.com", "a whole label"),
    ] {
        check_in(plain(), "/hosts/0", json!(host), "hosts[0]", words);
    }
    check("/hosts", json!([]), "hosts", "names no host");
}

#[test]
fn headers_are_names_that_a_plugin_may_set() {
    for header in [
        "*",
        "X-Action",
        "host",
        "content-length",
        "transfer-encoding",
        "proxy-authorization",
        "x *",
        "",
    ] {
        check(
            "/headers/0",
            json!(header),
            "headers[0]",
            "is not a header's name",
        );
    }
}

#[test]
fn calls_are_well_formed() {
    let call = "/operations/list/calls/0";
    let place = "operations.list.calls[0]";
    check(
        "/operations/list/calls",
        json!([]),
        "operations.list",
        "lists no call",
    );
    check(
        &format!("{call}/method"),
        json!("post"),
        &format!("{place}.method"),
        "upper case",
    );
    for path in [
        "",
        "pairs",
        "/a//b",
        "/a/../b",
        "/a?b=c",
        "/a b",
        "/a#b",
        "/a/{base}",
        "{base}a",
    ] {
        check(
            &format!("{call}/path"),
            json!(path),
            &format!("{place}.path"),
            "is not a path",
        );
    }
    check_in(
        plain(),
        &format!("{call}/path"),
        json!("{base}/pairs"),
        &format!("{place}.path"),
        "the hosts have neither {catalogue} nor {setting}",
    );
    check(
        &format!("{call}/path"),
        json!("/pairs/a*"),
        &format!("{place}.path"),
        "only when it is alone",
    );
    for (body, at, words) in [
        (
            json!({"json": {"name": "a"}}),
            "body.name",
            "is not a JSON pointer",
        ),
        (
            json!({"json": {"/key": "{public_key}"}}),
            "body./key",
            "known to import only",
        ),
        (
            json!({"json": {"/key": "a*"}}),
            "body./key",
            "only when it is alone",
        ),
    ] {
        check(&format!("{call}/body"), body, &format!("{place}.{at}"), words);
    }
    let with_get = json!([{"method": "GET", "path": "/", "body": "form"}]);
    check(
        "/operations/list/calls",
        with_get,
        &format!("{place}.body"),
        "a GET has none",
    );
    check(
        &format!("{call}/path"),
        json!("/{zone}"),
        &format!("{place}.path"),
        "{zone} is not known",
    );
    check(
        &format!("{call}/path"),
        json!("/{name}"),
        &format!("{place}.path"),
        "list has no value for",
    );
    check(
        &format!("{call}/parameters"),
        json!({"key": "{public_key}"}),
        &format!("{place}.parameters.key"),
        "known to import only",
    );
    check(
        &format!("{call}/parameters"),
        json!({"tag": "a*"}),
        &format!("{place}.parameters.tag"),
        "only when it is alone",
    );
    check(
        &format!("{call}/parameters"),
        json!({"*": "a"}),
        &format!("{place}.parameters.*"),
        "is not a parameter's name",
    );
    check(
        &format!("{call}/required"),
        json!(["name"]),
        &format!("{place}.required"),
        "is not among the parameters",
    );
    check(
        &format!("{call}/headers"),
        json!({"host": "evil.example"}),
        &format!("{place}.headers.host"),
        "is not a header's name",
    );
}

#[test]
fn a_delete_says_which_pair() {
    let call = "/operations/delete/calls/0";
    let place = "operations.delete.calls[0]";
    check(
        &format!("{call}/required"),
        json!([]),
        place,
        "does not say where {name} or {id} stands",
    );
    check(
        &format!("{call}/parameters"),
        json!({"names": "*"}),
        place,
        "does not say where {name} or {id} stands",
    );
}

#[test]
fn what_is_bound_says_which_pair_in_a_body_too() {
    let call = |body: Value, required: Value| json!([{"method": "POST", "path": "/", "parameters": {"force": "*"}, "body": body, "required": required}]);
    let json = || json!({"json": {"/names/*": "{name}", "/ids/0": "{id}", "/note": "*"}});
    for required in [json!(["/names/0"]), json!(["/names/*"]), json!(["/ids/0"])] {
        accept("/operations/delete/calls", call(json(), required.clone()));
    }
    for (body, required) in [
        (json(), json!([])),
        (json(), json!(["/note", "force"])),
        (json!("form"), json!(["force"])),
    ] {
        check(
            "/operations/delete/calls",
            call(body.clone(), required.clone()),
            "operations.delete.calls[0]",
            "does not say where {name} or {id} stands",
        );
        check(
            "/operations/attach",
            json!({"calls": call(body, required)}),
            "operations.attach.calls[0]",
            "does not say where {name} or {id} stands",
        );
    }
    check(
        "/operations/attach",
        json!({"calls": call(json(), json!(["/names/0"]))}),
        "operations.attach.calls[0]",
        "does not say where {instance} or {instances} stands",
    );
    check(
        "/operations/delete/calls",
        call(json(), json!(["/names/x"])),
        "operations.delete.calls[0].required",
        "nor in the body",
    );
}

#[test]
fn what_is_bound_says_which_instances() {
    let call = |template: &str| {
        json!({
            "method": "POST", "path": "/", "parameters": {"name": "{name}", "instance.*": template},
            "required": ["name", "instance.*"],
        })
    };
    for template in ["{instance}", "{instances}"] {
        let rules = json!({"calls": [call(template)], "instance": {"needs": "restart", "replaces": true}});
        accept("/operations/attach", rules);
    }
    check(
        "/operations/attach",
        json!({"calls": [call("*")]}),
        "operations.attach.calls[0]",
        "does not say where {instance} or {instances} stands",
    );
    check(
        "/operations/attach",
        json!({"calls": [call("i-{instance}")]}),
        "operations.attach.calls[0].parameters.instance.*",
        "the placeholder {instance} is not known",
    );
    check(
        "/operations/delete",
        json!({"calls": [call("{instance}")]}),
        "operations.delete.calls[0].parameters.instance.*",
        "has no value for",
    );
    check(
        "/operations/delete/instance",
        json!({"needs": "stopped"}),
        "operations.delete.instance",
        "is of attach alone",
    );
}

#[test]
fn logins_and_urls_need_what_they_stand_for() {
    check_in(
        plain(),
        "/login",
        json!(true),
        "login",
        "with the calls of a login",
    );
    check_in(
        plain(),
        "/settings/endpoint",
        json!({"type": "url", "help": "a URL"}),
        "settings.endpoint",
        "{setting} is not among the hosts",
    );
    check_in(
        plain(),
        "/sources/environment/environment/urls",
        json!(["HOSTILE_ACCESS_KEY_ID"]),
        "sources.environment.urls",
        "{setting} is not among the hosts",
    );
    check(
        "/sources/environment/environment/urls",
        json!(["HOSTILE_ACCESS_KEY_SECRET"]),
        "sources.environment.urls",
        "is not among the public ones",
    );
    for policy in [
        json!({}),
        json!("{permissions}"),
        json!({"Action": "{permissions}"}),
    ] {
        check("/policy", policy, "policy", "has no list with the element");
    }
    accept("/policy", json!({"Statement": [{"Action": ["{permissions}"]}]}));
    accept(
        "/operations/list/calls/0/path",
        json!("/{region}/projects/*/pairs"),
    );
}

#[test]
fn files_and_commands_are_described_in_full() {
    let place = "sources.environment";
    let file = |more: Value| {
        let mut file = json!({"format": "json", "path": "/etc/a", "secret": {"/b": "security_token"}});
        for (name, value) in more.as_object().unwrap() {
            file[name] = value.clone();
        }
        json!({ "file": file })
    };
    let pointer = "/sources/environment";
    accept(pointer, file(json!({"alternatives": ["~/a", "/b"]})));
    accept(pointer, file(json!({"path": "", "path_variable": "A_FILE"})));
    let text = json!({"path": "", "path_variable": "A", "format": "text", "secret": {"": "security_token"}});
    accept(pointer, file(text));
    for (more, at, words) in [
        (
            json!({"alternatives": ["a"]}),
            ".alternatives[0]",
            "is not a path",
        ),
        (json!({"path": ""}), ".path", "is not a path"),
        (
            json!({"path": "", "path_variable": "A", "alternatives": ["/a"]}),
            ".path",
            "is not a path",
        ),
        (json!({"urls": ["/c"]}), ".urls", "is not among the public ones"),
        (
            json!({"commands": {"/c": "nothing"}}),
            ".commands",
            "of the kind `command`",
        ),
        (json!({"commands": {"/b": "nothing"}}), "", "stands there twice"),
        (json!({"format": "text"}), "", "the empty pointer"),
        (
            json!({"inline_comments": true}),
            ".inline_comments",
            "only files of the format `ini` have them",
        ),
        (
            json!({"format": "text", "secret": {}, "public": [""]}),
            "",
            "is a text, which is one secret",
        ),
    ] {
        check(pointer, file(more), &format!("{place}{at}"), words);
    }
    accept(pointer, json!({"command": {"secret": {"/b": "security_token"}}}));
    check(pointer, json!({"command": {}}), place, "names nothing to read");
}

#[test]
fn credentials_have_places_as_their_class_says() {
    let token = "/credentials/security_token";
    let place = "credentials.security_token";
    check(
        &format!("{token}/places"),
        json!([]),
        place,
        "must say in which places",
    );
    for at in [
        "header:X-Token",
        "header:host",
        "body:token",
        "query:",
        "x-token",
        "form:*",
        "json:password",
        "json:",
    ] {
        check(
            &format!("{token}/places"),
            json!([at]),
            &format!("{place}.places[0]"),
            "is neither",
        );
    }
    check(
        "/credentials/access_key_id/places",
        json!(["header:x-id"]),
        "credentials.access_key_id",
        "only a bearer has places",
    );
    check(
        "/credentials/private_key",
        json!({"class": "public"}),
        "credentials.private_key",
        "private half",
    );
    check(
        "/credentials/Secret",
        json!({"class": "public"}),
        "credentials.Secret",
        "lower-case",
    );
}

#[test]
fn secrets_of_answers_are_places() {
    let pointer = "/operations/credentials/calls/0/secrets";
    accept(pointer, json!(["json:/a/b", "xml:A/B", "header:x-subject-token"]));
    for place in [
        "/a",
        "json:a",
        "json:/*/a",
        "xml:A//B",
        "xml:",
        "header:X-Token",
        "header:",
        "body",
    ] {
        let at = "operations.credentials.calls[0].secrets[1]";
        check(
            pointer,
            json!(["json:/a", place]),
            at,
            "is neither `json:POINTER`",
        );
    }
}

#[test]
fn sources_do_not_lie_where_keys_and_devices_do() {
    let file = |paths: [&str; 2]| json!({"file": {"path": paths[0], "alternatives": [paths[1]], "format": "json", "public": ["/a"]}});
    let place = "sources.environment";
    for path in [
        "~/.ssh/config",
        "~/.ssh",
        "~/.gnupg/private-keys-v1.d/key",
        "~/.local/state/keyferry/ledger.json",
        "~/.config/keyferry/accounts/a.toml",
        "/home/li/.ssh/id_ed25519",
        "/root/.config/keyferry/config.toml",
        "/proc/self/environ",
        "/dev/shm/token",
        "/sys/kernel/notes",
    ] {
        for (paths, part) in [([path, "/a"], "path"), (["/a", path], "alternatives[0]")] {
            let at = format!("{place}.{part}");
            check(
                "/sources/environment",
                file(paths),
                &at,
                "no plugin may read what lies below",
            );
        }
    }
    accept(
        "/sources/environment",
        file(["~/.sshx/.config/other/keyferry", "/var/proc/device/a"]),
    );
}

#[test]
fn sources_are_variables_and_files() {
    let place = "sources.environment";
    let variables =
        |public: Value| json!({"environment": {"public": public, "secret": {"TOKEN": "security_token"}}});
    check(
        "/sources/environment",
        variables(json!(["path"])),
        place,
        "a variable's name in upper case",
    );
    check(
        "/sources/environment",
        variables(json!(["TOKEN"])),
        place,
        "stands there twice",
    );
    check(
        "/sources/environment",
        json!({"environment": {}}),
        place,
        "names nothing to read",
    );
    for (field, words) in [
        ("passphrase", "not among the credentials"),
        ("access_key_id", "which is public"),
    ] {
        check(
            "/sources/environment",
            json!({"environment": {"secret": {"TOKEN": field}}}),
            place,
            words,
        );
    }
    let file = |path: &str| json!({"file": {"path": path, "format": "json", "public": ["/a"]}});
    for path in [
        "config.json",
        "~/../.ssh/id_rsa",
        "/etc//shadow",
        "~root/file",
        "",
        "./clouds.yaml",
    ] {
        check(
            "/sources/environment",
            file(path),
            "sources.environment.path",
            "is not a path",
        );
    }
}

#[test]
fn names_algorithms_and_settings_make_sense() {
    check("/names/min_length", json!(0), "names", "1 <= min_length");
    check("/names/max_length", json!(1), "names", "1 <= min_length");
    check(
        "/names/punctuation",
        json!("a"),
        "names.punctuation",
        "ASCII punctuation",
    );
    check(
        "/names/forbidden_prefixes",
        json!(["ALI"]),
        "names.forbidden_prefixes[0]",
        "lower case",
    );
    check("/algorithms/create", json!([]), "algorithms.create", "names none");
    check(
        "/algorithms/import",
        json!(["ed25519", "ed25519"]),
        "algorithms.import",
        "twice",
    );
    check(
        "/settings/behaviour/help",
        json!(""),
        "settings.behaviour",
        "help",
    );
}

#[test]
fn file_names_and_plugin_names_stand_for_each_other() {
    assert_eq!(
        plugin_name(&file_name("alibaba-ens")).as_deref(),
        Some("alibaba-ens")
    );
    for name in [
        "libkeyferry_.so",
        "libkeyferry_Upper.so",
        "libother.so",
        "libkeyferry_a",
        "libkeyferry_a/../b.so",
    ] {
        assert_eq!(plugin_name(name), None, "{name}");
    }
}

#[test]
fn the_first_directory_wins() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    for (directory, plugin) in [(&first, "both"), (&second, "both"), (&second, "one-only")] {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join(file_name(plugin)), "").unwrap();
    }
    std::fs::write(second.join("README"), "").unwrap();
    let directories = [folder.path().join("missing"), first.clone(), second.clone()];

    let found: Vec<_> = list(&directories)
        .into_iter()
        .map(|found| (found.plugin, found.path))
        .collect();
    let expected = [
        ("both".to_owned(), first.join(file_name("both"))),
        ("one-only".to_owned(), second.join(file_name("one-only"))),
    ];
    assert_eq!(found, expected);
    assert_eq!(find(&directories, "both").unwrap(), first.join(file_name("both")));

    let error = find(&directories, "neither").unwrap_err().to_string();
    assert!(
        error.contains(&file_name("neither")) && error.contains("/second"),
        "{error}"
    );
    assert!(find(&directories, "../second/both").is_err());
    assert!(
        find(&[], "both")
            .unwrap_err()
            .to_string()
            .contains("set plugin_dirs")
    );
}
