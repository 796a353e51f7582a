//! A type that implements no trait of the SDK is exported.

struct Nothing;

weir_plugin::export!(Nothing);

fn main() {}
