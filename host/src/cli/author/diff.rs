//! How two lists of lines differ, for people.

/// Lines that are compared by what they have in common; of longer lists only the first lines that differ are shown.
const COMPARED_MAX: usize = 2_000;
/// Lines of a difference that are shown.
const SHOWN_MAX: usize = 40;

/// The lines that are expected and did not come, and those that came unexpected, with their numbers. `None`: there is no
/// difference.
pub fn diff(expected: &[String], came: &[String]) -> Option<String> {
    let same = expected.iter().zip(came).take_while(|(a, b)| a == b).count();
    let (left, right) = (expected.get(same..).unwrap_or_default(), came.get(same..).unwrap_or_default());
    if left.is_empty() && right.is_empty() {
        return None;
    }
    let changes = changes(cut(left), cut(right));
    let mut text = String::new();
    for (sign, at, line) in changes.iter().take(SHOWN_MAX) {
        text.push_str(&format!("  {sign}{:>5}  {line}\n", same + at + 1));
    }
    let more = changes.len().saturating_sub(SHOWN_MAX) + left.len().abs_diff(cut(left).len());
    if more > 0 {
        text.push_str(&format!("  and {more} lines more\n"));
    }
    Some(text)
}

fn cut(lines: &[String]) -> &[String] {
    lines.get(..COMPARED_MAX).unwrap_or(lines)
}

/// What is in one list alone: `-` in the first, `+` in the second, by the places there.
fn changes<'a>(left: &'a [String], right: &'a [String]) -> Vec<(char, usize, &'a str)> {
    let common = common(left, right);
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    let length = |i: usize, j: usize| common.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    loop {
        match (left.get(i), right.get(j)) {
            (Some(a), Some(b)) if a == b => (i, j) = (i + 1, j + 1),
            (Some(a), b) if b.is_none() || length(i + 1, j) >= length(i, j + 1) => {
                found.push(('-', i, a.as_str()));
                i += 1;
            }
            (_, Some(b)) => {
                found.push(('+', j, b.as_str()));
                j += 1;
            }
            _ => return found,
        }
    }
}

/// For each pair of places how many lines the rests from there on have in common, in order.
fn common(left: &[String], right: &[String]) -> Vec<Vec<u16>> {
    let mut rows = vec![vec![0u16; right.len() + 1]];
    for a in left.iter().rev() {
        let below = rows.last().cloned().unwrap_or_default();
        let mut row = vec![0u16; right.len() + 1];
        for (j, b) in right.iter().enumerate().rev() {
            let at = |row: &[u16], j: usize| row.get(j).copied().unwrap_or(0);
            let value = if a == b { at(&below, j + 1) + 1 } else { at(&below, j).max(at(&row, j + 1)) };
            if let Some(cell) = row.get_mut(j) {
                *cell = value;
            }
        }
        rows.push(row);
    }
    rows.reverse();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expected: &str, came: &str) -> Option<String> {
        let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        diff(&lines(expected), &lines(came))
    }

    #[test]
    fn lines_are_told_with_their_places() {
        assert_eq!(of("abc", "abc"), None);
        assert_eq!(of("abc", "axc").unwrap(), "  -    2  b\n  +    2  x\n");
        assert_eq!(of("abc", "bcd").unwrap(), "  -    1  a\n  +    3  d\n");
        assert_eq!(of("", "a").unwrap(), "  +    1  a\n");
        assert_eq!(of("ab", "a").unwrap(), "  -    2  b\n");
    }

    #[test]
    fn long_differences_are_cut() {
        let text = of(&"a".repeat(100), &"b".repeat(100)).unwrap();
        assert!(text.ends_with("  and 160 lines more\n"), "{text}");
    }
}
