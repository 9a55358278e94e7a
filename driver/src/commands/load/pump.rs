//! Rows become batches, several of which are on their way at once; what became of them is noted in their order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chordata_client::{Client, Failure as ClientFailure, PutOptions};
use chordata_loaders::{Item, Pair, PairKey, Position};
use chordata_protocol::{BadInput, Key, Moment, Space, Ttl, Value};
use futures::stream::{self, StreamExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::progress::Progress;
use super::reading::Chunk;
use super::rejects::{Rejects, line_of_pair, line_of_row};
use super::report::{Counts, Problem, SHOWN};
use super::state::LoadState;
use crate::failure::{Failure, Outcome};

/// Rows in a batch.
const ROWS: usize = 4096;
/// Bytes of keys and values in a batch.
const BYTES: usize = 1024 * 1024;
/// Pause before a batch is sent again that nobody could store.
const PAUSE: Duration = Duration::from_millis(250);
/// Rows of a batch that are sent one by one, at once.
const AT_ONCE: usize = 64;
/// How often it is written down how far the load has come, behind the first rows.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How long answers are waited for when the load is broken off.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// A pair that can be stored.
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) value: Value,
    /// When it ends by itself; none: never.
    expires: Option<Moment>,
    position: Position,
}

/// A row, or the line for the file of rejects.
pub(super) fn row(item: Item, space: Space) -> Result<Row, (Problem, String)> {
    let Pair { key, value, expires_at_ms, position } = match item {
        Item::Pair(pair) => pair,
        Item::Reject(reject) => {
            let line = line_of_row(&reject);
            return Err((Problem { position: reject.position.to_string(), reason: reject.reason }, line));
        }
    };
    let value = Value::from(value);
    let parsed = match &key {
        PairKey::Bytes(bytes) => Ok(Key::new(bytes.clone())),
        PairKey::Id(id) => space.parse(id).map(Key::Literal).map_err(|error| error.to_string()),
    };
    let checked = parsed.and_then(|key| {
        key.check(space).and_then(|()| value.check()).map_err(|bad| bad.to_string())?;
        Ok(key)
    });
    match checked {
        Ok(key) => Ok(Row { key, value, expires: expires_at_ms.map(Moment::from_millis), position }),
        Err(reason) => {
            let pair = Pair { key, value: value.into_bytes(), expires_at_ms, position };
            let line = line_of_pair(&pair, &reason);
            Err((Problem { position: position.to_string(), reason }, line))
        }
    }
}

impl Row {
    fn bytes(&self) -> usize {
        self.key.size() + self.value.len()
    }

    /// The line for the file of rejects.
    fn line(&self, reason: &str) -> String {
        let key = match &self.key {
            Key::Bytes(bytes) => PairKey::Bytes(bytes.clone()),
            Key::Literal(id) => PairKey::Id(id.to_literal()),
        };
        let (value, position) = (self.value.to_vec(), self.position);
        let expires_at_ms = self.expires.map(Moment::as_millis);
        line_of_pair(&Pair { key, value, expires_at_ms, position }, reason)
    }

    /// How long it still has; none: for ever. An error: it has ended.
    fn ttl(&self) -> Result<Option<Ttl>, BadInput> {
        self.expires.map(|expires| Ttl::new(expires.since(chordata_client::now()))).transpose()
    }

    /// Is it over before it was stored?
    pub(super) fn has_ended(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= chordata_client::now())
    }
}

/// Some of the rows, one behind the other.
#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    /// Where each key is, by its hash.
    places: HashMap<u64, usize>,
    rejects: Vec<(Problem, String)>,
    /// Rows that a later one of the same batch replaces.
    replaced: u64,
    bytes: usize,
    /// Up to which row of the source it goes.
    last_row: u64,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.rows.len() + self.rejects.len() >= ROWS || self.bytes >= BYTES
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.rejects.is_empty()
    }
}

/// What became of the rows of a batch that were not stored.
#[derive(Default)]
struct Left {
    /// The cluster does not take them, and why.
    refused: Vec<(usize, String)>,
    /// They had ended by themselves.
    ended: u64,
}

/// A batch that has come back; or why it cannot be stored now.
struct Sent {
    number: u64,
    batch: Batch,
    result: Result<Left, ClientFailure>,
}

/// How a load has ended.
pub(super) struct Ended {
    pub(super) state: LoadState,
    pub(super) counts: Counts,
    pub(super) problems: Vec<Problem>,
    pub(super) rejects: Option<PathBuf>,
    /// Why it was broken off.
    pub(super) failure: Option<Failure>,
}

