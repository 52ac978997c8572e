//! Requests captured from the vendor's own SDKs: every one is accepted as it is, and refused once a byte of what
//! it signs has changed.
//!
//! See [`cloud_sim::vectors`].

use std::time::Duration;

use cloud_sim::vectors::{Vector, are_our_own, captured};
use cloud_sim::wire::Request;
use cloud_sim::{CloudSim, Instance, Options, Plant, Service};

use crate::client::send;
use crate::ecs::RSA;

#[test]
fn vectors_include_every_operation_of_every_sdk() {
    let vectors = captured();
    if !are_our_own() {
        // Another directory may leave any of them out.
        return;
    }
    let plain = ["create", "import", "list", "delete"];
    let bound = ["attach", "detach"];
    let of_a_server = [
        "create-instance",
        "show-instance",
        "delete-instance",
        "upload-instance",
    ];
    for (provider, operations) in [
        ("alibaba-ecs", [&plain[..], &bound].concat()),
        ("alibaba-ecs-legacy", plain.to_vec()),
        ("alibaba-ens", [&plain[..], &bound].concat()),
        ("alibaba-ens-legacy", plain.to_vec()),
        ("alibaba-swas", [&plain[..], &bound, &of_a_server].concat()),
        ("alibaba-swas-legacy", plain.to_vec()),
        ("huawei-ecs", [&plain[..], &["show"]].concat()),
        ("volcengine-ecs", [&plain[..], &bound].concat()),
        ("aws-ec2", [&plain[..], &["show"]].concat()),
    ] {
        for operation in operations {
            let prefix = format!("{provider}-{operation}-");
            assert!(
                vectors.iter().any(|vector| vector.id.starts_with(&prefix)),
                "none of {prefix}"
            );
        }
    }
}

#[test]
fn vectors_are_accepted_and_their_texts_are_those_of_the_sdk() {
    for vector in captured() {
        let claim = vector
            .service
            .verify(&vector.request, &[vector.credential], vector.time)
            .unwrap_or_else(|refusal| panic!("{}: {refusal:?}", vector.id));
        assert_eq!(claim.canonical, vector.canonical, "{}", vector.id);
        assert_eq!(claim.string_to_sign, vector.string_to_sign, "{}", vector.id);
    }
}

#[test]
fn vectors_are_refused_with_any_byte_changed() {
    for vector in captured() {
        let accepts = |request: &Request| accepts(&vector, request);
        assert!(accepts(&vector.request), "{}", vector.id);
        let mut changes = 0;
        for changed in changed_requests(&vector.request) {
            changes += 1;
            assert!(
                !accepts(&changed.request),
                "{}: {} was accepted",
                vector.id,
                changed.what
            );
        }
        // At least as many as the signed text and the signature have bytes that travel.
        assert!(
            changes > vector.request.target.len(),
            "{}: {changes} changes",
            vector.id
        );
    }
}

#[test]
fn vectors_are_refused_when_a_signed_part_is_missing_or_added() {
    for vector in captured() {
        let accepts = |request: &Request| accepts(&vector, request);
        let separator = if vector.request.query().is_empty() {
            '?'
        } else {
            '&'
        };
        let mut more = vector.request.clone();
        more.target = format!("{}{separator}OwnerId=1", more.target);
        assert!(!accepts(&more), "{}: a parameter more", vector.id);
        for (at, _) in vector
            .request
            .query()
            .split('&')
            .enumerate()
            .filter(|(_, pair)| !pair.is_empty())
        {
            let mut pairs: Vec<&str> = vector.request.query().split('&').collect();
            let left_out = pairs.remove(at);
            let mut less = vector.request.clone();
            less.target = format!("/?{}", pairs.join("&"));
            assert!(!accepts(&less), "{}: without {left_out}", vector.id);
        }
        if vector.request.header("authorization").is_some() {
            let mut longer = vector.request.clone();
            longer.body.push(b'x');
            assert!(!accepts(&longer), "{}: a longer body", vector.id);
        }
        for at in signed_headers(&vector.request) {
            let mut less = vector.request.clone();
            let (left_out, _) = less.headers.remove(at);
            assert!(!accepts(&less), "{}: without {left_out}", vector.id);
        }
    }
}

#[test]
fn vectors_over_http() {
    // Every vector brings its own credentials.
    let options = Options {
        key_stock: 1,
        ..Options::new("unused", "unused")
    };
    let cloud = CloudSim::start(options).unwrap();
    for vector in captured()
        .into_iter()
        .filter(|vector| vector.service.name().starts_with("alibaba-"))
    {
        make_room(&cloud, &vector);
        let url = cloud.url(vector.service);
        cloud.add_credential(vector.credential.clone());
        cloud.set_clock(Some(vector.time));
        cloud.forget_nonces();

        let mut changed = vector.request.clone();
        flip_last_byte_of_signature(&mut changed);
        assert_eq!(
            send(url, &changed).unwrap().code(),
            "SignatureDoesNotMatch",
            "{}",
            vector.id
        );

        let reply = send(url, &vector.request).unwrap();
        assert_eq!(reply.status, 200, "{}: {}", vector.id, reply.body);
        if vector.operation == "attach" || vector.operation == "detach" {
            assert_eq!(
                reply.json()["FailCount"].to_string().trim_matches('"'),
                "0",
                "{}",
                vector.id
            );
        }
        assert_eq!(
            send(url, &vector.request).unwrap().code(),
            "SignatureNonceUsed",
            "{}",
            vector.id
        );

        cloud.forget_nonces();
        cloud.set_clock(Some(vector.time + Duration::from_secs(15 * 60 + 1)));
        assert_eq!(
            send(url, &vector.request).unwrap().code(),
            "InvalidTimeStamp.Expired",
            "{}",
            vector.id
        );
    }
}

