//! Functions over dates, times and moments. Moments are milliseconds in UTC; there is no clock.

use std::rc::Rc;

use jiff::tz::TimeZone;

use super::{Function, Kind, Returns, take, text, whole};
use crate::expr::{Compiled, Memo};
use crate::time::civil::{self, Date};
use crate::time::pattern::Pattern;
use crate::time::{DAY_MS, format, parse, zone};
use crate::value::{Outcome, Value};

/// The functions of this module.
pub const FUNCTIONS: &[Function] = &[
    Function::new(
        "TIMESTAMPTOSTRING",
        &[Kind::Timestamp, Kind::Text],
        Returns::Varchar,
        "A moment as text by a pattern of Java's DateTimeFormatter, in UTC or a time zone.",
        format_timestamp,
    )
    .alias(&["FORMAT_TIMESTAMP"])
    .optional(&[Kind::Text])
    .checked(|literals| pattern_and_zone(literals, 1)),
    Function::new(
        "STRINGTOTIMESTAMP",
        &[Kind::Text, Kind::Text],
        Returns::Bigint,
        "The milliseconds of a moment in text, by a pattern of Java's DateTimeFormatter, in UTC or a time zone.",
        |a, memo| Ok(Value::or_null(parse_timestamp(a, memo).map(Value::Whole))),
    )
    .optional(&[Kind::Text])
    .checked(|literals| pattern_and_zone(literals, 1)),
    Function::new(
        "PARSE_TIMESTAMP",
        &[Kind::Text, Kind::Text],
        Returns::Timestamp,
        "The moment in text, by a pattern of Java's DateTimeFormatter, in UTC or a time zone.",
        |a, memo| Ok(Value::or_null(parse_timestamp(a, memo).map(Value::Timestamp))),
    )
    .optional(&[Kind::Text])
    .checked(|literals| pattern_and_zone(literals, 1)),
    Function::new(
        "DATETOSTRING",
        &[Kind::Date, Kind::Text],
        Returns::Varchar,
        "A date as text by a pattern.",
        |a, memo| {
            let pattern = compiled(memo, &text(a, 1));
            Ok(Value::or_null(
                pattern.zip(days(a, 0)).and_then(|(pattern, days)| format::date(&pattern, days)).map(Value::text_of),
            ))
        },
    )
    .alias(&["FORMAT_DATE"])
    .checked(|literals| pattern_and_zone(literals, 1)),
    Function::new(
        "STRINGTODATE",
        &[Kind::Text, Kind::Text],
        Returns::Integer,
        "The days since 1970-01-01 of a date in text, by a pattern.",
        |a, memo| {
            let pattern = compiled(memo, &text(a, 1));
            let body = text(a, 0);
            Ok(Value::or_null(pattern.and_then(|pattern| parse::date(&pattern, &body)).map(Value::Whole)))
        },
    )
    .checked(|literals| pattern_and_zone(literals, 1)),
    Function::new(
        "PARSE_DATE",
        &[Kind::Text, Kind::Text],
        Returns::Date,
        "The date at the start of a text, by a pattern; what follows is left out.",
        |a, memo| {
            let pattern = compiled(memo, &text(a, 1));
            let body = text(a, 0);
            Ok(Value::or_null(pattern.and_then(|pattern| parse::date_at_start(&pattern, &body)).map(Value::Date)))
        },
    )
    .checked(|literals| pattern_and_zone(literals, 1)),
    Function::new(
        "FORMAT_TIME",
        &[Kind::Time, Kind::Text],
        Returns::Varchar,
        "A time of day as text by a pattern.",
        |a, memo| {
            let pattern = compiled(memo, &text(a, 1));
            Ok(Value::or_null(
                pattern.zip(ms(a, 0)).and_then(|(pattern, ms)| format::time(&pattern, ms)).map(Value::text_of),
            ))
        },
    )
    .checked(|literals| pattern_and_zone(literals, 1)),
    Function::new(
        "PARSE_TIME",
        &[Kind::Text, Kind::Text],
        Returns::Time,
        "The time of day in text, by a pattern.",
        |a, memo| {
            let pattern = compiled(memo, &text(a, 1));
            let body = text(a, 0);
            Ok(Value::or_null(pattern.and_then(|pattern| parse::time(&pattern, &body)).map(Value::Time)))
        },
    )
    .checked(|literals| pattern_and_zone(literals, 1)),
    Function::new(
        "FROM_UNIXTIME",
        &[Kind::Whole],
        Returns::Timestamp,
        "The moment that is so many milliseconds after 1970.",
        |a, _| Ok(Value::or_null(whole(a, 0).map(Value::Timestamp))),
    ),
    Function::new("UNIX_TIMESTAMP", &[Kind::Timestamp], Returns::Bigint, "The milliseconds of a moment.", |a, _| {
        Ok(Value::or_null(ms(a, 0).map(Value::Whole)))
    }),
    Function::new(
        "FROM_DAYS",
        &[Kind::Whole],
        Returns::Date,
        "The date that is so many days after 1970-01-01.",
        |a, _| Ok(Value::or_null(whole(a, 0).map(Value::Date))),
    ),
    Function::new("UNIX_DATE", &[Kind::Date], Returns::Integer, "The days of a date since 1970-01-01.", |a, _| {
        Ok(Value::or_null(days(a, 0).map(Value::Whole)))
    }),
    Function::new(
        "CONVERT_TZ",
        &[Kind::Timestamp, Kind::Text, Kind::Text],
        Returns::Timestamp,
        "The moment at which clocks of another zone show what clocks of the first show.",
        convert_zone,
    )
    .checked(|literals| zones(literals.get(1..).unwrap_or_default())),
    Function::new(
        "TIMESTAMPADD",
        &[Kind::Unit, Kind::Whole, Kind::Timestamp],
        Returns::Timestamp,
        "A moment, some units later.",
        |a, _| Ok(Value::or_null(moved_timestamp(a, 1).map(Value::Timestamp))),
    )
    .checked(unit_of_time),
    Function::new(
        "TIMESTAMPSUB",
        &[Kind::Unit, Kind::Whole, Kind::Timestamp],
        Returns::Timestamp,
        "A moment, some units earlier.",
        |a, _| Ok(Value::or_null(moved_timestamp(a, -1).map(Value::Timestamp))),
    )
    .checked(unit_of_time),
    Function::new(
        "DATEADD",
        &[Kind::Unit, Kind::Whole, Kind::Date],
        Returns::Date,
        "A date, some units later.",
        |a, _| Ok(Value::or_null(moved_date(a, 1).map(Value::Date))),
    )
    .checked(unit_of_time),
    Function::new(
        "DATESUB",
        &[Kind::Unit, Kind::Whole, Kind::Date],
        Returns::Date,
        "A date, some units earlier.",
        |a, _| Ok(Value::or_null(moved_date(a, -1).map(Value::Date))),
    )
    .checked(unit_of_time),
    Function::new(
        "TIMEADD",
        &[Kind::Unit, Kind::Whole, Kind::Time],
        Returns::Time,
        "A time of day, some units later, around the clock.",
        |a, _| Ok(Value::or_null(moved_time(a, 1).map(Value::Time))),
    )
    .checked(unit_of_time),
    Function::new(
        "TIMESUB",
        &[Kind::Unit, Kind::Whole, Kind::Time],
        Returns::Time,
        "A time of day, some units earlier, around the clock.",
        |a, _| Ok(Value::or_null(moved_time(a, -1).map(Value::Time))),
    )
    .checked(unit_of_time),
];

