//! `weir dlq`: lists, shows, exports, replays and drops dead letters.
//!
//! Where an appliance runs with the directory it is asked, through its control socket; where none runs, the store is opened.
//! To replay, one has to run.

mod capsule;
mod text;

use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

pub(super) use capsule::used;

use super::state::Data;
use super::{EXIT_STORAGE, EXIT_UNAVAILABLE, EXIT_USAGE, say};
use crate::api::client::{self, Lines};
use crate::api::dlq::{Form, send};
use crate::api::socket;
use crate::dlq::act::{self, Alone, Dropped, Replayed};
use crate::dlq::desk::Desk;
use crate::dlq::view::{self, Group, Select};
use crate::store::embedded::EmbeddedStore;
use crate::store::{self, Store};

/// The lines that are made ahead of being printed.
const LINES_AHEAD: usize = 256;

/// What `weir dlq` is to do.
#[derive(Debug, clap::Subcommand)]
pub enum DlqCommand {
    /// Lists dead letters, or with --group their kinds: the errors that differ in numbers, names and quoted text alone.
    Ls {
        /// Kinds of errors, with how many letters each has
        #[arg(long)]
        group: bool,
        /// Those of one pipeline
        #[arg(long, value_name = "PIPELINE")]
        pipeline: Option<String>,
        /// Those that one step or sink refused
        #[arg(long, value_name = "STEP")]
        step: Option<String>,
        /// A JSON object a line
        #[arg(long)]
        json: bool,
        /// Where they are
        #[command(flatten)]
        data: Data,
    },
    /// Shows all of a dead letter: why, where it came from, and the record.
    Show {
        /// Its id, as `weir dlq ls` prints it
        id: String,
        /// As one JSON object
        #[arg(long)]
        json: bool,
        /// Where it is
        #[command(flatten)]
        data: Data,
    },
    /// Has records go through their pipelines from the step or sink that refused them, once, and waits until they have.
    Replay(Chosen),
    /// Prints dead letters without loss, a JSON object a line, as `weir tap` prints records.
    Export {
        /// The ids; all of them, without any
        ids: Vec<String>,
        /// Of one kind of errors
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// Those of one pipeline
        #[arg(long, value_name = "PIPELINE")]
        pipeline: Option<String>,
        /// Lines of JSON, which is what it prints anyway
        #[arg(long)]
        json: bool,
        /// Where they are
        #[command(flatten)]
        data: Data,
    },
    /// Lets dead letters go for good.
    Drop(Chosen),
    /// Writes a dead letter with the plugin that refused it into a folder, for `weir plugin test`.
    Capsule {
        /// Its id, as `weir dlq ls` prints it
        id: String,
        /// The folder; `dlq-ID` without it
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// Where it is
        #[command(flatten)]
        data: Data,
    },
}

/// Which letters something is done with.
#[derive(Debug, clap::Args)]
pub struct Chosen {
    /// The ids, as `weir dlq ls` prints them
    #[arg(required_unless_present_any = ["group", "all"])]
    ids: Vec<String>,
    /// Of one kind of errors, as `weir dlq ls --group` names it
    #[arg(long, value_name = "GROUP", conflicts_with = "ids")]
    group: Option<String>,
    /// All of them
    #[arg(long, conflicts_with_all = ["ids", "group"])]
    all: bool,
    /// Those of one pipeline
    #[arg(long, value_name = "PIPELINE")]
    pipeline: Option<String>,
    /// Where they are
    #[command(flatten)]
    data: Data,
}

impl Chosen {
    fn select(&self) -> Select {
        select(&self.ids, &self.group, &self.pipeline)
    }
}

