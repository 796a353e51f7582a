//! Files that are made to be too much: for the disk, the compiler, or the pool of instances.

use serde_json::json;
use weir::plugin::load::Problem;
use weir::plugin::{Answer, Factory, Failure, StartError};

use crate::guests::{Runs as _, Text, answering, batch, engine, factory, limits, load, resident_bytes};

const HUNDRED_MB: usize = 100 << 20;

/// A number as WebAssembly writes lengths.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A section without a meaning, of zeroes.
fn custom_section(bytes: usize) -> Vec<u8> {
    let name = b"\x07padding";
    let mut section = vec![0];
    section.extend(leb128(name.len() + bytes));
    section.extend(name);
    section.resize(section.len() + bytes, 0);
    section
}

#[tokio::test]
async fn a_hundred_megabytes_are_no_trouble() {
    let before = resident_bytes();
    let padded = [answering(""), custom_section(HUNDRED_MB)].concat();
    let plugin = load(padded).await;
    assert!(plugin.size() > HUNDRED_MB);
    let factory = plugin.transform(crate::guests::context(), json!({}), limits()).unwrap();
    let (mut instance, _) = factory.start_transform().await.unwrap();
    assert_eq!(instance.run(&batch(&["a"])).await.unwrap().answer, Answer::Unchanged);
    drop((instance, factory, plugin));

    let zeroes = [b"\0asm\x0d\0\x01\0".to_vec(), vec![0; HUNDRED_MB]].concat();
    let refused = engine().load("guest", zeroes).await.unwrap_err();
    assert!(matches!(refused.problem, Problem::Invalid(_)), "{refused}");
    assert!(refused.to_string().ends_with("it has to be built anew, or copied again if it was cut short"), "{refused}");
    assert!(resident_bytes().saturating_sub(before) < 4 * HUNDRED_MB);
}

#[tokio::test]
async fn too_much_data_is_too_much_memory() {
    let pages = HUNDRED_MB / 65_536 + 1;
    let data = format!(r#"(data (i32.const 70000) "{}")"#, "x".repeat(1 << 20));
    let wasm = Text { code: &data, pages: Some(pages as u32), ..Text::default() }.component();
    let error = factory(wasm, json!({}), limits()).await.start().await.err().unwrap();
    assert!(matches!(error, StartError::Failed(Failure::Memory { .. })), "{error:?}");
    assert!(error.to_string().contains("give the step a larger `memory_bytes_max`"), "{error}");
}

#[tokio::test]
async fn too_many_parts_are_refused() {
    let many = |count: usize, part: &str| part.repeat(count);
    let parts = [
        ("memories", 1, many(40, "(memory 1)"), "limit of 1"),
        ("tables", 1, many(40, "(table 1 funcref)"), "limit of"),
        ("core module instances", 200, String::new(), "maximum of 32"),
    ];
    for (what, instances, inside, bound) in parts {
        let instances = many(instances, "(core instance (instantiate $one))");
        let imports = format!("(core module $one {inside}) {instances}");
        let wasm = Text { imports: &imports, ..Text::default() }.component();
        let said = match engine().load("guest", wasm).await {
            Err(error) => error.to_string(),
            Ok(plugin) => {
                let factory = plugin.transform(crate::guests::context(), json!({}), limits()).unwrap();
                factory.start().await.err().unwrap_or_else(|| panic!("too many {what} start")).to_string()
            }
        };
        assert!(said.contains(what) && said.contains(bound), "{what}: {said}");
    }
}
