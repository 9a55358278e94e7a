//! The least that a key-value service on tarpc can be: what Chordata is compared with.
//!
//! The same codec and frames as Chordata, no delay on the sockets, handlers inline, one map behind a lock. No ring, no
//! versions, no preamble, no limits, no pool: the difference between the two is what all that costs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chordata_rpc::codec;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_bytes::ByteBuf;
use tarpc::client::RpcError;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tarpc::{ClientMessage, Response};
use tokio::net::{TcpListener, TcpStream};

use crate::BenchError;

/// Calls at once on one connection: what Chordata's pool allows.
const IN_FLIGHT_MAX: usize = 1000;

/// Two methods.
#[tarpc::service]
pub trait Bare {
    /// Stores a value.
    async fn put(key: ByteBuf, value: ByteBuf);
    /// The value, or none.
    async fn get(key: ByteBuf) -> Option<ByteBuf>;
}

/// A map, shared by all connections.
#[derive(Clone, Default)]
struct Map(Arc<Mutex<HashMap<ByteBuf, ByteBuf>>>);

impl Bare for Map {
    async fn put(self, _: Context, key: ByteBuf, value: ByteBuf) {
        self.0.lock().insert(key, value);
    }

    async fn get(self, _: Context, key: ByteBuf) -> Option<ByteBuf> {
        self.0.lock().get(&key).cloned()
    }
}

/// Serves on this listener for ever.
///
/// # Errors
/// When nothing can be accepted any more.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let map = Map::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let transport = codec::framed_server(stream, chordata_rpc::DEADLINE_MAX);
        let map = map.clone();
        tokio::spawn(
            BaseChannel::with_defaults(transport)
                .requests()
                .filter_map(|request| std::future::ready(request.ok()))
                .for_each_concurrent(None, move |request| request.execute(map.clone().serve())),
        );
    }
}

/// Some connections, used in turn.
#[derive(Clone)]
pub struct BareConnections {
    connections: Arc<[BareClient]>,
    turn: Arc<AtomicUsize>,
}

impl BareConnections {
    /// Opens so many.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn open(address: SocketAddr, count: usize) -> Result<BareConnections, BenchError> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            let stream = TcpStream::connect(address).await.map_err(BenchError::server)?;
            stream.set_nodelay(true).map_err(BenchError::server)?;
            let mut config = tarpc::client::Config::default();
            config.max_in_flight_requests = IN_FLIGHT_MAX;
            config.pending_request_buffer = IN_FLIGHT_MAX;
            let transport = codec::framed::<_, Response<BareResponse>, ClientMessage<BareRequest>>(stream);
            connections.push(BareClient::new(config, transport).spawn());
        }
        Ok(BareConnections { connections: connections.into(), turn: Arc::default() })
    }

    fn next(&self) -> &BareClient {
        &self.connections[self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len()]
    }

    /// Stores a value.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn put(&self, context: Context, key: Vec<u8>, value: Vec<u8>) -> Result<(), RpcError> {
        self.next().put(context, ByteBuf::from(key), ByteBuf::from(value)).await
    }

    /// The value, or none.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn get(&self, context: Context, key: Vec<u8>) -> Result<Option<Vec<u8>>, RpcError> {
        Ok(self.next().get(context, ByteBuf::from(key)).await?.map(ByteBuf::into_vec))
    }
}
