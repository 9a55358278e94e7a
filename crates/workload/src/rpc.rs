//! Requests through the client library, each with one node as its only way in.

use chordata_client::{Client, Config, Failure, Routing};
use chordata_protocol::{Key, Policy, Value};
use chordata_rpc::{Credentials, Secret};

use crate::job::{Entry, JobError};
use crate::source::Task;

/// A client for each entry node, in their order.
pub(crate) struct Clients {
    clients: Vec<Client>,
}

impl Clients {
    /// Connects.
    ///
    /// # Errors
    /// When no node answers, or the cluster's id or secret is none.
    pub(crate) async fn connect(
        entries: &[Entry],
        cluster: Option<&str>,
        secret: Option<&str>,
    ) -> Result<Clients, JobError> {
        let impossible = |error: &dyn std::fmt::Display| JobError::Impossible(error.to_string());
        let cluster = cluster.map(str::parse).transpose().map_err(|error: String| impossible(&error))?;
        let secret = secret.map(Secret::new).transpose().map_err(|error| impossible(&error))?;
        let credentials = Credentials::new(cluster, secret);
        let addresses: Vec<_> = entries.iter().filter_map(|entry| entry.rpc.clone()).collect();
        let config = Config { credentials, ..Config::default() };
        let client = Client::connect(&addresses, config).await;
        let client = client.map_err(|failure| JobError::Unreachable(failure.to_string()))?;
        let through = |address| client.through(address, Routing::Entry(Policy::Finger), false);
        Ok(Clients { clients: addresses.into_iter().map(through).collect() })
    }

    /// Stores.
    ///
    /// # Errors
    /// Not done, or unknown.
    pub(crate) async fn insert(&self, task: &Task) -> Result<(), Failure> {
        let key = Key::new(task.key.as_str());
        self.clients[task.entry].put(key, Value::from(task.value.as_str())).await.map(|_| ())
    }

    /// Reads.
    ///
    /// # Errors
    /// When nobody could serve it.
    pub(crate) async fn query(&self, task: &Task) -> Result<Option<Vec<u8>>, Failure> {
        let found = self.clients[task.entry].get(Key::new(task.key.as_str())).await?;
        Ok(found.result.map(|record| record.value.into_bytes()))
    }
}
