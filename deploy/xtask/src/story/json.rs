//! Reads a text out of a JSON object: all that playing Slack needs, which is no reason for a library.

use std::iter::Peekable;
use std::str::Chars;

/// The text under a name of the outermost object.
pub fn text(object: &str, name: &str) -> Option<String> {
    let mut chars = object.chars().peekable();
    let mut depth = 0_u32;
    while let Some(c) = chars.next() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.checked_sub(1)?,
            '"' => {
                let word = string(&mut chars)?;
                skip_space(&mut chars);
                let is_name = chars.next_if_eq(&':').is_some();
                if is_name && depth == 1 && word == name {
                    skip_space(&mut chars);
                    return if chars.next()? == '"' { string(&mut chars) } else { None };
                }
            }
            _ => {}
        }
    }
    None
}

fn skip_space(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
}

/// A string behind its opening quote.
fn string(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut units = Vec::new();
    loop {
        match chars.next()? {
            '"' => return String::from_utf16(&units).ok(),
            '\\' => units.push(escaped(chars)?),
            c => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
        }
    }
}

/// What stands behind a backslash, as a unit of UTF-16: characters beyond are written as two.
fn escaped(chars: &mut Peekable<Chars<'_>>) -> Option<u16> {
    let c = match chars.next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => {
            let digits: String = chars.take(4).collect();
            return u16::from_str_radix(&digits, 16).ok();
        }
        other => other,
    };
    u16::try_from(u32::from(c)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_outermost_object_is_found() {
        let object = r#"{ "blocks": [{"text": "inner", "type": "x"}], "n": 1, "text" : "a \"b\"\n\u00fc\ud83d\ude80 ü🚀", "z": null }"#;
        assert_eq!(text(object, "text").unwrap(), "a \"b\"\nü🚀 ü🚀");
        for missing in ["type", "n", "inner", "z"] {
            assert_eq!(text(object, missing), None, "{missing}");
        }
        assert_eq!(text(r#"{"a":"b","c":"a"}"#, "b"), None);
        assert_eq!(text(r#"{"text":"cut of"#, "text"), None);
    }
}
