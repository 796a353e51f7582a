//! Plans what reaches into a record: fields, pseudo columns, the parameters of lambdas, `->` and `[..]`.

use sqlparser::ast::{AccessExpr, Expr as Ast, Ident, Subscript};

use super::{Planned, Planner, Typed, at, start};
use crate::error::StatementError;
use crate::expr::{Expr, Pseudo};
use crate::row::Name;
use crate::types::Type;

impl Planner {
    pub(super) fn access(&mut self, ast: &Ast) -> Planned {
        match ast {
            Ast::Identifier(name) => Ok(self.name(name)),
            Ast::CompoundIdentifier(parts) => self.qualified(parts, ast),
            Ast::CompoundFieldAccess { root, access_chain } => {
                let mut planned = self.expression(root)?;
                for step in access_chain {
                    planned = self.step(planned, step, ast)?;
                }
                Ok(planned)
            }
            other => Err(at(other, "expected a field".to_owned())),
        }
    }

    /// A name: a parameter, a pseudo column or a field, in this order. In quotes it is always a field.
    fn name(&mut self, name: &Ident) -> Typed {
        let same = |parameter: &Ident| match (parameter.quote_style, name.quote_style) {
            (None, None) => parameter.value.eq_ignore_ascii_case(&name.value),
            _ => parameter.value == name.value,
        };
        if let Some(place) = self.parameters.iter().rposition(same) {
            return Typed::new(Expr::Variable(place), Type::Any, false);
        }
        if name.quote_style.is_none()
            && let Some((pseudo, of)) = pseudo_column(&name.value)
        {
            return Typed::new(Expr::Pseudo(pseudo), of, false);
        }
        let number = self.names.number(written(name));
        Typed::new(Expr::Field(number), Type::Any, false)
    }

    /// `input.field`. A field in a struct is `a->b`, and says so when it is written with a point.
    fn qualified(&mut self, parts: &[Ident], ast: &Ast) -> Planned {
        match parts {
            [source, name] if self.source.iter().any(|known| known.eq_ignore_ascii_case(&source.value)) => {
                Ok(self.name(name))
            }
            [first, second, ..] => {
                let message = format!(
                    "unknown source {first}; a field in a struct is written {first}->{second}, and a field whose name has a point \
                     in backquotes: `{}.{}`",
                    first.value, second.value
                );
                Err(at(ast, message))
            }
            _ => Err(at(ast, "expected a field".to_owned())),
        }
    }

    fn step(&mut self, from: Typed, step: &AccessExpr, ast: &Ast) -> Planned {
        match step {
            AccessExpr::Subscript(Subscript::Index { index }) => {
                let of = match &from.of {
                    Type::Array(of) | Type::Map(of) => of.as_ref().clone(),
                    Type::Any => Type::Any,
                    other => return Err(at(ast, format!("[..] reaches into an ARRAY or a MAP, and this is {other}"))),
                };
                let index = self.expression(index)?;
                let constant = from.constant && index.constant;
                Ok(Typed::new(Expr::Index(Box::new((from.expr, index.expr))), of, constant))
            }
            AccessExpr::Subscript(Subscript::Slice { .. }) => {
                Err(at(ast, "[a:b] is not known; use SLICE(array, a, b)".to_owned()))
            }
            AccessExpr::Dot(name) => {
                Err(StatementError::new(start(name), format!("a field in a struct is written ->{name}")))
            }
        }
    }

    /// `left->name`.
    pub(super) fn member(&mut self, left: &Ast, right: &Ast) -> Planned {
        let Ast::Identifier(name) = right else { return Err(at(right, "->* stands alone in a SELECT".to_owned())) };
        let from = self.expression(left)?;
        let wanted = written(name);
        let of = match &from.of {
            Type::Any | Type::Map(_) => Type::Any,
            Type::Struct(fields) => {
                let known = fields.iter().find(|(field, _)| wanted.matches(field.as_bytes()));
                let Some((_, of)) = known else {
                    return Err(at(right, format!("the struct has no field {}", name.value)));
                };
                of.clone()
            }
            other => return Err(at(left, format!("-> reaches into a STRUCT, and this is {other}"))),
        };
        Ok(Typed::new(Expr::Member(Box::new(from.expr), wanted), of, from.constant))
    }
}

/// The name of a field as it is written: case matters in quotes.
fn written(name: &Ident) -> Name {
    Name { text: name.value.clone(), exact: name.quote_style.is_some() }
}

fn pseudo_column(name: &str) -> Option<(Pseudo, Type)> {
    Some(match name.to_ascii_uppercase().as_str() {
        "ROWTIME" => (Pseudo::Time, Type::Bigint),
        "ROWOFFSET" => (Pseudo::Offset, Type::Bigint),
        "ROWPARTITION" => (Pseudo::Partition, Type::Integer),
        "ROWKEY" => (Pseudo::Key, Type::Varchar),
        _ => return None,
    })
}
