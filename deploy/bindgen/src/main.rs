//! Writes the SDK's bindings: `cargo run -p weir-bindgen`, after a change in `wit/`. Also helps other languages than Rust to
//! a component; see the usage.

use std::path::Path;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
weir-bindgen                        writes the bindings of the SDK anew
weir-bindgen c WORLD DIRECTORY      writes the C bindings of a world: transform, stateful-transform or sink
weir-bindgen component MODULE FILE  makes a component of a module that was linked with bindings of a world";

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => weir_bindgen::generate(&root)?.iter().try_for_each(|binding| binding.write(&root)),
        ["c", world, directory] => weir_bindgen::component::write_c(&root.join("wit"), world, Path::new(directory)),
        ["component", module, file] => {
            let bytes = std::fs::read(module).with_context(|| format!("cannot read {module}"))?;
            let component =
                weir_bindgen::component::encode(&bytes).with_context(|| format!("{module} is no plugin"))?;
            std::fs::write(file, component).with_context(|| format!("cannot write {file}"))
        }
        _ => bail!("expected one of these, got {arguments:?}\n{USAGE}"),
    }
}
