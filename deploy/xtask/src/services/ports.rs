//! The ports of a server: picked once, written down, and the same at every start.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::path::Path;

use crate::error::{Context, Error, Result};

/// Below the range from which the kernel takes ports for outgoing connections: nobody takes one while its server is down.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

/// The name of the port that Kafka tells the clients of one of its listeners: a proxy's.
pub const ADVERTISED: &str = "advertised";

const FILE: &str = "ports";

/// Ports by what they are for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ports(Vec<(String, u16)>);

impl Ports {
    /// Picks ports that nobody has now.
    pub fn pick(purposes: &[&str], advertised: Option<u16>) -> Result<Self> {
        let mut ports: Vec<(String, u16)> = Vec::new();
        // Held until all are picked, so that none is picked twice.
        let mut held = Vec::new();
        for purpose in purposes {
            let listener = free()?;
            let address = listener.local_addr().context(|| "a free port")?;
            ports.push(((*purpose).to_owned(), address.port()));
            held.push(listener);
        }
        ports.extend(advertised.map(|port| (ADVERTISED.to_owned(), port)));
        Ok(Ports(ports))
    }

    /// The ports that were picked for this folder.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let text = fs::read_to_string(&path).context(|| path.display())?;
        Self::parse(&text).ok_or_else(|| Error::new(format_args!("{}: expected lines of NAME=PORT", path.display())))
    }

    /// Writes the ports down.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        fs::write(&path, self.text()).context(|| path.display())
    }

    /// The port for a purpose.
    pub fn get(&self, purpose: &str) -> Result<u16> {
        self.find(purpose).ok_or_else(|| Error::new(format_args!("no port was picked for {purpose}")))
    }

    /// The port for a purpose that not every server of this kind has.
    pub fn find(&self, purpose: &str) -> Option<u16> {
        self.0.iter().find(|(name, _)| name == purpose).map(|(_, port)| *port)
    }

    fn text(&self) -> String {
        self.0.iter().map(|(name, port)| format!("{name}={port}\n")).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let pair = |line: &str| {
            let (name, port) = line.split_once('=')?;
            Some((name.to_owned(), port.parse().ok()?))
        };
        text.lines().map(pair).collect::<Option<Vec<_>>>().map(Ports)
    }
}

fn free() -> Result<TcpListener> {
    for attempt in 0..1_000_u32 {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(attempt);
        let port = FIRST + (hasher.finish() % u64::from(COUNT)) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener);
        }
    }
    Err(Error::new(format_args!("found no free port from {FIRST} to {}", FIRST + COUNT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_different_and_below_the_kernels_range() {
        let ports = Ports::pick(&["a", "b", "c"], Some(9)).unwrap();
        let mut numbers: Vec<u16> = ["a", "b", "c"].iter().map(|name| ports.get(name).unwrap()).collect();
        for port in &numbers {
            assert!((FIRST..FIRST + COUNT).contains(port));
            assert!(TcpListener::bind(("127.0.0.1", *port)).is_ok(), "{port} is taken");
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 3);
        assert_eq!(ports.find(ADVERTISED), Some(9));
    }

    #[test]
    fn ports_that_were_written_are_read_again() {
        let ports = Ports(vec![("amqp".to_owned(), 15_001), ("amqps".to_owned(), 15_002)]);
        assert_eq!(Ports::parse(&ports.text()), Some(ports));
        assert_eq!(Ports::parse("amqp"), None);
        assert_eq!(Ports::parse("amqp=x"), None);
    }

    #[test]
    fn a_port_that_nobody_picked_is_an_error() {
        assert!(Ports::default().get("amqp").unwrap_err().to_string().contains("amqp"));
    }
}
