//! Connections: accepted, encrypted, counted, and cut off when nobody has logged in on them in time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use driftless_proto::limits;
use driftless_proto::transfer::socket::{self, Counted, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::log::Logs;
use crate::tls;

/// How long a connection may live without a login: enough for a health check or a listing of modules.
const ANONYMOUS_LIFE: Duration = Duration::from_secs(60);

/// What a request knows of its connection.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The client's address.
    pub(crate) address: SocketAddr,
    /// Names in the certificate it proved to hold.
    pub(crate) certificate_users: Arc<Vec<String>>,
    /// What crossed the socket.
    pub(crate) wire: Arc<Wire>,
    anonymous: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Caller {
    /// The client has logged in: it no longer counts among those who have not.
    pub(crate) fn is_known(&self) {
        self.anonymous.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Accepts on every listener for as long as the server runs. Handshakes go on side by side, each with a deadline.
pub(crate) fn incoming(
    listeners: Vec<TcpListener>,
    acceptor: Option<TlsAcceptor>,
    logs: Arc<Logs>,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(1);
    let anonymous = Arc::new(Semaphore::new(limits::UNAUTHENTICATED_MAX));
    for listener in listeners {
        let (ready, acceptor, logs) = (ready.clone(), acceptor.clone(), Arc::clone(&logs));
        let anonymous = Arc::clone(&anonymous);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = ready.closed() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, address)) => {
                            greet(stream, address, acceptor.clone(), &anonymous, ready.clone(), &logs);
                        }
                        Err(error) => {
                            // Out of descriptors, most likely: others must end first.
                            logs.daemon(format_args!("accept: {error}"));
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    },
                }
            }
        });
    }
    ReceiverStream::new(connections)
}

fn greet(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    anonymous: &Arc<Semaphore>,
    ready: mpsc::Sender<io::Result<Connection>>,
    logs: &Arc<Logs>,
) {
    let Ok(permit) = Arc::clone(anonymous).try_acquire_owned() else {
        logs.daemon(format_args!(
            "too many connections without a login, closed {}",
            address.ip().to_canonical()
        ));
        return;
    };
    let logs = Arc::clone(logs);
    tokio::spawn(async move {
        let _nodelay = stream.set_nodelay(true);
        let wire = Arc::new(Wire::default());
        let counted = Counted::new(stream, Arc::clone(&wire));
        let (io, certificate_users) = match acceptor {
            None => (Io::Plain(counted), Vec::new()),
            Some(acceptor) => match tokio::time::timeout(limits::HANDSHAKE, acceptor.accept(counted)).await {
                Ok(Ok(tls)) => {
                    let users = tls::certificate_users(tls.get_ref().1.peer_certificates());
                    (Io::Tls(Box::new(tls)), users)
                }
                Ok(Err(error)) => {
                    logs.daemon(format_args!("TLS with {}: {error}", address.ip().to_canonical()));
                    return;
                }
                Err(_) => {
                    logs.daemon(format_args!(
                        "TLS with {}: no handshake in time",
                        address.ip().to_canonical()
                    ));
                    return;
                }
            },
        };
        let caller = Caller {
            address,
            certificate_users: Arc::new(certificate_users),
            wire,
            anonymous: Arc::new(Mutex::new(Some(permit))),
        };
        // Weak: a connection that has ended must not count any longer.
        let (anonymous, wire) = (Arc::downgrade(&caller.anonymous), Arc::clone(&caller.wire));
        let _closed = ready.send(Ok(Connection { io, caller })).await;
        tokio::time::sleep(ANONYMOUS_LIFE).await;
        let still = anonymous.upgrade();
        if still.is_some_and(|a| a.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()) {
            wire.cut();
        }
    });
}

/// One connection, encrypted or not.
pub(crate) struct Connection {
    io: Io,
    caller: Caller,
}

/// As a server has it.
type Io = socket::Connection<tokio_rustls::server::TlsStream<Counted>>;

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
