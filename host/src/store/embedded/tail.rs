//! The most recently appended batches of each partition, in memory.
//!
//! A pipeline that keeps up with the one before it reads what was just written: from here, without a decode or a disk.
//! It knows nothing of disks and bounds; what it does not hold is read elsewhere.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::codec::Place;
use crate::record::{Batch, Offset};

/// The bytes that it holds at most.
pub(super) const TAIL_BYTES_MAX: usize = 8 << 20;

/// Recent batches, the oldest of all going first.
#[derive(Default)]
pub(super) struct Tail {
    /// By partition, each without gaps up to the partition's end.
    partitions: HashMap<Place, VecDeque<Recent>>,
    /// In the order in which they were appended.
    order: VecDeque<(Place, Offset)>,
    bytes: usize,
}

struct Recent {
    base: Offset,
    end: Offset,
    batch: Arc<Batch>,
}

impl Tail {
    /// Takes a batch that was appended at the end of its partition.
    pub fn push(&mut self, place: Place, base: Offset, batch: Batch) {
        let end = Offset(base.0 + batch.len() as u64);
        let recent = self.partitions.entry(place).or_default();
        self.bytes += batch.bytes();
        recent.push_back(Recent { base, end, batch: Arc::new(batch) });
        self.order.push_back((place, base));
        while self.bytes > TAIL_BYTES_MAX && self.drop_oldest() {}
    }

    /// The batches from the one that holds an offset on, each with its end, until so many bytes are passed at least; none
    /// where it is not held.
    pub fn read(&self, place: Place, from: Offset, bytes_max: usize) -> Vec<(Offset, Arc<Batch>)> {
        let Some(recent) = self.partitions.get(&place) else { return Vec::new() };
        let first = recent.partition_point(|recent| recent.end <= from);
        let mut batches = Vec::new();
        let mut bytes = 0;
        for Recent { base, end, batch } in recent.range(first..) {
            if batches.is_empty() && *base > from {
                break;
            }
            // Some of the first one may be passed over, so it counts for nothing: rather one too many than one too few.
            bytes += if batches.is_empty() { 0 } else { batch.bytes() };
            batches.push((*end, batch.clone()));
            if bytes > bytes_max {
                break;
            }
        }
        batches
    }

    /// Lets the batches of a partition go that end before an offset or at it.
    pub fn forget(&mut self, place: Place, until: Offset) {
        let Some(recent) = self.partitions.get_mut(&place) else { return };
        while let Some(gone) = recent.pop_front_if(|recent| recent.end <= until) {
            self.bytes -= gone.batch.bytes();
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((place, base)) = self.order.pop_front() else { return false };
        if let Some(recent) = self.partitions.get_mut(&place)
            && recent.front().is_some_and(|front| front.base == base)
            && let Some(gone) = recent.pop_front()
        {
            self.bytes -= gone.batch.bytes();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Partition, Record, Timestamp};
    use crate::store::embedded::codec::StreamId;

    const A: Place = (StreamId(1), Partition(0));
    const B: Place = (StreamId(1), Partition(1));

    fn batch(records: usize, bytes: usize) -> Batch {
        let mut batch = Batch::default();
        (0..records).for_each(|_| batch.push(&Record::of(&vec![0; bytes], Timestamp(0))));
        batch
    }

    fn bases(tail: &Tail, place: Place, from: u64, bytes_max: usize) -> Vec<u64> {
        tail.read(place, Offset(from), bytes_max).into_iter().map(|(end, batch)| end.0 - batch.len() as u64).collect()
    }

    #[test]
    fn it_reads_from_the_batch_that_holds_the_offset() {
        let mut tail = Tail::default();
        for base in [10, 12, 14] {
            tail.push(A, Offset(base), batch(2, 1));
        }
        assert_eq!(bases(&tail, A, 9, 1000), [0; 0], "it does not hold what comes before");
        assert_eq!(bases(&tail, A, 10, 1000), [10, 12, 14]);
        assert_eq!(bases(&tail, A, 13, 1000), [12, 14]);
        assert_eq!(bases(&tail, A, 10, 0), [10, 12], "one more than is needed");
        assert_eq!(bases(&tail, A, 16, 1000), [0; 0]);
        assert_eq!(bases(&tail, B, 10, 1000), [0; 0]);
    }

    #[test]
    fn the_oldest_go_when_it_is_full() {
        let mut tail = Tail::default();
        let quarter = TAIL_BYTES_MAX / 4 - 1000;
        for base in 0..3 {
            tail.push(A, Offset(base), batch(1, quarter));
            tail.push(B, Offset(base), batch(1, quarter));
        }
        assert!(tail.bytes <= TAIL_BYTES_MAX);
        assert_eq!(bases(&tail, A, 0, usize::MAX), [0; 0]);
        assert_eq!(bases(&tail, A, 1, usize::MAX), [1, 2]);
        assert_eq!(bases(&tail, B, 1, usize::MAX), [1, 2]);
        tail.push(A, Offset(3), batch(1, TAIL_BYTES_MAX));
        assert_eq!((tail.bytes, tail.order.len()), (0, 0), "one that is too large leaves nothing");
        tail.push(A, Offset(4), batch(1, 1));
        assert_eq!(bases(&tail, A, 3, usize::MAX), [0; 0]);
        assert_eq!(bases(&tail, A, 4, usize::MAX), [4]);
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let mut tail = Tail::default();
        for base in 0..3 {
            tail.push(A, Offset(base), batch(1, 1));
        }
        let one = tail.bytes / 3;
        tail.forget(A, Offset(2));
        tail.forget(B, Offset(2));
        assert_eq!((bases(&tail, A, 2, usize::MAX), tail.bytes), (vec![2], one));
        assert_eq!(bases(&tail, A, 0, usize::MAX), [0; 0]);
        tail.push(A, Offset(3), batch(1, TAIL_BYTES_MAX));
        assert_eq!((tail.bytes, tail.order.len()), (0, 0));
    }
}
