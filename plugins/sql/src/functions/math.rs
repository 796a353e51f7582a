//! Functions over numbers.

use super::{Function, Kind, Returns, decimal, double, take, whole};
use crate::eval::compare::{self, Order};
use crate::expr::Memo;
use crate::value::{Outcome, Value};

use std::cmp::Ordering;

/// The mean radius of the earth that ksqlDB reckons with, in kilometres.
const EARTH_KM: f64 = 6371.0;
/// The kilometres of a mile.
const MILE_KM: f64 = 1.609_344;

/// The functions of this module.
pub const FUNCTIONS: &[Function] = &[
    Function::new("ABS", &[Kind::Number], Returns::Like(0), "The number without its sign.", |a, _| {
        Ok(match take(a, 0) {
            Value::Whole(number) => Value::or_null(number.checked_abs().map(Value::Whole)),
            Value::Double(number) => Value::Double(number.abs()),
            Value::Decimal(number) => Value::Decimal(number.abs()),
            _ => Value::Null,
        })
    }),
    Function::new("FLOOR", &[Kind::Number], Returns::Like(0), "The nearest whole number below.", |a, _| {
        Ok(match take(a, 0) {
            Value::Double(number) => Value::Double(number.floor()),
            Value::Decimal(number) => Value::or_null(number.floor().map(Value::Decimal)),
            other => other,
        })
    }),
    Function::new("CEIL", &[Kind::Number], Returns::Like(0), "The nearest whole number above.", |a, _| {
        Ok(match take(a, 0) {
            Value::Double(number) => Value::Double(number.ceil()),
            Value::Decimal(number) => Value::or_null(number.ceil().map(Value::Decimal)),
            other => other,
        })
    })
    .alias(&["CEILING"]),
    Function::new(
        "ROUND",
        &[Kind::Number],
        Returns::Any,
        "The number rounded half up: a double to a BIGINT, or to a number of digits after the point.",
        round,
    )
    .optional(&[Kind::Whole]),
    Function::new(
        "TRUNC",
        &[Kind::Number],
        Returns::Any,
        "The number cut off: a double to a BIGINT, or to a number of digits after the point.",
        truncate,
    )
    .optional(&[Kind::Whole]),
    Function::new("SIGN", &[Kind::Number], Returns::Integer, "-1, 0 or 1.", |a, _| {
        Ok(match take(a, 0) {
            Value::Whole(number) => Value::Whole(number.signum()),
            Value::Double(number) => Value::Whole(i64::from(number > 0.0) - i64::from(number < 0.0)),
            Value::Decimal(number) => Value::Whole(number.signum()),
            _ => Value::Null,
        })
    }),
    Function::new("SQRT", &[Kind::Double], Returns::Double, "The square root.", |a, _| one(a, f64::sqrt)),
    Function::new("CBRT", &[Kind::Double], Returns::Double, "The cube root.", |a, _| one(a, f64::cbrt)),
    Function::new("EXP", &[Kind::Double], Returns::Double, "e to the power of a number.", |a, _| one(a, f64::exp)),
    Function::new("LN", &[Kind::Double], Returns::Double, "The natural logarithm.", |a, _| one(a, f64::ln)),
    Function::new(
        "LOG",
        &[Kind::Double],
        Returns::Double,
        "The natural logarithm, or the logarithm of the second argument to the base of the first.",
        |a, _| match (double(a, 0), double(a, 1)) {
            (Some(base), Some(number)) => Ok(finite(number.ln() / base.ln())),
            (Some(number), None) => Ok(finite(number.ln())),
            _ => Ok(Value::Null),
        },
    )
    .optional(&[Kind::Double]),
    Function::new(
        "POWER",
        &[Kind::Double, Kind::Double],
        Returns::Double,
        "The first argument to the power of the second.",
        |a, _| two(a, f64::powf),
    ),
    Function::new("PI", &[], Returns::Double, "The number pi.", |_, _| Ok(Value::Double(std::f64::consts::PI))),
    Function::new("SIN", &[Kind::Double], Returns::Double, "The sine of an angle in radians.", |a, _| one(a, f64::sin)),
    Function::new("COS", &[Kind::Double], Returns::Double, "The cosine of an angle in radians.", |a, _| one(a, f64::cos)),
    Function::new("TAN", &[Kind::Double], Returns::Double, "The tangent of an angle in radians.", |a, _| one(a, f64::tan)),
    Function::new("COT", &[Kind::Double], Returns::Double, "The cotangent of an angle in radians.", |a, _| {
        one(a, |angle| 1.0 / angle.tan())
    }),
    Function::new("ASIN", &[Kind::Double], Returns::Double, "The angle that has a sine.", |a, _| one(a, f64::asin)),
    Function::new("ACOS", &[Kind::Double], Returns::Double, "The angle that has a cosine.", |a, _| one(a, f64::acos)),
    Function::new("ATAN", &[Kind::Double], Returns::Double, "The angle that has a tangent.", |a, _| one(a, f64::atan)),
    Function::new(
        "ATAN2",
        &[Kind::Double, Kind::Double],
        Returns::Double,
        "The angle of the point (x, y), given as y and x.",
        |a, _| two(a, f64::atan2),
    ),
    Function::new("SINH", &[Kind::Double], Returns::Double, "The hyperbolic sine.", |a, _| one(a, f64::sinh)),
    Function::new("COSH", &[Kind::Double], Returns::Double, "The hyperbolic cosine.", |a, _| one(a, f64::cosh)),
    Function::new("TANH", &[Kind::Double], Returns::Double, "The hyperbolic tangent.", |a, _| one(a, f64::tanh)),
    Function::new("DEGREES", &[Kind::Double], Returns::Double, "Radians as degrees.", |a, _| one(a, f64::to_degrees)),
    Function::new("RADIANS", &[Kind::Double], Returns::Double, "Degrees as radians.", |a, _| one(a, f64::to_radians)),
    Function::new("GREATEST", &[Kind::Any], Returns::Like(0), "The greatest argument that is not NULL.", |a, _| {
        extreme(a, Ordering::Greater)
    })
    .rest(Kind::Any)
    .sees_nulls(),
    Function::new("LEAST", &[Kind::Any], Returns::Like(0), "The least argument that is not NULL.", |a, _| {
        extreme(a, Ordering::Less)
    })
    .rest(Kind::Any)
    .sees_nulls(),
    Function::new(
        "GEO_DISTANCE",
        &[Kind::Double, Kind::Double, Kind::Double, Kind::Double],
        Returns::Double,
        "The distance over the ground between two places (latitude, longitude, latitude, longitude), in 'KM' or 'MILES'.",
        geo_distance,
    )
    .optional(&[Kind::Text])
    .checked(|literals| match literals.get(4).copied().flatten() {
        Some(unit) if unit_km(unit).is_none() => Err(format!("unknown unit '{unit}'; expected 'KM' or 'MILES'")),
        _ => Ok(()),
    }),
];

