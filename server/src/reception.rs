//! The one listener of a server, whoever answers at it: the port stays open while the server goes into a ring and out.
//!
//! [`Reception::open`] says who answers new connections from now on. Those that were let in before go on with whom they
//! have; whoever gave them their handlers ends them, where they must end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use chordata_rpc::net::{BoxStream, Listener};
use chordata_rpc::{Connections, Credentials, Handlers, Limits};
use futures::future::BoxFuture;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

/// Accepts for one after another.
pub(crate) struct Reception {
    listener: Shared,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    receiving: Option<(oneshot::Sender<()>, JoinHandle<Connections>)>,
    earlier: Vec<Connections>,
}

impl State {
    /// Whoever comes now waits until somebody receives again.
    async fn pause(&mut self) {
        if let Some((stop, receiving)) = self.receiving.take() {
            // An error: it has ended already.
            let _ = stop.send(());
            self.earlier.extend(receiving.await.ok());
        }
        self.earlier.retain_mut(|connections| !connections.are_over());
    }
}

impl Reception {
    /// Nobody answers yet.
    pub(crate) fn new(listener: Box<dyn Listener>, limits: Limits) -> io::Result<Reception> {
        let address = listener.local_address()?;
        let listener = Shared { listener: Arc::new(Mutex::new(listener)), address };
        Ok(Reception { listener, limits, state: Mutex::default() })
    }

    /// Where it listens.
    pub(crate) fn listening(&self) -> SocketAddr {
        self.listener.address
    }

    /// From now on these answer, under these credentials.
    pub(crate) async fn open(&self, credentials: Credentials, handlers: impl Handlers) {
        let mut state = self.state.lock().await;
        state.pause().await;
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            // An error: whoever could stop it is gone.
            let _ = stopped.await;
        };
        let listener = Box::new(self.listener.clone());
        let receiving = chordata_rpc::accept(listener, credentials, self.limits, handlers, shutdown);
        state.receiving = Some((stop, tokio::spawn(receiving)));
    }

    /// Lets nobody in any more and ends all connections.
    pub(crate) async fn close(&self) {
        let mut state = self.state.lock().await;
        state.pause().await;
        for connections in std::mem::take(&mut state.earlier) {
            connections.end().await;
        }
    }
}

/// A listener that is passed on: one accepts at a time.
#[derive(Clone)]
struct Shared {
    listener: Arc<Mutex<Box<dyn Listener>>>,
    address: SocketAddr,
}

impl Listener for Shared {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async move { self.listener.lock().await.accept().await })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
