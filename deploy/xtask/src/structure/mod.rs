//! The rules that hold the project's shape: which part may know which, and what no file may contain.
//!
//! A rule looks at the text of the clone's files, so it needs no build and runs in a moment. What compilers and lints see
//! better is left to them. Each rule has a test that shows it a violation: a rule that cannot fail is worth nothing.

mod boundaries;
mod hygiene;
mod layout;
mod text;
mod tree;

use std::path::Path;

use crate::error::{Error, Result};
use crate::say;

use tree::Tree;

/// One rule, under the name that `ARCHITECTURE.md` uses for it.
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What it demands, in one sentence.
    pub demands: &'static str,
    check: fn(&Tree) -> Vec<Violation>,
}

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// The file, relative to the root.
    path: String,
    /// Its line, from 1; 0 where the file as a whole is meant.
    line: usize,
    /// What was found.
    found: String,
}

impl Violation {
    fn new(path: &str, line: usize, found: impl Into<String>) -> Self {
        Violation { path: path.to_owned(), line, found: found.into() }
    }
}

/// All rules, those of the layout first.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    layout::RULES.iter().chain(boundaries::RULES).chain(hygiene::RULES)
}

/// Checks the clone against every rule, and tells each violation with its place.
pub fn check(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let mut broken = 0;
    let mut checked = 0;
    for rule in rules() {
        checked += 1;
        let violations = (rule.check)(&tree);
        broken += violations.len();
        if !violations.is_empty() {
            say::line(format_args!("{}: {}", rule.name, rule.demands));
        }
        for Violation { path, line, found } in violations {
            let place = if line == 0 { path } else { format!("{path}:{line}") };
            say::line(format_args!("  {place}: {found}"));
        }
    }
    say::line(format_args!("{checked} rules, {} files, {broken} violations", tree.files.len()));
    if broken == 0 { Ok(()) } else { Err(Error::new(format_args!("{broken} violations of the structure rules"))) }
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the rules' own tests share.

    use super::*;

    /// The violations of one rule in a tree of the given files.
    pub fn violations(rules: &[Rule], name: &str, files: &[(&str, &str)]) -> Vec<Violation> {
        let rule = rules.iter().find(|rule| rule.name == name).unwrap();
        (rule.check)(&Tree::of(files))
    }

    /// Asserts that a rule finds nothing in the first files, and something in the second.
    pub fn assert_rule(rules: &[Rule], name: &str, fine: &[(&str, &str)], broken: &[(&str, &str)]) {
        assert_eq!(violations(rules, name, fine), [], "{name} sees a violation where there is none");
        for file in broken {
            let found = violations(rules, name, &[*file]);
            assert!(!found.is_empty(), "{name} does not see the violation in {file:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let mut names: Vec<&str> = rules().map(|rule| rule.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
