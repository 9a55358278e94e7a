//! How the chains of a cluster are: who holds which range, how far behind the last replica is, who coordinates.

use std::collections::BTreeMap;

use chordata_client::look::View;
use chordata_protocol::chain::view::Active;
use chordata_protocol::chain::{Epoch, StoreId, View as ChainView};
use chordata_protocol::{Address, Consistency, Durability, Id, Range, Space};
use chordata_rpc::service::{ChainStatus, ReplicaStatus, Role, Status};
use serde::Serialize;

use crate::report::{Report, short_id, table};

/// The chains of a cluster.
#[derive(Debug, Serialize)]
pub(crate) struct Chains {
    consistency: Consistency,
    replication: u8,
    durability: Durability,
    coordinator: Coordinator,
    ranges: Vec<RangeRow>,
    losses: Vec<Loss>,
    #[serde(skip)]
    space: Space,
}

/// The group of nodes that decides who is a member and who holds what.
#[derive(Debug, Serialize)]
struct Coordinator {
    leader: Option<Place>,
    voters: Vec<Place>,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
struct Place {
    /// Its number; none while it does not answer.
    number: Option<usize>,
    /// None once it was forgotten.
    address: Option<Address>,
}

#[derive(Debug, Serialize)]
struct RangeRow {
    low: Id,
    high: Id,
    epoch: Epoch,
    /// The head first, the tail last, then those that are being filled.
    chain: Vec<LinkRow>,
    serving: usize,
    wanted: usize,
    under_replicated: bool,
    /// Writes that the head has and the tail has not committed yet; none: one of them does not say.
    lag: Option<u64>,
    changing: bool,
}

#[derive(Debug, Serialize)]
struct LinkRow {
    #[serde(flatten)]
    place: Place,
    serving: bool,
    /// Does this replica itself say that it is in this epoch?
    answers: bool,
}

/// A range that may have lost acknowledged writes.
#[derive(Debug, Serialize)]
struct Loss {
    low: Id,
    high: Id,
    /// The epoch that ended so.
    epoch: Epoch,
}

/// Parts of a node in chains, counted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Roles {
    head: usize,
    middle: usize,
    tail: usize,
    only: usize,
    syncing: usize,
}

impl Roles {
    /// Of a node.
    pub(crate) fn of(chain: &ChainStatus) -> Roles {
        let mut roles = Roles::default();
        for replica in &chain.replicas {
            let count = match replica.role {
                Role::Head => &mut roles.head,
                Role::Middle => &mut roles.middle,
                Role::Tail => &mut roles.tail,
                Role::Only => &mut roles.only,
                Role::Syncing => &mut roles.syncing,
            };
            *count += 1;
        }
        roles
    }

    /// `2 head, 1 tail`.
    pub(crate) fn text(self) -> String {
        let names = [
            (self.only, "only"),
            (self.head, "head"),
            (self.middle, "middle"),
            (self.tail, "tail"),
            (self.syncing, "syncing"),
        ];
        let parts = names.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts.map(|(count, name)| format!("{count} {name}")).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    }
}

/// `head`, as people read it.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Head => "head",
        Role::Middle => "middle",
        Role::Tail => "tail",
        Role::Only => "only",
        Role::Syncing => "syncing",
    }
}

impl Place {
    fn text(&self) -> String {
        match (self.number, &self.address) {
            (Some(number), _) => number.to_string(),
            (None, Some(address)) => format!("{address} (silent)"),
            (None, None) => "(forgotten)".to_owned(),
        }
    }

    fn long(&self) -> String {
        match (self.number, &self.address) {
            (Some(number), Some(address)) => format!("{number} at {address}"),
            _ => self.text(),
        }
    }
}

/// What is known of the nodes while a report is made.
struct Known<'a> {
    chains: &'a ChainView,
    /// By store: number and how it is.
    answering: BTreeMap<StoreId, (usize, &'a ChainStatus)>,
}

impl Known<'_> {
    fn place(&self, store: StoreId) -> Place {
        Place {
            number: self.answering.get(&store).map(|(number, _)| *number),
            address: self.chains.peer(store).map(|peer| peer.address.clone()),
        }
    }

    fn replica(&self, store: StoreId, epoch: Epoch) -> Option<&ReplicaStatus> {
        let (_, chain) = self.answering.get(&store)?;
        chain.replicas.iter().find(|replica| replica.epoch == epoch)
    }

    fn row(&self, epoch: Epoch, active: &Active, wanted: usize) -> RangeRow {
        let Range { low, high } = active.range;
        let serving = active.serving().count();
        let head = active.head().and_then(|link| self.replica(link.store, epoch));
        let tail = active.tail().and_then(|link| self.replica(link.store, epoch));
        let link = |link: &chordata_protocol::chain::view::Link| LinkRow {
            place: self.place(link.store),
            serving: link.serving,
            answers: self.replica(link.store, epoch).is_some(),
        };
        RangeRow {
            low,
            high,
            epoch,
            chain: active.chain.iter().map(link).collect(),
            serving,
            wanted,
            under_replicated: serving < wanted,
            lag: head.zip(tail).map(|(head, tail)| head.last.0.saturating_sub(tail.committed.0)),
            changing: self.chains.change_of(epoch).is_some() || active.wedged,
        }
    }
}

