use super::*;

const KIND: OperationKind = OperationKind::Credentials;

fn named(by: &str, body: &str) -> NamedUrls {
    let mut named = NamedUrls::default();
    named.note(KIND, &Origin::parse(by).unwrap(), 200, body.as_bytes());
    named
}

/// Where requests to a URL of the session may go, or why not.
fn catalogue(by: &str, url: &str, insecure_http: bool) -> Result<(String, Destination), String> {
    let body = serde_json::json!({"catalog": [{"endpoints": [{"url": url}]}]}).to_string();
    let mut reach = Reach::default();
    reach
        .add_catalogue(url, &named(by, &body), insecure_http)
        .map_err(|refusal| refusal.message)?;
    let found = &reach.urls[0];
    Ok((format!("{}{}", found.origin, found.base), found.destination))
}

#[test]
fn a_catalogues_url_is_allowed_as_it_was_named() {
    let (https, http) = ("https://keystone.example", "http://127.0.0.1:5000");
    for (by, url, insecure, expected) in [
        (
            https,
            "https://nova.example:8774/v2.1/",
            false,
            Destination::Vendor,
        ),
        (https, "https://10.0.0.7", false, Destination::Vendor),
        (
            http,
            "http://127.0.0.1:8774/v2.1",
            false,
            Destination::LoopbackEndpoint,
        ),
        (http, "http://localhost:8774", true, Destination::Endpoint),
        (http, "https://nova.example", false, Destination::Endpoint),
        (
            "http://keystone.lan",
            "http://nova.lan/v2.1",
            true,
            Destination::Vendor,
        ),
    ] {
        let allowed = catalogue(by, url, insecure).unwrap();
        assert_eq!(allowed, (url.trim_end_matches('/').to_owned(), expected), "{url}");
    }
}

#[test]
fn a_login_may_follow_what_it_was_told() {
    let body = r#"["http://127.0.0.1:8774/v2.1/p", "http://nova.example/v2.1"]"#;
    let named = named("http://127.0.0.1:5000", body);
    let hosts = ["{catalogue}".to_owned()];
    let bases = |origin: &str, path: &str| -> Vec<String> {
        let reach = Reach::default().with_named(origin, path, &named, false);
        let origin = Origin::parse(origin).unwrap();
        reach.at(&origin, &hosts).map(|url| url.base.clone()).collect()
    };
    assert_eq!(bases("http://127.0.0.1:8774", "/v2.1"), ["/v2.1/p", "/v2.1"]);
    assert_eq!(bases("http://127.0.0.1:8774", "/other"), ["/v2.1/p"]);
    assert!(bases("http://127.0.0.1:8775", "/v2.1").is_empty());
    // Plain http to another machine.
    assert!(bases("http://nova.example", "/v2.1").is_empty());
    assert_eq!(
        Reach::default().with_named("nova.example", "/v2.1", &named, false),
        Reach::default()
    );
}

#[test]
fn a_catalogues_url_is_not_weaker_than_who_named_it() {
    let https = "https://keystone.example";
    for (by, url, insecure, expected) in [
        (https, "http://nova.example", true, "which is without TLS"),
        (https, "https://127.0.0.1", true, "which is on this machine"),
        (
            https,
            "https://[::ffff:127.0.0.1]",
            true,
            "which is on this machine",
        ),
        (https, "https://localhost", true, "which is on this machine"),
        (https, "https://169.254.169.254", true, "a metadata service"),
        (https, "https://169.254.1.1", true, "a link-local address"),
        (
            https,
            "https://metadata.google.internal",
            true,
            "a metadata service",
        ),
        (
            "http://127.0.0.1",
            "http://169.254.169.254",
            true,
            "a metadata service",
        ),
        (
            "http://127.0.0.1",
            "http://nova.example",
            false,
            "which is plain http",
        ),
        (
            "http://keystone.lan",
            "http://nova.lan",
            false,
            "which is plain http",
        ),
        (
            "http://keystone.lan",
            "http://127.0.0.1",
            true,
            "which is on this machine",
        ),
    ] {
        let message = catalogue(by, url, insecure).unwrap_err();
        assert!(message.contains(expected), "{url}: {message}");
    }
}

