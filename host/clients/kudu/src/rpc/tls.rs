//! Whose certificates are believed, and the settings of TLS that follow from it.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Result};

/// The authorities that are believed.
#[derive(Debug)]
pub struct Trust {
    /// Those that the caller gave.
    given: RootCertStore,
    /// Those that the caller gave and those that the leader master named.
    all: RwLock<Arc<RootCertStore>>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// Believes in what the caller gave, as PEM.
    pub fn new(authority: Option<&[u8]>) -> Result<Self> {
        let mut given = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.unwrap_or_default()) {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            given.add(certificate).map_err(|error| invalid(error.to_string()))?;
        }
        if authority.is_some() && given.is_empty() {
            return Err(invalid("none".to_owned()));
        }
        let all = RwLock::new(Arc::new(given.clone()));
        Ok(Trust { given, all, provider: Arc::new(ring::default_provider()) })
    }

    /// Believes in the authorities that a master names, and no longer in those that it named before.
    pub fn learn(&self, authorities: &[Vec<u8>]) {
        let mut all = self.given.clone();
        all.add_parsable_certificates(authorities.iter().map(|der| CertificateDer::from(der.as_slice())));
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
    }

    /// The authorities by which the certificates of masters are checked.
    pub fn for_masters(&self) -> Arc<RootCertStore> {
        Arc::new(self.given.clone())
    }

    /// The authorities by which the certificates of tablet servers are checked.
    pub fn for_tablet_servers(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Settings for one connection. Where no authority is known the connection is encrypted, and nobody vouches for the
    /// server.
    pub fn settings(&self, roots: Arc<RootCertStore>) -> Result<Arc<ClientConfig>> {
        let algorithms = self.provider.signature_verification_algorithms;
        let verifier = Arc::new(Verifier { roots, algorithms });
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| invalid(error.to_string()))?;
        let mut settings = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        settings.resumption = Resumption::disabled();
        settings.enable_sni = false;
        Ok(Arc::new(settings))
    }
}

fn invalid(got: String) -> Error {
    Error::Invalid(format!("expected the certificates of authorities as PEM, got {got}"))
}

/// Checks that an authority vouches for a server. Names are not looked at: Kudu's own authority knows machines by theirs,
/// whatever clients call them.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.roots.is_empty() {
            let certificate = ParsedCertificate::try_from(certificate)?;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_is_none_is_refused() {
        assert!(Trust::new(Some(b"no PEM")).is_err());
        assert!(Trust::new(None).unwrap().for_tablet_servers().is_empty());
    }

    #[test]
    fn what_a_master_names_that_is_no_certificate_is_passed_over() {
        let trust = Trust::new(None).unwrap();
        trust.learn(&[b"no certificate".to_vec()]);
        assert!(trust.for_tablet_servers().is_empty());
        assert!(trust.settings(trust.for_masters()).is_ok());
    }
}
