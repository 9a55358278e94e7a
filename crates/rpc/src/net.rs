//! The seam to the network: how byte streams to peers come about.
//!
//! Everything above works on any [`Net`]. [`TcpNet`] is the plain one; the driver has one that goes through SSH
//! forwards, the chaos tests have a simulated one, and TLS will be one more. What this file guarantees of
//! [`TcpNet`]: small messages leave at once (no Nagle), a port can be taken again right after its server has stopped,
//! and a peer that is gone without a word (power cut, pulled cable) is noticed within a minute even when nothing is
//! being sent, and within [`UNACKNOWLEDGED_MAX`] when something is.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Any byte stream.
pub type BoxStream = Box<dyn Stream>;

/// Opens byte streams to addresses, and accepts them.
pub trait Net: Send + Sync + 'static {
    /// Connects to `HOST:PORT`. Has no timeout of its own: whoever calls it sets one.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>>;

    /// Listens; port 0 takes any free one. [`listen_failure`] says an error as a sentence.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;
}

/// Accepts byte streams.
pub trait Listener: Send {
    /// The next one, and who is at its other end, for logs. May be dropped and called again: no stream is lost.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>>;

    /// Where it listens, with the port that it was given.
    ///
    /// # Errors
    /// When the operating system does not say.
    fn local_address(&self) -> io::Result<SocketAddr>;
}

/// Connections that were not yet accepted, at most (the operating system may allow fewer).
const BACKLOG: u32 = 1024;

/// Silence after which the operating system begins to ask whether the peer is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// It asks this often.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// It gives up after so many questions.
const KEEPALIVE_RETRIES: u32 = 3;

/// A connection on which nothing that was sent is acknowledged, or read, for this long is given up (Linux).
pub const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// Plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNet;

impl Net for TcpNet {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            prepare(&stream)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // Without it a restarted server would have to wait until its old connections are forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(Box::new(TcpAcceptor(socket.listen(BACKLOG)?)) as Box<dyn Listener>)
        })
    }
}

struct TcpAcceptor(TcpListener);

impl Listener for TcpAcceptor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async move {
            loop {
                let (stream, peer) = self.0.accept().await?;
                // A stream that cannot be prepared is closed already: nothing that whoever accepts must know.
                if prepare(&stream).is_ok() {
                    return Ok((Box::new(stream) as BoxStream, peer.to_string()));
                }
            }
        })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

/// What went wrong with listening, and what to do.
pub fn listen_failure(address: SocketAddr, error: &io::Error) -> String {
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "port {port} on {ip} is in use by another process: choose another with --port or --listen"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no address {ip}: choose one that it has with --listen")
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {port} on {ip} is for root only: choose one above 1023 with --port or --listen")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn bytes_travel_both_ways_and_host_names_are_resolved() {
        let mut listener = TcpNet.listen(any_port()).await.unwrap();
        let address = format!("localhost:{}", listener.local_address().unwrap().port());
        let (connected, accepted) = tokio::join!(TcpNet.connect(&address), listener.accept());
        let (mut near, (mut far, peer)) = (connected.unwrap(), accepted.unwrap());
        assert!(peer.starts_with("127.0.0.1:"));

        near.write_all(b"there").await.unwrap();
        far.write_all(b"back").await.unwrap();
        let (mut there, mut back) = ([0; 5], [0; 4]);
        far.read_exact(&mut there).await.unwrap();
        near.read_exact(&mut back).await.unwrap();
        assert_eq!((&there, &back), (b"there", b"back"));
    }

    #[tokio::test]
    async fn a_port_in_use_is_said_in_a_sentence() {
        let listener = TcpNet.listen(any_port()).await.unwrap();
        let address = listener.local_address().unwrap();
        let error = TcpNet.listen(address).await.err().expect("the port is taken");
        assert_eq!(
            listen_failure(address, &error),
            format!(
                "port {} on 127.0.0.1 is in use by another process: choose another with --port or --listen",
                address.port()
            )
        );
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_said_in_a_sentence() {
        let address = SocketAddr::from(([192, 0, 2, 1], 0));
        let error = TcpNet.listen(address).await.err().expect("192.0.2.1 is reserved for documentation");
        assert_eq!(
            listen_failure(address, &error),
            "this machine has no address 192.0.2.1: choose one that it has with --listen"
        );
    }
}
