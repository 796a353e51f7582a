//! Plugins in other languages than Rust: C by way of clang, JavaScript by way of jco. Installs what is missing, or says how.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::apt;
use crate::error::{Context, Error, Result};
use crate::process;
use crate::say;
use crate::workspace::Workspace;

/// The version of jco that makes components of JavaScript. Its directory in the cache bears it.
const JCO: &str = "1.35.0";
/// Debian's compiler, linker and libraries for C in WebAssembly.
const C_PACKAGES: [&str; 4] = ["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"];
/// Where Debian's `wasi-libc` is, below `/usr`.
const C_HEADERS: &str = "/usr/include/wasm32-wasi";
/// The world of all of them.
const WORLD: &str = "transform";

/// Guests in C that only tests use.
const C_GUESTS: &str = "tests/guests-in-c";
/// The examples.
const C_EXAMPLE: &str = "deploy/examples/plugins/c/grep.c";
const JAVASCRIPT_EXAMPLE: &str = "deploy/examples/plugins/javascript/grep.js";

/// A plugin that cargo does not build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The component's name.
    pub name: String,
    /// Its one file, from the root of the clone.
    pub source: PathBuf,
}

/// The examples, and the guests of the tests.
pub fn all(workspace: &Workspace) -> Result<Vec<Foreign>> {
    let example = |name: &str, source: &str| Foreign { name: name.to_owned(), source: source.into() };
    let mut all = vec![example("grep-c", C_EXAMPLE), example("grep-javascript", JAVASCRIPT_EXAMPLE)];
    let directory = workspace.root.join(C_GUESTS);
    for entry in fs::read_dir(&directory).context(|| directory.display())? {
        let path = entry.context(|| directory.display())?.path();
        if path.extension().is_some_and(|extension| extension == "c")
            && let (Some(stem), Some(file)) = (path.file_stem(), path.file_name())
        {
            let name = stem.to_string_lossy().into_owned();
            all.push(Foreign { name, source: Path::new(C_GUESTS).join(file) });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Builds one, unless it is newer than all that it is made of.
pub fn build(workspace: &Workspace, guest: &Foreign) -> Result<Vec<u8>> {
    let source = workspace.root.join(&guest.source);
    let is_c = guest.source.extension().is_some_and(|extension| extension == "c");
    let tool = if is_c { "c".to_owned() } else { format!("jco-{JCO}") };
    let directory = workspace.target.join("guest").join("languages").join(tool);
    let made = directory.join(&guest.name).with_added_extension("wasm");
    // How it is made stands in this file.
    let made_of = ["wit", "deploy/bindgen/src", "deploy/xtask/src/languages.rs"].map(|path| workspace.root.join(path));
    let changed = newest(made_of.iter().chain([&source]))?;
    if modified(&made).is_none_or(|made| made < changed) {
        fs::create_dir_all(&directory).context(|| directory.display())?;
        match is_c {
            true => build_c(workspace, &source, &directory, &made)?,
            false => build_javascript(workspace, &source, &made)?,
        }
    }
    fs::read(&made).context(|| made.display())
}

fn build_c(workspace: &Workspace, source: &Path, directory: &Path, made: &Path) -> Result<()> {
    ensure_c()?;
    let bindings = directory.join("bindings");
    let module = made.with_extension("core.wasm");
    process::run(bindgen(workspace).args(["c", WORLD]).arg(&bindings))?;
    let mut clang = Command::new("clang");
    clang.args([
        "--target=wasm32-wasi",
        "--sysroot=/usr",
        "-O2",
        "-mexec-model=reactor",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]);
    clang.arg("-Wno-unused-parameter").arg("-I").arg(&bindings).arg(source);
    clang.arg(bindings.join(format!("{WORLD}.c"))).arg(bindings.join(format!("{WORLD}_component_type.o")));
    process::run(clang.arg("-o").arg(&module))?;
    process::run(bindgen(workspace).arg("component").arg(&module).arg(made))
}

fn bindgen(workspace: &Workspace) -> Command {
    let mut cargo = process::cargo(&workspace.root);
    cargo.args(["run", "--quiet", "--locked", "--package", "weir-bindgen", "--"]);
    cargo
}

fn ensure_c() -> Result<()> {
    let missing = || {
        let resources = process::output(Command::new("clang").arg("-print-resource-dir")).unwrap_or_default();
        let library = Path::new(resources.trim()).join("lib/wasi/libclang_rt.builtins-wasm32.a");
        let is_there = process::on_path("wasm-ld").is_some() && Path::new(C_HEADERS).is_dir() && library.is_file();
        !is_there
    };
    if missing() {
        apt::install_named(&C_PACKAGES, "the C compiler for WebAssembly, which builds example plugins,")?;
    }
    match missing() {
        false => Ok(()),
        true => Err(Error::new(format_args!(
            "clang, wasm-ld, {C_HEADERS} or clang's library for wasm32 is still missing; expected them from\n  apt-get install {}",
            C_PACKAGES.join(" ")
        ))),
    }
}

fn build_javascript(workspace: &Workspace, source: &Path, made: &Path) -> Result<()> {
    let mut jco = Command::new(jco(workspace)?);
    jco.arg("componentize").arg(source).args(["--backend", "quickjs", "--backend-qjs-disable-async"]);
    jco.arg("--wit").arg(workspace.root.join("wit")).args(["--world-name", WORLD]).arg("-o").arg(made);
    process::run(&mut jco)
}

/// The path of jco, installed when it is not there yet.
fn jco(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.cache.join("tools").join(format!("jco-{JCO}"));
    let program = directory.join("node_modules/.bin/jco");
    let complete = directory.join("complete");
    let _lock = workspace.lock("jco")?;
    if complete.is_file() {
        return Ok(program);
    }
    let package = format!("@bytecodealliance/jco@{JCO}");
    if process::on_path("npm").is_none() || process::on_path("node").is_none() {
        return Err(Error::new(format_args!(
            "npm is missing, which fetches the compiler of JavaScript plugins: install Node.js 20 or newer, for example with\n  \
             apt-get install nodejs npm"
        )));
    }
    say::line(format_args!("Installing {package}, which builds JavaScript plugins: 340 MB, once."));
    fs::create_dir_all(&directory).context(|| directory.display())?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&directory).arg(&package);
    process::run(&mut npm)?;
    fs::write(&complete, "").context(|| complete.display())?;
    Ok(program)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// When these files, or files directly in these directories, were changed last.
fn newest<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for path in paths {
        let mut look = |path: &Path| newest = newest.max(modified(path).unwrap_or(SystemTime::UNIX_EPOCH));
        look(path);
        if path.is_dir() {
            let entries = fs::read_dir(path).context(|| path.display())?;
            entries.flatten().for_each(|entry| look(&entry.path()));
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_and_the_tests_guests_are_found() {
        let workspace = Workspace::find().unwrap();
        let all = all(&workspace).unwrap();
        let names: Vec<&str> = all.iter().map(|guest| guest.name.as_str()).collect();
        assert_eq!(names, ["grep-c", "grep-javascript", "wasi-probe"]);
        assert!(all.iter().all(|guest| workspace.root.join(&guest.source).is_file()));
    }

    #[test]
    fn the_guides_name_the_versions_that_are_tested() {
        let javascript = include_str!("../../examples/plugins/javascript/README.md");
        assert!(javascript.contains(&format!("@bytecodealliance/jco@{JCO}")));
        let c = include_str!("../../examples/plugins/c/README.md");
        assert!(c.contains(&C_PACKAGES.join(" ")));
    }
}
