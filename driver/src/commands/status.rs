//! `status`: how every node is, what is wrong, and which arcs dead nodes held.

use std::collections::BTreeMap;

use chordata_client::look::View;
use chordata_protocol::{Address, Id, Peer, Space};
use chordata_rpc::service::{Role, Status};
use serde::Serialize;

use crate::commands::chains::{Chains, Roles};
use crate::commands::eventual::Copies;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{self, Report, short_id, table};
use crate::target::Connection;

/// `status`. Exit code 1 when something is wrong.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StatusArguments {}

#[derive(Debug, Serialize)]
struct Health {
    healthy: bool,
    nodes: Vec<Row>,
    dead: Vec<Dead>,
    /// Hosts of the inventory that do not answer, and that the cluster does not know.
    outside: Vec<Outside>,
    problems: Vec<String>,
    chains: Option<Chains>,
    copies: Option<Copies>,
    /// Ranges of which no serving replica answers.
    unserved: usize,
    #[serde(skip)]
    space: Space,
}

#[derive(Debug, Serialize)]
struct Row {
    name: Option<String>,
    address: Address,
    number: Option<u32>,
    id: Id,
    state: &'static str,
    version: String,
    uptime_seconds: u64,
    keys: u64,
    bytes: u64,
    /// Its parts in chains; none where there are no chains.
    roles: Option<Roles>,
}

/// A host that is no member.
#[derive(Debug, Serialize)]
struct Outside {
    name: Option<String>,
    address: Address,
}

/// A node that does not answer, and the arc that it held.
#[derive(Debug, Serialize)]
struct Dead {
    name: Option<String>,
    address: Address,
    id: Option<Id>,
    arc: Option<(Id, Id)>,
    share: f64,
}

fn state(status: &Status) -> &'static str {
    if let Some(chain) = status.chain.as_ref().filter(|_| status.member) {
        let mut replicas = chain.replicas.iter();
        return if chain.replicas.is_empty() {
            "no replicas"
        } else if replicas.clone().any(|replica| replica.wedged) {
            "changing"
        } else if replicas.clone().any(|replica| replica.role == Role::Syncing) {
            "being filled"
        } else if replicas.all(|replica| replica.leased) {
            "ok"
        } else {
            "no lease"
        };
    }
    match (status.member, status.serving.is_some(), status.handing_over) {
        (false, _, _) => "joining",
        (true, false, _) => "waiting for keys",
        (true, true, true) => "handing keys over",
        (true, true, false) => "ok",
    }
}

impl Health {
    fn new(view: &View, connection: &Connection) -> Health {
        let space = connection.client.space();
        let hosts = connection.inventory.iter().flat_map(|inventory| &inventory.hosts);
        let names: BTreeMap<Address, String> =
            hosts.map(|host| (Address::new(&host.ring_address()), host.name.clone())).collect();
        let name = |address: &Address| names.get(address).cloned();
        let nodes = view.nodes.iter().map(|status| Row {
            name: name(&status.me.address),
            address: status.me.address.clone(),
            number: status.number,
            id: status.me.id,
            state: state(status),
            version: status.version.clone(),
            uptime_seconds: status.uptime.as_secs(),
            keys: status.keys,
            bytes: status.bytes,
            roles: status.chain.as_ref().map(Roles::of),
        });
        let dead = dead(view, space, &name);
        let outside = view.silent.iter().filter(|(address, _)| !view.belongs(address));
        let outside = outside.map(|(address, _)| Outside { name: name(address), address: address.clone() });
        let outside = outside.collect();
        let mut problems: Vec<String> =
            view.problems().into_iter().filter(|problem| !problem.contains("does not answer")).collect();
        problems.sort();
        let healthy = dead.is_empty() && view.is_whole();
        let (chains, copies) = (Chains::new(view, space), Copies::new(view, space));
        Health {
            healthy,
            nodes: nodes.collect(),
            dead,
            outside,
            problems,
            chains,
            copies,
            unserved: view.unserved().len(),
            space,
        }
    }
}

