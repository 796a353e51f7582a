//! Plugins on the real engine: what loads, what is refused and in which words, what comes back from a batch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod guests;

use guests::{answering, batch, limits};
use serde_json::json;
use weir::plugin::{Answer, Factory, Outcome, World};

#[tokio::test]
async fn a_plugin_that_changes_nothing_says_so() {
    let plugin = guests::load(answering("")).await;
    assert_eq!(plugin.world(), World::Transform);
    let factory = plugin.transform(guests::context(), json!({}), limits()).unwrap();
    let (mut instance, description) = factory.start().await.unwrap();
    assert_eq!(description.ports, Vec::<String>::new());
    for _ in 0..3 {
        let outcome = instance.process(0, &batch(&["a", "b"])).await.unwrap();
        assert_eq!(outcome, Outcome { answer: Answer::Unchanged, rejects: vec![] });
    }
}
