//! What the position of a task in its topics looks like.
//!
//! A version, and for each topic by name: its length u16 and text, how many partitions the topic had when the source
//! first saw it u32, the next offset u64; numbers with the lowest byte first. The number of partitions says which of
//! them are new: what comes to a partition that was added later is read from its beginning, whatever `start` says.

use std::collections::BTreeMap;

use crate::record::Position;

const VERSION: u8 = 1;

/// Where a task is in one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// How many partitions the topic had when the source first saw it.
    pub partitions_at_first: u32,
    /// The offset to read next.
    pub next: u64,
}

/// Where a task is in all its topics, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places(pub BTreeMap<String, Place>);

impl Places {
    /// As a position.
    pub fn encode(&self) -> Position {
        let mut bytes = vec![VERSION];
        for (topic, place) in &self.0 {
            // Kafka's names have 249 characters at most.
            bytes.extend_from_slice(&(topic.len() as u16).to_le_bytes());
            bytes.extend_from_slice(topic.as_bytes());
            bytes.extend_from_slice(&place.partitions_at_first.to_le_bytes());
            bytes.extend_from_slice(&place.next.to_le_bytes());
        }
        Position(bytes)
    }

    /// Reads a position. `None`: it is none of a Kafka source.
    pub fn decode(position: &Position) -> Option<Places> {
        let (version, mut rest) = position.0.split_first()?;
        if *version != VERSION {
            return None;
        }
        let mut places = BTreeMap::new();
        while !rest.is_empty() {
            let len = u16::from_le_bytes(take(&mut rest)?);
            let (name, behind) = rest.split_at_checked(usize::from(len))?;
            rest = behind;
            let name = std::str::from_utf8(name).ok()?.to_owned();
            let partitions_at_first = u32::from_le_bytes(take(&mut rest)?);
            let next = u64::from_le_bytes(take(&mut rest)?);
            places.insert(name, Place { partitions_at_first, next });
        }
        Some(Places(places))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn positions_round_trip(places in prop::collection::btree_map("[a-z._-]{1,40}", (any::<u32>(), any::<u64>()), 0..5)) {
            let place = |(partitions_at_first, next)| Place { partitions_at_first, next };
            let places = Places(places.into_iter().map(|(topic, of)| (topic, place(of))).collect());
            prop_assert_eq!(Places::decode(&places.encode()), Some(places));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Places::decode(&Position(bytes));
        }
    }

    #[test]
    fn a_position_of_another_source_is_refused() {
        assert_eq!(Places::decode(&Position::at(crate::record::Offset(7))), None);
        assert_eq!(Places::decode(&Position(Vec::new())), None);
    }
}
