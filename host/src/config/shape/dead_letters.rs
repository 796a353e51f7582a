//! The keys of `dead_letters`: how long they are kept, and where else they go.

use super::{Key, Kind, Need, RETENTION_AGE, RETENTION_GROUP, Shape, key};

/// Dead letters.
pub static DEAD_LETTERS: Shape = Shape {
    what: "the group `dead_letters`",
    doc: "What becomes of records that could not be processed or delivered, beside being kept.",
    keys: &[
        key(
            "to",
            Kind::Name,
            Need::Optional,
            "A sink or stream that they go to as well, with the headers that Kafka Connect gives its dead letters.",
        ),
        RETAINED,
    ],
};

const RETAINED: Key = key(
    "retention",
    Kind::Either(&RETENTION_AGE, &RETENTION_GROUP),
    Need::Optional,
    "How long they are kept: an age, or `{age, bytes}`; as for a stream. It goes before that of the stream `dead-letters`.",
);
