//! The way to a server: one TCP connection, one TLS session, one stream.
//!
//! Streams that depend on one another must not share an HTTP/2 window, so nothing here is pooled or reused.

mod trust;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use driftless_proto::limits;
use driftless_proto::model::problem::{Misbehaved, Refusal, RefusalReason};
use driftless_proto::transfer::link::{Ended, Link};
use driftless_proto::transfer::pump::{self, Activity, Outgoing};
pub use driftless_proto::transfer::socket::Wire;
use driftless_proto::transfer::socket::{Connection, Counted};
use driftless_proto::wire::body::Heads;
use driftless_proto::wire::generated::driftless_client::DriftlessClient;
use driftless_proto::wire::generated::{ModulesReply, ModulesRequest};
use driftless_proto::wire::message::{FromReceiver, FromSender, Hello, Welcome};
use driftless_proto::wire::status;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt as _;

use crate::cli::Trust;
use crate::cli::operand::Remote;
use crate::exit::Exit;
use crate::password::{PasswordError, Passwords};

/// How long a server may take to accept a connection and finish the TLS handshake.
const CONNECT: Duration = Duration::from_secs(30);

/// How long a server may take from there to its welcome: a newer watch waits for the older one's last changes.
const WELCOME: Duration = Duration::from_secs(90);

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The stream was opened and then refused, or broke before it began.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The name or address leads nowhere, or nobody answers there.
    #[error("failed to connect to {address}: {error}")]
    Io {
        /// Where.
        address: String,
        /// How it failed.
        error: io::Error,
    },
    /// There is no password to send.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// `--plaintext` to another host.
    #[error("--plaintext is allowed to a server on this host only, not to {0}")]
    Plaintext(SocketAddr),
    /// This side ended it: why, and how the run ends.
    #[error("{0}")]
    Stopped(&'static str, Exit),
    /// Nobody answered in time.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// The server could not prove who it is, or the two ends cannot agree on TLS.
    #[error("TLS with {address}: {reason}")]
    Tls {
        /// Where.
        address: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A certificate or key file that cannot be used.
    #[error("{0}")]
    TrustFile(String),
}

impl ConnectError {
    /// The exit code it ends a run with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Ended(ended) => exit_of(ended),
            Self::Io { .. } | Self::Tls { .. } => Exit::Socket,
            Self::Password(_) | Self::Plaintext(_) | Self::TrustFile(_) => Exit::Usage,
            Self::Stopped(_, exit) => *exit,
            Self::Timeout(_) => Exit::ConnectTimeout,
        }
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Timeout(_) => true,
            // A server that is being restarted or whose secrets are being changed refuses for a moment only.
            Self::Ended(Ended::Refused(refusal)) => {
                matches!(refusal.reason, RefusalReason::Busy | RefusalReason::Destination)
            }
            Self::Ended(Ended::Broken(_) | Ended::Stopped) => true,
            _ => false,
        }
    }
}

/// The exit code of a transfer that ended early, by rsync's numbers.
#[must_use]
pub fn exit_of(ended: &Ended) -> Exit {
    match ended {
        Ended::Broken(_) | Ended::Misbehaved(_) => Exit::Stream,
        Ended::Fault { .. } => Exit::File,
        Ended::Refused(refusal) => match refusal.reason {
            RefusalReason::Access | RefusalReason::AuthenticationNeeded | RefusalReason::Busy => Exit::Start,
            RefusalReason::Destination => Exit::File,
            RefusalReason::Rights => Exit::Usage,
            RefusalReason::Selection => Exit::Selection,
            RefusalReason::Source => Exit::Partial,
            RefusalReason::Superseded => Exit::Stream,
            RefusalReason::Unsupported => Exit::Unsupported,
        },
        _ => Exit::Signal,
    }
}

/// A server, and how to be let in. Passwords, certificates and keys are read anew for every connection: they may have
/// been rotated since the last one.
pub struct Server {
    host: String,
    port: u16,
    user: String,
    trust: Trust,
    /// What was read to see that it can be: for the first connection.
    tls: Mutex<Option<Arc<rustls::ClientConfig>>>,
    passwords: Passwords,
}

