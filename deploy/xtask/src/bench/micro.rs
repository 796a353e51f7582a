//! The criterion benchmarks of the parts: run, and their results read from where criterion keeps them.

use std::fs;
use std::path::{Path, PathBuf};

use super::{publish, report};
use crate::error::{Context, Error, Result};
use crate::plugins::{self, Which};
use crate::process;
use crate::workspace::Workspace;

/// One benchmark's result.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    group: String,
    function: String,
    /// Nanoseconds for one iteration, the median.
    nanoseconds: f64,
    /// Elements that one iteration handles, where the benchmark says so.
    elements: Option<f64>,
}

/// Runs the benchmarks of all crates and publishes a table a group.
pub fn run(workspace: &Workspace) -> Result<()> {
    plugins::build(workspace, Which::StockAndTests)?;
    let kept = workspace.target.join("criterion");
    if kept.exists() {
        fs::remove_dir_all(&kept).context(|| kept.display())?;
    }
    let mut cargo = process::cargo(&workspace.root);
    cargo.env("WEIR_STOCK_PLUGINS", workspace.stock_plugins()).env("WEIR_TEST_PLUGINS", workspace.test_plugins());
    process::run(cargo.args(["bench", "--locked", "--workspace", "--bench", "*"]))?;
    let measured = collect(&kept)?;
    if measured.is_empty() {
        return Err(Error::new(format_args!("{}: expected results of benchmarks, found none", kept.display())));
    }
    publish(workspace, "The parts", &page(&measured))
}

/// All results below criterion's directory, by group and name.
fn collect(directory: &Path) -> Result<Vec<Measured>> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).context(|| directory.display())? {
            let path = entry.context(|| directory.display())?.path();
            if path.ends_with("new") {
                found.extend(read(&path)?);
            } else if path.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort_by(|a, b| (&a.group, &a.function).cmp(&(&b.group, &b.function)));
    Ok(found)
}

fn read(directory: &Path) -> Result<Option<Measured>> {
    let text = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path).context(|| path.display())
    };
    Ok(parse(&text("benchmark.json")?, &text("estimates.json")?))
}

/// Reads the few fields that are needed from criterion's two files, whose texts are our own benchmarks' names.
fn parse(benchmark: &str, estimates: &str) -> Option<Measured> {
    let median = estimates.split("\"median\":").nth(1)?;
    let string = |name: &str| {
        field(benchmark, name).and_then(|value| Some(value.strip_prefix('"')?.split('"').next()?.to_owned()))
    };
    let parameter = string("value_str").map(|value| format!("/{value}")).unwrap_or_default();
    Some(Measured {
        group: string("group_id")?,
        function: format!("{}{parameter}", string("function_id").unwrap_or_default()),
        nanoseconds: number(field(median, "point_estimate")?)?,
        elements: field(benchmark, "Elements").and_then(number),
    })
}

fn field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    json.split_once(&format!("\"{name}\":")).map(|(_, value)| value.trim_start())
}

fn number(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || ".eE+-".contains(c))).unwrap_or(text.len());
    text.split_at_checked(end)?.0.parse().ok()
}

fn page(measured: &[Measured]) -> String {
    let mut text =
        "Medians of the criterion benchmarks in `benches/` of the crates. The ratio is to the benchmark of the same \
         group that is named as its baseline.\n"
            .to_owned();
    for group in measured.chunk_by(|a, b| a.group == b.group) {
        let baseline = group.iter().find(|one| is_baseline(&one.function));
        let rows: Vec<Vec<String>> = group.iter().map(|one| row(one, baseline)).collect();
        let name = group.first().map(|one| one.group.as_str()).unwrap_or_default();
        let table = report::table(&[name, "one iteration", "one record", "ratio"], &rows);
        text.push_str(&format!("\n{table}\n"));
    }
    text
}

fn is_baseline(function: &str) -> bool {
    function.contains("baseline") || function.starts_with("native")
}

fn row(one: &Measured, baseline: Option<&Measured>) -> Vec<String> {
    let each = one.elements.map_or_else(String::new, |elements| duration(one.nanoseconds / elements));
    let ratio = baseline.map_or_else(String::new, |baseline| format!("{:.2}", one.nanoseconds / baseline.nanoseconds));
    vec![one.function.clone(), duration(one.nanoseconds), each, ratio]
}

fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        small if small < 1e3 => format!("{small:.1} ns"),
        middle if middle < 1e6 => format!("{:.1} us", middle / 1e3),
        large => format!("{:.2} ms", large / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterions_files_are_read() {
        let benchmark = r#"{"group_id":"boundary","function_id":"select","value_str":null,"throughput":{"Elements":1000},"full_id":"boundary/select"}"#;
        let estimates = r#"{"mean":{"confidence_interval":{},"point_estimate":9.0},"median":{"confidence_interval":{"lower_bound":1.0},"point_estimate":2.55e4,"standard_error":1}}"#;
        let expected = Measured {
            group: "boundary".into(),
            function: "select".into(),
            nanoseconds: 25_500.0,
            elements: Some(1000.0),
        };
        assert_eq!(parse(benchmark, estimates), Some(expected));
        assert_eq!(parse("{}", estimates), None);
    }

    #[test]
    fn ratios_are_to_the_baseline_of_the_group() {
        let one = |group: &str, function: &str, nanoseconds| Measured {
            group: group.into(),
            function: function.into(),
            nanoseconds,
            elements: Some(10.0),
        };
        let page = page(&[one("a", "baseline: memcpy", 100.0), one("a", "select", 250.0), one("b", "alone", 5e6)]);
        assert!(page.contains("| select | 250.0 ns | 25.0 ns | 2.50 |"), "{page}");
        assert!(page.contains("| alone | 5.00 ms | 500.0 us |  |"), "{page}");
    }
}
