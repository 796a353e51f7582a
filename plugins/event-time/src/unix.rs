//! Times as numbers since 1970-01-01T00:00:00Z. Reads decimals exactly, without floating point.

use std::fmt;

/// The digits that are looked at; a fraction may have more, which are less than a nanosecond's billionth.
const DIGITS_MAX: u32 = 37;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Thousandths.
    Milliseconds,
    /// Millionths.
    Microseconds,
    /// Billionths.
    Nanoseconds,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Seconds => "seconds",
            Unit::Milliseconds => "milliseconds",
            Unit::Microseconds => "microseconds",
            Unit::Nanoseconds => "nanoseconds",
        })
    }
}

/// What is wrong with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It is none.
    Form,
    /// It does not fit into milliseconds of 64 bits.
    Range,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wrong::Form => "not a number",
            Wrong::Range => "too far from 1970 for milliseconds of 64 bits",
        })
    }
}

/// Reads a number of units, such as `1720000000.25` or `1.72e9`: in milliseconds, rounded down.
pub fn milliseconds(text: &str, unit: Unit) -> Result<i64, Wrong> {
    let (mantissa, exponent) = decimal(text)?;
    let exponent = exponent.saturating_add(match unit {
        Unit::Seconds => 3,
        Unit::Milliseconds => 0,
        Unit::Microseconds => -3,
        Unit::Nanoseconds => -6,
    });
    if mantissa == 0 {
        return Ok(0);
    }
    let power = 10i128.checked_pow(exponent.unsigned_abs());
    let value = match power {
        Some(power) if exponent >= 0 => mantissa.checked_mul(power).ok_or(Wrong::Range)?,
        Some(power) => mantissa.div_euclid(power),
        None if exponent >= 0 => return Err(Wrong::Range),
        // A number that small is within the millisecond at 1970 or the one before.
        None => {
            if mantissa < 0 {
                -1
            } else {
                0
            }
        }
    };
    i64::try_from(value).map_err(|_| Wrong::Range)
}

/// Reads a decimal as an integer and a power of ten.
fn decimal(text: &str) -> Result<(i128, i32), Wrong> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, whole(exponent).ok_or(Wrong::Form)?),
        None => (text, 0),
    };
    let (is_negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(integer) || !is_digits(fraction) || integer.is_empty() && fraction.is_empty() {
        return Err(Wrong::Form);
    }
    let integer = integer.trim_start_matches('0');
    if integer.len() as u32 > DIGITS_MAX {
        return Err(Wrong::Range);
    }
    let kept = fraction.len().min(DIGITS_MAX as usize - integer.len());
    let fraction = fraction.get(..kept).unwrap_or_default();
    let digits = integer.bytes().chain(fraction.bytes());
    let mantissa = digits.fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    Ok((if is_negative { -mantissa } else { mantissa }, exponent.saturating_sub(kept as i32)))
}

/// Reads an exponent; one beyond 32 bits is as good as the highest.
fn whole(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse().unwrap_or(i32::MAX);
    Some(if text.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        let seconds = |text| milliseconds(text, Unit::Seconds);
        for (text, ms) in [
            ("0", 0),
            ("1720000000", 1_720_000_000_000),
            ("1720000000.2509", 1_720_000_000_250),
            ("1.72e9", 1_720_000_000_000),
            ("17200000000000E-4", 1_720_000_000_000),
            ("-0.0001", -1),
            ("-1.5", -1500),
            ("+.5", 500),
            ("5.", 5000),
            ("0000000000000000000000000000000000000000001", 1000),
            ("1e-99999999999", 0),
            ("-1e-99999999999", -1),
            ("0e99999999999", 0),
            ("9223372036854775.807", i64::MAX),
            ("-9223372036854775.808", i64::MIN),
        ] {
            assert_eq!(seconds(text), Ok(ms), "{text}");
        }
        let long = format!("1720000000.25{}", "9".repeat(100));
        assert_eq!(seconds(&long), Ok(1_720_000_000_259));
    }

    #[test]
    fn units_differ_by_a_thousand() {
        let units = [Unit::Seconds, Unit::Milliseconds, Unit::Microseconds, Unit::Nanoseconds];
        let read = units.map(|unit| milliseconds("1234567890", unit).unwrap());
        assert_eq!(read, [1_234_567_890_000, 1_234_567_890, 1_234_567, 1_234]);
    }

    #[test]
    fn what_is_no_number_or_too_large_is_told_apart() {
        for text in ["", "-", ".", "e5", "1e", "1e+", "1e1.5", "1_000", "0x10", "NaN", "1 2", "--1", "1.2.3", "１"] {
            assert_eq!(milliseconds(text, Unit::Seconds), Err(Wrong::Form), "{text}");
        }
        let long = "9".repeat(50);
        for text in ["9223372036854775.808", "-9223372036854775.809", "1e300", "-1e99999999999", &long] {
            assert_eq!(milliseconds(text, Unit::Seconds), Err(Wrong::Range), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_are_themselves(ms: i64) {
            prop_assert_eq!(milliseconds(&ms.to_string(), Unit::Milliseconds), Ok(ms));
        }

        #[test]
        fn fractions_are_rounded_down(ns in -4_000_000_000_000_000_000i64..4_000_000_000_000_000_000) {
            let sign = if ns < 0 { "-" } else { "" };
            let size = ns.unsigned_abs();
            let text = format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000);
            prop_assert_eq!(milliseconds(&text, Unit::Seconds), Ok(ns.div_euclid(1_000_000)));
            prop_assert_eq!(milliseconds(&ns.to_string(), Unit::Nanoseconds), Ok(ns.div_euclid(1_000_000)));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,60}") {
            let _ = milliseconds(&text, Unit::Seconds);
        }
    }
}
