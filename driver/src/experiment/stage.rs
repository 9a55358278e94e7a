//! The cluster that is measured: one that runs, or one that is started for it and leaves nothing behind.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use chordata_client::look::View;
use chordata_client::{Client, Config};
use chordata_protocol::Address;
use chordata_server::settings::{ConsistencySetting, DurabilitySetting};
use chordata_workload::facts::process_seconds;
use chordata_workload::job::{Entry, Transport};

use super::deployed::Deployed;
use super::result::NodeLoad;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::hosts::station::Station;
use crate::inventory::Inventory;
use crate::local::{Servers, Start, wait_until_whole, word};
use crate::state::State;
use crate::target::{self, Connection, Target};

/// How often another port is tried where somebody else was quicker.
const PORTS_MAX: usize = 20;
/// How long a ring may take to become whole.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);
/// How long copies may take to arrive where they belong.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks with the same number of keys everywhere, after which copies have arrived.
const SAME_LOOKS: u32 = 4;

/// Where clusters come from.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// One that runs, found by the usual flags.
    Running,
    /// One that runs, of which only the addresses of HTTP are known.
    Addresses(Vec<String>),
    /// Processes of this machine, so many.
    Local(u16),
    /// The hosts of the inventory, under another name than its own cluster.
    Hosts,
}

/// How a running cluster keeps its data, as far as that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) consistency: Option<String>,
    pub(super) replication: Option<u8>,
    pub(super) durability: Option<String>,
}

/// A cluster that can be measured.
pub(super) struct Stage {
    /// Its entry nodes.
    pub(super) entries: Vec<Entry>,
    /// How it keeps its data.
    pub(super) kept: Kept,
    /// How long it took to start; none: it ran before.
    pub(super) started_in: Option<Duration>,
    /// To look at it; none: only HTTP is known.
    client: Option<Client>,
    /// What RPC needs.
    cluster: Option<String>,
    secret: Option<String>,
    /// The processes, in the order of the entry nodes, where they are this machine's.
    pids: Vec<u32>,
    /// The hosts, in the order of the entry nodes, where those send.
    pub(super) stations: Vec<Station>,
    owned: Owned,
}

/// What has to be ended with the stage.
enum Owned {
    Nothing,
    /// Tunnels, perhaps.
    Connection(Box<Connection>),
    Servers(Servers),
    Deployed(Box<Deployed>),
}

/// What is needed beside the place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Is HTTP needed?
    pub(super) http: bool,
    /// Do hosts send?
    pub(super) on_hosts: bool,
    /// Are there mixed requests, which go to every node?
    pub(super) mixed: bool,
}

impl Stage {
    /// A cluster that runs.
    ///
    /// # Errors
    /// When it is not reached, or where its HTTP is cannot be known.
    pub(super) async fn running(context: &Context, wish: Wish) -> Outcome<Stage> {
        let target = context.target.find(context.output)?;
        let connection = Connection::open(&target, context.target.secret_file.as_deref()).await?;
        let view = connection.client.view().await;
        let members: Vec<_> = view.members().into_iter().cloned().collect();
        if members.is_empty() {
            return Err(Failure::Unreachable("no node of the cluster is in the ring".to_owned()));
        }
        let (mut cluster, mut secret) = (None, None);
        let mut stations = Vec::new();
        let inventory = match &target {
            Target::Inventory(inventory) => {
                let has_tunnels =
                    inventory.hosts.iter().any(|host| host.access == crate::inventory::Access::Ssh);
                if has_tunnels && !wish.on_hosts {
                    return Err(Failure::input(
                        "hosts that show only their SSH port cannot be sent requests from here: say --on-hosts",
                    ));
                }
                cluster = Some(State::of_user()?.cluster_id(&inventory.name)?.to_string());
                secret = target::secret_text(inventory, context.target.secret_file.as_deref())?;
                if wish.on_hosts {
                    stations = super::deployed::stations(context, inventory).await?;
                }
                Some(&**inventory)
            }
            Target::Node(_) => {
                if let Some(file) = &context.target.secret_file {
                    secret = Some(std::fs::read_to_string(file)?);
                }
                None
            }
        };
        let named = members.iter().map(|status| {
            let address = &status.me.address;
            let mut hosts = inventory.iter().flat_map(|inventory| &inventory.hosts);
            let host = hosts.find(|host| Address::new(&host.ring_address()) == *address);
            let number =
                || status.number.map_or_else(|| address.to_string(), |number| format!("node {number}"));
            (host.map_or_else(number, |host| host.name.clone()), address)
        });
        let mut entries = entries(named, &view, wish.http)?;
        if wish.on_hosts {
            pair(&mut entries, &mut stations)?;
        }
        Ok(Stage {
            entries,
            kept: kept(&view),
            started_in: None,
            client: Some(connection.client.clone()),
            cluster,
            secret,
            pids: Vec::new(),
            stations,
            owned: Owned::Connection(Box::new(connection)),
        })
    }

