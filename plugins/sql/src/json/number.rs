//! Tells what kind of number a JSON number is, and writes doubles the way Java does.

/// Reads the text of a whole number; `None` when it has a fraction or an exponent, or does not fit.
#[inline]
pub fn whole(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut sum: i64 = 0;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        // Counts downwards, because the negative range holds one more number than the positive one.
        sum = sum.checked_mul(10)?.checked_sub(i64::from(byte - b'0'))?;
    }
    if negative { Some(sum) } else { sum.checked_neg() }
}

/// Writes a double as Java's `Double.toString` does: `1.0`, `0.001`, `1.0E10`, `NaN`, `Infinity`.
pub fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() };
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:E}");
    match scientific.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => scientific,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_java_writes_them() {
        for (value, wanted) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.001, "0.001"),
            (0.000_999, "9.99E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1.5e300, "1.5E300"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double_text(value), wanted);
        }
    }

    #[test]
    fn whole_numbers() {
        assert_eq!(whole(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!((whole(b"9223372036854775808"), whole(b"-"), whole(b""), whole(b"1.0")), (None, None, None, None));
    }

    proptest! {
        #[test]
        fn whole_numbers_read_as_written(value in any::<i64>()) {
            prop_assert_eq!(whole(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn doubles_read_as_written(value in any::<f64>()) {
            prop_assume!(value.is_finite());
            prop_assert_eq!(double_text(value).parse::<f64>(), Ok(value));
        }
    }
}
