//! Plans operators: logic, comparisons, arithmetic, LIKE, IN and BETWEEN.

use sqlparser::ast::{BinaryOperator, Expr as Ast, UnaryOperator, Value as Literal, ValueWithSpan};

use super::{Planned, Planner, Typed, at, shown};
use crate::error::StatementError;
use crate::expr::{Comparison, Expr, Like, LikePattern, Membership, Operator, Pseudo};
use crate::like::Pattern;
use crate::time::iso;
use crate::types::Type;
use crate::value::Value;

/// From how many texts on an IN looks them up instead of comparing one by one.
const LOOKUP_MIN: usize = 8;

impl Planner {
    pub(super) fn binary(&mut self, ast: &Ast, left: &Ast, operator: &BinaryOperator, right: &Ast) -> Planned {
        if let Some(comparison) = comparison(operator) {
            return self.comparison(comparison, left, right);
        }
        if let Some(operator) = arithmetic(operator) {
            return self.arithmetic(operator, left, right);
        }
        match operator {
            BinaryOperator::And | BinaryOperator::Or => self.logic(ast, operator),
            BinaryOperator::Arrow => self.member(left, right),
            BinaryOperator::StringConcat => self.concat(left, right),
            other => Err(at(left, format!("the operator {other} is not supported"))),
        }
    }

    /// A chain of ANDs or ORs, however long, is one level.
    fn logic(&mut self, ast: &Ast, operator: &BinaryOperator) -> Planned {
        let mut parts = Vec::new();
        let mut rest = ast;
        while let Ast::BinaryOp { left, op, right } = rest
            && op == operator
        {
            parts.push(right.as_ref());
            rest = left;
        }
        parts.push(rest);
        let mut planned = Vec::with_capacity(parts.len());
        let mut constant = true;
        for part in parts.into_iter().rev() {
            let condition = self.expression(part)?;
            if !matches!(condition.of, Type::Boolean | Type::Any) {
                return Err(at(part, format!("{operator} needs conditions, and this is {}", condition.of)));
            }
            constant &= condition.constant;
            planned.push(condition.expr);
        }
        let expr = if *operator == BinaryOperator::And { Expr::And(planned) } else { Expr::Or(planned) };
        Ok(Typed::new(expr, Type::Boolean, constant))
    }

    fn comparison(&mut self, comparison: Comparison, left: &Ast, right: &Ast) -> Planned {
        let (left_ast, right_ast) = (left, right);
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        let (left, right) = moments(left_ast, left, right_ast, right)?;
        check_comparable(left_ast, &left, right_ast, &right)?;
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        for (ast, side) in [(left_ast, &left), (right_ast, &right)] {
            if ordered && matches!(side.of, Type::Boolean | Type::Array(_) | Type::Map(_) | Type::Struct(_)) {
                return Err(at(ast, format!("values of type {} have no order; they can be equal or not", side.of)));
            }
        }
        let constant = left.constant && right.constant;
        Ok(Typed::new(Expr::Compare(comparison, Box::new((left.expr, right.expr))), Type::Boolean, constant))
    }

    pub(super) fn distinct(&mut self, left: &Ast, right: &Ast, negated: bool) -> Planned {
        let (a, b) = (self.expression(left)?, self.expression(right)?);
        if !a.is_null_word() && !b.is_null_word() {
            check_comparable(left, &a, right, &b)?;
        }
        let constant = a.constant && b.constant;
        Ok(Typed::new(Expr::Distinct { negated, sides: Box::new((a.expr, b.expr)) }, Type::Boolean, constant))
    }

    fn arithmetic(&mut self, operator: Operator, left: &Ast, right: &Ast) -> Planned {
        let (a, b) = (self.expression(left)?, self.expression(right)?);
        let joins = operator == Operator::Add && (a.of == Type::Varchar || b.of == Type::Varchar);
        if joins {
            return Ok(joined(a, b));
        }
        for (ast, side) in [(left, &a), (right, &b)] {
            if !side.of.is_numeric() {
                let sign = match operator {
                    Operator::Add => "+",
                    Operator::Subtract => "-",
                    Operator::Multiply => "*",
                    Operator::Divide => "/",
                    Operator::Remainder => "%",
                };
                return Err(at(ast, format!("{sign} needs numbers, and this is {}", side.of)));
            }
        }
        let of = result_type(operator, &a.of, &b.of);
        let constant = a.constant && b.constant;
        Ok(Typed::new(Expr::Arithmetic(operator, Box::new((a.expr, b.expr))), of, constant))
    }

