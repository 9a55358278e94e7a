//! Who is let in: strangers, garbage, other clusters and too many, each refused with its reason, and the server
//! goes on serving the others.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::node::{Node, Server, ping, ping_until_answered, pool};
use chordata_protocol::Address;
use chordata_rpc::net::{BoxStream, Listener};
use chordata_rpc::preamble::ServerIdentity;
use chordata_rpc::service::ClusterId;
use chordata_rpc::{
    CallFailure, Credentials, Limits, Net, PROTOCOL_VERSION, PreambleError, Secret, TcpNet, serve,
};
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

const ONE: ClusterId = ClusterId([1; 16]);
const TWO: ClusterId = ClusterId([2; 16]);

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text).unwrap())
}

async fn refusal(server: &Server, credentials: Credentials) -> PreambleError {
    match ping(&pool(credentials), &server.name()).await {
        Err(CallFailure::Rejected(address, error)) => {
            assert_eq!(address, server.name());
            error
        }
        other => panic!("not rejected: {other:?}"),
    }
}

#[tokio::test]
async fn the_same_secret_opens_and_the_cluster_is_learned() {
    let server =
        Server::start(Credentials::new(Some(ONE), secret("0123456789abcdef")), Limits::default()).await;
    let credentials = Credentials::new(None, secret("0123456789abcdef"));
    let pool = pool(credentials.clone());
    assert!(ping(&pool, &server.name()).await.is_ok());
    assert_eq!(credentials.cluster(), Some(ONE));
    // From now on a server of another cluster is refused, even one that would not mind.
    let other =
        Server::start(Credentials::new(Some(TWO), secret("0123456789abcdef")), Limits::default()).await;
    let failure = ping(&pool, &other.name()).await.unwrap_err();
    assert_eq!(
        failure,
        CallFailure::Rejected(other.name(), PreambleError::WrongCluster { ours: ONE, theirs: TWO })
    );
}

#[tokio::test]
async fn each_wrong_credential_gives_its_own_error() {
    let open = Server::start(Credentials::new(Some(ONE), None), Limits::default()).await;
    let closed =
        Server::start(Credentials::new(Some(ONE), secret("0123456789abcdef")), Limits::default()).await;
    assert_eq!(
        refusal(&open, Credentials::new(Some(TWO), None)).await,
        PreambleError::WrongCluster { ours: TWO, theirs: ONE }
    );
    assert_eq!(
        refusal(&open, Credentials::new(None, secret("0123456789abcdef"))).await,
        PreambleError::SecretNotExpected
    );
    assert_eq!(refusal(&closed, Credentials::default()).await, PreambleError::SecretRequired);
    assert_eq!(
        refusal(&closed, Credentials::new(None, secret("fedcba9876543210"))).await,
        PreambleError::WrongSecret
    );
}

#[tokio::test]
async fn a_server_that_learns_its_cluster_while_it_runs_refuses_others_from_then_on() {
    let credentials = Credentials::default();
    let server = Server::start(credentials.clone(), Limits::default()).await;
    assert!(ping(&pool(Credentials::default()), &server.name()).await.is_ok());
    let early = ping(&pool(Credentials::new(Some(TWO), None)), &server.name()).await.unwrap_err();
    assert!(early.to_string().contains("of no cluster at the moment"), "it may be of that one soon: {early}");
    credentials.learn(ONE).unwrap();
    assert_eq!(
        refusal(&server, Credentials::new(Some(TWO), None)).await,
        PreambleError::WrongCluster { ours: TWO, theirs: ONE }
    );
}

#[tokio::test]
async fn a_probe_needs_no_credentials_and_sees_who_is_there() {
    let limits = Limits { connections_max: 0, ..Limits::default() };
    let server = Server::start(Credentials::new(Some(ONE), secret("0123456789abcdef")), limits).await;
    let identity = pool(Credentials::new(Some(TWO), None)).probe(&server.name()).await;
    assert_eq!(identity, Ok(ServerIdentity { cluster: Some(ONE), has_secret: true }));
}

