//! The plugin before a Slack that is made up: what it says there, what it passes over, and what it rejects.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use proptest::prelude::*;
use weir_plugin::serde_json::{Value, json};
use weir_plugin::slack::{Failure, Message};
use weir_plugin::testing::{SinkHarness, TestRecord, TestReject, serve_slack};
use weir_slack_notifier::SlackNotifier;

type Posted = Rc<RefCell<Vec<Message>>>;

/// Takes all but what goes to channels that are named as errors of Slack are.
fn slack() -> Posted {
    let posted = Posted::default();
    let kept = posted.clone();
    serve_slack(move |message| {
        let channel = message.channel.as_deref().unwrap_or("hook");
        match channel {
            "gone" => return Err(Failure::Rejected { code: "channel_not_found".into(), details: String::new() }),
            "auth" => return Err(Failure::Rejected { code: "invalid_auth".into(), details: "mended".into() }),
            "away" => return Err(Failure::Unavailable("it did not answer in time".into())),
            _ => kept.borrow_mut().push(message.clone()),
        }
        Ok(())
    });
    posted
}

fn sink(config: Value) -> SinkHarness<SlackNotifier> {
    SinkHarness::new(config).unwrap()
}

/// Channel, text and thread of what one batch brings about.
fn post(config: Value, records: &[Value]) -> (Vec<String>, Vec<TestReject>) {
    let posted = slack();
    let rejects = sink(config).write(records.iter().map(|record| TestRecord::of(record.to_string()).key("k")));
    let said = posted.borrow().iter().map(said).collect();
    (said, rejects)
}

fn said(message: &Message) -> String {
    let thread = message.thread.as_deref().map(|thread| format!(" [{thread}]")).unwrap_or_default();
    format!("{}: {}{thread}", message.channel.as_deref().unwrap_or("-"), message.text)
}

#[test]
fn channel_and_text_are_the_fields_that_scripts_name() {
    let (said, rejects) = post(
        json!({}),
        &[
            json!({ "CHANNEL": "soc", "TEXT": "caf\u{e9} \u{1f980} <!channel> & *b*" }),
            json!({ "channel": "#ops", "text": "lower case" }),
            json!({ "text": "wherever the webhook leads" }),
            json!({ "CHANNEL": "soc" }),
            json!({ "CHANNEL": "soc", "TEXT": " " }),
        ],
    );
    let expected =
        ["soc: caf\u{e9} \u{1f980} &lt;!channel&gt; &amp; *b*", "#ops: lower case", "-: wherever the webhook leads"];
    assert_eq!(said, expected);
    let reasons: Vec<_> = rejects.iter().map(|reject| (reject.index, reject.reason.as_str())).collect();
    assert_eq!(reasons, [(3, "the record has no TEXT"), (4, "its text is empty")]);
}

#[test]
fn templates_find_fields_and_escape_them() {
    let text = "*{{ user.name }}* on `{{cmd|code}}` {{n}} {{flag}} {{list}} {{gone | or: nobody}} {{link|raw}} {{@key}} {{a.b}}";
    let record = json!({ "user": { "name": "<root>" }, "cmd": "echo `id` & exit", "n": 1.5, "flag": true, "list": [1],
        "gone": null, "link": "<https://a|b>", "a.b": "dotted" });
    let (said, rejects) = post(json!({ "channel": "{{user.name}}", "text": text }), std::slice::from_ref(&record));
    let expected =
        "<root>: *&lt;root&gt;* on `echo \u{2cb}id\u{2cb} &amp; exit` 1.5 true [1] nobody <https://a|b> k dotted";
    assert_eq!((said, rejects), (vec![expected.to_owned()], vec![]));
    // A value that is no JSON is text as a whole.
    let posted = slack();
    let mut whole = sink(json!({ "channel": "soc", "text": "> {{@value}}" }));
    assert_eq!(whole.write(["a < b"]), []);
    assert_eq!(said_all(&posted), ["soc: > a &lt; b"]);
    let rejects = whole.write([TestRecord::of("").tombstone()]);
    assert!(rejects[0].reason.contains("nothing to tell"), "{rejects:?}");
}

