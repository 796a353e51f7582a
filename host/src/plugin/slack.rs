//! The interface `slack` as a guest calls it: what it names is looked up among what its step was granted.
//!
//! Judges what a guest hands over; messages are posted by `endpoint/slack`.

use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::bindings::{SLACK, SlackFailureIn, SlackMessageOut, SlackRejection};
use super::limits::{State, cut, one_line};
use super::reach::{Ending, Reach, link_again};
use crate::endpoint::slack::{Client, Failure, Message};

/// Messages of one call.
const MESSAGES_MAX: usize = 10_000;
/// Ids of records of one call.
const IDS_MAX: usize = 100_000;

/// What a step was granted of Slack.
pub(super) type Workspaces = Reach<Client>;

/// More than a call may hold. Shown as the cause of the trap.
#[derive(Debug, thiserror::Error)]
enum TooMany {
    #[error("slack: it posts {0} messages at once, {MESSAGES_MAX} are allowed")]
    Messages(usize),
    #[error("slack: it names {0} records at once, {IDS_MAX} are allowed")]
    Ids(usize),
}

/// Links Slack, where the component wants it.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    type Known = std::result::Result<Vec<bool>, SlackFailureIn>;
    type Posted = Vec<std::result::Result<(), SlackFailureIn>>;
    let mut interface = linker.instance(SLACK)?;
    type Asked = (String, Vec<String>);
    interface.func_wrap_async("told", |store: StoreContextMut<'_, State>, (endpoint, ids): Asked| {
        Box::new(async move {
            if ids.len() > IDS_MAX {
                return Err(TooMany::Ids(ids.len()).into());
            }
            let ids: Vec<String> = ids.iter().map(|id| own(store.data(), id)).collect();
            let known = match store.data().workspaces.client(&endpoint) {
                Ok(client) => client.told(&ids).await,
                Err(why) => Err(Failure::Refused(why)),
            };
            Ok((known.map_err(failure) as Known,))
        })
    })?;
    type Given = (String, Vec<SlackMessageOut>);
    interface.func_wrap_async("post", |store: StoreContextMut<'_, State>, (endpoint, given): Given| {
        Box::new(async move {
            if given.len() > MESSAGES_MAX {
                return Err(TooMany::Messages(given.len()).into());
            }
            let ids: usize = given.iter().map(|message| message.ids.len()).sum();
            if ids > IDS_MAX {
                return Err(TooMany::Ids(ids).into());
            }
            let count = given.len();
            let given: Vec<Message> = given.into_iter().map(|of| message(of, store.data())).collect();
            let workspaces = &store.data().workspaces;
            let posted = match workspaces.client(&endpoint) {
                Ok(client) => client.post(given, workspaces.wait_left).await,
                Err(why) => vec![Err(Failure::Refused(why)); count],
            };
            Ok((posted.into_iter().map(|posted| posted.map_err(failure)).collect::<Posted>(),))
        })
    })?;
    link_again(&mut interface)?;
    interface.func_wrap("stop", |_: StoreContextMut<'_, State>, (why,): (String,)| -> Result<()> {
        Err(Ending::Stop(one_line(cut(&why))).into())
    })
}

/// A name that a guest gives to something of its own: no other step can give the same.
fn own(state: &State, name: &str) -> String {
    format!("{}/{name}", state.whose())
}

fn message(of: SlackMessageOut, state: &State) -> Message {
    let SlackMessageOut { channel, text, blocks, thread, unfurl, ids } = of;
    let ids = ids.iter().map(|id| own(state, id)).collect();
    Message { channel, text, blocks, thread: thread.map(|name| own(state, &name)), unfurl, ids }
}

fn failure(of: Failure) -> SlackFailureIn {
    match of {
        Failure::Refused(why) => SlackFailureIn::Refused(why),
        Failure::Rejected(why) => SlackFailureIn::Rejected(SlackRejection { code: why.code, details: why.details }),
        Failure::Unavailable(why) => SlackFailureIn::Unavailable(why),
    }
}
