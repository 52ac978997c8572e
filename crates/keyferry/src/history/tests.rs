use keyferry_engine::desired::GeneratedBy;
use keyferry_engine::ledger::{HostRow, Placement, PlacementState, Purpose, Selector, Stage};
use keyferry_plugin::contract::Algorithm;

use super::*;

const START: i64 = 1_795_318_609_000;

fn generation(key: &str, n: u64) -> Generation {
    Generation {
        key: key.to_owned(),
        n,
        copy_of: None,
        made_by: GeneratedBy::Keyferry,
        algorithm: Algorithm::Ed25519,
        account: "aliyun".to_owned(),
        plugin: "alibaba-ecs".to_owned(),
        region: Some("cn-hangzhou".to_owned()),
        endpoint: None,
        blob: None,
        pair_name: format!("keyferry-{key}-{n}"),
        provider_id: None,
        provider_fingerprint: None,
        state: GenerationState::Live,
        requested_at: START,
        repeated_at: None,
        loaded_at: Some(START + 2_000),
        missing_since: None,
        delete_asked_at: None,
        note: None,
        stage: Stage::Active,
        promoted_at: Some(START + 5_000),
        superseded_at: None,
        place: None,
    }
}

fn effect(id: i64, kind: EffectKind, host: Option<&str>, outcome: Option<EffectOutcome>) -> Effect {
    Effect {
        id,
        kind,
        key: "web".to_owned(),
        n: 4,
        intent_at: START + id * 1_000,
        attempt: 1,
        outcome_at: outcome.map(|_| START + id * 1_000),
        outcome,
        host: host.map(str::to_owned),
        instance: (kind == EffectKind::Attach).then(|| "i-bp1one".to_owned()),
    }
}

fn history() -> History {
    History {
        keys: vec![KeyRow {
            name: "web".to_owned(),
            paused_at: Some(START + 7_000),
            paused_until: Some(START + 90_000),
            pause_reason: Some("freeze".to_owned()),
            ..KeyRow::default()
        }],
        generations: vec![generation("db", 1), generation("web", 4)],
        hosts: vec![HostRow {
            address: "web-7".to_owned(),
            pinned_host_key: None,
            state: HostState::Parked,
            since: START + 8_000,
            note: None,
        }],
        placements: vec![
            Placement {
                key: "web".to_owned(),
                n: 4,
                host: "web-1".to_owned(),
                state: PlacementState::Verified,
                verified_at: Some(START + 4_000),
                line: None,
                file: None,
                file_hash: None,
                changed_at: START,
            },
            Placement {
                key: "web".to_owned(),
                n: 4,
                host: "web-7".to_owned(),
                state: PlacementState::Placed,
                verified_at: None,
                line: None,
                file: None,
                file_hash: None,
                changed_at: START,
            },
        ],
        effects: vec![
            effect(1, EffectKind::Import, None, Some(EffectOutcome::Done)),
            effect(3, EffectKind::Put, Some("web-1"), Some(EffectOutcome::Done)),
            effect(6, EffectKind::Put, Some("web-7"), Some(EffectOutcome::Unknown)),
            effect(9, EffectKind::Delete, None, None),
        ],
        ..History::default()
    }
}

#[test]
fn a_rotation_reads_from_top_to_bottom() {
    let excerpt = excerpt(&history(), Some("web"), None);
    assert_eq!(
        describe(&excerpt, Style::Plain, None),
        "TIME                  KEY  GEN  WHAT\n\
         2026-11-22T03:36:50Z  web  4    its public half was registered at account aliyun in cn-hangzhou as keyferry-web-4\n\
         2026-11-22T03:36:51Z  web  4    came into the agent\n\
         2026-11-22T03:36:52Z  web  4    its line was put on web-1\n\
         2026-11-22T03:36:53Z  web  4    was last seen to log in at web-1\n\
         2026-11-22T03:36:54Z  web  4    was offered from here on\n\
         2026-11-22T03:36:55Z  web  4    whether its line was put on web-7 is not known: the answer was lost\n\
         2026-11-22T03:36:56Z  web  -    its rotation was put on hold until 2026-11-22T03:38:19Z: freeze\n\
         2026-11-22T03:36:57Z  -    -    web-7 could not be reached from here on\n\
         2026-11-22T03:36:58Z  web  4    pair keyferry-web-4 is being deleted at account aliyun in cn-hangzhou, or keyferry \
         was stopped meanwhile"
    );
}

