//! Which cluster a command means.
//!
//! `-i INVENTORY` or `--node HOST[:PORT]` (both are an error), else `CHORDATA_INVENTORY` or `CHORDATA_NODE`, else the
//! cluster of the last `up`, else 127.0.0.1:18861. A choice that was not explicit is said.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chordata_client::{Client, Config, Routing};
use chordata_protocol::{Address, Policy};
use chordata_rpc::{Credentials, Net, Pool, PoolSettings, TcpNet};
use chordata_server::settings::with_port;

use crate::failure::{Failure, Outcome};
use crate::hosts::forward;
use crate::inventory::Inventory;
use crate::report::Output;
use crate::state::{Last, State};

/// Where to find the cluster, from flags and environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TargetArguments {
    /// The cluster of this inventory (TOML) [env: CHORDATA_INVENTORY]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub(crate) inventory: Option<PathBuf>,
    /// The cluster that this node belongs to [env: CHORDATA_NODE]
    #[arg(long, global = true, value_name = "HOST[:PORT]", help_heading = "Cluster")]
    pub(crate) node: Option<String>,
    /// File with the cluster's secret, where the inventory does not say
    #[arg(
        long,
        global = true,
        env = "CHORDATA_SECRET_FILE",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Cluster"
    )]
    pub(crate) secret_file: Option<PathBuf>,
    /// What is meant if neither says so, before the environment is asked: for the shell, whose lines are commands of one
    /// cluster.
    #[arg(skip)]
    pub(crate) fallback: Option<String>,
}

/// A cluster that was found.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// By its inventory.
    Inventory(Box<Inventory>),
    /// By a node.
    Node(Address),
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl TargetArguments {
    /// Finds the cluster.
    ///
    /// # Errors
    /// When the inventory or the address is wrong.
    pub(crate) fn find(&self, output: Output) -> Outcome<Target> {
        if let Some(path) = &self.inventory {
            if self.node.is_some() {
                return Err(Failure::input(
                    "-i and --node both say which cluster is meant: give one of them",
                ));
            }
            return by_inventory(path);
        }
        if let Some(node) = &self.node {
            return by_node(node);
        }
        if let Some(node) = &self.fallback {
            return by_node(node);
        }
        match (variable("CHORDATA_INVENTORY"), variable("CHORDATA_NODE")) {
            (Some(_), Some(_)) => {
                return Err(Failure::input(
                    "CHORDATA_INVENTORY and CHORDATA_NODE are both set: unset one of them",
                ));
            }
            (Some(path), None) => {
                output.remark_choice(&format!("cluster: inventory {path} (CHORDATA_INVENTORY)"));
                return by_inventory(Path::new(&path));
            }
            (None, Some(node)) => {
                output.remark_choice(&format!("cluster: node {node} (CHORDATA_NODE)"));
                return by_node(&node);
            }
            (None, None) => {}
        }
        match State::of_user()?.last()? {
            Some(Last::Inventory(path)) => {
                output.remark_choice(&format!("cluster: inventory {} (the last `up`)", path.display()));
                by_inventory(&path)
            }
            Some(Last::Node(node)) => {
                output.remark_choice(&format!("cluster: node {node} (the last `demo --keep`)"));
                by_node(&node)
            }
            None => {
                output.remark_choice(
                    "cluster: node 127.0.0.1:18861 (the default; -i or --node choose another)",
                );
                by_node("127.0.0.1:18861")
            }
        }
    }

    /// For a command in which `--node` chooses among the cluster's nodes: it also says which cluster if it is an
    /// address and no inventory is given.
    pub(crate) fn with_node_as_choice(&self) -> (TargetArguments, Option<String>) {
        let mut target = self.clone();
        let is_number = self.node.as_ref().is_some_and(|node| node.bytes().all(|byte| byte.is_ascii_digit()));
        if self.inventory.is_some() || is_number {
            target.node = None;
        }
        (target, self.node.clone())
    }

    /// Finds the inventory, for commands that need one.
    ///
    /// # Errors
    /// When the cluster is known by a node only.
    pub(crate) fn find_inventory(&self, output: Output) -> Outcome<Inventory> {
        match self.find(output)? {
            Target::Inventory(inventory) => Ok(*inventory),
            Target::Node(node) => Err(Failure::input(format!(
                "this command works on hosts, of {node} only its address is known: name an inventory with -i"
            ))),
        }
    }

    /// Connects to the cluster.
    ///
    /// # Errors
    /// When no node answers.
    pub(crate) async fn connect(&self, output: Output) -> Outcome<Connection> {
        let target = self.find(output)?;
        Connection::open(&target, self.secret_file.as_deref()).await
    }
}

fn by_inventory(path: &Path) -> Outcome<Target> {
    Ok(Target::Inventory(Box::new(Inventory::load(path)?)))
}

fn by_node(text: &str) -> Outcome<Target> {
    Ok(Target::Node(with_port(text).map_err(Failure::input)?))
}

