//! The page of results, `tests/bench/README.md`: one section a kind of measurement, each replaced alone when it is
//! measured again.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::error::{Context, Result};
use crate::process;
use crate::workspace::Workspace;

const OPENING: &str = "# Measurements

Written by `cargo xtask bench`, which measures everything again and replaces the sections (`--only` does one). Absolute
numbers belong to the machine that is named; ratios are between things that were measured in the same run.
";

/// Replaces a section of the page, or adds it. Returns the page's path.
pub fn replace_section(workspace: &Workspace, title: &str, body: &str) -> Result<PathBuf> {
    let path = workspace.root.join("tests/bench/README.md");
    let before = fs::read_to_string(&path).unwrap_or_else(|_| OPENING.to_owned());
    let section = format!("{}\n\n{}", body.trim(), conditions()?);
    fs::create_dir_all(workspace.root.join("tests/bench")).context(|| path.display())?;
    fs::write(&path, with_section(&before, title, &section)).context(|| path.display())?;
    Ok(path)
}

fn with_section(page: &str, title: &str, body: &str) -> String {
    let heading = format!("## {title}");
    let (opening, rest) = page.split_once("\n## ").map_or((page, None), |(opening, rest)| (opening, Some(rest)));
    let sections = rest.map(|rest| rest.split("\n## ").map(|section| format!("## {}", section.trim())).collect());
    let mut sections: Vec<String> = sections.unwrap_or_default();
    let new = format!("{heading}\n\n{}", body.trim());
    match sections.iter_mut().find(|section| section.lines().next() == Some(&heading)) {
        Some(section) => *section = new,
        None => sections.push(new),
    }
    format!("{}\n\n{}\n", opening.trim(), sections.join("\n\n"))
}

/// When and on what a section was measured.
fn conditions() -> Result<String> {
    let date = process::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let kernel = process::output(Command::new("uname").arg("-sr"))?;
    let rustc = process::output(Command::new("rustc").arg("--version"))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (date, kernel, rustc) = (date.trim(), kernel.trim(), rustc.trim());
    Ok(format!("Measured on {date}: {}, {cores} cores, {}, {kernel}, {rustc}.", processor(), memory()))
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("an unnamed processor".to_owned(), |(_, name)| name.trim().to_owned())
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or("unknown memory".to_owned(), |kib| format!("{} GiB", kib.div_ceil(1024 * 1024)))
}

/// A table with its columns in line. The first column is text, the others are numbers.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines = vec![row(head.iter().map(|cell| (*cell).to_owned()))];
    lines.push(row(head.iter().enumerate().map(|(column, _)| if column == 0 { "---" } else { "---:" }.to_owned())));
    lines.extend(rows.iter().map(|cells| row(cells.iter().cloned())));
    lines.join("\n")
}

fn row(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_others_stay() {
        let page = with_section("# Page\n\nWords.\n", "One", "first");
        let page = with_section(&page, "Two", "second\n### Part\nmore");
        assert_eq!(
            with_section(&page, "One", "new"),
            "# Page\n\nWords.\n\n## One\n\nnew\n\n## Two\n\nsecond\n### Part\nmore\n"
        );
    }

    #[test]
    fn a_table_is_markdown() {
        let rows = [vec!["a".to_owned(), "1".to_owned()]];
        assert_eq!(table(&["name", "n"], &rows), "| name | n |\n| --- | ---: |\n| a | 1 |");
    }
}
