//! Functions that choose among their arguments.

use super::{Function, Kind, Returns, count, take, whole};
use crate::eval::compare;
use crate::value::Value;

/// The functions of this module. COALESCE and IFNULL are not among them: they are part of the language, because they look
/// at no more arguments than they have to.
pub const FUNCTIONS: &[Function] = &[
    Function::new(
        "NULLIF",
        &[Kind::Any, Kind::Any],
        Returns::Like(0),
        "The first argument, or NULL when both are the same.",
        |a, _| {
            let (value, unwanted) = (take(a, 0), take(a, 1));
            Ok(if compare::same(value.clone(), unwanted)? { Value::Null } else { value })
        },
    )
    .sees_nulls(),
    Function::new("ELT", &[Kind::Whole, Kind::Text], Returns::Varchar, "The n-th of the texts that follow.", |a, _| {
        let place = whole(a, 0).and_then(|place| usize::try_from(place).ok()).filter(|place| *place > 0);
        Ok(place.map_or(Value::Null, |place| take(a, place)))
    })
    .rest(Kind::Text)
    .sees_nulls(),
    Function::new(
        "FIELD",
        &[Kind::Text, Kind::Text],
        Returns::Integer,
        "The place of a text among those that follow, 0 when it is not there.",
        |a, _| {
            let wanted = take(a, 0);
            if wanted.is_null() {
                return Ok(Value::Whole(0));
            }
            for (place, argument) in a.iter().enumerate().skip(1) {
                if compare::same(argument.clone(), wanted.clone())? {
                    return Ok(count(place));
                }
            }
            Ok(Value::Whole(0))
        },
    )
    .rest(Kind::Text)
    .sees_nulls(),
    Function::new("AS_VALUE", &[Kind::Any], Returns::Like(0), "The argument as it is.", |a, _| Ok(take(a, 0)))
        .sees_nulls(),
];
