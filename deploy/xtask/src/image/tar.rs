//! Archives in the ustar format (POSIX.1-1988), the one that everybody reads: written in order, without times or names of users.

use std::io::{self, Write};

/// All numbers and texts of an entry's header, and the padding of its content, come to multiples of this.
const BLOCK: usize = 512;
/// Bytes of a name that a header has room for.
const NAME_BYTES_MAX: usize = 100;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A directory.
    Directory,
    /// A file and its content.
    File(&'a [u8]),
    /// A symbolic link and where it leads.
    Link(&'a str),
}

/// A file of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The path, without a slash at its beginning or end.
    pub path: &'a str,
    /// The permissions.
    pub mode: u32,
    /// The number of the user, and of the group.
    pub owner: u32,
    /// What it is.
    pub kind: Kind<'a>,
}

/// Writes an entry. Its time is the beginning of 1970.
pub fn write(out: &mut impl Write, entry: &Entry<'_>) -> io::Result<()> {
    let (flag, content, target) = match entry.kind {
        Kind::Directory => (b'5', &[][..], ""),
        Kind::File(content) => (b'0', content, ""),
        Kind::Link(target) => (b'2', &[][..], target),
    };
    let slash = if entry.kind == Kind::Directory { "/" } else { "" };
    let mut header = Vec::with_capacity(BLOCK);
    text(&mut header, &format!("{}{slash}", entry.path), NAME_BYTES_MAX)?;
    for number in [entry.mode, entry.owner, entry.owner] {
        text(&mut header, &format!("{number:07o}"), 8)?;
    }
    text(&mut header, &format!("{:011o}", content.len()), 12)?;
    text(&mut header, "00000000000", 12)?;
    let checksum_at = header.len();
    // The checksum counts itself as blanks.
    text(&mut header, "        ", 8)?;
    header.push(flag);
    text(&mut header, target, NAME_BYTES_MAX)?;
    header.extend_from_slice(b"ustar\x0000");
    header.resize(BLOCK, 0);
    let checksum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let digits = format!("{checksum:06o}\0 ");
    header.splice(checksum_at..checksum_at + digits.len(), digits.bytes());
    out.write_all(&header)?;
    out.write_all(content)?;
    out.write_all(&vec![0; content.len().next_multiple_of(BLOCK) - content.len()])
}

/// Writes what an archive ends with.
pub fn finish(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// Appends a text and zeros up to a width.
fn text(header: &mut Vec<u8>, text: &str, width: usize) -> io::Result<()> {
    if text.len() > width {
        let wrong = format!("`{text}` has {} bytes, and an archive has room for {width}", text.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, wrong));
    }
    let end = header.len() + width;
    header.extend_from_slice(text.as_bytes());
    header.resize(end, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// What `tar` says of an archive.
    fn listed(archive: &[u8]) -> String {
        let mut tar = Command::new("tar");
        tar.args(["--list", "--verbose", "--numeric-owner", "--utc", "--file=-"]);
        let mut tar = tar.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(archive).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_written_is_what_tar_reads() {
        let mut archive = Vec::new();
        let entries = [
            Entry { path: "etc", mode: 0o755, owner: 0, kind: Kind::Directory },
            Entry { path: "etc/a", mode: 0o4640, owner: 65532, kind: Kind::File(&[b'x'; 513]) },
            Entry { path: "etc/b", mode: 0o777, owner: 0, kind: Kind::Link("a") },
        ];
        entries.iter().for_each(|entry| write(&mut archive, entry).unwrap());
        finish(&mut archive).unwrap();
        let expected = "drwxr-xr-x 0/0 0 1970-01-01 00:00 etc/ \
                        -rwSr----- 65532/65532 513 1970-01-01 00:00 etc/a \
                        lrwxrwxrwx 0/0 0 1970-01-01 00:00 etc/b -> a";
        assert_eq!(listed(&archive), expected);
        assert_eq!(archive.len(), 3 * BLOCK + 2 * BLOCK + 2 * BLOCK);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        let path = "a".repeat(NAME_BYTES_MAX + 1);
        let error = write(&mut Vec::new(), &Entry { path: &path, mode: 0, owner: 0, kind: Kind::Link("a") });
        assert!(error.unwrap_err().to_string().ends_with("has 101 bytes, and an archive has room for 100"));
    }
}
