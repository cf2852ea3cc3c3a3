//! The server's side of TLS: which certificate it shows, and whose client certificates it believes.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Config;
use crate::named;

/// Names of the files that hold a self-signed certificate, in the state dir.
const OWN: (&str, &str) = ("server.crt", "server.key");

/// A certificate and its key, ready to be shown.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// It is self-signed: agents need its fingerprint.
    pub(crate) self_signed: bool,
}

/// Something about a certificate or key that keeps the server from starting.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(crate) struct TlsError {
    what: String,
    why: String,
}

impl TlsError {
    fn new(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { what: what.to_string(), why: why.to_string() }
    }
}

impl Identity {
    /// The configured certificate, else the server's own, which is made at the first start.
    ///
    /// # Errors
    /// Files that cannot be read, or hold something else.
    pub(crate) fn load(config: &Config) -> Result<Self, TlsError> {
        match &config.certificate {
            Some(files) => Self::read(&files.certificate, &files.key, false),
            None => Self::own(config),
        }
    }

    fn read(
        certificate: &std::path::Path,
        key: &std::path::Path,
        self_signed: bool,
    ) -> Result<Self, TlsError> {
        let contents =
            |path: &std::path::Path| named::read(path).map_err(|error| TlsError::new(path.display(), error));
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&contents(certificate)?.bytes)
                .collect::<Result<_, _>>()
                .map_err(|error| TlsError::new(certificate.display(), error))?;
        if chain.is_empty() {
            return Err(TlsError::new(certificate.display(), "holds no certificate in PEM form"));
        }
        let key_contents = contents(key)?;
        if key_contents.mode & 0o077 != 0 {
            let why = format!("others may read the key (mode {:o}); chmod 600 it", key_contents.mode);
            return Err(TlsError::new(key.display(), why));
        }
        let key = PrivateKeyDer::from_pem_slice(&key_contents.bytes)
            .map_err(|error| TlsError::new(key.display(), format!("no private key in PEM form: {error}")))?;
        Ok(Self { chain, key, self_signed })
    }

    /// The self-signed certificate in the state dir. The key is written first: once there is a certificate, there is
    /// a key that fits it.
    fn own(config: &Config) -> Result<Self, TlsError> {
        let folder = &config.state_dir;
        named::private_folder(folder).map_err(|error| TlsError::new(folder.display(), error))?;
        let (certificate, key) = (folder.join(OWN.0), folder.join(OWN.1));
        match named::read(&certificate) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
                    .map_err(|error| TlsError::new("self-signed certificate", error))?;
                let files =
                    [(&key, made.signing_key.serialize_pem(), 0o600), (&certificate, made.cert.pem(), 0o644)];
                for (path, text, mode) in files {
                    named::Place::find(path)
                        .and_then(|place| place.replace(text.as_bytes(), mode, None))
                        .map_err(|error| TlsError::new(path.display(), error))?;
                }
            }
            Err(error) => return Err(TlsError::new(certificate.display(), error)),
        }
        Self::read(&certificate, &key, true)
    }

    /// `sha256:` and 64 hexadecimal digits: what `--fingerprint` takes.
    pub(crate) fn fingerprint(&self) -> String {
        let digest = Sha256::digest(&self.chain[0]);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    /// TLS 1.3 and HTTP/2; client certificates are asked for where a `client ca` is configured, and never needed.
    ///
    /// # Errors
    /// A key that does not fit the certificate; a `client ca` that cannot be used.
    pub(crate) fn server_config(self, config: &Config) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| TlsError::new("TLS", error))?;
        let builder = match &config.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let failed = |error: &dyn fmt::Display| TlsError::new(path.display(), error);
                let contents = named::read(path).map_err(|error| failed(&error))?;
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(&contents.bytes) {
                    let certificate = certificate.map_err(|error| failed(&error))?;
                    roots.add(certificate).map_err(|error| failed(&error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| failed(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut tls = builder
            .with_single_cert(self.chain, self.key)
            .map_err(|error| TlsError::new("certificate and key", error))?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(tls))
    }
}

/// The user names that a verified client certificate stands for: its common name and its DNS names.
pub(crate) fn certificate_users(certificates: Option<&[CertificateDer<'_>]>) -> Vec<String> {
    let Some(leaf) = certificates.and_then(<[_]>::first) else { return Vec::new() };
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let mut users: Vec<String> = certificate
        .subject()
        .iter_common_name()
        .filter_map(|name| name.as_str().ok().map(str::to_owned))
        .collect();
    if let Ok(Some(names)) = certificate.subject_alternative_name() {
        users.extend(names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        }));
    }
    users
}