/// A client of the cluster, and what it goes through.
pub(crate) struct Connection {
    /// The client.
    pub(crate) client: Client,
    /// The inventory, if the cluster was found by one.
    pub(crate) inventory: Option<Inventory>,
    /// Tunnels to hosts that show only their SSH port; they end with this.
    _forwards: Option<forward::Forwards>,
}

impl Connection {
    /// Of a client that is connected already.
    pub(crate) fn of_client(client: Client) -> Connection {
        Connection { client, inventory: None, _forwards: None }
    }

    /// Connects to a cluster.
    ///
    /// # Errors
    /// When no node answers.
    pub(crate) async fn open(target: &Target, secret_file: Option<&Path>) -> Outcome<Connection> {
        let mut config = Config { routing: Routing::Client(Policy::Finger), ..Config::default() };
        match target {
            Target::Node(node) => {
                config.credentials = Credentials::new(None, read_secret(secret_file)?);
                let client = Client::connect(std::slice::from_ref(node), config).await?;
                Ok(Connection { client, inventory: None, _forwards: None })
            }
            Target::Inventory(inventory) => {
                config.credentials = credentials(inventory, secret_file)?;
                let forwards = forward::Forwards::open(inventory).await?;
                if let Some(forwards) = &forwards {
                    config.net = forwards.net();
                }
                let nodes = addresses(inventory);
                let client = Client::connect(&nodes, config).await?;
                Ok(Connection { client, inventory: Some((**inventory).clone()), _forwards: forwards })
            }
        }
    }
}

/// Connections to servers themselves, in a ring or not: with the secret, but in no cluster's name.
pub(crate) struct Processes {
    /// The connections.
    pub(crate) pool: Pool,
    /// Where the servers are.
    pub(crate) addresses: Vec<Address>,
    _forwards: Option<forward::Forwards>,
}

impl Processes {
    /// Finds the servers that are meant; connects when they are called.
    ///
    /// # Errors
    /// When the secret cannot be read, or there is no way to hosts that show only their SSH port.
    pub(crate) async fn open(target: &Target, secret_file: Option<&Path>) -> Outcome<Processes> {
        let mut net: Arc<dyn Net> = Arc::new(TcpNet);
        let (addresses, secret, mut forwards) = match target {
            Target::Node(node) => (vec![node.clone()], read_secret(secret_file)?, None),
            Target::Inventory(inventory) => {
                let secret = credentials(inventory, secret_file)?.secret().cloned();
                (addresses(inventory), secret, forward::Forwards::open(inventory).await?)
            }
        };
        if let Some(forwards) = &mut forwards {
            net = forwards.net();
        }
        let pool = pool_over(net, Credentials::new(None, secret));
        Ok(Processes { pool, addresses, _forwards: forwards })
    }
}

/// Connections over plain TCP that do not take anybody's cluster for theirs.
pub(crate) fn pool(credentials: Credentials) -> Pool {
    pool_over(Arc::new(TcpNet), credentials)
}

fn pool_over(net: Arc<dyn Net>, credentials: Credentials) -> Pool {
    Pool::new(net, credentials, PoolSettings { learn_cluster: false, ..PoolSettings::default() })
}

/// The ring addresses of all hosts.
pub(crate) fn addresses(inventory: &Inventory) -> Vec<Address> {
    inventory.hosts.iter().map(|host| Address::new(&host.ring_address())).collect()
}

/// The cluster's id and secret, as its nodes have them.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn credentials(inventory: &Inventory, secret_file: Option<&Path>) -> Outcome<Credentials> {
    let state = State::of_user()?;
    let secret = match secret_file.or(inventory.cluster.secret_file.as_deref()) {
        Some(path) => read_secret(Some(path))?,
        None if needs_secret(inventory) => Some(state.cluster_secret(&inventory.name)?),
        None => None,
    };
    Ok(Credentials::new(Some(state.cluster_id(&inventory.name)?), secret))
}

/// The secret of a cluster as text, for load generators; none: it has none.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn secret_text(inventory: &Inventory, secret_file: Option<&Path>) -> Outcome<Option<String>> {
    match secret_file.or(inventory.cluster.secret_file.as_deref()) {
        Some(path) => {
            read_secret(Some(path))?;
            Ok(Some(std::fs::read_to_string(path)?.trim().to_owned()))
        }
        None if needs_secret(inventory) => Ok(Some(State::of_user()?.cluster_secret_text(&inventory.name)?)),
        None => Ok(None),
    }
}

/// Does a cluster have a secret of its own? Not if all its nodes are on this machine and listen to it only.
pub(crate) fn needs_secret(inventory: &Inventory) -> bool {
    !inventory.cluster.insecure && inventory.hosts.iter().any(|host| !host.bind.is_loopback())
}

/// The secret of a file.
///
/// # Errors
/// When it cannot be read, or is too short.
pub(crate) fn read_secret(path: Option<&Path>) -> Outcome<Option<chordata_rpc::Secret>> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::input(format!("the secret file {}: {error}", path.display())))?;
    chordata_rpc::Secret::new(&text).map(Some).map_err(Failure::input)
}
