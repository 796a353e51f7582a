//! Values of all column types, owned and borrowed, with decimals and dates that Kudu knows and Rust does not.

use std::fmt;

use crate::error::{Error, Result};

/// A value of any column type, or null.
///
/// `String` is for columns of type string and varchar alike.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// 8 bits.
    Int8(i8),
    /// 16 bits.
    Int16(i16),
    /// 32 bits.
    Int32(i32),
    /// 64 bits.
    Int64(i64),
    /// Single precision.
    Float(f32),
    /// Double precision.
    Double(f64),
    /// Text.
    String(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// Microseconds since 1970-01-01 00:00 UTC.
    UnixtimeMicros(i64),
    /// A decimal number.
    Decimal(Decimal),
    /// A day.
    Date(Date),
}

/// As [`Value`], with text and bytes borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the cases are those of Value")]
pub enum ValueRef<'a> {
    Null,
    Bool(bool),
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Float(f32),
    Double(f64),
    String(&'a str),
    Binary(&'a [u8]),
    UnixtimeMicros(i64),
    Decimal(Decimal),
    Date(Date),
}

impl Value {
    /// Borrows it.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Bool(value) => ValueRef::Bool(*value),
            Value::Int8(value) => ValueRef::Int8(*value),
            Value::Int16(value) => ValueRef::Int16(*value),
            Value::Int32(value) => ValueRef::Int32(*value),
            Value::Int64(value) => ValueRef::Int64(*value),
            Value::Float(value) => ValueRef::Float(*value),
            Value::Double(value) => ValueRef::Double(*value),
            Value::String(value) => ValueRef::String(value),
            Value::Binary(value) => ValueRef::Binary(value),
            Value::UnixtimeMicros(value) => ValueRef::UnixtimeMicros(*value),
            Value::Decimal(value) => ValueRef::Decimal(*value),
            Value::Date(value) => ValueRef::Date(*value),
        }
    }
}

impl ValueRef<'_> {
    /// Copies it.
    pub fn to_owned(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Bool(value) => Value::Bool(value),
            ValueRef::Int8(value) => Value::Int8(value),
            ValueRef::Int16(value) => Value::Int16(value),
            ValueRef::Int32(value) => Value::Int32(value),
            ValueRef::Int64(value) => Value::Int64(value),
            ValueRef::Float(value) => Value::Float(value),
            ValueRef::Double(value) => Value::Double(value),
            ValueRef::String(value) => Value::String(value.to_owned()),
            ValueRef::Binary(value) => Value::Binary(value.to_owned()),
            ValueRef::UnixtimeMicros(value) => Value::UnixtimeMicros(value),
            ValueRef::Decimal(value) => Value::Decimal(value),
            ValueRef::Date(value) => Value::Date(value),
        }
    }

    /// The whole number that it is, of any width.
    pub(crate) fn integer(self) -> Option<i64> {
        match self {
            ValueRef::Int8(value) => Some(value.into()),
            ValueRef::Int16(value) => Some(value.into()),
            ValueRef::Int32(value) => Some(value.into()),
            ValueRef::Int64(value) => Some(value),
            _ => None,
        }
    }

    /// What it is, for messages: the kind alone, as values may be secret or large.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            ValueRef::Null => "null",
            ValueRef::Bool(_) => "a bool",
            ValueRef::Int8(_) => "an int8",
            ValueRef::Int16(_) => "an int16",
            ValueRef::Int32(_) => "an int32",
            ValueRef::Int64(_) => "an int64",
            ValueRef::Float(_) => "a float",
            ValueRef::Double(_) => "a double",
            ValueRef::String(_) => "a string",
            ValueRef::Binary(_) => "bytes",
            ValueRef::UnixtimeMicros(_) => "a time",
            ValueRef::Decimal(_) => "a decimal",
            ValueRef::Date(_) => "a date",
        }
    }
}