    /// One of which only the addresses of HTTP are known.
    pub(super) fn of_addresses(addresses: &[String]) -> Stage {
        let entry =
            |address: &String| Entry { name: address.clone(), rpc: None, http: Some(address.clone()) };
        Stage {
            entries: addresses.iter().map(entry).collect(),
            kept: Kept::default(),
            started_in: None,
            client: None,
            cluster: None,
            secret: None,
            pids: Vec::new(),
            stations: Vec::new(),
            owned: Owned::Nothing,
        }
    }

    /// Starts servers of this machine. Dropping this ends them.
    ///
    /// # Errors
    /// When they do not become a ring.
    pub(super) async fn local(count: u16, start: Start, wish: Wish) -> Outcome<Stage> {
        let began = Instant::now();
        let mut servers = Servers::new("experiment", false)?;
        let ports = std::iter::repeat_with(free_port).take(usize::from(count) + PORTS_MAX);
        let arguments = |servers: &Servers, port| {
            let mut words = vec!["--log".to_owned(), "warn".to_owned()];
            words.extend(start.arguments(servers, port));
            if wish.http {
                words.extend(["--http", "127.0.0.1:0"].map(str::to_owned));
            }
            words
        };
        servers.start(count, ports, arguments, |_| {}).await?;
        let addresses = servers.addresses();
        let client = Client::connect(&addresses, Config::default()).await?;
        let view = wait_until_whole(&client, addresses.len(), WHOLE_WITHIN).await?;
        let named = addresses.iter().enumerate().map(|(number, address)| (format!("node {number}"), address));
        Ok(Stage {
            entries: entries(named, &view, wish.http)?,
            kept: Kept::of(start),
            started_in: Some(began.elapsed()),
            client: Some(client),
            cluster: None,
            secret: None,
            pids: servers.pids(),
            stations: Vec::new(),
            owned: Owned::Servers(servers),
        })
    }

    /// Brings up servers on the inventory's hosts, under a name of their own.
    ///
    /// # Errors
    /// When they do not become a ring.
    pub(super) async fn hosts(context: &Context, start: Start, wish: Wish) -> Outcome<Stage> {
        let began = Instant::now();
        let deployed = Deployed::raise(context, start, wish).await?;
        let took = began.elapsed();
        let inventory = deployed.inventory().clone();
        match Stage::of_deployed(context, &inventory, start, wish).await {
            Ok(stage) => {
                Ok(Stage { started_in: Some(took), owned: Owned::Deployed(Box::new(deployed)), ..stage })
            }
            Err(failure) => {
                deployed.erase().await?;
                Err(failure)
            }
        }
    }

    async fn of_deployed(
        context: &Context,
        inventory: &Inventory,
        start: Start,
        wish: Wish,
    ) -> Outcome<Stage> {
        let target = Target::Inventory(Box::new(inventory.clone()));
        let connection = Connection::open(&target, None).await?;
        let view = wait_until_whole(&connection.client, inventory.hosts.len(), WHOLE_WITHIN).await?;
        let addresses: Vec<Address> =
            inventory.hosts.iter().map(|host| Address::new(&host.ring_address())).collect();
        let names = inventory.hosts.iter().map(|host| host.name.clone());
        let entries = entries(names.zip(&addresses), &view, wish.http)?;
        let stations = match wish.on_hosts {
            true => super::deployed::stations(context, inventory).await?,
            false => Vec::new(),
        };
        Ok(Stage {
            entries,
            kept: Kept::of(start),
            started_in: None,
            client: Some(connection.client),
            cluster: Some(State::of_user()?.cluster_id(&inventory.name)?.to_string()),
            secret: target::secret_text(inventory, None)?,
            pids: Vec::new(),
            stations,
            owned: Owned::Nothing,
        })
    }

