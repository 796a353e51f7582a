//! Turns a statement into something that runs: names become fields, names of functions become functions, constants are
//! computed, and what cannot work is refused before any record comes.

mod access;
mod calls;
mod operators;
mod values;

use sqlparser::ast::{
    Expr as Ast, Ident, SelectItem, SelectItemQualifiedWildcardKind, Spanned, WildcardAdditionalOptions,
};
use sqlparser::tokenizer::Location;
use weir_plugin::json::push_string;

use crate::error::StatementError;
use crate::expr::Expr;
use crate::parse;
use crate::query::{Column, Output, Query};
use crate::row::{Names, Row, Scratch};
use crate::types::Type;

/// The name of the source that a statement reads when its pipeline has not named one.
const INPUT: &str = "input";

/// How deep expressions may be nested, chains of operators included: each level is a call when they run.
const DEPTH_MAX: u32 = 100;

/// A planned expression, or what is wrong with it.
type Planned = Result<Typed, StatementError>;

/// An expression, and what is known of its value.
#[derive(Debug)]
struct Typed {
    expr: Expr,
    of: Type,
    /// Whether it is the same for every record.
    constant: bool,
}

impl Typed {
    fn new(expr: Expr, of: Type, constant: bool) -> Typed {
        Typed { expr, of, constant }
    }

    /// Whether it is the word NULL, which has no type.
    fn is_null_word(&self) -> bool {
        self.of == Type::Any && matches!(&self.expr, Expr::Literal(value) if value.is_null())
    }
}

/// Plans a statement.
pub fn plan(statement: &str, sources: &[String]) -> Result<Query, StatementError> {
    let select = parse::parse(statement)?;
    let mut planner = Planner {
        names: Names::default(),
        source: vec![select.source.value.clone()],
        parameters: Vec::new(),
        depth: 0,
    };
    check_source(&select.source, sources)?;
    planner.source.extend(select.alias.map(|alias| alias.value));
    let filter = match &select.filter {
        Some(filter) => Some(planner.condition(filter, "WHERE")?),
        None => None,
    };
    let output = planner.output(&select.items)?;
    Ok(Query { names: planner.names, filter, output })
}

fn check_source(source: &Ident, sources: &[String]) -> Result<(), StatementError> {
    let known =
        source.value.eq_ignore_ascii_case(INPUT) || sources.iter().any(|name| name.eq_ignore_ascii_case(&source.value));
    if known {
        return Ok(());
    }
    let message = format!("unknown source {}: a statement reads FROM {INPUT}", source.value);
    Err(StatementError::new(source.span.start, message))
}

struct Planner {
    names: Names,
    /// What the source is called: its name, and its alias.
    source: Vec<String>,
    /// The parameters of the lambdas around the expression being planned, the outermost first.
    parameters: Vec<Ident>,
    depth: u32,
}

impl Planner {
    /// Plans what has to be TRUE or FALSE.
    fn condition(&mut self, ast: &Ast, place: &str) -> Result<Expr, StatementError> {
        let planned = self.expression(ast)?;
        match planned.of {
            Type::Boolean | Type::Any => Ok(planned.expr),
            other => Err(at(ast, format!("{place} needs a condition, and this is {other}"))),
        }
    }

    /// Plans an expression, and computes it when it is the same for every record.
    fn expression(&mut self, ast: &Ast) -> Planned {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(at(ast, format!("the expression is nested deeper than {DEPTH_MAX} levels")));
        }
        let planned = self.dispatch(ast).map(folded);
        self.depth -= 1;
        planned
    }

    fn dispatch(&mut self, ast: &Ast) -> Planned {
        match ast {
            Ast::Nested(inner) => self.expression(inner),
            Ast::Value(value) => values::literal(value),
            Ast::Identifier(_) | Ast::CompoundIdentifier(_) | Ast::CompoundFieldAccess { .. } => self.access(ast),
            Ast::BinaryOp { left, op, right } => self.binary(ast, left, op, right),
            Ast::UnaryOp { op, expr } => self.unary(ast, op, expr),
            Ast::IsNull(_)
            | Ast::IsNotNull(_)
            | Ast::IsTrue(_)
            | Ast::IsNotTrue(_)
            | Ast::IsFalse(_)
            | Ast::IsNotFalse(_) => self.is(ast),
            Ast::IsDistinctFrom(left, right) => self.distinct(left, right, false),
            Ast::IsNotDistinctFrom(left, right) => self.distinct(left, right, true),
            Ast::Between { expr, negated, low, high } => self.between(expr, low, high, *negated),
            Ast::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Ast::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), *negated)
            }
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Ast::Cast { expr, data_type, .. } => self.cast(expr, data_type),
            Ast::Array(array) => self.array(&array.elem),
            Ast::Function(function) => self.function(function),
            Ast::Subquery(_) | Ast::InSubquery { .. } | Ast::Exists { .. } => {
                Err(at(ast, "a SELECT within a statement is not supported by this version".to_owned()))
            }
            Ast::Wildcard(_) | Ast::QualifiedWildcard(..) => Err(at(ast, "* stands alone in a SELECT".to_owned())),
            Ast::Tuple(_) => Err(at(ast, "expected one value and found a list".to_owned())),
            other => Err(at(other, format!("{} is not supported", shown(other)))),
        }
    }

    fn output(&mut self, items: &[SelectItem]) -> Result<Output, StatementError> {
        let mut columns = Vec::with_capacity(items.len());
        let mut named = Naming::new(items)?;
        for item in items {
            columns.push(match item {
                SelectItem::Wildcard(options) => {
                    plain_wildcard(options)?;
                    Column::All
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    plain_wildcard(options)?;
                    self.qualified_wildcard(kind, item)?
                }
                SelectItem::UnnamedExpr(ast) => match values::members_of(ast) {
                    Some(object) => Column::AllOf(self.expression(object)?.expr),
                    None => self.column(named.name_for(ast), ast)?,
                },
                SelectItem::ExprWithAlias { expr, alias } => self.column(alias.value.clone(), expr)?,
                other => return Err(StatementError::new(other.span().start, "this form of alias is not supported")),
            });
        }
        if matches!(columns.as_slice(), [Column::All]) {
            return Ok(Output::Same);
        }
        Ok(Output::Columns { columns, named: named.taken })
    }

    fn qualified_wildcard(
        &mut self,
        kind: &SelectItemQualifiedWildcardKind,
        item: &SelectItem,
    ) -> Result<Column, StatementError> {
        let name = match kind {
            SelectItemQualifiedWildcardKind::ObjectName(name) => name.to_string(),
            SelectItemQualifiedWildcardKind::Expr(expr) => expr.to_string(),
        };
        if self.source.iter().any(|source| source.eq_ignore_ascii_case(name.trim_matches('`'))) {
            return Ok(Column::All);
        }
        Err(StatementError::new(
            item.span().start,
            format!("unknown source {name}; the members of a field are {name}->*"),
        ))
    }

    fn column(&mut self, name: String, ast: &Ast) -> Result<Column, StatementError> {
        let value = self.expression(ast)?.expr;
        let mut quoted = Vec::with_capacity(name.len() + 3);
        push_string(&mut quoted, &name);
        quoted.push(b':');
        Ok(Column::Value { name: quoted, value })
    }
}

