//! Exact decimal numbers of up to 38 digits, with the precision and scale rules of ksqlDB's DECIMAL.
//!
//! What does not fit in 38 digits has no value: operations answer `None`, which SQL sees as NULL.

use std::cmp::Ordering;
use std::fmt;

/// The most digits that a decimal can hold.
pub const PRECISION_MAX: u8 = 38;

/// The fewest digits after the point that a quotient has.
const QUOTIENT_SCALE_MIN: u8 = 6;

/// A number `unscaled / 10^scale` of the type DECIMAL(precision, scale).
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    unscaled: i128,
    precision: u8,
    scale: u8,
}

impl Decimal {
    /// Makes a decimal of the given type; `None` when the number has more digits than the type allows.
    pub fn new(unscaled: i128, precision: u8, scale: u8) -> Option<Decimal> {
        let fits = precision <= PRECISION_MAX && scale <= precision && digits(unscaled) <= precision;
        fits.then_some(Decimal { unscaled, precision, scale })
    }

    /// Reads a decimal as written: `12`, `-0.50`, `.5`, `1.5e3`. Its type is the narrowest that holds it as written.
    pub fn parse(text: &str) -> Option<Decimal> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (text.get(..at)?, text.get(at + 1..)?.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, body) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut unscaled: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
            unscaled = unscaled.checked_mul(10)?.checked_add(digit)?;
        }
        let unscaled = if negative { -unscaled } else { unscaled };
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        if scale >= 0 {
            return Decimal::natural(unscaled, u8::try_from(scale).ok()?);
        }
        Decimal::natural(unscaled.checked_mul(power(scale.unsigned_abs())?)?, 0)
    }

    /// Gives a number the narrowest type that holds it.
    fn natural(unscaled: i128, scale: u8) -> Option<Decimal> {
        Decimal::new(unscaled, digits(unscaled).max(scale), scale)
    }

    /// Takes a whole number over: DECIMAL(10, 0) when it fits an INTEGER, else DECIMAL(19, 0).
    pub fn from_whole(value: i64) -> Decimal {
        let precision = if i32::try_from(value).is_ok() { 10 } else { 19 };
        Decimal { unscaled: value.into(), precision, scale: 0 }
    }

    /// Takes a double over by its shortest text.
    pub fn from_double(value: f64) -> Option<Decimal> {
        if value.is_finite() { Decimal::parse(&format!("{value:e}")) } else { None }
    }

    /// The digits after the point.
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// The most digits its type allows.
    pub fn precision(self) -> u8 {
        self.precision
    }

    /// Fits the number to another type, rounding half away from zero.
    pub fn fit(self, precision: u8, scale: u8) -> Option<Decimal> {
        Decimal::new(self.rescaled(scale)?, precision, scale)
    }

    /// Rounds half up (towards positive infinity on a tie) to `places` digits and keeps the scale.
    pub fn round(self, places: i32) -> Option<Decimal> {
        let drop = i32::from(self.scale).checked_sub(places)?;
        if drop <= 0 {
            return Some(self);
        }
        let unit = power(drop.unsigned_abs())?;
        let doubled = self.unscaled.checked_mul(2)?.checked_add(unit)?;
        let rounded = doubled.div_euclid(unit.checked_mul(2)?);
        Decimal::natural(rounded.checked_mul(unit)?, self.scale)
    }

    /// Rounds towards zero to `places` digits and keeps the scale.
    pub fn truncate(self, places: i32) -> Option<Decimal> {
        self.cut(places, |value, unit| value / unit)
    }

    /// The nearest whole number that is not greater.
    pub fn floor(self) -> Option<Decimal> {
        self.cut(0, i128::div_euclid)
    }

    /// The nearest whole number that is not smaller.
    pub fn ceil(self) -> Option<Decimal> {
        self.cut(0, |value, unit| -(-value).div_euclid(unit))
    }

    fn cut(self, places: i32, divide: impl Fn(i128, i128) -> i128) -> Option<Decimal> {
        let drop = i32::from(self.scale).checked_sub(places)?;
        if drop <= 0 {
            return Some(self);
        }
        let unit = power(drop.unsigned_abs())?;
        Decimal::natural(divide(self.unscaled, unit).checked_mul(unit)?, self.scale)
    }

    /// The number without its sign.
    pub fn abs(self) -> Decimal {
        Decimal { unscaled: self.unscaled.abs(), ..self }
    }

    /// The number with the other sign.
    pub fn negate(self) -> Decimal {
        Decimal { unscaled: -self.unscaled, ..self }
    }

    /// -1, 0 or 1.
    pub fn signum(self) -> i64 {
        if self.unscaled == 0 {
            0
        } else if self.unscaled < 0 {
            -1
        } else {
            1
        }
    }

    /// The sum.
    pub fn plus(self, other: Decimal) -> Option<Decimal> {
        let (a, b, scale) = self.aligned(other)?;
        self.sum_type(other, a.checked_add(b)?, scale)
    }

    /// The difference.
    pub fn minus(self, other: Decimal) -> Option<Decimal> {
        let (a, b, scale) = self.aligned(other)?;
        self.sum_type(other, a.checked_sub(b)?, scale)
    }

    fn sum_type(self, other: Decimal, unscaled: i128, scale: u8) -> Option<Decimal> {
        let whole = (self.precision - self.scale).max(other.precision - other.scale);
        Decimal::new(unscaled, (whole + scale + 1).min(PRECISION_MAX), scale)
    }

    /// The product.
    pub fn times(self, other: Decimal) -> Option<Decimal> {
        let unscaled = self.unscaled.checked_mul(other.unscaled)?;
        Decimal::new(unscaled, (self.precision + other.precision + 1).min(PRECISION_MAX), self.scale + other.scale)
    }

    /// The quotient, rounded half up; `None` when divided by zero. It has `max(6, s1 + p2 + 1)` digits after the
    /// point, or as many of them as there is room for.
    pub fn over(self, other: Decimal) -> Option<Decimal> {
        if other.unscaled == 0 {
            return None;
        }
        let wanted = QUOTIENT_SCALE_MIN.max(self.scale + other.precision + 1).min(PRECISION_MAX);
        (QUOTIENT_SCALE_MIN..=wanted).rev().find_map(|scale| self.quotient(other, scale))
    }

    fn quotient(self, other: Decimal, scale: u8) -> Option<Decimal> {
        let shift = i32::from(scale) + i32::from(other.scale) - i32::from(self.scale);
        let (mut numerator, mut denominator) = (self.unscaled, other.unscaled);
        if shift >= 0 {
            numerator = numerator.checked_mul(power(shift.unsigned_abs())?)?;
        } else {
            denominator = denominator.checked_mul(power(shift.unsigned_abs())?)?;
        }
        let whole = self.precision - self.scale + other.scale;
        Decimal::new(divide_half_up(numerator, denominator)?, (whole + scale).min(PRECISION_MAX), scale)
    }

    /// What is left after dividing, with the sign of the dividend; `None` when divided by zero.
    pub fn remainder(self, other: Decimal) -> Option<Decimal> {
        let (a, b, scale) = self.aligned(other)?;
        let whole = (self.precision - self.scale).min(other.precision - other.scale);
        Decimal::new(a.checked_rem(b)?, (whole + scale).min(PRECISION_MAX), scale)
    }

    fn aligned(self, other: Decimal) -> Option<(i128, i128, u8)> {
        let scale = self.scale.max(other.scale);
        Some((self.rescaled(scale)?, other.rescaled(scale)?, scale))
    }

    fn rescaled(self, scale: u8) -> Option<i128> {
        if scale >= self.scale {
            return self.unscaled.checked_mul(power(u32::from(scale - self.scale))?);
        }
        divide_half_up(self.unscaled, power(u32::from(self.scale - scale))?)
    }

    /// The nearest double.
    pub fn to_double(self) -> f64 {
        const EXACT: i128 = 1 << 53;
        if self.unscaled.abs() <= EXACT && self.scale <= 22 {
            // Both operands are exact doubles, so this one division rounds as it should.
            return self.unscaled as f64 / 10f64.powi(i32::from(self.scale));
        }
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The whole part, towards zero; `None` when it does not fit.
    pub fn to_whole(self) -> Option<i64> {
        i64::try_from(self.unscaled / power(u32::from(self.scale))?).ok()
    }
}

