//! How bytes become a message: the head of one is told apart from the rest. tonic copies what arrives into one buffer,
//! and makes room for the whole message once it has read the head: what it has copied by then is copied again, which is
//! all of a message that came in one HTTP/2 frame, as ours do.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use prost::bytes::Bytes;

/// Before each message: whether it is compressed, a byte, and its length, four of them (gRPC over HTTP/2).
const HEAD_LEN: usize = 5;

/// A body that gives the first bytes of each frame by themselves. They are the head of a message where it begins with the
/// frame; elsewhere this does nothing.
#[derive(Debug)]
pub struct Heads<B> {
    body: B,
    rest: Option<Bytes>,
}

impl<B> Heads<B> {
    /// The same bytes, in other pieces.
    #[must_use]
    pub fn new(body: B) -> Self {
        Self { body, rest: None }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Heads<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let Some(rest) = this.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)?) else { return Poll::Ready(None) };
        let frame = match frame.into_data() {
            Ok(mut head) if head.len() > HEAD_LEN => {
                this.rest = Some(head.split_off(HEAD_LEN));
                Frame::data(head)
            }
            Ok(data) => Frame::data(data),
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.len() as u64);
        let mut hint = self.body.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use super::*;

    struct Pieces(VecDeque<Frame<Bytes>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    #[test]
    fn the_bytes_and_trailers_stay_what_they_are() {
        let pieces = ["\0\0\0\0\x03abc", "", "12345", "123456"].map(|bytes| Frame::data(Bytes::from(bytes)));
        let trailers = Frame::trailers(tonic::codegen::http::HeaderMap::new());
        let mut body = Heads::new(Pieces(pieces.into_iter().chain([trailers]).collect()));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut got, mut trailed) = (Vec::new(), 0);
        while !body.is_end_stream() {
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else {
                panic!("a frame")
            };
            match frame.into_data() {
                Ok(data) => got.push(data),
                Err(_) => trailed += 1,
            }
        }
        assert_eq!(got, ["\0\0\0\0\x03", "abc", "", "12345", "12345", "6"].map(Bytes::from));
        assert_eq!(trailed, 1);
        assert!(matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(None)));
    }
}