macro_rules! from {
    ($($from:ty => $case:ident),+ $(,)?) => {
        $(impl From<$from> for ValueRef<'_> {
            fn from(value: $from) -> Self {
                ValueRef::$case(value)
            }
        })+
    };
}

from!(bool => Bool, i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64, f32 => Float, f64 => Double,
    Decimal => Decimal, Date => Date);

impl<'a> From<&'a str> for ValueRef<'a> {
    fn from(value: &'a str) -> Self {
        ValueRef::String(value)
    }
}

impl<'a> From<&'a [u8]> for ValueRef<'a> {
    fn from(value: &'a [u8]) -> Self {
        ValueRef::Binary(value)
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        value.as_ref()
    }
}

impl<'a, T: Into<ValueRef<'a>>> From<Option<T>> for ValueRef<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(ValueRef::Null, Into::into)
    }
}

/// A decimal number: `unscaled` divided by ten to the power of `scale`.
///
/// Two are equal where both parts are: 1.0 is not 1.00 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// All digits.
    pub unscaled: i128,
    /// How many of them stand behind the point.
    pub scale: u8,
}

/// The most digits that Kudu stores.
pub const DECIMAL_DIGITS_MAX: u8 = 38;

impl Decimal {
    /// The number with another count of digits behind the point; nothing where digits would be lost or there are too many.
    pub fn rescaled(self, scale: u8) -> Option<Self> {
        let unscaled = if scale >= self.scale {
            self.unscaled.checked_mul(10_i128.checked_pow((scale - self.scale).into())?)?
        } else {
            let divisor = 10_i128.checked_pow((self.scale - scale).into())?;
            if self.unscaled % divisor != 0 {
                return None;
            }
            self.unscaled / divisor
        };
        Some(Decimal { unscaled, scale })
    }

    /// Whether it has at most so many digits.
    pub fn fits(self, precision: u8) -> bool {
        10_u128.checked_pow(precision.into()).is_none_or(|limit| self.unscaled.unsigned_abs() < limit)
    }
}

