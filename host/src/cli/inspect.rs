//! `weir plugin inspect`: what a WebAssembly file is, and whether Weir would run it.

use std::io::Write;
use std::path::PathBuf;

use super::{EXIT_CONFIG, EXIT_UNAVAILABLE};
use crate::plugin::Engine;
use crate::plugin::inspect::{Inspection, inspect};

/// What `weir plugin inspect` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct InspectArgs {
    /// A plugin
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Prints what the file is. Gives the exit code: 0 where Weir would run it, 78 where it would not, 69 where there is no
/// such file.
pub async fn run(args: InspectArgs) -> u8 {
    show(&args, &mut std::io::stdout(), &mut std::io::stderr()).await
}

async fn show(args: &InspectArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let file = args.file.display();
    let mut fail = |code, text: &dyn std::fmt::Display| {
        // Where nobody reads, there is nobody to tell.
        let _ = writeln!(err, "weir: {text}");
        code
    };
    let wasm = match tokio::fs::read(&args.file).await {
        Ok(wasm) => wasm,
        Err(error) => return fail(EXIT_UNAVAILABLE, &format_args!("{file}: {error}")),
    };
    let engine = match Engine::new(None) {
        Ok(engine) => engine,
        Err(error) => return fail(EXIT_UNAVAILABLE, &error),
    };
    let name = args.file.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let inspection = match inspect(&engine, &name, wasm).await {
        Ok(inspection) => inspection,
        Err(problem) => return fail(EXIT_CONFIG, &format_args!("{file}: {problem}")),
    };
    let text = if args.json { json(&inspection) } else { human(&inspection) };
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if inspection.problem.is_some() { EXIT_CONFIG } else { 0 }
}

fn json(inspection: &Inspection) -> String {
    // Text and numbers have a JSON form.
    serde_json::to_string(inspection).unwrap_or_default() + "\n"
}

fn human(inspection: &Inspection) -> String {
    let Inspection { world, imports, exports, size, hash, problem } = inspection;
    let world = world.map_or_else(|| "none of Weir".to_owned(), |world| world.to_string());
    let size = format!("{size} bytes");
    let mut rows = vec![("world", world.as_str()), ("size", &size), ("hash", hash)];
    rows.extend(listed("imports", imports));
    rows.extend(listed("exports", exports));
    rows.extend(problem.iter().map(|problem| ("problem", problem.as_str())));
    rows.iter().map(|(name, value)| format!("{name:<9}{value}\n")).collect()
}

/// One row a name; the title stands before the first.
fn listed<'a>(title: &'a str, names: &'a [String]) -> Vec<(&'a str, &'a str)> {
    if names.is_empty() {
        return vec![(title, "nothing")];
    }
    names.iter().enumerate().map(|(at, name)| (if at == 0 { title } else { "" }, name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::World;

    async fn shown(file: PathBuf, json: bool) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = show(&InspectArgs { file, json }, &mut out, &mut err).await;
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn inspection() -> Inspection {
        Inspection {
            world: Some(World::Transform),
            imports: vec!["weir:plugin/log@0.1.0".into(), "weir:plugin/types@0.1.0".into()],
            exports: vec!["weir:plugin/step@0.1.0".into()],
            size: 1234,
            hash: "00ff".into(),
            problem: None,
        }
    }

    #[test]
    fn a_plugin_is_shown_as_rows() {
        assert_eq!(
            human(&inspection()),
            "world    transform\n\
             size     1234 bytes\n\
             hash     00ff\n\
             imports  weir:plugin/log@0.1.0\n         weir:plugin/types@0.1.0\n\
             exports  weir:plugin/step@0.1.0\n"
        );
        let refused =
            Inspection { world: None, imports: vec![], problem: Some("it has no world".into()), ..inspection() };
        let text = human(&refused);
        assert!(text.starts_with("world    none of Weir\n") && text.contains("imports  nothing\n"), "{text}");
        assert!(text.ends_with("problem  it has no world\n"), "{text}");
    }

    #[test]
    fn json_has_the_same_fields() {
        let value: serde_json::Value = serde_json::from_str(&json(&inspection())).unwrap();
        assert_eq!((&value["world"], &value["size"]), (&"transform".into(), &1234.into()));
        assert_eq!(value["exports"], serde_json::json!(["weir:plugin/step@0.1.0"]));
    }

    #[tokio::test]
    async fn a_component_that_is_no_plugin_is_shown_with_its_problem() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("empty.wasm");
        // The smallest component: the magic, version 13, layer 1.
        std::fs::write(&file, b"\0asm\x0d\0\x01\0").unwrap();
        let (code, out, err) = shown(file, true).await;
        assert_eq!((code, err.as_str()), (78, ""));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&value["world"], &value["size"]), (&serde_json::Value::Null, &8.into()));
        assert!(value["problem"].as_str().unwrap().contains("no world of Weir"), "{out}");
    }

    #[tokio::test]
    async fn what_is_no_component_or_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("text.wasm");
        std::fs::write(&file, "hello").unwrap();
        let (code, out, err) = shown(file, false).await;
        assert_eq!((code, out.as_str()), (78, ""));
        assert!(err.contains("text.wasm: it is not WebAssembly"), "{err}");
        let (code, _, err) = shown(directory.path().join("missing.wasm"), false).await;
        assert_eq!(code, 69);
        assert!(err.contains("missing.wasm: No such file"), "{err}");
    }
}
