//! Ten thousand pairs: the courier passes them on, page by page, and keeps none.

use std::time::Duration;

use keyferry_courier::{Courier, JobResult};
use keyferry_plugin::contract::{List, Operation};

use crate::cloud::{Cloud, Reply, Request};
use crate::fixture::{PATIENCE, SECRET, built_plugin, environment, in_time, job, launch, setup};

/// What a list cost.
#[derive(Debug)]
struct Cost {
    /// Processor time of the courier, its sandbox apart.
    time: Duration,
    /// The most memory that the courier had in use, its code included, in bytes.
    memory: usize,
}

/// A page of so many pairs, each as large as one with an RSA key of 3072 bits.
fn page(request: &Request, total: usize, most: usize) -> String {
    let parameter = |name: &str| -> usize {
        let (_, query) = request.target.split_once('?').unwrap();
        let value = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.unwrap().parse().unwrap()
    };
    let (number, size) = (parameter("PageNumber"), parameter("PageSize").max(most));
    let pairs: Vec<_> = (0..total)
        .skip((number - 1) * size)
        .take(size)
        .map(|index| {
            serde_json::json!({
                "KeyPairName": format!("keyferry-of-somebody-{index:06}"),
                "KeyPairFingerPrint": format!("{index:032x}"),
                "PublicKey": format!("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ{} {index}", "x".repeat(508)),
                "CreationTime": "2026-11-22T01:36Z", "ResourceGroupId": "rg-bp67acfmxazb4p", "Tags": {"Tag": []},
            })
        })
        .collect();
    serde_json::json!({
        "PageNumber": number, "PageSize": size, "TotalCount": total, "RequestId": "R-1", "KeyPairs": {"KeyPair": pairs},
    })
    .to_string()
}

/// Lists so many pairs. `most`: how many the cloud gives at once, whatever it is asked for.
async fn list(total: usize, most: usize) -> Cost {
    let cloud = Cloud::start(move |request| Reply::Json(200, page(request, total, most)));
    let mut setup = setup(&cloud.endpoint, "");
    setup.library = built_plugin("keyferry-alibaba-ecs", "alibaba-ecs");
    setup.account.settings.clear();
    // What it costs is counted in processor time, however slow the machine is.
    setup.limits.job_time = PATIENCE;
    setup.account.region = Some("cn-hangzhou".to_owned());
    let variables = [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET),
    ];
    let courier = Courier::spawn(&launch(&[]), setup, environment(&variables)).unwrap();
    let request = job(Operation::List(List { page_size: Some(50) }));
    let JobResult::Pairs(pairs) = in_time(courier.run(request)).await.unwrap() else {
        panic!("a list of something else");
    };
    let mut names: Vec<&str> = pairs.iter().map(|pair| pair.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), total);
    assert_eq!(cloud.requests().len(), total.div_ceil(most.max(50)));
    let process = format!("/proc/{}", courier.process_id().unwrap());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kibibytes: usize = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap();
    // Fields 14 and 15 of proc_pid_stat(5), the name in brackets before the third.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    in_time(courier.shutdown()).await;
    Cost {
        time: Duration::from_millis(10 * ticks),
        memory: 1024 * kibibytes,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_pairs_take_little_memory_and_in_the_soak_linear_time() {
    // A busy machine stretches processor time too, by several times for minutes (a virtual processor that is taken away
    // counts as used): so time is compared only where somebody waits for a quiet machine.
    let soak = std::env::var_os("KEYFERRY_SOAK").is_some();
    let few = if soak { Some(list(2_500, 0).await) } else { None };
    let many = list(10_000, 0).await;
    assert!(many.memory < MOST_MEMORY, "{many:?}");
    if let Some(few) = few {
        assert!(many.time < 6 * few.time, "{few:?} {many:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_be_huge() {
    let cost = list(4_500, 4_500).await;
    assert!(cost.memory < MOST_MEMORY, "{cost:?}");
}

const MOST_MEMORY: usize = 50_000_000;
