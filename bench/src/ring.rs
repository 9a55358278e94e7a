//! Many nodes in one process, each with its own sockets on loopback: a real ring for counting hops and calls.

use std::sync::Arc;
use std::time::Duration;

use chordata_client::{Client, Config};
use chordata_protocol::{Address, Id, Peer};
use chordata_rpc::TcpNet;
use chordata_server::settings::{ConsistencySetting, PlacementSetting};
use chordata_server::{Settings, Started};
use futures::future::join_all;
use tokio::time::Instant;

use crate::BenchError;

/// How long the ring may take to become whole after the last node has joined.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// Nodes remember for a few seconds to whom they gave keys, and send lookups there: measurements begin later.
const SETTLE: Duration = Duration::from_secs(6);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The nodes, and a client.
pub struct LocalRing {
    nodes: Vec<Started>,
    client: Client,
}

impl LocalRing {
    /// Starts so many nodes (at least one), one after another, each joining through the first; returns when the ring
    /// is whole and quiet.
    ///
    /// # Errors
    /// When one does not start or does not join, or the ring does not become whole in time.
    pub async fn start(nodes: usize, placement: PlacementSetting) -> Result<LocalRing, BenchError> {
        let first = start_one(placement, None).await?;
        let entry = first.node.me().address.clone();
        let mut started = vec![first];
        while started.len() < nodes {
            started.push(start_one(placement, Some(&entry)).await?);
        }
        let client = Client::connect(&[entry], Config::default()).await.map_err(BenchError::call)?;
        let ring = LocalRing { nodes: started, client };
        ring.become_whole().await?;
        tokio::time::sleep(SETTLE).await;
        Ok(ring)
    }

    async fn become_whole(&self) -> Result<(), BenchError> {
        let deadline = Instant::now() + WHOLE_WITHIN;
        loop {
            let view = self.client.view().await;
            let count = view.members().len();
            if view.is_whole() && count == self.nodes.len() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let problems = view.problems();
                let some: Vec<&str> = problems.iter().take(3).map(String::as_str).collect();
                let what =
                    format!("a whole ring of {}; it has {count}: {}", self.nodes.len(), some.join("; "));
                return Err(BenchError::TimedOut { what, seconds: WHOLE_WITHIN.as_secs() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Where the nodes are, in the order in which they joined.
    pub fn addresses(&self) -> Vec<Address> {
        self.nodes.iter().map(|started| started.node.me().address.clone()).collect()
    }

    /// A client of the ring.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Who owns an identifier, by the definition: the first node at or behind it.
    pub fn owner(&self, id: Id) -> &Peer {
        let peers = || self.nodes.iter().map(|started| started.node.me());
        let behind = peers().filter(|peer| peer.id >= id).min();
        behind.or_else(|| peers().min()).expect("a local ring has at least one node")
    }

    /// Stops all nodes.
    pub async fn stop(self) {
        join_all(self.nodes.into_iter().map(Started::stop)).await;
    }
}

async fn start_one(placement: PlacementSetting, entry: Option<&Address>) -> Result<Started, BenchError> {
    let settings = Settings {
        port: Some(0),
        join: entry.map(Address::to_string).into_iter().collect(),
        placement: Some(placement),
        // Only the ring is measured: chains would name owners as well.
        consistency: Some(ConsistencySetting::Single),
        ..Settings::default()
    };
    let settings = settings.resolve().map_err(BenchError::server)?;
    chordata_server::start(settings, Arc::new(TcpNet)).await.map_err(BenchError::server)
}