/// Answers every connection with these bytes and closes it when the peer does.
async fn something_else(banner: &'static [u8]) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(banner).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    Address::new(&address.to_string())
}

#[tokio::test]
async fn a_server_of_another_kind_or_version_is_recognized() {
    let pool = pool(Credentials::default());
    let ssh = something_else(b"SSH-2.0-OpenSSH_9.2p1\r\n").await;
    let failure = ping(&pool, &ssh).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        format!(
            "{ssh} cannot be used: it is not Chordata that is at the other end (it began with \"SSH-2.0-Op\"): \
             check the address and the port"
        )
    );
    let newer = something_else(b"CHORDATA\x00\x09").await;
    let failure = ping(&pool, &newer).await.unwrap_err();
    assert_eq!(
        failure,
        CallFailure::Rejected(newer, PreambleError::WrongVersion { ours: PROTOCOL_VERSION, theirs: 9 })
    );
}

#[tokio::test]
async fn nobody_at_the_address_is_said_at_once_and_is_certain() {
    let free = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Address::new(&listener.local_addr().unwrap().to_string())
    };
    let failure = ping(&pool(Credentials::default()), &free).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Unreachable(..)), "{failure}");
}

#[tokio::test]
async fn garbage_leaves_the_server_serving_others() {
    let limits = Limits { preamble_timeout: Duration::from_secs(1), ..Limits::default() };
    let server = Server::start(Credentials::default(), limits).await;
    let random = blake3::hash(b"seed");
    let mut one_byte = TcpStream::connect(server.address).await.unwrap();
    one_byte.write_all(b"C").await.unwrap();
    let _silent = TcpStream::connect(server.address).await.unwrap();
    for garbage in
        [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", random.as_bytes()]
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("this is a Chordata server"), "{answer:?}");
        assert!(ping(&pool(Credentials::default()), &server.name()).await.is_ok());
    }
    // The one that stopped after a byte is given up: this ends only because the server closes it.
    let mut answer = Vec::new();
    let _ = one_byte.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_told_so_and_let_in_when_there_is_room() {
    let limits = Limits { connections_max: 1, ..Limits::default() };
    let server = Server::start(Credentials::default(), limits).await;
    let (first, second) = (pool(Credentials::default()), pool(Credentials::default()));
    assert!(ping(&first, &server.name()).await.is_ok());
    let failure = ping(&second, &server.name()).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Overloaded(..)), "{failure}");
    assert!(ping(&first, &server.name()).await.is_ok());

    drop(first);
    // The server notices a moment later.
    ping_until_answered(&second, &server.name()).await;
}

/// Cannot accept at first, as a process without free file descriptors.
struct Exhausted {
    inner: Box<dyn Listener>,
    failures: u32,
}

impl Listener for Exhausted {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        if self.failures == 0 {
            return self.inner.accept();
        }
        self.failures -= 1;
        Box::pin(std::future::ready(Err(io::Error::other("too many open files"))))
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.inner.local_address()
    }
}

#[tokio::test]
async fn a_failure_to_accept_does_not_end_the_server() {
    let inner = TcpNet.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let listener = Box::new(Exhausted { inner, failures: 3 });
    let server = Server::start_on(listener, Credentials::default(), Limits::default());
    assert!(ping(&pool(Credentials::default()), &server.name()).await.is_ok());
}

#[tokio::test]
async fn shutdown_closes_the_port_and_the_connections() {
    let listener = TcpNet.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = Address::new(&listener.local_address().unwrap().to_string());
    let (stop, stopped) = oneshot::channel::<()>();
    let node = Node { reads: Arc::new(Semaphore::new(0)) };
    let server = tokio::spawn(serve(listener, Credentials::default(), Limits::default(), node, async move {
        drop(stopped.await);
    }));
    let pool = pool(Credentials::default());
    assert!(ping(&pool, &address).await.is_ok());
    stop.send(()).unwrap();
    server.await.unwrap();
    let failure = ping(&pool, &address).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Unreachable(..) | CallFailure::Lost(..)), "{failure}");
    let failure = ping(&pool, &address).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Unreachable(..)), "{failure}");
}
