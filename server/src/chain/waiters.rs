//! Requests that wait for an answer of the state machines, each until it is answered or nobody waits for it any more.
//!
//! tarpc drops a handler whose caller has gone away, and clients' requests have a time limit: what such a request had left
//! here goes with it, although the machines may answer it later, or never.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use chordata_protocol::ring::Caller;
use parking_lot::Mutex;
use tokio::sync::oneshot;

type Senders<T> = Arc<Mutex<BTreeMap<Caller, oneshot::Sender<T>>>>;

/// Who waits.
pub(super) struct Waiters<T> {
    waiting: Senders<T>,
}

/// Comes to be the answer. An error: the node has stopped.
pub(super) struct Waiting<T> {
    caller: Caller,
    answered: oneshot::Receiver<T>,
    waiting: Senders<T>,
}

impl<T> Default for Waiters<T> {
    fn default() -> Waiters<T> {
        Waiters { waiting: Arc::default() }
    }
}

impl<T> Waiters<T> {
    /// One more.
    pub(super) fn wait(&self, caller: Caller) -> Waiting<T> {
        let (sender, answered) = oneshot::channel();
        self.waiting.lock().insert(caller, sender);
        Waiting { caller, answered, waiting: Arc::clone(&self.waiting) }
    }

    /// The answer for one of them, if it still waits.
    pub(super) fn answer(&self, caller: Caller, answer: T) {
        let waiting = self.waiting.lock().remove(&caller);
        if let Some(waiting) = waiting {
            // Whoever asked may be going away at this moment.
            let _ = waiting.send(answer);
        }
    }

    /// Nobody is answered any more.
    pub(super) fn clear(&self) {
        self.waiting.lock().clear();
    }
}

impl<T> Future for Waiting<T> {
    type Output = Result<T, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answered).poll(context)
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.caller);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_is_answered_times_out_or_goes_away_leaves_nothing() {
        let waiters = Waiters::default();
        let [one, two, three] = [1, 2, 3].map(|number| waiters.wait(Caller(number)));
        waiters.answer(Caller(1), "yes");
        assert_eq!(one.await, Ok("yes"));
        assert_eq!(waiters.waiting.lock().len(), 2);
        assert!(tokio::time::timeout(Duration::from_millis(1), two).await.is_err());
        assert_eq!(waiters.waiting.lock().len(), 1);
        drop(three);
        assert_eq!(waiters.waiting.lock().len(), 0);
        waiters.answer(Caller(3), "too late");
    }

    #[tokio::test]
    async fn when_the_node_stops_nobody_waits_for_ever() {
        let waiters: Waiters<()> = Waiters::default();
        let waiting = waiters.wait(Caller(1));
        waiters.clear();
        assert!(waiting.await.is_err());
    }
}
