//! The way of messages from a channel to the intake stream, and of their acknowledgements back.
//!
//! Messages are packed into batches in the order in which they came. A batch is handed over when the intake has room, and
//! once it is durable everything up to its last delivery tag may be acknowledged, on the channel that it came by and on no
//! other. Knows nothing of connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesOrdered, StreamExt};

use super::recent::{Noted, Recent};
use crate::rabbitmq::message::{Message, Reading};
use crate::record::{Batch, Offset, Timestamp};
use crate::source::intake::Room;
use crate::source::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Error, Intake, Received};

/// A delivery as far as the intake is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Delivered<'a> {
    /// Its tag on the channel.
    pub tag: u64,
    /// Whether the broker has delivered it before, perhaps to us.
    pub redelivered: bool,
    /// The message.
    pub message: Message<'a>,
}

/// Messages that are on their way to being durable, over all connections.
pub struct Way {
    intake: Intake,
    recent: Recent,
    received: Arc<Received>,
    /// Batches that the intake does not have yet, of the present channel.
    unsent: VecDeque<Pack>,
    unsent_bytes: usize,
    /// Batches that the intake has. What they resolve to is the channel and its last tag.
    under_way: FuturesOrdered<BoxFuture<'static, Result<(u64, u64), Error>>>,
    /// The present channel, counted from 1; 0 while there is none.
    channel: u64,
    channels: u64,
    recognised: u64,
}

/// A batch that is being made.
#[derive(Debug, Default)]
struct Pack {
    records: Batch,
    noted: Noted,
    messages: usize,
    last_tag: u64,
}

impl Pack {
    fn is_full(&self) -> bool {
        self.messages >= BATCH_RECORDS_MAX || self.records.bytes() >= BATCH_BYTES_MAX
    }
}

impl Way {
    /// A way with nothing on it.
    pub fn new(intake: Intake, recent: Recent, received: Arc<Received>) -> Self {
        Way {
            intake,
            recent,
            received,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            under_way: FuturesOrdered::new(),
            channel: 0,
            channels: 0,
            recognised: 0,
        }
    }

    /// A new channel: delivery tags begin again.
    pub fn begin(&mut self) {
        self.channels += 1;
        self.channel = self.channels;
    }

    /// The channel is gone: the broker will deliver again what it was not told to forget. Returns how many messages were
    /// recognised on it.
    pub fn forget_unsent(&mut self) -> u64 {
        self.drop_unsent();
        self.channel = 0;
        std::mem::take(&mut self.recognised)
    }

    /// Lets go of what was not handed over.
    pub fn drop_unsent(&mut self) {
        self.unsent.clear();
        self.unsent_bytes = 0;
    }

    /// Takes a message. One that the broker delivers again and that was appended before is not appended again; it is
    /// acknowledged with those around it, after the batch that holds it is durable, as batches become so in order.
    pub fn take(&mut self, delivered: Delivered<'_>, reading: &mut Reading, now: Timestamp) {
        let id = delivered.message.properties.message_id().as_ref().map(|id| id.as_str().as_bytes());
        let is_known = delivered.redelivered && id.is_some_and(|id| self.knows(id));
        if self.unsent.back().is_none_or(Pack::is_full) {
            self.unsent.push_back(Pack::default());
        }
        let Some(pack) = self.unsent.back_mut() else { return };
        pack.last_tag = delivered.tag;
        pack.messages += 1;
        if is_known {
            self.recognised += 1;
            return;
        }
        let before = pack.records.bytes();
        reading.push(&mut pack.records, delivered.message, Offset(0), now);
        self.unsent_bytes += pack.records.bytes() - before;
        if let Some(id) = id {
            pack.noted.add(id);
        }
    }

    fn knows(&self, id: &[u8]) -> bool {
        self.recent.knows(id) || self.unsent.iter().any(|pack| pack.noted.has(id))
    }

    /// Whether a batch is as large as a batch may be, so that more messages would not make it larger.
    pub fn has_full(&self) -> bool {
        self.unsent.front().is_some_and(Pack::is_full)
    }

    /// Whether messages wait that need not wait for others: none are on their way to the disk. What comes while some are
    /// goes there together, after them.
    pub fn has_due(&self) -> bool {
        self.has_unsent() && self.is_settled()
    }

    /// Whether any message waits to be handed over.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The bytes of messages that wait to be handed over, and how many messages that is.
    pub fn unsent(&self) -> (usize, usize) {
        (self.unsent_bytes, self.unsent.iter().map(|pack| pack.messages).sum())
    }

    /// The intake, to wait for its room.
    pub fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Hands the oldest batch over.
    pub fn send(&mut self, room: Room<'_>) {
        let Some(Pack { records, noted, last_tag, .. }) = self.unsent.pop_front() else { return };
        self.unsent_bytes -= records.bytes();
        let (count, received, channel) = (records.len() as u64, self.received.clone(), self.channel);
        let durable = room.send(records, self.recent.remember(noted));
        let durable = async move {
            durable.wait().await?;
            received.records.fetch_add(count, Ordering::Relaxed);
            Ok((channel, last_tag))
        };
        self.under_way.push_back(durable.boxed());
    }

    /// Resolves when the oldest batch that was handed over is durable, to the tag up to which may be acknowledged; to
    /// `None` where its channel is gone. Never, where none is under way. Dropping the future loses nothing.
    pub async fn durable(&mut self) -> Result<Option<u64>, Error> {
        match self.under_way.next().await {
            Some(durable) => durable.map(|(channel, tag)| (channel == self.channel).then_some(tag)),
            None => std::future::pending().await,
        }
    }

