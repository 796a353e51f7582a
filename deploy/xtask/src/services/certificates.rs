//! Certificates for one server: an authority, a server's for 127.0.0.1 and localhost, a client's, and an authority that has
//! signed nothing, for those who want to be refused.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::apt;
use crate::error::{Context, Error, Result};
use crate::process;

/// The folder for them in that of a server.
pub const FOLDER: &str = "tls";

const DAYS: &str = "3650";

/// Makes them in `tls` of a folder. The client's certificate names `user`.
pub fn make(dir: &Path, user: &str) -> Result<()> {
    if process::on_path("openssl").is_none() {
        apt::install_named(&["openssl"], "openssl, which makes the certificates of the servers")?;
    }
    let tls = dir.join(FOLDER);
    fs::create_dir_all(&tls).context(|| tls.display())?;
    authority(&tls, "ca", "Weir test authority")?;
    authority(&tls, "other-ca", "Another test authority")?;
    signed(&tls, "server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")?;
    signed(&tls, "client", user, "extendedKeyUsage=clientAuth\n")?;
    // Kafka wants all in one file.
    let parts: Result<Vec<Vec<u8>>> =
        ["server.key", "server.pem", "ca.pem"].iter().map(|name| read(&tls, name)).collect();
    let store = tls.join("keystore.pem");
    fs::write(&store, parts?.concat()).context(|| store.display())
}

fn read(tls: &Path, name: &str) -> Result<Vec<u8>> {
    let path = tls.join(name);
    fs::read(&path).context(|| path.display())
}

fn authority(tls: &Path, name: &str, subject: &str) -> Result<()> {
    let mut command = openssl(tls, &["req", "-x509", "-days", DAYS]);
    command.args(KEY).args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
    command.args(["-subj", &format!("/CN={subject}"), "-addext", "basicConstraints=critical,CA:TRUE"]);
    command.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
    process::output(&mut command).map(drop)
}

fn signed(tls: &Path, name: &str, subject: &str, extensions: &str) -> Result<()> {
    let [key, request, extra, out] = ["key", "csr", "ext", "pem"].map(|ending| format!("{name}.{ending}"));
    fs::write(tls.join(&extra), format!("basicConstraints=CA:FALSE\n{extensions}")).context(|| tls.display())?;
    let mut ask = openssl(tls, &["req"]);
    ask.args(KEY).args(["-keyout", &key, "-out", &request, "-subj", &format!("/CN={subject}")]);
    process::output(&mut ask)?;
    let mut sign = openssl(tls, &["x509", "-req", "-days", DAYS, "-CA", "ca.pem", "-CAkey", "ca.key"]);
    sign.args(["-CAcreateserial", "-in", &request, "-extfile", &extra, "-out", &out]);
    process::output(&mut sign).map(drop)
}

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

fn openssl(tls: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(tls).args(arguments);
    command
}

/// Says that a server's certificates are there, for its configuration.
pub fn path(dir: &Path, name: &str) -> Result<String> {
    let path = dir.join(FOLDER).join(name);
    if path.is_file() {
        Ok(path.display().to_string())
    } else {
        Err(Error::new(format_args!("{}: is missing", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_vouches_for_the_server_and_the_other_does_not() {
        let dir = std::env::temp_dir().join(format!("weir-certificates-{}", std::process::id()));
        make(&dir, "weir").unwrap();
        let verify = |authority: &str, name: &str| {
            let mut command = openssl(&dir.join(FOLDER), &["verify", "-CAfile", authority, name]);
            process::output(&mut command)
        };
        assert!(verify("ca.pem", "server.pem").is_ok() && verify("ca.pem", "client.pem").is_ok());
        assert!(verify("other-ca.pem", "server.pem").is_err());
        let subject =
            process::output(openssl(&dir.join(FOLDER), &["x509", "-noout", "-subject"]).args(["-in", "client.pem"]));
        assert!(subject.unwrap().contains("weir"));
        assert!(path(&dir, "keystore.pem").is_ok() && path(&dir, "absent.pem").is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