fn pattern_and_zone(literals: &[Option<&str>], place: usize) -> Result<(), String> {
    if let Some(pattern) = literals.get(place).copied().flatten() {
        Pattern::new(pattern)?;
    }
    zones(literals.get(place + 1..).unwrap_or_default())
}

fn zones(literals: &[Option<&str>]) -> Result<(), String> {
    match literals.iter().flatten().find(|name| zone::find(name).is_none()) {
        Some(name) => {
            Err(format!("unknown time zone '{name}'; expected something like 'Europe/Berlin', 'UTC' or '+02:00'"))
        }
        None => Ok(()),
    }
}

fn unit_of_time(literals: &[Option<&str>]) -> Result<(), String> {
    match literals.first().copied().flatten() {
        Some(name) if unit(name).is_none() => Err(format!(
            "unknown unit of time {name}; expected MILLISECONDS, SECONDS, MINUTES, HOURS, DAYS, WEEKS, MONTHS or YEARS"
        )),
        _ => Ok(()),
    }
}

fn compiled(memo: &Memo, pattern: &str) -> Option<Rc<Pattern>> {
    let compile = |pattern: &str| Pattern::new(pattern).map_or(Compiled::Broken, |done| Compiled::Time(Rc::new(done)));
    match memo.get(pattern, compile) {
        Compiled::Time(pattern) => Some(pattern),
        _ => None,
    }
}

