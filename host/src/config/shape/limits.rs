//! The keys of bounds: of the appliance, of a step, of a new version of a plugin.

use super::{GIB, HOUR, KIB, Kind, MIB, Need, Shape, key};
use Need::Default;

/// Bounds of the appliance.
pub static LIMITS: Shape = Shape {
    what: "the group `limits`",
    doc: "Bounds of the whole appliance.",
    keys: &[key(
        "task_bytes_in_flight_max",
        Kind::Size(MIB..=64 * GIB),
        Default("32MiB"),
        "Bytes of records that each task may hold between reading and commit.",
    )],
};

/// What a new version has to do.
pub static PROBATION: Shape = Shape {
    what: "the group `probation`",
    doc: "What a new version of a plugin has to do to stay: no trap and no timeout, and few rejects more than the one before.",
    keys: &[
        key("records", Kind::Number(0..=1_000_000_000), Default("1000"), "For so many records it is on probation."),
        key(
            "rejects_percent",
            Kind::Number(0..=100),
            Default("5"),
            "By so much of its records its rejects may exceed those of the version before.",
        ),
    ],
};

/// Bounds of a step.
pub static STEP_LIMITS: Shape = Shape {
    what: "the group `limits` of a step",
    doc: "Bounds of one instance of a plugin.",
    keys: &[
        key("memory_bytes_max", Kind::Size(MIB..=4 * GIB), Default("256MiB"), "Memory."),
        key("batch_time_max", Kind::Duration(10..=HOUR), Default("5s"), "Time for one batch."),
        key("output_bytes_max", Kind::Size(KIB..=2 * GIB), Default("64MiB"), "Bytes of the answer to one batch."),
        key(
            "wait_time_max",
            Kind::Duration(10..=HOUR),
            Default("60s"),
            "How long one call of the plugin may wait for services that it was granted.",
        ),
        key(
            "log_rate_max",
            Kind::Number(0..=100_000),
            Default("10"),
            "Log messages a second; the rest is counted and dropped.",
        ),
        key(
            "retries",
            Kind::Number(0..=100),
            Default("3"),
            "How often a retriable reject is tried again before it becomes a dead letter.",
        ),
    ],
};
