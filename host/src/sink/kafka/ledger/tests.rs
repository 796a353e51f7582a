//! The ledger against a model of Kafka and the store: whatever is cut, refused and crashed, each output is delivered once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// An output of the model: its source and id, and whether Kafka refuses it.
#[derive(Debug, Clone, Copy)]
struct Made {
    source: SourceHash,
    id: Id,
    refused: bool,
}

/// How the sink's life goes on.
#[derive(Debug, Clone)]
struct Life {
    /// How many outputs each batch has at most, how many batches a transaction has.
    batch: usize,
    group: usize,
    /// After so many batches read, the process dies: before the transaction, after it, or after some of the store's commits.
    batches: usize,
    stored_of_last: usize,
    marker_lost: bool,
}

#[derive(Default)]
struct World {
    kafka: BTreeMap<(SourceHash, Id), u32>,
    dead: BTreeMap<(SourceHash, Id), u32>,
    marker: Option<(u64, Vec<u8>)>,
    settled: Settled,
    /// The next output to read, by source.
    next: BTreeMap<SourceHash, usize>,
}

impl World {
    /// Lives until the end of its batches or of the outputs. Inputs take turns from `turn` on.
    fn live(&mut self, inputs: &BTreeMap<SourceHash, Vec<Made>>, life: &Life, turn: usize) {
        let marker = self.marker.as_ref().map(|(epoch, bytes)| Ledger::decode(*epoch, bytes).unwrap().0);
        let mut ledger = Ledger::open(marker, &self.settled);
        let mut read = self.next.clone();
        let mut left = life.batches;
        while left > 0 {
            let mut group: Vec<(SourceHash, usize, Vec<Made>)> = Vec::new();
            while group.len() < life.group.min(left) {
                let sources: Vec<_> = inputs.keys().copied().collect();
                let open = |source: &SourceHash| read.get(source).copied().unwrap_or(0) < inputs[source].len();
                let at = turn + group.len() + left;
                let Some(source) = (0..sources.len()).map(|n| sources[(at + n) % sources.len()]).find(open) else {
                    break;
                };
                let from = read.get(&source).copied().unwrap_or(0);
                let to = (from + life.batch).min(inputs[&source].len());
                // Outputs of one input record are never cut apart.
                let to = (to..inputs[&source].len())
                    .find(|n| inputs[&source][*n].id.ordinal == 0)
                    .unwrap_or(inputs[&source].len());
                read.insert(source, to);
                group.push((source, to, inputs[&source][from..to].to_vec()));
            }
            if group.is_empty() {
                return;
            }
            left -= group.len();
            self.transact(&mut ledger, &group, life, left == 0);
        }
    }

    fn transact(&mut self, ledger: &mut Ledger, group: &[(SourceHash, usize, Vec<Made>)], life: &Life, dies: bool) {
        if dies && life.marker_lost {
            return;
        }
        let before = ledger.epoch();
        let mut produced = Vec::new();
        let mut commits = Vec::new();
        for (source, to, batch) in group {
            let mut refused = Vec::new();
            let mut outcomes = Vec::new();
            for made in batch {
                let known = ledger.has(*source, made.id);
                if !known && made.refused {
                    refused.push(*made);
                } else if !known {
                    produced.push(*made);
                }
                outcomes.push((made.id, known || !made.refused));
            }
            ledger.record(*source, &outcomes);
            commits.push((*source, *to, refused, ledger.settled(before)));
        }
        if !produced.is_empty() {
            let marker = ledger.encode(7);
            produced.iter().for_each(|made| *self.kafka.entry((made.source, made.id)).or_default() += 1);
            self.marker = Some((before + 1, marker));
            ledger.committed();
            if let Some(last) = commits.last_mut() {
                last.3 = ledger.settled(ledger.epoch());
            }
        }
        let stored = if dies { life.stored_of_last.min(commits.len()) } else { commits.len() };
        for (source, to, refused, settled) in commits.into_iter().take(stored) {
            self.next.insert(source, to);
            self.settled = settled;
            refused.iter().for_each(|made| *self.dead.entry((made.source, made.id)).or_default() += 1);
        }
    }
}

