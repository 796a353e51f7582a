//! Evaluates expressions over a record. Knows nothing of how statements are written.
//!
//! What cannot be computed (a division by zero, a CAST of text that is no number) is NULL. An error is returned only when
//! the record itself cannot be read.

pub mod arithmetic;
mod call;
pub mod cast;
pub mod coerce;
pub mod compare;
mod lambda;

use std::borrow::Cow;

use crate::expr::{Case, Comparison, Expr, Like, LikePattern, Membership, Pseudo};
use crate::json::Malformed;
use crate::like::Pattern;
use crate::row::{self, Row};
use crate::value::{Outcome, Value};

/// TRUE, FALSE or NULL; or the reason why the record cannot be read.
pub type Truth = Result<Option<bool>, Malformed>;

impl Expr {
    /// The value of the expression.
    pub fn eval<'v>(&'v self, row: &mut Row<'v>) -> Outcome<'v> {
        match self {
            Expr::Literal(value) => Ok(value.borrow()),
            Expr::Field(number) => row.field(*number),
            Expr::Pseudo(pseudo) => Ok(pseudo_column(*pseudo, row)),
            Expr::Variable(place) => Ok(row.variable(*place)),
            Expr::Member(object, name) => row::member(object.eval(row)?, name),
            Expr::Index(parts) => index(&parts.0, &parts.1, row),
            Expr::Arithmetic(operator, sides) => {
                let left = sides.0.eval(row)?;
                arithmetic::apply(*operator, left, sides.1.eval(row)?)
            }
            Expr::Negate(operand) => arithmetic::negate(operand.eval(row)?),
            Expr::Concat(parts) => concat(parts, row),
            Expr::Case(case) => case_value(case, row),
            Expr::Cast(operand, wanted) => cast::cast(operand.eval(row)?, wanted),
            Expr::Array(elements) => {
                elements.iter().map(|element| element.eval(row)).collect::<Result<_, _>>().map(Value::Array)
            }
            Expr::Object(members) => object(members, row),
            Expr::Coalesce(choices) => coalesce(choices, row),
            Expr::Call(call) => call::call(call, row),
            Expr::Lambda(call) => lambda::call(call, row),
            _ => Ok(self.test(row)?.map_or(Value::Null, Value::Boolean)),
        }
    }

    /// The truth of the expression, without making a value of it.
    pub fn test<'v>(&'v self, row: &mut Row<'v>) -> Truth {
        match self {
            Expr::And(parts) => decide(parts, false, row),
            Expr::Or(parts) => decide(parts, true, row),
            Expr::Not(operand) => Ok(operand.test(row)?.map(|truth| !truth)),
            Expr::Compare(comparison, sides) => {
                let left = sides.0.eval(row)?;
                if left.is_null() {
                    return Ok(None);
                }
                compare_values(*comparison, left, sides.1.eval(row)?)
            }
            Expr::Distinct { negated, sides } => {
                let left = sides.0.eval(row)?;
                Ok(Some(compare::same(left, sides.1.eval(row)?)? == *negated))
            }
            Expr::IsNull { negated, operand } => Ok(Some(operand.eval(row)?.is_null() != *negated)),
            Expr::Is { wanted, negated, operand } => Ok(Some((operand.test(row)? == Some(*wanted)) != *negated)),
            Expr::Between { negated, parts } => {
                Ok(between(&parts.0, &parts.1, &parts.2, row)?.map(|truth| truth != *negated))
            }
            Expr::In(membership) => Ok(contains(membership, row)?.map(|truth| truth != membership.negated)),
            Expr::Like(like) => Ok(like_matches(like, row)?.map(|truth| truth != like.negated)),
            _ => coerce::boolean(self.eval(row)?),
        }
    }

    /// The text of the expression: a field gives its text as it is written in the record.
    pub fn text<'v>(&'v self, row: &mut Row<'v>) -> Result<Option<Cow<'v, str>>, Malformed> {
        self.eval(row)?.into_text()
    }
}

fn pseudo_column<'v>(pseudo: Pseudo, row: &Row<'v>) -> Value<'v> {
    let place = row.place();
    match pseudo {
        Pseudo::Time => Value::Whole(place.timestamp),
        Pseudo::Offset => Value::Whole(place.offset),
        Pseudo::Partition => Value::Whole(place.partition.into()),
        Pseudo::Key => Value::or_null(place.key.map(|key| Value::Text(String::from_utf8_lossy(key)))),
    }
}

/// `a[b]`: an element of an array by number, or a value of a map by name.
fn index<'v>(collection: &'v Expr, place: &'v Expr, row: &mut Row<'v>) -> Outcome<'v> {
    let collection = collection.eval(row)?;
    if collection.is_null() {
        return Ok(Value::Null);
    }
    let is_map = match &collection {
        Value::Json(raw) => raw.is_object(),
        other => matches!(other, Value::Object(_)),
    };
    if is_map {
        let Some(text) = place.text(row)? else { return Ok(Value::Null) };
        return row::member(collection, &row::Name { text: text.into_owned(), exact: true });
    }
    match coerce::whole(place.eval(row)?)? {
        Some(number) => row::element(collection, number),
        None => Ok(Value::Null),
    }
}

