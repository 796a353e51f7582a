//! What the compiler says to who uses the SDK wrongly: its first line says what to do.
//!
//! `TRYBUILD=overwrite cargo test -p weir-plugin --test wrong_use` takes over what it says now.

#[test]
fn the_compiler_says_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/wrong_use/*.rs");
}
