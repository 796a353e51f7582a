//! What `weir plugin inspect` shows of a file: also of one that would be refused, with the reason.

use serde::Serialize;

use super::engine::Engine;
use super::load::{Names, Problem, World};

/// What a component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// What it is for; `None` where it has no world of Weir.
    pub world: Option<World>,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The interfaces, functions and types that it exports.
    pub exports: Vec<String>,
    /// Bytes of the component.
    pub size: usize,
    /// The blake3 hash of the component, in hexadecimal.
    pub hash: String,
    /// Why Weir would not run it; `None` where it would.
    pub problem: Option<String>,
}

/// Looks at a component without running it. Fails only where there is nothing to see: the bytes are no component.
pub async fn inspect(engine: &Engine, name: &str, wasm: Vec<u8>) -> Result<Inspection, Problem> {
    let (size, hash) = (wasm.len(), blake3::hash(&wasm));
    let (component, _) = engine.component(name, wasm.into(), hash).await?;
    let names = Names::of(engine.wasmtime(), &component);
    let world = names.world().ok();
    let problem = engine.check(component, hash, size).err().map(|problem| problem.to_string());
    let Names { imports, exports } = names;
    Ok(Inspection { world, imports, exports, size, hash: hash.to_hex().to_string(), problem })
}