    /// How requests travel there.
    pub(super) fn transport(&self, is_http: bool, token: Option<&str>) -> Transport {
        if is_http {
            Transport::Http { token: token.map(str::to_owned) }
        } else {
            Transport::Rpc { cluster: self.cluster.clone(), secret: self.secret.clone() }
        }
    }

    /// Processor time that each node has used; none where that is not known.
    pub(super) fn processor_seconds(&self) -> Vec<Option<f64>> {
        self.pids.iter().map(|pid| process_seconds(*pid)).collect()
    }

    /// What each node has; nothing where only HTTP is known.
    pub(super) async fn loads(&self) -> Vec<NodeLoad> {
        let Some(client) = &self.client else { return Vec::new() };
        let view = client.view().await;
        let load = |entry: &Entry| {
            let status = view.nodes.iter().find(|status| Some(&status.me.address) == entry.rpc.as_ref())?;
            Some(NodeLoad {
                name: entry.name.clone(),
                share: status.share,
                keys: status.keys,
                bytes: status.bytes,
                processor_seconds: None,
            })
        };
        self.entries.iter().filter_map(load).collect()
    }

    /// Waits until no node's number of keys changes any more: in eventual mode copies arrive after the answer.
    pub(super) async fn settle(&self) {
        if self.client.is_none() {
            return;
        }
        let deadline = Instant::now() + SETTLED_WITHIN;
        let (mut before, mut same) = (Vec::new(), 0);
        while same < SAME_LOOKS && Instant::now() < deadline {
            let keys: Vec<u64> = self.loads().await.iter().map(|load| load.keys).collect();
            same = if keys == before { same + 1 } else { 0 };
            before = keys;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends what was started for it.
    ///
    /// # Errors
    /// When something of it is left.
    pub(super) async fn end(self) -> Outcome {
        match self.owned {
            Owned::Nothing => {}
            Owned::Connection(connection) => drop(connection),
            Owned::Servers(servers) => servers.stop().await,
            Owned::Deployed(deployed) => deployed.erase().await?,
        }
        Ok(())
    }
}

impl Kept {
    fn of(start: Start) -> Kept {
        let is_single = start.consistency == ConsistencySetting::Single;
        let durability = if is_single { DurabilitySetting::Memory } else { start.durability };
        Kept {
            consistency: Some(word(&start.consistency)),
            replication: Some(if is_single { 1 } else { start.replication }),
            durability: Some(word(&durability)),
        }
    }
}

/// Entry nodes and the hosts that send to them in one order.
fn pair(entries: &mut [Entry], stations: &mut Vec<Station>) -> Outcome {
    let name = |station: &Station| station.host.name.clone();
    let known: Vec<String> = stations.iter().map(name).collect();
    if let Some(stranger) = entries.iter().find(|entry| !known.contains(&entry.name)) {
        return Err(Failure::input(format!(
            "{} is a member and no host of the inventory: --on-hosts needs all of them there",
            stranger.name
        )));
    }
    entries.sort_by_key(|entry| known.iter().position(|name| *name == entry.name));
    stations.retain(|station| entries.iter().any(|entry| entry.name == station.host.name));
    Ok(())
}

fn kept(view: &View) -> Kept {
    let members = view.members();
    let Some(first) = members.first() else { return Kept::default() };
    match first.settings.replication {
        None => Kept {
            consistency: Some("single".to_owned()),
            replication: Some(1),
            durability: Some("memory".to_owned()),
        },
        Some(kept) => Kept {
            consistency: Some(kept.consistency.name().to_owned()),
            replication: Some(kept.factor),
            durability: Some(kept.durability.name().to_owned()),
        },
    }
}

/// A port that nobody listens on at the moment.
fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Entry nodes, with what they say of their HTTP where that is needed.
///
/// # Errors
/// When one does not answer HTTP.
fn entries<'a>(
    named: impl IntoIterator<Item = (String, &'a Address)>,
    view: &View,
    http: bool,
) -> Outcome<Vec<Entry>> {
    let entry = |(name, address): (String, &Address)| {
        let status = view.nodes.iter().find(|status| status.me.address == *address);
        let said = status.and_then(|status| status.http.clone());
        if http && said.is_none() {
            return Err(Failure::input(format!(
                "{address} does not answer HTTP: it was started without --http"
            )));
        }
        Ok(Entry { name, rpc: Some(address.clone()), http: said })
    };
    named.into_iter().map(entry).collect()
}
