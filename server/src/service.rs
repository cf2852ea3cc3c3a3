//! The gRPC service: who calls, may they, and which role answers. No file is touched here.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine;
use driftless_proto::disk::Root;
use driftless_proto::limits;
use driftless_proto::model::counter::{ReceiverTotals, SenderTotals};
use driftless_proto::model::path::Escaped;
use driftless_proto::model::problem::{Misbehaved, Refusal, RefusalReason};
use driftless_proto::transfer::link::{Ended, Link};
use driftless_proto::transfer::pump::{self, Activity, Outgoing};
use driftless_proto::wire::frame::Framed;
use driftless_proto::wire::generated::driftless_server::Driftless;
use driftless_proto::wire::generated::{
    ModulesReply, ModulesRequest, ReceiverFrame, SenderFrame, modules_reply,
};
use driftless_proto::wire::message::{FromReceiver, FromSender, Hello};
use driftless_proto::wire::status;
use driftless_proto::wire::version::Version;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::accept::Caller;
use crate::auth::Credentials;
use crate::group_cache::DiskCache;
use crate::log::Logs;
use crate::module::Module;
use crate::permit::{Gate, Peer, Permit, Rights};
use crate::sessions::{Claim, Key, Sessions, Stop};
use crate::state::State;
use crate::{receive, send};

/// What every stream needs.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) gate: Arc<Gate>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) state: State,
    pub(crate) sessions: Sessions,
    pub(crate) partials: Arc<receive::Kept>,
    /// The groups of large files that landed here.
    pub(crate) groups: Arc<DiskCache>,
    pub(crate) umask: u32,
    /// Streams that are not watches, so that a stop can wait for them.
    pub(crate) running: Arc<()>,
}

/// An agent that was let in, and what it asked for.
pub(crate) struct Admitted {
    pub(crate) permit: Permit,
    pub(crate) hello: Hello,
    pub(crate) caller: Caller,
}

/// How long a role that was told to end may take until its connection is cut.
const GRACE: Duration = Duration::from_secs(5);

/// What the two directions of one stream share.
#[derive(Default)]
struct Life {
    /// Set once it is known whether frames are to be compressed.
    compress: Arc<OnceLock<bool>>,
    activity: Arc<Activity>,
}

type Reply<F> = Pin<Box<dyn Stream<Item = Result<F, Status>> + Send>>;

/// What a role sends, and after it the status it ended with, if that was not well.
struct Frames<T> {
    frames: Outgoing<T>,
    ended: Option<oneshot::Receiver<Status>>,
}

impl<T: Framed + Unpin> Stream for Frames<T> {
    type Item = Result<T::Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(frame) = ready!(Pin::new(&mut this.frames).poll_next(cx)) {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(ended) = &mut this.ended else { return Poll::Ready(None) };
        let status = ready!(Pin::new(ended).poll(cx));
        this.ended = None;
        // The sender is dropped unused when the stream ended well.
        Poll::Ready(status.ok().map(Err))
    }
}

#[tonic::async_trait]
impl Driftless for Service {
    type PushStream = Reply<ReceiverFrame>;
    type PullStream = Reply<SenderFrame>;

    async fn push(
        &self,
        request: Request<Streaming<SenderFrame>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        Ok(self.converse::<FromReceiver, FromSender>(request, Rights::Write))
    }

    async fn pull(
        &self,
        request: Request<Streaming<ReceiverFrame>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        Ok(self.converse::<FromSender, FromReceiver>(request, Rights::Read))
    }

    async fn modules(&self, _: Request<ModulesRequest>) -> Result<Response<ModulesReply>, Status> {
        let listed = self.gate.modules().iter().filter(|module| module.list);
        let modules = listed.map(|module| modules_reply::Module {
            name: module.name.clone(),
            comment: module.comment.clone(),
        });
        Ok(Response::new(ModulesReply { modules: modules.collect() }))
    }
}

/// One of the two directions, as a server speaks it.
pub(crate) trait Direction: Framed {
    /// What the agent says.
    type Peer: Framed;

    /// The agent's hello, if that is what it said.
    fn hello(first: Self::Peer) -> Option<Hello>;

    /// The refusal as a message.
    fn refused(refusal: Refusal) -> Self;

    /// Runs the server's role to its end, beneath the module's directory. Blocks.
    fn run(
        service: &Service,
        admitted: Admitted,
        base: Root,
        link: Link<Self, Self::Peer>,
    ) -> Result<(), Ended>;
}

impl Direction for FromReceiver {
    type Peer = FromSender;

    fn hello(first: FromSender) -> Option<Hello> {
        match first {
            FromSender::Hello(hello) => Some(hello),
            _ => None,
        }
    }

    fn refused(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }

    fn run(
        service: &Service,
        admitted: Admitted,
        base: Root,
        link: Link<Self, FromSender>,
    ) -> Result<(), Ended> {
        receive::run(service, admitted, &base, link)
    }
}

impl Direction for FromSender {
    type Peer = FromReceiver;

    fn hello(first: FromReceiver) -> Option<Hello> {
        match first {
            FromReceiver::Hello(hello) => Some(hello),
            _ => None,
        }
    }

    fn refused(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }

    fn run(
        service: &Service,
        admitted: Admitted,
        base: Root,
        link: Link<Self, FromReceiver>,
    ) -> Result<(), Ended> {
        send::run(service, admitted, &base, link)
    }
}

impl Service {
    /// Answers at once with a stream, and does the rest behind it: a refusal then travels in band.
    fn converse<Out, In>(
        &self,
        request: Request<Streaming<In::Frame>>,
        rights: Rights,
    ) -> Response<Reply<Out::Frame>>
    where
        Out: Direction<Peer = In> + Unpin,
        In: Framed,
        Out::Frame: Send,
        In::Frame: Send,
    {
        let (out, frames) = mpsc::channel(limits::FRAMES_QUEUED);
        let (end, ended) = oneshot::channel::<Status>();
        let service = self.clone();
        let life = Life::default();
        let frames = Outgoing::new(frames, Arc::clone(&life.compress), Arc::clone(&life.activity));
        tokio::spawn(async move {
            if let Err(failure) = service.answer::<Out, In>(request, rights, &out, &life).await {
                let status = match failure {
                    Ended::Refused(refusal) => {
                        let _gone = out.send(vec![Out::refused(refusal)]).await;
                        return;
                    }
                    Ended::Misbehaved(what) => status::misbehaved(&what),
                    Ended::Stopped => status::stopping(),
                    _ => status::fault(),
                };
                let _gone = end.send(status);
            }
        });
        Response::new(Box::pin(Frames { frames, ended: Some(ended) }))
    }

    async fn answer<Out, In>(
        &self,
        request: Request<Streaming<In::Frame>>,
        rights: Rights,
        out: &mpsc::Sender<Vec<Out>>,
        life: &Life,
    ) -> Result<(), Ended>
    where
        Out: Direction<Peer = In>,
        In: Framed,
    {
        let caller = request
            .extensions()
            .get::<Caller>()
            .cloned()
            .ok_or_else(|| Ended::fault("connection", std::io::Error::other("its address is unknown")))?;
        let credentials = credentials(request.metadata());
        let mut stream = request.into_inner();
        let hello = hello::<Out, In>(&mut stream, rights).await?;
        let _set = life.compress.set(hello.options.compress);
        let permit = self.admit(&caller, &hello, credentials, rights).await?;
        caller.is_known();
        let claim = self.claim(&permit, &hello).await?;
        let running = (!hello.watch).then(|| Arc::clone(&self.running));
        let (timeout, watch) = (permit.module().timeout, hello.watch);
        let (inbox, pumping) = pump::inbox::<In>(stream, Arc::clone(&life.activity));
        let (done, finished) = oneshot::channel();
        let link = Link { out: out.clone(), inbox };
        let (service, admitted) = (self.clone(), Admitted { permit, hello, caller: caller.clone() });
        let module = Arc::clone(admitted.permit.module());
        let spawned = crate::worker::spawn(&module, &self.logs, move |root| {
            let ended =
                root.map_err(Ended::Refused).and_then(|root| Out::run(&service, admitted, root, link));
            let _gone = done.send(ended);
        });
        spawned.map_err(|error| Ended::fault("start a thread", error))?;
        let mut finished = finished;
        let mut superseded = false;
        let ended = tokio::select! {
            ended = &mut finished => Some(ended.unwrap_or_else(|_| Err(thread_failed()))),
            why = told_to_stop(claim.as_ref()) => {
                superseded = why == Some(Stop::Superseded);
                None
            }
            () = life.activity.idle(timeout.filter(|_| !watch)) => {
                let who = caller.address.ip().to_canonical();
                self.logs.daemon(format_args!("timeout: nothing from {who} for too long"));
                None
            }
        };
        // The role ends when nothing more arrives; what it has landed by then stays. One that waits for a peer that
        // takes nothing is cut loose.
        pumping.abort();
        if ended.is_none() && tokio::time::timeout(GRACE, &mut finished).await.is_err() {
            caller.wire.cut();
            let _ended = finished.await;
        }
        drop((claim, running));
        if superseded {
            let text = "a newer watch of this agent took over this destination";
            return Err(Refusal::new(RefusalReason::Superseded, text).into());
        }
        ended.unwrap_or(Err(Ended::Stopped))
    }

