//! Everything that a cluster holds, range by range around the ring.
//!
//! With chains each range is as it was at one place of its log: the head marks the log, every serving replica takes a
//! snapshot there, and all snapshots of a mark are equal (decision 13). So a replica that dies is no reason to begin again:
//! the next one goes on behind the same key. Ranges are marked one after another; two ranges are as they were at two
//! moments. In eventual mode, and where there is one copy of each key, pages are read as a [listing](crate::listing) is:
//! each is as it was when it was read, from a node that had all of it then.

use std::time::Duration;

use chordata_protocol::chain::Epoch;
use chordata_protocol::{Address, Id, Key, Range, Record, Space};
use chordata_rpc::service::{Error, MarkName, RecordsOptions};
use chordata_rpc::{ChordataStub, within};
use tokio::time::Instant;

use crate::audit::mark_name;
use crate::listing::{Behind, Place};
use crate::look::View;
use crate::{Client, Failure};

/// Records asked for at once.
const PAGE: u32 = 2000;
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a range is tried: others take the place of a node that died.
const RANGE_WITHIN: Duration = Duration::from_secs(30);
/// Pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// Some records.
type Records = Vec<(Key, Record)>;

/// See the [module](self). [`Dump::next`] gives page after page.
pub struct Dump {
    client: Client,
    way: Way,
    ranges: usize,
}

/// How the ring is read.
enum Way {
    /// Page by page; where the next one begins, none: that was all.
    Pages(Option<Place>),
    /// Range by range, each at a mark.
    Marks(Marks),
}

impl Client {
    /// Reads everything.
    pub fn dump(&self) -> Dump {
        let has_chains = self.shared.writes.is_some();
        let way = if has_chains { Way::Marks(Marks::default()) } else { Way::Pages(Some(Place::Start)) };
        Dump { client: self.clone(), way, ranges: 0 }
    }

    /// Some of the records behind a place, as they are now.
    async fn records_behind(&self, place: &Place) -> Result<Behind<Records>, Failure> {
        let read = |stub: ChordataStub, range, after| {
            let options = RecordsOptions { mark: None, range, after, limit: PAGE };
            async move {
                let page = stub.records(within(ANSWER_WITHIN), options).await?;
                Ok(page.map(|page| {
                    let last = page.records.last().map(|(key, _)| key.clone());
                    (page.records, last.filter(|_| page.more))
                }))
            }
        };
        self.read_behind(place, RANGE_WITHIN, read).await
    }
}

impl Dump {
    /// The next records; none: that was all.
    ///
    /// # Errors
    /// When a part of the ring cannot be read, for half a minute, or not any further as it was. What was given is not the
    /// whole then.
    pub async fn next(&mut self) -> Result<Option<Records>, Failure> {
        let Dump { client, way, ranges } = self;
        let place = match way {
            Way::Marks(marks) => return marks.next(client, ranges).await,
            Way::Pages(place) => place,
        };
        while let Some(begin) = place {
            let Behind { found, next, ends_range, .. } = Box::pin(client.records_behind(begin)).await?;
            *place = next;
            *ranges += usize::from(ends_range);
            if !found.is_empty() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Parts of the ring that were read.
    pub fn ranges(&self) -> usize {
        self.ranges
    }
}

/// A range of the chains, and who has its records.
#[derive(Clone, Debug)]
struct Part {
    range: Range,
    nodes: Vec<Address>,
    epoch: Epoch,
}

/// A part that is being read.
struct Open {
    part: Part,
    mark: MarkName,
    after: Option<Key>,
}

/// A walk around the ring, from mark to mark.
#[derive(Default)]
struct Marks {
    /// Where it began; none: it has not.
    start: Option<Id>,
    /// Up to where everything was given.
    cursor: Id,
    open: Option<Open>,
    ended: bool,
    /// Since when the next part cannot be read.
    vain: Option<Instant>,
}

/// The ranges as this view has them.
fn parts(view: &View) -> Vec<Part> {
    let Some(chains) = view.chains() else { return Vec::new() };
    let part = |(epoch, active): (&Epoch, &chordata_protocol::chain::view::Active)| {
        let stores = active.serving().map(|link| link.store);
        let nodes = stores.filter_map(|store| Some(chains.peer(store)?.address.clone())).collect();
        Part { range: active.range, nodes, epoch: *epoch }
    };
    chains.ranges.iter().map(part).collect()
}

/// How far an identifier is behind another, going up; the whole ring if they are the same.
fn behind(space: Space, low: Id, high: Id) -> (bool, Id) {
    let distance = space.distance(low, high);
    (distance == Id::ZERO, distance)
}

/// The part of the ring right behind the cursor, cut off where the dump began.
fn part_behind(space: Space, parts: Vec<Part>, cursor: Id, start: Id) -> Option<Part> {
    let holds = |part: &Part| {
        let Range { low, high } = part.range;
        low == high || low == cursor || behind(space, low, cursor) < behind(space, low, high)
    };
    let mut part = parts.into_iter().find(holds)?;
    let ends_before = behind(space, cursor, part.range.high) < behind(space, cursor, start);
    part.range = Range { low: cursor, high: if ends_before { part.range.high } else { start } };
    Some(part)
}

impl Marks {
    async fn next(&mut self, client: &Client, ranges: &mut usize) -> Result<Option<Records>, Failure> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let mut open = match self.open.take() {
                Some(open) => open,
                None => Box::pin(self.open_next(client)).await?,
            };
            let page = match open.page(client).await {
                Ok(page) => page,
                // Nothing of it was given yet: it may be begun again, as the cluster is now.
                Err(_)
                    if open.after.is_none()
                        && self.vain.get_or_insert_with(Instant::now).elapsed() < RANGE_WITHIN =>
                {
                    open.close(client).await;
                    tokio::time::sleep(PAUSE).await;
                    self.open = Some(Box::pin(self.open_next(client)).await?);
                    continue;
                }
                Err(failure) => {
                    open.close(client).await;
                    return Err(failure);
                }
            };
            self.vain = None;
            open.after = page.0.last().map(|(key, _)| key.clone()).or(open.after);
            if page.1 && open.after.is_some() {
                self.open = Some(open);
            } else {
                open.close(client).await;
                *ranges += 1;
                self.cursor = open.part.range.high;
                self.ended = Some(self.cursor) == self.start;
            }
            if !page.0.is_empty() {
                return Ok(Some(page.0));
            }
        }
    }

