use std::os::unix::fs::PermissionsExt as _;

use keyferry_plugin::contract::Algorithm;

use super::*;
use crate::desired::GeneratedBy;

fn write_now(ledger: &Ledger, write: Write) -> Result<(), EngineError> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(ledger.write(write))
}

fn key(name: &str) -> KeyRow {
    KeyRow {
        name: name.to_owned(),
        last_n: 2,
        held_at: Some(1_795_318_609_000),
        rotate_asked_at: Some(11),
        retire_asked_at: Some(12),
        retire_at: Some(15),
        retires_in: Some("8:2".to_owned()),
        accepted_loss: Some("web-1".to_owned()),
        paused_at: Some(13),
        paused_until: Some(14),
        pause_reason: Some("a release".to_owned()),
        made_after: Some("web".to_owned()),
        ends_at: Some(11),
        later_n: Some(7),
        later_pair: Some("a pair".to_owned()),
    }
}

fn host(state: HostState) -> HostRow {
    HostRow {
        address: "deploy@web-1".to_owned(),
        pinned_host_key: Some(vec![0, 0xff]),
        state,
        since: 8,
        note: Some("why".to_owned()),
    }
}

fn placement(n: u64, state: PlacementState) -> Placement {
    Placement {
        key: "web".to_owned(),
        n,
        host: "deploy@web-1".to_owned(),
        state,
        verified_at: Some(9),
        line: Some("ssh-ed25519 AAAA keyferry".to_owned()),
        file: Some(".ssh/authorized_keys".to_owned()),
        file_hash: Some(vec![1; 32]),
        changed_at: 10,
    }
}

fn trusted(purpose: Purpose, state: PlacementState) -> Trusted {
    Trusted {
        key: "web".to_owned(),
        host: "deploy@web-1".to_owned(),
        public_key: format!("ssh-ed25519 {}", purpose.name()),
        purpose,
        line: "ssh-ed25519 AAAA keyferry".to_owned(),
        file: Some(".ssh/authorized_keys".to_owned()),
        state,
        until: Some(20),
        verified_at: Some(9),
        changed_at: 10,
        note: Some("why".to_owned()),
    }
}

fn revocation(selector: Selector, state: RevocationState) -> Revocation {
    Revocation {
        host: "deploy@web-9".to_owned(),
        selector,
        accepts_loss: true,
        state,
        lines: "ssh-ed25519 AAAA keyferry\n".to_owned(),
        asked_at: 7,
        changed_at: 8,
        note: Some("why".to_owned()),
    }
}

fn generation(n: u64, state: GenerationState) -> Generation {
    Generation {
        key: "web".to_owned(),
        n,
        copy_of: (n == 2).then_some(1),
        made_by: GeneratedBy::Provider,
        algorithm: Algorithm::Rsa2048,
        account: "aliyun".to_owned(),
        plugin: "alibaba-ecs".to_owned(),
        region: Some("cn-hangzhou".to_owned()),
        blob: Some(vec![0, 0xff, 1]),
        pair_name: format!("keyferry-web-3fa2c1-{n}"),
        provider_id: Some("ssh-1".to_owned()),
        provider_fingerprint: None,
        state,
        requested_at: 1_795_318_609_123,
        repeated_at: None,
        loaded_at: Some(5),
        note: Some("why".to_owned()),
        endpoint: Some("https://one.example".to_owned()),
        missing_since: Some(6),
        delete_asked_at: Some(7),
        stage: Stage::Earlier,
        promoted_at: Some(15),
        superseded_at: Some(16),
        place: Some("auth_url=https://one.example".to_owned()),
    }
}

fn effect(id: i64, kind: EffectKind) -> Effect {
    Effect {
        id,
        kind,
        key: "web".to_owned(),
        n: 1,
        intent_at: 7,
        attempt: 0,
        outcome_at: None,
        outcome: None,
        host: matches!(kind, EffectKind::Put | EffectKind::TakeOff).then(|| "deploy@web-1".to_owned()),
        instance: (kind == EffectKind::Attach).then(|| "i-1".to_owned()),
    }
}

