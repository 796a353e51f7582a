//! Figures, as they are shown.

/// A table in Markdown; all columns but the first are numbers.
pub fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let rule: Vec<&str> = head.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "---:" }).collect();
    let line = |cells: &[&str]| format!("| {} |", cells.join(" | "));
    let mut lines = vec![line(head), line(&rule)];
    lines.extend(rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>())));
    lines.join("\n")
}

/// The number below which a part of all lies.
pub fn quantile(mut numbers: Vec<f64>, part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let at = (numbers.len().saturating_sub(1) as f64 * part) as usize;
    numbers.get(at).copied().unwrap_or(f64::NAN)
}
