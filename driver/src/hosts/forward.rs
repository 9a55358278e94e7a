//! Tunnels to the servers of hosts that show only their SSH port (`access = "ssh"`).
//!
//! ssh listens on a socket in a private directory here, and connects each connection to it on to the server's port
//! there. [`Forwards::net`] is a network in which the ring address of such a host leads to its socket, and every other
//! address to plain TCP: the client above routes as ever, and meets every node at its own address. A tunnel carries
//! any number of connections over the one SSH connection of its host.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use chordata_rpc::net::{BoxStream, Listener};
use chordata_rpc::{Net, TcpNet};
use futures::future::{BoxFuture, join_all};
use openssh::{ForwardType, Session, Socket};
use tokio::net::UnixStream;

use super::connect::{Sessions, words};
use super::failure::HostFailure;
use crate::failure::Outcome;
use crate::inventory::{Access, Host, Inventory};

/// Tunnels, one a host; they end with this and the networks made from it.
pub(crate) struct Forwards {
    net: Arc<TunnelNet>,
}

/// A tunnel, or why there is none: the host's server then is one that does not answer.
type Tunnel = Result<PathBuf, String>;

struct TunnelNet {
    tunnels: BTreeMap<String, Tunnel>,
    /// Dropped before the directory of their sockets.
    _open: Vec<Session>,
    _sessions: Sessions,
}

impl Forwards {
    /// Opens them; none if no host needs one. A host that cannot be reached does not keep the others from being.
    ///
    /// # Errors
    /// When there is no place for the sockets.
    pub(crate) async fn open(inventory: &Inventory) -> Outcome<Option<Forwards>> {
        let hosts: Vec<&Host> = inventory.hosts.iter().filter(|host| host.access == Access::Ssh).collect();
        if hosts.is_empty() {
            return Ok(None);
        }
        let sessions = Sessions::of(inventory)?;
        let opening = hosts.iter().enumerate().map(|(number, host)| open(host, number, &sessions));
        let (mut tunnels, mut open) = (BTreeMap::new(), Vec::new());
        for (host, opened) in hosts.iter().zip(join_all(opening).await) {
            let tunnel = match opened {
                Ok((session, path)) => {
                    open.push(session);
                    Ok(path)
                }
                Err(failure) => Err(failure.to_string()),
            };
            tunnels.insert(host.ring_address(), tunnel);
        }
        Ok(Some(Forwards { net: Arc::new(TunnelNet { tunnels, _open: open, _sessions: sessions }) }))
    }

    /// A network that goes through them.
    pub(crate) fn net(&self) -> Arc<dyn Net> {
        self.net.clone()
    }
}

async fn open(host: &Host, number: usize, sessions: &Sessions) -> Result<(Session, PathBuf), HostFailure> {
    let session = sessions.open(host).await?;
    let path = sessions.socket(number);
    // Seen from the host itself: where its server listens.
    let there = match host.bind {
        IpAddr::V4(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(address) if address.is_unspecified() => "::1".to_owned(),
        address => address.to_string(),
    };
    let listen = Socket::UnixSocket { path: path.clone().into() };
    let connect = Socket::TcpSocket { host: there.into(), port: host.listen_port };
    session.request_port_forward(ForwardType::Local, listen, connect).await.map_err(|error| {
        HostFailure::Failed(format!("no forward through {}: {}", host.ssh, words(&error)))
    })?;
    Ok((session, path))
}

impl Net for TunnelNet {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        match self.tunnels.get(address) {
            None => TcpNet.connect(address),
            Some(Ok(path)) => Box::pin(async move {
                let stream = UnixStream::connect(path).await?;
                Ok(Box::new(stream) as BoxStream)
            }),
            Some(Err(reason)) => {
                let error = io::Error::new(io::ErrorKind::HostUnreachable, reason.clone());
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        TcpNet.listen(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_that_show_their_ports_need_no_tunnel() {
        let inventory = Inventory::parse("hosts = [\"a\"]", "/nowhere/x.toml").expect("a sound inventory");
        assert!(Forwards::open(&inventory).await.expect("nothing to do").is_none());
    }

    #[tokio::test]
    async fn an_address_behind_a_tunnel_leads_to_its_socket_and_a_broken_one_says_why() {
        let sessions = Sessions::of(&Inventory::parse("hosts = [\"a\"]", "/nowhere/x.toml").expect("sound"));
        let sessions = sessions.expect("a directory");
        let path = sessions.socket(0);
        let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
        let tunnels = [("10.0.0.1:18861", Ok(path)), ("10.0.0.2:18861", Err("a does not answer".to_owned()))];
        let tunnels = tunnels.into_iter().map(|(address, tunnel)| (address.to_owned(), tunnel)).collect();
        let net = TunnelNet { tunnels, _open: Vec::new(), _sessions: sessions };
        let (connected, accepted) = tokio::join!(net.connect("10.0.0.1:18861"), listener.accept());
        assert!(connected.is_ok() && accepted.is_ok());
        let error = net.connect("10.0.0.2:18861").await.err().expect("there is no tunnel");
        assert_eq!(error.to_string(), "a does not answer");
    }
}
