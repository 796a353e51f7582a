//! Plans calls: the functions of the table, those that are part of the language, and lambdas.

use sqlparser::ast::{
    Expr as Ast, Function as Called, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments, Ident,
    ObjectNamePart, Spanned,
};
use sqlparser::tokenizer::Location;

use super::values::common;
use super::{Planned, Planner, Typed, at};
use crate::error::StatementError;
use crate::expr::{Call, Expr, LambdaCall, LambdaKind, Memo};
use crate::functions::{self, Function, Kind, Returns};
use crate::types::Type;
use crate::value::Value;

/// The functions that are planned here and stand in no table.
const LANGUAGE: [&str; 7] = ["COALESCE", "IFNULL", "MAP", "STRUCT", "TRANSFORM", "FILTER", "REDUCE"];

/// How like a known name an unknown one has to be to be taken for a slip of the finger: changed letters.
const SLIP_MAX: usize = 3;

impl Planner {
    pub(super) fn function(&mut self, called: &Called) -> Planned {
        let [ObjectNamePart::Identifier(name)] = called.name.0.as_slice() else {
            return Err(StatementError::new(called.span().start, format!("unknown function {}", called.name)));
        };
        let here = name.span.start;
        let upper = name.value.to_uppercase();
        if called.over.is_some() || called.filter.is_some() || !called.within_group.is_empty() {
            return Err(StatementError::new(here, "OVER, FILTER and WITHIN GROUP are not supported"));
        }
        if let Some(reason) = refused(&upper) {
            return Err(StatementError::new(here, format!("{upper} {reason}")));
        }
        let arguments = arguments(called, here)?;
        match upper.as_str() {
            "COALESCE" | "IFNULL" => self.coalesce(&upper, &arguments, here),
            "MAP" => self.map(&arguments, here),
            "STRUCT" => self.structure(&arguments, here),
            "TRANSFORM" | "FILTER" | "REDUCE" => self.lambda_call(&upper, &arguments, here),
            _ => self.table_function(&upper, &arguments, here),
        }
    }