fn outputs() -> impl Strategy<Value = BTreeMap<SourceHash, Vec<Made>>> {
    let of_record = prop::collection::vec(prop::bool::weighted(0.3), 0..4);
    let of_source = prop::collection::vec((1..5_u64, of_record), 1..25);
    prop::collection::vec(of_source, 1..4).prop_map(|sources| {
        let mut all = BTreeMap::new();
        for (source, records) in (0..).zip(sources) {
            let mut offset = 0;
            let made: &mut Vec<Made> = all.entry(source).or_default();
            for (step, refused) in records {
                offset += step;
                let of = |(ordinal, refused)| Made { source, id: Id { offset, ordinal }, refused };
                made.extend((0..).zip(refused).map(of));
            }
        }
        all
    })
}

fn lives() -> impl Strategy<Value = Vec<(Life, usize)>> {
    let life = (1..12_usize, 1..5_usize, 1..8_usize, 0..4_usize, prop::bool::weighted(0.2));
    let life = life.prop_map(|(batch, group, batches, stored_of_last, marker_lost)| Life {
        batch,
        group,
        batches,
        stored_of_last,
        marker_lost,
    });
    prop::collection::vec((life, 0..5_usize), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn each_output_is_delivered_or_dead_exactly_once(inputs in outputs(), lives in lives()) {
        let mut world = World::default();
        for (life, turn) in &lives {
            world.live(&inputs, life, *turn);
        }
        let last = Life { batch: 5, group: 2, batches: 10_000, stored_of_last: 4, marker_lost: false };
        world.live(&inputs, &last, 0);
        for made in inputs.values().flatten() {
            let count = |of: &BTreeMap<_, u32>| of.get(&(made.source, made.id)).copied().unwrap_or(0);
            let expected = if made.refused { (0, 1) } else { (1, 0) };
            prop_assert_eq!((count(&world.kafka), count(&world.dead)), expected, "{:?}", made);
        }
    }

    #[test]
    fn markers_round_trip(batches in prop::collection::vec((0..3_u64, prop::collection::vec((1..90_u64, 0..3_u32, any::<bool>()), 1..20)), 1..10)) {
        let mut ledger = Ledger::default();
        let mut offset = 0;
        for (source, batch) in batches {
            let mut outcomes = Vec::new();
            for (step, ordinal, delivered) in batch {
                offset += step;
                outcomes.push((Id { offset, ordinal }, delivered));
            }
            ledger.record(source, &outcomes);
            let bytes = ledger.encode(9);
            let (read, nonce) = Ledger::decode(ledger.epoch() + 1, &bytes).unwrap();
            ledger.committed();
            prop_assert_eq!(nonce, 9);
            prop_assert_eq!(read.epoch(), ledger.epoch());
            // Read again and written again by the next transaction, it says the same.
            for (hash, entry) in read.entries.iter() {
                prop_assert_eq!(entry.last, ledger.entries[hash].last);
                prop_assert!(entry.holes.iter().all(|hole| ledger.entries[hash].holes.contains(hole)));
            }
        }
    }

    #[test]
    fn settled_round_trips(epoch in any::<u64>(), doubt in prop::collection::btree_set(any::<u64>(), 0..5)) {
        let settled = Settled { epoch, doubt };
        prop_assert_eq!(Settled::decode(&settled.encode()), Some(settled));
    }

    #[test]
    fn no_bytes_panic(epoch in any::<u64>(), mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        let _ = Ledger::decode(epoch, &bytes);
        let _ = Settled::decode(&Position(bytes));
    }
}

#[test]
fn what_the_store_has_committed_is_not_in_doubt() {
    let id = |offset| Id { offset, ordinal: 0 };
    let mut ledger = Ledger::default();
    ledger.record(1, &[(id(1), true), (id(2), true)]);
    let marker = ledger.encode(0);
    let again = |settled: &Settled| Ledger::open(Ledger::decode(1, &marker).map(|(ledger, _)| ledger), settled);
    assert!(again(&Settled::default()).has(1, id(2)));
    assert!(!again(&Settled { epoch: 1, ..Settled::default() }).has(1, id(2)));
    assert_eq!(again(&Settled { epoch: 9, ..Settled::default() }).epoch(), 9);
}

#[test]
fn refusals_in_a_row_take_no_room() {
    let mut ledger = Ledger::default();
    let outcomes: Vec<_> = (0..100_000).map(|offset| (Id { offset, ordinal: 0 }, offset == 99_999)).collect();
    ledger.record(1, &outcomes);
    assert!(ledger.encode(0).len() < 40);
    for (at, batch) in (1..).zip(outcomes.chunks(100)) {
        ledger.record(2, batch);
        assert_eq!(ledger.entries[&2].holes.len(), 1, "after {at} batches");
    }
    assert!(ledger.encode(0).len() < 80);
}
