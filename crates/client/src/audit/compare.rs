//! Comparing the replicas of one range: in a cluster of chains at one place of its log, else as their stores are.
//!
//! In chains the head marks the log. Every serving replica then has its copy as it is at the mark, behind the same writes, for a
//! while: these are equal, or the replicas disagree, however much is written meanwhile. First the digests of the whole
//! range are compared. Where they differ the range is cut, as in a Merkle tree, down to parts of which the keys are
//! listed and laid side by side: who has another key in front has nothing under it.

use std::collections::VecDeque;

use chordata_protocol::chain::view::Active;
use chordata_protocol::chain::{Epoch, View as ChainView};
use chordata_protocol::merkle::{Digest, arc};
use chordata_protocol::{Address, Id, Key, Moment, Range, Space};
use chordata_rpc::service::{CopiesOptions, DigestOptions, Error, Held, MarkName, Marked};
use chordata_rpc::within;
use futures::future::join_all;
use futures::stream::{self, StreamExt};

use super::{ANSWER_WITHIN, Audit, LOOKS, ProblemKind, RangeAudit, wanted};
use crate::{Client, Failure};

/// Keys asked for at once.
const PAGE: u32 = 1000;
/// A part with no more keys is listed and not cut.
const LISTED_MAX: u64 = 256;
/// Parts whose digests are asked for at once.
const PARTS_AT_ONCE: usize = 8;
/// By how much clocks may differ: what `eventual` allows.
const CLOCKS_DIFFER_MS: u64 = 60_000;
/// Problems of a range after which its comparison ends: it is clear that something is very wrong.
const FOUND_MAX: usize = 1000;

/// Why a range was not compared to its end.
pub(super) enum Stop {
    /// Its chain has changed: begin again with a newer view.
    Changed(String),
    /// A replica does not answer, or refuses.
    Silent(Address, Failure),
}

impl Stop {
    pub(super) fn text(&self) -> String {
        match self {
            Stop::Changed(what) => what.clone(),
            Stop::Silent(address, failure) => format!("{address} does not answer: {failure}"),
        }
    }
}

/// A replica that is being read.
struct Cursor {
    address: Address,
    rows: VecDeque<(Key, Held)>,
    after: Option<Key>,
    more: bool,
}

/// What a replica has of a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Summary {
    digest: Digest,
    damaged: u64,
}

/// Do all have the same, and can it be read?
fn agree(summaries: &[Summary]) -> bool {
    summaries.windows(2).all(|pair| pair[0] == pair[1])
        && summaries.iter().all(|summary| summary.damaged == 0)
}

/// A key of which the replicas do not all have the same, and what each has; or of which one cannot read it.
pub(super) type Different = (Key, Vec<Held>);

/// What the comparison of a range gave.
pub(super) struct Compared {
    /// Keys that the replica with most of them has.
    pub(super) keys: u64,
    /// Keys that were looked at one by one.
    pub(super) listed: u64,
    /// The parts with keys that differ.
    pub(super) parts: Vec<(Range, Vec<Different>)>,
}

/// What kind of problem that is.
pub(super) fn kind_of(held: &[Held]) -> ProblemKind {
    if held.contains(&Held::Damaged) { ProblemKind::Damaged } else { ProblemKind::Differs }
}

impl Client {
    /// Compares the serving replicas of a range.
    pub(super) async fn compare_range(
        &self,
        audit: &mut Audit,
        view: &ChainView,
        epoch: Epoch,
        active: &Active,
    ) -> Result<RangeAudit, Stop> {
        let peers = active.serving().filter_map(|link| view.peer(link.store));
        let addresses: Vec<Address> = peers.map(|peer| peer.address.clone()).collect();
        let Some(head) = addresses.first() else {
            return Err(Stop::Changed("no replica of it serves".to_owned()));
        };
        let name = mark_name().map_err(|failure| Stop::Silent(head.clone(), failure))?;
        let mark = MarkName { epoch, name };
        let compared = match self.mark(head, mark).await {
            Ok(marked) => {
                let compared = Box::pin(self.compare_copies(Some(mark), active.range, &addresses)).await;
                compared.map(|compared| (compared, marked))
            }
            Err(stop) => Err(stop),
        };
        // Who does not hear of it lets it go by itself.
        join_all(addresses.iter().map(|address| async move {
            drop(self.pool().client(address).unmark(within(ANSWER_WITHIN), mark).await);
        }))
        .await;
        let (compared, marked) = compared?;
        // Told when the whole range was compared: it may be begun again.
        for (key, held) in compared.parts.into_iter().flat_map(|(_, keys)| keys) {
            let text = described(&addresses, &held);
            audit.problem(kind_of(&held), Some(active.range), Some(key), text);
        }
        Ok(RangeAudit {
            epoch: Some(epoch),
            range: active.range,
            sequence: Some(marked.sequence),
            replicas: addresses.len(),
            wanted: wanted(view),
            keys: compared.keys,
            listed: compared.listed,
        })
    }