fn finite(number: f64) -> Value<'static> {
    if number.is_finite() { Value::Double(number) } else { Value::Null }
}

fn one<'v>(arguments: &[Value<'v>], how: fn(f64) -> f64) -> Outcome<'v> {
    Ok(double(arguments, 0).map_or(Value::Null, |number| finite(how(number))))
}

fn two<'v>(arguments: &[Value<'v>], how: fn(f64, f64) -> f64) -> Outcome<'v> {
    Ok(match (double(arguments, 0), double(arguments, 1)) {
        (Some(a), Some(b)) => finite(how(a, b)),
        _ => Value::Null,
    })
}

fn round<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let places = whole(arguments, 1);
    Ok(match (take(arguments, 0), places) {
        (Value::Double(number), None) => to_bigint((number + 0.5).floor()),
        (Value::Double(number), Some(places)) => Value::or_null(rounded_double(number, places).map(Value::Double)),
        (Value::Whole(number), Some(places)) if places < 0 => {
            Value::or_null(rounded_double(number as f64, places).map(|rounded| Value::Whole(rounded as i64)))
        }
        (Value::Decimal(number), places) => {
            let kept = places.unwrap_or(0).clamp(-38, 38) as i32;
            let rounded = number.round(kept);
            let narrow =
                if places.is_none() { rounded.and_then(|number| number.fit(number.precision(), 0)) } else { rounded };
            Value::or_null(narrow.map(Value::Decimal))
        }
        (other, _) => other,
    })
}