#[test]
fn a_url_must_have_been_named() {
    let body = r#"{"a": "https://nova.example/v2.1/p", "b": "see https://other.example/x", "c": "https:\/\/escaped.example"}"#;
    let named = named("https://keystone.example", body);
    let try_to = |url: &str| {
        Reach::default()
            .add_catalogue(url, &named, false)
            .map_err(|refusal| refusal.message)
    };
    for url in [
        "https://nova.example/v2.1/p",
        "https://nova.example/v2.1/",
        "https://nova.example",
        "https://escaped.example/",
    ] {
        try_to(url).unwrap();
    }
    for url in [
        "https://evil.example",
        "https://other.example/x",
        "https://nova.example/v2.1/p/q",
        "https://nova.example/v2",
        "https://nova.example:8443/v2.1",
    ] {
        let message = try_to(url).unwrap_err();
        assert!(
            message.contains("which no answer of this login named"),
            "{message}"
        );
    }
    for url in [
        "https://nova.example/v2.1/../x",
        "https://nova.example/a//b",
        "https://nova.example/?a",
        "https://user@nova.example/",
        "nova.example",
        "",
    ] {
        assert!(try_to(url).is_err(), "{url}");
    }
}

#[test]
fn only_successful_answers_of_a_login_name_urls() {
    let origin = Origin::parse("https://keystone.example").unwrap();
    let body = br#"["https://nova.example"]"#;
    let mut named = NamedUrls::default();
    named.note(KIND, &origin, 404, body);
    named.note(OperationKind::List, &origin, 200, body);
    named.note(KIND, &origin, 200, b"https://nova.example");
    assert!(named.urls.is_empty());
    named.note(KIND, &origin, 200, b"{\"bad \xff\": \"https://nova.example\"}");
    assert_eq!(named.urls.len(), 1);
    let mut named = NamedUrls::default();
    let many = serde_json::json!(vec!["https://nova.example"; 2 * MAX_NAMED]).to_string();
    named.note(KIND, &origin, 200, many.as_bytes());
    assert_eq!(named.urls.len(), MAX_NAMED);
}

#[test]
fn a_settings_url_is_held_to_what_an_endpoint_is() {
    let mut reach = Reach::default();
    for (url, insecure) in [
        ("https://keystone.example:5000/v3/", false),
        ("http://127.0.0.1:5000", false),
        ("http://keystone.lan/identity", true),
        // Left to the manifest's hosts.
        ("http://169.254.170.23/v1/credentials", false),
    ] {
        reach.add_setting(url, insecure).unwrap();
    }
    let hosts = ["{setting}".to_owned()];
    let bases = |origin: &str, hosts: &[String]| -> Vec<(String, Destination)> {
        let origin = Origin::parse(origin).unwrap();
        let urls = reach.at(&origin, hosts);
        urls.map(|url| (url.base.clone(), url.destination)).collect()
    };
    assert_eq!(
        bases("https://keystone.example:5000", &hosts),
        [("/v3".to_owned(), Destination::Endpoint)]
    );
    assert_eq!(
        bases("http://127.0.0.1:5000", &hosts),
        [(String::new(), Destination::LoopbackEndpoint)]
    );
    assert!(bases("http://127.0.0.1:5000", &["{catalogue}".to_owned()]).is_empty());
    assert!(bases("http://169.254.170.23", &hosts).is_empty());
    for (url, expected) in [
        ("http://keystone.lan", "use https, or set insecure_http = true"),
        ("http://169.254.1.1", "which is never contacted"),
        ("https://keystone.lan/?token=x", "has a path that is not plain"),
        (
            "ftp://keystone.lan",
            "is not of the form https://host[:port][/path]",
        ),
    ] {
        let message = Reach::default().add_setting(url, false).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}