/// Compares by value: 1.0 equals 1.00.
pub fn compare(a: Decimal, b: Decimal) -> Ordering {
    match a.aligned(b) {
        Some((a, b, _)) => a.cmp(&b),
        // One of them is too large to be written with the other's digits, so doubles tell them apart.
        None => a.to_double().total_cmp(&b.to_double()),
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let scale = usize::from(self.scale);
        let text = format!("{:0width$}", self.unscaled.unsigned_abs(), width = scale + 1);
        match text.split_at_checked(text.len() - scale) {
            Some((whole, fraction)) if scale > 0 => write!(out, "{sign}{whole}.{fraction}"),
            _ => write!(out, "{sign}{text}"),
        }
    }
}

fn digits(value: i128) -> u8 {
    value.unsigned_abs().checked_ilog10().map_or(1, |log| log as u8 + 1)
}

fn power(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

fn divide_half_up(a: i128, b: i128) -> Option<i128> {
    let (quotient, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
    let away = rest.unsigned_abs() >= b.unsigned_abs() - rest.unsigned_abs();
    if !away {
        return Some(quotient);
    }
    quotient.checked_add(if (a < 0) == (b < 0) { 1 } else { -1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn reads_and_writes_as_written() {
        for text in ["0", "-1.50", "0.001", "123456789012345678901234567890.12345678", "10.0"] {
            assert_eq!(dec(text).to_string(), text);
        }
        assert_eq!(dec("1.5e3").to_string(), "1500");
        assert_eq!(dec("15e-3").to_string(), "0.015");
        assert!(Decimal::parse("").is_none() && Decimal::parse("1x").is_none() && Decimal::parse(".").is_none());
        assert!(Decimal::parse("999999999999999999999999999999999999999").is_none());
    }

    #[test]
    fn arithmetic_follows_the_type_rules() {
        assert_eq!(dec("10.01").plus(dec("5.1")).unwrap().to_string(), "15.11");
        assert_eq!(dec("10.10").times(dec("2.00")).unwrap().to_string(), "20.2000");
        assert_eq!(dec("10").over(dec("4")).unwrap().to_string(), "2.500000");
        assert_eq!(dec("-10.5").remainder(dec("3")).unwrap().to_string(), "-1.5");
        assert!(dec("1").over(dec("0.00")).is_none() && dec("1").remainder(dec("0")).is_none());
    }

    #[test]
    fn rounding_and_comparing() {
        assert_eq!(dec("1.25").fit(3, 1).unwrap().to_string(), "1.3");
        assert_eq!(dec("-1.25").fit(3, 1).unwrap().to_string(), "-1.3");
        assert!(dec("12.5").fit(2, 1).is_none());
        assert_eq!(dec("-2.5").round(0).unwrap().to_string(), "-2.0");
        assert_eq!(dec("-2.5").floor().unwrap().to_string(), "-3.0");
        assert_eq!(dec("-2.5").ceil().unwrap().to_string(), "-2.0");
        assert_eq!(compare(dec("1.0"), dec("1.00")), Ordering::Equal);
        assert_eq!(dec("0.1").to_double(), 0.1);
    }
}
