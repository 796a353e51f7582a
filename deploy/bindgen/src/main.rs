//! Writes the SDK's bindings: `cargo run -p weir-bindgen`, after a change in `wit/`.

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    weir_bindgen::generate(&root)?.iter().try_for_each(|binding| binding.write(&root))
}
