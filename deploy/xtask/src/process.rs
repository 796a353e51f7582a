//! Other programs: announced, run, and their failures told. Knows which variables of an outer cargo must not leak.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};
use crate::say;

/// Prints a command, runs it with this terminal, and fails when it does.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    say::command(&shown);
    let status = command.status().context(|| format!("cannot start `{shown}`"))?;
    if status.success() { Ok(()) } else { Err(Error::new(format_args!("`{shown}` failed: {status}"))) }
}

/// As [`run`], with the command and what it prints on standard error: for those whose standard output programs read.
pub fn run_aside(command: &mut Command) -> Result<()> {
    let shown = show(command);
    say::aside(format_args!("$ {shown}"));
    let status = command.stdout(std::io::stderr()).status().context(|| format!("cannot start `{shown}`"))?;
    if status.success() { Ok(()) } else { Err(Error::new(format_args!("`{shown}` failed: {status}"))) }
}

/// Runs a command quietly and returns what it printed on standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::piped()).output().context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format_args!("`{shown}` failed: {}: {}", output.status, said.trim())));
    }
    String::from_utf8(output.stdout).context(|| format!("the output of `{shown}`"))
}

/// The program and its arguments, as they would be typed. Variables set for this command come first.
pub fn show(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut words: Vec<String> =
        variables.map(|(name, value)| format!("{}={}", name.display(), shown(value))).collect();
    words.push(quoted(command.get_program()));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

/// A variable's value. What is put in front of PATH is shown without the rest of it.
fn shown(value: &OsStr) -> String {
    let path = env::var("PATH").unwrap_or_default();
    match value.to_string_lossy().strip_suffix(&path) {
        Some(front) if !path.is_empty() => format!("{front}$PATH"),
        _ => quoted(value),
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{word}'") }
}

/// Cargo of the toolchain that built this program, in the clone.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Removes what the cargo that started this program set for it, so that an inner cargo begins as if from a shell.
///
/// What a user sets stays: where cargo's home and registries are, proxies, how many jobs.
pub fn forget_outer_cargo(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if is_of_outer_cargo(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
        match without_toolchains(&paths, env::current_exe().ok().as_deref().and_then(Path::parent)) {
            Some(paths) => command.env("LD_LIBRARY_PATH", paths),
            None => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

const KEPT: [&str; 9] = [
    "CARGO_HOME",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "CARGO_BUILD_JOBS",
    "CARGO_PROFILE_",
    "CARGO_INCREMENTAL",
];

fn is_of_outer_cargo(name: &str) -> bool {
    let set_by_cargo = name == "CARGO" || name.starts_with("CARGO_");
    let chooses_a_compiler =
        ["RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUST_RECURSION_COUNT"].contains(&name);
    chooses_a_compiler || (set_by_cargo && !KEPT.iter().any(|kept| name.starts_with(kept)))
}

/// Library paths without those that `cargo run` puts in front: its target directory and the toolchain's own libraries,
/// which another toolchain's compiler must not load.
fn without_toolchains(paths: &OsStr, of_this_program: Option<&Path>) -> Option<OsString> {
    let foreign = |path: &PathBuf| {
        let text = path.to_string_lossy();
        !(Some(path.as_path()) == of_this_program
            || text.contains("/toolchains/")
            || text.contains("/rustlib/")
            || text.ends_with("/deps")
            || text.contains("/build/"))
    };
    let kept: Vec<PathBuf> = env::split_paths(paths).filter(foreign).collect();
    if kept.is_empty() { None } else { env::join_paths(kept).ok() }
}

/// Finds a program on PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|directory| directory.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_outer_cargo_go_and_those_of_the_user_stay() {
        for gone in
            ["CARGO", "CARGO_PKG_NAME", "CARGO_ENCODED_RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUSTC", "CARGO_TARGET_DIR"]
        {
            assert!(is_of_outer_cargo(gone), "{gone} should go");
        }
        for kept in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_BUILD_JOBS", "PATH", "RUST_BACKTRACE", "RUSTUP_HOME"] {
            assert!(!is_of_outer_cargo(kept), "{kept} should stay");
        }
    }

    #[test]
    fn library_paths_of_toolchains_go() {
        let paths = "/t/debug/deps:/t/debug:/opt/lib:/root/.rustup/toolchains/x/lib";
        let program = Some(Path::new("/t/debug"));
        assert_eq!(without_toolchains(OsStr::new(paths), program), Some(OsString::from("/opt/lib")));
        assert_eq!(without_toolchains(OsStr::new("/t/debug/deps"), program), None);
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("cargo");
        command.args(["build", "-p", "a b"]).env("RUSTFLAGS", "-C x");
        assert_eq!(show(&command), "RUSTFLAGS='-C x' cargo build -p 'a b'");
    }

    #[test]
    fn a_failing_program_is_an_error_with_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("no luck") && error.contains("exit status: 3"), "{error}");
    }
}