/// See the [module](self).
pub(super) struct Pump {
    client: Client,
    in_flight: usize,
    patience: Duration,
    current: Batch,
    away: JoinSet<Sent>,
    /// Hashes of the keys that are on their way.
    keys_away: HashSet<u64>,
    hashes: RandomState,
    /// The number of the next batch, and of the next one to be noted.
    numbers: (u64, u64),
    /// Those that are back before one in front of them.
    back: BTreeMap<u64, Sent>,
    state: LoadState,
    rejects: Rejects,
    counts: Counts,
    problems: Vec<Problem>,
    /// When the state was written last: the first rows that are done are noted at once.
    kept: Option<Instant>,
    failure: Option<Failure>,
}

impl Pump {
    /// Nothing is on its way yet.
    pub(super) fn new(
        client: Client,
        state: LoadState,
        rejects: Rejects,
        in_flight: usize,
        patience: Duration,
    ) -> Pump {
        Pump {
            client,
            in_flight,
            patience,
            current: Batch::default(),
            away: JoinSet::new(),
            keys_away: HashSet::new(),
            hashes: RandomState::new(),
            numbers: (0, 0),
            back: BTreeMap::new(),
            // The file of rejects has them.
            counts: Counts { failed: state.failed(), ..Counts::default() },
            state,
            rejects,
            problems: Vec::new(),
            kept: None,
            failure: None,
        }
    }

    /// Stores all rows that come.
    ///
    /// # Errors
    /// When it cannot be written down what became of them. That the cluster does not store them is in [`Ended`].
    pub(super) async fn run(
        mut self,
        mut chunks: mpsc::Receiver<Chunk>,
        progress: &mut Progress,
    ) -> Outcome<Ended> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let skip = self.state.rows();
        while self.failure.is_none() {
            let chunk = tokio::select! {
                chunk = chunks.recv() => chunk,
                _ = interrupt.recv() => {
                    self.failure = Some(interrupted());
                    None
                }
            };
            let Some(chunk) = chunk else { break };
            for item in chunk.into_iter().filter(|item| item.position().row > skip) {
                self.take(item, &mut interrupt, progress).await?;
            }
        }
        // The source need not be read any further.
        drop(chunks);
        if self.failure.is_none() {
            self.send();
        }
        while !self.away.is_empty() && self.failure.is_none() {
            self.wait(&mut interrupt, progress).await?;
        }
        let until = tokio::time::Instant::now() + LAST_ANSWERS;
        while let Ok(Some(sent)) = tokio::time::timeout_at(until, self.away.join_next()).await {
            self.came_back(sent.map_err(Failure::failed)?, progress)?;
        }
        let rejects = self.rejects.path().map(PathBuf::from);
        let Pump { state, counts, problems, failure, .. } = self;
        Ok(Ended { state, counts, problems, rejects, failure })
    }

    /// One more row.
    async fn take(&mut self, item: Item, interrupt: &mut Signal, progress: &mut Progress) -> Outcome {
        if self.failure.is_some() {
            return Ok(());
        }
        let last_row = item.position().row;
        match row(item, self.client.space()) {
            Err(reject) => {
                self.current.bytes += reject.1.len();
                self.current.rejects.push(reject);
            }
            Ok(row) => {
                let hash = self.hashes.hash_one(&row.key);
                match self.current.places.get(&hash).copied() {
                    // The last row with a key is what stays.
                    Some(place) if self.current.rows[place].key == row.key => {
                        self.current.bytes += row.bytes();
                        self.current.replaced += 1;
                        self.current.rows[place] = row;
                        self.current.last_row = last_row;
                        return self.send_full(interrupt, progress).await;
                    }
                    Some(_) => self.send(),
                    None => {}
                }
                while self.keys_away.contains(&hash) && self.failure.is_none() {
                    self.wait(interrupt, progress).await?;
                }
                if self.failure.is_some() {
                    return Ok(());
                }
                self.current.bytes += row.bytes();
                self.current.places.insert(hash, self.current.rows.len());
                self.current.rows.push(row);
            }
        }
        self.current.last_row = last_row;
        self.send_full(interrupt, progress).await
    }

    async fn send_full(&mut self, interrupt: &mut Signal, progress: &mut Progress) -> Outcome {
        if !self.current.is_full() {
            return Ok(());
        }
        // Those that wait for one in front of them take room as well.
        let is_busy =
            |pump: &Pump| pump.away.len() >= pump.in_flight || pump.back.len() >= 2 * pump.in_flight;
        while is_busy(self) && !self.away.is_empty() && self.failure.is_none() {
            self.wait(interrupt, progress).await?;
        }
        if self.failure.is_none() {
            self.send();
        }
        Ok(())
    }

    /// Sends what is there, full or not.
    fn send(&mut self) {
        let batch = std::mem::take(&mut self.current);
        if batch.is_empty() {
            return;
        }
        self.keys_away.extend(batch.places.keys());
        let number = self.numbers.0;
        self.numbers.0 += 1;
        let (client, patience) = (self.client.clone(), self.patience);
        self.away.spawn(async move {
            let result = Box::pin(store(&client, &batch.rows, patience)).await;
            Sent { number, batch, result }
        });
    }

    /// Waits until a batch is back, or somebody wants to break off.
    async fn wait(&mut self, interrupt: &mut Signal, progress: &mut Progress) -> Outcome {
        let sent = tokio::select! {
            sent = self.away.join_next() => sent,
            _ = interrupt.recv() => {
                self.failure = Some(interrupted());
                return Ok(());
            }
        };
        let Some(sent) = sent else { return Ok(()) };
        self.came_back(sent.map_err(Failure::failed)?, progress)
    }

    fn came_back(&mut self, sent: Sent, progress: &mut Progress) -> Outcome {
        for hash in sent.batch.places.keys() {
            self.keys_away.remove(hash);
        }
        self.back.insert(sent.number, sent);
        while let Some(sent) = self.back.remove(&self.numbers.1) {
            let Sent { mut batch, result, .. } = sent;
            let Left { refused, ended } = match result {
                Ok(left) => left,
                // Nothing behind it is noted.
                Err(failure) => {
                    self.failure.get_or_insert(failure.into());
                    return Ok(());
                }
            };
            self.numbers.1 += 1;
            let stored = (batch.rows.len() - refused.len()) as u64 - ended;
            self.counts.skipped += ended;
            self.counts.bytes += batch.rows.iter().map(|row| row.bytes() as u64).sum::<u64>();
            for (place, reason) in refused {
                let row = &batch.rows[place];
                self.counts.bytes -= row.bytes() as u64;
                let line = row.line(&reason);
                batch.rejects.push((Problem { position: row.position.to_string(), reason }, line));
            }
            self.counts.loaded += stored + batch.replaced;
            self.counts.failed += batch.rejects.len() as u64;
            let (problems, lines): (Vec<Problem>, Vec<String>) = batch.rejects.into_iter().unzip();
            let room = SHOWN.saturating_sub(self.problems.len());
            self.problems.extend(problems.into_iter().take(room));
            self.rejects.write(&lines)?;
            self.state.note(batch.last_row, self.counts.failed, self.rejects.length());
            if self.kept.is_none_or(|kept| kept.elapsed() >= KEEP_EVERY) {
                self.state.keep()?;
                self.kept = Some(Instant::now());
            }
        }
        progress.show(self.counts.rows());
        Ok(())
    }
}