fn said_all(posted: &Posted) -> Vec<String> {
    posted.borrow().iter().map(said).collect()
}

#[test]
fn blocks_are_escaped_where_slack_reads_mrkdwn() {
    let posted = slack();
    let blocks = json!([
        { "type": "header", "text": { "type": "plain_text", "text": "{{user}}", "emoji": true } },
        { "type": "section", "text": { "type": "mrkdwn", "text": "*{{user}}*" },
          "accessory": { "type": "button", "url": "https://a/?u={{user}}", "text": { "type": "plain_text", "text": "Go" } } },
        { "type": "context", "elements": [{ "type": "mrkdwn", "text": "{{user|raw}} \u{1f980}" }] },
    ]);
    let mut sink = sink(json!({ "channel": "soc", "blocks": blocks, "unfurl": true }));
    let rejects = sink.write([json!({ "user": "<a>\"&" }).to_string(), json!({}).to_string()]);
    assert_eq!(rejects.iter().map(|reject| reject.reason.as_str()).collect::<Vec<_>>(), ["the record has no user"]);
    let message = posted.borrow()[0].clone();
    assert!(message.unfurl && message.text.is_empty());
    let sent: Value = weir_plugin::serde_json::from_str(message.blocks.as_deref().unwrap()).unwrap();
    assert_eq!(sent[0]["text"], json!({ "type": "plain_text", "text": "<a>\"&", "emoji": true }));
    assert_eq!(sent[1]["text"]["text"], "*&lt;a&gt;\"&amp;*");
    assert_eq!(sent[1]["accessory"]["url"], "https://a/?u=<a>\"&");
    assert_eq!(sent[2]["elements"][0]["text"], "<a>\"& \u{1f980}");
}

#[test]
fn a_burst_is_the_first_of_each_group_and_one_for_the_others() {
    let records: Vec<Value> =
        (0..50).map(|n| json!({ "host": if n % 10 == 9 { "web2" } else { "web1" }, "n": n })).collect();
    let config = |coalesce: Value| json!({ "channel": "soc", "text": "{{host}} {{n}}", "thread": "{{host}}", "coalesce": coalesce });
    let (said, rejects) = post(config(json!({ "after": 4, "by": "{{host}}" })), &records);
    assert_eq!(rejects, []);
    let expected = [
        "soc: web1 0 [web1]",
        "soc: web1 1 [web1]",
        "soc: web1 2 [web1]",
        "soc: web1 3 [web1]",
        "soc: web2 9 [web2]",
        "soc: web2 19 [web2]",
        "soc: web2 29 [web2]",
        "soc: web2 39 [web2]",
        "soc: and 41 more [web1]",
        // One more is told as it is.
        "soc: web2 49 [web2]",
    ];
    assert_eq!(said, expected);
    // Of several threads it is in none.
    let (said, _) = post(config(json!({ "after": 0, "text": "{{@count}} till {{n}}" })), &records);
    assert_eq!(said, ["soc: 50 till 49"]);
    // Without words none is lost.
    let (said, rejects) = post(config(json!({ "after": 1, "text": "{{missing}}" })), &records);
    assert_eq!((said.len(), rejects.len()), (1, 49));
}

#[test]
fn what_was_told_of_is_passed_over() {
    let posted = slack();
    let config = || json!({ "channel": "soc", "text": "{{n}}", "coalesce": { "after": 2 } });
    let records = |range: std::ops::Range<u64>| {
        range.map(|n| TestRecord { offset: Some(n), ..TestRecord::of(json!({ "n": n }).to_string()) })
    };
    assert_eq!(sink(config()).write(records(0..10)), []);
    assert_eq!(sink(config()).write(records(5..12)), []);
    assert_eq!(said_all(&posted), ["soc: 0", "soc: 1", "soc: and 8 more", "soc: 10", "soc: 11"]);
    assert_eq!(posted.borrow()[2].ids.len(), 8);
    assert_eq!(posted.borrow()[0].ids, ["input/test/test:0:0:0"]);
}

