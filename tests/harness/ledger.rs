//! What the ledger says, read from its file, against what the cloud holds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_sim::{CloudSim, CreatedBy, Service};
use rusqlite::{Connection, OpenFlags};

use crate::home::Home;
use crate::wait;

/// One generation's row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Generation {
    /// The key.
    pub key: String,
    /// Its number.
    pub n: u64,
    /// The plugin of its account.
    pub plugin: String,
    /// The name of its state in the ledger.
    pub state: String,
    /// The pair's name.
    pub pair_name: String,
    /// The public key.
    pub blob: Option<Vec<u8>>,
}

/// All generations, by key and number.
///
/// # Panics
/// When the ledger cannot be read.
pub fn generations(home: &Home) -> Vec<Generation> {
    let connection = open(home);
    let mut query = connection
        .prepare("SELECT key, n, plugin, state, pair_name, blob FROM generation ORDER BY key, n")
        .expect("the ledger has generations");
    let rows = query
        .query_map((), |row| {
            Ok(Generation {
                key: row.get(0)?,
                n: row.get::<_, i64>(1)?.unsigned_abs(),
                plugin: row.get(2)?,
                state: row.get(3)?,
                pair_name: row.get(4)?,
                blob: row.get(5)?,
            })
        })
        .expect("the ledger can be read");
    rows.map(|row| row.expect("a row can be read")).collect()
}

/// The states of one key's generations, oldest first.
pub fn states(home: &Home, key: &str) -> Vec<String> {
    let rows = generations(home).into_iter();
    rows.filter(|row| row.key == key).map(|row| row.state).collect()
}

/// The name of the pair of a key's generation, by the installation that the ledger names.
///
/// # Panics
/// When the ledger cannot be read.
pub fn pair_name(home: &Home, key: &str, n: u64) -> String {
    let installation: String = open(home)
        .query_row("SELECT id FROM installation", (), |row| row.get(0))
        .expect("the ledger names its installation");
    format!("keyferry-{key}-{}-{n}", &installation[..6])
}

/// Waits until the cloud holds exactly the pairs that the ledger calls live, each with the public key that the ledger
/// has for it, and nothing is under way any more. Planted pairs are somebody else's.
///
/// # Panics
/// When that is not so within 30 s.
#[track_caller]
pub fn assert_matches_cloud(home: &Home, cloud: &CloudSim) {
    let end = Instant::now() + Duration::from_secs(30);
    let mut last = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    wait::until("ledger and cloud agree", Duration::from_secs(31), || {
        let rows = generations(home);
        let live: BTreeMap<_, _> = rows
            .iter()
            .filter(|row| row.state == "live")
            .map(|row| ((row.plugin.clone(), row.pair_name.clone()), row.blob.clone()))
            .collect();
        let held: BTreeMap<_, _> = Service::ALL
            .into_iter()
            .flat_map(|service| cloud.pairs(service).into_iter().map(move |pair| (service, pair)))
            .filter(|(_, pair)| pair.created_by != CreatedBy::Plant)
            .map(|(service, pair)| ((service.name().to_owned(), pair.name), blob(&pair.public_key)))
            .collect();
        let under_way: Vec<_> = rows
            .iter()
            .filter(|row| matches!(row.state.as_str(), "requested" | "unwanted" | "blocked"))
            .cloned()
            .collect();
        // Of two live ones of a key the older is about to be deleted.
        let mut keys: Vec<_> = rows
            .iter()
            .filter(|row| row.state == "live")
            .map(|row| &row.key)
            .collect();
        keys.dedup();
        let one_each = keys.len() == live.len();
        if live == held && under_way.is_empty() && one_each {
            return Some(());
        }
        last = (live, held, under_way);
        assert!(
            Instant::now() < end,
            "the ledger calls live {:?}\nthe cloud holds {:?}\nunder way: {:?}",
            last.0.keys(),
            last.1.keys(),
            last.2
        );
        None
    });
}

fn blob(line: &str) -> Option<Vec<u8>> {
    STANDARD.decode(line.split_whitespace().nth(1)?).ok()
}

fn open(home: &Home) -> Connection {
    Connection::open_with_flags(home.ledger(), OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the ledger can be opened for reading")
}