    /// The last line about a transfer: what crossed, or why it ended.
    pub(crate) fn log_end(
        &self,
        module: &Module,
        caller: &Caller,
        what: &str,
        ended: &Result<(SenderTotals, ReceiverTotals), Ended>,
    ) {
        let (sent, received) = caller.wire.bytes();
        match ended {
            Ok((totals, _)) => self.logs.module(
                module,
                format_args!(
                    "sent {sent} bytes  received {received} bytes  total size {}",
                    totals.size_bytes
                ),
            ),
            Err(why) => self.logs.module(module, format_args!("{what} ended: {why}")),
        }
    }

    async fn admit(
        &self,
        caller: &Caller,
        hello: &Hello,
        credentials: Option<Credentials>,
        rights: Rights,
    ) -> Result<Permit, Ended> {
        let (gate, logs) = (Arc::clone(&self.gate), Arc::clone(&self.logs));
        let (caller, name) = (caller.clone(), hello.module.clone());
        // Reading the secrets file and Argon2 take time: neither belongs on a thread that carries sockets.
        let admitted = tokio::task::spawn_blocking(move || {
            let peer = Peer { address: caller.address.ip(), host: "UNDETERMINED" };
            logs.daemon(format_args!("connect from {peer}"));
            let users = &caller.certificate_users;
            gate.admit(peer, &name, credentials.as_ref(), users, rights).map_err(|denied| {
                logs.daemon(&denied.log);
                denied.refusal
            })
        });
        let admitted = admitted.await.map_err(|e| Ended::fault("log in", std::io::Error::other(e)))?;
        Ok(admitted?)
    }

    async fn claim(&self, permit: &Permit, hello: &Hello) -> Result<Option<Claim>, Ended> {
        if !hello.watch {
            return Ok(None);
        }
        let path = hello.places.first().map(|place| place.path.clone());
        let key = Key {
            agent: hello.agent_id,
            module: permit.module().name.clone(),
            path: path.ok_or(Misbehaved::Missing("destination"))?,
        };
        let claim = self.sessions.claim(key, hello.epoch, hello.options.delete).await;
        claim.map(Some).map_err(|refusal| {
            self.logs.daemon(format_args!(
                "watch on module {}: {}",
                Escaped(hello.module.as_bytes()),
                refusal.text
            ));
            refusal.into()
        })
    }
}

/// The agent's first word, in time, and such as this server can follow.
async fn hello<Out, In>(stream: &mut Streaming<In::Frame>, rights: Rights) -> Result<Hello, Ended>
where
    Out: Direction<Peer = In>,
    In: Framed,
{
    let first = tokio::time::timeout(limits::HANDSHAKE, pump::first::<In>(stream)).await;
    let first = first.map_err(|_| Ended::Broken("no hello in time".into()))??;
    let hello = Out::hello(first).ok_or(Misbehaved::Unexpected("something before hello"))?;
    if Version::agree(&hello.versions).is_none() {
        let text = format!("this server speaks protocol versions {:?} only", Version::SPOKEN);
        return Err(Refusal::new(RefusalReason::Unsupported, text).into());
    }
    if hello.watch && rights == Rights::Read {
        return Err(Misbehaved::Unexpected("a watch that pulls").into());
    }
    Ok(hello)
}

/// Returns once a watch is to end, with the reason; never for anything else.
async fn told_to_stop(claim: Option<&Claim>) -> Option<Stop> {
    let Some(claim) = claim else { return std::future::pending().await };
    let mut stopped = claim.stopped();
    let why = stopped.wait_for(Option::is_some).await.map(|why| *why);
    why.unwrap_or_default()
}

/// A role's thread ended without a word: it panicked, which the panic itself has reported.
fn thread_failed() -> Ended {
    Ended::fault("transfer", std::io::Error::other("its thread failed"))
}

/// User and password as HTTP's basic scheme (RFC 7617) carries them: what standard gRPC tools can send too.
fn credentials(metadata: &tonic::metadata::MetadataMap) -> Option<Credentials> {
    let value = metadata.get("authorization")?.to_str().ok()?;
    let text = base64::engine::general_purpose::STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let colon = text.iter().position(|&byte| byte == b':')?;
    let user = String::from_utf8(text[..colon].to_vec()).ok()?;
    let password = text[colon + 1..].to_vec();
    (user.len() <= limits::SECRET_LEN && password.len() <= limits::SECRET_LEN)
        .then_some(Credentials { user, password })
}

/// Says the first word of a stream.
pub(crate) fn say_first<T>(link: &Link<T, impl Sized>, item: T) -> Result<(), Ended> {
    link.out.blocking_send(vec![item]).map_err(|_| Ended::Broken("the agent went away".into()))
}