    /// Has the head mark the log; again, if it has too much to do just now.
    async fn mark(&self, head: &Address, mark: MarkName) -> Result<Marked, Stop> {
        for _ in 1..LOOKS.0 {
            match self.pool().client(head).mark(within(ANSWER_WITHIN * 2), mark).await {
                Ok(Err(Error::Overloaded)) => tokio::time::sleep(LOOKS.1).await,
                marked => return answered(head, marked),
            }
        }
        answered(head, Ok(Err(Error::Overloaded)))
    }

    /// Compares what nodes have of a range at a mark; none: what they have now.
    pub(super) async fn compare_copies(
        &self,
        mark: Option<MarkName>,
        range: Range,
        addresses: &[Address],
    ) -> Result<Compared, Stop> {
        let ended_by = ended_by(mark);
        let whole = self.summaries(addresses, (mark, ended_by), range).await?;
        let count = |summary: &Summary| summary.digest.count + summary.damaged;
        let keys = whole.iter().map(count).max().unwrap_or(0);
        let mut done = Compared { keys, listed: 0, parts: Vec::new() };
        let mut found = 0;
        let mut different = vec![(range, whole)];
        while let Some((part, summaries)) = different.pop() {
            if agree(&summaries) {
                continue;
            }
            let parts = arc::split(self.space(), part);
            if parts.len() < 2 || summaries.iter().all(|summary| count(summary) <= LISTED_MAX) {
                let (listed, keys) = self.list(addresses, mark, part).await?;
                done.listed += listed;
                found += keys.len();
                if !keys.is_empty() {
                    done.parts.push((part, keys));
                }
                if found >= FOUND_MAX {
                    break;
                }
                continue;
            }
            let asked = stream::iter(parts).map(|part| async move {
                Ok((part, self.summaries(addresses, (mark, ended_by), part).await?))
            });
            let answers: Vec<Result<_, Stop>> = asked.buffered(PARTS_AT_ONCE).collect().await;
            let answers: Vec<(Range, Vec<Summary>)> = answers.into_iter().collect::<Result<_, _>>()?;
            different.extend(answers.into_iter().rev());
        }
        Ok(done)
    }

    /// What each replica has of a part.
    async fn summaries(
        &self,
        addresses: &[Address],
        when: (Option<MarkName>, Option<Moment>),
        range: Range,
    ) -> Result<Vec<Summary>, Stop> {
        let asked = addresses.iter().map(|address| self.summary(address, when, range));
        join_all(asked).await.into_iter().collect()
    }

    async fn summary(
        &self,
        address: &Address,
        (mark, ended_by): (Option<MarkName>, Option<Moment>),
        range: Range,
    ) -> Result<Summary, Stop> {
        let mut sum = Summary::default();
        let mut after = None;
        loop {
            let options = DigestOptions { mark, range, after, ended_by };
            let page = self.pool().client(address).digest(within(ANSWER_WITHIN), options).await;
            let page = answered(address, page)?;
            sum.digest += page.digest;
            sum.damaged += page.damaged;
            after = page.after;
            if after.is_none() {
                return Ok(sum);
            }
        }
    }

    /// Lays the keys of a part side by side: how many there are, and those that differ.
    pub(super) async fn list(
        &self,
        addresses: &[Address],
        mark: Option<MarkName>,
        range: Range,
    ) -> Result<(u64, Vec<Different>), Stop> {
        let new = |address: &Address| Cursor {
            address: address.clone(),
            rows: VecDeque::new(),
            after: None,
            more: true,
        };
        let mut cursors: Vec<Cursor> = addresses.iter().map(new).collect();
        let (mut keys, mut found) = (0, Vec::new());
        let when = (mark, ended_by(mark));
        loop {
            let read = join_all(cursors.iter_mut().map(|cursor| self.read_on(cursor, when, range))).await;
            read.into_iter().collect::<Result<(), Stop>>()?;
            while cursors.iter().all(|cursor| !cursor.rows.is_empty() || !cursor.more) {
                let Some((key, held)) = next_key(&mut cursors, self.space(), range) else {
                    return Ok((keys, found));
                };
                keys += 1;
                if held.contains(&Held::Damaged) || held.windows(2).any(|pair| pair[0] != pair[1]) {
                    found.push((key, held));
                }
            }
        }
    }

    /// Fetches the next page of a replica, if it has none here.
    async fn read_on(
        &self,
        cursor: &mut Cursor,
        (mark, ended_by): (Option<MarkName>, Option<Moment>),
        range: Range,
    ) -> Result<(), Stop> {
        while cursor.rows.is_empty() && cursor.more {
            let after = cursor.after.clone();
            let options = CopiesOptions { mark, range, after, limit: PAGE, ended_by };
            let page = self.pool().client(&cursor.address).copies(within(ANSWER_WITHIN), options).await;
            let page = answered(&cursor.address, page)?;
            cursor.after = page.copies.last().map(|(key, _)| key.clone()).or(cursor.after.take());
            cursor.more = page.more && !page.copies.is_empty();
            cursor.rows = page.copies.into();
        }
        Ok(())
    }
}

/// At a mark all replicas have the same. Without one each ends values by its own clock: those that end soon, by any clock that
/// is right to within a minute, are not compared.
fn ended_by(mark: Option<MarkName>) -> Option<Moment> {
    mark.is_none().then(soon)
}