#[test]
fn rows_survive_and_ended_ones_leave_the_view() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, mut view) = Ledger::open(directory.path()).unwrap();
    assert_eq!(view.installation.len(), 12);
    for state in GenerationState::ALL {
        let effects = EffectKind::ALL
            .into_iter()
            .zip(1..)
            .map(|(kind, id)| effect(id, kind))
            .collect();
        let generations = vec![generation(1, state), generation(2, GenerationState::Live)];
        let write = Write {
            keys: vec![key("web")],
            generations,
            effects,
            ..Write::default()
        };
        write_now(&ledger, write.clone()).unwrap();
        view.apply(write);
    }
    for (host_state, state) in HostState::ALL.into_iter().zip(PlacementState::ALL) {
        let write = Write {
            hosts: vec![host(host_state)],
            placements: vec![placement(1, state), placement(2, PlacementState::Verified)],
            ..Write::default()
        };
        write_now(&ledger, write.clone()).unwrap();
        view.apply(write);
    }
    for (state, revocation_state) in PlacementState::ALL
        .into_iter()
        .zip(RevocationState::ALL.into_iter().cycle())
    {
        let write = Write {
            trusted: Purpose::ALL
                .map(|purpose| {
                    trusted(
                        purpose,
                        if purpose == Purpose::Grant {
                            state
                        } else {
                            PlacementState::Verified
                        },
                    )
                })
                .into(),
            revocations: vec![
                revocation(Selector::Owner("li".to_owned()), RevocationState::Left),
                revocation(Selector::Machine("li-laptop-3fa2c1".to_owned()), revocation_state),
                revocation(Selector::Key("web".to_owned()), RevocationState::Removed),
                revocation(Selector::Grant("SHA256:abc".to_owned()), RevocationState::Asked),
            ],
            ..Write::default()
        };
        write_now(&ledger, write.clone()).unwrap();
        view.apply(write);
    }
    assert_eq!(view.foreign_names.len(), 1);
    // Nothing but this test goes on from there.
    view.foreign_names.clear();
    // Ended and read anew, the view is what it was in memory.
    drop(ledger);
    let (_ledger, read) = Ledger::open(directory.path()).unwrap();
    assert_eq!(read, view);
    assert_eq!(read.generations.len(), 1);
    assert_eq!(read.last_effect, 8);
    assert_eq!(read.placements.len(), 1);
    assert_eq!(read.placements_of("web").count(), 1);
    assert_eq!(read.trusted_of("web").count(), 2, "the grant has ended");
    assert_eq!(read.trusted_of("we").count() + read.trusted_of("webs").count(), 0);
    assert_eq!(read.revocations.len(), 3);
    assert_eq!(
        read.recovery_verified("deploy@web-1", "ssh-ed25519 recovery"),
        Some(9)
    );
    assert_eq!(
        read.recovery_verified("deploy@web-2", "ssh-ed25519 recovery"),
        None
    );
    assert_eq!(
        read.recovery_verified("deploy@web-1", "ssh-ed25519 also_trust"),
        None
    );

    let history = read_history(directory.path()).unwrap();
    assert_eq!(history.keys, [key("web")]);
    assert_eq!(history.hosts, [host(HostState::Forgotten)]);
    let placements = [
        placement(1, PlacementState::Removed),
        placement(2, PlacementState::Verified),
    ];
    assert_eq!(history.placements, placements);
    assert_eq!(history.trusted.len(), 3);
    assert_eq!(
        history.trusted[1],
        trusted(Purpose::Grant, PlacementState::Removed)
    );
    assert_eq!(history.revocations.len(), 4);
    assert_eq!(
        history.generations,
        [
            generation(1, GenerationState::Absent),
            generation(2, GenerationState::Live)
        ]
    );
    assert_eq!(
        history
            .effects
            .iter()
            .map(|effect| effect.kind)
            .collect::<Vec<_>>(),
        EffectKind::ALL
    );
}

