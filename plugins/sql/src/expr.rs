//! Expressions as they are run: names resolved, functions found, constants folded.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use crate::functions::Function;
use crate::functions::path::Path;
use crate::like::Pattern;
use crate::row::Name;
use crate::time::pattern::Pattern as TimePattern;
use crate::types::Type;
use crate::value::Value;

/// An expression.
#[derive(Debug)]
pub enum Expr {
    /// A constant.
    Literal(Value<'static>),
    /// A top-level field of the record's value, by its number.
    Field(usize),
    /// A pseudo column.
    Pseudo(Pseudo),
    /// A lambda's parameter, by its place.
    Variable(usize),
    /// `a->b`.
    Member(Box<Expr>, Name),
    /// `a[b]`.
    Index(Box<(Expr, Expr)>),
    /// TRUE when all are.
    And(Vec<Expr>),
    /// TRUE when one is.
    Or(Vec<Expr>),
    /// The opposite.
    Not(Box<Expr>),
    /// `a = b` and its like.
    Compare(Comparison, Box<(Expr, Expr)>),
    /// `a IS [NOT] DISTINCT FROM b`.
    Distinct {
        /// Whether NOT stands there.
        negated: bool,
        /// Both sides.
        sides: Box<(Expr, Expr)>,
    },
    /// `a IS [NOT] NULL`.
    IsNull {
        /// Whether NOT stands there.
        negated: bool,
        /// What is looked at.
        operand: Box<Expr>,
    },
    /// `a IS [NOT] TRUE` and `a IS [NOT] FALSE`.
    Is {
        /// TRUE or FALSE.
        wanted: bool,
        /// Whether NOT stands there.
        negated: bool,
        /// What is looked at.
        operand: Box<Expr>,
    },
    /// `a [NOT] BETWEEN b AND c`.
    Between {
        /// Whether NOT stands there.
        negated: bool,
        /// What is looked at, the low end and the high end.
        parts: Box<(Expr, Expr, Expr)>,
    },
    /// `a [NOT] IN (..)`.
    In(Box<Membership>),
    /// `a [NOT] LIKE b`.
    Like(Box<Like>),
    /// `a + b` and its like.
    Arithmetic(Operator, Box<(Expr, Expr)>),
    /// `-a`.
    Negate(Box<Expr>),
    /// `a || b`, and `a + b` where it is known to be text.
    Concat(Vec<Expr>),
    /// `CASE .. END`.
    Case(Box<Case>),
    /// `CAST(a AS type)`.
    Cast(Box<Expr>, Type),
    /// `ARRAY[..]`.
    Array(Vec<Expr>),
    /// `MAP(a := b)` and `STRUCT(a := b)`.
    Object(Vec<(Expr, Expr)>),
    /// The first that is not NULL.
    Coalesce(Vec<Expr>),
    /// A function.
    Call(Box<Call>),
    /// A function that runs a lambda over a collection.
    Lambda(Box<LambdaCall>),
}

/// What is known of a record besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pseudo {
    /// ROWTIME: the timestamp in milliseconds.
    Time,
    /// ROWOFFSET: the offset in its partition.
    Offset,
    /// ROWPARTITION: the partition.
    Partition,
    /// ROWKEY: the key as text.
    Key,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// How two numbers are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

/// `a [NOT] IN (..)`.
#[derive(Debug)]
pub struct Membership {
    /// What is looked for.
    pub operand: Expr,
    /// Where it is looked for.
    pub list: Vec<Expr>,
    /// The list again when it is long and holds only text, for one lookup instead of many comparisons.
    pub texts: Option<HashSet<String>>,
    /// Whether NOT stands there.
    pub negated: bool,
}

/// `a [NOT] LIKE b [ESCAPE c]`.
#[derive(Debug)]
pub struct Like {
    /// The text.
    pub operand: Expr,
    /// The pattern.
    pub pattern: LikePattern,
    /// Whether NOT stands there.
    pub negated: bool,
}

/// The pattern of a LIKE.
#[derive(Debug)]
pub enum LikePattern {
    /// Known from the statement.
    Fixed(Box<Pattern>),
    /// Computed for each record, with the escape character.
    Computed(Expr, Option<char>),
}

/// `CASE [operand] WHEN .. THEN .. ELSE .. END`.
#[derive(Debug)]
pub struct Case {
    /// What each WHEN is compared with; without it each WHEN is a condition.
    pub operand: Option<Expr>,
    /// WHEN and THEN.
    pub arms: Vec<(Expr, Expr)>,
    /// ELSE.
    pub otherwise: Option<Expr>,
}

/// A call of a function of the table.
#[derive(Debug)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments.
    pub arguments: Vec<Expr>,
    /// What this place in the statement compiled last.
    pub memo: Memo,
}

/// A call of a function that takes lambdas.
#[derive(Debug)]
pub struct LambdaCall {
    /// Which one.
    pub kind: LambdaKind,
    /// The array or map.
    pub collection: Expr,
    /// Where REDUCE begins.
    pub initial: Option<Expr>,
    /// The bodies of the lambdas.
    pub bodies: Vec<Expr>,
}

/// The functions that take lambdas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LambdaKind {
    /// TRANSFORM.
    Transform,
    /// FILTER.
    Filter,
    /// REDUCE.
    Reduce,
}

/// The regular expression, time pattern or path that a call used last, kept for the next record: it nearly always comes
/// again. Holds one entry.
#[derive(Debug, Default)]
pub struct Memo(RefCell<Option<(Box<str>, Compiled)>>);

/// What a function makes out of the text of an argument.
#[derive(Clone, Debug)]
pub enum Compiled {
    /// A regular expression.
    Regex(Rc<regex::Regex>),
    /// A pattern of Java's DateTimeFormatter.
    Time(Rc<TimePattern>),
    /// A path into JSON.
    Path(Rc<Path>),
    /// The text was no good.
    Broken,
}

impl Memo {
    /// What `compile` makes of `text`, from memory when it is the text that came last.
    pub fn get(&self, text: &str, compile: impl FnOnce(&str) -> Compiled) -> Compiled {
        let mut last = self.0.borrow_mut();
        match last.as_ref() {
            Some((known, compiled)) if **known == *text => compiled.clone(),
            _ => {
                let compiled = compile(text);
                *last = Some((text.into(), compiled.clone()));
                compiled
            }
        }
    }
}
