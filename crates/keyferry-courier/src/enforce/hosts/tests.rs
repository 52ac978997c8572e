use super::*;

fn hosts() -> Vec<String> {
    [
        "ecs.{region}.aliyuncs.com",
        "ens.aliyuncs.com",
        "localhost",
        "169.254.169.254",
        "100.100.100.200",
        "metadata.google.internal",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn judge(
    kind: OperationKind,
    text: &str,
    region: Option<&str>,
    endpoint: Option<&Endpoint>,
) -> Result<Target, Refusal> {
    let allowed = Hosts {
        kind,
        listed: &hosts(),
        region,
        endpoint,
        reach: &Reach::default(),
    };
    check(text, allowed)
}

#[track_caller]
fn allowed(text: &str, endpoint: Option<(&str, bool)>) -> (String, Destination) {
    let endpoint = endpoint.map(|(text, insecure)| Endpoint::parse(text, insecure).unwrap());
    let target = judge(OperationKind::List, text, Some("cn-hangzhou"), endpoint.as_ref()).unwrap();
    assert_eq!(target.bases, [""]);
    (target.origin.to_string(), target.destination)
}

#[track_caller]
fn refused(text: &str, region: Option<&str>, endpoint: Option<(&str, bool)>) -> String {
    let endpoint = endpoint.map(|(text, insecure)| Endpoint::parse(text, insecure).unwrap());
    let refusal = judge(OperationKind::List, text, region, endpoint.as_ref()).unwrap_err();
    assert_eq!(refusal.rule, Rule::Host);
    refusal.message
}

#[test]
fn a_host_of_the_manifest_is_allowed() {
    let vendor = |text: &str| (text.to_owned(), Destination::Vendor);
    assert_eq!(
        allowed("https://ens.aliyuncs.com", None),
        vendor("https://ens.aliyuncs.com")
    );
    assert_eq!(
        allowed("https://ENS.aliyuncs.com:443", None),
        vendor("https://ens.aliyuncs.com")
    );
    assert_eq!(
        allowed("https://ecs.cn-hangzhou.aliyuncs.com", None),
        vendor("https://ecs.cn-hangzhou.aliyuncs.com")
    );
}

#[test]
fn any_other_host_is_refused() {
    let region = Some("cn-hangzhou");
    for origin in [
        "https://evil.example",
        "https://ens.aliyuncs.com.evil.example",
        "https://evil.ens.aliyuncs.com",
        "https://ecs.cn-beijing.aliyuncs.com",
        "https://ens.aliyuncs.com.",
        "https://ens.aliyuncs.com:8443",
        "http://ens.aliyuncs.com",
        "https://ens.aliyuncs.com/path",
        "https://ens.aliyuncs.com#x",
        "https://ens.aliyuncs.com?x",
        "https://user@ens.aliyuncs.com",
        "https://ens.aliyuncs.com@evil.example",
        "https://ens.aliyuncs.com\\@evil.example",
        "https://ens.aliyuncs.com:443:80",
        "ftp://ens.aliyuncs.com",
        "//ens.aliyuncs.com",
        "https://",
        "https://ens.aliyuncs.com:0",
        "https://ens.aliyuncs.com:+443",
        "https://localhost",
    ] {
        refused(origin, region, None);
    }
    assert_eq!(
        refused("https://evil.example", region, None),
        "sent to https://evil.example, which is neither a host of its manifest nor the account's endpoint"
    );
    assert_eq!(
        refused("http://ens.aliyuncs.com", region, None),
        "sent to http://ens.aliyuncs.com without TLS"
    );
    assert!(!refused("https://AKID:secretword@ens.aliyuncs.com", region, None).contains("secretword"));
}

#[test]
fn a_region_is_one_label() {
    for region in [
        None,
        Some(""),
        Some("a.evil"),
        Some("a/b"),
        Some("A"),
        Some("-a"),
        Some("a-"),
        Some("a@b"),
    ] {
        let host = format!("https://ecs.{}.aliyuncs.com", region.unwrap_or("x"));
        refused(&host, region, None);
    }
}

#[test]
fn metadata_and_link_local_addresses_are_refused_though_listed() {
    for origin in [
        "https://169.254.169.254",
        "https://100.100.100.200",
        "https://metadata.google.internal",
        "http://[fe80::1]",
        "https://[::ffff:100.100.100.200]",
    ] {
        let message = refused(origin, None, None);
        assert!(message.ends_with("that it may not contact"), "{message}");
    }
    for text in [
        "http://169.254.169.254",
        "https://[fd00:ec2::254]",
        "https://metadata",
        "https://0.0.0.0",
        "https://[64:ff9b::a9fe:a9fe]",
    ] {
        let error = Endpoint::parse(text, true).unwrap_err();
        assert!(error.ends_with("which is never contacted"), "{error}");
    }
}

#[test]
fn addresses_in_disguise_are_not_names() {
    for text in [
        "https://2130706433",
        "https://127.1",
        "https://0x7f.0.0.0x1",
        "https://0x7f000001",
        "https://[::1",
        "https://[::1]x",
    ] {
        assert!(Endpoint::parse(text, true).is_err(), "{text}");
    }
}

#[test]
fn the_accounts_endpoint_is_allowed_as_it_is() {
    assert_eq!(
        allowed("http://127.0.0.1:8731", Some(("http://127.0.0.1:8731/", false))),
        ("http://127.0.0.1:8731".to_owned(), Destination::LoopbackEndpoint)
    );
    assert_eq!(
        allowed(
            "https://[2001:db8::1]:8443",
            Some(("https://[2001:db8::1]:8443", false))
        ),
        ("https://[2001:db8::1]:8443".to_owned(), Destination::Endpoint)
    );
    assert_eq!(
        allowed("http://cloud.lan", Some(("http://cloud.lan:80", true))),
        ("http://cloud.lan".to_owned(), Destination::Endpoint)
    );
    // The vendor's own hosts stay allowed beside it, others do not.
    assert_eq!(
        allowed("https://ens.aliyuncs.com", Some(("http://127.0.0.1:1", false))).1,
        Destination::Vendor
    );
    refused("http://127.0.0.1:2", None, Some(("http://127.0.0.1:1", false)));
    refused("https://127.0.0.1:1", None, Some(("http://127.0.0.1:1", false)));
}

#[test]
fn plain_http_needs_the_loopback_or_a_word() {
    assert!(Endpoint::parse("http://localhost:1", false).is_ok());
    assert!(Endpoint::parse("http://[::1]:1", false).is_ok());
    assert!(Endpoint::parse("http://cloud.lan", true).is_ok());
    assert_eq!(
        Endpoint::parse("http://cloud.lan", false).unwrap_err(),
        "endpoint `http://cloud.lan` is plain http, which anybody on the way can read: use https, or set insecure_http = true"
    );
    assert_eq!(
        Endpoint::parse("https://me:word@cloud.lan", false).unwrap_err(),
        "endpoint `https://<user>@cloud.lan` names a user, which an origin may not"
    );
    assert!(Endpoint::parse("cloud.lan", false).is_err());
    assert!(Endpoint::parse("https://cloud.lan/v2", false).is_err());
}

#[test]
fn addresses_are_checked_again_after_the_name_was_resolved() {
    let check = |address: &str, destination| check_address(address.parse().unwrap(), destination).is_ok();
    assert!(check("203.0.113.7", Destination::Vendor));
    assert!(check("10.0.0.1", Destination::Vendor));
    for address in [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "fe80::1",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "64:ff9b::7f00:1",
        "::ffff:169.254.169.254",
    ] {
        assert!(!check(address, Destination::Vendor), "{address}");
    }
    assert!(check("127.0.0.1", Destination::Endpoint));
    assert!(!check("169.254.169.254", Destination::Endpoint));
    assert!(check("::1", Destination::LoopbackEndpoint));
    assert!(!check("192.0.2.1", Destination::LoopbackEndpoint));
}

#[test]
fn metadata_constants_are_for_credentials_that_list_them() {
    let credentials = OperationKind::Credentials;
    for origin in ["http://169.254.169.254", "http://100.100.100.200:80"] {
        let target = judge(credentials, origin, None, None).unwrap();
        assert_eq!(target.destination, Destination::Metadata);
        assert_eq!(target.bases, [""]);
        let message = refused(origin, None, None);
        assert!(message.ends_with("is asked by credentials alone"), "{message}");
    }
    for origin in [
        // Not listed, not over plain http, not at its port, in another form.
        "http://169.254.170.2",
        "https://169.254.169.254",
        "http://169.254.169.254:8080",
        "http://[::ffff:169.254.169.254]",
        "http://metadata.google.internal",
    ] {
        judge(credentials, origin, None, None).unwrap_err();
    }
    let check = |address: &str| check_address(address.parse().unwrap(), Destination::Metadata).is_ok();
    assert!(check("169.254.169.254"));
    assert!(!check("203.0.113.7") && !check("127.0.0.1"));
}

#[test]
fn urls_of_settings_are_allowed_to_manifests_that_take_them() {
    let mut reach = Reach::default();
    reach.add_setting("http://127.0.0.1:5000/v3", false).unwrap();
    reach
        .add_setting("http://127.0.0.1:5000/identity/", false)
        .unwrap();
    reach.add_setting("https://ens.aliyuncs.com/x", false).unwrap();
    let judge = |text: &str, listed: &[&str], endpoint: Option<&Endpoint>| {
        let listed: Vec<String> = listed.iter().map(|&host| host.to_owned()).collect();
        let allowed = Hosts {
            kind: OperationKind::List,
            listed: &listed,
            region: None,
            endpoint,
            reach: &reach,
        };
        check(text, allowed).map(|target| (target.destination, target.bases))
    };
    let bases = |bases: &[&str]| bases.iter().map(|&base| base.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        judge("http://127.0.0.1:5000", &["{setting}"], None),
        Ok((Destination::LoopbackEndpoint, bases(&["/v3", "/identity"])))
    );
    let endpoint = Endpoint::parse("http://127.0.0.1:5000", true).unwrap();
    assert_eq!(
        judge("http://127.0.0.1:5000", &["{setting}"], Some(&endpoint)),
        Ok((Destination::Endpoint, bases(&["/v3", "/identity", ""])))
    );
    assert_eq!(
        judge(
            "https://ens.aliyuncs.com",
            &["{setting}", "ens.aliyuncs.com"],
            None
        ),
        Ok((Destination::Endpoint, bases(&["/x", ""])))
    );
    for listed in ["{catalogue}", "ens.aliyuncs.com"] {
        judge("http://127.0.0.1:5000", &[listed], None).unwrap_err();
    }
    judge("http://127.0.0.1:5001", &["{setting}"], None).unwrap_err();
    judge("https://127.0.0.1:5000", &["{setting}"], None).unwrap_err();
}