    /// Finds and marks the next part.
    async fn open_next(&mut self, client: &Client) -> Result<Open, Failure> {
        let until = Instant::now() + RANGE_WITHIN;
        loop {
            let failure = match self.try_open(client).await {
                Ok(open) => return Ok(open),
                Err(failure) => failure,
            };
            if Instant::now() >= until {
                return Err(failure);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_open(&mut self, client: &Client) -> Result<Open, Failure> {
        let view = client.view().await;
        let parts = parts(&view);
        let first = parts.first().map(|part| part.range.low);
        let nobody = || Failure::Unavailable("no node knows who has the next part of the ring".to_owned());
        let start = self.start.or(first).ok_or_else(nobody)?;
        let cursor = if self.start.is_some() { self.cursor } else { start };
        let part = part_behind(client.space(), parts, cursor, start).ok_or_else(nobody)?;
        let head = part.nodes.first().ok_or_else(nobody)?;
        let mark = MarkName { epoch: part.epoch, name: mark_name()? };
        let marked = client.pool().client(head).mark(within(ANSWER_WITHIN * 2), mark).await;
        marked.map_err(|error| Failure::from_call(error).of_reading())??;
        // Only now: before, the ring may look different the next time.
        (self.start, self.cursor) = (Some(start), cursor);
        Ok(Open { part, mark, after: None })
    }
}

impl Open {
    /// The next page, from the first node that has it. Are there more behind it?
    async fn page(&mut self, client: &Client) -> Result<(Records, bool), Failure> {
        let mut last = Failure::NoNodes;
        for round in 0..3 {
            if round > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            for _ in 0..self.part.nodes.len() {
                let node = &self.part.nodes[0];
                let (mark, range, after) = (Some(self.mark), self.part.range, self.after.clone());
                let options = RecordsOptions { mark, range, after, limit: PAGE };
                let answer = client.pool().client(node).records(within(ANSWER_WITHIN), options).await;
                last = match answer.map_err(|error| Failure::from_call(error).of_reading()) {
                    Ok(Ok(page)) => return Ok((page.records, page.more)),
                    Ok(Err(error)) => failure_at(node, error),
                    Err(failure) => failure,
                };
                self.part.nodes.rotate_left(1);
            }
        }
        Err(last)
    }

    /// Gives the snapshots back. Who does not hear of it lets them go by itself.
    async fn close(&self, client: &Client) {
        let mark = self.mark;
        futures::future::join_all(self.part.nodes.iter().map(|node| async move {
            drop(client.pool().client(node).unmark(within(ANSWER_WITHIN), mark).await);
        }))
        .await;
    }
}

fn failure_at(node: &Address, error: Error) -> Failure {
    match Failure::from(error) {
        Failure::Unavailable(reason) => Failure::Unavailable(format!("{node}: {reason}")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(place: u64) -> Id {
        Space::default().parse(&place.to_string()).unwrap()
    }

    fn part(low: u64, high: u64) -> Part {
        Part { range: Range { low: id(low), high: id(high) }, nodes: Vec::new(), epoch: Epoch::default() }
    }

    #[test]
    fn a_walk_goes_around_the_ring_once_although_its_parts_change() {
        let space = Space::new(8).unwrap();
        let next = |parts: &[Part], cursor: u64, start: u64| {
            let range = part_behind(space, parts.to_vec(), id(cursor), id(start)).unwrap().range;
            assert_eq!(range.low, id(cursor));
            range.high
        };
        let before = [part(200, 50), part(50, 120), part(120, 200)];
        assert_eq!(next(&before, 200, 200), id(50));
        // A node has joined in the middle of the next one, and the last two have become one.
        let after = [part(200, 50), part(50, 80), part(80, 200)];
        assert_eq!(next(&after, 50, 200), id(80));
        assert_eq!(next(&after, 80, 200), id(200));
        // The one that holds the beginning has grown: it is read up to there.
        let grown = [part(20, 120), part(120, 20)];
        assert_eq!(next(&grown, 120, 200), id(200));
        // One node has all.
        let all = [part(77, 77)];
        assert_eq!(next(&all, 77, 77), id(77));
        assert_eq!(next(&all, 100, 200), id(200));
    }
}
