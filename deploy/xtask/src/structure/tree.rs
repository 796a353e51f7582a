//! The clone's files as the rules see them: paths and text. What git ignores is not there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::text::{self, Class};
use crate::error::{Context, Result};
use crate::process;

/// The files of a clone.
pub struct Tree {
    /// By ascending path.
    pub files: Vec<File>,
}

/// One file.
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Its contents; empty where they are not text.
    pub text: String,
    code: OnceLock<String>,
    comments: OnceLock<String>,
}

impl Tree {
    /// Reads the files that git has or would add, from a root.
    pub fn read(root: &Path) -> Result<Self> {
        let mut git = Command::new("git");
        git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = process::output(&mut git)?;
        let mut files = Vec::new();
        for path in listed.split_terminator('\0') {
            let place = root.join(path);
            if place.is_file() {
                let bytes = fs::read(&place).context(|| place.display())?;
                files.push(File::new(path, String::from_utf8(bytes).unwrap_or_default()));
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { files })
    }

    /// A tree of given files, for tests of the rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        Tree { files: files.iter().map(|(path, text)| File::new(path, (*text).to_owned())).collect() }
    }

    /// The Rust files below any of some directories.
    pub fn rust<'a>(&'a self, directories: &'a [&str]) -> impl Iterator<Item = &'a File> {
        let below = move |file: &&File| directories.iter().any(|directory| file.path.starts_with(directory));
        self.files.iter().filter(|file| file.path.ends_with(".rs")).filter(below)
    }

    /// The manifests below a directory.
    pub fn manifests<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.starts_with(directory) && file.path.ends_with("/Cargo.toml"))
    }
}

impl File {
    fn new(path: &str, text: String) -> Self {
        File { path: path.to_owned(), text, code: OnceLock::new(), comments: OnceLock::new() }
    }

    /// The code without comments, strings and tests, line by line, from 1.
    pub fn code(&self) -> Vec<(usize, String)> {
        if self.is_test() { Vec::new() } else { text::without_tests(self.all_code()) }
    }

    /// The code without comments and strings, tests included.
    pub fn all_code(&self) -> Vec<(usize, String)> {
        numbered(self.code.get_or_init(|| text::only(&self.text, Class::Code)))
    }

    /// The comments alone.
    pub fn comments(&self) -> Vec<(usize, String)> {
        numbered(self.comments.get_or_init(|| text::only(&self.text, Class::Comment)))
    }

    /// Whether the file as a whole is a test, a benchmark or an example.
    pub fn is_test(&self) -> bool {
        let in_directory = |name: &str| self.path.starts_with(name.trim_start_matches('/')) || self.path.contains(name);
        in_directory("/tests/")
            || in_directory("/benches/")
            || in_directory("/examples/")
            || self.path.ends_with("/tests.rs")
    }
}

fn numbered(text: &str) -> Vec<(usize, String)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect()
}
