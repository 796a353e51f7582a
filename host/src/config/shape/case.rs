//! The keys of `case.yaml`: one use of one plugin, written down to be run again.

use super::{Key, Kind, Need, STEP_LIMITS, Shape, key};

/// A case.
pub static CASE: Shape = Shape {
    what: "a case",
    doc: "One use of one plugin, to be run again.",
    keys: &[
        key("notes", Kind::Text, Need::Optional, "What the case is about."),
        key("config", Kind::Free, Need::Optional, "The plugin's configuration."),
        NAME_OF_PIPELINE,
        key("step", Kind::Text, Need::Default("step"), "The name of the step, as the plugin is told it."),
        key("partition", Kind::Number(0..=u32::MAX as u64), Need::Default("0"), "The partition that it serves."),
        key(
            "inputs",
            Kind::OneOrMany(&Kind::Text),
            Need::Optional,
            "The names of its inputs; one, `input`, without it.",
        ),
        key("tables", Kind::OneOrMany(&Kind::Text), Need::Optional, "The names of its tables, which are inputs too."),
        key("limits", Kind::Group(&STEP_LIMITS), Need::Optional, "Bounds of the instance."),
        key(
            "clock",
            Kind::Time,
            Need::Optional,
            "What the clock shows once all records have come; no timer of it fires, without it.",
        ),
        key("hash", Kind::Text, Need::Optional, "The blake3 hash of the plugin that the case was made with."),
    ],
};

const NAME_OF_PIPELINE: Key = key(
    "pipeline",
    Kind::Text,
    Need::Default("case"),
    "The name of the pipeline, or of the sink, as the plugin is told it.",
);
