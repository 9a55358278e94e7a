//! Looking at the ring: its nodes, where a key is, how this node is.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use chordata_protocol::Policy;
use chordata_rpc::service::{Held, KeyCopy, Status};
use chordata_rpc::within;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::json;
use super::front::Shared;
use super::problem::Problem;
use super::request::{self, Parameters};

/// How long a lookup may take.
const LOOKUP_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// A node.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodeReport {
    /// Its ring number, from the lowest id; none while it is not numbered.
    number: Option<u32>,
    /// Its place on the ring.
    #[schema(example = "0x2000")]
    id: String,
    /// Where other nodes and clients reach it.
    #[schema(example = "127.0.0.1:18861")]
    address: String,
    /// Where it answers HTTP, if it does.
    http: Option<String>,
    /// Version of its program.
    version: String,
    /// How long it has been running.
    uptime_seconds: f64,
    /// Is it in the ring?
    member: bool,
    /// Share of the ring that it serves, from 0 to 1.
    share: f64,
    /// Keys that it holds, copies included.
    keys: u64,
    /// Bytes of keys and values that it holds.
    bytes: u64,
    /// Who is before it.
    predecessor: String,
    /// Who is behind it; none: nobody.
    successor: Option<String>,
}

impl NodeReport {
    fn new(status: &Status) -> NodeReport {
        NodeReport {
            number: status.number,
            id: status.me.id.to_literal(),
            address: status.me.address.to_string(),
            http: status.http.clone(),
            version: status.version.clone(),
            uptime_seconds: status.uptime.as_secs_f64(),
            member: status.member,
            share: status.share,
            keys: status.keys,
            bytes: status.bytes,
            predecessor: status.predecessor.address.to_string(),
            successor: status
                .successors
                .iter()
                .find_map(|next| next.node())
                .map(|peer| peer.address.to_string()),
        }
    }
}

/// A node that does not answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct SilentNode {
    /// Where it was.
    address: String,
    /// Why it counts as silent.
    reason: String,
}

/// All nodes.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodesReport {
    /// From the lowest id.
    nodes: Vec<NodeReport>,
    /// Those that others name and that do not answer.
    silent: Vec<SilentNode>,
    /// Is it one ring, in order, with all its replicas?
    whole: bool,
    /// What is not as it should be, a sentence each.
    problems: Vec<String>,
}

/// All nodes, and what is not as it should be
#[utoipa::path(
    get, path = "/v1/nodes", tag = "ring",
    responses(
        (status = 200, description = "The ring", body = NodesReport),
        (status = 400, description = "There is no such parameter", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
    ),
)]
pub(crate) async fn nodes(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(&uri, &[])?;
    let serving = front.serving()?;
    let view = Box::pin(serving.client.view()).await;
    let silent = view
        .silent
        .iter()
        .map(|(address, failure)| SilentNode { address: address.to_string(), reason: failure.to_string() });
    Ok(json(&NodesReport {
        nodes: view.nodes.iter().map(NodeReport::new).collect(),
        silent: silent.collect(),
        whole: view.is_whole(),
        problems: view.problems(),
    }))
}

/// A node that was asked on the way.
#[derive(Serialize, ToSchema)]
pub(crate) struct HopReport {
    /// Its place.
    id: String,
    /// Where it is.
    address: String,
    /// Why this one was asked.
    #[schema(example = "finger 158")]
    why: String,
    /// How long its answer took.
    micros: u64,
    /// Did it answer?
    answered: bool,
}

/// What a replica of a key has.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReplicaReport {
    /// Its place.
    id: String,
    /// Where it is.
    address: String,
    /// Does it serve, as far as the chain says?
    serving: bool,
    /// Its part in the chain: head, middle, tail, only or syncing.
    role: Option<String>,
    /// `value`, `nothing`, `damaged`, or `silent`.
    holds: &'static str,
    /// The version that it has.
    version: Option<String>,
    /// The first 16 bytes of the value's BLAKE3 hash.
    hash: Option<String>,
    /// How long the value is.
    bytes: Option<u64>,
    /// Why it is silent.
    reason: Option<String>,
}

/// Where a key is.
#[derive(Serialize, ToSchema)]
pub(crate) struct LookupReport {
    /// The key's identifier.
    #[schema(example = "0x62b06ba")]
    id: String,
    /// Who serves it.
    owner: String,
    /// Nodes asked after the first, the owner included.
    hops: u32,
    /// Every node asked, in order, beginning with this server.
    path: Vec<HopReport>,
    /// Who keeps copies of it, the owner first.
    replicas: Vec<ReplicaReport>,
}

