//! The files of the image: the program, the libraries that the loader asks for, whom to trust, and where things are mounted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tar::{Entry, Kind};
use crate::error::{Context, Error, Result};
use crate::process;

/// The user that the program runs as, as in other images without a shell: nobody's number on the host.
pub const USER: u32 = 65532;
/// Where pipeline files are mounted.
pub const CONFIG: &str = "/etc/weir";
/// The working directory of the commands in the container.
pub const HOME: &str = "/var/lib/weir";
/// Where plugins are mounted.
pub const PLUGINS: &str = "/var/lib/weir/plugins";
/// Where the data is mounted.
pub const DATA: &str = "/var/lib/weir/data";
/// The program.
pub const PROGRAM: &str = "/usr/bin/weir";

/// Whom to trust in TLS: where programs look for it on any system.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A file of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is, from the root on.
    path: String,
    mode: u32,
    owner: u32,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Directory,
    Bytes(Vec<u8>),
    Link(String),
}

impl File {
    /// As it is in an archive.
    pub fn entry(&self) -> Entry<'_> {
        let kind = match &self.content {
            Content::Directory => Kind::Directory,
            Content::Bytes(bytes) => Kind::File(bytes),
            Content::Link(target) => Kind::Link(target),
        };
        Entry { path: self.path.trim_start_matches('/'), mode: self.mode, owner: self.owner, kind }
    }

    fn new(path: &str, mode: u32, owner: u32, content: Content) -> Self {
        File { path: path.to_owned(), mode, owner, content }
    }

    fn directory(path: &str) -> Self {
        File::new(path, 0o755, 0, Content::Directory)
    }

    fn text(path: &str, text: &str) -> Self {
        File::new(path, 0o644, 0, Content::Bytes(text.into()))
    }

    fn copy(path: &str, mode: u32, source: &Path) -> Result<Self> {
        let bytes = fs::read(source).context(|| source.display())?;
        Ok(File::new(path, mode, 0, Content::Bytes(bytes)))
    }
}

/// All files, in the order in which they can be made.
pub fn files(program: &Path) -> Result<Vec<File>> {
    let mut files = fixed();
    files.push(File::copy(PROGRAM, 0o755, program)?);
    files.push(File::copy(CERTIFICATES, 0o644, Path::new(CERTIFICATES))?);
    for library in libraries(program)? {
        files.push(File::copy(&library, 0o755, Path::new(&library))?);
    }
    Ok(with_parents(files))
}

/// Makes the files below a directory, which is made where it is missing. Owners are those of whoever runs this.
pub fn write(files: &[File], directory: &Path) -> Result<()> {
    for file in files {
        let path = directory.join(file.path.trim_start_matches('/'));
        match &file.content {
            Content::Directory => fs::create_dir_all(&path).context(|| path.display())?,
            Content::Bytes(bytes) => fs::write(&path, bytes).context(|| path.display())?,
            Content::Link(target) => {
                symlink(target, &path).context(|| path.display())?;
                continue;
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).context(|| path.display())?;
    }
    Ok(())
}

/// What is the same for each program.
fn fixed() -> Vec<File> {
    let mount_points = ["/dev", "/proc", "/run", "/sys", CONFIG, PLUGINS];
    let mut files: Vec<File> = mount_points.into_iter().map(File::directory).collect();
    files.extend([
        File::new("/tmp", 0o1777, 0, Content::Directory),
        File::new(HOME, 0o755, USER, Content::Directory),
        File::new(DATA, 0o755, USER, Content::Directory),
        // Where the commands look for a running appliance unless they are told: `weir health` needs no more words.
        File::new("/var/lib/weir/weir-data", 0o777, 0, Content::Link("data".to_owned())),
        File::text(
            "/etc/passwd",
            &format!("root:x:0:0:root:/root:/sbin/nologin\nweir:x:{USER}:{USER}:Weir:{HOME}:/sbin/nologin\n"),
        ),
        File::text("/etc/group", &format!("root:x:0:\nweir:x:{USER}:\n")),
        File::text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ]);
    files
}

/// The libraries that the loader takes for a program, and the loader, by their paths.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let listed = process::output(Command::new("ldd").arg(program))?;
    let libraries: Vec<String> = listed.lines().filter_map(library).map(str::to_owned).collect();
    match listed.lines().find(|line| line.contains("not found")) {
        Some(missing) => Err(Error::new(format_args!("{}: {}", program.display(), missing.trim()))),
        None => Ok(libraries),
    }
}

/// The path in a line of `ldd`: `libc.so.6 => /lib/libc.so.6 (0x1)` or `/lib64/ld.so (0x1)`. The kernel's own has none.
fn library(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
}

/// With the directories that are in between, sorted: parents come first.
fn with_parents(mut files: Vec<File>) -> Vec<File> {
    let mut parents = Vec::new();
    for file in &files {
        let above = Path::new(&file.path).ancestors().skip(1).filter(|path| path.parent().is_some());
        parents.extend(above.map(PathBuf::from));
    }
    parents.sort();
    parents.dedup();
    for parent in parents {
        let path = parent.to_string_lossy();
        if !files.iter().any(|file| file.path == path) {
            files.push(File::directory(&path));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        assert_eq!(
            library("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)"),
            Some("/lib/x86_64-linux-gnu/libc.so.6")
        );
        assert_eq!(library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)"), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(library("\tlibx.so => not found"), None);
    }

    #[test]
    fn each_file_comes_after_the_directory_that_it_is_in() {
        let files = files(&std::env::current_exe().unwrap()).unwrap();
        for (at, file) in files.iter().enumerate() {
            let parent = Path::new(&file.path).parent().unwrap().to_string_lossy();
            let is_made = files[..at].iter().any(|other| other.path == parent && other.content == Content::Directory);
            assert!(parent == "/" || is_made, "{} has no directory", file.path);
        }
        let libc = files.iter().filter(|file| file.path.ends_with("/libc.so.6")).count();
        assert_eq!(libc, 1, "this program needs libc, and so it is there once");
    }
}