/// Nodes that do not answer the driver, and that live nodes call silent, chains have as members or eventual mode waits
/// for, with the arcs that they held: from the live member before them to themselves.
fn dead(view: &View, space: Space, name: &dyn Fn(&Address) -> Option<String>) -> Vec<Dead> {
    let answers = |address: &Address| view.nodes.iter().any(|status| status.me.address == *address);
    let silent = view.silent.iter().filter(|(address, _)| view.belongs(address));
    let mut ids: BTreeMap<Address, Option<Id>> = silent.map(|(address, _)| (address.clone(), None)).collect();
    // With replicas it is known who is a member: one that was forgotten is missed by nobody.
    let known: Vec<Peer> = match view.chains() {
        Some(chains) => chains.members.values().map(|member| member.peer.clone()).collect(),
        None if view.is_eventual() => view.missed().map(|(_, peer)| peer).collect(),
        None => view.nodes.iter().flat_map(|status| status.silent.clone()).collect(),
    };
    for peer in known.into_iter().filter(|peer| !answers(&peer.address)) {
        ids.insert(peer.address, Some(peer.id));
    }
    let members = view.members();
    let before = |id: Id| {
        let nearest = members.iter().min_by_key(|status| space.distance(status.me.id, id));
        nearest.map(|status| status.me.id)
    };
    ids.into_iter()
        .map(|(address, id)| {
            let arc = id.and_then(|id| Some((before(id)?, id)));
            Dead {
                name: name(&address),
                address,
                id,
                arc,
                share: arc.map_or(0.0, |(low, high)| space.share(low, high)),
            }
        })
        .collect()
}

impl Report for Health {
    fn text(&self) -> String {
        let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        let rows = self.nodes.iter().map(|row| {
            let roles = row.roles.map(Roles::text);
            let cells = vec![
                row.number.map_or("-".to_owned(), |number| number.to_string()),
                named(&row.name),
                row.address.to_string(),
                short_id(row.id, self.space),
                row.state.to_owned(),
                row.keys.to_string(),
                row.bytes.to_string(),
                format!("{} s", row.uptime_seconds),
                row.version.clone(),
            ];
            cells.into_iter().chain(roles).collect()
        });
        let mut headings = vec!["number", "name", "address", "id", "state", "keys", "bytes", "up", "version"];
        if self.chains.is_some() {
            headings.push("roles");
        }
        let mut text = table(&headings, rows);
        if let Some(chains) = &self.chains {
            text += &format!("\n{}\n", chains.text());
        }
        if let Some(copies) = &self.copies {
            text += &format!("\n{}\n", copies.text());
        }
        for dead in &self.dead {
            let end = match (self.chains.is_some(), self.unserved) {
                (true, 0) => "other replicas serve its keys. If it will not come back: `chordata forget`",
                (true, _) => {
                    "some keys have no other replica: start it again, or see `chordata recover --help`"
                }
                (false, _) if self.copies.is_some() => {
                    "other replicas have its keys. If it will not come back: `chordata forget`"
                }
                (false, _) => "what it stored is lost, as there is one copy of each key",
            };
            let held = match dead.arc {
                Some((low, high)) => format!(
                    "held the arc ({}, {}], {:.1} % of the ring; {end}",
                    short_id(low, self.space),
                    short_id(high, self.space),
                    dead.share * 100.0
                ),
                None => "which part of the ring it held is not known any more".to_owned(),
            };
            text += &format!("DEAD  {} {}: {held}\n", named(&dead.name), dead.address);
        }
        for Outside { name, address } in &self.outside {
            text += &format!("{} {address} is no member of the cluster, and does not answer\n", named(name));
        }
        for problem in &self.problems {
            text += &format!("{problem}\n");
        }
        let nodes = report::count(self.nodes.len(), "node");
        text + &if self.healthy {
            let replicas = match (&self.chains, &self.copies) {
                (Some(_), _) => ", every range with all its replicas".to_owned(),
                (None, Some(copies)) => copies.as_far_as_known(),
                (None, None) => String::new(),
            };
            format!("healthy: {nodes}, one ring, in order, everything served{replicas}\n")
        } else {
            format!(
                "not healthy: {nodes} answer, {} dead, {}\n",
                self.dead.len(),
                report::count(self.problems.len(), "problem")
            )
        }
    }
}

impl StatusArguments {
    /// Shows how the cluster is.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let view = connection.client.view().await;
        let health = Health::new(&view, &connection);
        context.output.show(&health);
        if health.healthy { Ok(()) } else { Err(Failure::Said) }
    }
}
