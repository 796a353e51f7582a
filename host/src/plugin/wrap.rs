//! Makes a component of the core module that a compiler leaves, so that a plugin's author needs no linker of components.

use wit_component::ComponentEncoder;

use super::load::{Problem, check_kind};

/// The component of a core module that holds, as the SDK's bindings leave it, the type of its world. A component stays what it is.
pub fn component(wasm: Vec<u8>) -> Result<Vec<u8>, Problem> {
    match check_kind(&wasm) {
        Ok(()) => return Ok(wasm),
        Err(Problem::CoreModule) => {}
        Err(problem) => return Err(problem),
    }
    let encode = || ComponentEncoder::default().module(&wasm)?.validate(true).encode();
    encode().map_err(|error| Problem::Invalid(format!("{error:#}")))
}
