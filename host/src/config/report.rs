//! What is wrong with a pipeline file, drawn under its lines or as JSON. Knows nothing of what the rules are.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, Severity,
    SourceCode, SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};
use serde::Serialize;

/// A file that was read.
#[derive(Debug)]
pub struct SourceFile {
    /// Its path as it is shown.
    pub name: String,
    /// What it holds.
    pub text: String,
}

impl SourceFile {
    /// A file's name and text.
    pub fn new(name: &str, text: String) -> Arc<Self> {
        Arc::new(SourceFile { name: name.into(), text })
    }
}

impl SourceCode for SourceFile {
    /// As for a plain text, but columns count characters, as editors do, and not bytes.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.text.as_str().read_span(span, lines_before, lines_after)?;
        let begin = contents.span().offset();
        let line = self.text.get(..begin).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            contents.data(),
            *contents.span(),
            contents.line(),
            line.chars().count(),
            contents.line_count(),
        )))
    }
}

/// A range of bytes of a file.
#[derive(Clone)]
pub struct Place {
    file: Arc<SourceFile>,
    bytes: Range<usize>,
}

impl Place {
    /// A range of bytes; cut to what the file holds, and to its first line.
    pub fn new(file: &Arc<SourceFile>, start: usize, len: usize) -> Self {
        let start = floor_char_boundary(&file.text, start);
        let end = floor_char_boundary(&file.text, start.saturating_add(len));
        let text = file.text.get(start..end).unwrap_or_default();
        let first_line = text.lines().next().unwrap_or_default().trim_end();
        Place { file: file.clone(), bytes: start..start + first_line.len() }
    }

    /// A place by line and column, both from 1.
    pub fn at_line(file: &Arc<SourceFile>, line: usize, column: usize) -> Self {
        let before: usize = file.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = file.text.get(before..).unwrap_or_default();
        let within = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
        Place::new(file, before + within, 1)
    }

    /// The beginning of a file.
    pub fn start_of(file: &Arc<SourceFile>) -> Self {
        Place::new(file, 0, 0)
    }

    /// The line and the column, both from 1; columns count characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.file.text.get(..self.bytes.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }

    fn same_file(&self, other: &Place) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }

    fn span(&self) -> (usize, usize) {
        (self.bytes.start, self.bytes.len())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}", self.file.name)
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The pipeline file is wrong: it has to be changed. Exit code 78.
    Config,
    /// The command line names something that is not there. Exit code 64.
    Usage,
    /// Something that the file needs is not there or cannot be read. Exit code 69.
    Unavailable,
}

/// One thing that is wrong, or looks wrong.
#[derive(Debug, Clone)]
pub struct Problem {
    code: &'static str,
    message: String,
    help: Option<String>,
    severity: Severity,
    kind: Kind,
    labels: Vec<(Place, String)>,
    hidden: bool,
    elsewhere: Vec<Problem>,
}

impl Problem {
    /// Something wrong with the file: nothing runs.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::of(code, message.into(), Severity::Error, Kind::Config)
    }

    /// Something that is allowed and probably not meant.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::of(code, message.into(), Severity::Warning, Kind::Config)
    }

    /// Something that the file needs and that cannot be had.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::of(code, message.into(), Severity::Error, Kind::Unavailable)
    }

    /// A wrong word on the command line.
    pub fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::of(code, message.into(), Severity::Error, Kind::Usage)
    }

    fn of(code: &'static str, message: String, severity: Severity, kind: Kind) -> Self {
        Problem { code, message, help: None, severity, kind, labels: Vec::new(), hidden: false, elsewhere: Vec::new() }
    }

    /// Where it is; the first call gives the place that the report names.
    #[must_use]
    pub fn at(mut self, place: &Place, label: &str) -> Self {
        match self.labels.first() {
            Some((first, _)) if !first.same_file(place) => {
                let message = format!("and in {}", place.file.name);
                let mut there = Self::of(self.code, message, Severity::Advice, self.kind);
                there.labels.push((place.clone(), label.into()));
                self.elsewhere.push(there);
            }
            _ => self.labels.push((place.clone(), label.into())),
        }
        self
    }

    /// Keeps the line from being drawn, because it holds what nobody is to see.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// As [`Problem::help`], where there is something to say.
    #[must_use]
    pub fn maybe_help(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Whether it is a warning.
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }

    /// The name of its rule.
    pub fn rule(&self) -> &'static str {
        self.code
    }

    /// The order in which problems are told: by file, then by place.
    fn order(&self) -> (&str, usize) {
        self.labels.first().map_or(("", 0), |(place, _)| (&place.file.name, place.bytes.start))
    }

    fn as_json(&self) -> Json<'_> {
        let place = self.labels.first().map(|(place, _)| place);
        let (line, column) = place.map(Place::line_and_column).unzip();
        Json {
            file: place.map(|place| place.file.name.as_str()),
            line,
            column,
            code: self.code,
            message: &self.message,
            help: self.help.as_deref(),
        }
    }
}

