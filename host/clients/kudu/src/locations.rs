//! Where the tablets of a table are, as a master told last, and which replica led when it was last asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::error::Result;
use crate::masters::{self, Masters};
use crate::options::Address;
use crate::proto::master::{
    GetTableLocationsRequest, GetTableLocationsResponse, ROLE_LEADER, TableIdentifier, TabletLocations,
    TabletServerInfo,
};
use crate::retry::Deadline;

/// Tablets in one answer of a master.
const PAGE: u32 = 64;

/// A row that no tablet covers makes a master be asked again, as a range may be new, but not more often than this.
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// A tablet and its replicas.
#[derive(Debug)]
pub struct Tablet {
    pub id: Bytes,
    start: Bytes,
    /// Empty where the tablet has no end.
    end: Bytes,
    pub replicas: Vec<Address>,
    /// The index of the replica that is taken to lead.
    leader: AtomicUsize,
}

impl Tablet {
    fn from_wire(tablet: &TabletLocations, servers: &[TabletServerInfo]) -> Self {
        let partition = tablet.partition.clone().unwrap_or_default();
        let (mut replicas, mut leader) = (Vec::new(), 0);
        for replica in &tablet.interned_replicas {
            let server = servers.get(replica.ts_info_idx as usize);
            let address = server.and_then(|server| server.rpc_addresses.first()).and_then(masters::address);
            if let Some(address) = address {
                if replica.role == ROLE_LEADER {
                    leader = replicas.len();
                }
                replicas.push(address);
            }
        }
        Tablet {
            id: tablet.tablet_id.clone(),
            start: partition.partition_key_start.unwrap_or_default(),
            end: partition.partition_key_end.unwrap_or_default(),
            replicas,
            leader: AtomicUsize::new(leader),
        }
    }

    fn covers(&self, key: &[u8]) -> bool {
        self.start <= key && (self.end.is_empty() || self.end > key)
    }

    /// The tablet's id as text.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.id).into_owned()
    }

    /// The replica to ask: the leader before the others, and those that are suspected to hang last. Nothing where all have
    /// been tried.
    pub fn replica(&self, tried: &[usize], is_suspect: impl Fn(&Address) -> bool) -> Option<(usize, &Address)> {
        let leader = self.leader.load(Ordering::Relaxed);
        let untried = self.replicas.iter().enumerate().filter(|(index, _)| !tried.contains(index));
        untried.min_by_key(|(index, address)| (is_suspect(address), *index != leader))
    }

    /// Remembers which replica led.
    pub fn led(&self, index: usize) {
        self.leader.store(index, Ordering::Relaxed);
    }
}

/// All tablets of a table, by ascending key.
#[derive(Debug)]
pub struct Tablets {
    tablets: Vec<Arc<Tablet>>,
    asked: Instant,
}

impl Tablets {
    /// All of them.
    pub fn all(&self) -> &[Arc<Tablet>] {
        &self.tablets
    }

    /// The tablet of a row, by its index.
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let index = self.tablets.partition_point(|tablet| tablet.start <= key).checked_sub(1)?;
        self.tablets.get(index)?.covers(key).then_some(index)
    }
}

/// The tablets of one table, asked for once and again when they have moved.
#[derive(Debug)]
pub struct Locations {
    table: Bytes,
    known: RwLock<Option<Arc<Tablets>>>,
    /// Held while a master is asked, so that it is asked once.
    asking: tokio::sync::Mutex<()>,
}

impl Locations {
    pub fn new(table: Bytes) -> Self {
        Locations { table, known: RwLock::default(), asking: tokio::sync::Mutex::default() }
    }

    fn known(&self) -> Option<Arc<Tablets>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The tablets as they were last known.
    pub async fn get(&self, masters: &Masters, deadline: &Deadline) -> Result<Arc<Tablets>> {
        match self.known() {
            Some(tablets) => Ok(tablets),
            None => self.refresh(masters, deadline, None).await,
        }
    }