/// The zone in an argument; UTC when there is none.
fn zone_at(arguments: &mut [Value<'_>], place: usize) -> Option<TimeZone> {
    if arguments.len() <= place { Some(TimeZone::UTC) } else { zone::find(&text(arguments, place)) }
}

fn ms(arguments: &[Value<'_>], place: usize) -> Option<i64> {
    match arguments.get(place) {
        Some(Value::Timestamp(ms) | Value::Time(ms)) => Some(*ms),
        _ => None,
    }
}

fn days(arguments: &[Value<'_>], place: usize) -> Option<i64> {
    match arguments.get(place) {
        Some(Value::Date(days)) => Some(*days),
        _ => None,
    }
}

fn format_timestamp<'v>(arguments: &mut [Value<'v>], memo: &Memo) -> Outcome<'v> {
    let pattern = compiled(memo, &text(arguments, 1));
    let (Some(pattern), Some(zone), Some(ms)) = (pattern, zone_at(arguments, 2), ms(arguments, 0)) else {
        return Ok(Value::Null);
    };
    Ok(Value::or_null(format::timestamp(&pattern, ms, &zone).map(Value::text_of)))
}

fn parse_timestamp(arguments: &mut [Value<'_>], memo: &Memo) -> Option<i64> {
    let pattern = compiled(memo, &text(arguments, 1))?;
    let zone = zone_at(arguments, 2)?;
    parse::timestamp(&pattern, &text(arguments, 0), &zone)
}

fn convert_zone<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let (from, to) = (zone::find(&text(arguments, 1)), zone::find(&text(arguments, 2)));
    let moved = ms(arguments, 0).zip(from.zip(to)).and_then(|(shown, (from, to))| {
        let moment = zone::to_moment(&from, shown)?;
        moment.checked_add(i64::from(zone::offset_at(&to, moment)?.0) * 1000)
    });
    Ok(Value::or_null(moved.map(Value::Timestamp)))
}

/// A unit of time: so many milliseconds, or so many months.
enum Unit {
    Milliseconds(i64),
    Months(i64),
}

fn unit(name: &str) -> Option<Unit> {
    let name = name.to_ascii_uppercase();
    Some(match name.strip_suffix('S').unwrap_or(&name) {
        "MILLISECOND" => Unit::Milliseconds(1),
        "SECOND" => Unit::Milliseconds(1000),
        "MINUTE" => Unit::Milliseconds(60_000),
        "HOUR" => Unit::Milliseconds(3_600_000),
        "DAY" => Unit::Milliseconds(DAY_MS),
        "WEEK" => Unit::Milliseconds(7 * DAY_MS),
        "MONTH" => Unit::Months(1),
        "YEAR" => Unit::Months(12),
        _ => return None,
    })
}

fn amount(arguments: &mut [Value<'_>], sign: i64) -> Option<(Unit, i64)> {
    let number = whole(arguments, 1)?.checked_mul(sign)?;
    Some((unit(&text(arguments, 0))?, number))
}

fn moved_timestamp(arguments: &mut [Value<'_>], sign: i64) -> Option<i64> {
    let moment = ms(arguments, 2)?;
    match amount(arguments, sign)? {
        (Unit::Milliseconds(length), number) => moment.checked_add(number.checked_mul(length)?),
        (Unit::Months(length), number) => {
            let days = moved_months(moment.div_euclid(DAY_MS), number.checked_mul(length)?)?;
            days.checked_mul(DAY_MS)?.checked_add(moment.rem_euclid(DAY_MS))
        }
    }
}

fn moved_date(arguments: &mut [Value<'_>], sign: i64) -> Option<i64> {
    let days = match take(arguments, 2) {
        Value::Date(days) => days,
        _ => return None,
    };
    match amount(arguments, sign)? {
        (Unit::Milliseconds(length), number) if length >= DAY_MS => {
            days.checked_add(number.checked_mul(length / DAY_MS)?)
        }
        // A date has no hours: what is less than a day counts as far as it makes up whole days.
        (Unit::Milliseconds(length), number) => days.checked_add(number.checked_mul(length)?.div_euclid(DAY_MS)),
        (Unit::Months(length), number) => moved_months(days, number.checked_mul(length)?),
    }
}

/// Moves a date by months; a day that the month does not have becomes its last one.
fn moved_months(days: i64, months: i64) -> Option<i64> {
    let date = civil::from_days(days)?;
    let total = (date.year * 12 + date.month - 1).checked_add(months)?;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    civil::to_days(Date { year, month, day: date.day.min(civil::month_length(year, month)) })
}

fn moved_time(arguments: &mut [Value<'_>], sign: i64) -> Option<i64> {
    let time = ms(arguments, 2)?;
    match amount(arguments, sign)? {
        (Unit::Milliseconds(length), number) => {
            let moved = i128::from(number) * i128::from(length) + i128::from(time);
            i64::try_from(moved.rem_euclid(i128::from(DAY_MS))).ok()
        }
        (Unit::Months(_), _) => None,
    }
}
