//! Holds the committed bindings to what `wit/` says.

use std::path::PathBuf;

#[test]
fn the_committed_bindings_are_what_the_wit_asks_for() {
    // Of the clone in which the test runs: another one with the same target directory may have built it.
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    let bindings = weir_bindgen::generate(&root).unwrap();
    assert!(!bindings.is_empty());
    for binding in bindings {
        assert!(binding.is_fresh(&root), "{} is stale: cargo run -p weir-bindgen", binding.path.display());
    }
}