    fn concat(&mut self, left: &Ast, right: &Ast) -> Planned {
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        Ok(joined(left, right))
    }

    pub(super) fn unary(&mut self, ast: &Ast, operator: &UnaryOperator, operand: &Ast) -> Planned {
        // The smallest BIGINT is written with a number that is too large without its sign.
        if let (UnaryOperator::Minus, Ast::Value(ValueWithSpan { value: Literal::Number(text, _), .. })) =
            (operator, operand)
            && text.trim_start_matches('0') == "9223372036854775808"
        {
            return Ok(Typed::new(Expr::Literal(Value::Whole(i64::MIN)), Type::Bigint, true));
        }
        let planned = self.expression(operand)?;
        match operator {
            UnaryOperator::Not if matches!(planned.of, Type::Boolean | Type::Any) => {
                Ok(Typed::new(Expr::Not(Box::new(planned.expr)), Type::Boolean, planned.constant))
            }
            UnaryOperator::Not => Err(at(operand, format!("NOT needs a condition, and this is {}", planned.of))),
            UnaryOperator::Minus if planned.of.is_numeric() => {
                Ok(Typed::new(Expr::Negate(Box::new(planned.expr)), planned.of, planned.constant))
            }
            UnaryOperator::Plus if planned.of.is_numeric() => Ok(planned),
            UnaryOperator::Minus | UnaryOperator::Plus => {
                Err(at(operand, format!("a sign needs a number, and this is {}", planned.of)))
            }
            other => Err(at(ast, format!("the operator {other} is not supported"))),
        }
    }

    pub(super) fn is(&mut self, ast: &Ast) -> Planned {
        let (operand, wanted, negated) = match ast {
            Ast::IsNull(operand) => (operand, None, false),
            Ast::IsNotNull(operand) => (operand, None, true),
            Ast::IsTrue(operand) => (operand, Some(true), false),
            Ast::IsNotTrue(operand) => (operand, Some(true), true),
            Ast::IsFalse(operand) => (operand, Some(false), false),
            Ast::IsNotFalse(operand) => (operand, Some(false), true),
            other => return Err(at(other, "expected IS NULL, IS TRUE or IS FALSE".to_owned())),
        };
        let planned = self.expression(operand)?;
        let operand = Box::new(planned.expr);
        let expr = match wanted {
            None => Expr::IsNull { negated, operand },
            Some(wanted) => Expr::Is { wanted, negated, operand },
        };
        Ok(Typed::new(expr, Type::Boolean, planned.constant))
    }

    pub(super) fn between(&mut self, operand: &Ast, low: &Ast, high: &Ast, negated: bool) -> Planned {
        let (a, b, c) = (self.expression(operand)?, self.expression(low)?, self.expression(high)?);
        let (a, b) = moments(operand, a, low, b)?;
        let (a, c) = moments(operand, a, high, c)?;
        check_comparable(operand, &a, low, &b)?;
        check_comparable(operand, &a, high, &c)?;
        let constant = a.constant && b.constant && c.constant;
        Ok(Typed::new(Expr::Between { negated, parts: Box::new((a.expr, b.expr, c.expr)) }, Type::Boolean, constant))
    }

    pub(super) fn in_list(&mut self, operand: &Ast, list: &[Ast], negated: bool) -> Planned {
        let wanted = self.expression(operand)?;
        let mut constant = wanted.constant;
        let mut planned = Vec::with_capacity(list.len());
        for choice in list {
            let choice_planned = self.expression(choice)?;
            if !choice_planned.is_null_word() {
                check_comparable(operand, &wanted, choice, &choice_planned)?;
            }
            constant &= choice_planned.constant;
            planned.push(choice_planned.expr);
        }
        let texts = if planned.len() >= LOOKUP_MIN { planned.iter().map(text_literal).collect() } else { None };
        let membership = Membership { operand: wanted.expr, list: planned, texts, negated };
        Ok(Typed::new(Expr::In(Box::new(membership)), Type::Boolean, constant))
    }

    pub(super) fn like(&mut self, operand: &Ast, pattern: &Ast, escape: Option<&Ast>, negated: bool) -> Planned {
        let escape = escape.map(escape_letter).transpose()?;
        let (text, wanted) = (self.expression(operand)?, self.expression(pattern)?);
        for (ast, side) in [(operand, &text), (pattern, &wanted)] {
            if !matches!(side.of, Type::Varchar | Type::Any) {
                return Err(at(ast, format!("LIKE needs text, and this is {}", side.of)));
            }
        }
        let constant = text.constant && wanted.constant;
        let pattern = match text_literal(&wanted.expr) {
            Some(literal) => LikePattern::Fixed(Box::new(Pattern::new(&literal, escape))),
            None => LikePattern::Computed(wanted.expr, escape),
        };
        Ok(Typed::new(Expr::Like(Box::new(Like { operand: text.expr, pattern, negated })), Type::Boolean, constant))
    }
}

