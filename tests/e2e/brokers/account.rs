//! Compares what was sent with what came out: nothing missing, nothing that was not sent, order per key. Knows nothing of
//! brokers.

use std::collections::{BTreeMap, BTreeSet};

use crate::services::Sent;

/// As in `clients.py`: a number's key is its remainder.
pub const KEYS: u64 = 24;

/// What came out, held against what was sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    /// Confirmed numbers that did not come out.
    pub missing: Vec<u64>,
    /// Numbers that came out and were never sent.
    pub strange: Vec<u64>,
    /// How many came out more than once, each counted as often as it was too many.
    pub doubled: usize,
    /// Pairs of one key of which the later number came out first, by their first appearances.
    pub swapped: Vec<(u64, u64)>,
}

impl Account {
    /// `streams` are the places where the order holds: the partitions of a topic, or one queue.
    pub fn of(sent: &Sent, streams: &[Vec<u64>]) -> Self {
        let came: BTreeSet<u64> = streams.iter().flatten().copied().collect();
        let known: BTreeSet<u64> = sent.confirmed.iter().chain(&sent.maybe).copied().collect();
        let mut missing: Vec<u64> = sent.confirmed.iter().copied().filter(|n| !came.contains(n)).collect();
        missing.sort_unstable();
        Account {
            missing,
            strange: came.difference(&known).copied().collect(),
            doubled: streams.iter().map(Vec::len).sum::<usize>() - came.len(),
            swapped: streams.iter().flat_map(|numbers| swapped(numbers)).collect(),
        }
    }
}

fn swapped(numbers: &[u64]) -> Vec<(u64, u64)> {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for number in numbers.iter().copied().filter(|number| seen.insert(*number)) {
        let last = last.entry(number % KEYS).or_insert(number);
        if number < *last {
            found.push((*last, number));
        } else {
            *last = number;
        }
    }
    found
}

mod tests {
    use super::*;

    fn sent(confirmed: &[u64], maybe: &[u64]) -> Sent {
        Sent { confirmed: confirmed.to_vec(), maybe: maybe.to_vec() }
    }

    #[test]
    fn an_even_account_is_empty() {
        let account = Account::of(&sent(&[0, 1, 24, 25], &[48, 49]), &[vec![0, 24, 48], vec![1, 25]]);
        assert_eq!(account, Account { missing: vec![], strange: vec![], doubled: 0, swapped: vec![] });
    }

    #[test]
    fn what_is_missing_strange_doubled_or_swapped_is_named() {
        let account = Account::of(&sent(&[0, 1, 24, 2], &[]), &[vec![24, 0, 24, 24], vec![1, 7]]);
        assert_eq!(account, Account { missing: vec![2], strange: vec![7], doubled: 2, swapped: vec![(24, 0)] });
    }

    #[test]
    fn a_repetition_of_what_came_before_swaps_nothing() {
        let account = Account::of(&sent(&[0, 24, 48], &[]), &[vec![0, 24, 0, 24, 48]]);
        assert_eq!((account.doubled, account.swapped), (2, vec![]));
    }
}
