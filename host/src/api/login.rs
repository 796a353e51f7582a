//! Operators who log in with the name and password that a directory knows them by, and the roles that its groups have.
//!
//! A password goes to the directory once and is then kept as a keyed hash for a short while; a wrong one makes its user wait before the
//! next, longer each time. What a group is allowed is the pipeline file's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Failure;
use crate::config::http::{Login as Settings, Role};
use crate::config::{Filter, Scope, Search};
use crate::endpoint::ldap::{self, Found, Trouble};

/// Users whose password is known to be right, and users who have to wait.
const USERS_MAX: usize = 10_000;
/// Logins that the directory is asked about at once.
const LOGINS_MAX: usize = 8;
/// How long a user waits after a wrong password; doubled with each, up to the longest.
const WAIT: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Names a user in groups of POSIX.
const UID: &str = "uid";
/// A name or password that is longer is nobody's.
const TEXT_BYTES_MAX: usize = 1 << 10;

/// A name and a password as a request shows them.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) user: String,
    password: String,
}

impl Shown {
    /// Reads what stands behind `Basic` (RFC 7617).
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let plain = String::from_utf8(BASE64.decode(text.trim_ascii()).ok()?).ok()?;
        let (user, password) = plain.split_once(':')?;
        let is_sound = !plain.chars().any(char::is_control) && plain.len() <= TEXT_BYTES_MAX;
        is_sound.then(|| Shown { user: user.to_owned(), password: password.to_owned() })
    }
}

/// Asks a directory who is who.
pub(super) struct Login {
    settings: Settings,
    client: ldap::Client,
    /// How a user is found.
    search: Search,
    /// In whose groups an entry is looked for: one with a `uid`, and one without.
    member: Option<(Filter, Filter)>,
    /// Of the hashes of passwords: other in each process.
    key: [u8; 32],
    proved: Mutex<HashMap<blake3::Hash, (Role, Instant)>>,
    failed: Mutex<HashMap<String, (u32, Instant)>>,
    /// Users that the directory is being asked about: one password of each at a time.
    asked: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    slots: Semaphore,
}

impl Login {
    pub(super) fn of(settings: &Settings) -> Self {
        let mut key = [0; 32];
        for part in key.chunks_exact_mut(8) {
            part.copy_from_slice(&crate::store::random().to_le_bytes());
        }
        Login {
            settings: settings.clone(),
            client: ldap::Client::new(settings.ldap.server.clone()),
            search: Search {
                attributes: vec![UID.to_owned()],
                lists: vec![UID.to_owned()],
                ..settings.ldap.search.clone()
            },
            // Of groupOfNames (and Active Directory), groupOfUniqueNames and posixGroup.
            member: Filter::read("(|(member={0})(uniqueMember={0})(memberUid={1}))")
                .ok()
                .zip(Filter::read("(|(member={0})(uniqueMember={0}))").ok()),
            key,
            proved: Mutex::default(),
            failed: Mutex::default(),
            asked: Mutex::default(),
            slots: Semaphore::new(LOGINS_MAX),
        }
    }

    /// What a user may do who shows this password.
    pub(super) async fn role(&self, shown: &Shown) -> Result<Role, Failure> {
        let hash = self.hash(shown);
        if let Some(known) = self.known(shown, &hash) {
            return known;
        }
        // An empty password would make the directory agree to anybody.
        if shown.user.is_empty() || shown.password.is_empty() {
            return Err(wrong("expected a user and a password, neither of them empty"));
        }
        let turn = lock(&self.asked).entry(shown.user.clone()).or_default().clone();
        let answer = tokio::time::timeout(self.settings.ldap.server.timeout, async {
            let _turn = turn.lock().await;
            let slot = self.slots.acquire().await;
            // Whoever had the turn before may have found out.
            match (self.known(shown, &hash), slot) {
                (Some(known), _) => known,
                (None, Ok(_slot)) => self.find_out(shown, hash).await,
                (None, Err(_)) => Err(no_directory("the appliance ends")),
            }
        });
        let answer = answer.await.unwrap_or_else(|_| Err(no_directory("the directory did not answer in time")));
        drop(turn);
        lock(&self.asked).retain(|_, turn| Arc::strong_count(turn) > 1);
        answer
    }

