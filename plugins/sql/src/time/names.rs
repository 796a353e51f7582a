//! The names of months, days and halves of a day, in English, as ksqlDB's patterns use them.

/// The months.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The days, from Monday.
pub const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The halves of a day.
pub const HALVES: [&str; 2] = ["AM", "PM"];

/// The eras.
pub const ERAS: [&str; 2] = ["BC", "AD"];

/// The name with this number, counted from 1; its first three letters when `letters` asks for the short form.
pub fn name(names: &[&'static str], number: i64, letters: usize) -> Option<&'static str> {
    let full = *names.get(usize::try_from(number - 1).ok()?)?;
    match letters {
        0..=3 => full.get(..3.min(full.len())),
        4 => Some(full),
        _ => full.get(..1),
    }
}

/// The number of the name that the text begins with, counted from 1, and the name's length. Case does not matter.
pub fn find(names: &[&'static str], text: &str, letters: usize) -> Option<(i64, usize)> {
    (1..).zip(names).find_map(|(number, _)| {
        let wanted = name(names, number, letters)?;
        let begins = text.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted));
        begins.then_some((number, wanted.len()))
    })
}
