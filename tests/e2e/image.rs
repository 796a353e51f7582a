//! The container image, as podman runs it: with a root file system that nothing can be written to, as a user without rights,
//! with pipeline files, plugins and data mounted. The storage of podman is the test's own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Bench, PATIENCE, free_port, machine_code, tell};
use crate::reload::{plugin, version};
use crate::services::{run, xtask};

const IMAGE: &str = "localhost/weir:test";
const NAME: &str = "weir";
/// Records a second.
const RATE: u64 = 2_000;
/// How long the appliance drains where something holds it up.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);
/// What a test image is at the most, in bytes: with a program that is not optimised it is larger than what users get.
const COMPRESSED_BYTES_MAX: u64 = 100 << 20;

/// Nothing can be written to beside the data, and nothing may be done that needs a right.
const CONFINED: [&str; 4] =
    ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"];
/// More than these limits is not to be had where a container runs within another.
const MACHINE: [&str; 3] = ["--network=host", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];

/// A podman with images and containers of its own.
struct Podman {
    bench: Bench,
}

impl Podman {
    fn new() -> Self {
        let bench = Bench::new();
        for name in ["config", "plugins"] {
            fs::create_dir(bench.path(name)).unwrap();
        }
        Podman { bench }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut podman = Command::new("podman");
        // Where no systemd runs, checks of health are asked for by hand.
        podman.env("DISABLE_HC_SYSTEMD", "true").arg("--root").arg(self.bench.path("storage"));
        podman.arg("--runroot").arg(self.bench.path("runroot")).args(["--storage-driver=vfs"]);
        podman.args(["--cgroup-manager=cgroupfs", "--runtime=runc", "--events-backend=none"]).args(arguments);
        podman
    }

