//! Calls the functions of the table: evaluates the arguments, gives them the types wanted, and passes NULLs by.

use super::coerce;
use crate::expr::Call;
use crate::functions::{Kind, Nulls};
use crate::json::Malformed;
use crate::row::Row;
use crate::value::{Outcome, Value};

/// The number of arguments that need no allocation.
const FEW: usize = 4;

/// Calls a function.
pub fn call<'v>(call: &'v Call, row: &mut Row<'v>) -> Outcome<'v> {
    if call.arguments.len() <= FEW {
        let mut room = [const { Value::Null }; FEW];
        let (room, _) = room.split_at_mut(call.arguments.len());
        return fill_and_call(call, room, row);
    }
    let mut room = vec![Value::Null; call.arguments.len()];
    fill_and_call(call, &mut room, row)
}

fn fill_and_call<'v>(call: &'v Call, room: &mut [Value<'v>], row: &mut Row<'v>) -> Outcome<'v> {
    let function = call.function;
    for (place, (slot, argument)) in room.iter_mut().zip(&call.arguments).enumerate() {
        *slot = coerced(argument.eval(row)?, function.kind(place))?;
        if slot.is_null() && function.nulls == Nulls::Pass {
            return Ok(Value::Null);
        }
    }
    (function.body)(room, &call.memo)
}

/// Gives an argument the type that the function wants; NULL when it cannot have it.
fn coerced(value: Value<'_>, kind: Kind) -> Result<Value<'_>, Malformed> {
    Ok(Value::or_null(match kind {
        Kind::Any => Some(value.decode()?),
        Kind::Text | Kind::Unit => value.into_text()?.map(Value::Text),
        Kind::TextOrBytes => match value {
            bytes @ Value::Bytes(_) => Some(bytes),
            other => other.into_text()?.map(Value::Text),
        },
        Kind::Bytes => coerce::bytes(value)?,
        Kind::Whole => coerce::whole(value)?.map(Value::Whole),
        Kind::Number => coerce::number_of(value)?,
        Kind::Double => coerce::number_of(value)?.and_then(|number| coerce::double_of(&number)).map(Value::Double),
        Kind::Boolean => coerce::boolean(value)?.map(Value::Boolean),
        Kind::Date => coerce::date(value)?.map(Value::Date),
        Kind::Time => coerce::time(value)?.map(Value::Time),
        Kind::Timestamp => coerce::timestamp(value)?.map(Value::Timestamp),
        Kind::Array => value.into_elements()?.map(Value::Array),
        Kind::Map => value.into_members()?.map(Value::Object),
    }))
}
