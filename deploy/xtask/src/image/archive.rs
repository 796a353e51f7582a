//! The image as one file, in the form of `docker save`: a compressed layer, the settings, and a list that names both.
//!
//! That form and not the one of OCI, as the settings of the latter have no health check, and every tool reads this one.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use super::root::{self, CONFIG, DATA, HOME, PLUGINS, PROGRAM, USER};
use super::tar::{self, Entry, Kind};
use crate::error::{Context, Result};
use crate::process;

/// What is said of an image.
#[derive(Debug)]
pub struct Settings {
    /// Its name and tag.
    pub tag: String,
    /// The version of Weir.
    pub version: &'static str,
    /// The commit that it is made of, where that is known.
    pub revision: Option<String>,
}

/// An image that was written.
#[derive(Debug)]
pub struct Made {
    /// The SHA-256 of its settings, which name all its content.
    pub id: String,
    /// What is sent and stored.
    pub bytes_compressed: u64,
    /// What it takes where it runs.
    pub bytes_unpacked: u64,
}

/// Writes an image of these files. `work` holds what is made on the way.
pub fn write(files: &[root::File], settings: &Settings, work: &Path, to: &Path) -> Result<Made> {
    let layer = work.join("layer.tar");
    write_tar(&layer, files.iter().map(root::File::entry))?;
    let (diff, bytes_unpacked) = (sha256(&layer)?, size(&layer)?);
    // Without the time and name that gzip would add. `--force` replaces what an earlier run left.
    process::output(Command::new("gzip").args(["--best", "--no-name", "--force"]).arg(&layer))?;
    let compressed = work.join("layer.tar.gz");
    let config = work.join("config.json");
    fs::write(&config, config_json(settings, &diff)).context(|| config.display())?;
    let id = sha256(&config)?;
    let layer_bytes = fs::read(&compressed).context(|| compressed.display())?;
    let config_bytes = fs::read(&config).context(|| config.display())?;
    let (layer_name, config_name) = (format!("{}.tar.gz", sha256(&compressed)?), format!("{id}.json"));
    let list = format!(r#"[{{"Config":"{config_name}","RepoTags":["{}"],"Layers":["{layer_name}"]}}]"#, settings.tag);
    let entry = |path, bytes| Entry { path, mode: 0o644, owner: 0, kind: Kind::File(bytes) };
    let parts = [
        entry(layer_name.as_str(), layer_bytes.as_slice()),
        entry(config_name.as_str(), config_bytes.as_slice()),
        entry("manifest.json", list.as_bytes()),
    ];
    write_tar(to, parts.into_iter())?;
    Ok(Made { id, bytes_compressed: size(to)?, bytes_unpacked })
}

fn write_tar<'a>(to: &Path, mut entries: impl Iterator<Item = Entry<'a>>) -> Result<()> {
    let mut out = BufWriter::new(File::create(to).context(|| to.display())?);
    entries.try_for_each(|entry| tar::write(&mut out, &entry)).context(|| to.display())?;
    tar::finish(&mut out).and_then(|()| out.flush()).context(|| to.display())
}

/// How the program is run, and what is known of the image.
fn config_json(settings: &Settings, diff: &str) -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let revision = settings.revision.as_ref();
    let revision = revision.map(|of| format!(r#","org.opencontainers.image.revision":"{of}""#)).unwrap_or_default();
    let version = settings.version;
    format!(
        r#"{{"architecture":"{architecture}","os":"linux","created":"1970-01-01T00:00:00Z","config":{{
"User":"{USER}:{USER}","WorkingDir":"{HOME}","Env":["PATH=/usr/bin"],
"Entrypoint":["{PROGRAM}"],"Cmd":["run","--watch","{CONFIG}","--data","{DATA}","--plugins","{PLUGINS}"],
"Volumes":{{"{DATA}":{{}}}},"StopSignal":"SIGTERM",
"Healthcheck":{{"Test":["CMD","{PROGRAM}","health","--data","{DATA}"],"Interval":30000000000,"Timeout":10000000000,"StartPeriod":60000000000,"Retries":3}},
"Labels":{{"org.opencontainers.image.title":"Weir","org.opencontainers.image.description":"Log records and messages through sandboxed plugins and SQL, none lost","org.opencontainers.image.version":"{version}","org.opencontainers.image.licenses":"Apache-2.0"{revision}}}}},
"rootfs":{{"type":"layers","diff_ids":["sha256:{diff}"]}},"history":[{{"created":"1970-01-01T00:00:00Z","created_by":"cargo xtask image"}}]}}"#
    )
}

fn sha256(path: &Path) -> Result<String> {
    let printed = process::output(Command::new("sha256sum").arg("--binary").arg(path))?;
    Ok(printed.split_whitespace().next().unwrap_or_default().to_owned())
}

fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).context(|| path.display())?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an image is known by does not depend on when and where it was made.
    #[test]
    fn the_same_files_give_the_same_bytes() {
        let program = Path::new("/bin/true");
        let directory = std::env::temp_dir().join(format!("weir-image-{}", std::process::id()));
        let make = |name: &str, tag: &str| {
            let work = directory.join(name);
            fs::create_dir_all(&work).unwrap();
            let settings = Settings { tag: tag.to_owned(), version: "1", revision: Some("abc".to_owned()) };
            let made = write(&root::files(program).unwrap(), &settings, &work, &work.join("image.tar")).unwrap();
            (made.id, fs::read(work.join("image.tar")).unwrap())
        };
        let ((first, bytes), (second, again), (tagged, other)) =
            (make("a", "weir:1"), make("b", "weir:1"), make("c", "weir:2"));
        fs::remove_dir_all(&directory).unwrap();
        assert!(first == second && bytes == again);
        assert!(first == tagged && bytes != other, "the tag is no part of the image, but of the archive");
    }

    #[test]
    fn what_is_said_of_an_image_is_json_with_and_without_a_commit() {
        for revision in [None, Some("abc-dirty".to_owned())] {
            let text = config_json(&Settings { tag: String::new(), version: "1", revision }, "00");
            let balance = |open: char, close: char| text.matches(open).count() == text.matches(close).count();
            assert!(balance('{', '}') && balance('[', ']') && text.matches('"').count().is_multiple_of(2), "{text}");
            assert!(!text.contains(",,") && !text.contains(",}"), "{text}");
        }
    }
}
