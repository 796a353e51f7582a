//! Machine code for other machines than this one: what a bundle carries, so that a first start compiles nothing.

use std::path::PathBuf;

use super::cache::Cache;
use super::engine::{Code, EngineError, MachineCode, settings, settings_hash};
use super::load::{LoadError, Problem, check_kind};

/// What the code may use of an x86-64 processor: level 3 of its psABI, which servers have had since 2013 to 2017. A
/// processor that lacks one of these refuses the code, and compiles the component itself.
const X86_64_V3: [&str; 11] = [
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_bmi1",
    "has_bmi2",
    "has_lzcnt",
    "has_fma",
];

/// Compiles components for any machine of this one's architecture.
pub struct Precompiler {
    wasmtime: wasmtime::Engine,
    cache: Option<Cache>,
}

impl Precompiler {
    /// Sets up the compiler. What it has compiled is kept in `cache_dir`, where one is given.
    pub fn new(cache_dir: Option<PathBuf>) -> Result<Self, EngineError> {
        let failed = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let mut config = settings();
        // Of a target that is named nothing is taken for granted but the architecture.
        config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH)).map_err(failed)?;
        if cfg!(target_arch = "x86_64") {
            for flag in X86_64_V3 {
                // SAFETY: wasmtime asks that flags do not change what code means. These name instructions that may be used;
                // wasmtime refuses to load the code on a processor that does not have them.
                #[allow(unsafe_code)]
                unsafe {
                    config.cranelift_flag_enable(flag);
                }
            }
        }
        let wasmtime = wasmtime::Engine::new(&config).map_err(failed)?;
        let cache = cache_dir.map(|directory| Cache::new(directory, settings_hash(&wasmtime)));
        Ok(Precompiler { wasmtime, cache })
    }

    /// Adds its machine code to a component. Takes as long as the compiler does: seconds for a large one.
    pub fn compile(&self, name: &str, wasm: Vec<u8>) -> Result<Code, LoadError> {
        let key = self.cache.as_ref().map(|cache| (cache, cache.key(&blake3::hash(&wasm))));
        let kept = key.and_then(|(cache, key)| cache.read(key).ok().flatten());
        let machine_code = match kept {
            Some(kept) => kept,
            None => {
                let machine_code = self.precompile(name, &wasm)?;
                if let Some((cache, key)) = key
                    && let Err(error) = cache.write(key, |out| out.write_all(&machine_code))
                {
                    tracing::warn!(plugin = name, "the compiled plugin cannot be kept for the next time: {error}");
                }
                machine_code
            }
        };
        Ok(Code { wasm: wasm.into(), machine_code: Some(MachineCode::Made(machine_code.into())) })
    }

    fn precompile(&self, name: &str, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
        let refused = |problem| LoadError { plugin: name.to_owned(), problem };
        check_kind(wasm).map_err(refused)?;
        let invalid = |error: wasmtime::Error| refused(Problem::Invalid(error.root_cause().to_string()));
        self.wasmtime.precompile_component(wasm).map_err(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Engine;
    use std::path::Path;

    /// The smallest component: the magic, version 13, layer 1.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    async fn is_precompiled(code: Code, cache: Option<PathBuf>) -> bool {
        let hash = blake3::hash(&code.wasm);
        Engine::new(cache).unwrap().component("empty", code, hash).await.unwrap().1
    }

    fn files(directory: &Path) -> usize {
        std::fs::read_dir(directory).map_or(0, |files| files.count())
    }

    #[tokio::test]
    async fn its_machine_code_is_run_and_compiled_once() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        let compile = || Precompiler::new(Some(cache.clone())).unwrap().compile("empty", EMPTY.to_vec()).unwrap();
        let (first, second) = (compile(), compile());
        assert_eq!(files(&cache), 1);
        assert_eq!(
            second.machine_code.unwrap().bytes().unwrap(),
            first.machine_code.as_ref().unwrap().bytes().unwrap()
        );
        assert!(is_precompiled(first, None).await);
    }

    #[tokio::test]
    async fn machine_code_that_came_along_is_mapped_from_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        let code = Precompiler::new(None).unwrap().compile("empty", EMPTY.to_vec()).unwrap();
        assert!(is_precompiled(code, Some(cache.clone())).await);
        assert_eq!(files(&cache), 1);
        assert!(is_precompiled(EMPTY.into(), Some(cache)).await);
    }

    #[tokio::test]
    async fn machine_code_that_does_not_fit_is_passed_over() {
        for machine_code in [b"".as_slice(), b"\x7fELF", &[0; 4096]] {
            let machine_code = Some(MachineCode::Made(machine_code.into()));
            assert!(!is_precompiled(Code { wasm: EMPTY.into(), machine_code }, None).await);
        }
    }

    #[test]
    fn what_is_no_component_is_refused() {
        let error = Precompiler::new(None).unwrap().compile("text", b"hello".to_vec()).unwrap_err();
        assert_eq!((error.plugin.as_str(), error.problem), ("text", Problem::NotWasm));
    }
}
