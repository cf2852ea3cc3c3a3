//! Between a role's link and a gRPC stream: the only asynchronous code of this room. It moves frames and nothing else.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::Stream;

use super::link::{Ended, Inbox};
use crate::limits;
use crate::model::problem::Misbehaved;
use crate::wire::frame::Framed;
use crate::wire::status;

/// The items of one message, or how the stream ended. `None` is its orderly end.
pub async fn next<T: Framed>(stream: &mut tonic::Streaming<T::Frame>) -> Option<Result<Vec<T>, Ended>> {
    match stream.message().await {
        Ok(None) => None,
        Ok(Some(frame)) => Some(T::unpack(frame).map_err(Ended::Misbehaved)),
        Err(status) => Some(Err(match status::meaning(&status) {
            status::Meaning::Broken => Ended::Broken(reason(&status)),
            status::Meaning::Protocol => Ended::Refused(crate::model::problem::Refusal::new(
                crate::model::problem::RefusalReason::Unsupported,
                format!("the peer ended the stream: {}", status.message()),
            )),
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
    let items =
        next::<T>(stream).await.ok_or_else(|| Ended::Broken("the peer closed the stream".into()))??;
    <[T; 1]>::try_from(items)
        .map(|[item]| item)
        .map_err(|_| Misbehaved::Unexpected("a first frame of several items").into())
}

/// Carries what arrives to an inbox until either end is gone. Must be called within a tokio runtime.
pub fn inbox<T: Framed>(mut stream: tonic::Streaming<T::Frame>) -> (Inbox<T>, tokio::task::JoinHandle<()>) {
    let (into, inbox) = mpsc::channel(limits::FRAMES_QUEUED);
    let task = tokio::spawn(async move {
        while let Some(frame) = next::<T>(&mut stream).await {
            let last = frame.is_err();
            if into.send(frame).await.is_err() || last {
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
}

impl<T: Framed> Outgoing<T> {
    /// From a link's other end. `compress` is set once it is known whether `-z` was asked for; until then frames go as
    /// they are.
    #[must_use]
    pub fn new(frames: mpsc::Receiver<Vec<T>>, compress: Arc<OnceLock<bool>>) -> Self {
        Self { frames, compress }
    }
}

impl<T: Framed + Unpin> Stream for Outgoing<T> {
    type Item = T::Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T::Frame>> {
        let this = self.get_mut();
        let compress = this.compress.get().copied().unwrap_or(false);
        this.frames.poll_recv(cx).map(|frame| Some(T::pack(frame?, compress)))
    }
}