/// Host and port as one word.
#[must_use]
pub fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// An open stream whose server has said welcome.
pub struct Session<Out, In> {
    /// For the role.
    pub link: Link<Out, In>,
    /// What the server said.
    pub welcome: Welcome,
    /// What crosses the socket.
    pub wire: Arc<Wire>,
    /// What crosses the stream.
    pub activity: Arc<Activity>,
    /// Ends the stream from this side.
    pub stop: tokio::task::AbortHandle,
}

/// A connection as an agent has it.
type Io = Connection<tokio_rustls::client::TlsStream<Counted>>;

/// A side of the protocol as an agent speaks it.
pub trait Direction: Sized + Send + 'static {
    /// What the server says.
    type Peer: Send + 'static;

    /// Opens a stream with this hello.
    fn open(
        server: &Server,
        hello: Hello,
    ) -> impl Future<Output = Result<Session<Self, Self::Peer>, ConnectError>> + Send;
}

impl Server {
    /// Prepares to reach the server of an operand.
    ///
    /// # Errors
    /// A certificate or key file that cannot be used.
    pub fn new(
        remote: &Remote,
        port: u16,
        trust: &Trust,
        passwords: Passwords,
    ) -> Result<Self, ConnectError> {
        let tls = if trust.plaintext { None } else { Some(trust::client_config(trust)?) };
        Ok(Self {
            host: remote.host.clone(),
            port,
            user: crate::password::user(remote.user.as_deref()),
            trust: trust.clone(),
            tls: Mutex::new(tls),
            passwords,
        })
    }

    /// There is nobody to ask for a password.
    pub(crate) fn never_ask(&mut self) {
        self.passwords.never_ask();
    }

    /// Asks on the terminal for the password that the server wants.
    ///
    /// # Errors
    /// No terminal to ask on.
    pub fn prompt(&self) -> Result<(), PasswordError> {
        self.passwords.prompt().map(drop)
    }

    /// The modules that the server lists: name and comment.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn modules(&self) -> Result<ModulesReply, ConnectError> {
        let (channel, _) = self.channel().await?;
        let reply = DriftlessClient::new(channel).modules(ModulesRequest {}).await;
        Ok(reply.map_err(|status| broken(&status))?.into_inner())
    }

    /// The server's clock, to the second, as its answers carry it (RFC 9110, `Date`); `None` where they do not.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn date(&self) -> Result<Option<SystemTime>, ConnectError> {
        let (channel, _) = self.channel().await?;
        let reply = DriftlessClient::new(channel).modules(ModulesRequest {}).await;
        let reply = reply.map_err(|status| broken(&status))?;
        let date = reply.metadata().get("date").and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        Ok(date.map(|date| date.timestamp().into()))
    }

    /// Host and port, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }

    /// `None` for plaintext.
    fn tls(&self) -> Result<Option<Arc<rustls::ClientConfig>>, ConnectError> {
        if self.trust.plaintext {
            return Ok(None);
        }
        match self.tls.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(read) => Ok(Some(read)),
            None => trust::client_config(&self.trust).map(Some),
        }
    }

    async fn connect(&self) -> Result<(Io, Arc<Wire>), ConnectError> {
        let tls = self.tls()?;
        let address = self.address();
        let failed = |error| ConnectError::Io { address: address.clone(), error };
        let found: Vec<SocketAddr> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(failed)?.collect();
        if let (true, Some(remote)) =
            (self.trust.plaintext, found.iter().find(|a| !a.ip().to_canonical().is_loopback()))
        {
            return Err(ConnectError::Plaintext(*remote));
        }
        let stream = TcpStream::connect(&*found).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let wire = Arc::new(Wire::default());
        let counted = Counted::new(stream, Arc::clone(&wire));
        let Some(tls) = tls else { return Ok((Io::Plain(counted), wire)) };
        let name = trust::server_name(&self.host);
        let connected = tokio_rustls::TlsConnector::from(tls).connect(name, counted).await;
        let tls = connected.map_err(|error| {
            if trust::is_broken(&error) {
                return failed(error);
            }
            ConnectError::Tls { address: address.clone(), reason: trust::explain(&error) }
        })?;
        Ok((Io::Tls(Box::new(tls)), wire))
    }

    async fn channel(&self) -> Result<(Channel, Arc<Wire>), ConnectError> {
        let connected = tokio::time::timeout(CONNECT, self.connect()).await;
        let (io, wire) = connected.map_err(|_| ConnectError::Timeout(self.address()))??;
        // The connection exists already; a channel that wants another one has lost it and fails.
        let mut once = Some(TokioIo::new(io));
        let connector = tower::service_fn(move |_| {
            let io = once.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            std::future::ready(io)
        });
        let endpoint = Endpoint::from_static("http://driftless")
            .initial_stream_window_size(limits::WINDOW)
            .initial_connection_window_size(limits::WINDOW)
            .max_frame_size(limits::HTTP2_FRAME)
            .http2_keep_alive_interval(limits::KEEPALIVE_EVERY)
            .keep_alive_timeout(limits::KEEPALIVE_ANSWER)
            .keep_alive_while_idle(true);
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|error| Ended::Broken(error.to_string()))?;
        Ok((channel, wire))
    }

    /// The credentials as HTTP's basic scheme (RFC 7617), or none. They travel only over what [`Server::connect`] made:
    /// verified TLS, or loopback.
    fn request<T>(&self, stream: T) -> Result<tonic::Request<T>, ConnectError> {
        let mut request = tonic::Request::new(stream);
        let password = self.passwords.get()?;
        // A certificate stands in for the password, not for the name.
        if password.is_some() || self.trust.client_cert.is_some() {
            let mut text = format!("{}:", self.user).into_bytes();
            text.extend_from_slice(password.as_ref().map_or(&[], |password| password.as_bytes()));
            let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text));
            if let Ok(mut value) = tonic::metadata::AsciiMetadataValue::try_from(value) {
                value.set_sensitive(true);
                request.metadata_mut().insert("authorization", value);
            }
        }
        Ok(request)
    }
}

