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

/// What a step was granted of Slack.
pub(super) type Workspaces = Reach<Client>;

/// More messages than a call may post. Shown as the cause of the trap.
#[derive(Debug, thiserror::Error)]
#[error("slack: it posts {0} messages at once, {MESSAGES_MAX} are allowed")]
struct TooMany(usize);

/// Links Slack, where the component wants it.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    type Known = std::result::Result<Vec<bool>, SlackFailureIn>;
    type Posted = Vec<std::result::Result<(), SlackFailureIn>>;
    let mut interface = linker.instance(SLACK)?;
    type Asked = (String, Vec<String>);
    interface.func_wrap_async("told", |store: StoreContextMut<'_, State>, (endpoint, ids): Asked| {
        Box::new(async move {
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
                return Err(TooMany(given.len()).into());
            }
            let workspaces = &store.data().workspaces;
            let posted = match workspaces.client(&endpoint) {
                Ok(client) => client.post(given.into_iter().map(message).collect(), workspaces.wait_left).await,
                Err(why) => vec![Err(Failure::Refused(why)); given.len()],
            };
            Ok((posted.into_iter().map(|posted| posted.map_err(failure)).collect::<Posted>(),))
        })
    })?;
    link_again(&mut interface)?;
    interface.func_wrap("stop", |_: StoreContextMut<'_, State>, (why,): (String,)| -> Result<()> {
        Err(Ending::Stop(one_line(cut(&why))).into())
    })
}

fn message(of: SlackMessageOut) -> Message {
    let SlackMessageOut { channel, text, blocks, thread, unfurl, ids } = of;
    Message { channel, text, blocks, thread, unfurl, ids }
}

fn failure(of: Failure) -> SlackFailureIn {
    match of {
        Failure::Refused(why) => SlackFailureIn::Refused(why),
        Failure::Rejected(why) => SlackFailureIn::Rejected(SlackRejection { code: why.code, details: why.details }),
        Failure::Unavailable(why) => SlackFailureIn::Unavailable(why),
    }
}
