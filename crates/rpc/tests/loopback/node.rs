//! A node with hardly anything in it, served over real TCP on a free port of this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chordata_protocol::chain::{Applied, ChainRequest, ChainResponse, Command, WriteId};
use chordata_protocol::{Address, Id, Key, Operation, Outcome, Record, Request, Response, Value, Version};
use chordata_rpc::kind::{ForClients, ForRing};
use chordata_rpc::letter::{Hello, Letter, Reply};
use chordata_rpc::net::Listener;
use chordata_rpc::service::{ChordataRequest, ChordataResponse, Error, Placed, Ring};
use chordata_rpc::{Credentials, Handlers, Limits, Net, Pool, PoolSettings, Session, TcpNet, serve, within};
use futures::future::BoxFuture;
use tarpc::context::Context;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Reading this key takes for ever.
pub(crate) const STUCK: &str = "stuck";
/// Reading this key gives a value that fits no frame.
pub(crate) const HUGE: &str = "huge";

/// The node: reads any key as its own name. `reads` gets a permit for every read that has begun.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) reads: Arc<Semaphore>,
}

impl Ring for Node {
    async fn ask(self, _: Context, _: Request) -> Response {
        Response::Pong(Id::from_u128(42))
    }

    async fn apply(
        self,
        _: Context,
        _: Key,
        _: Operation,
        _: Option<WriteId>,
    ) -> Result<Placed<Outcome>, Error> {
        Ok(Placed { result: Outcome::Written(Version { epoch: 1, sequence: 1 }), at: None })
    }

    async fn read(self, _: Context, key: Key) -> Result<Placed<Option<Record>>, Error> {
        self.reads.add_permits(1);
        if key == Key::new(STUCK) {
            std::future::pending::<()>().await;
        }
        let bytes = if key == Key::new(HUGE) { vec![0; 2_000_000] } else { key.to_string().into_bytes() };
        let record =
            Record { version: Version { epoch: 1, sequence: 2 }, value: Value::from(bytes), expires: None };
        Ok(Placed { result: Some(record), at: None })
    }

    async fn apply_many(
        self,
        _: Context,
        entries: Vec<(Key, Operation, Option<WriteId>)>,
    ) -> Vec<Result<Outcome, Error>> {
        entries.iter().map(|_| Err(Error::Overloaded)).collect()
    }

    async fn read_many(self, _: Context, _: Vec<Key>) -> Vec<Result<Option<Record>, Error>> {
        panic!("a handler with a fault");
    }

    async fn read_any(self, _: Context, keys: Vec<Key>) -> Vec<Result<Option<Record>, Error>> {
        keys.iter().map(|_| Ok(None)).collect()
    }

    async fn chain(self, _: Context, _: ChainRequest) -> ChainResponse {
        ChainResponse::NotMine
    }

    async fn group(self, _: Context, _: Bytes) -> Result<Bytes, Error> {
        Err(Error::NotMember)
    }

    async fn propose(self, _: Context, _: Command) -> Result<Applied, Error> {
        Err(Error::NotMember)
    }

    async fn accept_loss(self, _: Context) -> Result<(), Error> {
        Err(Error::NotMember)
    }

    async fn hello(self, _: Context, _: Hello) -> Option<Hello> {
        None
    }

    async fn deliver(self, _: Context, _: Letter) -> Option<Reply> {
        None
    }
}

impl Handlers for Node {
    fn chordata(&self, session: Session<ForClients>) -> BoxFuture<'static, ()> {
        Box::pin(session.run(tarpc::server::serve(|_, request: ChordataRequest| async move {
            Ok(match request {
                ChordataRequest::GetNode { number, .. } => {
                    ChordataResponse::GetNode(Err(Error::NoSuchNumber { number, count: 1 }))
                }
                // Not an answer to what was asked, as a faulty peer might give it.
                _ => ChordataResponse::UpdateNumbers(Err(Error::NotMember)),
            })
        })))
    }

    fn ring(&self, session: Session<ForRing>) -> BoxFuture<'static, ()> {
        Box::pin(session.run(self.clone().serve()))
    }
}

/// A running server; dropping it is a kill.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// A permit for every read that has begun.
    pub(crate) reads: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(credentials: Credentials, limits: Limits) -> Server {
        Server::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), credentials, limits).await
    }

    pub(crate) async fn start_at(address: SocketAddr, credentials: Credentials, limits: Limits) -> Server {
        Server::start_on(TcpNet.listen(address).await.unwrap(), credentials, limits)
    }

    pub(crate) fn start_on(listener: Box<dyn Listener>, credentials: Credentials, limits: Limits) -> Server {
        let address = listener.local_address().unwrap();
        let reads = Arc::new(Semaphore::new(0));
        let node = Node { reads: reads.clone() };
        let task = tokio::spawn(serve(listener, credentials, limits, node, std::future::pending()));
        Server { address, reads, task }
    }

    /// A server with no cluster, no secret, and default limits.
    pub(crate) async fn plain() -> Server {
        Server::start(Credentials::default(), Limits::default()).await
    }

    pub(crate) fn name(&self) -> Address {
        Address::new(&self.address.to_string())
    }

    /// Ends it as kill -9 would; returns when all its sockets are closed.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Waits until so many reads have begun since the last time.
    pub(crate) async fn reads_begun(&self, count: u32) {
        self.reads.acquire_many(count).await.unwrap().forget();
    }
}

pub(crate) fn pool(credentials: Credentials) -> Pool {
    Pool::new(Arc::new(TcpNet), credentials, PoolSettings::default())
}

/// Long enough for anything that works; tests of failures that come at once compare with it.
pub(crate) const LONG: Duration = Duration::from_secs(50);

pub(crate) async fn ping(pool: &Pool, address: &Address) -> Result<Response, chordata_rpc::CallFailure> {
    Ok(pool.ring(address).ask(within(LONG), Request::Ping).await?)
}

/// Calls until the server has room for it.
pub(crate) async fn ping_until_answered(pool: &Pool, address: &Address) {
    let calls = async { while ping(pool, address).await.is_err() {} };
    tokio::time::timeout(LONG, calls).await.expect("the server has room in the end");
}
