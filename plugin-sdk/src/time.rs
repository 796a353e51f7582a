//! Moments as databases read them: in UTC, to the microsecond.

/// Reads RFC 3339, with a zone or in UTC, or milliseconds since 1970; as `2026-03-01 12:00:00.000000`.
pub fn timestamp(text: &str) -> Option<String> {
    if let Ok(ms) = text.parse::<i64>() {
        return Some(written(ms.div_euclid(1_000), ms.rem_euclid(1_000) as u32 * 1_000));
    }
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let is = |at: usize, wanted: &[u8]| text.as_bytes().get(at).is_some_and(|byte| wanted.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    let rest = text.get(19..)?;
    let fraction = rest.strip_prefix('.').unwrap_or("");
    let digits = fraction.len() - fraction.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let zone = if rest.starts_with('.') { fraction.get(digits..)? } else { rest };
    let micros: u32 = format!("{:0<6}", fraction.get(..digits)?).get(..6)?.parse().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset(zone)?;
    in_range.then(|| written(seconds, micros))
}

/// The seconds that a zone is ahead.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    Some(sign * (hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60))
}

/// Days since 1970, of the Gregorian calendar; years begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let of_era = year.rem_euclid(400);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

fn written(seconds: i64, micros: u32) -> String {
    let (days, second) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        let cases = [
            ("2026-03-01T12:00:00Z", "2026-03-01 12:00:00.000000"),
            ("2024-02-29T23:30:00.1234567-01:30", "2024-03-01 01:00:00.123456"),
            ("1969-12-31 23:59:59", "1969-12-31 23:59:59.000000"),
            ("-1", "1969-12-31 23:59:59.999000"),
        ];
        for (text, expected) in cases {
            assert_eq!(timestamp(text).as_deref(), Some(expected));
        }
        for wrong in ["", "soon", "2026-03-01", "2026-13-01T00:00:00Z", "2026-03-01T12:00:00+x"] {
            assert_eq!(timestamp(wrong), None, "{wrong}");
        }
    }
}