impl std::str::FromStr for Decimal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let error = || Error::Invalid(format!("expected a decimal number of at most 38 digits, got {text:?}"));
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut unscaled = 0_i128;
        for digit in whole.chars().chain(fraction.chars()) {
            let digit = digit.to_digit(10).ok_or_else(error)?;
            let next = unscaled.checked_mul(10).and_then(|number| number.checked_add(digit.into()));
            unscaled = next.ok_or_else(error)?;
        }
        let scale = u8::try_from(fraction.len()).map_err(|_| error())?;
        let number = Decimal { unscaled: if negative { -unscaled } else { unscaled }, scale };
        let is_number = !(whole.is_empty() && fraction.is_empty());
        if is_number && scale <= DECIMAL_DIGITS_MAX && number.fits(DECIMAL_DIGITS_MAX) {
            Ok(number)
        } else {
            Err(error())
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let width = usize::from(self.scale) + 1;
        let digits = format!("{:0width$}", self.unscaled.unsigned_abs());
        let (whole, fraction) =
            digits.split_at_checked(digits.len() - usize::from(self.scale)).unwrap_or((&digits, ""));
        let point = if self.scale > 0 { "." } else { "" };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

/// A day of the proleptic Gregorian calendar, from 0001-01-01 to 9999-12-31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

const DATE_DAYS_MIN: i32 = -719_162;
const DATE_DAYS_MAX: i32 = 2_932_896;

impl Date {
    /// The first day that Kudu stores.
    pub const MIN: Date = Date(DATE_DAYS_MIN);
    /// The last day that Kudu stores.
    pub const MAX: Date = Date(DATE_DAYS_MAX);

    /// A day by its distance from 1970-01-01; nothing outside of what Kudu stores.
    pub fn from_days(days: i32) -> Option<Self> {
        (DATE_DAYS_MIN..=DATE_DAYS_MAX).contains(&days).then_some(Date(days))
    }

    /// A day by its year, month and day; nothing where there is no such day.
    pub fn from_ymd(year: i32, month: u8, day: u8) -> Option<Self> {
        if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        // Years that begin in March put the leap day last, so that lengths of months follow one formula.
        let (month, day) = (i32::from(month), i32::from(day));
        let years = if month <= 2 { year - 1 } else { year };
        let month_from_march = (month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let days = 365 * years + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400) + day_of_year;
        let date = Date::from_days(days - DAYS_FROM_MARCH_0000_TO_1970)?;
        (date.ymd() == (year, month as u8, day as u8)).then_some(date)
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i32 {
        self.0
    }

    /// Year, month and day.
    pub fn ymd(self) -> (i32, u8, u8) {
        let days = self.0 + DAYS_FROM_MARCH_0000_TO_1970;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i32::from(month <= 2);
        (year, month as u8, day as u8)
    }
}

/// From 0000-03-01 on.
const DAYS_FROM_MARCH_0000_TO_1970: i32 = 719_468;

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_1970() {
        for (days, text, ymd) in [
            (0, "1970-01-01", (1970, 1, 1)),
            (-1, "1969-12-31", (1969, 12, 31)),
            (11_016, "2000-02-29", (2000, 2, 29)),
            (18_321, "2020-02-29", (2020, 2, 29)),
            (DATE_DAYS_MIN, "0001-01-01", (1, 1, 1)),
            (DATE_DAYS_MAX, "9999-12-31", (9999, 12, 31)),
        ] {
            let date = Date::from_days(days).unwrap();
            assert_eq!((date.to_string().as_str(), date.ymd()), (text, ymd));
            assert_eq!(Date::from_ymd(ymd.0, ymd.1, ymd.2), Some(date));
        }
        assert_eq!(Date::from_days(DATE_DAYS_MAX + 1), None);
        assert_eq!(Date::from_ymd(2023, 2, 29), None);
        assert_eq!(Date::from_ymd(1900, 2, 29), None);
        assert_eq!(Date::from_ymd(2024, 4, 31), None);
    }

    #[test]
    fn every_day_of_kudu_is_a_date_and_back() {
        let mut days = DATE_DAYS_MIN;
        while days <= DATE_DAYS_MAX {
            let date = Date::from_days(days).unwrap();
            let (year, month, day) = date.ymd();
            assert_eq!(Date::from_ymd(year, month, day), Some(date));
            days += 13;
        }
    }

    #[test]
    fn decimals_are_read_and_written() {
        for (text, unscaled, scale) in [
            ("0", 0, 0),
            ("-0.05", -5, 2),
            ("123.450", 123_450, 3),
            ("99999999999999999999999999999999999999", 10_i128.pow(38) - 1, 0),
        ] {
            let decimal: Decimal = text.parse().unwrap();
            assert_eq!(decimal, Decimal { unscaled, scale });
            assert_eq!(decimal.to_string(), text);
        }
        for wrong in ["", "-", ".", "1e3", "1.2.3", "100000000000000000000000000000000000000", "é"] {
            assert!(wrong.parse::<Decimal>().is_err(), "{wrong}");
        }
        assert_eq!("+.5".parse::<Decimal>().unwrap(), Decimal { unscaled: 5, scale: 1 });
    }

    #[test]
    fn rescaling_loses_no_digit() {
        let half = Decimal { unscaled: 50, scale: 2 };
        assert_eq!(half.rescaled(1), Some(Decimal { unscaled: 5, scale: 1 }));
        assert_eq!(half.rescaled(4), Some(Decimal { unscaled: 5000, scale: 4 }));
        assert_eq!(half.rescaled(0), None);
        assert_eq!(Decimal { unscaled: i128::MAX, scale: 0 }.rescaled(1), None);
        assert!(Decimal { unscaled: -99, scale: 0 }.fits(2) && !Decimal { unscaled: 100, scale: 0 }.fits(2));
    }
}
