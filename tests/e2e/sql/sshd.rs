//! A log of an SSH server: a real one where `WEIR_SSHD_LOG` names it, else one that is made up in the form of loghub's OpenSSH_2k, which
//! is not ours to hand on: CRLF between the lines and none behind the last one, and each kind of message as often as there.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::harness::Bench;

/// How often each kind of message comes; `{h}` is a host's address, `{n}` its name, `{p}` a port, `{u}` a user.
const KINDS: [(u32, &str); 31] = [
    (413, "Received disconnect from {h}: 11: Bye Bye [preauth]"),
    (192, "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={h}  user=root"),
    (192, "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={n}  user=backup"),
    (383, "Failed password for root from {h} port {p} ssh2"),
    (135, "pam_unix(sshd:auth): check pass; user unknown"),
    (134, "Failed password for invalid user {u} from {h} port {p} ssh2"),
    (112, "Invalid user {u} from {h}"),
    (112, "input_userauth_request: invalid user {u} [preauth]"),
    (110, "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={h} "),
    (85, "reverse mapping checking getaddrinfo for {n} [{h}] failed - POSSIBLE BREAK-IN ATTEMPT!"),
    (45, "error: Received disconnect from {h}: 14: No more user authentication methods available. [preauth]"),
    (34, "Connection closed by {h} [preauth]"),
    (10, "Did not receive identification string from {h}"),
    (7, "PAM service(sshd) ignoring max retries; 6 > 3"),
    (7, "Received disconnect from {h}: 11: Closed due to user request. [preauth]"),
    (6, "PAM 4 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost={h} "),
    (4, "Failed none for invalid user {u} from {h} port {p} ssh2"),
    (2, "message repeated 5 times: [ Failed password for root from {h} port {p} ssh2]"),
    (2, "Disconnecting: Too many authentication failures for root [preauth]"),
    (2, "PAM 5 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost={n}  user=root"),
    (2, "error: Received disconnect from {h}: 3: com.jcraft.jsch.JSchException: Auth fail [preauth]"),
    (2, "PAM 1 more authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={h} "),
    // Whoever guesses sends a space as part of the name, too.
    (1, "Invalid user  0101 from {h}"),
    (1, "input_userauth_request: invalid user  0101 [preauth]"),
    (1, "Failed password for invalid user  0101 from {h} port {p} ssh2"),
    (1, "Accepted password for anna from {h} port {p} ssh2"),
    (1, "pam_unix(sshd:session): session opened for user anna by (uid=0)"),
    (1, "Received disconnect from {h}: 11: disconnected by user"),
    (1, "pam_unix(sshd:session): session closed for user anna"),
    (1, "Disconnecting: Too many authentication failures for admin [preauth]"),
    (1, "fatal: Write failed: Connection reset by peer [preauth]"),
];

const USERS: [&str; 8] = ["admin", "oracle", "0", "test", "pi", "ubnt", "support", "user"];

/// Writes the log into a file of a bench. Says where it is from.
pub fn write(bench: &Bench, name: &str) -> String {
    match std::env::var_os("WEIR_SSHD_LOG") {
        Some(path) => {
            fs::copy(&path, bench.path(name)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            format!("{}", path.display())
        }
        None => {
            bench.write(name, &made_up());
            "a made-up log".to_owned()
        }
    }
}

/// How many lines of a file hold a text, as `grep` counts them; all of them with an empty one.
pub fn grep(bench: &Bench, name: &str, text: &str) -> u64 {
    let output = Command::new("grep").args(["-c", "-F", text]).arg(bench.path(name)).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn made_up() -> String {
    let mut kinds: Vec<&str> = KINDS.iter().flat_map(|(count, kind)| vec![*kind; *count as usize]).collect();
    let mut seed = 42_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for at in (1..kinds.len()).rev() {
        kinds.swap(at, random(at + 1));
    }
    let mut lines = Vec::new();
    for (n, kind) in kinds.iter().enumerate() {
        let second = 24_900 + 7 * n;
        let host = random(250) + 1;
        let message = kind
            .replace("{h}", &format!("203.0.113.{host}"))
            .replace("{n}", &format!("{host}.113.0.203.dynamic.example.net"))
            .replace("{p}", &(32_768 + random(28_000)).to_string())
            .replace("{u}", USERS[random(USERS.len())]);
        let mut line = format!("Dec 10 {:02}:{:02}:{:02} gate ", second / 3_600, second / 60 % 60, second % 60);
        write!(line, "sshd[{}]: {message}", 24_200 + n / 3).unwrap();
        lines.push(line);
    }
    lines.join("\r\n")
}
