//! Arithmetic: the types of both sides decide as in ksqlDB. DOUBLE wins over DECIMAL, and DECIMAL over whole numbers;
//! whole numbers divide without a remainder.
//!
//! Where ksqlDB wraps around or fails, this is NULL: an overflow, a division by zero, a double that is not finite.

use super::coerce;
use crate::decimal::Decimal;
use crate::expr::Operator;
use crate::json::Malformed;
use crate::value::{Outcome, Value};

/// Combines two values. `+` joins text when either side is text.
pub fn apply<'v>(operator: Operator, left: Value<'v>, right: Value<'v>) -> Outcome<'v> {
    let (left, right) = (left.decode()?, right.decode()?);
    if left.is_null() || right.is_null() {
        return Ok(Value::Null);
    }
    if operator == Operator::Add && (matches!(left, Value::Text(_)) || matches!(right, Value::Text(_))) {
        return join(left, right);
    }
    let (Some(left), Some(right)) = (coerce::number_of(left)?, coerce::number_of(right)?) else {
        return Ok(Value::Null);
    };
    Ok(Value::or_null(combine(operator, &left, &right)))
}

fn join<'v>(left: Value<'v>, right: Value<'v>) -> Result<Value<'v>, Malformed> {
    let (Some(left), Some(right)) = (left.into_text()?, right.into_text()?) else { return Ok(Value::Null) };
    Ok(Value::text_of(left.into_owned() + &right))
}

fn combine(operator: Operator, left: &Value<'_>, right: &Value<'_>) -> Option<Value<'static>> {
    match (left, right) {
        (Value::Whole(a), Value::Whole(b)) => wholes(operator, *a, *b).map(Value::Whole),
        (Value::Double(_), _) | (_, Value::Double(_)) => {
            let result = doubles(operator, coerce::double_of(left)?, coerce::double_of(right)?);
            result.is_finite().then_some(Value::Double(result))
        }
        _ => decimals(operator, coerce::decimal_of(left)?, coerce::decimal_of(right)?).map(Value::Decimal),
    }
}

fn wholes(operator: Operator, a: i64, b: i64) -> Option<i64> {
    match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide => a.checked_div(b),
        Operator::Remainder => a.checked_rem(b),
    }
}

fn doubles(operator: Operator, a: f64, b: f64) -> f64 {
    match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::Remainder => a % b,
    }
}

fn decimals(operator: Operator, a: Decimal, b: Decimal) -> Option<Decimal> {
    match operator {
        Operator::Add => a.plus(b),
        Operator::Subtract => a.minus(b),
        Operator::Multiply => a.times(b),
        Operator::Divide => a.over(b),
        Operator::Remainder => a.remainder(b),
    }
}

/// Changes the sign.
pub fn negate(value: Value<'_>) -> Outcome<'_> {
    Ok(match coerce::number_of(value)? {
        Some(Value::Whole(whole)) => Value::or_null(whole.checked_neg().map(Value::Whole)),
        Some(Value::Double(double)) => Value::Double(-double),
        Some(Value::Decimal(decimal)) => Value::Decimal(decimal.negate()),
        _ => Value::Null,
    })
}
