//! Words for the person at the terminal. The only place that prints.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// Prints a line on standard output. A reader who went away (`| head`) is no reason to stop the work.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a heading: the beginning of a stage.
pub fn heading(text: impl Display) {
    line(format_args!("\n{}", bold(&format!("== {text}"))));
}

/// Prints a line on standard error, for commands whose standard output is read by programs.
pub fn aside(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an error on standard error.
pub fn error(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "error: {text}");
}

/// Prints a command before it is run, so that it can be repeated by hand.
pub fn command(text: impl Display) {
    line(dim(&format!("$ {text}")));
}

fn bold(text: &str) -> String {
    styled(text, "1")
}

fn dim(text: &str) -> String {
    styled(text, "2")
}

fn styled(text: &str, code: &str) -> String {
    let plain = !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some();
    if plain { text.to_owned() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}