#[test]
fn what_slack_does_not_take_is_rejected_for_good_and_said() {
    let record = |channel: &str| json!({ "CHANNEL": channel, "TEXT": "a" });
    let (said, rejects) = post(json!({}), &[record("gone"), record("soc"), record("auth")]);
    assert_eq!(said, ["soc: a"]);
    let reasons: Vec<_> =
        rejects.iter().map(|reject| (reject.index, reject.retriable, reject.reason.as_str())).collect();
    let expected = [
        (0, false, "Slack does not take it: channel_not_found (channel \"gone\")"),
        (2, false, "Slack does not take it: invalid_auth (mended) (channel \"auth\")"),
    ];
    assert_eq!(reasons, expected);
    let long = json!({ "CHANNEL": "soc", "TEXT": "\u{e4}".repeat(40_001) });
    let (_, rejects) = post(json!({}), &[long]);
    assert_eq!(rejects[0].reason, "its text has 40001 characters, Slack takes 40000");
    let burst = json!({ "coalesce": { "after": 1 } });
    assert_eq!(post(burst, &[record("gone"), record("gone"), record("gone")]).1.len(), 3);
}

#[test]
#[should_panic(expected = "stops: Slack does not take it: invalid_auth")]
fn the_pipeline_stops_for_the_errors_that_are_named() {
    let config = json!({ "on_error": { "stop": ["invalid_auth"] } });
    let record = |channel: &str| json!({ "CHANNEL": channel, "TEXT": "a" });
    assert_eq!(post(config.clone(), &[record("gone")]).1.len(), 1);
    post(config, &[record("auth")]);
}

#[test]
#[should_panic(expected = "begins again: Slack is not available: it did not answer in time")]
fn where_slack_is_away_the_task_begins_again() {
    post(json!({ "on_error": "stop" }), &[json!({ "CHANNEL": "away", "TEXT": "a" })]);
}

#[test]
fn a_configuration_that_does_not_fit_together_is_refused() {
    let wrong = [
        (json!({ "text": "{{" }), "text"),
        (json!({ "text": "{{}}" }), "text"),
        (json!({ "channel": "{{a|b}}" }), "channel"),
        (json!({ "thread": "{{@host}}" }), "thread"),
        (json!({ "blocks": [] }), "blocks"),
        (json!({ "blocks": [{ "text": "a" }] }), "blocks.0"),
        (json!({ "blocks": [{ "type": "section", "fields": [{ "text": "{{" }] }] }), "blocks.0.fields.0.text"),
        (json!({ "coalesce": { "after": 1001 } }), "coalesce.after"),
        (json!({ "coalesce": { "by": "{{" } }), "coalesce.by"),
        (json!({ "on_error": "ignore" }), "on_error"),
    ];
    for (config, path) in wrong {
        let error = SinkHarness::<SlackNotifier>::new(config.clone()).err().unwrap_or_else(|| panic!("{config}"));
        assert_eq!(error.path(), path, "{config}");
    }
}

proptest! {
    /// However records are spread over channels and groups, each is told of once or rejected, and no group has more messages
    /// than it may.
    #[test]
    fn each_record_is_told_of_once(records in prop::collection::vec((0..3u8, 0..3u8, any::<bool>()), 0..60), after in 0..4usize) {
        let posted = slack();
        let config = json!({ "text": "{{n}}", "coalesce": { "after": after, "by": "{{group}}" } });
        let given = records.iter().enumerate().map(|(n, (channel, group, is_whole))| {
            let n = if *is_whole { json!(n) } else { Value::Null };
            TestRecord::of(json!({ "CHANNEL": format!("c{channel}"), "group": group, "n": n }).to_string())
        });
        let rejects = sink(config).write(given);
        let messages = posted.borrow();
        let told: Vec<&String> = messages.iter().flat_map(|message| &message.ids).collect();
        let distinct: BTreeSet<_> = told.iter().collect();
        prop_assert_eq!(distinct.len(), told.len());
        prop_assert_eq!(told.len() + rejects.len(), records.len());
        prop_assert_eq!(rejects.len(), records.iter().filter(|(_, _, is_whole)| !is_whole).count());
        prop_assert!(messages.len() <= 9 * (after + 1));
    }
}