/// Rounds half up by the number's shortest decimal text, so that 1.005 to two digits is 1.01.
fn rounded_double(number: f64, places: i64) -> Option<f64> {
    let places = i32::try_from(places.clamp(-330, 330)).ok()?;
    match crate::decimal::Decimal::from_double(number).and_then(|decimal| decimal.round(places)) {
        Some(decimal) => Some(decimal.to_double()),
        // Too many digits to be exact: such a number has no fraction to speak of.
        None => {
            let unit = 10f64.powi(places);
            let rounded = (number * unit + 0.5).floor() / unit;
            Some(if rounded.is_finite() { rounded } else { number })
        }
    }
}

fn to_bigint(number: f64) -> Value<'static> {
    if number.is_nan() { Value::Null } else { Value::Whole(number as i64) }
}

fn truncate<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let places = whole(arguments, 1);
    let kept = places.unwrap_or(0).clamp(-38, 38) as i32;
    Ok(match (take(arguments, 0), places) {
        (Value::Double(number), None) => to_bigint(number.trunc()),
        (Value::Double(number), Some(_)) => {
            let cut = crate::decimal::Decimal::from_double(number).and_then(|decimal| decimal.truncate(kept));
            Value::Double(cut.map_or(number, crate::decimal::Decimal::to_double))
        }
        (Value::Whole(number), Some(places)) if places < 0 => {
            let unit = 10i64.checked_pow(kept.unsigned_abs());
            Value::Whole(unit.map_or(0, |unit| number / unit * unit))
        }
        (Value::Decimal(number), None) => {
            let cut = number.truncate(0).and_then(|number| number.fit(number.precision(), 0));
            Value::or_null(cut.map(Value::Decimal))
        }
        (Value::Decimal(number), Some(_)) => Value::or_null(number.truncate(kept).map(Value::Decimal)),
        (other, _) => other,
    })
}

/// The argument that stands before or behind all others. Numbers of unlike types are widened as in arithmetic.
fn extreme<'v>(arguments: &mut [Value<'v>], side: Ordering) -> Outcome<'v> {
    let mut best = Value::Null;
    let widest = arguments.iter().any(|argument| matches!(argument, Value::Double(_)));
    let exact = (0..arguments.len()).any(|place| decimal(arguments, place).is_some());
    for argument in arguments.iter_mut() {
        let candidate = std::mem::replace(argument, Value::Null);
        if candidate.is_null() {
            continue;
        }
        let order = compare::order(candidate.clone(), best.clone())?;
        if order == Order::Unknown || order == Order::Known(side) {
            best = candidate;
        }
    }
    Ok(match best {
        Value::Whole(number) if widest => Value::Double(number as f64),
        Value::Decimal(number) if widest => Value::Double(number.to_double()),
        Value::Whole(number) if exact => Value::Decimal(crate::decimal::Decimal::from_whole(number)),
        other => other,
    })
}

fn unit_km(unit: &str) -> Option<f64> {
    match unit.to_ascii_uppercase().as_str() {
        "KM" | "KILOMETER" | "KILOMETERS" | "KILOMETRE" | "KILOMETRES" => Some(1.0),
        "MI" | "MILE" | "MILES" => Some(MILE_KM),
        _ => None,
    }
}

/// The great-circle distance by the haversine formula.
fn geo_distance<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let unit = match take(arguments, 4) {
        Value::Text(unit) => unit_km(&unit),
        _ => Some(1.0),
    };
    let (Some(lat1), Some(lon1), Some(lat2), Some(lon2), Some(unit)) =
        (double(arguments, 0), double(arguments, 1), double(arguments, 2), double(arguments, 3), unit)
    else {
        return Ok(Value::Null);
    };
    let valid = lat1.abs() <= 90.0 && lat2.abs() <= 90.0 && lon1.abs() <= 180.0 && lon2.abs() <= 180.0;
    if !valid {
        return Ok(Value::Null);
    }
    let half = |a: f64, b: f64| ((b - a).to_radians() / 2.0).sin().powi(2);
    let chord = half(lat1, lat2) + lat1.to_radians().cos() * lat2.to_radians().cos() * half(lon1, lon2);
    Ok(finite(2.0 * EARTH_KM * chord.sqrt().asin() / unit))
}
