//! What all benchmarks that run guests work with: where the components are, and what a step is given.

use std::path::{Path, PathBuf};
use std::time::Duration;

use weir::config::StepLimits;
use weir::plugin::StepContext;
use weir::record::Partition;

/// A component, from the directory that a variable names.
pub fn component(variable: &str, name: &str) -> PathBuf {
    let directory = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: cargo xtask bench"));
    Path::new(&directory).join(format!("{name}.wasm"))
}

/// The only step of a pipeline.
pub fn context() -> StepContext {
    StepContext {
        pipeline: "bench".into(),
        step: "bench".into(),
        partition: Partition(0),
        inputs: vec!["in".into()],
        tables: Vec::new(),
    }
}

/// Limits that no benchmark meets.
pub fn limits() -> StepLimits {
    StepLimits {
        memory_bytes_max: 256 << 20,
        batch_time_max: Duration::from_secs(5),
        output_bytes_max: 64 << 20,
        log_rate_max: 10,
        wait_time_max: Duration::from_secs(60),
        retries: 0,
    }
}
