//! Functions over addresses.

use super::url::{self, Url};
use super::{Function, Kind, Returns, text};
use crate::value::{Outcome, Value};

/// The functions of this module.
pub const FUNCTIONS: &[Function] = &[
    Function::new("URL_EXTRACT_HOST", &[Kind::Text], Returns::Varchar, "The host of an address.", |a, _| {
        part(a, |url| url.host.map(Value::text_of))
    }),
    Function::new(
        "URL_EXTRACT_PORT",
        &[Kind::Text],
        Returns::Integer,
        "The port of an address, when it is given.",
        |a, _| part(a, |url| url.port.map(|port| Value::Whole(port.into()))),
    ),
    Function::new("URL_EXTRACT_PATH", &[Kind::Text], Returns::Varchar, "The path of an address.", |a, _| {
        part(a, |url| Some(Value::text_of(url.path)))
    }),
    Function::new("URL_EXTRACT_PROTOCOL", &[Kind::Text], Returns::Varchar, "The protocol of an address.", |a, _| {
        part(a, |url| url.scheme.map(Value::text_of))
    }),
    Function::new("URL_EXTRACT_QUERY", &[Kind::Text], Returns::Varchar, "The query of an address.", |a, _| {
        part(a, |url| url.query.map(Value::text_of))
    }),
    Function::new("URL_EXTRACT_FRAGMENT", &[Kind::Text], Returns::Varchar, "The fragment of an address.", |a, _| {
        part(a, |url| url.fragment.map(Value::text_of))
    }),
    Function::new(
        "URL_EXTRACT_PARAMETER",
        &[Kind::Text, Kind::Text],
        Returns::Varchar,
        "The value of a parameter in the query of an address.",
        |a, _| {
            let name = text(a, 1);
            part(a, |url| {
                url.query.and_then(|query| url::parameter(query, &name)).map(|value| Value::text_of(value.into_owned()))
            })
        },
    ),
    Function::new("URL_ENCODE_PARAM", &[Kind::Text], Returns::Varchar, "Text as it stands in a query.", |a, _| {
        Ok(Value::text_of(url::encode(&text(a, 0))))
    }),
    Function::new("URL_DECODE_PARAM", &[Kind::Text], Returns::Varchar, "Text that stood in a query.", |a, _| {
        let encoded = text(a, 0);
        Ok(Value::or_null(url::decode(&encoded).map(|text| Value::text_of(text.into_owned()))))
    }),
];

fn part<'v>(arguments: &mut [Value<'v>], wanted: impl Fn(&Url<'_>) -> Option<Value<'static>>) -> Outcome<'v> {
    let address = text(arguments, 0);
    Ok(Value::or_null(url::parse(&address).and_then(|url| wanted(&url))))
}
