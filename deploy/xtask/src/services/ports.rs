//! The ports of a server: picked once, written down, and the same at every start.

use std::collections::hash_map::RandomState;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{Read as _, Seek as _, Write as _};
use std::net::TcpListener;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// Below the range from which the kernel takes ports for outgoing connections: nobody takes one while its server is down.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

/// The name of the port that Kafka tells the clients of one of its listeners: a proxy's.
pub const ADVERTISED: &str = "advertised";

const FILE: &str = "ports";

/// Where it is written which folder a port was picked for, for all that pick at the same time: between a choice and the start of
/// its server nothing listens.
const CLAIMS: &str = "weir-ports";

/// Ports by what they are for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ports(Vec<(String, u16)>);

impl Ports {
    /// Picks ports that nobody has now, for the servers of a folder: nobody else picks them while it exists.
    pub fn pick(purposes: &[&str], advertised: Option<u16>, directory: &Path) -> Result<Self> {
        let claims = env::temp_dir().join(CLAIMS);
        fs::create_dir_all(&claims).context(|| claims.display())?;
        let owner = std::path::absolute(directory).context(|| directory.display())?;
        release(&claims, &owner)?;
        let named = |purpose: &&str| Ok(((*purpose).to_owned(), free(&claims, &owner)?));
        let mut ports = purposes.iter().map(named).collect::<Result<Vec<_>>>()?;
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

fn free(claims: &Path, owner: &Path) -> Result<u16> {
    for attempt in 0..1_000_u32 {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(attempt);
        let port = FIRST + (hasher.finish() % u64::from(COUNT)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && claim(&claims.join(port.to_string()), owner)? {
            return Ok(port);
        }
    }
    Err(Error::new(format_args!("found no free port from {FIRST} to {}", FIRST + COUNT)))
}

/// Takes what nobody has whose folder exists; whether it did.
fn claim(path: &Path, owner: &Path) -> Result<bool> {
    let mut claim = Claim::open(path)?;
    let holder = claim.holder()?;
    if !holder.as_os_str().is_empty() && holder.exists() {
        return Ok(false);
    }
    claim.give(owner)?;
    Ok(true)
}

/// Lets go of what was picked for a folder before.
fn release(claims: &Path, owner: &Path) -> Result<()> {
    for entry in fs::read_dir(claims).context(|| claims.display())? {
        let path = entry.context(|| claims.display())?.path();
        let mut claim = Claim::open(&path)?;
        if claim.holder()? == owner {
            claim.give(Path::new(""))?;
        }
    }
    Ok(())
}

/// The file that names the folder which a port was picked for; locked until this is dropped.
struct Claim<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Claim<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.context(|| path.display())?;
        file.lock().context(|| path.display())?;
        Ok(Claim { path, file })
    }

    fn holder(&mut self) -> Result<PathBuf> {
        let mut holder = Vec::new();
        self.file.read_to_end(&mut holder).context(|| self.path.display())?;
        Ok(OsString::from_vec(holder).into())
    }

    fn give(&mut self, owner: &Path) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.and_then(|()| self.file.write_all(owner.as_os_str().as_bytes())).context(|| self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_different_and_below_the_kernels_range() {
        let ports = Ports::pick(&["a", "b", "c"], Some(9), &env::temp_dir()).unwrap();
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
    fn a_port_is_picked_for_one_folder_while_that_exists() {
        let directory = env::temp_dir().join(format!("weir-claims-{}", std::process::id()));
        let (claims, first) = (directory.join("claims"), directory.join("first"));
        fs::create_dir_all(&claims).unwrap();
        fs::create_dir(&first).unwrap();
        let port = claims.join("15000");
        assert!(claim(&port, &first).unwrap());
        assert!(!claim(&port, &directory).unwrap());
        fs::remove_dir(&first).unwrap();
        assert!(claim(&port, &directory).unwrap());
        assert!(!claim(&port, &first).unwrap());
        fs::create_dir(&first).unwrap();
        release(&claims, &directory).unwrap();
        assert!(claim(&port, &first).unwrap());
        fs::remove_dir_all(&directory).unwrap();
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
