//! What a sink knows to be in Kafka already, and which part of that the store may not know of yet.
//!
//! Each transaction has an epoch: 1, 2, 3 and so on. It delivers whole batches and, with them, a marker of what was
//! delivered; the commit of a transaction's last batch brings its epoch into the store. Between the two commits the process
//! may die: then the marker's epoch is higher than the store's, and what the marker names and the store does not is *in
//! doubt*: it is read again and must not be delivered again.
//!
//! The marker names, for each source, the last output that was delivered. All earlier outputs of that source are in Kafka
//! too, but for those that were refused, which it names as ranges. So it holds however the outputs are cut into
//! batches when they are read again. This file is arithmetic alone: no I/O, nothing of librdkafka.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Position;

/// The id of an output within its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The offset of the input record.
    pub offset: u64,
    /// Which of its outputs.
    pub ordinal: u32,
}

/// A source, by a hash of its name.
pub type SourceHash = u64;

/// The hash of a source's name.
pub fn hash(source: &str) -> SourceHash {
    let hash = blake3::hash(source.as_bytes());
    hash.as_bytes().first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
}

/// What was delivered of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// `None`: nothing yet; all that was seen was refused.
    last: Option<Id>,
    /// The transaction that delivered it.
    epoch: u64,
    /// Outputs up to the last one that were refused, in order.
    holes: Vec<Hole>,
}

/// Outputs of which none was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hole {
    from: Id,
    to: Id,
    epoch: u64,
}

/// What a sink has delivered, as far as it may matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// The last transaction.
    epoch: u64,
    entries: BTreeMap<SourceHash, Entry>,
    /// Sources with outputs in doubt that have not been read again yet.
    doubt: BTreeSet<SourceHash>,
}

/// What the store knows of a sink: all that was delivered up to an epoch is committed, but for what sources had in doubt
/// that were not read again by then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// The epoch.
    pub epoch: u64,
    /// Those sources.
    pub doubt: BTreeSet<SourceHash>,
}

const VERSION: u8 = 1;

impl Ledger {
    /// From the marker in Kafka and what the store has committed; either may be missing.
    pub fn open(marker: Option<Ledger>, settled: &Settled) -> Ledger {
        let mut ledger = marker.unwrap_or_default();
        let is_doubtful =
            |(hash, entry): &(&SourceHash, &Entry)| entry.epoch > settled.epoch || settled.doubt.contains(*hash);
        ledger.doubt = ledger.entries.iter().filter(is_doubtful).map(|(hash, _)| *hash).collect();
        ledger.prune(settled);
        ledger.epoch = ledger.epoch.max(settled.epoch);
        ledger
    }

    /// The last transaction.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many sources have outputs in doubt.
    pub fn in_doubt(&self) -> usize {
        self.doubt.len()
    }

    /// Whether an output is in Kafka already, of one that is read again.
    pub fn has(&self, source: SourceHash, id: Id) -> bool {
        let Some(entry) = self.entries.get(&source).filter(|_| self.doubt.contains(&source)) else { return false };
        entry.last.is_some_and(|last| id <= last) && !entry.holes.iter().any(|hole| hole.from <= id && id <= hole.to)
    }

    /// Keeps what became of a whole batch in the transaction that follows the last one: each output's id in ascending order
    /// and whether it is in Kafka now.
    pub fn record(&mut self, source: SourceHash, outcomes: &[(Id, bool)]) {
        let (Some((first, _)), Some((last, _))) = (outcomes.first(), outcomes.last()) else { return };
        let epoch = self.epoch + 1;
        let delivered = outcomes.iter().rev().find(|(_, delivered)| *delivered).map(|(id, _)| *id);
        let entry = self.entries.entry(source).or_insert(Entry { last: None, epoch, holes: Vec::new() });
        if Some(*last) >= entry.last {
            self.doubt.remove(&source);
        }
        entry.cut(*first, *last);
        entry.add_holes(outcomes, epoch);
        entry.last = entry.last.max(delivered);
        entry.epoch = epoch;
    }

    /// Says that the transaction that follows the last one was committed.
    pub fn committed(&mut self) {
        self.epoch += 1;
    }

    /// What the store is to know with the commit of the last batch of the last transaction; with an earlier batch of it,
    /// `epoch` is the one before.
    pub fn settled(&self, epoch: u64) -> Settled {
        Settled { epoch, doubt: self.doubt.clone() }
    }

    /// Forgets what the store has committed.
    pub fn prune(&mut self, settled: &Settled) {
        let keep =
            |hash: &SourceHash, doubt: &BTreeSet<SourceHash>| doubt.contains(hash) || settled.doubt.contains(hash);
        let doubt = &self.doubt;
        self.entries.retain(|hash, entry| entry.epoch > settled.epoch || keep(hash, doubt));
        for (hash, entry) in &mut self.entries {
            if !keep(hash, doubt) {
                entry.holes.retain(|hole| hole.epoch > settled.epoch);
            }
        }
    }

    /// Gives up what has been in doubt for longest. Returns whether there was anything.
    pub fn forget_oldest_doubt(&mut self) -> bool {
        let oldest =
            self.doubt.iter().min_by_key(|hash| self.entries.get(hash).map_or(0, |entry| entry.epoch)).copied();
        let Some(oldest) = oldest else { return false };
        self.doubt.remove(&oldest);
        self.entries.remove(&oldest);
        true
    }