fn select(ids: &[String], group: &Option<String>, pipeline: &Option<String>) -> Select {
    Select { ids: ids.join(","), group: group.clone(), pipeline: pipeline.clone(), step: None }
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Letters(#[from] act::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no appliance runs with {0}, and this takes one")]
    NotRunning(String),
    #[error(transparent)]
    Case(#[from] crate::case::Error),
    #[error("the appliance answered with what is no dead letter: {0}")]
    Answer(#[from] serde_json::Error),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Error::Letters(error.into())
    }
}

impl Error {
    fn code(&self) -> u8 {
        match self {
            Error::Letters(act::Error::Wrong(_)) | Error::Client(client::Error::Refused(_)) => EXIT_USAGE,
            Error::Letters(act::Error::Store(error)) if error.is_fatal() => EXIT_STORAGE,
            _ => EXIT_UNAVAILABLE,
        }
    }
}

/// Does it. Gives the exit code.
pub async fn run(command: DlqCommand) -> u8 {
    let mut out = BufWriter::new(std::io::stdout());
    let done = act(command, &mut out).await;
    match done.and_then(|code| out.flush().map(|()| code).map_err(Error::from)) {
        Ok(code) => code,
        Err(Error::Io(error)) if error.kind() == ErrorKind::BrokenPipe => 0,
        Err(error) => {
            say(&format!("weir: {error}"));
            error.code()
        }
    }
}

async fn act(command: DlqCommand, out: &mut impl Write) -> Result<u8, Error> {
    match command {
        DlqCommand::Ls { group: true, pipeline, step, json, data } => {
            let select = Select { pipeline, step, ..Select::default() };
            text::groups(&groups(data.directory(), &select).await?, json, out)?;
        }
        DlqCommand::Ls { group: false, pipeline, step, json, data } => {
            let select = Select { pipeline, step, ..Select::default() };
            let mut list = text::List::new(json);
            each(data.directory(), &select, Form::List, |line| list.line(line, out)).await?;
            list.end(out)?;
        }
        DlqCommand::Show { id, json, data } => {
            let (select, mut found) = (Select { ids: id.clone(), ..Select::default() }, false);
            each(data.directory(), &select, Form::Whole, |line| {
                found = true;
                text::whole(line, json, out)
            })
            .await?;
            if !found {
                return Err(act::Error::Wrong(format!("there is no dead letter {id} (see `weir dlq ls`)")).into());
            }
        }
        DlqCommand::Export { ids, group, pipeline, json: _, data } => {
            let select = select(&ids, &group, &pipeline);
            each(data.directory(), &select, Form::Export, |line| Ok(writeln!(out, "{}", line.trim_end())?)).await?;
        }
        DlqCommand::Capsule { id, to, data } => capsule::write(data.directory(), &id, to, out).await?,
        DlqCommand::Replay(chosen) => return replay(&chosen, out).await,
        DlqCommand::Drop(chosen) => return drop_letters(&chosen, out).await,
    }
    Ok(0)
}

/// The store of a directory where no appliance runs.
fn open(data: &Path) -> Result<Arc<EmbeddedStore>, Error> {
    if !data.is_dir() {
        return Err(act::Error::Wrong(format!("there is no data directory {}", data.display())).into());
    }
    Ok(Arc::new(EmbeddedStore::open(data)?))
}

fn is_nobody(error: &client::Error) -> bool {
    matches!(error, client::Error::Socket(socket::Error::NotRunning(_)))
}

async fn groups(data: &Path, select: &Select) -> Result<Vec<Group>, Error> {
    match client::letter_groups(data, select).await {
        Err(error) if is_nobody(&error) => Ok(view::groups(&*open(data)?, select).await?),
        answer => Ok(answer?),
    }
}

/// Does something with each line of letters.
async fn each(
    data: &Path,
    select: &Select,
    form: Form,
    mut with: impl FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut lines: Lines = match client::letters(data, select, form).await {
        Err(error) if is_nobody(&error) => {
            let (sender, mut receiver) = mpsc::channel::<Result<Bytes, act::Error>>(LINES_AHEAD);
            tokio::spawn(send(open(data)?, select.clone(), form, sender));
            while let Some(line) = receiver.recv().await {
                with(&String::from_utf8_lossy(&line?))?;
            }
            return Ok(());
        }
        answer => answer?,
    };
    while let Some(line) = lines.next().await? {
        with(&String::from_utf8_lossy(&line))?;
    }
    Ok(())
}

async fn replay(chosen: &Chosen, out: &mut impl Write) -> Result<u8, Error> {
    let data = chosen.data.directory();
    let Replayed { replayed, refused, waiting, impossible, why } = match client::replay(data, &chosen.select()).await {
        Err(error) if is_nobody(&error) => return Err(Error::NotRunning(data.display().to_string())),
        answer => answer?,
    };
    writeln!(out, "replayed {replayed}, refused again {refused}, waiting {waiting}, not possible {impossible}")?;
    why.iter().for_each(|why| say(&format!("weir: {why}")));
    Ok(if impossible + waiting > 0 { EXIT_UNAVAILABLE } else { 0 })
}

async fn drop_letters(chosen: &Chosen, out: &mut impl Write) -> Result<u8, Error> {
    let (data, select) = (chosen.data.directory(), chosen.select());
    let Dropped { dropped, replaying } = match client::drop_letters(data, &select).await {
        Err(error) if is_nobody(&error) => {
            let store = open(data)?;
            act::drop_letters(&*store, &Alone(&*store as &dyn Store), &Desk::default(), &select).await?
        }
        answer => answer?,
    };
    writeln!(out, "dropped {dropped}")?;
    if replaying > 0 {
        say(&format!("weir: {replaying} are being replayed, and stay"));
        return Ok(EXIT_UNAVAILABLE);
    }
    Ok(0)
}