/// The pair and the instances that a request is about: there for one to be attached or detached, gone for a new one.
fn make_room(cloud: &CloudSim, vector: &Vector) {
    let parameters = vector.request.parameters().unwrap();
    let value = |wanted: &str| {
        parameters
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.clone())
    };
    let region = value("RegionId").filter(|_| vector.service != Service::AlibabaEns);
    cloud.forget_pairs(vector.service);
    let name = value("KeyPairName").unwrap_or_default();
    if !["attach", "detach"].contains(&&*vector.operation) {
        return;
    }
    let pair = Plant {
        service: vector.service,
        region: region.clone(),
        name: name.clone(),
        public_key: Some(RSA.to_owned()),
    };
    cloud.plant(pair).unwrap();
    for id in ["i-bp1example0000001", "i-bp1example0000002"] {
        let instance = Instance {
            region: region.clone(),
            id: id.to_owned(),
            pair: (vector.operation == "detach").then(|| name.clone()),
            running: false,
        };
        cloud.add_instance(vector.service, instance).unwrap();
    }
}

fn accepts(vector: &Vector, request: &Request) -> bool {
    let keyring = std::slice::from_ref(&vector.credential);
    vector.service.verify(request, keyring, vector.time).is_ok()
}

struct Changed {
    what: String,
    request: Request,
}

/// The request with one byte changed, for every byte that is signed or is the signature, in two ways.
fn changed_requests(request: &Request) -> impl Iterator<Item = Changed> {
    let method = changes(&request.method).map(|(at, method)| Changed {
        what: format!("byte {at} of the method"),
        request: Request {
            method,
            ..request.clone()
        },
    });
    let target = changes(&request.target).map(|(at, target)| Changed {
        what: format!("byte {at} of the target, {target}"),
        request: Request {
            target,
            ..request.clone()
        },
    });
    let headers = signed_headers(request).into_iter().flat_map(move |index| {
        let (name, value) = &request.headers[index];
        let change = move |what: String, header: (String, String)| {
            let mut request = request.clone();
            request.headers[index] = header;
            Changed { what, request }
        };
        let values = changes(value)
            .map(move |(at, changed)| change(format!("byte {at} of {name}"), (name.clone(), changed)));
        // The case of a header's name means nothing.
        let names = changes(name)
            .filter(move |(_, changed)| !changed.eq_ignore_ascii_case(name))
            .map(move |(at, changed)| {
                change(format!("byte {at} of the name {name}"), (changed, value.clone()))
            });
        values.chain(names)
    });
    let body = String::from_utf8(request.body.clone()).unwrap();
    let bodies: Vec<Changed> = changes(&body)
        .map(|(at, body)| Changed {
            what: format!("byte {at} of the body"),
            request: Request {
                body: body.into_bytes(),
                ..request.clone()
            },
        })
        .collect();
    method.chain(target).chain(headers).chain(bodies)
}

/// A text with one character changed: to its neighbour and, for letters, to the other case. None of these changes
/// leaves a decoded request as it was, so the case of an escape's digits is left alone.
fn changes(text: &str) -> impl Iterator<Item = (usize, String)> {
    let in_escape = |at: usize| text.as_bytes()[at.saturating_sub(2)..at].contains(&b'%');
    text.char_indices().flat_map(move |(at, old)| {
        let neighbour = match old {
            '9' => '0',
            'z' => 'a',
            'Z' => 'A',
            letter if letter.is_ascii_alphanumeric() => char::from(letter as u8 + 1),
            _ => 'x',
        };
        let other_case = if old.is_ascii_lowercase() {
            old.to_ascii_uppercase()
        } else {
            old.to_ascii_lowercase()
        };
        let other_case = Some(other_case).filter(|new| *new != old && !in_escape(at));
        [Some(neighbour), other_case]
            .into_iter()
            .flatten()
            .map(move |new| {
                let mut changed = text.to_owned();
                changed.replace_range(at..at + old.len_utf8(), &new.to_string());
                (at, changed)
            })
    })
}

/// Where the headers are that V3 signs, and the one with the signature.
fn signed_headers(request: &Request) -> Vec<usize> {
    let Some(authorization) = request.header("authorization") else {
        return Vec::new();
    };
    let (_, rest) = authorization.split_once("SignedHeaders=").unwrap();
    let names: Vec<&str> = rest
        .split(',')
        .next()
        .unwrap()
        .split(';')
        .chain(["authorization"])
        .collect();
    (0..request.headers.len())
        .filter(|index| names.contains(&&*request.headers[*index].0.to_ascii_lowercase()))
        .collect()
}

fn flip_last_byte_of_signature(request: &mut Request) {
    let header = request
        .headers
        .iter_mut()
        .find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let (text, ending) = match header {
        Some((_, value)) => (value, ""),
        None => {
            // The signature ends in an escaped `=`; the byte before it counts.
            let at = request.target.rfind("%3D").unwrap();
            request.target.truncate(at);
            (&mut request.target, "%3D")
        }
    };
    let last = text.pop().unwrap();
    text.push(if last == '0' { '1' } else { '0' });
    text.push_str(ending);
}
