//! The nearest of some known words. Knows nothing of what the words are for.

/// The known word that was probably meant, where one is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &other.to_lowercase());
    let near = known.into_iter().map(|other| (distance(other), other)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, other)| *distance <= typos_allowed(word, other)).map(|(_, other)| other)
}

/// As [`nearest`], for names that people number: `out-1` and `out-2` are two names, not one misspelt.
pub fn nearest_name<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    nearest(word, known.into_iter().filter(|other| letters(word) != letters(other)))
}

fn typos_allowed(word: &str, other: &str) -> usize {
    match word.chars().count().min(other.chars().count()) {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    }
}

/// Words in a sentence: "`a`, `b` and `c`".
pub fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => "none".into(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Help for an unknown word: the nearest one, and all of them.
pub fn help<'a>(word: &str, what: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let all = format!("{what}: {}", listed(known.clone()));
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["path", "exclude", "start", "line_bytes_max", "scan"];
        assert_eq!(nearest("paths", known), Some("path"));
        assert_eq!(nearest("Path", known), Some("path"));
        assert_eq!(nearest("exlcude", known), Some("exclude"));
        assert_eq!(nearest("max_line_bytes", known), None);
        assert_eq!(nearest("xy", known), None);
        assert_eq!(nearest("anything", []), None);
    }

    #[test]
    fn numbered_names_are_different_names() {
        assert_eq!(nearest_name("out-2", ["out-1"]), None);
        assert_eq!(nearest_name("login", ["logins"]), Some("logins"));
    }
}