    fn table_function(&mut self, name: &str, arguments: &[Argument<'_>], here: Location) -> Planned {
        let Some(function) = functions::find(name) else { return Err(unknown(name, here)) };
        if !function.takes(arguments.len()) {
            let no_clock = matches!(name, "UNIX_TIMESTAMP" | "UNIX_DATE") && arguments.is_empty();
            let hint = if no_clock { "; there is no clock here: ROWTIME is the time of the record" } else { "" };
            let given = match arguments.len() {
                1 => "1 argument is".to_owned(),
                count => format!("{count} arguments are"),
            };
            return Err(StatementError::new(here, format!("{given} given to {}{hint}", function.signature())));
        }
        let mut planned = Vec::with_capacity(arguments.len());
        for (place, argument) in arguments.iter().enumerate() {
            planned.push(self.argument(function, place, argument)?);
        }
        if let Some(check) = function.check {
            let literals: Vec<Option<&str>> = planned.iter().map(literal).collect();
            check(&literals).map_err(|message| StatementError::new(here, message))?;
        }
        let of = returned(function.returns, &planned);
        let constant = planned.iter().all(|argument| argument.constant);
        let call =
            Call { function, arguments: planned.into_iter().map(|typed| typed.expr).collect(), memo: Memo::default() };
        Ok(Typed::new(Expr::Call(Box::new(call)), of, constant))
    }

    fn argument(&mut self, function: &'static Function, place: usize, argument: &Argument<'_>) -> Planned {
        let kind = function.kind(place);
        let ast = argument.plain(function.name)?;
        if let (Kind::Unit, Ast::Identifier(unit)) = (kind, ast) {
            let name = Value::text_of(unit.value.to_uppercase());
            return Ok(Typed::new(Expr::Literal(name), Type::Varchar, true));
        }
        let planned = self.expression(ast)?;
        if !kind.accepts(&planned.of) {
            let message =
                format!("argument {} of {} is {}, and this is {}", place + 1, function.signature(), kind, planned.of);
            return Err(at(ast, message));
        }
        Ok(planned)
    }

    fn coalesce(&mut self, name: &str, arguments: &[Argument<'_>], here: Location) -> Planned {
        let wrong = if name == "IFNULL" { arguments.len() != 2 } else { arguments.is_empty() };
        if wrong {
            let wanted = if name == "IFNULL" { "two arguments" } else { "at least one argument" };
            return Err(StatementError::new(here, format!("{name} needs {wanted}, and {} are given", arguments.len())));
        }
        let mut planned = Vec::with_capacity(arguments.len());
        for argument in arguments {
            planned.push(self.expression(argument.plain(name)?)?);
        }
        let of = common(planned.iter().map(|choice| (choice.of.clone(), choice.is_null_word())));
        let constant = planned.iter().all(|choice| choice.constant);
        Ok(Typed::new(Expr::Coalesce(planned.into_iter().map(|choice| choice.expr).collect()), of, constant))
    }

    /// `MAP(name := value, ..)`: names are expressions.
    fn map(&mut self, arguments: &[Argument<'_>], here: Location) -> Planned {
        let mut members = Vec::with_capacity(arguments.len());
        let mut types = Vec::new();
        let mut constant = true;
        for argument in arguments {
            let (name, value) = argument
                .assigned()
                .ok_or_else(|| StatementError::new(here, "a map is written MAP(name := value, ..)"))?;
            let (name_planned, value) = (self.expression(name)?, self.expression(value)?);
            if !matches!(name_planned.of, Type::Varchar | Type::Any) {
                return Err(at(name, format!("the names in a map are VARCHAR, and this is {}", name_planned.of)));
            }
            constant &= name_planned.constant && value.constant;
            types.push((value.of.clone(), value.is_null_word()));
            members.push((name_planned.expr, value.expr));
        }
        Ok(Typed::new(Expr::Object(members), Type::Map(Box::new(common(types))), constant))
    }

    /// `STRUCT(name := value, ..)`: names are names.
    fn structure(&mut self, arguments: &[Argument<'_>], here: Location) -> Planned {
        let wrong = || StatementError::new(here, "a struct is written STRUCT(name := value, ..)");
        let mut members = Vec::with_capacity(arguments.len());
        let mut fields: Vec<(String, Type)> = Vec::with_capacity(arguments.len());
        let mut constant = true;
        for argument in arguments {
            let (Ast::Identifier(name), value) = argument.assigned().ok_or_else(wrong)? else { return Err(wrong()) };
            if fields.iter().any(|(known, _)| *known == name.value) {
                return Err(StatementError::new(name.span.start, format!("the struct has two fields {}", name.value)));
            }
            let value = self.expression(value)?;
            constant &= value.constant;
            fields.push((name.value.clone(), value.of));
            members.push((Expr::Literal(Value::text_of(name.value.clone())), value.expr));
        }
        Ok(Typed::new(Expr::Object(members), Type::Struct(fields), constant))
    }

    fn lambda_call(&mut self, name: &str, arguments: &[Argument<'_>], here: Location) -> Planned {
        let (kind, wanted) = match name {
            "TRANSFORM" => {
                (LambdaKind::Transform, "TRANSFORM(array, x => ..) or TRANSFORM(map, (k, v) => .., (k, v) => ..)")
            }
            "FILTER" => (LambdaKind::Filter, "FILTER(array, x => ..) or FILTER(map, (k, v) => ..)"),
            _ => (LambdaKind::Reduce, "REDUCE(array, initial, (s, x) => ..) or REDUCE(map, initial, (s, k, v) => ..)"),
        };
        let wrong = || StatementError::new(here, format!("{name} is written {wanted}"));
        let (collection, rest) = arguments.split_first().ok_or_else(wrong)?;
        let collection_ast = collection.plain(name)?;
        let collection = self.expression(collection_ast)?;
        if !matches!(collection.of, Type::Any | Type::Array(_) | Type::Map(_)) {
            return Err(at(collection_ast, format!("{name} needs an ARRAY or a MAP, and this is {}", collection.of)));
        }
        let (initial, lambdas) = match (kind, rest.split_first()) {
            (LambdaKind::Reduce, Some((initial, lambdas))) => (Some(self.expression(initial.plain(name)?)?), lambdas),
            _ => (None, rest),
        };
        let lambdas: Vec<_> = lambdas.iter().map(Argument::lambda).collect::<Option<_>>().ok_or_else(wrong)?;
        let counts: Vec<usize> = lambdas.iter().map(|(parameters, _)| parameters.len()).collect();
        let over_map = match (kind, counts.as_slice()) {
            (LambdaKind::Transform, [2, 2]) | (LambdaKind::Filter, [2]) | (LambdaKind::Reduce, [3]) => true,
            (LambdaKind::Transform | LambdaKind::Filter, [1]) | (LambdaKind::Reduce, [2]) => false,
            _ => return Err(wrong()),
        };
        let mut bodies = Vec::with_capacity(lambdas.len());
        for (parameters, body) in lambdas {
            let known = self.parameters.len();
            self.parameters.extend(parameters.into_iter().cloned());
            let planned = self.expression(body);
            self.parameters.truncate(known);
            bodies.push(planned?.expr);
        }
        let of = match (kind, over_map) {
            (LambdaKind::Reduce, _) => initial.as_ref().map_or(Type::Any, |initial| initial.of.clone()),
            (LambdaKind::Filter, _) => collection.of,
            (LambdaKind::Transform, true) => Type::Map(Box::new(Type::Any)),
            (LambdaKind::Transform, false) => Type::Array(Box::new(Type::Any)),
        };
        let call =
            LambdaCall { kind, collection: collection.expr, initial: initial.map(|initial| initial.expr), bodies };
        Ok(Typed::new(Expr::Lambda(Box::new(call)), of, false))
    }
}

/// An argument as it is written.
struct Argument<'a> {
    name: Option<(&'a Ast, &'a FunctionArgOperator)>,
    value: &'a Ast,
}

impl<'a> Argument<'a> {
    /// The value of an argument that is only a value.
    fn plain(&self, function: &str) -> Result<&'a Ast, StatementError> {
        match self.name {
            None => Ok(self.value),
            Some((name, FunctionArgOperator::RightArrow)) => {
                Err(at(name, format!("{function} takes no lambdas; TRANSFORM, FILTER and REDUCE do")))
            }
            Some((name, _)) => Err(at(name, format!("{function} takes no named arguments"))),
        }
    }

    /// `name := value`.
    fn assigned(&self) -> Option<(&'a Ast, &'a Ast)> {
        match self.name {
            Some((name, FunctionArgOperator::Assignment)) => Some((name, self.value)),
            _ => None,
        }
    }

    /// `x => body` and `(x, y) => body`.
    fn lambda(&self) -> Option<(Vec<&'a Ident>, &'a Ast)> {
        let Some((parameters, FunctionArgOperator::RightArrow)) = self.name else { return None };
        let one = |ast: &'a Ast| match ast {
            Ast::Identifier(name) => Some(name),
            _ => None,
        };
        let names = match parameters {
            Ast::Tuple(all) => all.iter().map(one).collect(),
            Ast::Nested(inner) => one(inner).map(|name| vec![name]),
            other => one(other).map(|name| vec![name]),
        };
        names.map(|names| (names, self.value))
    }
}

fn arguments(called: &Called, here: Location) -> Result<Vec<Argument<'_>>, StatementError> {
    let list = match &called.args {
        FunctionArguments::None => return Ok(Vec::new()),
        FunctionArguments::List(list) if list.duplicate_treatment.is_none() && list.clauses.is_empty() => list,
        _ => return Err(StatementError::new(here, "expected values as arguments")),
    };
    let mut arguments = Vec::with_capacity(list.args.len());
    for argument in &list.args {
        let (name, value) = match argument {
            FunctionArg::ExprNamed { name, arg, operator } => (Some((name, operator)), arg),
            FunctionArg::Unnamed(arg) => (None, arg),
            FunctionArg::Named { .. } => return Err(StatementError::new(here, "expected values as arguments")),
        };
        let FunctionArgExpr::Expr(value) = value else {
            return Err(StatementError::new(here, "* is no argument of this function"));
        };
        arguments.push(Argument { name, value });
    }
    Ok(arguments)
}

/// Why a function that ksqlDB has cannot be used here.
fn refused(name: &str) -> Option<&'static str> {
    const AGGREGATES: [&str; 16] = [
        "COUNT",
        "COUNT_DISTINCT",
        "SUM",
        "MIN",
        "MAX",
        "AVG",
        "COLLECT_LIST",
        "COLLECT_SET",
        "TOPK",
        "TOPKDISTINCT",
        "HISTOGRAM",
        "EARLIEST_BY_OFFSET",
        "LATEST_BY_OFFSET",
        "STDDEV_SAMP",
        "STDDEV_SAMPLE",
        "CORRELATION",
    ];
    match name {
        _ if AGGREGATES.contains(&name) => Some("is an aggregate function, which is not supported by this version"),
        "EXPLODE" | "CUBE_EXPLODE" => Some("makes several records of one, which is not supported by this version"),
        "NOW" | "CURRENT_TIMESTAMP" | "CURRENT_DATE" | "CURRENT_TIME" => Some(
            "is not known: there is no clock here, so that a replay gives the same answer; ROWTIME is the time of the record",
        ),
        "RANDOM" | "UUID" => Some("is not known: there is no randomness here, so that a replay gives the same answer"),
        _ => None,
    }
}

