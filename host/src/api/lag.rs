//! How far pipelines are behind what they read.

use super::ApiState;
use crate::metrics::PartitionLag;

/// The lag of each partition of topics, and of streams. A stream that cannot be read now is left out: whoever needs it will say so.
pub async fn all(state: &ApiState) -> Vec<PartitionLag> {
    let mut lags = state.lags.all();
    for key in &state.status.known().reads {
        let Ok(bounds) = state.store.bounds(&key.input, key.partition).await else { continue };
        let position = state.store.position(key).await.ok().flatten();
        let next = position.and_then(|position| position.offset()).unwrap_or(bounds.start).max(bounds.start);
        lags.push(PartitionLag {
            pipeline: key.owner.clone(),
            source: key.input.clone(),
            topic: String::new(),
            partition: key.partition,
            records: bounds.end.0.saturating_sub(next.0),
        });
    }
    lags
}
