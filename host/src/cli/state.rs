//! `weir state`: shows the tables of keyed state, and moves them from one data directory to another.
//!
//! Where an appliance runs with the directory it is asked, through its control socket; where none runs, the store is opened.

use std::io::{BufRead as _, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{EXIT_STORAGE, EXIT_UNAVAILABLE, EXIT_USAGE, say};
use crate::api::client::{self, Lines as Answer};
use crate::api::socket;
use crate::api::state::Lines;
use crate::state::view::{self, TableView, Wanted};
use crate::store::embedded::EmbeddedStore;
use crate::store::{self, Store};

/// The lines that are made ahead of being printed.
const LINES_AHEAD: usize = 256;

/// What `weir state` is to do.
#[derive(Debug, clap::Subcommand)]
pub enum StateCommand {
    /// Lists the tables of all pipelines.
    Ls {
        /// Tables too that plugins keep for themselves
        #[arg(long)]
        all: bool,
        /// Where the state is
        #[command(flatten)]
        data: Data,
    },
    /// Prints entries of a table, a JSON object a line: all, those of a key, or those whose key begins with a text.
    Get {
        /// The table: PIPELINE/TABLE, or PIPELINE/STEP/TABLE
        table: String,
        /// The key, written as `weir state get` shows it; bytes in base64
        key: Option<String>,
        /// Entries whose key begins so
        #[arg(long, value_name = "TEXT", conflicts_with = "key")]
        prefix: Option<String>,
        /// One partition alone
        #[arg(long, value_name = "N")]
        partition: Option<u32>,
        /// End after so many entries
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Where the state is
        #[command(flatten)]
        data: Data,
    },
    /// Writes all that pipelines remember, and how far they have read, to standard output.
    Export {
        /// The pipelines; all of them, without a name
        pipelines: Vec<String>,
        /// Where the state is
        #[command(flatten)]
        data: Data,
    },
    /// Takes in what `weir state export` wrote, from standard input. No appliance may run with the directory.
    Import {
        /// What the pipelines have goes first
        #[arg(long)]
        replace: bool,
        /// Where the state is
        #[command(flatten)]
        data: Data,
    },
}

/// Where the state is.
#[derive(Debug, clap::Args)]
pub struct Data {
    /// The data directory
    #[arg(long = "data", value_name = "DIR", default_value = "weir-data")]
    directory: PathBuf,
}

impl Data {
    /// The data directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    View(#[from] view::Error),
    #[error("there is no data directory {0}")]
    NoDirectory(PathBuf),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Error::View(error.into())
    }
}

impl Error {
    fn code(&self) -> u8 {
        match self {
            Error::View(view::Error::Wrong(_)) | Error::Client(client::Error::Refused(_)) => EXIT_USAGE,
            Error::View(view::Error::Store(error)) if error.is_fatal() => EXIT_STORAGE,
            _ => EXIT_UNAVAILABLE,
        }
    }
}

/// Does it. Gives the exit code.
pub async fn run(command: StateCommand) -> u8 {
    let mut out = BufWriter::new(std::io::stdout());
    let done = match command {
        StateCommand::Ls { all, data } => ls(&data.directory, all, &mut out).await,
        StateCommand::Get { table, key, prefix, partition, limit, data } => {
            get(&data.directory, &table, Wanted { key, prefix, partition, limit }, &mut out).await
        }
        StateCommand::Export { pipelines, data } => export(&data.directory, pipelines, &mut out).await,
        StateCommand::Import { replace, data } => import(&data.directory, replace).await,
    };
    match done.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => 0,
        Err(Error::Io(error)) if error.kind() == ErrorKind::BrokenPipe => 0,
        Err(error) => {
            say(&format!("weir: {error}"));
            error.code()
        }
    }
}

/// The store of a directory where no appliance runs.
fn open(data: &Path) -> Result<Arc<EmbeddedStore>, Error> {
    if !data.is_dir() {
        return Err(Error::NoDirectory(data.to_owned()));
    }
    Ok(Arc::new(EmbeddedStore::open(data)?))
}

fn is_nobody(error: &client::Error) -> bool {
    matches!(error, client::Error::Socket(socket::Error::NotRunning(_)))
}

async fn ls(data: &Path, all: bool, out: &mut impl Write) -> Result<(), Error> {
    let views = match client::tables(data, all).await {
        Err(error) if is_nobody(&error) => view::tables(&*open(data)?.snapshot().await?, all).await?,
        answer => answer?,
    };
    if views.is_empty() {
        say("no pipeline has any tables yet");
    }
    let path = |view: &TableView| format!("{}/{}/{}", view.pipeline, view.step, view.table);
    let width = views.iter().map(|view| path(view).len()).max().unwrap_or(0).max("table".len());
    writeln!(out, "{:width$}  {:8}  {:8}  {:>10}  partitions", "table", "key", "value", "ttl")?;
    for view in &views {
        let word = |format| serde_json::to_value(format).ok().and_then(|word| word.as_str().map(str::to_owned));
        let (key, value) = (word(view.key).unwrap_or_default(), word(view.value).unwrap_or_default());
        let ttl =
            view.ttl_ms.map_or_else(|| "-".to_owned(), |ms| format!("{:?}", std::time::Duration::from_millis(ms)));
        let partitions = view.partitions.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        writeln!(out, "{:width$}  {key:8}  {value:8}  {ttl:>10}  {partitions}", path(view))?;
    }
    Ok(())
}

async fn get(data: &Path, table: &str, wanted: Wanted, out: &mut impl Write) -> Result<(), Error> {
    match client::entries(data, table, &wanted).await {
        Err(error) if is_nobody(&error) => {
            let snapshot = open(data)?.snapshot().await?;
            let view = view::find(&*snapshot, table).await?;
            print_made(Lines::Entries(view, wanted), snapshot, out).await
        }
        answer => print(answer?, out).await,
    }
}

async fn export(data: &Path, pipelines: Vec<String>, out: &mut impl Write) -> Result<(), Error> {
    match client::export(data, &pipelines).await {
        Err(error) if is_nobody(&error) => {
            print_made(Lines::Export(pipelines), open(data)?.snapshot().await?, out).await
        }
        answer => print(answer?, out).await,
    }
}

async fn import(data: &Path, replace: bool) -> Result<(), Error> {
    let store = EmbeddedStore::open(data)?;
    let imported = view::import(&store, std::io::stdin().lock().lines(), replace).await?;
    say(&format!("imported {} entries and {} positions", imported.entries, imported.positions));
    Ok(())
}

async fn print(mut lines: Answer, out: &mut impl Write) -> Result<(), Error> {
    while let Some(line) = lines.next().await? {
        out.write_all(&line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

async fn print_made(lines: Lines, snapshot: Arc<dyn store::Snapshot>, out: &mut impl Write) -> Result<(), Error> {
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, view::Error>>(LINES_AHEAD);
    tokio::spawn(lines.send(snapshot, sender));
    while let Some(line) = receiver.recv().await {
        out.write_all(&line?)?;
    }
    Ok(())
}
