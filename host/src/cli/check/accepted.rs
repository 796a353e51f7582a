//! Holds what plugins are against what was accepted of them: by `weir.lock`, or else when they were used last.

use std::path::Path;
use std::sync::Arc;

use super::plugins::{Plugins, UsedPlugin};
use crate::accept::{Accepted, Consent, Error, LOCK_FILE, Used, accepted_file, lock_file};
use crate::config::{Loaded, Problem};

/// Judges all uses of plugins. What is not accepted becomes a problem of its pipelines.
pub fn judge(loaded: &Loaded, path: &Path, found: &mut Plugins, consent: Consent) {
    let lock = lock_file(path);
    let judged = match Accepted::read(&lock) {
        Ok(Some(locked)) => Ok(against_lock(found, &locked)),
        Ok(None) if consent == Consent::Given => Ok(Vec::new()),
        Ok(None) => Accepted::read(&accepted_file(&loaded.config.data)).map(|before| match before {
            Some(before) => against_before(found, &before),
            None => Vec::new(),
        }),
        Err(error) => Err(error),
    };
    match judged {
        Ok(problems) => problems.into_iter().for_each(|(problem, of)| found.add(problem, &of)),
        Err(error) => {
            let all: Vec<Arc<str>> = loaded.config.pipelines.keys().cloned().collect();
            found.add(Problem::unavailable("unreadable-lock", error.to_string()), &all);
        }
    }
}

/// Keeps what is used now, but for pipelines that were refused, as what is accepted.
pub fn keep(loaded: &Loaded, found: &Plugins, is_refused: impl Fn(&str) -> bool) -> Result<(), Error> {
    let path = accepted_file(&loaded.config.data);
    let before = Accepted::read(&path)?;
    let mut uses = before.as_ref().map(|before| before.uses.clone()).unwrap_or_default();
    for used in found.uses.iter().filter(|used| !used.pipelines.iter().any(|name| is_refused(name))) {
        if let Some(earlier) = uses.insert(used.name.clone(), used.used.clone()) {
            for line in used.used.difference(&earlier) {
                tracing::info!(step = %used.name, plugin = %used.used.plugin, "another version: {}", line.trim());
            }
        }
    }
    let now = Accepted::new(uses);
    if before.as_ref() == Some(&now) { Ok(()) } else { now.write(&path) }
}

type Found = Vec<(Problem, Vec<Arc<str>>)>;

/// With a lock nothing else is used than what it pins.
fn against_lock(found: &Plugins, locked: &Accepted) -> Found {
    let judge = |of: &UsedPlugin| {
        let plugin = &of.used.plugin;
        let message = match locked.uses.get(&of.name) {
            None => format!("{LOCK_FILE} does not have `{plugin}` in `{}`", of.name),
            Some(pinned) if pinned == &of.used => return None,
            Some(pinned) => {
                format!("`{plugin}` in `{}` is not what {LOCK_FILE} pins{}", of.name, listed(&of.used, pinned))
            }
        };
        let problem = Problem::error("not-locked", message).at(&of.place, "used here");
        Some((problem.help("`weir lock FILE` accepts what is there now"), of.pipelines.clone()))
    };
    found.uses.iter().filter_map(judge).collect()
}

/// Without one, another version of a plugin may be used unless it wants more.
fn against_before(found: &Plugins, before: &Accepted) -> Found {
    let judge = |of: &UsedPlugin| {
        let earlier = before.uses.get(&of.name).filter(|earlier| earlier.hash != of.used.hash)?;
        let more = of.used.beyond(earlier);
        if more.is_empty() {
            return None;
        }
        let plugin = &of.used.plugin;
        let (name, difference) = (&of.name, listed(&of.used, earlier));
        let message = format!("this version of `{plugin}` in `{name}` wants more than the one before{difference}");
        let problem = Problem::error("wants-more", message).at(&of.place, "used here");
        let help = "if it may: `weir run --accept`, or `weir reload --accept` while it runs";
        Some((problem.help(help), of.pipelines.clone()))
    };
    found.uses.iter().filter_map(judge).collect()
}

fn listed(now: &Used, before: &Used) -> String {
    now.difference(before).iter().map(|line| format!("\n  {line}")).collect()
}
