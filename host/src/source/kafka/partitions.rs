//! What the appliance asks a cluster before there are tasks, and `weir check --connect` at any time: which topics a
//! source reads, and how many partitions they have.

use std::sync::Arc;

use rdkafka::consumer::BaseConsumer;

use crate::config::{KafkaSource, group_of};
use crate::kafka::topics::{self, Topics, Wanted};
use crate::kafka::words::{self, Doing};
use crate::kafka::{Alive, Context, Signals, client};
use crate::source::Error;

/// A source's topics, asked for again and again with one client.
#[derive(Clone)]
pub struct Scout(Arc<Inner>);

struct Inner {
    settings: KafkaSource,
    wanted: Wanted,
    consumer: BaseConsumer<Context>,
    _alive: Alive,
}

impl Scout {
    /// A client for these questions. Reads files and the password; asks nothing yet.
    pub fn new(name: &str, settings: &KafkaSource, alive: Alive) -> Result<Scout, Error> {
        let mut config = client::settings(&settings.cluster)?;
        config.set("allow.auto.create.topics", "false");
        let signals = Signals::new(format!("source {name}"));
        let consumer = config.create_with_context(Context(signals)).map_err(|error| words::not_created(&error))?;
        let wanted = Wanted::of(&settings.topics)?;
        Ok(Scout(Arc::new(Inner { settings: settings.clone(), wanted, consumer, _alive: alive })))
    }

    /// The topics that are there now. Fails where the cluster cannot be asked, or a topic that is named is not there.
    pub async fn topics(&self) -> Result<Topics, Error> {
        let scout = self.0.clone();
        let found = tokio::task::spawn_blocking(move || scout.topics()).await;
        found.unwrap_or_else(|error| Err(Error::retry(format!("looking for topics ended early: {error}"))))
    }
}

impl Inner {
    fn topics(&self) -> Result<Topics, Error> {
        let names = self.settings.topics.join(", ");
        let (what, needs) = (format!("read {names}"), format!("Describe and Read on the topics {names}"));
        let doing = Doing { cluster: &self.settings.cluster, what: &what, needs: &needs };
        topics::find(&self.consumer, &self.wanted, &doing)
    }
}

/// Whether a source could be read now: a broker answers, takes the login, and has the topics.
pub async fn check(name: &str, settings: &KafkaSource, pipeline: &str) -> Result<(), Error> {
    let scout = Scout::new(name, settings, crate::kafka::Threads::default().join())?;
    if scout.topics().await?.is_empty() {
        let message = format!("no topic matches {}", settings.topics.join(", "));
        return Err(Error::retry(message));
    }
    tracing::debug!(source = name, group = &*group_of(settings, pipeline), "the source can be read");
    Ok(())
}
