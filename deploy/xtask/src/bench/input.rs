//! The lines that all programs read: generated, or those of a file repeated. The last one is kept by all of them, so that
//! its arrival in the output says that everything was read.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use crate::error::{Context, Error, Result};

/// The text that the job keeps.
pub const KEPT: &str = "Invalid user";

/// What stands in the last line and nowhere else.
pub const LAST: &str = "weir-end-of-input";

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Lines in all.
    pub lines: u64,
    /// Lines that contain [`KEPT`].
    pub kept: u64,
}

/// Writes at least `lines` lines and the last one.
pub fn write(path: &Path, lines: u64, original: Option<&Path>) -> Result<Input> {
    let file = File::create(path).context(|| path.display())?;
    let mut out = BufWriter::new(file);
    let mut input = Input { lines: 0, kept: 0 };
    match original {
        Some(original) => repeat(&mut out, lines, original, &mut input)?,
        None => generate(&mut out, lines, &mut input).context(|| path.display())?,
    }
    let last = format!("Dec 10 11:04:45 gate sshd[25539]: {KEPT} {LAST} from 192.0.2.1");
    put(&mut out, last.as_bytes(), &mut input).context(|| path.display())?;
    out.flush().context(|| path.display())?;
    Ok(input)
}

fn repeat(out: &mut impl Write, lines: u64, original: &Path, input: &mut Input) -> Result<()> {
    while input.lines < lines {
        let before = input.lines;
        let file = File::open(original).context(|| original.display())?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.context(|| original.display())?;
            put(out, line.strip_suffix(b"\r").unwrap_or(&line), input).context(|| original.display())?;
        }
        if input.lines == before {
            return Err(Error::new(format_args!("{}: expected lines, found none", original.display())));
        }
    }
    Ok(())
}

fn put(out: &mut impl Write, line: &[u8], input: &mut Input) -> std::io::Result<()> {
    input.lines += 1;
    input.kept += u64::from(line.windows(KEPT.len()).any(|window| window == KEPT.as_bytes()));
    out.write_all(line)?;
    out.write_all(b"\n")
}

/// Lines as sshd writes them under attack, about one in eighteen of them kept, as in logs of real hosts. The same every
/// time.
fn generate(out: &mut impl Write, lines: u64, input: &mut Input) -> std::io::Result<()> {
    let mut random = Random(0x5eed);
    for number in 0..lines {
        let second = number / 12;
        let time = format!(
            "Dec {:>2} {:02}:{:02}:{:02}",
            10 + second / 86_400 % 20,
            second / 3_600 % 24,
            second / 60 % 60,
            second % 60
        );
        let pid = 24_000 + random.below(9_000);
        let address = format!("203.0.113.{}", 1 + random.below(250));
        let port = 1_024 + random.below(60_000);
        let user =
            ["admin", "oracle", "test", "git", "webmaster", "support"].get(random.below(6) as usize).unwrap_or(&"pi");
        let text = match random.below(18) {
            0 => format!("{KEPT} {user} from {address}"),
            1 => format!("input_userauth_request: invalid user {user} [preauth]"),
            2 | 3 => "pam_unix(sshd:auth): check pass; user unknown".to_owned(),
            4..8 => format!(
                "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={address}  user=root"
            ),
            8 | 9 => format!("Failed password for invalid user {user} from {address} port {port} ssh2"),
            10..14 => format!("Failed password for root from {address} port {port} ssh2"),
            14 => format!(
                "reverse mapping checking getaddrinfo for host-{port}.example.net [{address}] failed - POSSIBLE BREAK-IN ATTEMPT!"
            ),
            15 => format!("Connection closed by {address} [preauth]"),
            _ => format!("Received disconnect from {address}: 11: Bye Bye [preauth]"),
        };
        put(out, format!("{time} gate sshd[{pid}]: {text}").as_bytes(), input)?;
    }
    Ok(())
}

/// Steele and others' SplitMix64: small, and the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_to_string(lines: u64, original: Option<&str>) -> (Input, String) {
        let name = std::thread::current().name().unwrap().replace("::", "-");
        let path = std::env::temp_dir().join(format!("weir-input-{}-{name}", std::process::id()));
        let source = path.with_extension("original");
        if let Some(text) = original {
            std::fs::write(&source, text).unwrap();
        }
        let input = write(&path, lines, original.map(|_| source.as_path())).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _ = std::fs::remove_file(&source);
        (input, text)
    }

    #[test]
    fn generated_lines_are_the_same_every_time_and_counted_as_grep_counts() {
        let (input, text) = write_to_string(3_000, None);
        assert_eq!(input.lines, 3_001);
        assert_eq!(text.lines().count(), 3_001);
        assert_eq!(text.lines().filter(|line| line.contains(KEPT)).count() as u64, input.kept);
        assert!((100..300).contains(&input.kept), "{input:?}");
        assert!(text.lines().last().unwrap().contains(LAST));
        assert_eq!(write_to_string(3_000, None).1, text);
    }

    #[test]
    fn a_file_is_repeated_with_and_without_its_last_newline() {
        let (input, text) = write_to_string(5, Some("a\r\nInvalid user b"));
        assert_eq!(input, Input { lines: 7, kept: 4 });
        assert!(text.starts_with("a\nInvalid user b\na\n"), "{text}");
    }
}
