//! Syslog over UDP (RFC 5426): one datagram, one message.

use std::io;
use std::net::{IpAddr, UdpSocket as StdSocket};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::MissedTickBehavior;

use super::connection::LAST_WAIT;
use super::framing::message;
use super::{Shared, peer_headers};
use crate::record::{Batch, Offset};
use crate::source::unconfirmed::Unconfirmed;
use crate::source::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Error};

/// More than the largest datagram that IPv4 and IPv6 without jumbograms can carry.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;
/// How often the kernel is asked how many datagrams it dropped.
const DROPS_EVERY: Duration = Duration::from_secs(1);
/// Batches that are still taken from the socket's buffer when the listener is told to stop.
const LAST_BATCHES_MAX: usize = 64;

/// Receives until it is told to stop, then takes in what the socket's buffer holds.
pub async fn receive(socket: StdSocket, shared: Shared) -> Result<(), Error> {
    let drops = Drops::new(&socket, &shared);
    let socket = UdpSocket::from_std(socket).map_err(|error| failed(&error))?;
    let mut receiver = Receiver {
        buffer: vec![0; DATAGRAM_BYTES_MAX],
        peer: None,
        batch: Batch::default(),
        unconfirmed: shared.unconfirmed(),
        socket,
        shared,
    };
    let result = tokio::select! {
        result = receiver.run() => result,
        () = drops.keep_counting() => Ok(()),
    };
    drops.count();
    result?;
    receiver.unconfirmed.finish().await
}

struct Receiver {
    socket: UdpSocket,
    shared: Shared,
    buffer: Vec<u8>,
    /// The last peer, and its headers: most datagrams come from the same few.
    peer: Option<(IpAddr, Vec<u8>)>,
    batch: Batch,
    unconfirmed: Unconfirmed,
}

impl Receiver {
    async fn run(&mut self) -> Result<(), Error> {
        let mut stop = self.shared.stop.clone();
        loop {
            tokio::select! { biased;
                confirmed = self.unconfirmed.confirmed() => confirmed?,
                () = stop.stopped() => break,
                readable = self.socket.readable() => {
                    readable.map_err(|error| failed(&error))?;
                    self.take_available().await?;
                }
            }
        }
        for _ in 0..LAST_BATCHES_MAX {
            let Ok(readable) = tokio::time::timeout(LAST_WAIT, self.socket.readable()).await else { break };
            readable.map_err(|error| failed(&error))?;
            self.take_available().await?;
        }
        Ok(())
    }

    /// Takes in the datagrams that are there, up to a batch of them. While the intake has no room the socket's buffer
    /// holds what comes.
    async fn take_available(&mut self) -> Result<(), Error> {
        let now = self.shared.clock.now();
        while self.batch.len() < BATCH_RECORDS_MAX && self.batch.bytes() < BATCH_BYTES_MAX {
            let (len, peer) = match self.socket.try_recv_from(&mut self.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An error of an earlier answer, which the kernel reports on the socket: there is nothing to repeat.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(failed(&error)),
            };
            let datagram = self.buffer.get(..len).unwrap_or_default();
            let Some(message) = message(datagram, len as u64, self.shared.message_bytes_max) else { continue };
            let headers = match &mut self.peer {
                Some((last, headers)) if *last == peer.ip() => headers,
                other => &mut other.insert((peer.ip(), peer_headers(peer.ip()))).1,
            };
            message.push_to(&mut self.batch, headers, Offset(0), now);
        }
        self.unconfirmed.send(std::mem::take(&mut self.batch)).await
    }
}

/// Counts the datagrams that the kernel dropped because the socket's buffer was full.
struct Drops {
    shared: Shared,
    inode: u64,
    table: &'static str,
    counted: std::sync::atomic::AtomicU64,
}

impl Drops {
    fn new(socket: &StdSocket, shared: &Shared) -> Self {
        let inode = rustix::fs::fstat(socket.as_fd()).map_or(0, |stat| stat.st_ino);
        let is_ipv6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
        let table = if is_ipv6 { "/proc/net/udp6" } else { "/proc/net/udp" };
        let drops = Drops { shared: shared.clone(), inode, table, counted: Default::default() };
        if drops.read().is_none() {
            tracing::warn!(source = %shared.name, "{table} does not tell of the socket: dropped datagrams are not counted");
        }
        drops
    }

    async fn keep_counting(&self) {
        let mut interval = tokio::time::interval(DROPS_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.count();
        }
    }

    fn count(&self) {
        let Some(drops) = self.read() else { return };
        let before = self.counted.swap(drops, Ordering::Relaxed);
        let new = drops.saturating_sub(before);
        if new > 0 {
            self.shared.received.dropped.fetch_add(new, Ordering::Relaxed);
            tracing::warn!(source = %self.shared.name, "the kernel dropped {new} datagrams: the socket's buffer was full");
        }
    }

    fn read(&self) -> Option<u64> {
        drops_of(&std::fs::read_to_string(self.table).ok()?, self.inode)
    }
}

/// The drops of a socket in the kernel's table of UDP sockets: of its fields, the tenth is the inode, the last the number
/// of dropped datagrams (proc_pid_net(5)).
fn drops_of(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let mut lines = table.lines().skip(1);
    lines.find(|line| line.split_whitespace().nth(9) == Some(&inode))?.split_whitespace().last()?.parse().ok()
}

fn failed(error: &io::Error) -> Error {
    Error::stop(format!("receiving datagrams failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_tells_the_drops_of_a_socket() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            12: 00000000:0202 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 777 2 0000000000000000 41\n\
            13: 00000000:0203 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 778 2 0000000000000000 0\n";
        assert_eq!(drops_of(table, 777), Some(41));
        assert_eq!(drops_of(table, 778), Some(0));
        assert_eq!(drops_of(table, 41), None);
    }
}