fn unknown(name: &str, here: Location) -> StatementError {
    let known =
        functions::all().flat_map(|function| std::iter::once(function.name).chain(function.aliases.iter().copied()));
    let nearest = known
        .chain(LANGUAGE)
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, known)| *distance <= SLIP_MAX.min(known.len() / 2));
    let hint = nearest.map_or(String::new(), |(_, known)| format!("; did you mean {known}?"));
    StatementError::new(here, format!("unknown function {name}{hint}"))
}

fn literal(planned: &Typed) -> Option<&str> {
    match &planned.expr {
        Expr::Literal(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn returned(returns: Returns, arguments: &[Typed]) -> Type {
    match returns {
        Returns::Any => Type::Any,
        Returns::Like(place) => arguments.get(place).map_or(Type::Any, |argument| argument.of.clone()),
        Returns::Varchar => Type::Varchar,
        Returns::Boolean => Type::Boolean,
        Returns::Integer => Type::Integer,
        Returns::Bigint => Type::Bigint,
        Returns::Double => Type::Double,
        Returns::Bytes => Type::Bytes,
        Returns::Date => Type::Date,
        Returns::Time => Type::Time,
        Returns::Timestamp => Type::Timestamp,
        Returns::Array => Type::Array(Box::new(Type::Any)),
        Returns::Map => Type::Map(Box::new(Type::Any)),
    }
}