    /// The tablets as they are now, unless somebody has asked since `seen`, which turned out to be wrong.
    pub async fn refresh(
        &self,
        masters: &Masters,
        deadline: &Deadline,
        seen: Option<&Arc<Tablets>>,
    ) -> Result<Arc<Tablets>> {
        let _asking = self.asking.lock().await;
        if let Some(known) = self.known()
            && seen.is_none_or(|seen| !Arc::ptr_eq(seen, &known))
        {
            return Ok(known);
        }
        let tablets = Arc::new(self.ask(masters, deadline).await?);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&tablets));
        Ok(tablets)
    }

    /// As [`Locations::refresh`], for a row that no tablet covers.
    pub async fn refresh_uncovered(
        &self,
        masters: &Masters,
        deadline: &Deadline,
        seen: &Arc<Tablets>,
    ) -> Result<Arc<Tablets>> {
        if seen.asked.elapsed() < REFRESH_MIN {
            return Ok(Arc::clone(seen));
        }
        self.refresh(masters, deadline, Some(seen)).await
    }

    async fn ask(&self, masters: &Masters, deadline: &Deadline) -> Result<Tablets> {
        let mut tablets: Vec<Arc<Tablet>> = Vec::new();
        let mut start = None;
        loop {
            let request = GetTableLocationsRequest {
                table: TableIdentifier { table_id: Some(self.table.clone()), table_name: None },
                partition_key_start: start,
                max_returned_locations: Some(PAGE),
                intern_ts_infos_in_response: Some(true),
            };
            let answer: GetTableLocationsResponse =
                masters.call("GetTableLocations", &request, deadline, |_| false).await?;
            let (count, known) = (answer.tablet_locations.len(), tablets.len());
            let page = answer.tablet_locations.iter().map(|tablet| Tablet::from_wire(tablet, &answer.ts_infos));
            // A page may begin with the last tablet of the one before, even where that ends below the key that was asked for.
            let seen = tablets.last().map(|tablet| tablet.id.clone());
            tablets.extend(page.skip_while(|tablet| Some(&tablet.id) == seen.as_ref()).map(Arc::new));
            let end = tablets.last().map(|tablet| tablet.end.clone()).unwrap_or_default();
            if count < PAGE as usize || tablets.len() == known || end.is_empty() {
                break;
            }
            start = Some(end);
        }
        // Finding a row relies on the order, and ranges with hash buckets of their own come in another.
        tablets.sort_by(|a, b| a.start.cmp(&b.start));
        Ok(Tablets { tablets, asked: Instant::now() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tablets(bounds: &[(&'static str, &'static str)]) -> Tablets {
        let tablet = |(start, end): &(&'static str, &'static str)| {
            let replica = |port| Address { host: "h".to_owned(), port };
            Arc::new(Tablet {
                id: Bytes::from_static(start.as_bytes()),
                start: Bytes::from_static(start.as_bytes()),
                end: Bytes::from_static(end.as_bytes()),
                replicas: vec![replica(1), replica(2), replica(3)],
                leader: AtomicUsize::new(1),
            })
        };
        Tablets { tablets: bounds.iter().map(tablet).collect(), asked: Instant::now() }
    }

    #[tokio::test]
    async fn a_row_is_in_the_tablet_whose_range_holds_its_key() {
        let tablets = tablets(&[("", "b"), ("b", "d"), ("f", "")]);
        let find = |key: &str| tablets.find(key.as_bytes());
        assert_eq!([find("a"), find("b"), find("d"), find("zzz")], [Some(0), Some(1), None, Some(2)]);
    }

    #[tokio::test]
    async fn the_leader_is_asked_first_and_then_the_others() {
        let tablets = tablets(&[("", "")]);
        let tablet = &tablets.all()[0];
        let port = |tried: &[usize], suspect: u16| {
            tablet.replica(tried, |address| address.port == suspect).map(|(_, address)| address.port)
        };
        assert_eq!([port(&[], 0), port(&[1], 0), port(&[1, 0], 0)], [Some(2), Some(1), Some(3)]);
        assert_eq!(port(&[0, 1, 2], 0), None);
        // One that hangs is asked last, whether it leads or not.
        assert_eq!([port(&[], 2), port(&[0], 2), port(&[0, 2], 2)], [Some(1), Some(3), Some(2)]);
        tablet.led(0);
        assert_eq!(port(&[], 0), Some(1));
    }
}
