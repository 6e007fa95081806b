//! Dates for `strftime_now`.
//!
//! Templates print the day into system prompts. The clock is given by the
//! caller, so that a prompt can be reproduced; without one it is the system's,
//! in UTC (the standard library knows no time zones).

use std::time::{SystemTime, UNIX_EPOCH};

/// A date and time of day, without a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

impl DateTime {
    /// A valid calendar date and time, or nothing.
    pub fn new(
        year: i64,
        month: u32,
        day: u32,
        hour: u32,
        minute: u32,
        second: u32,
    ) -> Option<Self> {
        let valid = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        valid.then_some(Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        })
    }

    /// The system clock, in UTC.
    pub fn now_utc() -> Self {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self::from_unix(seconds)
    }

    /// Seconds since 1970-01-01T00:00:00, not counting leap seconds.
    pub fn from_unix(seconds: u64) -> Self {
        let mut days = (seconds / 86_400) as i64;
        let rest = (seconds % 86_400) as u32;
        let mut year = 1970;
        // 146,097 days make exactly 400 years of the Gregorian calendar.
        year += 400 * (days / 146_097);
        days %= 146_097;
        loop {
            let length = if is_leap(year) { 366 } else { 365 };
            if days < length {
                break;
            }
            days -= length;
            year += 1;
        }
        let mut month = 1;
        while days >= i64::from(days_in_month(year, month)) {
            days -= i64::from(days_in_month(year, month));
            month += 1;
        }
        Self {
            year,
            month,
            day: days as u32 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// Reads `2026-03-14T15:09:26` (a space instead of `T` and a missing time
    /// of day are accepted).
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = match text.split_once(['T', ' ']) {
            Some((date, time)) => (date, time),
            None => (text, "00:00:00"),
        };
        let mut date = date.splitn(3, '-');
        let mut time = time.splitn(3, ':');
        let number = |part: Option<&str>| part?.parse::<u32>().ok();
        Self::new(
            i64::from(number(date.next())?),
            number(date.next())?,
            number(date.next())?,
            number(time.next())?,
            number(time.next())?,
            number(time.next())?,
        )
    }

    /// Day of the year, counted from 1.
    fn ordinal(self) -> u32 {
        (1..self.month)
            .map(|month| days_in_month(self.year, month))
            .sum::<u32>()
            + self.day
    }

    /// 0 is Sunday.
    fn weekday(self) -> u32 {
        let before = self.year - 1;
        let days = before * 365 + before / 4 - before / 100 + before / 400;
        ((days + i64::from(self.ordinal())) % 7) as u32
    }

    /// Python's `strftime`; unknown directives stay as they are, as in glibc.
    pub(crate) fn format(self, pattern: &str) -> String {
        let mut out = String::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut rest = chars.clone();
            let (padded, directive) = match rest.next() {
                Some('-') => (false, rest.next()),
                other => (true, other),
            };
            match directive.and_then(|directive| self.directive(directive, padded)) {
                Some(text) => {
                    out.push_str(&text);
                    chars = rest;
                }
                None => out.push('%'),
            }
        }
        out
    }

    fn directive(self, directive: char, padded: bool) -> Option<String> {
        let number = |value: u32, width: usize| {
            if padded {
                format!("{value:0width$}")
            } else {
                value.to_string()
            }
        };
        let hour12 = if self.hour.is_multiple_of(12) {
            12
        } else {
            self.hour % 12
        };
        let month = MONTHS[self.month as usize - 1];
        let weekday = self.weekday();
        let day_name = WEEKDAYS[weekday as usize];
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => number((self.year % 100) as u32, 2),
            'C' => number((self.year / 100) as u32, 2),
            'm' => number(self.month, 2),
            'B' => month.into(),
            'b' | 'h' => month[..3].into(),
            'd' => number(self.day, 2),
            'e' if padded => format!("{:2}", self.day),
            'e' => self.day.to_string(),
            'j' => number(self.ordinal(), 3),
            'A' => day_name.into(),
            'a' => day_name[..3].into(),
            'w' => weekday.to_string(),
            'u' => if weekday == 0 { 7 } else { weekday }.to_string(),
            'U' => number((self.ordinal() + 6 - weekday) / 7, 2),
            'W' => number((self.ordinal() + 6 - (weekday + 6) % 7) / 7, 2),
            'H' => number(self.hour, 2),
            'I' => number(hour12, 2),
            'k' => format!("{:2}", self.hour),
            'l' => format!("{hour12:2}"),
            'M' => number(self.minute, 2),
            'S' => number(self.second, 2),
            'f' => "000000".into(),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.into(),
            'Z' | 'z' => String::new(),
            'D' | 'x' => self.format("%m/%d/%y"),
            'F' => self.format("%Y-%m-%d"),
            'T' | 'X' => self.format("%H:%M:%S"),
            'R' => self.format("%H:%M"),
            'r' => self.format("%I:%M:%S %p"),
            'c' => self.format("%a %b %e %H:%M:%S %Y"),
            'n' => "\n".into(),
            't' => "\t".into(),
            '%' => "%".into(),
            _ => return None,
        })
    }
}