fn plain_wildcard(options: &WildcardAdditionalOptions) -> Result<(), StatementError> {
    let plain = options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_ilike.is_none();
    if plain {
        return Ok(());
    }
    Err(StatementError::new(options.wildcard_token.0.span.start, "nothing may follow a *"))
}

/// Gives names to the columns that have none: a field keeps its own, and the others are counted, as in ksqlDB.
struct Naming {
    taken: Vec<String>,
    next: usize,
}

impl Naming {
    /// Collects the names that the statement gives, and refuses one that is given twice.
    fn new(items: &[SelectItem]) -> Result<Naming, StatementError> {
        let mut taken: Vec<String> = Vec::new();
        for item in items {
            let name = match item {
                SelectItem::ExprWithAlias { alias, .. } => Some(alias),
                SelectItem::UnnamedExpr(Ast::Identifier(name)) => Some(name),
                SelectItem::UnnamedExpr(Ast::CompoundIdentifier(parts)) => parts.last(),
                _ => None,
            };
            let Some(name) = name else { continue };
            if taken.contains(&name.value) {
                let message =
                    format!("{} is selected twice under the same name; give one of them another with AS", name.value);
                return Err(StatementError::new(name.span.start, message));
            }
            taken.push(name.value.clone());
        }
        Ok(Naming { taken, next: 0 })
    }

    fn name_for(&mut self, ast: &Ast) -> String {
        let name = match values::own_name(ast) {
            // It was taken when the names were collected.
            Some((name, true)) => return name,
            Some((name, false)) => self.free(&name),
            None => self.counted(),
        };
        self.taken.push(name.clone());
        name
    }

    fn free(&self, name: &str) -> String {
        let mut candidates = std::iter::once(name.to_owned()).chain((1..).map(|number| format!("{name}_{number}")));
        candidates.find(|candidate| !self.taken.contains(candidate)).unwrap_or_default()
    }

    fn counted(&mut self) -> String {
        loop {
            let name = format!("KSQL_COL_{}", self.next);
            self.next += 1;
            if !self.taken.contains(&name) {
                return name;
            }
        }
    }
}

/// A fault at the start of an expression.
fn at(ast: &Ast, message: String) -> StatementError {
    StatementError::new(start(ast), message)
}

/// Where an expression begins. Goes down by itself where sqlparser would call itself: chains of operators can be long.
fn start(mut ast: &Ast) -> Location {
    while let Ast::BinaryOp { left: first, .. } | Ast::IsNull(first) | Ast::IsNotNull(first) | Ast::Nested(first) = ast
    {
        ast = first;
    }
    ast.span().start
}

/// The longest part of a statement that a message shows, in characters.
const SHOWN_MAX: usize = 60;

/// An expression, short enough for a message.
fn shown(ast: &Ast) -> String {
    let (mut levels, mut first) = (0, ast);
    while let Ast::BinaryOp { left, .. } | Ast::Nested(left) = first {
        (levels, first) = (levels + 1, left);
    }
    // Writing an expression down takes a call for each level.
    let text = if levels > SHOWN_MAX { "the expression".to_owned() } else { ast.to_string() };
    if text.chars().count() <= SHOWN_MAX {
        text
    } else {
        text.chars().take(SHOWN_MAX - 3).chain("...".chars()).collect()
    }
}

/// Computes what is the same for every record.
fn folded(planned: Typed) -> Typed {
    if !planned.constant || matches!(planned.expr, Expr::Literal(_)) {
        return planned;
    }
    let (names, mut scratch) = (Names::default(), Scratch::default());
    let value = Row::empty(&names, &mut scratch).and_then(|mut row| planned.expr.eval(&mut row)?.into_owned());
    match value {
        Ok(value) => Typed { expr: Expr::Literal(value), ..planned },
        Err(_) => planned,
    }
}