/// By no clock that is right to within a minute a value that ends later has ended.
pub(super) fn soon() -> Moment {
    Moment::from_millis(crate::now().as_millis() + CLOCKS_DIFFER_MS)
}

/// A name for a mark that nobody else has.
pub(crate) fn mark_name() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Unavailable(format!("the system gives no random bits: {error}")))?;
    Ok(u128::from_le_bytes(bytes))
}

/// A refusal says that the node has no such replica, or no copy at the mark, any more.
fn answered<T>(
    address: &Address,
    answer: Result<Result<T, Error>, tarpc::client::RpcError>,
) -> Result<T, Stop> {
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Stop::Changed(format!("{address}: {error}"))),
        Err(error) => Err(Stop::Silent(address.clone(), Failure::from_call(error).of_reading())),
    }
}

/// Takes the key that comes first in the order of the ring, with what each replica has of it.
fn next_key(cursors: &mut [Cursor], space: Space, range: Range) -> Option<(Key, Vec<Held>)> {
    // A range that is the whole ring begins behind its low end: that identifier itself comes last.
    let place = |key: &Key| {
        let distance = space.distance(range.low, key.id(space));
        (distance == Id::ZERO, distance, key.clone())
    };
    let fronts = cursors.iter().filter_map(|cursor| cursor.rows.front());
    let key = fronts.map(|(key, _)| key).min_by_key(|key| place(key))?.clone();
    let held = cursors.iter_mut().map(|cursor| {
        let front = cursor.rows.pop_front_if(|(front, _)| *front == key);
        front.map_or(Held::Nothing, |(_, held)| held)
    });
    let held = held.collect();
    Some((key, held))
}

pub(super) fn described(addresses: &[Address], held: &[Held]) -> String {
    let one = |(address, held): (&Address, &Held)| match held {
        Held::Nothing => format!("{address} has nothing"),
        Held::Value { version, hash, bytes, .. } => {
            let hash = hash.to_string();
            format!("{address} has version {version} ({bytes} bytes, hash {})", &hash[..8])
        }
        Held::Damaged => format!("the record at {address} is damaged"),
    };
    addresses.iter().zip(held).map(one).collect::<Vec<String>>().join("; ")
}

#[cfg(test)]
mod tests {
    use chordata_protocol::Version;
    use chordata_protocol::merkle::record_hash;
    use chordata_rpc::service::ValueHash;

    use super::*;

    fn id(place: u64) -> Id {
        Space::default().parse(&place.to_string()).unwrap()
    }

    fn held(sequence: u64, value: &str) -> Held {
        let version = Version { epoch: 1, sequence };
        let (hash, bytes) = (ValueHash::of(value.as_bytes()), value.len() as u64);
        Held::Value { version, hash, bytes, expires: None }
    }

    fn row(place: u64, sequence: u64, value: &str) -> (Key, Held) {
        (Key::Literal(id(place)), held(sequence, value))
    }

    fn cursor(rows: Vec<(Key, Held)>) -> Cursor {
        Cursor { address: Address::new("h:1"), rows: rows.into(), after: None, more: false }
    }

    #[test]
    fn replicas_are_laid_side_by_side_and_every_difference_is_seen() {
        let space = Space::new(8).unwrap();
        // Around the end of the ring, and the low end of a whole ring last.
        let range = Range { low: id(200), high: id(200) };
        let mut cursors = vec![
            cursor(vec![row(250, 1, "a"), row(3, 2, "b"), row(4, 3, "c"), row(9, 5, "e"), row(200, 6, "f")]),
            cursor(vec![row(250, 1, "a"), row(3, 2, "x"), row(5, 4, "d"), row(9, 7, "e"), row(200, 6, "f")]),
        ];
        let mut seen = Vec::new();
        while let Some((key, held)) = next_key(&mut cursors, space, range) {
            seen.push((key, held));
        }
        let both = |one: Held, other: Held| vec![one, other];
        let wanted = [
            (250, both(held(1, "a"), held(1, "a"))),
            (3, both(held(2, "b"), held(2, "x"))),
            (4, both(held(3, "c"), Held::Nothing)),
            (5, both(Held::Nothing, held(4, "d"))),
            (9, both(held(5, "e"), held(7, "e"))),
            (200, both(held(6, "f"), held(6, "f"))),
        ];
        assert_eq!(seen, wanted.map(|(place, held)| (Key::Literal(id(place)), held)));
    }

    #[test]
    fn equal_digests_agree_and_damage_never_does() {
        let mut digest = Digest::EMPTY;
        digest.insert(record_hash(&Key::new("k"), Version { epoch: 1, sequence: 1 }, Some(b"v")));
        let sound = Summary { digest, damaged: 0 };
        assert!(agree(&[sound]) && agree(&[sound, sound, sound]));
        assert!(!agree(&[sound, sound, Summary::default()]));
        let damaged = Summary { digest, damaged: 1 };
        assert!(!agree(&[damaged]) && !agree(&[damaged, damaged]), "it is to be named");
    }
}