fn broken(status: &tonic::Status) -> Ended {
    match status::meaning(status) {
        status::Meaning::Broken => Ended::Broken(status.message().to_owned()),
        status::Meaning::Protocol => {
            Refusal::new(RefusalReason::Unsupported, format!("not a Driftless server: {}", status.message()))
                .into()
        }
    }
}

macro_rules! direction {
    ($says:ident, $hears:ident, $method:ident) => {
        impl Direction for $says {
            type Peer = $hears;

            async fn open(server: &Server, hello: Hello) -> Result<Session<Self, $hears>, ConnectError> {
                let (channel, wire) = server.channel().await?;
                let compress = Arc::new(OnceLock::from(hello.options.compress));
                let (out, frames) = mpsc::channel(limits::FRAMES_QUEUED);
                let first = out.send(vec![Self::Hello(hello)]).await;
                first.map_err(|_| Ended::Broken("the stream was closed".into()))?;
                let activity = Arc::new(Activity::default());
                let request = server.request(Outgoing::new(frames, compress, Arc::clone(&activity)))?;
                let channel = channel.map_response(|response: Response<Body>| response.map(Heads::new));
                let mut client = DriftlessClient::new(channel).max_decoding_message_size(limits::FRAME_MAX);
                let welcome = async {
                    let answer = client.$method(request).await.map_err(|status| broken(&status))?;
                    let mut stream = answer.into_inner();
                    let first = pump::first::<$hears>(&mut stream).await?;
                    Ok::<_, ConnectError>((stream, first))
                };
                let answered = tokio::time::timeout(WELCOME, welcome).await;
                let (stream, first) = answered.map_err(|_| ConnectError::Timeout(server.address()))??;
                match first {
                    $hears::Welcome(welcome) => {
                        let (inbox, task) = pump::inbox(stream, Arc::clone(&activity));
                        let link = Link { out, inbox };
                        Ok(Session { link, welcome, wire, activity, stop: task.abort_handle() })
                    }
                    $hears::Refused(refusal) => Err(Ended::Refused(refusal).into()),
                    _ => Err(Ended::from(Misbehaved::Unexpected("something before welcome")).into()),
                }
            }
        }
    };
}

direction!(FromSender, FromReceiver, push);
direction!(FromReceiver, FromSender, pull);
