//! Takes addresses (RFC 3986) apart.

use std::borrow::Cow;

/// The parts of an address.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Url<'t> {
    /// `https`
    pub scheme: Option<&'t str>,
    /// The name or number of the machine.
    pub host: Option<&'t str>,
    /// The port, when it is given.
    pub port: Option<u16>,
    /// The path, which may be empty.
    pub path: &'t str,
    /// What stands between `?` and `#`.
    pub query: Option<&'t str>,
    /// What stands behind `#`.
    pub fragment: Option<&'t str>,
}

/// Takes an address apart; `None` when it is none.
pub fn parse(text: &str) -> Option<Url<'_>> {
    if text.chars().any(|letter| letter.is_whitespace() || letter.is_control() || "<>\"{}|\\^`".contains(letter)) {
        return None;
    }
    let mut url = Url::default();
    let (rest, fragment) = split(text, '#');
    let (rest, query) = split(rest, '?');
    (url.fragment, url.query) = (fragment, query);
    let rest = match rest.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => {
            url.scheme = Some(scheme);
            rest
        }
        _ => rest,
    };
    let Some(after) = rest.strip_prefix("//") else {
        url.path = rest;
        return Some(url);
    };
    let (authority, path) = after.split_at_checked(after.find('/').unwrap_or(after.len()))?;
    url.path = path;
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    };
    url.host = Some(host).filter(|host| !host.is_empty());
    url.port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse().ok()?),
    };
    Some(url)
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn is_scheme(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.starts_with(|letter: char| letter.is_ascii_alphabetic()) && text.bytes().all(plain)
}

/// The value of a parameter in a query, decoded; empty when it stands there without a value.
pub fn parameter<'t>(query: &'t str, name: &str) -> Option<Cow<'t, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(key)? == name { decode(value) } else { None }
    })
}

/// Decodes a parameter: `+` is a blank and `%41` a byte. `None` when it does not decode to text.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['+', '%']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?];
                digits.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Encodes a parameter, the inverse of [`decode`]. Letters, digits and `-_.*` stand for themselves.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_apart() {
        let url = parse("https://me:pw@example.com:8080/a/b?x=1&y=a%20b+c#part").unwrap();
        assert_eq!((url.scheme, url.host, url.port), (Some("https"), Some("example.com"), Some(8080)));
        assert_eq!((url.path, url.fragment), ("/a/b", Some("part")));
        assert_eq!(parameter(url.query.unwrap(), "y").unwrap(), "a b c");
        assert_eq!(parse("http://[::1]:80/").unwrap().host, Some("[::1]"));
        assert!(parse("not an address").is_none() && parse("http://a:b/").is_none());
    }

    #[test]
    fn encodes() {
        assert_eq!(encode("a b&ä"), "a+b%26%C3%A4");
        assert_eq!(decode("a+b%26%C3%A4").unwrap(), "a b&ä");
        assert!(decode("%4").is_none() && decode("%zz").is_none() && decode("%ff").is_none());
    }
}
