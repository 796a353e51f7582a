//! `weir plugin build`: from a crate to a component.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::toolchain::Toolchain;
use super::{EXIT_FAILED, Failed, sdk};
use crate::cli::{EXIT_CONFIG, EXIT_UNAVAILABLE, EXIT_USAGE, say};
use crate::config;
use crate::plugin::wrap;

/// What `weir plugin build` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct BuildArgs {
    /// The crate's directory
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// Put the plugin into this plugin directory too, in one step, for a running appliance to take up
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}

/// A plugin that was built.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Built {
    /// The plugin's name: the crate's.
    pub name: String,
    /// Where the component is.
    pub path: PathBuf,
    /// The component.
    pub wasm: Vec<u8>,
}

/// Builds; gives the exit code: 1 where the crate does not compile.
pub async fn run(args: BuildArgs) -> u8 {
    match build_to(&args).await {
        Ok(paths) => {
            paths.iter().for_each(|line| say(line));
            0
        }
        Err(failed) => failed.tell(),
    }
}

async fn build_to(args: &BuildArgs) -> Result<Vec<String>, Failed> {
    let built = crate_at(&args.path).await?;
    let size = built.wasm.len().div_ceil(1024);
    let mut said = vec![format!("{} ({size} KiB)", built.path.display())];
    if let Some(directory) = &args.to {
        let path = directory.join(format!("{}.wasm", built.name));
        fs::create_dir_all(directory)
            .and_then(|()| put(&path, &built.wasm))
            .map_err(|error| Failed::unavailable(format_args!("{}: {error}", path.display())))?;
        said.push(path.display().to_string());
    }
    Ok(said)
}

/// Whether a directory is a crate's.
pub(in crate::cli) fn is_crate(directory: &Path) -> bool {
    directory.join("Cargo.toml").is_file()
}

/// Builds the plugin of a crate. What the compiler says goes to standard error as it is.
pub(in crate::cli) async fn crate_at(directory: &Path) -> Result<Built, Failed> {
    let manifest = directory.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failed::new(EXIT_USAGE, format!("{}: there is no crate (`weir plugin new` makes one)", directory.display()))
        }
        _ => Failed::new(EXIT_UNAVAILABLE, format!("{}: {error}", manifest.display())),
    })?;
    let name = package(&text).ok_or_else(|| {
        Failed::new(
            EXIT_CONFIG,
            format!("{}: it names no package: expected `[package]` with a name", manifest.display()),
        )
    })?;
    config::plugin_name(&name)
        .map_err(|problem| Failed::new(EXIT_CONFIG, format!("{}: {problem}", manifest.display())))?;
    if sdk::is_used_by(&text) {
        sdk::put(directory).map_err(|error| Failed::unavailable(format_args!("{}: {error}", directory.display())))?;
    }
    let module = compile(directory).await?;
    let core = fs::read(&module).map_err(|error| Failed::unavailable(format_args!("{}: {error}", module.display())))?;
    let wasm = component(&name, core)?;
    let path = directory.join("target").join(format!("{name}.wasm"));
    fs::create_dir_all(directory.join("target"))
        .and_then(|()| put(&path, &wasm))
        .map_err(|error| Failed::unavailable(format_args!("{}: {error}", path.display())))?;
    Ok(Built { name, path, wasm })
}

/// The name of a manifest's package.
pub(in crate::cli) fn package(manifest: &str) -> Option<String> {
    let lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[package]").skip(1);
    let mut own = lines.take_while(|line| !line.starts_with('['));
    let value = own.find_map(|line| line.strip_prefix("name")?.trim_start().strip_prefix('='))?;
    let quoted = value.trim().trim_start_matches(['"', '\'']);
    Some(quoted.split(['"', '\'']).next()?.to_owned())
}

/// Has cargo build the crate; gives the path of what it made.
async fn compile(directory: &Path) -> Result<PathBuf, Failed> {
    let toolchain = Toolchain::find(directory).await?;
    let mut cargo = toolchain.cargo(directory);
    cargo.args(["build", "--release", "--lib", "--message-format=json-render-diagnostics"]);
    toolchain.target(&mut cargo);
    // Not `output`, which would keep what the compiler says to itself.
    let unavailable = |error| Failed::unavailable(format_args!("cargo does not start: {error}"));
    let child = cargo.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().map_err(unavailable)?;
    let output = child.wait_with_output().await.map_err(unavailable)?;
    if !output.status.success() {
        // The compiler has said why.
        return Err(Failed::new(EXIT_FAILED, ""));
    }
    made(&output.stdout, directory).ok_or_else(|| {
        let wanted = "its Cargo.toml has to say `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]`";
        Failed::new(EXIT_FAILED, format!("{}: the crate makes no plugin: {wanted}", directory.display()))
    })
}

/// The module that cargo says it has made of the crate in a directory.
fn made(messages: &[u8], directory: &Path) -> Option<PathBuf> {
    let manifest = fs::canonicalize(directory.join("Cargo.toml")).ok()?;
    let messages = messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let of_this = |message: &Value| {
        let path = message.get("manifest_path").and_then(Value::as_str);
        message.get("reason").and_then(Value::as_str) == Some("compiler-artifact")
            && path.is_some_and(|path| fs::canonicalize(path).is_ok_and(|path| path == manifest))
    };
    let wasm = |message: Value| {
        let files = message.get("filenames")?.as_array()?;
        files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    };
    messages.filter(of_this).filter_map(wasm).next_back()
}

/// What a plugin of each world exports.
const WORLDS: [&str; 3] = ["weir:plugin/step@", "weir:plugin/stateful-step@", "weir:plugin/delivery@"];

fn component(name: &str, core: Vec<u8>) -> Result<Vec<u8>, Failed> {
    let wasm = wrap::component(core).map_err(|problem| Failed::new(EXIT_FAILED, format!("{name}: {problem}")))?;
    let exports = |world: &&str| wasm.windows(world.len()).any(|bytes| bytes == world.as_bytes());
    if WORLDS.iter().any(exports) {
        return Ok(wasm);
    }
    let wanted = "write `export!(TYPE)`, `export_stateful!(TYPE)` or `export_sink!(TYPE)` below it";
    Err(Failed::new(EXIT_FAILED, format!("{name}: the crate exports no plugin: {wanted}")))
}

/// Replaces a file in one step, and leaves an equal one as it is: a running appliance may watch its directory.
pub(in crate::cli) fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let new = path.with_extension("wasm.new");
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_tells_its_name() {
        assert_eq!(package("[package]\nname = \"a-b\" # x\n").as_deref(), Some("a-b"));
        assert_eq!(package("[lib]\nname = \"no\"\n[package]\nversion = \"1\"\nname='x'\n").as_deref(), Some("x"));
        assert_eq!(package("[workspace]\nmembers = []\n"), None);
    }

    #[test]
    fn what_cargo_made_is_found_among_its_messages() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("Cargo.toml"), "").unwrap();
        let manifest = directory.path().join("Cargo.toml").display().to_string();
        let line = |manifest: &str, file: &str| {
            let message = serde_json::json!({"reason": "compiler-artifact", "manifest_path": manifest, "filenames": ["/t/x.rlib", file]});
            message.to_string() + "\n"
        };
        let all = line("/else/Cargo.toml", "/t/other.wasm") + "warning\n" + &line(&manifest, "/t/own.wasm");
        assert_eq!(made(all.as_bytes(), directory.path()), Some("/t/own.wasm".into()));
        assert_eq!(made(line(&manifest, "/t/own.so").as_bytes(), directory.path()), None);
    }
}
