//! Reading the replicas of one range side by side.
//!
//! Every replica is read page by page from the low end of the range on. The keys come in one order everywhere, so the
//! next key is the nearest of those in front, and who has another one in front has nothing under it.

use std::collections::VecDeque;

use chordata_protocol::chain::view::Active;
use chordata_protocol::chain::{Epoch, View as ChainView};
use chordata_protocol::{Address, Id, Key, Range, Space};
use chordata_rpc::service::{CopiesOptions, Held, KeyCopy, ReplicaStatus, Role};
use futures::future::join_all;
use futures::stream::{self, StreamExt};

use super::{Audit, LOOKS, ProblemKind, RangeAudit, wanted};
use crate::{Client, Failure};

/// Keys asked for at once.
const PAGE: u32 = 1000;
/// Keys that are asked for again at the same time, and of which the audit remembers that it must.
const SUSPECTS: (usize, usize) = (8, 64);

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

/// What became of a key that was asked for again.
enum Settled {
    Agree,
    NeverAtRest,
    Differ(Vec<(Address, Held)>),
}

/// A replica that is being read.
struct Cursor {
    address: Address,
    rows: VecDeque<(Key, Held)>,
    after: Option<Key>,
    more: bool,
}

impl Client {
    /// Compares the serving replicas of a range, from its beginning to its end.
    pub(super) async fn compare_range(
        &self,
        audit: &mut Audit,
        view: &ChainView,
        epoch: Epoch,
        active: &Active,
    ) -> Result<RangeAudit, Stop> {
        let (range, space) = (active.range, self.space());
        let peers = active.serving().filter_map(|link| view.peer(link.store));
        let addresses: Vec<Address> = peers.map(|peer| peer.address.clone()).collect();
        let new = |address: &Address| Cursor {
            address: address.clone(),
            rows: VecDeque::new(),
            after: None,
            more: true,
        };
        let mut cursors: Vec<Cursor> = addresses.iter().map(new).collect();
        let mut done = RangeAudit {
            epoch: Some(epoch),
            range,
            replicas: cursors.len(),
            wanted: wanted(view),
            keys: 0,
            asked_again: 0,
            never_at_rest: 0,
        };
        // Told when the whole range was compared: it may be begun again.
        let mut found: Vec<(ProblemKind, Key, String)> = Vec::new();
        let mut suspects: Vec<Key> = Vec::new();
        loop {
            join_all(cursors.iter_mut().map(|cursor| self.read_on(cursor, epoch, range)))
                .await
                .into_iter()
                .collect::<Result<(), Stop>>()?;
            while suspects.len() < SUSPECTS.1
                && cursors.iter().all(|cursor| !cursor.rows.is_empty() || !cursor.more)
            {
                let Some((key, agrees)) = next_key(&mut cursors, space, range) else { break };
                done.keys += 1;
                if !agrees {
                    suspects.push(key);
                }
            }
            let at_end = cursors.iter().all(|cursor| cursor.rows.is_empty() && !cursor.more);
            if suspects.len() >= SUSPECTS.1 || at_end {
                done.asked_again += suspects.len() as u64;
                self.ask_all_again(&addresses, epoch, &mut suspects, &mut found, &mut done.never_at_rest)
                    .await?;
            }
            if at_end {
                break;
            }
        }
        for (kind, key, text) in found {
            audit.problem(kind, Some(range), Some(key), text);
        }
        Ok(done)
    }

    /// Fetches the next page of a replica, if it has none here.
    async fn read_on(&self, cursor: &mut Cursor, epoch: Epoch, range: Range) -> Result<(), Stop> {
        while cursor.rows.is_empty() && cursor.more {
            let options = CopiesOptions { range, after: cursor.after.clone(), limit: PAGE };
            let page = self.copies(&cursor.address, options).await;
            let page = page.map_err(|failure| Stop::Silent(cursor.address.clone(), failure))?;
            must_serve(&cursor.address, page.replica.as_ref(), epoch, range)?;
            cursor.after = page.copies.last().map(|(key, _)| key.clone()).or(cursor.after.take());
            cursor.more = page.more && !page.copies.is_empty();
            cursor.rows = page.copies.into();
        }
        Ok(())
    }

    async fn ask_all_again(
        &self,
        addresses: &[Address],
        epoch: Epoch,
        suspects: &mut Vec<Key>,
        found: &mut Vec<(ProblemKind, Key, String)>,
        never_at_rest: &mut u64,
    ) -> Result<(), Stop> {
        let asked = stream::iter(suspects.drain(..)).map(|key| async move {
            let settled = self.ask_again(addresses, epoch, &key).await;
            (key, settled)
        });
        let answers: Vec<(Key, Result<Settled, Stop>)> = asked.buffered(SUSPECTS.0).collect().await;
        for (key, settled) in answers {
            match settled? {
                Settled::Agree => {}
                Settled::NeverAtRest => *never_at_rest += 1,
                Settled::Differ(copies) => {
                    let is_damaged = copies.iter().any(|(_, held)| *held == Held::Damaged);
                    let kind = if is_damaged { ProblemKind::Damaged } else { ProblemKind::Differs };
                    found.push((kind, key, described(&copies)));
                }
            }
        }
        Ok(())
    }

