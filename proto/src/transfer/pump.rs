//! Between a role's link and a gRPC stream: the only asynchronous code of this room. It moves frames and nothing else.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::Stream;

use super::link::{Ended, Inbox};
use crate::limits;
use crate::model::problem::{Misbehaved, Refusal, RefusalReason};
use crate::wire::frame::Framed;
use crate::wire::status;

/// One message, or how the stream ended. `None` is its orderly end.
async fn message<T: Framed>(stream: &mut tonic::Streaming<T::Frame>) -> Option<Result<T::Frame, Ended>> {
    match stream.message().await {
        Ok(frame) => frame.map(Ok),
        Err(status) => Some(Err(match status::meaning(&status) {
            status::Meaning::Broken => Ended::Broken(reason(&status)),
            status::Meaning::Protocol => {
                let text = format!("the peer ended the stream: {}", status.message());
                Refusal::new(RefusalReason::Unsupported, text).into()
            }
        })),
    }
}

/// The innermost reason of a status: what broke, rather than who noticed.
fn reason(status: &tonic::Status) -> String {
    let mut error: Option<&dyn std::error::Error> = std::error::Error::source(status);
    let mut innermost = None;
    while let Some(inner) = error {
        innermost = Some(inner.to_string());
        error = inner.source();
    }
    innermost.unwrap_or_else(|| status.message().to_owned())
}

/// The one item that opens a stream.
///
/// # Errors
/// The stream's end, or a first frame of anything but one item.
pub async fn first<T: Framed>(stream: &mut tonic::Streaming<T::Frame>) -> Result<T, Ended> {
    let frame = message::<T>(stream).await;
    let frame = frame.ok_or_else(|| Ended::Broken("the peer closed the stream".into()))??;
    // Before anybody has said who they are, a few bytes must not become many.
    if T::is_compressed(&frame) {
        return Err(Misbehaved::Compression.into());
    }
    <[T; 1]>::try_from(T::unpack(frame)?)
        .map(|[item]| item)
        .map_err(|_| Misbehaved::Unexpected("a first frame of several items").into())
}

/// Frames that crossed a stream, both ways: what an idle stream has none of. Pings of the connection do not count.
#[derive(Debug, Default)]
pub struct Activity(AtomicU64);

impl Activity {
    /// Frames so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns once no frame has crossed for so long; never without a limit.
    pub async fn idle(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        let (mut last, mut since) = (self.frames(), Instant::now());
        loop {
            tokio::time::sleep((limit / 4).max(Duration::from_millis(50))).await;
            if self.frames() != last {
                (last, since) = (self.frames(), Instant::now());
            } else if since.elapsed() >= limit {
                return;
            }
        }
    }
}

/// Carries what arrives to an inbox until either end is gone. Must be called within a tokio runtime.
pub fn inbox<T: Framed>(
    mut stream: tonic::Streaming<T::Frame>,
    activity: Arc<Activity>,
) -> (Inbox<T>, tokio::task::JoinHandle<()>) {
    let (into, inbox) = mpsc::channel(limits::FRAMES_QUEUED);
    let task = tokio::spawn(async move {
        while let Some(frame) = message::<T>(&mut stream).await {
            activity.count();
            let items = frame.and_then(|frame| T::unpack(frame).map_err(Ended::Misbehaved));
            let last = items.is_err();
            if into.send(items).await.is_err() || last {
                return;
            }
        }
    });
    (inbox, task)
}

/// What a role sends, as the frames of a gRPC stream.
pub struct Outgoing<T> {
    frames: mpsc::Receiver<Vec<T>>,
    compress: Arc<OnceLock<bool>>,
    activity: Arc<Activity>,
}

impl<T: Framed> Outgoing<T> {
    /// From a link's other end. `compress` is set once it is known whether `-z` was asked for; until then frames go as
    /// they are.
    #[must_use]
    pub fn new(
        frames: mpsc::Receiver<Vec<T>>,
        compress: Arc<OnceLock<bool>>,
        activity: Arc<Activity>,
    ) -> Self {
        Self { frames, compress, activity }
    }
}

impl<T: Framed + Unpin> Stream for Outgoing<T> {
    type Item = T::Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T::Frame>> {
        let this = self.get_mut();
        let compress = this.compress.get().copied().unwrap_or(false);
        let frame = ready!(this.frames.poll_recv(cx));
        this.activity.count();
        Poll::Ready(frame.map(|frame| T::pack(frame, compress)))
    }
}
