//! A network with gates, for tests and experiments that part a cluster: real sockets, but nothing passes between two nodes
//! while the gate between them is closed.
//!
//! It is like a cable that was pulled: nobody is told, connections stay open, what was sent waits. Only who connects goes
//! through a gate, in both directions; so one process can hold many nodes, each with a [`GatedNet`] of its own.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use crate::net::{BoxStream, Listener, Net, TcpNet};

/// Which side each address is on. Nodes on different sides do not hear of each other.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    sides: Arc<watch::Sender<BTreeMap<String, u8>>>,
}

impl Gates {
    /// Puts these addresses on one side, away from all others.
    pub fn part<'a>(&self, side: u8, addresses: impl IntoIterator<Item = &'a str>) {
        self.sides.send_modify(|sides| {
            sides.extend(addresses.into_iter().map(|address| (address.to_owned(), side)));
        });
    }

    /// Opens all gates.
    pub fn open(&self) {
        self.sides.send_modify(BTreeMap::clear);
    }

    /// The network as the node at this address sees it.
    pub fn net(&self, address: &str) -> GatedNet {
        GatedNet { me: address.to_owned(), gates: self.clone() }
    }

    fn are_apart(sides: &BTreeMap<String, u8>, one: &str, other: &str) -> bool {
        sides.get(one).copied().unwrap_or_default() != sides.get(other).copied().unwrap_or_default()
    }
}

/// A node's network behind the gates.
#[derive(Clone, Debug)]
pub struct GatedNet {
    me: String,
    gates: Gates,
}

impl GatedNet {
    /// Waits until the gate to an address is open; none: it is.
    fn closed(&self, address: &str) -> Option<BoxFuture<'static, ()>> {
        let apart = |sides: &BTreeMap<String, u8>, me: &str, other: &str| Gates::are_apart(sides, me, other);
        if !apart(&self.gates.sides.borrow(), &self.me, address) {
            return None;
        }
        let mut sides = self.gates.sides.subscribe();
        let (me, address) = (self.me.clone(), address.to_owned());
        Some(Box::pin(async move {
            // An error: the gates are gone, and nothing is held back any more.
            let _ = sides.wait_for(|sides| !apart(sides, &me, &address)).await;
        }))
    }
}

impl Net for GatedNet {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            if let Some(opened) = self.closed(address) {
                opened.await;
            }
            let stream = TcpNet.connect(address).await?;
            let (net, address) = (self.clone(), address.to_owned());
            Ok(Box::new(Gated { stream, net, address, waiting: None }) as BoxStream)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        TcpNet.listen(address)
    }
}

struct Gated {
    stream: BoxStream,
    net: GatedNet,
    address: String,
    waiting: Option<BoxFuture<'static, ()>>,
}

impl Gated {
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.waiting.is_none() {
                self.waiting = self.net.closed(&self.address);
            }
            let Some(waiting) = &mut self.waiting else { return Poll::Ready(()) };
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context));
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context));
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn nothing_passes_a_closed_gate_and_what_waited_passes_when_it_opens() {
        let gates = Gates::default();
        let mut listener = TcpNet.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let there = listener.local_address().unwrap().to_string();
        let net = gates.net("here:1");
        let mut near = net.connect(&there).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 3];
        near.write_all(b"one").await.unwrap();
        far.read_exact(&mut bytes).await.unwrap();

        gates.part(1, ["here:1"]);
        assert!(timeout(MOMENT, near.write_all(b"two")).await.is_err());
        assert!(timeout(MOMENT, net.connect(&there)).await.is_err());
        far.write_all(b"six").await.unwrap();
        assert!(timeout(MOMENT, near.read_exact(&mut bytes)).await.is_err());

        gates.open();
        near.write_all(b"two").await.unwrap();
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"two");
        near.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"six");
    }
}