/// A problem for a program. Fields without a value are null: a problem of the command line has no place.
#[derive(Serialize)]
struct Json<'a> {
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        // What stands elsewhere belongs to the problem above it and has no rule of its own.
        (self.severity != Severity::Advice).then(|| Box::new(self.code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.labels.first().map(|(place, _)| &*place.file as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.hidden {
            return None;
        }
        let label = |(at, (place, text)): (usize, &(Place, String))| match at {
            0 => LabeledSpan::new_primary_with_span(Some(text.clone()), place.span()),
            _ => LabeledSpan::new_with_span(Some(text.clone()), place.span()),
        };
        Some(Box::new(self.labels.iter().enumerate().map(label)))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.elsewhere.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

/// Everything that is wrong with a pipeline file: at least one error, and the warnings.
#[derive(Debug, Clone, Default)]
pub struct Report {
    problems: Vec<Problem>,
    left_out: usize,
}

/// Problems that a report tells: nobody reads more, and a file that is something else altogether has one in each line.
const PROBLEMS_MAX: usize = 50;

/// How a report is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Whether in colours.
    pub color: bool,
    /// The columns of the terminal.
    pub width: usize,
}

impl Report {
    /// A report of these problems, told in the order of the files; of too many the first, errors before warnings.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        let left_out = problems.len().saturating_sub(PROBLEMS_MAX);
        if left_out > 0 {
            problems.sort_by(|a, b| (a.is_warning(), a.order()).cmp(&(b.is_warning(), b.order())));
            problems.truncate(PROBLEMS_MAX);
        }
        problems.sort_by(|a, b| a.order().cmp(&b.order()));
        Report { problems, left_out }
    }

    /// The problems, warnings among them.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems themselves.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// The errors.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| !problem.is_warning())
    }

    /// The warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.is_warning())
    }

    /// The exit code that it calls for: 0, or the gravest of 64 (usage), 78 (configuration), 69 (unavailable).
    pub fn exit_code(&self) -> u8 {
        let has = |kind| self.errors().any(|problem| problem.kind == kind);
        match () {
            () if has(Kind::Usage) => 64,
            () if has(Kind::Config) => 78,
            () if has(Kind::Unavailable) => 69,
            () => 0,
        }
    }

    /// Every problem drawn under its line of the file.
    pub fn render(&self, look: Look) -> String {
        let styles = if look.color { ThemeStyles::ansi() } else { ThemeStyles::none() };
        let theme = GraphicalTheme { characters: ThemeCharacters::unicode(), styles };
        // The lines around a problem are not drawn where one of them may hold what nobody is to see.
        let context = usize::from(!self.problems.iter().any(|problem| problem.hidden));
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(look.width)
            .with_context_lines(context);
        let mut text = String::new();
        for problem in &self.problems {
            // Writing to a string cannot fail.
            let _ = handler.render_report(&mut text, problem);
            text.push('\n');
        }
        if self.left_out > 0 {
            text.push_str(&format!("and {} more\n\n", self.left_out));
        }
        text
    }

    /// The errors and warnings for a program: `{"ok", "errors": [{file, line, column, code, message, help}], "warnings",
    /// "left_out"}`.
    pub fn to_json(&self) -> serde_json::Value {
        let list =
            |problems: Vec<&Problem>| problems.iter().map(|p| serde_json::json!(p.as_json())).collect::<Vec<_>>();
        serde_json::json!({
            "ok": self.errors().next().is_none(),
            "errors": list(self.errors().collect()),
            "warnings": list(self.warnings().collect()),
            "left_out": self.left_out,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors().count() + self.left_out {
            0 => write!(f, "nothing is wrong"),
            1 => write!(f, "1 error"),
            errors => write!(f, "{errors} errors"),
        }
    }
}

impl std::error::Error for Report {}

impl Diagnostic for Report {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}
