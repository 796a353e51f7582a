//! The plugins that the binary carries: a ZIP archive behind the program, in the same file.
//!
//! For each there is the component, `NAME.wasm`, and machine code that was compiled from it beforehand, `NAME.cwasm`. A ZIP
//! archive is found from its end, so a program may stand before it and does not mind it; `unzip -l` lists what is there.
//! An archive needs no linker: plugins are put into a finished program, and the program is not built again when one of them
//! changes. Knows nothing of what a component does.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::catalog::PLUGIN_BYTES_MAX;
use super::engine::{Code, MachineCode};

/// The program that runs, whatever happened to the file's name since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Of zstd's levels the last before they become slow; decompression costs the same at all of them.
const COMPRESSION_LEVEL: i64 = 12;
/// Machine code takes up to eight times as much as the component.
const CODE_BYTES_MAX: u64 = 8 * PLUGIN_BYTES_MAX;

/// The plugins behind a program.
pub struct Bundle {
    program: PathBuf,
    /// `None` where the program carries none.
    archive: Option<Mutex<ZipArchive<BufReader<File>>>>,
}

impl Bundle {
    /// What this process's program carries.
    pub fn of_this_program() -> Arc<Bundle> {
        static BUNDLE: OnceLock<Arc<Bundle>> = OnceLock::new();
        let open = || {
            let program = PathBuf::from(THIS_PROGRAM);
            Arc::new(Bundle::open(&program).unwrap_or_else(|error| {
                tracing::warn!("the stock plugins cannot be read from the program's file: {error}");
                Bundle { program, archive: None }
            }))
        };
        BUNDLE.get_or_init(open).clone()
    }

