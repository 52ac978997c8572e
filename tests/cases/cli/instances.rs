//! Binding pairs to instances: the requests that `keyferry plugin request` shows, sent as they stand, do it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use cloud_sim::{CloudSim, Instance, Plant, Service};
use keyferry_tests::home::Home;
use serde_json::Value;

use crate::program::{keyferry, text};

const INSTANCES: [&str; 2] = ["i-bp1one", "i-bp1two"];

/// The request that the plugin makes of this, on the wire, and the answer's body.
fn send(home: &Home, service: Service, operation: &str) -> Value {
    let account = text(&home.config().join("accounts/cloud.toml"));
    let mut words = vec![
        "plugin",
        "request",
        service.name(),
        "--json",
        "--account",
        &account,
        "--operation",
        operation,
        "--param",
        "name=web",
    ];
    let instances = INSTANCES.map(|id| format!("instance={id}"));
    if operation != "list_instances" {
        words.extend(instances.iter().flat_map(|instance| ["--param", instance]));
    }
    let ran = keyferry(home.root(), &words);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let shown: Value = serde_json::from_str(&ran.stdout).expect("--json prints JSON");
    let url = shown["url"].as_str().expect("a URL");
    let rest = url.strip_prefix("http://").expect("the account's endpoint");
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(at);
    let target = target.strip_prefix('/').unwrap_or(target);
    let method = shown["method"].as_str().expect("a method");
    let mut request = format!("{method} /{target} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n");
    let headers = shown["headers"].as_array().expect("headers are a list");
    for header in headers {
        let part = |index: usize| header[index].as_str().expect("a header is two texts");
        request.push_str(&format!("{}: {}\r\n", part(0), part(1)));
    }
    if !headers.iter().any(|header| {
        header[0]
            .as_str()
            .is_some_and(|name| name.eq_ignore_ascii_case("host"))
    }) {
        request.push_str(&format!("host: {host}\r\n"));
    }
    let mut stream = TcpStream::connect(host).expect("the cloud answers");
    stream
        .write_all(format!("{request}\r\n").as_bytes())
        .expect("the cloud reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the cloud answers in text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).expect("an answer is JSON")
}

fn prepare(service: Service) -> (Home, CloudSim) {
    let home = Home::new();
    let cloud = keyferry_tests::cloud();
    home.account("cloud", service.name(), cloud.url(service));
    let region = (service != Service::AlibabaEns).then(|| "cn-hangzhou".to_owned());
    let pair = Plant {
        service,
        region: region.clone(),
        name: "web".to_owned(),
        public_key: None,
    };
    cloud.plant(pair).expect("a pair can be planted");
    for id in INSTANCES {
        let instance = Instance {
            region: region.clone(),
            id: id.to_owned(),
            pair: None,
            running: false,
        };
        cloud
            .add_instance(service, instance)
            .expect("an instance can be added");
    }
    (home, cloud)
}

fn attached(cloud: &CloudSim, service: Service) -> Vec<Option<String>> {
    let instances = cloud.instances(service).into_iter();
    instances.map(|instance| instance.pair).collect()
}

#[test]
fn a_pair_is_attached_and_detached() {
    for service in [Service::AlibabaEcs, Service::AlibabaEns, Service::AlibabaSwas] {
        let (home, cloud) = prepare(service);
        let both = |answer: Value| {
            let failed = answer["FailCount"].to_string();
            assert_eq!(failed.trim_matches('"'), "0", "{answer}");
        };
        both(send(&home, service, "attach"));
        assert_eq!(
            attached(&cloud, service),
            [Some("web".to_owned()), Some("web".to_owned())],
            "{}",
            service.name()
        );
        both(send(&home, service, "detach"));
        assert_eq!(attached(&cloud, service), [None, None], "{}", service.name());
    }
}

#[test]
fn the_vendor_is_asked_which_instances_name_a_pair() {
    for service in [Service::AlibabaEcs, Service::AlibabaSwas] {
        let (home, _cloud) = prepare(service);
        send(&home, service, "attach");
        let answer = send(&home, service, "list_instances");
        let answer = answer.to_string();
        for id in INSTANCES {
            assert!(answer.contains(id), "{answer}");
        }
    }
}
