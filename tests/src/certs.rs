//! Certificates, good and bad, and a TLS server that is not what it seems.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::World;

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    cert: Certificate,
}

/// A certificate with its key, both as files too.
pub struct Identity {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// Its key, in PKCS#8.
    pub key_der: Vec<u8>,
    /// The certificate as a PEM file.
    pub cert_file: PathBuf,
    /// The key as a PEM file of mode 600.
    pub key_file: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one, valid now.
    ///
    /// # Panics
    /// When keys cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(params, key), cert }
    }

    /// Writes its certificate where an agent's `--ca` may find it.
    pub fn file(&self, world: &World) -> PathBuf {
        world.file("ca.pem", self.cert.pem())
    }

    /// Its certificate.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        self.cert.der().clone()
    }

    /// A certificate for these names, valid from 2020 until the end of `last_year`.
    ///
    /// # Panics
    /// When keys cannot be made.
    #[must_use]
    pub fn certify(&self, world: &World, name: &str, names: &[&str], last_year: i32) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            der: cert.der().clone(),
            key_der: key.serialize_der(),
            cert_file: world.file(&format!("{name}.cert.pem"), cert.pem()),
            key_file: world.file(&format!("{name}.key.pem"), key.serialize_pem()),
        }
    }
}

/// The fingerprint of a certificate as `--fingerprint` takes it: `sha256:` and 64 hex digits over its DER form.
///
/// # Panics
/// Never: the provider has SHA-256.
#[must_use]
pub fn fingerprint(der: &[u8]) -> String {
    let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().expect("a TLS 1.3 suite");
    let hash = suite.common.hash_provider.hash(der);
    hash.as_ref().iter().fold(String::from("sha256:"), |text, byte| text + &format!("{byte:02x}"))
}

/// What happened to the one client of a [`present`]ed certificate.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// The client believed it: the handshake ended and bytes of the client's came through.
    Believed,
    /// The client broke off.
    Rejected,
}

/// Presents `cert` to one TLS client but signs with `key`, which may be another's. Speaks no HTTP/2 afterwards.
///
/// # Panics
/// When no socket can be had.
#[must_use]
pub fn present(cert: &Identity, key: &Identity) -> (SocketAddr, JoinHandle<Shown>) {
    let signer = PrivateKeyDer::try_from(key.key_der.clone()).expect("PKCS#8");
    let signer = ring::sign::any_supported_type(&signer).expect("a key that ring knows");
    let certified = Arc::new(CertifiedKey::new(vec![cert.der.clone()], signer));
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(certified)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let config = Arc::new(config);
    let shown = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut tls = rustls::ServerConnection::new(config).expect("a connection");
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        match stream.read(&mut [0; 16]) {
            Ok(1..) => Shown::Believed,
            _ => Shown::Rejected,
        }
    });
    (address, shown)
}

/// Shows the same certificate to everybody.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
