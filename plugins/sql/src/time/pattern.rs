//! The patterns of Java's `DateTimeFormatter`, taken apart.
//!
//! Letters and counts mean what that class documents. Not known: `p` (padding), `W`, `w`, `Y`, `F`, `B`, `v`, `g`
//! (week-based and localised fields) and full zone names (`zzzz`); a pattern that uses them is refused.

/// A pattern.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What it is made of.
    pub items: Vec<Item>,
}

/// A part of a pattern.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// Text that stands for itself.
    Literal(String),
    /// A field: the letter and how often it stands there.
    Field(char, usize),
    /// A section in brackets, which may be absent from a text.
    Optional(Vec<Item>),
}

/// How deep sections may be nested.
const SECTIONS_MAX: usize = 8;

impl Pattern {
    /// Takes a pattern apart. The error says what is wrong, for a person.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let mut open: Vec<Vec<Item>> = vec![Vec::new()];
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\'' => push(&mut open, Item::Literal(quoted(&mut letters)?)),
                '[' if open.len() > SECTIONS_MAX => return Err("too many nested sections [..]".to_owned()),
                '[' => open.push(Vec::new()),
                ']' => close(&mut open)?,
                'a'..='z' | 'A'..='Z' => {
                    let mut count = 1;
                    while letters.next_if_eq(&letter).is_some() {
                        count += 1;
                    }
                    check(letter, count)?;
                    push(&mut open, Item::Field(letter, count));
                }
                '{' | '}' | '#' => return Err(format!("{letter:?} is reserved in a time pattern")),
                _ => push(&mut open, Item::Literal(letter.to_string())),
            }
        }
        // Java closes what is still open at the end.
        while open.len() > 1 {
            close(&mut open)?;
        }
        Ok(Pattern { items: open.pop().unwrap_or_default() })
    }
}

fn push(open: &mut [Vec<Item>], item: Item) {
    let Some(items) = open.last_mut() else { return };
    match (items.last_mut(), item) {
        (Some(Item::Literal(before)), Item::Literal(more)) => before.push_str(&more),
        (_, item) => items.push(item),
    }
}

fn close(open: &mut Vec<Vec<Item>>) -> Result<(), String> {
    let section = if open.len() > 1 { open.pop() } else { None };
    let section = section.ok_or("the time pattern has a ] without a [")?;
    push(open, Item::Optional(section));
    Ok(())
}

/// Reads up to the closing quote; two quotes stand for one.
fn quoted(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    if letters.next_if_eq(&'\'').is_some() {
        return Ok("'".to_owned());
    }
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        if letter != '\'' {
            text.push(letter);
        } else if letters.next_if_eq(&'\'').is_some() {
            text.push('\'');
        } else {
            return Ok(text);
        }
    }
    Err("a quote in the time pattern does not end".to_owned())
}

/// Checks that the letter is known and may stand so often.
fn check(letter: char, count: usize) -> Result<(), String> {
    let most = match letter {
        'y' | 'u' => 10,
        'G' | 'M' | 'L' | 'E' | 'Q' | 'q' | 'X' | 'x' | 'Z' => 5,
        'd' | 'H' | 'h' | 'K' | 'k' | 'm' | 's' => 2,
        'D' => 3,
        'S' | 'n' => 9,
        'A' | 'N' => 15,
        'a' | 'e' | 'c' => 1,
        'z' => 3,
        'V' if count == 2 => 2,
        'V' => return Err("a zone name is VV in a time pattern".to_owned()),
        'O' if count == 1 || count == 4 => 4,
        'O' => return Err("an offset is O or OOOO in a time pattern".to_owned()),
        _ => return Err(format!("the letter {letter} of a time pattern is not supported")),
    };
    if count > most {
        return Err(format!("the letter {letter} stands {count} times in the time pattern; at most {most} are known"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_patterns_apart() {
        let pattern = Pattern::new("yyyy-MM'T'[.SSS]''").unwrap();
        assert_eq!(
            pattern.items,
            vec![
                Item::Field('y', 4),
                Item::Literal("-".into()),
                Item::Field('M', 2),
                Item::Literal("T".into()),
                Item::Optional(vec![Item::Literal(".".into()), Item::Field('S', 3)]),
                Item::Literal("'".into()),
            ]
        );
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in ["yyyy-QQQQQQ", "Y", "'open", "a]", "zzzz", "V", "{", "HHH", "Freitag"] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
        assert!(Pattern::new(&"[".repeat(100)).is_err());
    }
}
