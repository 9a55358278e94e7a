//! Carrying out the operations of a file, several at once, in order for each key.

use std::collections::HashSet;
use std::future::Future;
use std::time::{Duration, Instant};

use chordata_client::{Client, Failure as ClientFailure, Routing};
use chordata_protocol::{Address, Key, Policy};
use chordata_rpc::service::Trip;
use futures::stream::{FuturesUnordered, StreamExt};

use super::expect::Oracle;
use super::{Done, Verdict};
use crate::input::{InputOperation, Line};

/// Operations that may overtake one that waits for its key.
const LOOKAHEAD: usize = 4096;

/// Which server an operation is sent to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// One after another.
    RoundRobin,
    /// By lot.
    Random,
    /// Always the first.
    First,
    /// Always this one.
    Named(Address),
}

/// How to replay.
pub(crate) struct Plan {
    /// The operations.
    pub(crate) lines: Vec<Line>,
    /// Where they enter.
    pub(crate) entry: Entry,
    /// How servers look owners up.
    pub(crate) policy: Policy,
    /// Operations at once.
    pub(crate) concurrency: usize,
    /// Pause between two operations.
    pub(crate) interval: Duration,
    /// Keep every path.
    pub(crate) trace: bool,
}

struct Answered {
    place: usize,
    done: Done,
    result: Result<Option<chordata_protocol::Value>, ClientFailure>,
}

/// Carries them out; `each` is told of every one as it ends. `servers` are the possible entries, in their order.
pub(crate) async fn run(
    client: &Client,
    servers: &[Address],
    plan: &Plan,
    mut each: impl FnMut(&Done),
) -> Vec<Done> {
    let mut entries = Entries::new(client, servers, plan);
    let mut waiting: Vec<usize> = (0..plan.lines.len()).rev().collect();
    let mut busy: HashSet<Key> = HashSet::new();
    let mut running = FuturesUnordered::new();
    let mut oracle = Oracle::default();
    let mut all: Vec<(usize, Done)> = Vec::new();
    loop {
        while running.len() < plan.concurrency.max(1) {
            let Some(place) = next(&mut waiting, &plan.lines, &busy) else { break };
            let line = &plan.lines[place];
            busy.insert(line.operation.key().clone());
            running.push(carry_out(place, line, entries.next()));
            if !plan.interval.is_zero() {
                tokio::time::sleep(plan.interval).await;
            }
        }
        let Some(Answered { place, mut done, result }) = running.next().await else { break };
        let operation = &plan.lines[place].operation;
        busy.remove(operation.key());
        done.verdict = judge(&mut oracle, operation, result);
        each(&done);
        all.push((place, done));
    }
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, done)| done).collect()
}

/// The first operation in the order of the file whose key nobody works on, and no earlier operation waits for.
fn next(waiting: &mut Vec<usize>, lines: &[Line], busy: &HashSet<Key>) -> Option<usize> {
    let mut blocked: HashSet<&Key> = HashSet::new();
    let ahead = waiting.iter().rev().take(LOOKAHEAD);
    let (back, place) = ahead.enumerate().find_map(|(back, place)| {
        let key = lines[*place].operation.key();
        let free = !busy.contains(key) && !blocked.contains(key);
        blocked.insert(key);
        free.then_some((back, *place))
    })?;
    waiting.remove(waiting.len() - 1 - back);
    Some(place)
}

fn judge(
    oracle: &mut Oracle,
    operation: &InputOperation,
    result: Result<Option<chordata_protocol::Value>, ClientFailure>,
) -> Verdict {
    match (operation, result) {
        (InputOperation::Get { key }, Ok(found)) => oracle.judge(key, found),
        (_, Ok(_)) => {
            oracle.done(operation);
            Verdict::Stored
        }
        (_, Err(failure)) if failure.is_certain() => Verdict::Failed { reason: failure.to_string() },
        (_, Err(failure)) => {
            oracle.unknown(operation);
            Verdict::Unknown { reason: failure.to_string() }
        }
    }
}

/// The servers that operations enter at, in turn.
struct Entries {
    clients: Vec<(Address, Client)>,
    entry: Entry,
    turn: usize,
}

impl Entries {
    fn new(client: &Client, servers: &[Address], plan: &Plan) -> Entries {
        let through = |address: &Address| {
            let client = client.through(address.clone(), Routing::Entry(plan.policy), plan.trace);
            (address.clone(), client)
        };
        let clients = match &plan.entry {
            Entry::Named(address) => vec![through(address)],
            Entry::First => servers.iter().take(1).map(through).collect(),
            Entry::RoundRobin | Entry::Random => servers.iter().map(through).collect(),
        };
        Entries { clients, entry: plan.entry.clone(), turn: 0 }
    }

    fn next(&mut self) -> (Address, Client) {
        let place = match self.entry {
            Entry::Random => fastrand::usize(..self.clients.len()),
            Entry::RoundRobin | Entry::First | Entry::Named(_) => self.turn % self.clients.len(),
        };
        self.turn += 1;
        self.clients[place].clone()
    }
}

fn carry_out(
    place: usize,
    line: &Line,
    (entered, client): (Address, Client),
) -> impl Future<Output = Answered> + use<> {
    let (number, operation) = (line.number, line.operation.clone());
    async move {
        let key = operation.key().clone();
        let began = Instant::now();
        let answer = match &operation {
            InputOperation::Put { value, .. } => {
                client.put(key.clone(), value.clone()).await.map(|answer| (None, answer.trip))
            }
            InputOperation::Delete { .. } => {
                client.delete(key.clone()).await.map(|answer| (None, answer.trip))
            }
            InputOperation::Get { .. } => {
                let found = client.get(key.clone()).await;
                found.map(|answer| (answer.result.map(|record| record.value), answer.trip))
            }
        };
        let (result, trip) = match answer {
            Ok((value, trip)) => (Ok(value), Some(trip)),
            Err(failure) => (Err(failure), None),
        };
        let (owner, hops, timeouts, path) = match trip {
            Some(Trip { owner, hops, timeouts, path }) => (Some(owner.address), hops, timeouts, path),
            None => (None, 0, 0, Vec::new()),
        };
        let done = Done {
            line: number,
            operation: match operation {
                InputOperation::Put { .. } => "put",
                InputOperation::Get { .. } => "get",
                InputOperation::Delete { .. } => "delete",
            },
            key: key.to_string(),
            id: key.id(client.space()),
            entered,
            owner,
            hops,
            timeouts,
            elapsed: began.elapsed(),
            verdict: Verdict::Stored,
            path,
        };
        Answered { place, done, result }
    }
}