#[test]
fn a_pair_that_was_to_be_attached_is_told_with_its_instance() {
    let history = History {
        generations: vec![Generation {
            loaded_at: None,
            promoted_at: None,
            ..generation("web", 4)
        }],
        effects: vec![
            effect(1, EffectKind::Attach, Some("web-1"), Some(EffectOutcome::Unknown)),
            effect(2, EffectKind::Attach, Some("web-1"), Some(EffectOutcome::Done)),
        ],
        ..History::default()
    };
    assert_eq!(
        describe(&excerpt(&history, Some("web"), None), Style::Plain, None),
        "TIME                  KEY  GEN  WHAT\n\
         2026-11-22T03:36:50Z  web  4    whether pair keyferry-web-4 was attached to instance i-bp1one (web-1) at account aliyun \
         in cn-hangzhou is not known: the answer was lost\n\
         2026-11-22T03:36:51Z  web  4    pair keyferry-web-4 was attached to instance i-bp1one (web-1) at account aliyun in \
         cn-hangzhou"
    );
}

#[test]
fn what_is_asked_for_is_shown_and_no_more() {
    let all = excerpt(&history(), None, None);
    let of_db = excerpt(&history(), Some("db"), None);
    assert_eq!(of_db.entries.len(), 2);
    assert!(
        of_db
            .entries
            .iter()
            .all(|entry| entry.key.as_deref() == Some("db"))
    );
    assert_eq!(all.entries.len(), 11);
    let since = Timestamp::from_ms(START + 8_000);
    assert_eq!(excerpt(&history(), None, Some(since)).entries.len(), 2);
    assert_eq!(
        describe(&Excerpt::default(), Style::Plain, None),
        "nothing happened yet, as far as the ledger tells"
    );
}

#[test]
fn a_long_history_keeps_its_newest_part() {
    let mut history = history();
    history.effects = (1..=20_010)
        .map(|id| effect(id, EffectKind::Put, Some("web-1"), Some(EffectOutcome::Refused)))
        .collect();
    let excerpt = excerpt(&history, None, None);
    assert_eq!(excerpt.entries.len(), 20_000);
    assert_eq!(excerpt.left_out, 17);
    let last = excerpt.entries.last().map(|entry| entry.at);
    assert_eq!(last, Some(Timestamp::from_ms(START + 20_010_000)));
    assert!(describe(&excerpt, Style::Plain, None).contains("17 older entries are left out"));
}

#[test]
fn other_peoples_lines_are_told_from_the_keys_own() {
    let history = History {
        effects: vec![
            effect(
                1,
                EffectKind::PutTrusted,
                Some("web-1"),
                Some(EffectOutcome::Done),
            ),
            effect(
                3,
                EffectKind::TakeOffTrusted,
                Some("web-2"),
                Some(EffectOutcome::Refused),
            ),
        ],
        trusted: vec![Trusted {
            key: "web".to_owned(),
            host: "web-1".to_owned(),
            public_key: "no key".to_owned(),
            purpose: Purpose::Grant,
            line: String::new(),
            file: None,
            state: PlacementState::Placed,
            until: Some(START + 90_000),
            verified_at: None,
            changed_at: START + 2_000,
            note: None,
        }],
        revocations: vec![Revocation {
            host: "db-1".to_owned(),
            selector: Selector::Owner("bob".to_owned()),
            accepts_loss: false,
            state: RevocationState::Left,
            lines: "a line\n".to_owned(),
            asked_at: START,
            changed_at: START + 4_000,
            note: Some("nobody else would be let in".to_owned()),
        }],
        ..History::default()
    };
    assert_eq!(
        describe(&excerpt(&history, None, None), Style::Plain, None),
        "TIME                  KEY  GEN  WHAT\n\
         2026-11-22T03:36:50Z  web  4    another's line was put on web-1\n\
         2026-11-22T03:36:51Z  web  -    no key (grant) is let in at web-1 until 2026-11-22T03:38:19Z\n\
         2026-11-22T03:36:52Z  web  4    another's line was not taken off web-2: it was refused, or failed\n\
         2026-11-22T03:36:53Z  -    -    lines of owner=bob were left on db-1: nobody else would be let in"
    );
    assert_eq!(excerpt(&history, Some("web"), None).entries.len(), 3);
}
