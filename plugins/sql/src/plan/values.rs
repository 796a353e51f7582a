//! Plans literals, CASE, CAST and arrays.

use sqlparser::ast::{BinaryOperator, CaseWhen, DataType, Expr as Ast, Value as Literal, ValueWithSpan};

use super::{Planned, Planner, Typed, at, start};
use crate::decimal::Decimal;
use crate::error::StatementError;
use crate::expr::{Case, Expr};
use crate::types::Type;
use crate::value::Value;

/// Plans a literal. Whole numbers are INTEGER or BIGINT, those with a point DECIMAL, those with an exponent DOUBLE.
pub(super) fn literal(literal: &ValueWithSpan) -> Planned {
    let wrong = |message: String| StatementError::new(literal.span.start, message);
    let (value, of) = match &literal.value {
        Literal::Null => (Value::Null, Type::Any),
        Literal::Boolean(flag) => (Value::Boolean(*flag), Type::Boolean),
        Literal::SingleQuotedString(text) => (Value::text_of(text.clone()), Type::Varchar),
        Literal::Number(text, false) => number(text).map_err(wrong)?,
        other => return Err(wrong(format!("{other} is no literal that is known here"))),
    };
    Ok(Typed::new(Expr::Literal(value), of, true))
}

fn number(text: &str) -> Result<(Value<'static>, Type), String> {
    if text.contains(['e', 'E']) {
        let double: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
        if double.is_infinite() {
            return Err(format!("{text} is too large for a DOUBLE"));
        }
        return Ok((Value::Double(double), Type::Double));
    }
    if text.contains('.') {
        let decimal = Decimal::parse(text).ok_or_else(|| format!("{text} has too many digits for a DECIMAL"))?;
        return Ok((Value::Decimal(decimal), Type::Decimal(decimal.precision(), decimal.scale())));
    }
    let whole: i64 = text.parse().map_err(|_| format!("{text} is too large for a BIGINT"))?;
    Ok((Value::Whole(whole), if i32::try_from(whole).is_ok() { Type::Integer } else { Type::Bigint }))
}

/// The name that a column has without AS, and whether it is the name of a plain field.
pub(super) fn own_name(ast: &Ast) -> Option<(String, bool)> {
    match ast {
        Ast::Identifier(name) => Some((name.value.clone(), true)),
        Ast::CompoundIdentifier(parts) => parts.last().map(|name| (name.value.clone(), true)),
        Ast::BinaryOp { op: BinaryOperator::Arrow, right, .. } => match right.as_ref() {
            Ast::Identifier(name) => Some((name.value.clone(), false)),
            _ => None,
        },
        _ => None,
    }
}

/// The struct whose members `a->*` stands for.
pub(super) fn members_of(ast: &Ast) -> Option<&Ast> {
    match ast {
        Ast::BinaryOp { left, op: BinaryOperator::Arrow, right } if matches!(right.as_ref(), Ast::Wildcard(_)) => {
            Some(left)
        }
        _ => None,
    }
}

impl Planner {
    pub(super) fn case(&mut self, operand: Option<&Ast>, conditions: &[CaseWhen], otherwise: Option<&Ast>) -> Planned {
        let operand = match operand {
            Some(operand) => Some((operand, self.expression(operand)?)),
            None => None,
        };
        let mut constant = operand.as_ref().is_none_or(|(_, planned)| planned.constant);
        let mut arms = Vec::with_capacity(conditions.len());
        let mut results = Vec::new();
        for arm in conditions {
            let when = self.expression(&arm.condition)?;
            match &operand {
                Some((ast, operand)) => super::operators::check_comparable(ast, operand, &arm.condition, &when)?,
                None if !matches!(when.of, Type::Boolean | Type::Any) => {
                    return Err(at(&arm.condition, format!("WHEN needs a condition, and this is {}", when.of)));
                }
                None => {}
            }
            let then = self.expression(&arm.result)?;
            constant &= when.constant && then.constant;
            results.push((then.of.clone(), then.is_null_word()));
            arms.push((when.expr, then.expr));
        }
        let otherwise = match otherwise {
            Some(otherwise) => {
                let planned = self.expression(otherwise)?;
                constant &= planned.constant;
                results.push((planned.of.clone(), planned.is_null_word()));
                Some(planned.expr)
            }
            None => None,
        };
        let case = Case { operand: operand.map(|(_, planned)| planned.expr), arms, otherwise };
        Ok(Typed::new(Expr::Case(Box::new(case)), common(results), constant))
    }

    pub(super) fn cast(&mut self, value: &Ast, wanted: &DataType) -> Planned {
        let DataType::Custom(name, _) = wanted else {
            return Err(at(value, format!("{wanted} is no type that is known here")));
        };
        let part = name.0.first().and_then(|part| part.as_ident());
        let (text, place) = part.map_or(("", start(value)), |part| (part.value.as_str(), part.span.start));
        let wanted = Type::parse(text).map_err(|message| StatementError::new(place, message))?;
        let planned = self.expression(value)?;
        if !castable(&planned.of, &wanted) {
            return Err(at(value, format!("a CAST from {} to {wanted} is not possible", planned.of)));
        }
        Ok(Typed::new(Expr::Cast(Box::new(planned.expr), wanted.clone()), wanted, planned.constant))
    }

    pub(super) fn array(&mut self, elements: &[Ast]) -> Planned {
        let mut planned = Vec::with_capacity(elements.len());
        for element in elements {
            planned.push(self.expression(element)?);
        }
        let of = common(planned.iter().map(|element| (element.of.clone(), element.is_null_word())));
        let constant = planned.iter().all(|element| element.constant);
        let elements = planned.into_iter().map(|element| element.expr).collect();
        Ok(Typed::new(Expr::Array(elements), Type::Array(Box::new(of)), constant))
    }
}

/// The type that all of several values have, as far as it is known. The word NULL goes with any.
pub(super) fn common(types: impl IntoIterator<Item = (Type, bool)>) -> Type {
    let mut known: Option<Type> = None;
    for (of, is_null_word) in types {
        known = match known {
            _ if is_null_word => known,
            None => Some(of),
            Some(before) if before == of => Some(before),
            Some(Type::Integer | Type::Bigint) if of.is_whole() => Some(Type::Bigint),
            Some(before) if before.is_number() && of.is_number() => Some(Type::Double),
            Some(_) => return Type::Any,
        };
    }
    known.unwrap_or(Type::Any)
}

/// Whether values of one type can be made into another.
fn castable(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (Type::Any, _) | (_, Type::Any | Type::Varchar) => true,
        (Type::Varchar, to) => !matches!(to, Type::Array(_) | Type::Map(_) | Type::Struct(_)),
        (from, to) if from.is_number() && to.is_number() => true,
        (Type::Boolean, Type::Boolean) | (Type::Bytes, Type::Bytes) => true,
        (Type::Timestamp, Type::Date | Type::Time | Type::Timestamp) => true,
        (Type::Date, Type::Date | Type::Timestamp) | (Type::Time, Type::Time) => true,
        // Moments are kept as numbers in JSON, and this is how they are taken out of it.
        (Type::Bigint | Type::Integer, to) => to.is_time(),
        (from, Type::Bigint | Type::Integer) => from.is_time(),
        (Type::Array(from), Type::Array(to)) | (Type::Map(from), Type::Map(to)) => castable(from, to),
        (Type::Struct(_) | Type::Map(_), Type::Struct(_) | Type::Map(_)) => true,
        _ => false,
    }
}