/// AND (`deciding` is false) and OR (`deciding` is true) with three values: one deciding part settles it.
fn decide<'v>(parts: &'v [Expr], deciding: bool, row: &mut Row<'v>) -> Truth {
    let mut known = true;
    for part in parts {
        match part.test(row)? {
            Some(truth) if truth == deciding => return Ok(Some(deciding)),
            Some(_) => {}
            None => known = false,
        }
    }
    Ok(known.then_some(!deciding))
}

fn compare_values(comparison: Comparison, left: Value<'_>, right: Value<'_>) -> Truth {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = compare::order(left, right)?;
    Ok(match (comparison, order) {
        (_, compare::Order::Unknown) => None,
        (Comparison::Equal, order) => Some(order == compare::Order::Known(Equal)),
        (Comparison::NotEqual, order) => Some(order != compare::Order::Known(Equal)),
        (_, compare::Order::Unequal) => None,
        (Comparison::Less, compare::Order::Known(order)) => Some(order == Less),
        (Comparison::LessOrEqual, compare::Order::Known(order)) => Some(order != Greater),
        (Comparison::Greater, compare::Order::Known(order)) => Some(order == Greater),
        (Comparison::GreaterOrEqual, compare::Order::Known(order)) => Some(order != Less),
    })
}

fn between<'v>(operand: &'v Expr, low: &'v Expr, high: &'v Expr, row: &mut Row<'v>) -> Truth {
    let value = operand.eval(row)?.decode()?;
    let above = compare_values(Comparison::GreaterOrEqual, value.clone(), low.eval(row)?)?;
    if above == Some(false) {
        return Ok(above);
    }
    let below = compare_values(Comparison::LessOrEqual, value, high.eval(row)?)?;
    Ok(match (above, below) {
        (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    })
}

fn contains<'v>(membership: &'v Membership, row: &mut Row<'v>) -> Truth {
    let operand = membership.operand.eval(row)?.decode()?;
    if operand.is_null() {
        return Ok(None);
    }
    if let (Some(texts), Value::Text(text)) = (&membership.texts, &operand) {
        return Ok(Some(texts.contains(text.as_ref())));
    }
    let mut known = true;
    for choice in &membership.list {
        match compare_values(Comparison::Equal, operand.clone(), choice.eval(row)?)? {
            Some(true) => return Ok(Some(true)),
            Some(false) => {}
            None => known = false,
        }
    }
    Ok(known.then_some(false))
}

fn like_matches<'v>(like: &'v Like, row: &mut Row<'v>) -> Truth {
    let operand = like.operand.eval(row)?;
    match &like.pattern {
        LikePattern::Fixed(pattern) => match_text(pattern, operand),
        LikePattern::Computed(computed, escape) => match computed.text(row)? {
            Some(text) => match_text(&Pattern::new(&text, *escape), operand),
            None => Ok(None),
        },
    }
}

fn match_text(pattern: &Pattern, operand: Value<'_>) -> Truth {
    if let Value::Json(raw) = &operand
        && let Some(inner) = raw.string()
        && memchr::memchr(b'\\', inner).is_none()
    {
        // What stands between the quotes is the text itself: no need to prove that it is UTF-8, or to copy it.
        return Ok(Some(pattern.matches(inner)));
    }
    Ok(operand.into_text()?.map(|text| pattern.matches(text.as_bytes())))
}

/// `a || b`: NULL when one of them is.
fn concat<'v>(parts: &'v [Expr], row: &mut Row<'v>) -> Outcome<'v> {
    let mut joined = String::new();
    for part in parts {
        match part.text(row)? {
            Some(text) => joined.push_str(&text),
            None => return Ok(Value::Null),
        }
    }
    Ok(Value::text_of(joined))
}

fn case_value<'v>(case: &'v Case, row: &mut Row<'v>) -> Outcome<'v> {
    let operand = match &case.operand {
        Some(operand) => Some(operand.eval(row)?.decode()?),
        None => None,
    };
    for (when, then) in &case.arms {
        let truth = match &operand {
            Some(operand) => compare_values(Comparison::Equal, operand.clone(), when.eval(row)?)?,
            None => when.test(row)?,
        };
        if truth == Some(true) {
            return then.eval(row);
        }
    }
    case.otherwise.as_ref().map_or(Ok(Value::Null), |otherwise| otherwise.eval(row))
}

/// A map. JSON has no name that is NULL; it is written `null`, as ksqlDB does.
fn object<'v>(members: &'v [(Expr, Expr)], row: &mut Row<'v>) -> Outcome<'v> {
    let mut pairs: Vec<(Cow<'v, str>, Value<'v>)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        let name = name.text(row)?.unwrap_or(Cow::Borrowed("null"));
        let value = value.eval(row)?;
        match pairs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, earlier)) => *earlier = value,
            None => pairs.push((name, value)),
        }
    }
    Ok(Value::Object(pairs))
}

fn coalesce<'v>(choices: &'v [Expr], row: &mut Row<'v>) -> Outcome<'v> {
    for choice in choices {
        let value = choice.eval(row)?;
        if !value.is_null() {
            return Ok(value);
        }
    }
    Ok(Value::Null)
}
