//! `[rotate]`: when the next generation is made by itself.

use std::time::Duration;

use crate::config::table::{Item, Table, Walk, shown};
use crate::config::value::spoken;
use crate::desired::{DayTime, Rotate};

impl<'t> Walk<'t> {
    pub(super) fn rotate(&mut self, root: &Table<'t>) -> Option<Rotate> {
        let item = root.get("rotate")?;
        let table = self.table(&item)?;
        self.refuse_others(&table, &["between", "every", "grace"]);
        if root.get("hosts").is_none() && !root.misspells("hosts") {
            self.note_value(
                &item,
                "a key is rotated where its next one has been seen to log in, and this one has no hosts to log in to: \
                 add `hosts = [\"...\"]` in front of the first [table], or take [rotate] out",
            );
        }
        let between = table.get("between").and_then(|item| self.between(&item));
        let grace = table.get("grace");
        let asked = grace.and_then(|item| Some((item, self.time(&item, Duration::ZERO..=LONGEST, "")?)));
        let Some(every) = table.get("every") else {
            if !table.misspells("every") {
                self.note_value(
                    &item,
                    "names no time: add `every = \"30d\"`, or take the table out and rotate by `keyferry rotate`",
                );
            }
            return None;
        };
        let every = self.time(&every, SHORTEST..=LONGEST, "")?;
        let grace = match asked {
            Some((item, grace)) if grace >= every => {
                self.note_value(
                    &item,
                    format!(
                        "{} is not less than `every`, {}: the earlier key would still be there when the next one comes",
                        spoken(grace),
                        spoken(every)
                    ),
                );
                return None;
            }
            Some((_, grace)) => grace,
            None => GRACE.min(every / 2),
        };
        Some(Rotate {
            every,
            grace,
            between,
        })
    }

    fn between(&mut self, item: &Item<'t>) -> Option<DayTime> {
        let value = self.string(item)?;
        let ends = value
            .split_once('-')
            .and_then(|(from, to)| Some((minute(from.trim())?, minute(to.trim())?)));
        let wrong = match ends {
            Some((from, _)) if from == MIDNIGHT => {
                format!("{} begins at 24:00: write `00:00`", shown(value))
            }
            Some((from, to)) if from == to => {
                format!(
                    "{} ends when it begins: write two times of the day, or take it out",
                    shown(value)
                )
            }
            Some((from, to)) => return Some(DayTime { from, to }),
            None => format!(
                "{} is no part of a day: write two times, as in `09:00-18:00`, or `22:00-06:00` for a night",
                shown(value)
            ),
        };
        self.note_value(item, wrong);
        None
    }
}

/// A time of the day, `HH:MM`, as minutes after midnight.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str| {
        let sound = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        sound.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= MIDNIGHT).then_some(minute)
}

/// The end of a day.
const MIDNIGHT: u16 = 24 * 60;

const SHORTEST: Duration = Duration::from_secs(60 * 60);
const LONGEST: Duration = Duration::from_secs(1_000 * 24 * 60 * 60);

/// `grace`, where it is not named and `every` leaves room for it.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
