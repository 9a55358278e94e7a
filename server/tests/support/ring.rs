//! Servers that form a ring, and can be ended and started again.

use chordata_client::look::View;
use chordata_client::{Client, Config};
use chordata_protocol::{Address, Id, Peer};
use chordata_rpc::ChordataStub;
use chordata_rpc::service::Status;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::process::Process;
use super::{WHOLE_WITHIN, eventually, free_port};

/// A server with a data directory, which outlives its process.
pub(crate) struct Server {
    /// Its home.
    pub(crate) home: TempDir,
    /// Where it listens.
    pub(crate) address: Address,
    /// Its place; known once it is ready.
    pub(crate) id: Id,
    /// Where it answers HTTP, if it does; known once it is ready.
    pub(crate) http: Option<String>,
    /// Its process.
    pub(crate) process: Process,
    arguments: Vec<String>,
}

impl Server {
    /// Starts it; does not wait.
    pub(crate) fn begin(join: Option<&Address>, more: &[&str]) -> Server {
        let home = tempfile::tempdir().unwrap();
        let port = free_port().to_string();
        let mut arguments: Vec<String> = ["--port", &port, "--data", "data"].map(str::to_owned).to_vec();
        arguments.extend(more.iter().map(|text| (*text).to_owned()));
        if let Some(join) = join {
            arguments.extend(["--join".to_owned(), join.to_string()]);
        }
        let process = Process::start(home.path(), &arguments, &[]);
        let address = Address::new(&format!("127.0.0.1:{port}"));
        Server { home, address, id: Id::ZERO, http: None, process, arguments }
    }

    /// Starts it and waits until it is in a ring.
    pub(crate) fn start(join: Option<&Address>, more: &[&str]) -> Server {
        let mut server = Server::begin(join, more);
        server.await_ready();
        server
    }

    /// Waits until it is in a ring.
    pub(crate) fn await_ready(&mut self) {
        let (id, address, http) = self.process.ready_with_http();
        assert_eq!(address, self.address);
        (self.id, self.http) = (id, http);
    }

    /// Starts it again, with the same arguments and data; does not wait.
    pub(crate) fn begin_again(&mut self) {
        self.process = Process::start(self.home.path(), &self.arguments, &[]);
    }

    /// Starts it again with more arguments; does not wait.
    pub(crate) fn begin_again_with(&mut self, more: &[&str]) {
        self.arguments.extend(more.iter().map(|text| (*text).to_owned()));
        self.begin_again();
    }

    /// Starts it again and waits until it is in a ring.
    pub(crate) fn start_again(&mut self) {
        self.begin_again();
        self.await_ready();
    }

    /// It will listen elsewhere when it starts again.
    pub(crate) fn move_to_another_port(&mut self) {
        let port = free_port().to_string();
        self.address = Address::new(&format!("127.0.0.1:{port}"));
        self.arguments[1] = port;
    }

    /// Stops it as a service manager does; it must obey.
    pub(crate) fn terminate(&mut self) {
        self.process.signal(Signal::SIGTERM);
        assert_eq!(self.process.exit_code(), Some(0), "{}", self.process.log());
    }

    /// As others know it.
    pub(crate) fn peer(&self) -> Peer {
        Peer::new(self.id, self.address.clone())
    }
}

/// What it wrote to standard error outlives a test that failed.
impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let port = self.address.port().unwrap_or(0);
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("server-{port}.log"));
        match std::fs::write(&file, self.process.log()) {
            Ok(()) => eprintln!("the log of {:?} at {} is kept in {}", self.id, self.address, file.display()),
            Err(error) => eprintln!("the log of {} cannot be kept: {error}", self.address),
        }
    }
}

/// A ring of servers.
pub(crate) struct TestRing {
    /// All of them; the first started the ring.
    pub(crate) servers: Vec<Server>,
    settings: Vec<&'static str>,
}

impl TestRing {
    /// Starts that many servers, all but the first at once, and waits until they are one ring.
    pub(crate) async fn start(count: usize, settings: &[&'static str]) -> TestRing {
        let first = Server::start(None, settings);
        let join = first.address.clone();
        let mut ring = TestRing { servers: vec![first], settings: settings.to_vec() };
        ring.servers.extend((1..count).map(|_| Server::begin(Some(&join), settings)));
        ring.servers[1..].iter_mut().for_each(Server::await_ready);
        ring.whole().await;
        ring
    }

    /// One more joins, through any of them.
    pub(crate) fn add(&mut self) -> &Server {
        let server = Server::start(Some(&self.servers[0].address), &self.settings);
        self.servers.push(server);
        &self.servers[self.servers.len() - 1]
    }

    /// Where they listen.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.servers.iter().map(|server| server.address.clone()).collect()
    }

    /// As others know them, in the order in which they were started.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.servers.iter().map(Server::peer).collect()
    }

    /// Their places, from the lowest.
    pub(crate) fn ids(&self) -> Vec<Id> {
        let mut ids: Vec<Id> = self.servers.iter().map(|server| server.id).collect();
        ids.sort();
        ids
    }

    /// A client that knows all of them and remembers nothing yet.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.addresses(), Config::default()).await.unwrap()
    }

    /// A client that knows only this one.
    pub(crate) async fn client_of(&self, place: usize) -> Client {
        let address = self.servers[place].address.clone();
        Client::connect(&[address], Config::default()).await.unwrap()
    }

    /// Waits until all of them are one ring.
    pub(crate) async fn whole(&self) -> View {
        let all: Vec<usize> = (0..self.servers.len()).collect();
        self.whole_with(&all).await
    }

    /// Waits until these are one ring, with nobody else in it.
    pub(crate) async fn whole_with(&self, these: &[usize]) -> View {
        let addresses: Vec<Address> =
            these.iter().map(|place| self.servers[*place].address.clone()).collect();
        let client = Client::connect(&addresses, Config::default()).await.unwrap();
        eventually("these servers are one ring", WHOLE_WITHIN, async || {
            let view = client.view_from(addresses.clone()).await;
            let members: Vec<Address> =
                view.members().iter().map(|status| status.me.address.clone()).collect();
            if view.is_whole() && members.len() == addresses.len() {
                Ok(view)
            } else {
                Err(format!("{} members of {}; {:?}", members.len(), addresses.len(), view.problems()))
            }
        })
        .await
    }
}

/// The methods of one server.
pub(crate) fn stub(client: &Client, server: &Server) -> ChordataStub {
    client.pool().client(&server.address)
}

/// How a server is.
pub(crate) async fn status(client: &Client, server: &Server) -> Status {
    chordata_client::status_of(client.pool(), &server.address, super::CALL).await.unwrap()
}
