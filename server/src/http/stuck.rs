//! A connection that fails when the other end takes nothing of what is sent to it for a while.
//!
//! Whoever asks and does not read would else hold a place, and all that waits to be sent, for ever. Time counts only while
//! there is something that cannot be sent: a stream of events that has nothing to tell may be silent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A connection.
pub(crate) struct Moving<S> {
    stream: S,
    limit: Duration,
    /// Made when something first cannot be sent at once: most connections need none.
    timer: Option<Pin<Box<Sleep>>>,
    /// Is there something that cannot be sent?
    waits: bool,
}

impl<S> Moving<S> {
    /// Over this stream; so long nothing may be taken.
    pub(crate) fn new(stream: S, limit: Duration) -> Moving<S> {
        Moving { stream, limit, timer: None, waits: false }
    }

    /// What an attempt to send gives: the failure, if the last one that was good is too long ago.
    fn watch<T>(&mut self, cx: &mut Context<'_>, attempt: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            self.waits = false;
            return attempt;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.waits {
            timer.as_mut().reset(Instant::now() + limit);
            self.waits = true;
        }
        ready!(timer.as_mut().poll(cx));
        let reason = format!("the other end took nothing for {limit:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Moving<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Moving<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, attempt)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.watch(cx, attempt)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn who_takes_nothing_is_given_up() {
        let (near, _far) = duplex(64);
        let mut near = Moving::new(near, Duration::from_millis(20));
        near.write_all(&[7; 64]).await.unwrap();
        let failure = near.write_all(&[7; 1]).await.unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn time_counts_only_while_something_waits() {
        let limit = Duration::from_millis(50);
        let (near, mut far) = duplex(64);
        let mut near = Moving::new(near, limit);
        // Both ends take turns in one task: nobody else decides when the other end reads.
        for turn in 0..3 {
            near.write_all(&[turn; 64]).await.unwrap();
            let more = futures::poll!(std::pin::pin!(near.write(&[9])));
            assert!(more.is_pending(), "there is no room");
            let mut taken = [0; 64];
            far.read_exact(&mut taken).await.unwrap();
            assert_eq!(taken, [turn; 64]);
            // Longer than the limit, while nothing waits.
            sleep(limit * 2).await;
        }
    }
}