    /// Whether all that was handed over is durable.
    pub fn is_settled(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Resolves when it is.
    pub async fn finish(mut self) -> Result<(), Error> {
        while let Some(durable) = self.under_way.next().await {
            durable?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::rabbitmq::MessageKey;
    use crate::source::intake::Request;
    use crate::store::memory::MemoryStore;
    use crate::store::{Append, Changes, Retention, Store, StreamSpec};

    struct Rig {
        store: MemoryStore,
        way: Way,
        requests: mpsc::Receiver<Request>,
        reading: Reading,
    }

    async fn start(store: &MemoryStore) -> Rig {
        let (intake, requests) = Intake::channel();
        let recent = Recent::restore(store, &"auth".into(), 100).await.unwrap();
        let mut way = Way::new(intake, recent, Arc::default());
        way.begin();
        Rig { store: store.clone(), way, requests, reading: Reading::new(MessageKey::None) }
    }

    async fn store() -> MemoryStore {
        let store = MemoryStore::new();
        let retention = Retention { age_ms: None, bytes_max: 1 << 30, compact: false };
        store.create_stream(&StreamSpec { name: "auth".into(), partitions: 1, retention }).await.unwrap();
        store
    }

    impl Rig {
        fn take(&mut self, tag: u64, redelivered: bool, id: Option<&str>) {
            let mut properties = BasicProperties::default();
            if let Some(id) = id {
                properties = properties.with_message_id(id.into());
            }
            let body = id.unwrap_or("no id").as_bytes();
            let message = Message { routing_key: "", properties: &properties, body };
            self.way.take(Delivered { tag, redelivered, message }, &mut self.reading, Timestamp(0));
        }

        async fn send(&mut self) {
            let intake = self.way.intake();
            self.way.send(intake.room().await.unwrap());
        }

        /// What the intake task does with the oldest request; the commit may be the last thing before a crash.
        async fn commit(&mut self) -> Vec<String> {
            let Request { records, state, durable } = self.requests.recv().await.unwrap();
            let bodies = records.iter().map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap());
            let bodies = bodies.collect();
            let append = Append { stream: "auth".into(), partition: Default::default(), records };
            let changes = Changes { appends: vec![append], state, ..Changes::default() };
            self.store.commit(&[changes], Timestamp(0)).await.unwrap();
            durable.send(Ok(())).unwrap();
            bodies
        }
    }

    #[tokio::test]
    async fn nothing_is_acknowledged_before_it_is_durable() {
        let mut rig = start(&store().await).await;
        (1..=3).for_each(|tag| rig.take(tag, false, Some(&tag.to_string())));
        rig.send().await;
        assert!(rig.way.durable().now_or_never().is_none());
        assert_eq!(rig.commit().await, ["1", "2", "3"]);
        assert_eq!(rig.way.durable().await.unwrap(), Some(3));
        assert!(rig.way.is_settled() && !rig.way.has_unsent());
    }

    #[tokio::test]
    async fn a_message_that_comes_again_is_not_appended_again() {
        let mut rig = start(&store().await).await;
        rig.take(1, false, Some("a"));
        rig.send().await;
        rig.take(2, false, Some("b"));
        // The connection is lost: `a` is with the intake and not durable yet, `b` was never handed over.
        assert_eq!(rig.way.forget_unsent(), 0);
        rig.way.begin();
        rig.take(1, true, Some("a"));
        rig.take(2, true, Some("b"));
        rig.take(3, true, Some("b"));
        rig.send().await;
        assert_eq!(rig.commit().await, ["a"]);
        assert_eq!(rig.way.durable().await.unwrap(), None, "the tag of a channel that is gone");
        assert!(rig.way.durable().now_or_never().is_none(), "the second `a` waits for the batch behind the first");
        assert_eq!(rig.commit().await, ["b"]);
        assert_eq!(rig.way.durable().await.unwrap(), Some(3));
        assert_eq!(rig.way.forget_unsent(), 2);
    }

    #[tokio::test]
    async fn what_was_durable_before_a_crash_is_recognised_and_nothing_else() {
        let store = store().await;
        let mut rig = start(&store).await;
        rig.take(1, false, Some("a"));
        rig.send().await;
        rig.take(2, false, Some("b"));
        rig.send().await;
        // The process dies between the two commits, before any acknowledgement.
        rig.commit().await;
        let mut rig = start(&store).await;
        rig.take(1, true, Some("a"));
        rig.take(2, true, Some("b"));
        rig.take(3, true, None);
        // A message that is new is appended, whatever its sender thinks an id is.
        rig.take(4, false, Some("a"));
        rig.send().await;
        assert_eq!(rig.commit().await, ["b", "no id", "a"]);
        assert_eq!(rig.way.durable().await.unwrap(), Some(4));
    }

    #[tokio::test]
    async fn what_comes_while_a_batch_is_on_its_way_to_the_disk_is_not_due_before_it_is_there() {
        let mut rig = start(&store().await).await;
        assert!(!rig.way.has_due());
        rig.take(1, false, Some("a"));
        assert!(rig.way.has_due());
        rig.send().await;
        rig.take(2, false, Some("b"));
        rig.take(3, false, Some("c"));
        assert!(rig.way.has_unsent() && !rig.way.has_due());
        rig.commit().await;
        assert_eq!(rig.way.durable().await.unwrap(), Some(1));
        assert!(rig.way.has_due());
    }

    #[tokio::test]
    async fn batches_are_bounded() {
        let mut rig = start(&store().await).await;
        (1..=BATCH_RECORDS_MAX as u64 + 1).for_each(|tag| rig.take(tag, false, None));
        assert!(rig.way.has_full());
        assert_eq!(rig.way.unsent().1, BATCH_RECORDS_MAX + 1);
        rig.send().await;
        assert!(!rig.way.has_full() && rig.way.has_unsent());
        assert_eq!(rig.commit().await.len(), BATCH_RECORDS_MAX);
    }
}
