//! `GET /v1/events`: what happens, as server-sent events, for as long as somebody listens.
//!
//! What a node notices is told at once: nodes that came, went or fell silent, new epochs. Once a second come counters, so
//! that a listener also knows that the line is alive. Nothing is kept: a `Last-Event-ID` changes nothing, and who was not
//! there asks `/v1/nodes` how things are. A listener that is too slow misses events (it is told how many), and never
//! slows the node.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header::CACHE_CONTROL};
use axum::response::Response;
use chordata_protocol::ring::Change;
use chordata_protocol::{Id, Peer};
use chordata_rpc::service::Status;
use futures::stream;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::answer::of_kind;
use super::front::Shared;
use super::listen::stopped;
use super::problem::{Code, Problem};
use super::request::Parameters;
use crate::node::Node;

/// Listeners at once.
const LISTENERS_MAX: usize = 64;
/// How often counters are told, and how often it is looked whether anything has changed.
const EVERY: Duration = Duration::from_secs(1);
/// A node that left so soon after it fell silent has died.
const DIES_WITHIN: Duration = Duration::from_secs(30);

static LISTENERS: AtomicUsize = AtomicUsize::new(0);

struct Listening;

impl Listening {
    fn begin() -> Option<Listening> {
        let before = LISTENERS.fetch_add(1, Ordering::Relaxed);
        let one = Listening;
        (before < LISTENERS_MAX).then_some(one)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What happens
///
/// Server-sent events without end. `event` is one of `hello` (the members now), `join`, `departure`, `death`, `silent` (a
/// node does not answer), `epoch` (chains changed), `serving` (this node serves another range), `counters` (once a
/// second), `missed` (this listener was too slow), `left` (this node is not in the ring any more: the last event).
/// `data` is JSON. Nothing is kept: `Last-Event-ID` changes nothing.
#[utoipa::path(
    get, path = "/v1/events", tag = "ring",
    responses(
        (status = 200, description = "Events", body = String, content_type = "text/event-stream"),
        (status = 400, description = "There is no such parameter", body = Problem),
        (status = 503, description = "Not in a ring, or too many listen", body = Problem),
    ),
)]
pub(crate) async fn events(State(front): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(&uri, &[])?;
    let serving = front.serving()?;
    let listening = Listening::begin()
        .ok_or_else(|| Problem::new(Code::Overloaded, "too many listen to the events already"))?;
    let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let status = serving.node.status_now();
    let mut watched = Watched {
        nodes: front.seat.subscribe(),
        changes: serving.node.watch(),
        node: serving.node.clone(),
        stopping: front.stopping.clone(),
        ticks,
        members: members(&status, &serving.node),
        suspected: BTreeMap::new(),
        view: view_of(&status),
        waiting: VecDeque::new(),
        ended: false,
        number: 0,
        front,
        _listening: listening,
    };
    let known: Vec<_> = watched.members.values().map(named).collect();
    watched.tell("hello", &json!({"node": named(serving.node.me()), "members": known}));
    let pieces = stream::unfold(watched, |mut watched| async move {
        let text = Box::pin(watched.next()).await?;
        Some((Ok::<_, Infallible>(text), watched))
    });
    let mut response = of_kind("text/event-stream", Body::from_stream(pieces));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn named(peer: &Peer) -> serde_json::Value {
    json!({"id": peer.id.to_literal(), "address": peer.address.as_str()})
}

fn view_of(status: &Status) -> Option<(u64, u64)> {
    let view = status.chain.as_ref()?.view.as_ref()?;
    Some((view.index, view.next_epoch.0))
}

/// Who belongs to the cluster, as far as this node knows.
fn members(status: &Status, node: &Node) -> BTreeMap<Id, Peer> {
    let of_view = status.chain.as_ref().and_then(|chain| chain.view.as_ref());
    let peers: Vec<Peer> = match (of_view, &status.eventual) {
        (Some(view), _) => view.members.values().map(|member| member.peer.clone()).collect(),
        (None, Some(eventual)) if !eventual.members.is_empty() => eventual.members.clone(),
        _ => {
            node.inspect(|ring, _| ring.membership().map(|table| table.nodes().to_vec()).unwrap_or_default())
        }
    };
    peers.into_iter().map(|peer| (peer.id, peer)).collect()
}

struct Watched {
    front: Shared,
    node: Node,
    nodes: watch::Receiver<Option<Node>>,
    changes: broadcast::Receiver<Change>,
    stopping: watch::Receiver<bool>,
    ticks: Interval,
    members: BTreeMap<Id, Peer>,
    /// Who fell silent, and when.
    suspected: BTreeMap<Id, Instant>,
    view: Option<(u64, u64)>,
    waiting: VecDeque<Bytes>,
    ended: bool,
    number: u64,
    _listening: Listening,
}

/// Why it was woken.
enum Woken {
    Changed(Change),
    Missed(u64),
    Tick,
    Over,
}

impl Watched {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(text) = self.waiting.pop_front() {
                return Some(text);
            }
            if self.ended {
                return None;
            }
            let woken = tokio::select! {
                changed = self.changes.recv() => match changed {
                    Ok(change) => Woken::Changed(change),
                    Err(RecvError::Lagged(count)) => Woken::Missed(count),
                    Err(RecvError::Closed) => Woken::Over,
                },
                () = stopped(&mut self.stopping) => Woken::Over,
                _ = self.nodes.changed() => Woken::Over,
                _ = self.ticks.tick() => Woken::Tick,
            };
            self.woken(woken);
        }
    }

    fn woken(&mut self, woken: Woken) {
        match woken {
            Woken::Changed(Change::Suspected(peer)) => {
                self.suspected.insert(peer.id, Instant::now());
                self.tell("silent", &named(&peer));
            }
            Woken::Changed(Change::Serving(range)) => {
                let range = range
                    .map(|range| json!({"low": range.low.to_literal(), "high": range.high.to_literal()}));
                self.tell("serving", &json!({"range": range}));
            }
            Woken::Changed(Change::Members(_) | Change::Joined | Change::Alone) => self.look(false),
            Woken::Changed(Change::Left) | Woken::Over => {
                self.tell("left", &named(&self.node.me().clone()));
                self.ended = true;
            }
            Woken::Changed(_) => {}
            Woken::Missed(count) => self.tell("missed", &json!({"count": count})),
            Woken::Tick => self.look(true),
        }
    }

    /// Tells what has changed since it last looked.
    fn look(&mut self, with_counters: bool) {
        let status = self.node.status_now();
        let now = members(&status, &self.node);
        self.suspected.retain(|_, since| since.elapsed() < DIES_WITHIN);
        let before = std::mem::replace(&mut self.members, now.clone());
        for peer in now.values().filter(|peer| !before.contains_key(&peer.id)) {
            self.tell("join", &named(peer));
        }
        for peer in before.values().filter(|peer| !now.contains_key(&peer.id)) {
            let has_died = self.suspected.contains_key(&peer.id) || status.silent.contains(peer);
            self.tell(if has_died { "death" } else { "departure" }, &named(peer));
        }
        let view = view_of(&status);
        if view != self.view
            && let Some((index, next_epoch)) = view
        {
            self.tell("epoch", &json!({"view": index, "next_epoch": next_epoch}));
        }
        self.view = view;
        if with_counters {
            let (requests, failed) = self.front.metrics.totals();
            self.tell(
                "counters",
                &json!({"keys": status.keys, "bytes": status.bytes, "requests": requests, "failed": failed,
                    "members": self.members.len(), "uptime_seconds": status.uptime.as_secs()}),
            );
        }
    }

    fn tell(&mut self, event: &str, data: &serde_json::Value) {
        self.number += 1;
        self.waiting.push_back(format!("id: {}\nevent: {event}\ndata: {data}\n\n", self.number).into());
    }
}