    /// Asks all replicas for a key again and again, until they agree or it is clear that they will not.
    async fn ask_again(&self, addresses: &[Address], epoch: Epoch, key: &Key) -> Result<Settled, Stop> {
        let mut before: Option<Vec<Held>> = None;
        let mut at_rest = false;
        for look in 0..LOOKS.0 {
            if look > 0 {
                tokio::time::sleep(LOOKS.1).await;
            }
            let copies = self.copies_at(addresses, epoch, key).await?;
            if copies.windows(2).all(|pair| pair[0] == pair[1]) && copies.first() != Some(&Held::Damaged) {
                return Ok(Settled::Agree);
            }
            at_rest = before.as_ref() == Some(&copies);
            before = Some(copies);
        }
        let copies = before.unwrap_or_default();
        // Something moved between the last two looks: it is written all the time.
        if !at_rest && !copies.contains(&Held::Damaged) {
            return Ok(Settled::NeverAtRest);
        }
        Ok(Settled::Differ(addresses.iter().cloned().zip(copies).collect()))
    }

    async fn copies_at(&self, addresses: &[Address], epoch: Epoch, key: &Key) -> Result<Vec<Held>, Stop> {
        let answers = join_all(addresses.iter().map(|address| self.copy(address, key.clone()))).await;
        let mut copies = Vec::new();
        for (address, answer) in addresses.iter().zip(answers) {
            let KeyCopy { held, replica, .. } =
                answer.map_err(|failure| Stop::Silent(address.clone(), failure))?;
            match &replica {
                Some(status) => must_serve(address, replica.as_ref(), epoch, status.range)?,
                None => return Err(Stop::Changed(format!("{address} has no replica of it any more"))),
            }
            copies.push(held);
        }
        Ok(copies)
    }
}

fn must_serve(
    address: &Address,
    replica: Option<&ReplicaStatus>,
    epoch: Epoch,
    range: Range,
) -> Result<(), Stop> {
    match replica {
        Some(replica)
            if replica.epoch == epoch && replica.range == range && replica.role != Role::Syncing =>
        {
            Ok(())
        }
        Some(replica) if replica.epoch == epoch => {
            Err(Stop::Changed(format!("{address} is named as a serving replica of it and does not serve")))
        }
        Some(_) | None => Err(Stop::Changed(format!("its chain is not the same any more at {address}"))),
    }
}

/// Takes the key that comes first in the order of the ring; do all replicas have the same of it?
fn next_key(cursors: &mut [Cursor], space: Space, range: Range) -> Option<(Key, bool)> {
    // A range that is the whole ring begins behind its low end: that identifier itself comes last.
    let place = |key: &Key| {
        let distance = space.distance(range.low, key.id(space));
        (distance == Id::ZERO, distance, key.clone())
    };
    let fronts = cursors.iter().filter_map(|cursor| cursor.rows.front());
    let key = fronts.map(|(key, _)| key).min_by_key(|key| place(key))?.clone();
    let mut held = Vec::with_capacity(cursors.len());
    for cursor in cursors {
        let is_next = cursor.rows.front().is_some_and(|(front, _)| *front == key);
        held.push(if is_next { cursor.rows.pop_front().map(|(_, held)| held) } else { None });
    }
    let same = held.windows(2).all(|pair| pair[0] == pair[1]) && held.first() != Some(&Some(Held::Damaged));
    Some((key, same))
}

fn described(copies: &[(Address, Held)]) -> String {
    let one = |(address, held): &(Address, Held)| match held {
        Held::Nothing => format!("{address} has nothing"),
        Held::Value { version, hash, bytes } => {
            let hash = hash.to_string();
            format!("{address} has version {version} ({bytes} bytes, hash {})", &hash[..8])
        }
        Held::Damaged => format!("the record at {address} is damaged"),
    };
    copies.iter().map(one).collect::<Vec<String>>().join("; ")
}

#[cfg(test)]
mod tests {
    use chordata_protocol::Version;
    use chordata_rpc::service::ValueHash;

    use super::*;

    fn id(place: u64) -> Id {
        Space::default().parse(&place.to_string()).unwrap()
    }

    fn row(place: u64, sequence: u64, value: &str) -> (Key, Held) {
        let version = Version { epoch: 1, sequence };
        let (hash, bytes) = (ValueHash::of(value.as_bytes()), value.len() as u64);
        (Key::Literal(id(place)), Held::Value { version, hash, bytes })
    }

    fn cursor(rows: Vec<(Key, Held)>) -> Cursor {
        Cursor { address: Address::new("h:1"), rows: rows.into(), after: None, more: false }
    }

    #[test]
    fn replicas_are_read_side_by_side_and_every_difference_is_seen() {
        let space = Space::new(8).unwrap();
        // Around the end of the ring, and the low end of a whole ring last.
        let range = Range { low: id(200), high: id(200) };
        let mut cursors = vec![
            cursor(vec![row(250, 1, "a"), row(3, 2, "b"), row(4, 3, "c"), row(9, 5, "e"), row(200, 6, "f")]),
            cursor(vec![row(250, 1, "a"), row(3, 2, "x"), row(5, 4, "d"), row(9, 7, "e"), row(200, 6, "f")]),
        ];
        let mut seen = Vec::new();
        while let Some((key, agrees)) = next_key(&mut cursors, space, range) {
            seen.push((key, agrees));
        }
        let wanted = [(250, true), (3, false), (4, false), (5, false), (9, false), (200, true)];
        assert_eq!(seen, wanted.map(|(place, agrees)| (Key::Literal(id(place)), agrees)));
    }

    #[test]
    fn a_damaged_record_never_agrees() {
        let range = Range { low: id(200), high: id(200) };
        let damaged = || cursor(vec![(Key::Literal(id(1)), Held::Damaged)]);
        let found = next_key(&mut [damaged(), damaged()], Space::new(8).unwrap(), range);
        assert_eq!(found, Some((Key::Literal(id(1)), false)));
    }
}
