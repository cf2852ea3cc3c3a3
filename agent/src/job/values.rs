//! job: what single values mean: durations, schedules, commands, and bandwidth by the time of day.

use std::ffi::OsString;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Zoned;
use jiff::civil::Time;

/// Longest time limit: a week. A longer one is a slip in the unit.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads `90s`, `10m`, `2h` or `1d`.
pub(super) fn duration(typed: &str) -> Result<Duration, String> {
    let form = || "expected a number and its unit, as 90s, 10m or 2h".to_owned();
    let at = typed.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
    let (number, unit) = typed.split_at(at);
    let seconds: u64 = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(form()),
    };
    let number: u64 = number.parse().map_err(|_| form())?;
    match number.checked_mul(seconds).map(Duration::from_secs) {
        Some(Duration::ZERO) => Err("a time limit of nothing would end everything at once".into()),
        Some(limit) if limit <= LONGEST => Ok(limit),
        _ => Err("more than a week".into()),
    }
}

/// When a job runs, by the host's own clock and time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// As it was written.
    text: String,
    cron: Cron,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Schedule {
    /// Reads five fields (minute, hour, day of month, month, day of week) as crontab(5) has them, `@daily` and its like,
    /// or six with the second first.
    ///
    /// # Errors
    /// What is wrong, as a clause.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(typed).map_err(|error| {
            let why = error.to_string();
            let why = why.rsplit_once("error: ").map_or(&*why, |(_, why)| why);
            format!(
                "{}; five fields are wanted: minute hour day-of-month month day-of-week, as 30 3 * * *",
                why.trim_end_matches('.')
            )
        })?;
        let schedule = Self { text: typed.to_owned(), cron };
        match schedule.next(&Zoned::now()) {
            Some(_) => Ok(schedule),
            None => Err("no such day ever comes".into()),
        }
    }

    /// The first time after this one. An hour that the clock repeats in autumn runs a job at a fixed time once; one that
    /// it skips in spring runs it right after.
    #[must_use]
    pub fn next(&self, after: &Zoned) -> Option<Zoned> {
        self.cron.find_next_occurrence(after, false).ok()
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A command with its time limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    /// How long it may take; then it is killed, with everything that it started.
    pub timeout: Duration,
}

impl Step {
    /// Of a command whose limit nobody named.
    pub const TIMEOUT: Duration = Duration::from_secs(3600);

    /// As it would be typed.
    #[must_use]
    pub fn shown(&self) -> String {
        let word = |word: &OsString| {
            let text = word.to_string_lossy().escape_debug().to_string();
            if text.is_empty() || text.contains([' ', '\'']) { format!("'{text}'") } else { text }
        };
        self.command.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

/// How much may be sent, by the time of day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// The first that holds decides; where none does there is no limit.
    pub windows: Vec<Window>,
}

/// A limit, and when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// From the first time up to the second, over midnight where that is the earlier one; `None` for always.
    pub hours: Option<(Time, Time)>,
    /// Bytes a second; 0 for no limit.
    pub limit: u64,
}

impl Bandwidth {
    /// The same all day.
    #[must_use]
    pub fn always(limit: u64) -> Self {
        Self { windows: vec![Window { hours: None, limit }] }
    }

    /// The limit at this time of day, in bytes a second; 0 for none.
    #[must_use]
    pub fn at(&self, now: Time) -> u64 {
        let holds = |window: &&Window| match window.hours {
            None => true,
            Some((from, to)) if from < to => from <= now && now < to,
            Some((from, to)) => from <= now || now < to,
        };
        self.windows.iter().find(holds).map_or(0, |window| window.limit)
    }
}

/// Reads `8:00` or `08:00`; `24:00` is the end of the day.
pub(super) fn time_of_day(typed: &str) -> Result<Time, String> {
    let form = || "expected a time of day, as 08:00".to_owned();
    let (hour, minute) = typed.split_once(':').ok_or_else(form)?;
    let number = |text: &str| {
        let short = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i8>().ok().filter(|_| short)
    };
    match (number(hour), number(minute)) {
        (Some(24), Some(0)) => Ok(Time::midnight()),
        (Some(hour), Some(minute)) => Time::new(hour, minute, 0, 0).map_err(|_| form()),
        _ => Err(form()),
    }
}

/// Reads a bandwidth as `--bwlimit` does, or `off`.
pub(super) fn rate(typed: &str) -> Result<u64, String> {
    if typed == "off" { Ok(0) } else { crate::cli::options::rate(typed) }
}
