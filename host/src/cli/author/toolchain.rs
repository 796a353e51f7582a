//! The compiler for plugins: that of the user where it has the target, else Debian's, which builds `std` itself.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::Failed;
use crate::config;

/// The target of every plugin.
pub const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: &str = "rustc-web cargo-web rust-web-src lld";

/// A way to build plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The cargo on the path, whose compiler has the target.
    User,
    /// Debian's, with its library's source and somebody's linker.
    Debian {
        /// The linker for WebAssembly.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// Finds one for a crate: rustup may choose by what the crate asks for.
    pub async fn find(crate_dir: &Path) -> Result<Toolchain, Failed> {
        let mut rustc = Command::new("rustc");
        rustc.current_dir(crate_dir).args(["--print", "target-libdir", "--target", TARGET]);
        let user = answer(&mut rustc).await.map(PathBuf::from);
        if user.as_ref().is_some_and(|directory| directory.is_dir()) {
            return Ok(Toolchain::User);
        }
        match debian(crate_dir).await {
            Some(linker) => Ok(Toolchain::Debian { linker }),
            None => Err(Failed::unavailable(remedy(crate_dir, user.is_some()).await)),
        }
    }

    /// Cargo, in a crate's directory.
    pub fn cargo(&self, crate_dir: &Path) -> Command {
        let mut cargo = match self {
            Toolchain::User => Command::new("cargo"),
            Toolchain::Debian { .. } => Command::new(DEBIAN_CARGO),
        };
        if let Toolchain::Debian { linker } = self {
            cargo.env("RUSTC", DEBIAN_RUSTC).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        cargo.current_dir(crate_dir).stdin(Stdio::null()).kill_on_drop(true);
        cargo
    }

    /// Has a cargo command build for plugins.
    pub fn target(&self, cargo: &mut Command) {
        cargo.args(["--target", TARGET]);
        if matches!(self, Toolchain::Debian { .. }) {
            // The variable allows the option in a stable compiler. Debian's comes without a built library.
            cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
            // That takes a minute, for the first crate.
            cargo.envs(config::shared_builds().map(|directory| ("CARGO_TARGET_DIR", directory)));
        }
    }
}

/// The linker to use with Debian's compiler, where both are there.
async fn debian(crate_dir: &Path) -> Option<PathBuf> {
    if !Path::new(DEBIAN_CARGO).is_file() {
        return None;
    }
    let sysroot = answer(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"])).await?;
    if !Path::new(&sysroot).join("lib/rustlib/src/rust/library").is_dir() {
        return None;
    }
    // Any toolchain's will do; Debian's package `lld` has one that is as old as its LLVM.
    let mut rustc = Command::new("rustc");
    let host = answer(rustc.current_dir(crate_dir).args(["--print", "target-libdir"])).await;
    let bundled = host.and_then(|lib| Some(Path::new(&lib).parent()?.join("bin/rust-lld")));
    bundled.into_iter().chain([PathBuf::from("/usr/bin/wasm-ld")]).find(|linker| linker.is_file())
}

/// What a command prints, where it succeeds.
async fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The one command that helps.
async fn remedy(crate_dir: &Path, has_rustc: bool) -> String {
    let mut rustup = Command::new("rustup");
    let has_rustup = answer(rustup.current_dir(crate_dir).arg("--version")).await.is_some();
    let command = match (has_rustup, has_rustc) {
        (true, _) => format!("rustup target add {TARGET}"),
        (false, true) => format!("apt-get install {DEBIAN_PACKAGES}"),
        (false, false) => "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh".to_owned(),
    };
    let what = if has_rustc { "the compiler here cannot build for" } else { "there is no compiler here to build for" };
    format!("{what} {TARGET}; this helps:\n  {command}")
}