    /// What a program carries; a file without an archive at its end carries nothing.
    pub fn open(program: &Path) -> io::Result<Self> {
        let archive = match ZipArchive::new(BufReader::new(File::open(program)?)) {
            Ok(archive) => Some(Mutex::new(archive)),
            Err(ZipError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            Err(_) => None,
        };
        Ok(Bundle { program: program.to_owned(), archive })
    }

    /// The file of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The names of the plugins.
    pub fn names(&self) -> BTreeSet<String> {
        let Some(archive) = &self.archive else { return BTreeSet::new() };
        let archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
        let files = archive.file_names().flatten();
        files.filter_map(|file| file.strip_suffix(".wasm").map(str::to_owned)).collect()
    }

    /// The plugin of this name; `None` where there is none.
    pub fn read(self: &Arc<Self>, name: &str) -> io::Result<Option<Code>> {
        let mut wasm = Vec::new();
        if !self.copy(&format!("{name}.wasm"), PLUGIN_BYTES_MAX, &mut wasm)? {
            return Ok(None);
        }
        let machine_code = MachineCode::Carried(self.clone(), name.to_owned());
        Ok(Some(Code { wasm: wasm.into(), machine_code: Some(machine_code) }))
    }

    /// Writes the machine code of a plugin, in pieces.
    pub(super) fn write_machine_code(&self, name: &str, out: &mut dyn Write) -> io::Result<()> {
        match self.copy(&format!("{name}.cwasm"), CODE_BYTES_MAX, out)? {
            true => Ok(()),
            false => Err(io::Error::other("the program carries none of it")),
        }
    }

    /// Copies a file of the archive, which has to match its checksum. Returns whether there is such a file.
    fn copy(&self, name: &str, bytes_max: u64, out: &mut dyn Write) -> io::Result<bool> {
        let Some(archive) = &self.archive else { return Ok(false) };
        let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match archive.by_name(name) {
            Ok(file) => file,
            Err(ZipError::FileNotFound) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let size = file.size();
        if size > bytes_max {
            return Err(io::Error::other(format!("{name}: {size} bytes, more than a plugin may have")));
        }
        io::copy(&mut file.take(bytes_max), out)?;
        Ok(true)
    }

    /// Where the program ends and the archive begins.
    fn program_bytes(&self) -> io::Result<u64> {
        match &self.archive {
            Some(archive) => Ok(archive.lock().unwrap_or_else(PoisonError::into_inner).offset()),
            None => Ok(fs::metadata(&self.program)?.len()),
        }
    }
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("program", &self.program).field("names", &self.names()).finish_non_exhaustive()
    }
}

/// Writes a program that carries these plugins, each with its machine code, and none that `program` carried. A file that
/// is at `output` is replaced in one step, also where it is the program itself.
pub fn write(program: &Bundle, plugins: &[(String, Code)], output: &Path) -> io::Result<()> {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = output.with_file_name(name);
    let written = write_new(program, plugins, &temporary).and_then(|()| fs::rename(&temporary, output));
    if written.is_err() {
        let _ = fs::remove_file(&temporary); // It may never have come to be; the first error is the one that counts.
    }
    written
}

fn write_new(program: &Bundle, plugins: &[(String, Code)], path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?;
    let mut out = BufWriter::new(file);
    let mut original = File::open(&program.program)?.take(program.program_bytes()?);
    io::copy(&mut original, &mut out)?;
    let mut archive = ZipWriter::new(io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Zstd)
        .compression_level(Some(COMPRESSION_LEVEL));
    for (name, code) in plugins {
        archive.start_file(format!("{name}.wasm"), options)?;
        archive.write_all(&code.wasm)?;
        if let Some(machine_code) = &code.machine_code {
            archive.start_file(format!("{name}.cwasm"), options)?;
            machine_code.write_to(&mut archive)?;
        }
    }
    out.write_all(archive.finish()?.get_ref())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn code(wasm: &[u8], machine_code: Option<&[u8]>) -> Code {
        let machine_code = machine_code.map(|bytes| MachineCode::Made(bytes.into()));
        Code { wasm: wasm.to_vec().into(), machine_code }
    }

    fn written(directory: &Path, plugins: &[(&str, Code)]) -> Arc<Bundle> {
        let (program, output) = (directory.join("program"), directory.join("bundled"));
        if !program.exists() {
            fs::write(&program, "the program").unwrap();
        }
        let plugins: Vec<_> = plugins.iter().map(|(name, code)| ((*name).to_owned(), code.clone())).collect();
        write(&Bundle::open(&program).unwrap(), &plugins, &output).unwrap();
        Arc::new(Bundle::open(&output).unwrap())
    }

    #[test]
    fn what_was_put_in_comes_out() {
        let directory = tempfile::tempdir().unwrap();
        let bundle = written(directory.path(), &[("a", code(b"A", Some(b"machine"))), ("b.c", code(b"BC", None))]);
        assert_eq!(bundle.names(), ["a".to_owned(), "b.c".to_owned()].into());
        let read = |name: &str| {
            let code = bundle.read(name).unwrap()?;
            Some((code.wasm.to_vec(), code.machine_code.unwrap().bytes().ok()))
        };
        assert_eq!(read("a"), Some((b"A".to_vec(), Some(b"machine".to_vec()))));
        assert_eq!(read("b.c"), Some((b"BC".to_vec(), None)));
        assert_eq!(read("b"), None);
        let bytes = fs::read(bundle.program()).unwrap();
        assert!(bytes.starts_with(b"the program"));
        assert_eq!(fs::metadata(bundle.program()).unwrap().permissions().mode() & 0o111, 0o111, "it is no program");
    }

    #[test]
    fn a_program_that_carried_others_carries_these_instead() {
        let directory = tempfile::tempdir().unwrap();
        let first = written(directory.path(), &[("a", code(&[7; 100_000], None))]);
        let again = directory.path().join("again");
        write(&first, &[("b".to_owned(), code(b"B", None))], &again).unwrap();
        let again = Bundle::open(&again).unwrap();
        assert_eq!(again.names(), ["b".to_owned()].into());
        assert_eq!(again.program_bytes().unwrap(), "the program".len() as u64);
        write(&again, &[("c".to_owned(), code(b"C", None))], again.program()).unwrap();
        assert_eq!(Bundle::open(again.program()).unwrap().names(), ["c".to_owned()].into());
    }

    #[test]
    fn a_program_without_an_archive_carries_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for content in ["", "short", &"x".repeat(200_000)] {
            let program = directory.path().join("program");
            fs::write(&program, content).unwrap();
            let bundle = Arc::new(Bundle::open(&program).unwrap());
            assert!(bundle.names().is_empty() && bundle.read("a").unwrap().is_none());
        }
        assert!(Bundle::open(&directory.path().join("missing")).is_err());
    }

    #[test]
    fn a_damaged_plugin_is_an_error_and_not_a_plugin() {
        let directory = tempfile::tempdir().unwrap();
        let incompressible: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let bundle = written(directory.path(), &[("a", code(&incompressible, None))]);
        let mut bytes = fs::read(bundle.program()).unwrap();
        bytes[1_000] ^= 1;
        fs::write(bundle.program(), bytes).unwrap();
        let bundle = Arc::new(Bundle::open(bundle.program()).unwrap());
        assert_eq!(bundle.names().len(), 1);
        assert!(bundle.read("a").is_err());
    }

    #[test]
    fn nothing_is_left_of_a_bundle_that_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, "p").unwrap();
        let output = directory.path().join("directory");
        fs::create_dir(&output).unwrap();
        fs::write(output.join("file"), "").unwrap();
        assert!(write(&Bundle::open(&program).unwrap(), &[], &output).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