#[test]
fn attempts_are_counted_and_outcomes_added() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(directory.path()).unwrap();
    let rows = Write {
        keys: vec![key("web")],
        generations: vec![generation(1, GenerationState::Live)],
        ..Write::default()
    };
    write_now(&ledger, rows).unwrap();
    for id in 1..=3 {
        write_now(
            &ledger,
            Write {
                effects: vec![effect(id, EffectKind::Delete)],
                ..Write::default()
            },
        )
        .unwrap();
    }
    let ended = Effect {
        outcome_at: Some(9),
        outcome: Some(EffectOutcome::Unknown),
        ..effect(2, EffectKind::Create)
    };
    write_now(
        &ledger,
        Write {
            effects: vec![ended],
            ..Write::default()
        },
    )
    .unwrap();

    let effects = read_history(directory.path()).unwrap().effects;
    assert_eq!(
        effects.iter().map(|effect| effect.attempt).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(
        effects[1].kind,
        EffectKind::Delete,
        "an outcome changes nothing else"
    );
    assert_eq!(effects[1].outcome, Some(EffectOutcome::Unknown));
    assert_eq!(effects[2].outcome, None);
}

#[test]
fn a_write_is_all_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(directory.path()).unwrap();
    // The generation's key has no row.
    let stray = Generation {
        key: "stray".to_owned(),
        ..generation(1, GenerationState::Live)
    };
    let write = Write {
        keys: vec![key("web")],
        generations: vec![stray],
        ..Write::default()
    };
    assert!(matches!(
        write_now(&ledger, write),
        Err(EngineError::Ledger { .. })
    ));
    assert_eq!(read_history(directory.path()).unwrap(), History::default());
    // And the ledger goes on.
    write_now(
        &ledger,
        Write {
            keys: vec![key("web")],
            ..Write::default()
        },
    )
    .unwrap();
}

#[test]
fn a_second_daemon_is_refused_until_the_first_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = Ledger::open(directory.path()).unwrap();
    let refused = Ledger::open(directory.path()).unwrap_err();
    let expected = format!("(process {})", std::process::id());
    assert!(refused.to_string().contains(&expected), "{refused}");
    drop(first);
    Ledger::open(directory.path()).unwrap();
}

#[test]
fn another_machines_ledger_is_refused_until_it_is_adopted() {
    let directory = tempfile::tempdir().unwrap();
    let machine = |id: &str, name: &str| Machine {
        id: Some(id.to_owned()),
        host_name: Some(name.to_owned()),
        uid: 1000,
        hardware: [format!("card-of-{id}")].into(),
        instance: None,
    };
    let open = |machine| Ledger::open_on(machine, directory.path(), None).map(|(_, view)| view.installation);
    let installation = open(machine("aaaaaaaa", "laptop")).unwrap();
    assert_eq!(open(machine("aaaaaaaa", "renamed")).unwrap(), installation);

    let refused = open(machine("bbbbbbbb", "clone")).unwrap_err().to_string();
    let adopt = directory.path().join(ADOPT_FILE_NAME);
    for said in ["machine renamed", "machine clone", &adopt.display().to_string()] {
        assert!(refused.contains(said), "{refused}");
    }
    std::fs::write(&adopt, "").unwrap();
    assert_eq!(open(machine("bbbbbbbb", "clone")).unwrap(), installation);
    assert!(!adopt.exists(), "it is for one start");
    open(machine("aaaaaaaa", "laptop")).unwrap_err();
    open(machine("bbbbbbbb", "clone")).unwrap();
}

