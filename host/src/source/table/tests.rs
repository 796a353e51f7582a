//! Versions of a file, as they are given out.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::config::TableFormat;
use crate::field::FieldPath;
use crate::source::Disposition;

struct Bench(TempDir);

impl Bench {
    fn new(text: &str) -> Self {
        let bench = Bench(TempDir::new().unwrap());
        bench.write(text);
        bench
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("hosts.ndjson")
    }

    /// Replaces the file, as editors do.
    fn write(&self, text: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn open(&self, position: Option<&Position>, mode: Mode) -> Result<TableReader, Error> {
        let settings = TableSource {
            path: self.path(),
            format: TableFormat::Ndjson,
            key: Some(FieldPath::new("k")),
            bytes_max: 100,
            scan: Duration::from_millis(10),
        };
        TableReader::open("hosts", &settings, position, mode, true)
    }
}

fn rows(chunk: &Chunk) -> Vec<String> {
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let first = chunk.records.get(0).unwrap();
    assert!(first.key.is_none() && first.value.is_none());
    assert!(first.headers_raw.ends_with(REPLACE.as_bytes()));
    chunk.records.iter().skip(1).map(|record| text(record.key) + text(record.value).as_str()).collect()
}

#[tokio::test]
async fn a_table_is_read_once_for_each_version() {
    let bench = Bench::new("{\"k\":1}\n{\"k\":2}\n");
    let mut reader = bench.open(None, Mode::Follow).unwrap();
    assert!(!reader.is_caught_up());
    let first = reader.next().await.unwrap().unwrap();
    assert_eq!(rows(&first), [r#"1{"k":1}"#, r#"2{"k":2}"#]);
    assert!(reader.is_caught_up());
    let next = async |reader: &mut TableReader| {
        let next = tokio::time::timeout(Duration::from_millis(200), reader.next());
        next.await.ok().map(|next| next.unwrap().unwrap())
    };
    assert!(next(&mut reader).await.is_none());
    // The same text again is no new version; a text that cannot be read is none either.
    bench.write("{\"k\":1}\n{\"k\":2}\n");
    assert!(next(&mut reader).await.is_none());
    bench.write("{\"k\":3}\n{\"k\"");
    assert!(next(&mut reader).await.is_none());
    std::fs::remove_file(bench.path()).unwrap();
    assert!(next(&mut reader).await.is_none());
    bench.write("{\"k\":3}\n");
    let second = next(&mut reader).await.unwrap();
    assert_eq!(rows(&second), [r#"3{"k":3}"#]);
    assert_ne!(first.source, second.source);

    let mut again = bench.open(Some(&first.position), Mode::Drain).unwrap();
    assert_eq!(rows(&again.next().await.unwrap().unwrap()), [r#"3{"k":3}"#]);
    assert!(again.next().await.unwrap().is_none());
    assert!(bench.open(Some(&second.position), Mode::Drain).unwrap().next().await.unwrap().is_none());
}

#[test]
fn what_cannot_be_read_at_the_start_stops() {
    let refused = |bench: &Bench| {
        let error = bench.open(None, Mode::Follow).err().unwrap();
        assert_eq!(error.disposition, Disposition::Stop);
        error.to_string().replace(&bench.path().display().to_string(), "FILE")
    };
    let bench = Bench::new("{\"k\":1}\n{}\n");
    assert_eq!(refused(&bench), "FILE: line 2: the value has not the field k");
    bench.write(&"{\"k\":1}\n".repeat(13));
    assert_eq!(refused(&bench), "FILE: it has 104 bytes, and `bytes_max` is 100");
    std::fs::remove_file(bench.path()).unwrap();
    assert_eq!(refused(&bench), "FILE: No such file or directory (os error 2)");
}
