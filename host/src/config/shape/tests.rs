//! The keys of `tests`: records that a pipeline is given, and what has to come out.

use super::{Kind, Need, Shape, key};

/// A test.
pub static TEST: Shape = Shape {
    what: "a test",
    doc: "Records that a pipeline is given, and what has to come out of it; `weir test` runs it.",
    keys: &[
        key("name", Kind::Text, Need::Required, "What it shows."),
        key("pipeline", Kind::Name, Need::Optional, "The pipeline; may be left out where there is one alone."),
        key(
            "given",
            Kind::Either(&RECORDS, &BY_NAME),
            Need::Required,
            "The records: a list, or a file with one a line; by the name of the input, where there are several.",
        ),
        key(
            "expect",
            Kind::Either(&RECORDS, &BY_NAME),
            Need::Required,
            "What has to come out, as for `given`; by the name of the sink or stream, where there are several, or `dead-letters`.",
        ),
        key("clock", Kind::Time, Need::Optional, "What the clock shows; the latest time of the records, without it."),
    ],
};

static RECORD: Kind = Kind::Either(&Kind::Text, &Kind::Group(&TEST_RECORD));
static RECORD_LIST: Kind = Kind::List(&RECORD);
static RECORDS: Kind = Kind::Either(&Kind::Path, &RECORD_LIST);
static BY_NAME: Kind = Kind::Named(&RECORDS, "input or output");

/// A record of a test.
pub static TEST_RECORD: Shape = Shape {
    what: "a record of a test",
    doc: "A record. Of what is expected only what is written here is compared; a text alone is its value.",
    keys: &[
        key("value", Kind::Either(&Kind::Text, &Kind::Free), Need::Optional, "Its value: a text, or a JSON object."),
        key("tombstone", Kind::True, Need::Optional, "`true`: it has no value."),
        key("key", Kind::Text, Need::Optional, "Its key."),
        key("headers", Kind::Free, Need::Optional, "Its headers by name, each a text."),
        key(
            "timestamp",
            Kind::Time,
            Need::Optional,
            "When it happened; given records begin 2026-01-01T00:00:00Z, a second apart.",
        ),
    ],
};
