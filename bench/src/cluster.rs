//! A cluster on this machine: servers in processes of their own, spread evenly around the ring, that can be killed and
//! started again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chordata_client::look::View;
use chordata_client::{Client, Config};
use chordata_protocol::Address;
use chordata_protocol::chain::View as ChainView;

use crate::BenchError;
use crate::process::{Served, Server};

/// How long the cluster may take to become whole.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Connections of the client to each server.
const CONNECTIONS: usize = 2;

/// What the servers of a cluster are told.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many.
    pub nodes: usize,
    /// Flags of `chordata-server` that all of them get.
    pub flags: Vec<String>,
    /// Each has its data in a directory in here; none: they keep nothing.
    pub directory: Option<PathBuf>,
}

impl Plan {
    /// So many, with these flags. They log errors only.
    pub fn new(nodes: usize, flags: &str) -> Plan {
        let flags = flags.split_whitespace().chain(["--log", "error,openraft=off"]);
        Plan { nodes, flags: flags.map(str::to_owned).collect(), directory: None }
    }

    /// The same, with data in this directory.
    #[must_use]
    pub fn keeping(self, directory: &Path) -> Plan {
        Plan { directory: Some(directory.to_owned()), ..self }
    }
}

/// The servers, and a client. They end when this is dropped.
pub struct Cluster {
    /// None: killed.
    servers: Vec<Option<Server>>,
    flags: Vec<Vec<String>>,
    addresses: Vec<Address>,
    client: Client,
}

impl Cluster {
    /// Starts the servers one after another; returns when the cluster is whole.
    ///
    /// # Errors
    /// When one does not start, or the cluster does not become whole in time.
    pub async fn start(plan: &Plan) -> Result<Cluster, BenchError> {
        let (mut servers, mut flags, mut addresses) = (Vec::new(), Vec::new(), Vec::<Address>::new());
        for number in 0..plan.nodes {
            let mut own = plan.flags.clone();
            own.extend(["--id".to_owned(), evenly(number, plan.nodes)]);
            if let Some(directory) = &plan.directory {
                let data = directory.join(format!("node-{number}"));
                own.extend(["--data".to_owned(), data.display().to_string()]);
            }
            if let Some(first) = addresses.first() {
                own.extend(["--join".to_owned(), first.to_string()]);
            }
            let server = Server::start(Served::Chordata, &own).await?;
            let port = server.address().port().unwrap_or(0);
            own.extend(["--port".to_owned(), port.to_string()]);
            addresses.push(server.address().clone());
            servers.push(Some(server));
            flags.push(own);
        }
        let config = Config { connections_per_node: CONNECTIONS, ..Config::default() };
        let client = Client::connect(&addresses, config).await.map_err(BenchError::call)?;
        let cluster = Cluster { servers, flags, addresses, client };
        cluster.become_whole().await?;
        Ok(cluster)
    }

    /// Waits until every node is there and every chain has its length; how long that took.
    ///
    /// # Errors
    /// When it takes too long: what is missing.
    pub async fn become_whole(&self) -> Result<Duration, BenchError> {
        let began = Instant::now();
        loop {
            let view = self.client.view_from(self.addresses.clone()).await;
            let count = view.members().len();
            if view.is_whole() && count == self.addresses.len() {
                return Ok(began.elapsed());
            }
            if began.elapsed() >= WHOLE_WITHIN {
                let problems = view.problems();
                let some: Vec<&str> = problems.iter().take(3).map(String::as_str).collect();
                let wanted = self.addresses.len();
                let what = format!("a whole cluster of {wanted}; it has {count}: {}", some.join("; "));
                return Err(BenchError::TimedOut { what, seconds: WHOLE_WITHIN.as_secs() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A client of the cluster.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where the servers listen, going up the ring from the first.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// All servers as they say that they are.
    pub async fn view(&self) -> View {
        self.client.view_from(self.addresses.clone()).await
    }

    /// The newest view of the chains.
    ///
    /// # Errors
    /// When there are none.
    pub async fn chains(&self) -> Result<ChainView, BenchError> {
        let view = self.view().await;
        view.chains().cloned().ok_or_else(|| BenchError::Call("no node knows of chains".to_owned()))
    }

    /// Processor time that each server has used, in seconds; none for those that are not running, or where the system
    /// does not say.
    pub fn cpu_seconds(&self) -> Vec<Option<f64>> {
        self.servers.iter().map(|server| server.as_ref().and_then(Server::cpu_seconds)).collect()
    }

    /// Resident memory of a server, in bytes; none: it is not running, or the system does not say.
    pub fn resident_bytes(&self, number: usize) -> Option<f64> {
        self.servers[number].as_ref().and_then(Server::resident_bytes)
    }

    /// The most memory that a server had so far, in bytes; none: it is not running, or the system does not say.
    pub fn peak_bytes(&self, number: usize) -> Option<f64> {
        self.servers[number].as_ref().and_then(Server::peak_bytes)
    }

    /// Kills a server (kill -9).
    ///
    /// # Errors
    /// When it is not running, or the system does not let it be killed.
    pub async fn kill(&mut self, number: usize) -> Result<(), BenchError> {
        match self.servers[number].take() {
            Some(server) => server.kill().await,
            None => Err(BenchError::Server("it was killed before".to_owned())),
        }
    }

    /// Starts a server that was killed, where it was and with what is on its disk; returns when it says that it is
    /// ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, number: usize) -> Result<(), BenchError> {
        self.servers[number] = Some(Server::start(Served::Chordata, &self.flags[number]).await?);
        Ok(())
    }
}

/// The place of a node among so many that stand at equal distances, as a setting: 160 bits in hexadecimal digits.
fn evenly(number: usize, nodes: usize) -> String {
    let step = u128::MAX / nodes.max(1) as u128;
    format!("0x{:032x}00000000", step * number as u128)
}

#[cfg(test)]
mod tests {
    use chordata_protocol::Space;

    use super::*;

    #[test]
    fn places_are_on_the_ring_and_apart() {
        let place = |number| Space::default().parse(&evenly(number, 3)).unwrap();
        assert!(place(0) < place(1) && place(1) < place(2));
        assert_eq!(place(0), chordata_protocol::Id::ZERO);
    }
}