impl Chains {
    /// From what was seen; none: the cluster has no chains.
    pub(crate) fn new(view: &View, space: Space) -> Option<Chains> {
        let chains = view.chains()?;
        let members = view.members();
        let numbered = members.iter().enumerate();
        let answering = numbered.filter_map(|(number, status)| {
            let chain = status.chain.as_ref()?;
            Some((chain.store, (number, chain)))
        });
        let known = Known { chains, answering: answering.collect() };
        let present = chains.members.values().filter(|member| !member.leaving).count();
        let wanted = chains.replication.copies().min(present);
        let mut ranges: Vec<RangeRow> =
            chains.ranges.iter().map(|(epoch, active)| known.row(*epoch, active, wanted)).collect();
        ranges.sort_by_key(|row| row.high);
        let losses = chains.losses.iter().map(|(epoch, Range { low, high })| Loss {
            low: *low,
            high: *high,
            epoch: *epoch,
        });
        Some(Chains {
            consistency: chains.replication.consistency,
            replication: chains.replication.factor,
            durability: chains.replication.durability,
            coordinator: coordinator(&members, &known),
            ranges,
            losses: losses.collect(),
            space,
        })
    }

    fn range(&self, low: Id, high: Id) -> String {
        range_text(Range { low, high }, self.space)
    }
}

/// `(from, to]`, short.
pub(crate) fn range_text(range: Range, space: Space) -> String {
    format!("({}, {}]", short_id(range.low, space), short_id(range.high, space))
}

/// As the leader itself says, else as the node with the newest view says.
fn coordinator(members: &[&Status], known: &Known<'_>) -> Coordinator {
    let says = |status: &&&Status| {
        status.chain.as_ref().is_some_and(|chain| chain.leader.as_ref() == Some(&status.me))
    };
    let index = |status: &&&Status| {
        let view = status.chain.as_ref().and_then(|chain| chain.view.as_ref());
        view.map(|view| view.index)
    };
    let newest = members.iter().filter(says).max_by_key(index).or_else(|| members.iter().max_by_key(index));
    let Some(chain) = newest.and_then(|status| status.chain.as_ref()) else {
        return Coordinator { leader: None, voters: Vec::new() };
    };
    let leader = chain.leader.as_ref().map(|peer| Place {
        number: members.iter().position(|status| status.me == *peer),
        address: Some(peer.address.clone()),
    });
    let mut voters: Vec<Place> = chain.voters.iter().map(|store| known.place(*store)).collect();
    voters.sort_by_key(|voter| (voter.number.is_none(), voter.number));
    Coordinator { leader, voters }
}

impl Report for Chains {
    fn text(&self) -> String {
        let copies = crate::report::count(self.replication.into(), "replica");
        let mut text = format!("chains: {copies} of every key, durability {}\n", self.durability);
        let leader = self.coordinator.leader.as_ref().map_or("nobody known".to_owned(), Place::long);
        let voters: Vec<String> = self.coordinator.voters.iter().map(Place::text).collect();
        text += &format!("coordinator: led by {leader}; voters {}\n", voters.join(", "));
        let rows = self.ranges.iter().map(|row| {
            let serving: Vec<String> =
                row.chain.iter().filter(|link| link.serving).map(|link| link.place.text()).collect();
            let syncing = row.chain.iter().filter(|link| !link.serving);
            let chain = syncing
                .fold(serving.join(" → "), |chain, link| format!("{chain}, {} syncing", link.place.text()));
            let note = if row.under_replicated { " under-replicated" } else { "" };
            vec![
                self.range(row.low, row.high),
                row.epoch.to_string(),
                chain,
                format!("{} of {}{note}", row.serving, row.wanted),
                row.lag.map_or("?".to_owned(), |lag| lag.to_string()),
                if row.changing { "being changed" } else { "" }.to_owned(),
            ]
        });
        text += &table(&["range", "epoch", "head → tail", "serving", "lag", ""], rows);
        for loss in &self.losses {
            text += &format!(
                "LOSS  {} may have lost acknowledged writes when epoch {} ended\n",
                self.range(loss.low, loss.high),
                loss.epoch
            );
        }
        text
    }
}