fn comparison(operator: &BinaryOperator) -> Option<Comparison> {
    Some(match operator {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn arithmetic(operator: &BinaryOperator) -> Option<Operator> {
    Some(match operator {
        BinaryOperator::Plus => Operator::Add,
        BinaryOperator::Minus => Operator::Subtract,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Remainder,
        _ => return None,
    })
}

/// The type of a sum, a difference and so on, as far as it is known.
fn result_type(operator: Operator, left: &Type, right: &Type) -> Type {
    match (left, right) {
        // `+` of two fields joins them when they are text.
        (Type::Any, _) | (_, Type::Any) if operator == Operator::Add => Type::Any,
        (Type::Any, _) | (_, Type::Any) => Type::Any,
        (Type::Double, _) | (_, Type::Double) => Type::Double,
        (Type::Decimal(..), _) | (_, Type::Decimal(..)) => Type::DECIMAL,
        (Type::Integer, Type::Integer) => Type::Integer,
        _ => Type::Bigint,
    }
}

/// Joins two texts; a chain of them becomes one level.
fn joined(left: Typed, right: Typed) -> Typed {
    let constant = left.constant && right.constant;
    let mut parts = match left.expr {
        Expr::Concat(parts) => parts,
        other => vec![other],
    };
    parts.push(right.expr);
    Typed::new(Expr::Concat(parts), Type::Varchar, constant)
}

/// Checks that two values can be compared.
pub(super) fn check_comparable(
    left_ast: &Ast,
    left: &Typed,
    right_ast: &Ast,
    right: &Typed,
) -> Result<(), StatementError> {
    for (ast, side) in [(left_ast, left), (right_ast, right)] {
        if side.is_null_word() {
            return Err(at(ast, "a comparison with NULL is never true; use IS NULL or IS NOT NULL".to_owned()));
        }
    }
    if comparable(&left.of, &right.of) {
        return Ok(());
    }
    let message =
        format!("{} ({}) cannot be compared with {} ({})", shown(left_ast), left.of, shown(right_ast), right.of);
    Err(at(left_ast, message))
}

fn comparable(left: &Type, right: &Type) -> bool {
    match (left, right) {
        (Type::Any, _) | (_, Type::Any) => true,
        (a, b) if a.is_number() && b.is_number() => true,
        (a, Type::Varchar) | (Type::Varchar, a) if a.is_time() => true,
        (a, b) if a.is_time() && (b.is_time() || b.is_whole()) || b.is_time() && a.is_whole() => true,
        (Type::Array(a), Type::Array(b)) | (Type::Map(a), Type::Map(b)) => comparable(a, b),
        (Type::Struct(_) | Type::Map(_), Type::Struct(_) | Type::Map(_)) => true,
        (a, b) => a == b,
    }
}

/// Text next to ROWTIME is a moment: `ROWTIME >= '2024-01-01T00:00'`.
fn moments(left_ast: &Ast, left: Typed, right_ast: &Ast, right: Typed) -> Result<(Typed, Typed), StatementError> {
    let is_time = |side: &Typed| matches!(side.expr, Expr::Pseudo(Pseudo::Time));
    if is_time(&left) {
        return Ok((left, moment(right_ast, right)?));
    }
    if is_time(&right) {
        return Ok((moment(left_ast, left)?, right));
    }
    Ok((left, right))
}

fn moment(ast: &Ast, side: Typed) -> Planned {
    let Some(text) = text_literal(&side.expr) else { return Ok(side) };
    let ms = iso::timestamp_in(&text)
        .ok_or_else(|| at(ast, format!("'{text}' is no moment; expected something like '2024-02-29T10:30:05.250'")))?;
    Ok(Typed::new(Expr::Literal(Value::Whole(ms)), Type::Bigint, true))
}

fn text_literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(Value::Text(text)) => Some(text.clone().into_owned()),
        _ => None,
    }
}

fn escape_letter(ast: &Ast) -> Result<char, StatementError> {
    let wrong = || at(ast, "ESCAPE needs one character in quotes".to_owned());
    let Ast::Value(ValueWithSpan { value: Literal::SingleQuotedString(text), .. }) = ast else { return Err(wrong()) };
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => Ok(letter),
        _ => Err(wrong()),
    }
}
