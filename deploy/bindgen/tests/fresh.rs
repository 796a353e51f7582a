//! Holds the committed bindings to what `wit/` says.

use std::path::Path;

#[test]
fn the_committed_bindings_are_what_the_wit_asks_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let bindings = weir_bindgen::generate(&root).unwrap();
    assert!(!bindings.is_empty());
    for binding in bindings {
        assert!(binding.is_fresh(&root), "{} is stale: cargo run -p weir-bindgen", binding.path.display());
    }
}
