//! Finds where a task begins to read, and that what it wants to read is still there.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::place::{Place, Places};
use crate::config::{KafkaStart, OnLost};
use crate::kafka::Context;
use crate::kafka::topics::{ANSWER_TIME_MAX, Topics, ask};
use crate::kafka::words::Doing;
use crate::record::Partition;
use crate::source::Error;

/// What is there of a partition: the offset of the oldest record, and the one behind the last that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct There {
    /// The oldest record's offset.
    pub low: u64,
    /// The offset behind the last record that no open transaction holds back.
    pub high: u64,
}

/// Finds places.
pub struct Start<'a> {
    pub consumer: &'a BaseConsumer<Context>,
    pub source: &'a str,
    pub partition: Partition,
    pub start: KafkaStart,
    pub on_lost: OnLost,
    /// What the task has committed, or read since.
    pub known: Option<Places>,
    /// What the pipeline's first task has committed.
    pub first: Option<Places>,
}

/// A topic and where to begin in it.
pub struct Begin {
    pub topic: String,
    pub place: Place,
    pub there: There,
}

impl Start<'_> {
    /// The places of all topics that have the task's partition.
    pub fn places(&self, topics: &Topics, doing: &Doing<'_>) -> Result<Vec<Begin>, Error> {
        let partition = self.partition.0 as i32;
        let mut begins = Vec::new();
        for (topic, partitions) in topics.iter().filter(|(_, partitions)| **partitions > partition) {
            let there = self.there(topic, doing)?;
            let known = self.known.as_ref().and_then(|known| known.0.get(topic));
            let place = match known {
                Some(place) => Place { next: self.still_there(topic, place.next, there)?, ..*place },
                None => self.begin(topic, *partitions, there, doing)?,
            };
            begins.push(Begin { topic: topic.clone(), place, there });
        }
        Ok(begins)
    }

    fn there(&self, topic: &str, doing: &Doing<'_>) -> Result<There, Error> {
        let partition = self.partition.0 as i32;
        let (low, high) =
            ask(self.consumer, doing, |client| client.fetch_watermarks(topic, partition, ANSWER_TIME_MAX / 4))?;
        Ok(There { low: low.max(0) as u64, high: high.max(0) as u64 })
    }

    /// A partition that was never read: as `start` says, or from its beginning where it came to be later.
    fn begin(&self, topic: &str, partitions: i32, there: There, doing: &Doing<'_>) -> Result<Place, Error> {
        let at_first = self.first.as_ref().or(self.known.as_ref());
        let partitions_at_first = match at_first {
            None => partitions.max(0) as u32,
            Some(first) => first.0.get(topic).map_or(0, |place| place.partitions_at_first),
        };
        let is_new = self.partition.0 >= partitions_at_first;
        let next = match self.start {
            _ if is_new => there.low,
            KafkaStart::Earliest => there.low,
            KafkaStart::Latest => there.high,
            KafkaStart::Time(time) => self.at_time(topic, time.0, there, doing)?,
        };
        Ok(Place { partitions_at_first, next })
    }

    fn at_time(&self, topic: &str, time: i64, there: There, doing: &Doing<'_>) -> Result<u64, Error> {
        let found = ask(self.consumer, doing, |_| {
            let mut times = TopicPartitionList::new();
            times.add_partition_offset(topic, self.partition.0 as i32, Offset::Offset(time.max(0)))?;
            let found = self.consumer.offsets_for_times(times, ANSWER_TIME_MAX / 4)?;
            let elements = found.elements();
            let Some(element) = elements.first() else { return Ok(Offset::End) };
            element.error().map(|()| element.offset())
        })?;
        Ok(match found {
            Offset::Offset(offset) => (offset.max(0) as u64).clamp(there.low, there.high),
            // No record is as young as that.
            _ => there.high,
        })
    }

    /// The position, where its records are there; otherwise what the operator wants instead.
    fn still_there(&self, topic: &str, next: u64, there: There) -> Result<u64, Error> {
        if (there.low..=there.high).contains(&next) {
            return Ok(next);
        }
        let what = lost(topic, self.partition, next, there);
        let instead = match self.on_lost {
            OnLost::Stop => {
                return Err(Error::stop(format!(
                    "{what}; to go on with what is there, say so at the source {}: `on_lost: earliest`, or `on_lost: latest` to leave out what is there now",
                    self.source
                )));
            }
            OnLost::Earliest => there.low,
            OnLost::Latest => there.high,
        };
        tracing::warn!(source = self.source, "{what}; going on at offset {instead}, as `on_lost` says");
        Ok(instead)
    }
}

/// What became of records that cannot be read any more.
fn lost(topic: &str, partition: Partition, next: u64, there: There) -> String {
    let There { low, high } = there;
    if next < low {
        let gone = low - next;
        return format!(
            "topic {topic}, partition {partition}: the records from offset {next} on were to be read, and the oldest one there is has offset {low}: \
             up to {gone} records were deleted by retention before they were read"
        );
    }
    format!(
        "topic {topic}, partition {partition}: the record at offset {next} was to be read, and the partition ends at offset {high}: \
         the topic was deleted and made again, or its end was lost; {} records are there",
        high - low
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_with_its_numbers() {
        let there = There { low: 200, high: 300 };
        let message = lost("orders", Partition(3), 120, there);
        assert!(message.contains("topic orders, partition 3") && message.contains("up to 80 records"), "{message}");
        let message = lost("orders", Partition(3), 301, there);
        assert!(message.contains("ends at offset 300") && message.contains("100 records are there"), "{message}");
    }
}
