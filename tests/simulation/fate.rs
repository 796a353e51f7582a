//! What a seed decides, and what is noted of a run.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Numbers from a seed (SplitMix64, Steele et al. 2014). Clones go on with the same sequence.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<u64>>);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(Arc::new(Mutex::new(seed)))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(*state)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// What befalls the appliances of a seed.
pub struct Fate {
    pub rng: Rng,
    calm: AtomicBool,
    trace: Mutex<DefaultHasher>,
    print: bool,
}

impl Fate {
    pub fn new(rng: Rng) -> Self {
        let print = std::env::var_os("WEIR_SIM_SEED").is_some();
        Fate { rng, calm: AtomicBool::new(false), trace: Mutex::default(), print }
    }

    /// Whether something that goes wrong so often goes wrong now.
    pub fn fault(&self, percent: u64) -> bool {
        self.rng.chance(percent) && !self.calm.load(Ordering::Relaxed)
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Whether nothing goes wrong any more.
    pub fn is_over(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn event(&self, event: impl FnOnce() -> String) {
        let event = event();
        event.hash(&mut *self.trace.lock().unwrap());
        if self.print {
            eprintln!("{event}");
        }
    }

    pub fn trace_hash(&self) -> u64 {
        self.trace.lock().unwrap().finish()
    }
}
