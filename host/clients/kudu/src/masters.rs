//! The masters: which of them leads, and calls to that one, whatever becomes of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::options::Address;
use crate::proto::common::HostPort;
use crate::proto::master::{self, Answer, ConnectToMasterRequest, ConnectToMasterResponse};
use crate::retry::{Backoff, Deadline};
use crate::rpc::{Call, Peer, Pool};

/// The longest that one call may take before it is tried again.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// The longest that a master may take to say whether it leads.
const ROLE_MAX: Duration = Duration::from_secs(5);

/// The masters of one cluster.
#[derive(Debug)]
pub struct Masters {
    pool: Arc<Pool>,
    /// Those that the caller named, and those that a leader named.
    known: Mutex<Vec<Address>>,
    /// Held while the leader is looked for, so that it is looked for once.
    leader: tokio::sync::Mutex<Option<Address>>,
}

impl Masters {
    pub fn new(pool: Arc<Pool>) -> Result<Self> {
        let known = Mutex::new(pool.options().addresses()?);
        Ok(Masters { pool, known, leader: tokio::sync::Mutex::default() })
    }

    /// Calls the leader, and tries again while there is time and sense in it.
    ///
    /// What changes a table may have been done by a try that got no answer: `is_done` tells such an error, which is then as
    /// good as an answer.
    pub async fn call<A: Answer>(
        &self,
        method: &'static str,
        request: &impl Message,
        deadline: &Deadline,
        is_done: fn(&Error) -> bool,
    ) -> Result<A> {
        let mut backoff = Backoff::default();
        let mut in_doubt = false;
        loop {
            let error = match self.attempt(method, request, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) if in_doubt && is_done(&error) => return Ok(A::default()),
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) => error,
            };
            in_doubt |= error.leaves_doubt();
            tracing::debug!(method, %error, "asking the masters again");
            if !backoff.pause(deadline).await {
                return Err(deadline.error(method, &error, in_doubt));
            }
        }
    }

    async fn attempt<A: Answer>(&self, method: &'static str, request: &impl Message, deadline: &Deadline) -> Result<A> {
        let leader = self.leader(deadline).await?;
        let result = ask(&self.pool, &leader, method, request, deadline.attempt(ATTEMPT_MAX)).await;
        // Whoever leads now is found out at the next try.
        if result.as_ref().is_err_and(Error::is_retriable) {
            self.forget(&leader).await;
        }
        result
    }

    /// Looks for the leader again, which hands out a new token.
    pub async fn renew(&self, deadline: &Deadline) -> Result<()> {
        *self.leader.lock().await = None;
        self.leader(deadline).await.map(drop)
    }

    async fn forget(&self, old: &Address) {
        let mut leader = self.leader.lock().await;
        if leader.as_ref() == Some(old) {
            *leader = None;
        }
    }

    async fn leader(&self, deadline: &Deadline) -> Result<Address> {
        let mut leader = self.leader.lock().await;
        if let Some(address) = leader.as_ref() {
            return Ok(address.clone());
        }
        let (address, answer) = self.find_leader(deadline.attempt(ROLE_MAX)).await?;
        self.pool.learn(&answer.ca_cert_der, answer.authn_token);
        self.learn(&answer.master_addrs);
        tracing::debug!(%address, "found the leader of the masters");
        Ok(leader.insert(address).clone())
    }

    /// Asks all masters at once.
    async fn find_leader(&self, until: Instant) -> Result<(Address, ConnectToMasterResponse)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let masters = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut asked = JoinSet::new();
        for address in known {
            let pool = Arc::clone(&self.pool);
            asked.spawn(async move {
                let answer = ask(&pool, &address, "ConnectToMaster", &ConnectToMasterRequest {}, until).await;
                (address, answer)
            });
        }
        let (mut reasons, mut retriable) = (Vec::new(), false);
        while let Some(answered) = asked.join_next().await {
            let (address, answer): (Address, Result<ConnectToMasterResponse>) = match answered {
                Ok(answered) => answered,
                Err(error) => return Err(Error::Invalid(format!("asking a master failed: {error}"))),
            };
            match answer {
                Ok(answer) if answer.role == Some(master::ROLE_LEADER) => return Ok((address, answer)),
                Ok(_) => {
                    retriable = true;
                    reasons.push(format!("{address} follows"));
                }
                Err(error) => {
                    retriable |= error.is_retriable();
                    reasons.push(error.to_string());
                }
            }
        }
        Err(Error::NoLeader { masters, reason: reasons.join("; "), retriable })
    }

    /// Takes over the masters that a leader names, so that its successor is found though the caller did not name it.
    fn learn(&self, named: &[HostPort]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for address in named.iter().filter_map(address) {
            if !known.contains(&address) && known.len() < MASTERS_MAX {
                known.push(address);
            }
        }
    }
}

/// More masters than any cluster has.
const MASTERS_MAX: usize = 64;

/// An address that a server names.
pub fn address(named: &HostPort) -> Option<Address> {
    Some(Address { host: named.host.clone(), port: u16::try_from(named.port).ok()? })
}

/// Asks one master.
async fn ask<A: Answer>(
    pool: &Pool,
    address: &Address,
    method: &'static str,
    request: &impl Message,
    until: Instant,
) -> Result<A> {
    let connection = pool.get(Peer::Master, address, until).await?;
    let call = Call { service: master::SERVICE, method, until, id: None };
    let response = connection.call(&call, request).await?;
    let mut answer = A::decode(response.body)
        .map_err(|error| Error::protocol(connection.address(), "an answer", error.to_string()))?;
    match answer.take_error() {
        Some(error) => Err(Error::Master { method, code: error.code, status: error.status.into() }),
        None => Ok(answer),
    }
}
