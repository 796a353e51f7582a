//! What the author of plugins and pipelines does: begin a plugin, build it, test it; test a pipeline.
//!
//! Exit codes beside those of `cli/mod.rs`: 1 where a crate does not build or a test fails.

pub mod bench;
pub mod build;
pub mod dev;
pub mod new;
pub mod pipeline_test;
pub mod test;

mod bench_task;
mod diff;
mod junit;
mod sdk;
mod toolchain;

use super::{EXIT_UNAVAILABLE, say};

/// A test failed, or a crate does not build.
pub const EXIT_FAILED: u8 = 1;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failed {
    code: u8,
    message: String,
}

impl Failed {
    fn new(code: u8, message: impl std::fmt::Display) -> Self {
        Failed { code, message: message.to_string() }
    }

    fn unavailable(message: impl std::fmt::Display) -> Self {
        Failed::new(EXIT_UNAVAILABLE, message)
    }

    /// Says it, and gives the exit code. Where all was said before there are no words.
    fn tell(&self) -> u8 {
        if !self.message.is_empty() {
            say(&format!("weir: {}", self.message));
        }
        self.code
    }
}

/// Lets plugins say what they have to say from warnings on, and steps why they try again.
fn start_log() {
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr);
    // Another has begun it where several commands run in one process, as tests do.
    let _ = log.with_target(false).without_time().try_init();
}