    fn run(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments)).trim().to_owned()
    }

    /// Runs a command in the container: its exit code, and what it said.
    fn exec(&self, arguments: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(&[&["exec", NAME], arguments].concat()).output().unwrap();
        (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    fn inspect(&self, what: &str) -> String {
        self.run(&["inspect", NAME, "--format", what])
    }

    fn mounts(&self) -> [String; 2] {
        let mount = |name: &str, at: &str| format!("--volume={}:{at}:ro", self.bench.path(name).display());
        [mount("config", "/etc/weir"), mount("plugins", "/var/lib/weir/plugins")]
    }

    /// Starts the appliance, as the README says.
    fn start(&self) {
        let [config, plugins] = self.mounts();
        let mounts = [&config, &plugins, "--volume=data:/var/lib/weir/data", "--stop-timeout=45", IMAGE];
        let begin = ["run", "--detach", "--rm=false", "--name", NAME];
        self.run(&[&begin[..], &CONFINED, &MACHINE, &mounts].concat());
    }

    /// Runs the image to its end: the exit code, and what it said.
    fn run_once(&self, options: &[&str], arguments: &[&str]) -> (i32, String) {
        let all = [&["run", "--rm"][..], &CONFINED, &MACHINE, options, &[IMAGE], arguments].concat();
        let Output { status, stdout, stderr } = self.command(&all).output().unwrap();
        (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    /// Stops it as its host does, and returns the exit code.
    fn stop(&self) -> i32 {
        self.run(&["stop", NAME]);
        self.inspect("{{.State.ExitCode}}").parse().unwrap()
    }

    /// The data volume, from outside.
    fn data(&self) -> PathBuf {
        self.run(&["volume", "inspect", "data", "--format", "{{.Mountpoint}}"]).into()
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            let said = || self.command(&["logs", NAME]).output().unwrap();
            assert!(Instant::now() < deadline, "{what} did not come in {PATIENCE:?}: {:?}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the processes of the container hold in memory: that of files which they share, as the program's, and their own.
    fn memory(&self) -> u64 {
        let pid = self.inspect("{{.State.Pid}}");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    fn drop_in(&self, wasm: &[u8]) {
        let (new, path) = (self.bench.path("plugins/versioned.new"), self.bench.path("plugins/versioned.wasm"));
        fs::write(&new, wasm).unwrap();
        fs::rename(new, path).unwrap();
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Its mounts and processes go with it, and then its directory can.
        let _ = self.command(&["rm", "--force", "--volumes", "--time=0", "--ignore", NAME]).output();
        let _ = self.command(&["volume", "rm", "--force", "data"]).output();
        let _ = self.command(&["rmi", "--force", "--all"]).output();
    }
}

/// Makes the image of the program that is tested; gives the archive.
fn image(bench: &Bench) -> PathBuf {
    let archive = bench.path("image.tar");
    let mut image = xtask();
    image.args(["image", "--tag", "weir:test", "--program", env!("CARGO_BIN_EXE_weir"), "--cache"]).arg(machine_code());
    run(image.arg("--to").arg(&archive));
    archive
}

/// As volumes are mounted that are in memory, unless one says otherwise.
fn runs_where_data_may_not_be_executed(podman: &Podman) {
    podman.bench.write("config/weir.yaml", DEMO);
    podman.drop_in(&version("good", 7));
    let [config, plugins] = podman.mounts();
    let options = [&config, &plugins, "--tmpfs=/elsewhere:rw,noexec,mode=1777"];
    let arguments = ["run", "--once", "/etc/weir", "--data", "/elsewhere", "--plugins", "/var/lib/weir/plugins"];
    let (code, said) = podman.run_once(&options, &arguments);
    assert!(code == 0 && said.matches(" 00000007\n").count() == 3, "{code}: {said}");
}

const DEMO: &str = "
version: 1
sources: { in: { type: demo, count: 3 } }
pipelines: { pass: { from: in, steps: [versioned], to: out } }
sinks: { out: { type: stdout } }
";

const PIPELINES: &str = "
version: 1
sources: { in: { type: syslog, tcp: '127.0.0.1:PORT' } }
pipelines: { pass: { from: in, steps: [versioned], to: out } }
sinks: { out: { type: file, path: /var/lib/weir/data/out.txt } }
";

/// Sends numbered lines until told to end or until nobody listens; gives how many were written.
fn send(port: u16, from: u64, is_over: &AtomicBool) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (begun, mut next) = (Instant::now(), from);
    while !is_over.load(Ordering::Relaxed) {
        let due = from + begun.elapsed().as_millis() as u64 * RATE / 1_000;
        let lines: String = (next..due).map(|n| format!("<13>Dec 10 06:55:46 host app: n{n}\n")).collect();
        if stream.write_all(lines.as_bytes()).is_err() {
            break;
        }
        next = due;
        std::thread::sleep(Duration::from_millis(10));
    }
    next
}

/// The numbers of the records that were written, in their order, and the versions that wrote them.
fn written(data: &Path) -> (Vec<u64>, BTreeSet<String>) {
    let Ok(file) = fs::File::open(data.join("out.txt")) else { return Default::default() };
    let (mut numbers, mut versions) = (Vec::new(), BTreeSet::new());
    for line in BufReader::new(file).lines() {
        let line = line.unwrap();
        // A last line without its end is still being written.
        let Some((text, version)) = line.rsplit_once(' ').filter(|(_, version)| version.len() == 8) else { break };
        numbers.push(text.rsplit_once(" n").unwrap().1.parse().unwrap());
        versions.insert(version.to_owned());
    }
    (numbers, versions)
}

/// Waits until all is written that the appliance has accepted; gives how many records that were, before one that is sent now.
fn all_accepted(podman: &Podman, data: &Path, port: u16) -> Vec<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("<13>Dec 10 06:55:46 host app: n{LAST}\n").as_bytes()).unwrap();
    podman.until("the last record", || written(data).0.last() == Some(&LAST));
    let mut numbers = written(data).0;
    numbers.pop();
    // In the stream that it was received into it has the number of those before it: none is missing in the file.
    let from = numbers.len().to_string();
    let (code, said) = podman.exec(&["/usr/bin/weir", "tap", "in", "--from", &from, "--limit", "1"]);
    assert!(code == 0 && said.contains(&format!("n{LAST}")), "{code}: {said}");
    numbers
}

/// The number of the record that comes behind all others.
const LAST: u64 = 999_999_999;

#[test]
fn the_image_runs_confined_takes_up_plugins_and_drains_when_it_is_stopped() {
    let (podman, port) = (Podman::new(), free_port());
    let archive = image(&podman.bench);
    let compressed = fs::metadata(&archive).unwrap().len();
    podman.run(&["load", "--quiet", "--input", archive.to_str().unwrap()]);
    let (code, said) = podman.run_once(&[], &[]);
    assert!(code == 64 && said.contains("/etc/weir has 0 files"), "{code}: {said}");
    runs_where_data_may_not_be_executed(&podman);
    podman.bench.write("config/weir.yaml", &PIPELINES.replace("PORT", &port.to_string()));
    podman.drop_in(&version("good", 1));
    podman.start();
    let data = podman.data();
    podman.until("that it is well", || podman.exec(&["/usr/bin/weir", "health"]).0 == 0);
    assert_eq!(podman.exec(&["/usr/bin/weir", "health"]), (0, "1 pipeline runs\n".into()));
    podman.run(&["healthcheck", "run", NAME]);
    assert_eq!(podman.inspect("{{.Config.User}}"), "65532:65532");
    let idle = podman.memory();

    // A plugin that is copied in while records come takes the place of the one before.
    let is_over = Arc::new(AtomicBool::new(false));
    let sender = std::thread::spawn({
        let is_over = is_over.clone();
        move || send(port, 0, &is_over)
    });
    podman.until("records by the first version", || written(&data).1.contains("00000001"));
    podman.drop_in(&version("good", 2));
    podman.until("records by the second version", || written(&data).1.contains("00000002"));
    // So is a pipeline file that changes, with a plugin that it asks for.
    fs::write(podman.bench.path("plugins/passthrough.wasm"), plugin("passthrough")).unwrap();
    let more = PIPELINES.replace("steps: [versioned]", "steps: [versioned, passthrough]");
    podman.bench.write("config/weir.yaml", &more.replace("PORT", &port.to_string()));
    podman.until("the new step", || podman.exec(&["/usr/bin/weir", "reload"]) == (0, "pass  unchanged\n".into()));
    podman.drop_in(&version("good", 3));
    podman.until("records by the third version", || written(&data).1.contains("00000003"));

    // It is stopped under load: what it has accepted is written once, and there is no hole. What waits in the stream that it
    // was received into is written after the next start.
    let begun = Instant::now();
    assert_eq!(podman.stop(), 0);
    let (stopped_in, sent) = (begun.elapsed(), sender.join().unwrap());
    // A sender that goes on does not make it use all of the time that draining may take.
    assert!(stopped_in < DRAIN_TIME_MAX, "{stopped_in:?}");
    let at_stop = written(&data).0.len() as u64;
    podman.run(&["start", NAME]);
    podman.until("that it is well again", || podman.exec(&["/usr/bin/weir", "health"]).0 == 0);
    let numbers = all_accepted(&podman, &data, port);
    let accepted = numbers.len() as u64;
    assert!(numbers.iter().copied().eq(0..accepted), "{accepted} records are not the first of those that were sent");
    assert!(accepted > 0 && accepted <= sent, "{accepted} accepted of {sent}");
    assert_eq!(podman.stop(), 0);
    is_over.store(true, Ordering::Relaxed);
    let mb = |bytes: u64| bytes as f64 / 1e6;
    tell(format_args!(
        "image of this build {:.1} MB compressed, {:.1} MB resident when idle; stopped under load in {:.1} s with exit code 0: of {sent} \
         records sent {accepted} were accepted, {at_stop} of them written by then and all of them by the next start, each once",
        mb(compressed),
        mb(idle),
        stopped_in.as_secs_f64(),
    ));
    assert!(compressed < COMPRESSED_BYTES_MAX);
}
