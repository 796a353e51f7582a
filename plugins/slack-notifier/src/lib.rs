//! Posts records to Slack: knows which field is the channel and how a message is worded; pace, retries and credentials are the
//! host's.
//!
//! A batch is what has come while the messages before it were on their way, so a burst is in few batches: of each group in it
//! the first records are posted as they are, and one message tells of the others. What was told of before a crash is passed over.

mod blocks;
mod config;
mod note;
mod template;

pub use config::Config;

use weir_plugin::slack::{self, Failure, Message};
use weir_plugin::{ConfigError, Context, Delivery, Record, RecordId, Reject, Rejects, Result, Sink};

use config::Checked;
use note::Note;

/// Messages that are handed to the host at once.
const MESSAGES_MAX: usize = 1_000;

/// The plugin.
pub struct SlackNotifier {
    config: Checked,
    /// The pipeline and the sink: whose records they are.
    name: String,
}

impl Sink for SlackNotifier {
    type Config = Config;

    fn new(config: Config, context: &Context) -> Result<Self, ConfigError> {
        let pipeline = context.inputs.first().map_or("", String::as_str);
        Ok(SlackNotifier { config: config.check()?, name: format!("{pipeline}/{}", context.pipeline) })
    }

    fn write(&mut self, _: Record<'_>, _: RecordId<'_>) -> Result<()> {
        Err(Reject::permanent("records are written by the batch"))
    }

    fn write_batch(&mut self, delivery: &Delivery<'_>, rejects: &mut Rejects) {
        let ids: Vec<String> = delivery.iter().map(|(_, id)| format!("{}/{id}", self.name)).collect();
        let told = match slack::told(&self.config.endpoint, &ids) {
            Ok(told) => told,
            Err(failure) => {
                delivery.iter().for_each(|(record, _)| self.failed(&failure, &[(0, record)], None, rejects));
                return;
            }
        };
        let mut notes = Vec::new();
        for (at, (record, _)) in delivery.iter().enumerate() {
            if told.get(at).copied().unwrap_or_default() {
                continue;
            }
            match Note::of(&self.config.wording, at, record) {
                Ok(note) => notes.push(note),
                Err(why) => rejects.add(record, Reject::permanent(why)),
            }
        }
        if let Some(burst) = &self.config.wording.burst {
            let (kept, wordless) = note::coalesce(burst, notes);
            for (note, why) in wordless {
                note.records.iter().for_each(|(_, record)| rejects.add(*record, Reject::permanent(&why)));
            }
            notes = kept;
        }
        for notes in notes.chunks(MESSAGES_MAX) {
            self.post(notes, &ids, rejects);
        }
    }
}

impl SlackNotifier {
    fn post(&self, notes: &[Note<'_>], ids: &[String], rejects: &mut Rejects) {
        let message = |note: &Note<'_>| Message {
            channel: note.channel.clone(),
            text: note.text.clone(),
            blocks: note.blocks.clone(),
            thread: note.thread.clone(),
            unfurl: self.config.unfurl,
            ids: note.records.iter().filter_map(|(at, _)| ids.get(*at).cloned()).collect(),
        };
        let posted = slack::post(&self.config.endpoint, notes.iter().map(message).collect());
        for (note, posted) in notes.iter().zip(posted) {
            if let Err(failure) = posted {
                self.failed(&failure, &note.records, note.channel.as_deref(), rejects);
            }
        }
    }

    /// Does what is configured for a failure.
    fn failed(&self, failure: &Failure, records: &[(usize, Record<'_>)], channel: Option<&str>, rejects: &mut Rejects) {
        let to = channel.map(|channel| format!(" (channel {channel:?})")).unwrap_or_default();
        let why = format!("{}{to}", failure.message());
        match failure {
            Failure::Unavailable(_) => slack::begin_again(&why),
            Failure::Rejected { code, .. } if self.config.on_error.stops(code) => slack::stop(&why),
            Failure::Refused(_) if self.config.on_error.stops("") => slack::stop(&why),
            Failure::Refused(_) | Failure::Rejected { .. } => {
                records.iter().for_each(|(_, record)| rejects.add(*record, Reject::permanent(&why)));
            }
        }
    }
}

weir_plugin::export_sink!(SlackNotifier);
