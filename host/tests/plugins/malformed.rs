//! Files that are no plugins, or are broken: modules and components made at random, and a real plugin with bytes changed, cut
//! or in another order. Each is refused in words, or is a plugin; none takes the host with it.

use std::time::{Duration, Instant};

use weir::plugin::Engine;
use weir::plugin::load::Problem;

use crate::guests::{built, engine, resident_bytes};

/// `WEIR_MALFORMED=N` sets how many.
const FILES: u64 = 1_000;
/// What one file may take: far more than it does, as the machine may be busy.
const TIME_MAX: Duration = Duration::from_secs(30);
/// What all of them may add to the memory of the process.
const MEMORY_MAX: usize = 1 << 30;

fn random(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut random);
    random
}

fn module(seed: u64) -> Vec<u8> {
    let random = random(seed, 4_096);
    let mut input = arbitrary::Unstructured::new(&random);
    wasm_smith::Module::new(wasm_smith::Config::default(), &mut input).unwrap().to_bytes()
}

/// A component around a module that may be anything.
fn wrapped(seed: u64) -> Vec<u8> {
    let module = module(seed);
    let mut component = b"\0asm\x0d\0\x01\0\x01".to_vec();
    let mut length = module.len();
    while length >= 0x80 {
        component.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    component.push(length as u8);
    component.extend(module);
    component
}

/// The plugin with some of its bytes changed.
fn changed(plugin: &[u8], seed: u64) -> Vec<u8> {
    let mut changed = plugin.to_vec();
    for change in random(seed, 64).chunks_exact(8).take(1 + seed as usize % 8) {
        let at = u32::from_le_bytes(change[..4].try_into().unwrap()) as usize % changed.len();
        // Most of a plugin is code; what stands in front says what the rest is.
        let at = if change[4].is_multiple_of(2) { at } else { at % 512 };
        changed[at] ^= change[5] | 1;
    }
    changed
}

/// What became of a file.
async fn load(engine: &Engine, file: Vec<u8>) -> Option<Problem> {
    engine.load("malformed", file).await.err().map(|error| error.problem)
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_files_are_refused_in_bounded_time_and_memory() {
    let files = std::env::var("WEIR_MALFORMED").map_or(FILES, |files| files.parse().unwrap());
    let (engine, plugin, before) = (engine(), built("passthrough"), resident_bytes());
    let (mut refused, mut slowest) = ([0; 6], Duration::ZERO);
    for seed in 0..files {
        let kind = (seed % 6) as usize;
        let file = match kind {
            0 => module(seed),
            1 => wrapped(seed),
            2 => changed(&plugin, seed),
            3 => plugin[..random(seed, 4).iter().fold(0, |at, byte| at << 8 | usize::from(*byte)) % plugin.len()]
                .to_vec(),
            4 => [&plugin[..8], &random(seed, 1_000)].concat(),
            _ => random(seed, 1_000),
        };
        let begun = Instant::now();
        let loaded = tokio::time::timeout(TIME_MAX, load(&engine, file)).await;
        let problem = loaded.unwrap_or_else(|_| panic!("file {seed} took more than {TIME_MAX:?}"));
        slowest = slowest.max(begun.elapsed());
        let is_expected = match (kind, &problem) {
            (0, Some(Problem::CoreModule)) | (5, Some(Problem::NotWasm)) => true,
            (1 | 4, Some(Problem::Invalid(_) | Problem::NoWorld { .. })) => true,
            // Where all was well by chance, or what was changed is no more than a name or a number.
            (2, _) | (3, Some(Problem::Invalid(_) | Problem::NotWasm)) => true,
            _ => false,
        };
        assert!(is_expected, "file {seed} of kind {kind}: {problem:?}");
        assert!(!problem.as_ref().is_some_and(|problem| problem.to_string().is_empty()));
        refused[kind] += u64::from(problem.is_some());
    }
    let grown = resident_bytes().saturating_sub(before);
    println!(
        "{files} malformed files: refused {refused:?} (modules, wrapped modules, changed, cut, random behind the magic, random); the slowest took {slowest:?}; memory grew by {} MiB",
        grown >> 20
    );
    assert!(refused[2] > 0 && grown < MEMORY_MAX, "{refused:?}, {grown} bytes");
}