fn interrupted() -> Failure {
    Failure::failed("interrupted")
}

/// Stores rows, again and again as long as that may help.
async fn store(client: &Client, rows: &[Row], patience: Duration) -> Result<Left, ClientFailure> {
    let mut left = Left::default();
    let mut open: Vec<usize> = (0..rows.len()).collect();
    let mut since = Instant::now();
    while !open.is_empty() {
        let before = open.len();
        open.retain(|place| !rows[*place].has_ended());
        left.ended += (before - open.len()) as u64;
        let (mut again, mut last) = (Vec::new(), None);
        for (place, outcome) in send(client, rows, &open).await {
            match outcome {
                Ok(()) => {}
                Err(failure @ (ClientFailure::BadInput(_) | ClientFailure::Refused(_))) => {
                    left.refused.push((place, failure.to_string()));
                }
                // A put can be repeated: what may have been done is done again.
                Err(failure) => {
                    again.push(place);
                    last = Some(failure);
                }
            }
        }
        let Some(failure) = last else { break };
        if again.len() < before {
            since = Instant::now();
        } else if since.elapsed() >= patience {
            return Err(failure);
        }
        open = again;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(left)
}

/// Sends rows once: those that last together, each of the others with the time that it still has.
async fn send(client: &Client, rows: &[Row], open: &[usize]) -> Vec<(usize, Result<(), ClientFailure>)> {
    let (lasting, ending): (Vec<usize>, Vec<usize>) =
        open.iter().copied().partition(|place| rows[*place].expires.is_none());
    let pairs = lasting.iter().map(|place| (rows[*place].key.clone(), rows[*place].value.clone()));
    let outcomes = client.put_many(pairs.collect()).await;
    let mut done: Vec<_> =
        lasting.into_iter().zip(outcomes.into_iter().map(|outcome| outcome.map(drop))).collect();
    let ending = stream::iter(ending).map(|place| async move {
        let row = &rows[place];
        let options = match row.ttl() {
            Ok(ttl) => PutOptions { ttl },
            Err(bad) => return (place, Err(bad.into())),
        };
        let put = Box::pin(client.put_with(row.key.clone(), row.value.clone(), options)).await;
        (place, put.map(drop))
    });
    done.extend(ending.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
    done
}