    /// What is known of a password without asking anybody.
    fn known(&self, shown: &Shown, hash: &blake3::Hash) -> Option<Result<Role, Failure>> {
        let now = Instant::now();
        if let Some((role, _)) = lock(&self.proved).get(hash).filter(|(_, until)| now < *until) {
            return Some(Ok(*role));
        }
        let (_, until) = lock(&self.failed).get(&shown.user).copied().filter(|(_, until)| now < *until)?;
        let wait = until.duration_since(now).as_millis();
        let message = format!("the last password of {:?} was wrong: try again in {wait} ms", shown.user);
        Some(Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, "too-many-logins", message)))
    }

    async fn find_out(&self, shown: &Shown, hash: blake3::Hash) -> Result<Role, Failure> {
        let now = Instant::now();
        match self.ask(shown).await {
            Ok(Some(Some(role))) => {
                lock(&self.failed).remove(&shown.user);
                let mut proved = lock(&self.proved);
                make_room(&mut proved, |(_, until)| now < *until);
                proved.insert(hash, (role, now + self.settings.ttl));
                Ok(role)
            }
            Ok(Some(None)) => {
                let message = format!("{:?} is in no group that has a role", shown.user);
                Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", message))
            }
            Ok(None) => {
                let mut failed = lock(&self.failed);
                make_room(&mut failed, |(_, until)| now < *until + WAIT_MAX);
                let (count, until) = failed.entry(shown.user.clone()).or_insert((0, now));
                *until = Instant::now() + (WAIT * 2_u32.saturating_pow(*count)).min(WAIT_MAX);
                *count = count.saturating_add(1).min(16);
                tracing::warn!(user = ?shown.user, "a login to the HTTP API was refused");
                Err(wrong("the directory knows no such user with this password"))
            }
            Err(trouble) => {
                tracing::warn!(endpoint = %self.settings.ldap.name, "nobody can log in: {trouble}");
                Err(no_directory("the directory does not answer; the appliance's log says why"))
            }
        }
    }

    /// Nothing where the user or the password is wrong; no role where the user is in no group that has one.
    async fn ask(&self, shown: &Shown) -> Result<Option<Option<Role>>, Trouble> {
        let ldap = &self.settings.ldap;
        let deadline = Instant::now() + ldap.server.timeout;
        let found = self.client.search(&self.search, &[shown.user.as_bytes()], deadline).await?;
        let Found::One(dn, told) = found else { return Ok(None) };
        if !self.client.proves(&dn, &shown.password, deadline).await? {
            return Ok(None);
        }
        let Some((by_uid, by_name)) = &self.member else { return Ok(Some(None)) };
        // What the user has typed may be another's uid, where the filter finds by something else.
        let uid = told.get(UID).and_then(|uids| uids.get(0)?.as_str());
        let values = [dn.as_bytes(), uid.unwrap_or_default().as_bytes()];
        let (member, values) = if uid.is_some() { (by_uid, &values[..]) } else { (by_name, &values[..1]) };
        for (group, role) in &self.settings.groups {
            let search = Search {
                base: group.clone(),
                scope: Scope::Base,
                filter: member.clone(),
                attributes: Vec::new(),
                lists: Vec::new(),
            };
            match self.client.search(&search, values, deadline).await {
                Ok(Found::Nothing) => {}
                Ok(Found::One(..) | Found::Several) => return Ok(Some(Some(*role))),
                Err(trouble) if trouble.is_no_object() => {
                    tracing::warn!(endpoint = %ldap.name, "there is no group {group:?} that could be seen: nobody is in it");
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(Some(None))
    }

    fn hash(&self, shown: &Shown) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(shown.user.len() as u64).to_le_bytes());
        hasher.update(shown.user.as_bytes()).update(shown.password.as_bytes());
        hasher.finalize()
    }
}

fn wrong(message: &str) -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "bad-login", message)
}

fn no_directory(message: &str) -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "no-directory", message)
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where it is full, what does not count any more goes; and where all of it counts, all of it.
fn make_room<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, counts: impl Fn(&V) -> bool) {
    if map.len() >= USERS_MAX {
        map.retain(|_, value| counts(value));
    }
    if map.len() >= USERS_MAX {
        map.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_password_are_read_or_are_none() {
        let read = |text: &str| Shown::read(BASE64.encode(text).as_bytes()).map(|shown| (shown.user, shown.password));
        assert_eq!(read("ada:a:b"), Some(("ada".into(), "a:b".into())));
        assert_eq!(read("zoe:påss"), Some(("zoe".into(), "påss".into())));
        assert_eq!(read("ada:"), Some(("ada".into(), String::new())));
        for wrong in ["ada", "ada:a\nb", "a\0:b", &format!("ada:{}", "x".repeat(2_000))] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert!(Shown::read(b"not base64").is_none());
    }
}
