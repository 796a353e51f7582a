//! Pipeline files and plugins that are mounted as Kubernetes mounts a ConfigMap: each is a link to `..data/NAME`, and `..data` is
//! a link that is led elsewhere when the content changes. No file that Weir names is ever written.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::Bench;
use crate::reload::{plugin, version};

/// Makes the content of a mount what is given, in the one step that the kubelet does it in.
fn mount(bench: &Bench, name: &str, generation: usize, files: &[(&str, &[u8])]) {
    let directory = bench.path(name);
    let fresh = directory.join(format!("..2026_11_22.{generation}"));
    fs::create_dir_all(&fresh).unwrap();
    for (file, bytes) in files {
        fs::write(fresh.join(file), bytes).unwrap();
    }
    symlink(fresh.file_name().unwrap(), directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    for (file, _) in files {
        let link = directory.join(file);
        if link.symlink_metadata().is_err() {
            symlink(format!("..data/{file}"), link).unwrap();
        }
    }
    if let Some(before) = generation.checked_sub(1) {
        fs::remove_dir_all(directory.join(format!("..2026_11_22.{before}"))).unwrap();
    }
}

fn append(bench: &Bench, text: &str) {
    use std::io::Write as _;
    let mut file = fs::File::options().append(true).open(bench.path("in.txt")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn what_a_config_map_is_changed_to_is_taken_up() {
    let bench = Bench::new();
    let settings = format!(
        "version: 1\nsources: {{ in: {{ type: file, path: {} }} }}\n\
         pipelines: {{ pass: {{ from: in, steps: [versioned], to: out }} }}\n\
         sinks: {{ out: {{ type: file, path: {} }} }}\n",
        bench.path("in.txt").display(),
        bench.path("out.txt").display(),
    );
    bench.write("in.txt", "a\n");
    mount(&bench, "etc", 0, &[("weir.yaml", settings.as_bytes())]);
    mount(&bench, "plugins", 0, &[("versioned.wasm", &version("good", 1))]);
    let mut weir = bench.start(&["--watch", "etc", "--plugins", "plugins", "--data", "data"]);
    weir.until("a line", || bench.lines("out.txt") == ["a 00000001"]);
    // A plugin that changes.
    mount(&bench, "plugins", 1, &[("versioned.wasm", &version("good", 2))]);
    let said = |what: &str| bench.lines("weir.log").iter().filter(|line| line.contains(what)).count();
    weir.until("the new version", || {
        append(&bench, "b\n");
        bench.lines("out.txt").iter().any(|line| line == "b 00000002")
    });
    // A pipeline file that changes, and a plugin that comes with it.
    let passthrough = plugin("passthrough");
    mount(&bench, "plugins", 2, &[("versioned.wasm", &version("good", 2)), ("passthrough.wasm", &passthrough)]);
    let changed =
        settings.replace("steps: [versioned]", "steps: [versioned, passthrough]").replace("out.txt", "more.txt");
    mount(&bench, "etc", 1, &[("weir.yaml", changed.as_bytes())]);
    weir.until("a line elsewhere", || {
        append(&bench, "c\n");
        bench.lines("more.txt").iter().any(|line| line == "c 00000002")
    });
    assert_eq!(said("panicked"), 0);
    assert_eq!(weir.terminate(), 0);
    // Each line went to one of the two files, once.
    let sent = bench.lines("in.txt").len();
    assert!(bench.lines("out.txt").len() + bench.lines("more.txt").len() <= sent);
}
