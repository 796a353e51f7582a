//! What deploy/ holds for those who run Weir: the unit of systemd, the files of Compose and Kubernetes, the Containerfile. Each is
//! what its reader takes, names what there is, and holds pipeline files that are right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Bench, program};
use crate::services::{Facts, clone, run};

fn path(name: &str) -> PathBuf {
    clone().join("deploy").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

/// The documents of a YAML file.
fn documents(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(name)).unwrap()
}

/// The document of a kind.
fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

/// `weir run` with these arguments knows all of them. Help is asked for behind them, so nothing runs.
fn assert_known(arguments: &[&str]) {
    let help = run(Command::new(program()).args(arguments).arg("--help"));
    assert!(help.contains("Usage: weir "), "{arguments:?}: {help}");
}

fn assert_right(file: &Path) {
    run(Command::new(program()).arg("check").arg(file));
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

const IMAGE_ARGUMENTS: [&str; 7] =
    ["run", "--watch", "/etc/weir", "--data", "/var/lib/weir/data", "--plugins", "/var/lib/weir/plugins"];

#[test]
fn arguments_that_weir_does_not_know_would_be_noticed() {
    let refused = Command::new(program()).args(["run", "--wach", "/etc/weir", "--help"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(64));
    assert_known(&IMAGE_ARGUMENTS);
}

#[test]
fn kubernetes_takes_its_files_and_weir_the_pipelines_in_them() {
    let validate = Path::new(Facts::shared().text("clients", "python")).with_file_name("kubernetes-validate");
    for file in fs::read_dir(path("kubernetes")).unwrap() {
        let said = run(Command::new(&validate).arg("--strict").arg(file.unwrap().path()));
        assert!(!said.contains("ERROR"), "{said}");
    }
    let bench = Bench::new();
    fs::create_dir(bench.path("pipelines")).unwrap();
    let pipelines = documents("kubernetes/pipelines.yaml");
    for (name, text) in of_kind(&pipelines, "ConfigMap")["data"].as_object().unwrap() {
        bench.write(&format!("pipelines/{name}"), text.as_str().unwrap());
    }
    assert_right(&bench.path("pipelines"));
    let weir = documents("kubernetes/weir.yaml");
    let pod = &of_kind(&weir, "StatefulSet")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(texts(&container["args"]), IMAGE_ARGUMENTS);
    // What the Service names, the container has; what the container mounts, the pod has.
    let names = |list: &Value, key: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|of| of[key].as_str().unwrap().to_owned()).collect()
    };
    let ports = names(&container["ports"], "name");
    let targets = names(&of_kind(&weir, "Service")["spec"]["ports"], "targetPort");
    assert!(targets.iter().all(|target| ports.contains(target)), "{targets:?} are not all in {ports:?}");
    let mut mounted = names(&container["volumeMounts"], "mountPath");
    mounted.sort();
    assert_eq!(mounted, ["/etc/weir", "/var/lib/weir/data", "/var/lib/weir/plugins"]);
    let seconds = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(seconds > 30, "the appliance drains for up to 30 s");
}

#[test]
fn compose_takes_its_file_and_weir_the_pipelines_beside_it() {
    let python = Facts::shared().text("clients", "python").to_owned();
    let read = "import compose_spec, sys\ncompose = compose_spec.PyCompose.from_yaml(open(sys.argv[1]).read())\ncompose.validate()";
    run(Command::new(&python).args(["-c", read]).arg(path("compose/compose.yaml")));
    let compose = documents("compose/compose.yaml");
    let weir = &compose[0]["services"]["weir"];
    for mount in texts(&weir["volumes"]) {
        let (source, target) = mount.split_once(':').unwrap();
        assert!(!source.starts_with("./") || path("compose").join(source).is_dir(), "{source} is missing");
        assert!(["/etc/weir:ro", "/var/lib/weir/plugins:ro", "/var/lib/weir/data"].contains(&target), "{target}");
    }
    assert_eq!(weir["build"]["dockerfile"], "deploy/container/Containerfile");
    assert_right(&path("compose/pipelines"));
}

/// The Containerfile makes the image that `cargo xtask image` makes.
#[test]
fn the_containerfile_says_what_the_image_says() {
    let containerfile = text("container/Containerfile").replace("\\\n", " ");
    let said = |instruction: &str| -> String {
        let mut lines = containerfile.lines().filter_map(|line| line.strip_prefix(instruction));
        lines.next_back().unwrap_or_else(|| panic!("no {instruction}")).trim().to_owned()
    };
    assert_eq!(serde_json::from_str::<Vec<String>>(&said("CMD ")).unwrap(), IMAGE_ARGUMENTS);
    assert_eq!(said("ENTRYPOINT "), r#"["/usr/bin/weir"]"#);
    assert_eq!(said("USER "), "65532:65532");
    assert_eq!(said("WORKDIR "), "/var/lib/weir");
    assert_eq!(said("VOLUME "), "/var/lib/weir/data");
    assert_eq!(said("STOPSIGNAL "), "SIGTERM");
    let (_, health) = said("HEALTHCHECK ").split_once("CMD").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let health: Vec<String> = serde_json::from_str(health.trim()).unwrap();
    assert_eq!(health, ["/usr/bin/weir", "health", "--data", "/var/lib/weir/data"]);
    assert_known(&health[1..].iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn systemd_takes_the_unit() {
    let unit = text("systemd/weir.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[0], "/usr/local/bin/weir");
    assert_eq!(words[1..], IMAGE_ARGUMENTS);
    // It looks whether the program is there.
    let bench = Bench::new();
    let here = unit.replace("/usr/local/bin/weir", &program().display().to_string());
    let unit = bench.write("weir.service", &here);
    let verified = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
    let said = String::from_utf8(verified.stderr).unwrap();
    // It speaks of the host's own units as well.
    assert!(verified.status.success() && !said.contains("weir.service"), "{said}");
    // Of 100, of which 100 is the worst; a unit without a word about security has 96.
    let mut security = Command::new("systemd-analyze");
    run(security.args(["security", "--offline=true", "--threshold=20"]).arg(&unit));
}