#[test]
fn a_copy_of_the_whole_machine_is_refused_until_it_is_adopted() {
    let directory = tempfile::tempdir().unwrap();
    let machine = |card: &str| Machine {
        id: Some("aaaaaaaa".to_owned()),
        host_name: Some("laptop".to_owned()),
        uid: 1000,
        hardware: [card.to_owned()].into(),
        instance: None,
    };
    let open = |machine| Ledger::open_on(machine, directory.path(), None).map(|(_, view)| view.installation);
    let installation = open(machine("11111111")).unwrap();
    let refused = open(machine("22222222")).unwrap_err().to_string();
    let adopt = directory.path().join(ADOPT_FILE_NAME);
    for said in [
        "network card 11111111",
        "network card 22222222",
        &adopt.display().to_string(),
    ] {
        assert!(refused.contains(said), "{refused}");
    }
    std::fs::write(&adopt, "").unwrap();
    assert_eq!(open(machine("22222222")).unwrap(), installation);
    open(machine("11111111")).unwrap_err();
}

#[test]
fn a_copy_of_the_directory_on_the_same_machine_is_refused_until_it_is_adopted() {
    let parent = tempfile::tempdir().unwrap();
    let (original, moved, copy) = (
        parent.path().join("state"),
        parent.path().join("moved"),
        parent.path().join("copy"),
    );
    let open = |directory: &Path| Ledger::open(directory).map(|(_, view)| view.installation);
    let copy_files = |from: &Path, to: &Path| {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    let installation = open(&original).unwrap();
    std::fs::rename(&original, &moved).unwrap();
    assert_eq!(open(&moved).unwrap(), installation, "renamed");

    copy_files(&moved, &copy);
    let refused = open(&copy).unwrap_err().to_string();
    let adopt = copy.join(ADOPT_FILE_NAME);
    for said in [&moved, &copy, &adopt] {
        assert!(refused.contains(&said.display().to_string()), "{refused}");
    }
    assert_eq!(open(&moved).unwrap(), installation, "still its own");
    std::fs::write(&adopt, "").unwrap();
    assert_eq!(open(&copy).unwrap(), installation);
    assert!(!adopt.exists(), "it is for one start");
    assert_eq!(open(&copy).unwrap(), installation);

    // Restored in its place: its number changes, as it may when a filesystem is mounted again.
    std::fs::rename(&copy, &original).unwrap();
    copy_files(&original, &copy);
    let connection = rusqlite::Connection::open(copy.join(FILE_NAME)).unwrap();
    let path = copy.as_os_str().as_encoded_bytes();
    let changed = connection
        .execute("UPDATE installation SET directory = ?1", [path])
        .unwrap();
    assert_eq!(changed, 1);
    drop(connection);
    assert_eq!(open(&copy).unwrap(), installation);
}

#[test]
fn files_are_private() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/state");
    let (ledger, _) = Ledger::open(&directory).unwrap();
    write_now(
        &ledger,
        Write {
            keys: vec![key("web")],
            ..Write::default()
        },
    )
    .unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&directory), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert!(files >= 3, "ledger, its log and the lock");
}

#[test]
fn a_directory_that_others_can_change_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        Ledger::open(directory.path()),
        Err(EngineError::Distrusted(_))
    ));
}

#[test]
fn a_ledger_of_the_first_version_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, mut view) = Ledger::open(directory.path()).unwrap();
    // As far as the first version knew them.
    let write = Write {
        keys: vec![KeyRow {
            name: "web".to_owned(),
            last_n: 2,
            held_at: Some(3),
            ..KeyRow::default()
        }],
        generations: vec![Generation {
            stage: Stage::Active,
            promoted_at: None,
            superseded_at: None,
            place: None,
            ..generation(1, GenerationState::Live)
        }],
        ..Write::default()
    };
    write_now(&ledger, write.clone()).unwrap();
    view.apply(write);
    drop(ledger);
    let connection = rusqlite::Connection::open(directory.path().join(FILE_NAME)).unwrap();
    let added = [
        schema::FROM_1,
        schema::FROM_2,
        schema::FROM_3,
        schema::FROM_4,
        schema::FROM_5,
    ]
    .concat();
    connection
        .execute_batch("DROP TABLE trusted; DROP TABLE revocation;")
        .unwrap();
    let mut dropped = 0;
    for statement in added.split(';').filter(|statement| !statement.trim().is_empty()) {
        let (table, column) = statement.split_once(" ADD COLUMN ").unwrap();
        let column = column.split_whitespace().next().unwrap();
        connection
            .execute_batch(&format!("{table} DROP COLUMN {column}"))
            .unwrap();
        dropped += 1;
    }
    assert_eq!(dropped, 26);
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    for _ in 0..2 {
        let (_ledger, read) = Ledger::open(directory.path()).unwrap();
        assert_eq!(read, view);
    }
}