    /// The marker of the transaction that follows the last one. `nonce` tells who wrote it.
    pub fn encode(&self, nonce: u32) -> Vec<u8> {
        let epoch = self.epoch + 1;
        let mut out = vec![VERSION];
        out.extend_from_slice(&nonce.to_le_bytes());
        for (hash, entry) in &self.entries {
            // What lies behind the last one is no hole: it was not delivered.
            let Some(last) = entry.last else { continue };
            out.extend_from_slice(&hash.to_le_bytes());
            push_id(&mut out, last, 0);
            push_number(&mut out, epoch - entry.epoch);
            let holes: Vec<&Hole> = entry.holes.iter().filter(|hole| hole.from <= last).collect();
            push_number(&mut out, holes.len() as u64);
            let mut before = 0;
            for hole in holes {
                push_id(&mut out, hole.from, before);
                push_id(&mut out, hole.to, hole.from.offset);
                push_number(&mut out, epoch - hole.epoch);
                before = hole.to.offset;
            }
        }
        out
    }

    /// Reads the marker of a transaction: what it says, and who wrote it. `None`: it is no marker.
    pub fn decode(epoch: u64, bytes: &[u8]) -> Option<(Ledger, u32)> {
        let (version, rest) = bytes.split_first()?;
        let (nonce, mut rest) = rest.split_first_chunk::<4>().filter(|_| *version == VERSION)?;
        let mut entries = BTreeMap::new();
        while !rest.is_empty() {
            let (hash, behind) = rest.split_first_chunk::<8>()?;
            rest = behind;
            let last = Some(take_id(&mut rest, 0)?);
            let of_entry = epoch.checked_sub(take_number(&mut rest)?)?;
            let count = take_number(&mut rest)?;
            let (mut holes, mut before) = (Vec::new(), 0);
            for _ in 0..count {
                let from = take_id(&mut rest, before)?;
                let to = take_id(&mut rest, from.offset)?;
                holes.push(Hole { from, to, epoch: epoch.checked_sub(take_number(&mut rest)?)? });
                before = to.offset;
            }
            entries.insert(u64::from_le_bytes(*hash), Entry { last, epoch: of_entry, holes });
        }
        Some((Ledger { epoch, entries, doubt: BTreeSet::new() }, u32::from_le_bytes(*nonce)))
    }
}

impl Entry {
    /// Forgets the holes among the outputs from one to another: they are known anew.
    fn cut(&mut self, first: Id, last: Id) {
        let mut holes = Vec::with_capacity(self.holes.len());
        for hole in self.holes.drain(..) {
            if hole.to < first || hole.from > last {
                holes.push(hole);
                continue;
            }
            if let Some(to) = first.before().filter(|to| *to >= hole.from) {
                holes.push(Hole { to, ..hole });
            }
            if let Some(from) = last.after().filter(|from| *from <= hole.to) {
                holes.push(Hole { from, ..hole });
            }
        }
        self.holes = holes;
    }

    /// Adds what was refused. A hole behind all that was delivered goes on, so that refusals in a row are one hole.
    fn add_holes(&mut self, outcomes: &[(Id, bool)], epoch: u64) {
        let first = outcomes.first().map(|(id, _)| *id);
        let is_open = |hole: &Hole| Some(hole.from) > self.last && Some(hole.to) < first;
        let mut open = self.holes.pop_if(|hole| is_open(hole)).map(|hole| Hole { epoch, ..hole });
        for (id, delivered) in outcomes {
            match (&mut open, delivered) {
                (Some(_), true) => self.holes.extend(open.take()),
                (Some(hole), false) => hole.to = *id,
                (None, false) => open = Some(Hole { from: *id, to: *id, epoch }),
                (None, true) => {}
            }
        }
        self.holes.extend(open);
        self.holes.sort_by_key(|hole| hole.from);
    }
}

impl Id {
    fn after(self) -> Option<Id> {
        match self.ordinal.checked_add(1) {
            Some(ordinal) => Some(Id { ordinal, ..self }),
            None => Some(Id { offset: self.offset.checked_add(1)?, ordinal: 0 }),
        }
    }

    fn before(self) -> Option<Id> {
        match self.ordinal.checked_sub(1) {
            Some(ordinal) => Some(Id { ordinal, ..self }),
            None => Some(Id { offset: self.offset.checked_sub(1)?, ordinal: u32::MAX }),
        }
    }
}

impl Settled {
    /// As a position in the store.
    pub fn encode(&self) -> Position {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        self.doubt.iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
        Position(bytes)
    }

    /// Reads a position. `None`: it is none of a Kafka sink.
    pub fn decode(position: &Position) -> Option<Settled> {
        let (version, rest) = position.0.split_first()?;
        let (epoch, rest) = rest.split_first_chunk::<8>().filter(|_| *version == VERSION)?;
        let (hashes, rest) = rest.as_chunks::<8>();
        let doubt = hashes.iter().map(|hash| u64::from_le_bytes(*hash)).collect();
        rest.is_empty().then_some(Settled { epoch: u64::from_le_bytes(*epoch), doubt })
    }
}

fn push_id(out: &mut Vec<u8>, id: Id, base: u64) {
    push_number(out, id.offset.wrapping_sub(base));
    push_number(out, u64::from(id.ordinal));
}

fn take_id(rest: &mut &[u8], base: u64) -> Option<Id> {
    let offset = take_number(rest)?.wrapping_add(base);
    Some(Id { offset, ordinal: u32::try_from(take_number(rest)?).ok()? })
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
