//! `nodes`, `lookup`, `fingers`: looking at the ring.

use chordata_client::look::View;
use chordata_protocol::procedure::lookup::{Hop, hops, timeouts};
use chordata_protocol::{Address, Id, Key, Policy, Space, Successor};
use chordata_rpc::service::{FingerRow, Status};
use chordata_rpc::within;
use chordata_server::settings::with_port;
use serde::Serialize;

use crate::commands::data::parse_key;
use crate::commands::replicas::ReplicaTable;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{self, Report, short_id, table};
use crate::target::Connection;

/// How long a node may take to show its fingers.
const FINGERS_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// The address of a node that was named by its number, by a host's name in the inventory, or by `HOST[:PORT]`.
///
/// # Errors
/// When there is no such node.
pub(crate) async fn resolve_node(connection: &Connection, text: &str) -> Outcome<Address> {
    if let Ok(number) = text.parse::<u32>() {
        let view = connection.client.view().await;
        let members = view.members();
        let found = members.get(number as usize).map(|status| status.me.address.clone());
        return found.ok_or_else(|| {
            Failure::input(format!("there is no node number {number}: the ring has {}", members.len()))
        });
    }
    if let Some(host) = connection
        .inventory
        .as_ref()
        .and_then(|inventory| inventory.hosts.iter().find(|host| host.name == text))
    {
        return Ok(Address::new(&host.ring_address()));
    }
    with_port(text).map_err(Failure::input)
}

/// The ring as a table.
#[derive(Debug, Serialize)]
pub(crate) struct Nodes {
    nodes: Vec<NodeRow>,
    silent: Vec<Address>,
    #[serde(skip)]
    space: Space,
}

#[derive(Debug, Serialize)]
struct NodeRow {
    number: usize,
    id: Id,
    address: Address,
    share: f64,
    keys: u64,
    successor: Option<Id>,
}

impl Nodes {
    /// From what was seen.
    pub(crate) fn new(view: &View, space: Space) -> Nodes {
        let row = |(number, status): (usize, &&Status)| NodeRow {
            number,
            id: status.me.id,
            address: status.me.address.clone(),
            share: status.share,
            keys: status.keys,
            successor: status.successors.first().map(Successor::id),
        };
        Nodes {
            nodes: view.members().iter().enumerate().map(row).collect(),
            silent: view.silent.iter().map(|(address, _)| address.clone()).collect(),
            space,
        }
    }
}

impl Report for Nodes {
    fn text(&self) -> String {
        let rows = self.nodes.iter().map(|row| {
            vec![
                row.number.to_string(),
                short_id(row.id, self.space),
                row.address.to_string(),
                format!("{:.1} %", row.share * 100.0),
                row.keys.to_string(),
                row.successor.map_or("-".to_owned(), |id| short_id(id, self.space)),
            ]
        });
        let mut text = table(&["number", "id", "address", "share", "keys", "successor"], rows);
        for address in &self.silent {
            text += &format!("{address} does not answer\n");
        }
        text
    }
}

/// `nodes`.
pub(crate) async fn nodes(context: &Context) -> Outcome {
    let connection = context.target.connect(context.output).await?;
    let view = connection.client.view().await;
    context.output.show(&Nodes::new(&view, connection.client.space()));
    Ok(())
}

/// Every node that was asked, one below the other.
pub(crate) fn hop_table(path: &[Hop], space: Space) -> String {
    let rows = path.iter().enumerate().map(|(number, hop)| {
        vec![
            number.to_string(),
            hop.peer.address.to_string(),
            short_id(hop.peer.id, space),
            hop.why.to_string(),
            format!("{:.2} %", share(hop.remaining, space) * 100.0),
            if hop.answered { report::duration(hop.elapsed) } else { "no answer".to_owned() },
        ]
    });
    table(&["hop", "node", "id", "why this one", "still to go", "time"], rows)
}

/// A distance as a share of the ring.
fn share(distance: Id, space: Space) -> f64 {
    if distance == Id::ZERO { 0.0 } else { space.share(Id::ZERO, distance) }
}

