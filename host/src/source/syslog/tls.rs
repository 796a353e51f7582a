//! The server side of TLS: certificates from files, and whether clients must show one.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsListener;
use crate::source::Error;

/// Reads what a listener needs. The provider is named here and not taken from the process, where anyone may set it.
pub fn acceptor(settings: &TlsListener) -> Result<TlsAcceptor, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|error| unreadable(&settings.key, &error))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::stop(error.to_string()))?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| Error::stop(format!("{}: {error}", path.display())))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| Error::stop(format!("{}: {error}", path.display())))?,
            )
        }
    };
    let paths = format!("{} and {}", settings.certificate.display(), settings.key.display());
    let config = builder.with_single_cert(chain, key).map_err(|error| Error::stop(format!("{paths}: {error}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(path, &error))?;
    if certificates.is_empty() {
        return Err(Error::stop(format!("{} holds no certificate in PEM", path.display())));
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: &pem::Error) -> Error {
    Error::stop(format!("{} cannot be read: {error}", path.display()))
}
