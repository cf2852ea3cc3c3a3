//! Whom to believe: a pinned certificate, an authority the operator names, or the system's. Never nobody.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};

use super::ConnectError;
use crate::cli::Trust;

/// TLS as the operator wants it: version 1.3, HTTP/2.
///
/// # Errors
/// A file that cannot be read or holds no certificate or key.
pub(super) fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, ConnectError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ConnectError::TrustFile(format!("TLS: {error}")))?;
    let builder = if trust.fingerprints.is_empty() {
        builder.with_root_certificates(roots(trust.ca.as_deref())?)
    } else {
        let pins = Pins { pins: trust.fingerprints.clone(), provider };
        builder.dangerous().with_custom_certificate_verifier(Arc::new(pins))
    };
    let mut config = match (&trust.client_cert, &trust.client_key) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(|error| ConnectError::TrustFile(format!("{}: {error}", cert.display())))?,
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The name that the server's certificate must bear. One that no certificate can bear is replaced by one that none
/// does: it then fails the check, or does not matter under a pin.
pub(super) fn server_name(host: &str) -> ServerName<'static> {
    let unnameable = || ServerName::try_from("invalid.invalid").map(|name| name.to_owned());
    ServerName::try_from(host.to_owned())
        .or_else(|_| unnameable())
        .unwrap_or_else(|_| ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
}

/// Whether a handshake failed because the connection broke in its middle, which says nothing about who the server is: it
/// was just being stopped, or the wire was cut.
pub(super) fn is_broken(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut, UnexpectedEof,
    };
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut | UnexpectedEof
    )
}

/// What a failed handshake means to an operator.
pub(super) fn explain(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the server's certificate is signed by nobody trusted here; give --ca FILE, or --fingerprint with what \
             `driftlessd fingerprint` prints on the server"
                .into()
        }
        Some(TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "the server's certificate has expired".into()
        }
        Some(TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "the server's certificate is for another name".into(),
        Some(TlsError::InvalidCertificate(CertificateError::BadSignature)) => {
            "the server does not hold the key of its certificate".into()
        }
        Some(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            "the server's certificate does not have the fingerprint given".into()
        }
        _ => error.to_string(),
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| ConnectError::TrustFile(format!("{}: {error}", path.display())))?;
        }
    } else {
        // A certificate that cannot be read trusts nobody: the handshake says so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let failed = |reason: String| ConnectError::TrustFile(format!("{}: {reason}", path.display()));
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<_, _>>();
    match read {
        Ok(found) if found.is_empty() => Err(failed("holds no certificate in PEM form".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(failed(format!("not in PEM form: {error}"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConnectError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| {
        ConnectError::TrustFile(format!("{}: no private key in PEM form: {error}", path.display()))
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file that the operator names, opened once, not beneath any Root"
)]
fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|error| ConnectError::TrustFile(format!("{}: {error}", path.display())))
}

/// Believes exactly the certificates that were pinned, whatever name and dates they bear. That the server holds the
/// key is still proved by the handshake's signature: a copied certificate does not get through.
#[derive(Debug)]
struct Pins {
    pins: Vec<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pins {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let fingerprint: [u8; 32] = Sha256::digest(end_entity).into();
        if self.pins.contains(&fingerprint) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        // Never negotiated: the config allows TLS 1.3 only.
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