/// `lookup`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LookupArguments {
    /// The key; @0x2a or @42 is a literal id, @@x the key @x
    key: String,
    /// The argument is a literal id: decimal, or 0x and hexadecimal digits
    #[arg(long)]
    id: bool,
    /// Show every node that was asked: why this one, how far it still was, how long it took
    #[arg(long)]
    trace: bool,
    /// How the next node is chosen: finger, one-hop, successor or random
    #[arg(long, default_value_t = Policy::Finger)]
    policy: Policy,
    /// Begin at this node (a number, a host's name or HOST:PORT)
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
    /// Ask every replica of the key what it has: role, version, hash of the value. Exit code 1 when they disagree
    #[arg(long, conflicts_with_all = ["trace", "policy", "from"])]
    replicas: bool,
}

#[derive(Debug, Serialize)]
struct Lookup {
    key: Option<String>,
    id: Id,
    owner: Address,
    owner_id: Id,
    hops: u32,
    timeouts: u32,
    policy: Policy,
    path: Vec<Hop>,
    #[serde(skip)]
    space: Space,
    #[serde(skip)]
    trace: bool,
}

impl Report for Lookup {
    fn text(&self) -> String {
        let id = self.id.to_literal();
        let what = self.key.as_ref().map_or(id.clone(), |key| format!("{key} has id {id} and"));
        let way = report::count(self.hops as usize, "hop");
        let line = format!("{what} is served by {} ({}), {way}\n", self.owner, self.owner_id.to_literal());
        if self.trace { line + &hop_table(&self.path, self.space) } else { line }
    }
}

impl LookupArguments {
    /// Looks an owner up.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let space = connection.client.space();
        let key = if self.id {
            let digits = self.key.strip_prefix('@').unwrap_or(&self.key);
            Key::Literal(space.parse(digits).map_err(Failure::input)?)
        } else {
            parse_key(&self.key, space)?
        };
        if self.replicas {
            let replicas = ReplicaTable::of(&connection.client, &key, key.to_string()).await?;
            context.output.show(&replicas);
            return if replicas.agrees() { Ok(()) } else { Err(Failure::Said) };
        }
        let client = match &self.from {
            None => connection.client.clone(),
            Some(from) => {
                let from = resolve_node(&connection, from).await?;
                connection.client.through(from, chordata_client::Routing::Client(self.policy), true)
            }
        };
        let id = key.id(space);
        let located = client.locate(id, self.policy).await?;
        context.output.show(&Lookup {
            key: (!self.id).then(|| key.to_string()),
            id,
            owner: located.owner.address,
            owner_id: located.owner.id,
            hops: hops(&located.path),
            timeouts: timeouts(&located.path),
            policy: self.policy,
            path: located.path,
            space,
            trace: self.trace,
        });
        Ok(())
    }
}

/// `fingers`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FingersArguments {
    /// A number, a host's name or HOST:PORT
    #[arg(value_name = "NODE")]
    of: String,
}

/// A finger table.
#[derive(Debug, Serialize)]
pub(crate) struct Fingers {
    node: Address,
    bits: u8,
    fingers: Vec<FingerRow>,
    #[serde(skip)]
    space: Space,
}

impl Report for Fingers {
    fn text(&self) -> String {
        let rows = self.fingers.iter().map(|row| {
            let entries =
                if row.from == row.to { row.from.to_string() } else { format!("{}-{}", row.from, row.to) };
            vec![
                entries,
                format!("id + 2^{}", row.from),
                short_id(row.node.id, self.space),
                row.node.address.to_string(),
            ]
        });
        let heading =
            format!("fingers of {}: entry i is the first node at or behind its id + 2^i\n", self.node);
        heading + &table(&["entries", "from", "node", "address"], rows)
    }
}

/// Asks a node for its fingers.
///
/// # Errors
/// When it does not answer or is not in the ring.
pub(crate) async fn fingers_of(client: &chordata_client::Client, node: Address) -> Outcome<Fingers> {
    let answer = client.pool().client(&node).fingers(within(FINGERS_WITHIN)).await;
    let answer = answer.map_err(chordata_client::Failure::from_call)?;
    let fingers = answer.map_err(chordata_client::Failure::from)?;
    Ok(Fingers { node, bits: client.space().bits(), fingers, space: client.space() })
}

impl FingersArguments {
    /// Shows a finger table.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let node = resolve_node(&connection, &self.of).await?;
        context.output.show(&fingers_of(&connection.client, node).await?);
        Ok(())
    }
}