#[test]
fn a_ledger_of_the_fifth_version_keeps_its_rows_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, mut view) = Ledger::open(directory.path()).unwrap();
    let write = Write {
        keys: vec![KeyRow {
            later_n: None,
            later_pair: None,
            ..key("web")
        }],
        hosts: vec![host(HostState::Reached)],
        trusted: vec![Trusted {
            file: None,
            ..trusted(Purpose::Grant, PlacementState::Placed)
        }],
        ..Write::default()
    };
    write_now(&ledger, write.clone()).unwrap();
    view.apply(write);
    drop(ledger);
    let connection = rusqlite::Connection::open(directory.path().join(FILE_NAME)).unwrap();
    for added in [schema::FROM_5, schema::TRUSTED_FROM_5]
        .concat()
        .split_inclusive(';')
    {
        if let Some((table, column)) = added.split_once(" ADD COLUMN ") {
            let column = column.split_whitespace().next().unwrap();
            connection
                .execute_batch(&format!("{table} DROP COLUMN {column}"))
                .unwrap();
        }
    }
    connection.pragma_update(None, "user_version", 5).unwrap();
    drop(connection);
    let (_ledger, read) = Ledger::open(directory.path()).unwrap();
    assert_eq!(read, view);
}

#[test]
fn a_later_versions_ledger_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(Ledger::open(directory.path()).unwrap());
    let path = directory.path().join(FILE_NAME);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let refused = Ledger::open(directory.path()).unwrap_err();
    assert!(
        matches!(
            refused,
            EngineError::NewerLedger {
                found: 99,
                known: 6,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_ledger_is_refused_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    std::fs::write(
        &path,
        "this was never a database, and it is longer than a header would be",
    )
    .unwrap();
    let refused = Ledger::open(directory.path()).unwrap_err();
    assert!(
        refused.to_string().contains(&path.display().to_string()),
        "{refused}"
    );
}

#[test]
fn a_value_of_a_later_version_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(directory.path()).unwrap();
    let rows = Write {
        keys: vec![key("web")],
        generations: vec![generation(1, GenerationState::Live)],
        ..Write::default()
    };
    write_now(&ledger, rows).unwrap();
    drop(ledger);
    let connection = rusqlite::Connection::open(directory.path().join(FILE_NAME)).unwrap();
    connection
        .execute("UPDATE generation SET state = 'staged'", [])
        .unwrap();
    drop(connection);
    let refused = Ledger::open(directory.path()).unwrap_err();
    assert!(
        refused.to_string().contains("generation.state \"staged\""),
        "{refused}"
    );
}

#[test]
fn files_that_were_taken_away_are_missed_and_are_known_again_when_they_are_back() {
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.lock"] {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(directory.path()).unwrap();
        let rows = || Write {
            keys: vec![key("web")],
            ..Write::default()
        };
        write_now(&ledger, rows()).unwrap();
        let (path, away) = (directory.path().join(name), directory.path().join("away"));
        std::fs::rename(&path, &away).unwrap();
        for is_replaced in [false, true] {
            if is_replaced {
                std::fs::copy(&away, &path).unwrap();
            }
            let refused = write_now(&ledger, rows()).unwrap_err();
            assert!(matches!(refused, EngineError::LedgerMoved { .. }), "{refused}");
            assert!(refused.to_string().contains(name), "{refused}");
            assert!(ledger.check().is_err());
        }
        std::fs::rename(&away, &path).unwrap();
        ledger.check().unwrap();
        write_now(&ledger, rows()).unwrap();
    }
}
