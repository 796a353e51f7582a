//! From records to messages: what each says and where it goes, and one message for what a burst has too many of.

use std::collections::HashMap;

use weir_plugin::Record;
use weir_plugin::serde_json::Value;

use crate::config::{Burst, Wording};
use crate::template::{Facts, Place, Template};

/// Characters of a message; Slack cuts longer ones.
const CHARACTERS_MAX: usize = 40_000;

/// What is to be posted, of one record or of several.
pub struct Note<'a> {
    /// Where to; nothing: wherever a webhook leads.
    pub channel: Option<String>,
    /// In mrkdwn.
    pub text: String,
    /// A JSON array.
    pub blocks: Option<String>,
    /// The name of its thread.
    pub thread: Option<String>,
    /// The records that it tells of, by their places in the batch.
    pub records: Vec<(usize, Record<'a>)>,
    /// What groups it with others of its channel.
    group: String,
    facts: Facts<'a>,
}

impl<'a> Note<'a> {
    /// What a record says. The error says why it says nothing.
    pub fn of(wording: &Wording, at: usize, record: Record<'a>) -> Result<Note<'a>, String> {
        if record.value().is_none() {
            return Err("it has no value, so there is nothing to tell".into());
        }
        let facts = Facts::of(record);
        let plain = |template: &Option<Template>| match template {
            Some(template) => template.render(&facts, Place::Plain),
            None => Ok(String::new()),
        };
        let channel = match &wording.channel {
            Some(template) => Some(template.render(&facts, Place::Plain)?),
            None => facts.field("CHANNEL").map(|channel| channel.into_owned()),
        };
        let text = match &wording.text {
            Some(template) => template.render(&facts, Place::Mrkdwn)?,
            None => String::new(),
        };
        let blocks: Option<Value> = wording.blocks.as_ref().map(|blocks| blocks.render(&facts)).transpose()?;
        if blocks.is_none() && text.trim().is_empty() {
            return Err("its text is empty".into());
        }
        check_length(&text)?;
        let thread = Some(plain(&wording.thread)?).filter(|thread| !thread.is_empty());
        let group = match &wording.burst {
            Some(Burst { by: Some(by), .. }) => by.render(&facts, Place::Plain)?,
            _ => String::new(),
        };
        let blocks = blocks.map(|blocks| blocks.to_string());
        Ok(Note { channel, text, blocks, thread, records: vec![(at, record)], group, facts })
    }

    /// One note for several of a group. Where they belong to several threads, it belongs to none.
    fn of_many(burst: &Burst, mut notes: Vec<Note<'a>>) -> Result<Note<'a>, (Vec<Note<'a>>, String)> {
        let records: Vec<_> = notes.iter().flat_map(|note| note.records.iter().copied()).collect();
        let is_one_thread = notes.iter().all(|note| notes.first().is_some_and(|first| first.thread == note.thread));
        let Some(mut last) = notes.pop() else { return Err((notes, "there are none".into())) };
        last.facts.count = Some(records.len());
        let rendered = burst.text.render(&last.facts, Place::Mrkdwn).and_then(|text| {
            check_length(&text)?;
            Ok(text)
        });
        match rendered {
            Ok(text) => {
                let thread = last.thread.filter(|_| is_one_thread);
                Ok(Note { text, blocks: None, thread, records, ..last })
            }
            Err(why) => {
                notes.push(last);
                Err((notes, why))
            }
        }
    }
}

fn check_length(text: &str) -> Result<(), String> {
    match text.chars().count() {
        ..=CHARACTERS_MAX => Ok(()),
        count => Err(format!("its text has {count} characters, Slack takes {CHARACTERS_MAX}")),
    }
}

/// Leaves of each group the first notes as they are, and puts one for all the others in the place of the last. A single other is
/// left as it is. Notes for which there are no words come back with the reason.
pub fn coalesce<'a>(burst: &Burst, notes: Vec<Note<'a>>) -> (Vec<Note<'a>>, Vec<(Note<'a>, String)>) {
    let mut sizes: HashMap<(Option<String>, String), usize> = HashMap::new();
    let key = |note: &Note<'_>| (note.channel.clone(), note.group.clone());
    for note in &notes {
        *sizes.entry(key(note)).or_default() += 1;
    }
    let mut seen: HashMap<_, (usize, Vec<Note<'a>>)> = HashMap::new();
    let (mut kept, mut wordless) = (Vec::new(), Vec::new());
    for note in notes {
        let key = key(&note);
        let size = sizes.get(&key).copied().unwrap_or_default();
        let (count, others) = seen.entry(key).or_default();
        *count += 1;
        if *count <= burst.after || size <= burst.after + 1 {
            kept.push(note);
            continue;
        }
        others.push(note);
        if *count == size {
            match Note::of_many(burst, std::mem::take(others)) {
                Ok(note) => kept.push(note),
                Err((notes, why)) => wordless.extend(notes.into_iter().map(|note| (note, why.clone()))),
            }
        }
    }
    (kept, wordless)
}
