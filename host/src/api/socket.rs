//! Where the control socket is, and how long paths get into the 108 bytes that the system has for a socket's address.
//!
//! A path that is too long is reached through a descriptor of its directory, as `/proc/self/fd/N/weir.sock`. The socket
//! is bound under another name, closed to other users and then renamed: so there is no moment at which it is open to
//! others, and the socket of a process that was killed is replaced in the same step.

use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The socket's name in the data directory.
const NAME: &str = "weir.sock";
/// Its name until it is ready.
const NEW_NAME: &str = "weir.sock.new";
/// The bytes of a path that a socket's address has room for on Linux, without the zero at its end.
const ADDRESS_BYTES_MAX: usize = 107;

/// Why there is no control socket, or why it is not reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another appliance serves it.
    #[error("{} is served by another process: it runs with the same data directory", .0.display())]
    InUse(PathBuf),
    /// Nobody serves it.
    #[error("no appliance runs with the data directory {}", .0.display())]
    NotRunning(PathBuf),
    /// It belongs to another user.
    #[error("{} belongs to another user: run the command as the user that runs the appliance", .0.display())]
    Forbidden(PathBuf),
    /// The path is too long, and there is no way around it.
    #[error(
        "{} has {} bytes; a socket's path may have {ADDRESS_BYTES_MAX}, or more where /proc is mounted: use a shorter data directory",
        .0.display(),
        .0.as_os_str().len()
    )]
    TooLong(PathBuf),
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// The path of a data directory's control socket.
pub fn path(data: &Path) -> PathBuf {
    data.join(NAME)
}

/// A control socket that is bound. It is removed when this is dropped.
#[derive(Debug)]
pub struct Listening {
    path: PathBuf,
    listener: UnixListener,
}

impl Listening {
    /// Binds the socket of a data directory, which exists.
    pub(super) fn at(data: &Path) -> Result<Listening, Error> {
        let path = path(data);
        if connect_to(data).is_ok() {
            return Err(Error::InUse(path));
        }
        let failed = |error| Error::Io { path: path.clone(), error };
        let new = data.join(NEW_NAME);
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let (address, _directory) = address(data, NEW_NAME)?;
        let listener = UnixListener::bind(address).map_err(failed)?;
        std::fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(failed)?;
        std::fs::rename(&new, &path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Listening { path, listener })
    }

    /// The listener for the runtime that this is called in.
    pub(super) fn listener(&self) -> std::io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // What cannot be removed is replaced by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Connects to the control socket of a data directory.
pub(super) fn connect(data: &Path) -> Result<UnixStream, Error> {
    let stream = connect_to(data)?;
    stream.set_nonblocking(true).map_err(|error| Error::Io { path: path(data), error })?;
    Ok(stream)
}

fn connect_to(data: &Path) -> Result<UnixStream, Error> {
    let (address, _directory) = address(data, NAME)?;
    UnixStream::connect(address).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::NotRunning(data.to_owned()),
        ErrorKind::PermissionDenied => Error::Forbidden(path(data)),
        _ => Error::Io { path: path(data), error },
    })
}

/// A path to a file in a directory that fits, and what has to stay open while it is used.
fn address(data: &Path, name: &str) -> Result<(PathBuf, Option<File>), Error> {
    let direct = data.join(name);
    if direct.as_os_str().as_bytes().len() <= ADDRESS_BYTES_MAX {
        return Ok((direct, None));
    }
    let directory = File::open(data).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::NotRunning(data.to_owned()),
        _ => Error::Io { path: data.to_owned(), error },
    })?;
    let through = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    if through.symlink_metadata().is_err() {
        return Err(Error::TooLong(direct));
    }
    Ok((through.join(name), Some(directory)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening_is_reached(data: &Path) {
        let listening = Listening::at(data).unwrap();
        assert_eq!(path(data).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        connect(data).unwrap();
        assert!(matches!(Listening::at(data), Err(Error::InUse(_))));
        drop(listening);
        assert!(matches!(connect(data), Err(Error::NotRunning(_))));
        assert_eq!(std::fs::read_dir(data).unwrap().count(), 0);
    }

    #[test]
    fn a_socket_is_private_and_goes_with_its_server() {
        let data = tempfile::tempdir().unwrap();
        listening_is_reached(data.path());
    }

    #[test]
    fn a_long_path_is_reached_too() {
        let directory = tempfile::tempdir().unwrap();
        for len in [150, 255] {
            let data = directory.path().join("d".repeat(len));
            std::fs::create_dir(&data).unwrap();
            listening_is_reached(&data);
        }
        let missing = directory.path().join("m".repeat(150));
        assert!(matches!(connect(&missing), Err(Error::NotRunning(_))));
    }

    #[test]
    fn the_socket_of_a_killed_process_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        let dead = UnixListener::bind(path(data.path())).unwrap();
        drop(dead);
        std::fs::write(data.path().join(NEW_NAME), "").unwrap();
        assert!(path(data.path()).exists());
        let _listening = Listening::at(data.path()).unwrap();
        connect(data.path()).unwrap();
    }
}
