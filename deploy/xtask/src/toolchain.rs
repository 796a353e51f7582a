//! The compiler for WebAssembly: rustup's where its target is installed, else Debian's, which builds `std` itself.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::error::{Error, Result};
use crate::process;
use crate::say;

/// The target of every plugin.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The oldest compiler that builds the plugins, as in the workspace's `rust-version`.
const RUST_MINIMUM: (u32, u32) = (1, 95);

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A way to build components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The toolchain that builds the host has the target installed.
    Installed,
    /// Debian's compiler with its library's source. `tools` holds the linker `wasm-component-ld`.
    Debian {
        /// The directory of rustup's toolchain in which the linkers are, where there is one.
        tools: Option<PathBuf>,
    },
}

impl Toolchain {
    /// Finds a compiler for WebAssembly, and installs Debian's where that is possible.
    pub fn find() -> Result<Self> {
        let sysroot = sysroot();
        if let Some(sysroot) = &sysroot
            && sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
        {
            return Ok(Toolchain::Installed);
        }
        if let Err(missing) = debian() {
            say::line(format_args!("No compiler for {TARGET} is installed here ({missing})."));
            install_debian()?;
            debian()
                .map_err(|missing| Error::new(format_args!("{missing}, even after the installation\n{}", remedy())))?;
        }
        let tools = sysroot.and_then(|sysroot| linkers(&sysroot));
        if tools.is_none() && process::on_path("wasm-component-ld").is_none() {
            let wanted = "the linker wasm-component-ld was found neither in rustup's toolchain nor on PATH";
            return Err(Error::new(format_args!("{wanted}\n  cargo install wasm-component-ld")));
        }
        Ok(Toolchain::Debian { tools })
    }

    /// A cargo command that builds for WebAssembly once `build` and its arguments are added.
    pub fn cargo_build(&self, root: &Path) -> Command {
        let mut command = match self {
            Toolchain::Installed => process::cargo(root),
            Toolchain::Debian { .. } => Command::new(DEBIAN_CARGO),
        };
        process::forget_outer_cargo(&mut command);
        command.current_dir(root).arg("build").args(["--target", TARGET]);
        command.env("RUSTFLAGS", "-C target-feature=+simd128 -C linker=wasm-component-ld");
        match self {
            Toolchain::Installed => keep_toolchain(&mut command),
            Toolchain::Debian { tools } => {
                // The bootstrap variable allows `-Zbuild-std` in a stable compiler. Debian's comes without a built library.
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
                if let Some(tools) = tools {
                    command.env("PATH", with_path(tools));
                }
            }
        }
        command
    }
}

/// Rustup's choice of toolchain, made for the outer cargo, holds for the inner one too.
fn keep_toolchain(command: &mut Command) {
    if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
}

fn with_path(first: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut joined = first.as_os_str().to_owned();
    joined.push(":");
    joined.push(path);
    joined
}

fn sysroot() -> Option<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let printed = process::output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(printed.trim()))
}

/// The directory of a toolchain that holds `wasm-component-ld`, whatever the host is called.
fn linkers(sysroot: &Path) -> Option<PathBuf> {
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    let mut directories = hosts.flatten().map(|host| host.path().join("bin"));
    directories.find(|directory| directory.join("wasm-component-ld").is_file())
}

/// Whether Debian's compiler is there and recent enough; what is missing if not.
fn debian() -> std::result::Result<(), String> {
    if !Path::new(DEBIAN_CARGO).is_file() || !Path::new(DEBIAN_RUSTC).is_file() {
        return Err(format!("rustup's toolchain lacks the target, and there is no {DEBIAN_RUSTC} with {DEBIAN_CARGO}"));
    }
    let mut rustc = Command::new(DEBIAN_RUSTC);
    process::forget_outer_cargo(&mut rustc);
    let version = process::output(rustc.arg("--version")).map_err(|error| error.to_string())?;
    if parse_version(&version).is_none_or(|version| version < RUST_MINIMUM) {
        let (major, minor) = RUST_MINIMUM;
        return Err(format!("{DEBIAN_RUSTC} is {}, and {major}.{minor} is needed", version.trim()));
    }
    let mut rustc = Command::new(DEBIAN_RUSTC);
    process::forget_outer_cargo(&mut rustc);
    let sysroot = process::output(rustc.args(["--print", "sysroot"])).map_err(|error| error.to_string())?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    if library.is_dir() { Ok(()) } else { Err(format!("the library's source is not at {}", library.display())) }
}

/// Major and minor of `rustc 1.96.0 (...)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn install_debian() -> Result<()> {
    if !apt::is_usable() {
        return Err(Error::new(format_args!(
            "there is no compiler for the plugins here. This adds one:\n  {}",
            remedy()
        )));
    }
    say::line("Installing Debian's compiler, which can build for it.");
    apt::install(&DEBIAN_PACKAGES)
}

/// The one command that helps where nothing can be installed from here.
fn remedy() -> String {
    if process::on_path("rustup").is_some() {
        format!("rustup target add {TARGET}")
    } else {
        format!("apt-get install {}", DEBIAN_PACKAGES.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compilers_version_is_read_from_what_it_prints() {
        assert_eq!(parse_version("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"), Some((1, 96)));
        assert_eq!(parse_version("rustc 1.95.0-nightly (abc 2026-01-01)"), Some((1, 95)));
        assert_eq!(parse_version("nonsense"), None);
    }

    #[test]
    fn debians_compiler_builds_its_library_and_an_installed_target_does_not() {
        let debian = Toolchain::Debian { tools: Some("/tools".into()) }.cargo_build(Path::new("/"));
        let shown = process::show(&debian);
        assert!(shown.contains("-Zbuild-std=std,panic_abort") && shown.contains("PATH=/tools:"), "{shown}");
        assert!(shown.contains("RUSTC_BOOTSTRAP=1") && shown.contains("/usr/bin/cargo build"), "{shown}");
        let installed = process::show(&Toolchain::Installed.cargo_build(Path::new("/")));
        assert!(!installed.contains("build-std") && !installed.contains("BOOTSTRAP"), "{installed}");
    }

    #[test]
    fn the_minimum_is_the_workspaces() {
        let manifest = include_str!("../../../Cargo.toml");
        let (major, minor) = RUST_MINIMUM;
        assert!(manifest.contains(&format!("rust-version = \"{major}.{minor}\"")));
    }
}
