//! Which part of a batch to try next, while the record that makes a plugin fail is looked for.

use std::ops::Range;

/// A search that ends when every record was part of a try that succeeded, or failed alone.
#[derive(Debug)]
pub struct Bisection {
    /// The next one is the last: parts are tried in the order of their records.
    to_try: Vec<Range<usize>>,
}

impl Bisection {
    /// A search among so many records.
    pub fn of(records: usize) -> Self {
        Bisection { to_try: Vec::from_iter((records > 0).then_some(0..records)) }
    }

    /// The records to try now. `None`: the search is over.
    pub fn next_try(&mut self) -> Option<Range<usize>> {
        self.to_try.pop()
    }

    /// Has records tried next that were to be tried before, and were not.
    pub fn again(&mut self, records: Range<usize>) {
        self.to_try.push(records);
    }

    /// Takes note that a try failed: its halves come next. Returns the record to blame where it was tried alone.
    pub fn failed(&mut self, tried: Range<usize>) -> Option<usize> {
        if tried.len() <= 1 {
            return Some(tried.start);
        }
        let middle = tried.start + tried.len() / 2;
        self.to_try.extend([middle..tried.end, tried.start..middle]);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_culprit_is_found_and_each_other_record_tried_once(bad in prop::collection::vec(any::<bool>(), 0..60)) {
            let mut search = Bisection::of(bad.len());
            let (mut culprits, mut good) = (Vec::new(), Vec::new());
            while let Some(tried) = search.next_try() {
                match bad[tried.clone()].contains(&true) {
                    true => culprits.extend(search.failed(tried)),
                    false => good.extend(tried),
                }
            }
            let places = |wanted: bool| (0..bad.len()).filter(|at| bad[*at] == wanted).collect::<Vec<_>>();
            prop_assert_eq!(culprits, places(true));
            prop_assert_eq!(good, places(false));
        }
    }
}