/// Where a key is, how it was found, and what each replica has
#[utoipa::path(
    get, path = "/v1/lookup/{key}", tag = "ring",
    params(("key" = String, Path, description = "1 to 4096 bytes, percent-encoded", min_length = 1)),
    responses(
        (status = 200, description = "Where it is", body = LookupReport),
        (status = 400, description = "The key is not possible", body = Problem),
        (status = 503, description = "Not possible at the moment", body = Problem),
    ),
)]
pub(crate) async fn lookup(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(&uri, &[])?;
    let key = request::key(&uri, 2)?;
    let serving = front.serving()?;
    let client = &serving.client;
    key.check(client.space())?;
    let id = key.id(client.space());
    let node = client.pool().client(&serving.node.me().address);
    let trip = Box::pin(node.lookup(within(LOOKUP_WITHIN), id, Policy::Finger)).await;
    let trip = trip.map_err(chordata_client::Failure::from_call)??;
    let found = Box::pin(client.replicas_of(&key)).await?;
    let path = trip.path.iter().map(|hop| HopReport {
        id: hop.peer.id.to_literal(),
        address: hop.peer.address.to_string(),
        why: hop.why.to_string(),
        micros: u64::try_from(hop.elapsed.as_micros()).unwrap_or(u64::MAX),
        answered: hop.answered,
    });
    let replicas = found.replicas.into_iter().map(|(peer, serving, copy)| {
        let empty = ReplicaReport {
            id: peer.id.to_literal(),
            address: peer.address.to_string(),
            serving,
            role: None,
            holds: "silent",
            version: None,
            hash: None,
            bytes: None,
            reason: None,
        };
        match copy {
            Ok(copy) => describe(empty, &copy),
            Err(failure) => ReplicaReport { reason: Some(failure.to_string()), ..empty },
        }
    });
    Ok(json(&LookupReport {
        id: id.to_literal(),
        owner: trip.owner.address.to_string(),
        hops: trip.hops,
        path: path.collect(),
        replicas: replicas.collect(),
    }))
}

fn describe(empty: ReplicaReport, copy: &KeyCopy) -> ReplicaReport {
    let role = copy.replica.as_ref().map(|replica| format!("{:?}", replica.role).to_lowercase());
    let report = ReplicaReport { role, ..empty };
    match copy.held {
        Held::Nothing => ReplicaReport { holds: "nothing", ..report },
        Held::Damaged => ReplicaReport { holds: "damaged", ..report },
        Held::Value { version, hash, bytes, .. } => ReplicaReport {
            holds: "value",
            version: Some(version.to_string()),
            hash: Some(hash.to_string()),
            bytes: Some(bytes),
            ..report
        },
    }
}

/// A replica of a range on this node.
#[derive(Serialize, ToSchema)]
pub(crate) struct RangeReport {
    /// Its epoch.
    epoch: u64,
    /// Just before its first identifier.
    low: String,
    /// Its last identifier.
    high: String,
    /// Its part in the chain: head, middle, tail, only or syncing.
    role: String,
    /// The end of its log.
    last: u64,
    /// Known to be committed up to here.
    committed: u64,
    /// May it serve now?
    leased: bool,
}

/// How this node is.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusReport {
    /// The node.
    node: NodeReport,
    /// Its cluster.
    cluster: String,
    /// How that keeps its data: single, chain or eventual.
    consistency: &'static str,
    /// Copies of each key.
    copies: usize,
    /// The newest view of the chains that it has.
    view: Option<u64>,
    /// Who leads the coordinators, as far as it knows.
    leader: Option<String>,
    /// Its replicas, where chains keep the data.
    replicas: Vec<RangeReport>,
    /// Eventual mode: copies that are still to get to others.
    hints: Option<u64>,
    /// Nodes that did not answer when it last asked them.
    silent: Vec<String>,
}

/// How this node is
#[utoipa::path(
    get, path = "/v1/status", tag = "ring",
    responses(
        (status = 200, description = "How it is", body = StatusReport),
        (status = 400, description = "There is no such parameter", body = Problem),
        (status = 503, description = "It is not in a ring", body = Problem),
    ),
)]
pub(crate) async fn status(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(&uri, &[])?;
    let status = front.status().ok_or_else(Problem::not_in_ring)?;
    let chain = status.chain.as_ref();
    let replicas = chain.into_iter().flat_map(|chain| &chain.replicas).map(|replica| RangeReport {
        epoch: replica.epoch.0,
        low: replica.range.low.to_literal(),
        high: replica.range.high.to_literal(),
        role: format!("{:?}", replica.role).to_lowercase(),
        last: replica.last.0,
        committed: replica.committed.0,
        leased: replica.leased,
    });
    Ok(json(&StatusReport {
        node: NodeReport::new(&status),
        cluster: status.settings.cluster.to_string(),
        consistency: status.settings.consistency().map_or("single", |mode| mode.name()),
        copies: status.settings.replication.map_or(1, |kept| kept.copies()),
        view: chain.and_then(|chain| chain.view.as_ref()).map(|view| view.index),
        leader: chain.and_then(|chain| chain.leader.as_ref()).map(|peer| peer.address.to_string()),
        replicas: replicas.collect(),
        hints: status.eventual.as_ref().map(|eventual| eventual.hints),
        silent: status.silent.iter().map(|peer| peer.address.to_string()).collect(),
    }))
}
