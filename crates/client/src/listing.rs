//! Listing all keys of the ring, a page at a time, in the order of their identifiers from the lowest up.
//!
//! A [`Place`] is how far a listing has come. It says nothing of nodes: whoever serves what follows is found anew for
//! each page, and must have all that the page is taken from. So a listing goes on where it was when nodes join, leave
//! and die meanwhile; what is there from its beginning to its end is listed once. What is written or removed meanwhile
//! may be in it or not.
//!
//! Whatever reads the whole ring without a mark goes through [`Client::read_behind`].

use std::time::Duration;

use chordata_protocol::{Id, Key, Peer, Policy, Range, Space, Successor, Value, Version};
use chordata_rpc::service::{Error, Page, ScanOptions, Status};
use chordata_rpc::{ChordataStub, within};
use serde::{Deserialize, Serialize};
use tarpc::client::RpcError;
use tokio::time::Instant;

use crate::{Client, Failure, status_of};

/// How long one node may take for a page.
const PAGE_WITHIN: Duration = Duration::from_secs(5);
/// Pause before it is asked anew who serves what follows.
const PAUSE: Duration = Duration::from_millis(50);

/// How far a listing has come.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Place {
    /// Nothing is listed.
    #[default]
    Start,
    /// Everything up to this key.
    Key(Key),
    /// Everything up to this identifier.
    Id(Id),
}

/// What is wanted of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted<'a> {
    /// Only keys that begin with these bytes.
    pub prefix: &'a [u8],
    /// At most this many; at least 1.
    pub limit: u32,
    /// Values too?
    pub values: bool,
}

/// Some keys that one node serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Who.
    pub node: Peer,
    /// Keys, versions, and values if they were wanted. May be none although more follow.
    pub entries: Vec<(Key, Version, Option<Value>)>,
    /// Where the next page begins; none: that was all.
    pub next: Option<Place>,
}

/// The identifiers from one on, without a gap, up to where others have to be asked.
struct Stretch {
    range: Range,
    /// Who may have everything of them, whoever serves them first.
    nodes: Vec<Peer>,
}

/// What one node gave of what follows a place.
pub(crate) struct Behind<T> {
    /// Who.
    pub(crate) node: Peer,
    /// What.
    pub(crate) found: T,
    /// Where to go on; none: that was all.
    pub(crate) next: Option<Place>,
    /// Was it the last of what is served together?
    pub(crate) ends_range: bool,
}

impl Client {
    /// The next page of a listing.
    ///
    /// # Errors
    /// When nobody has all of what follows for as long as the client is patient.
    pub async fn list_page(&self, place: &Place, wanted: Wanted<'_>) -> Result<Listed, Failure> {
        let (prefix, limit, values) = (wanted.prefix, wanted.limit.max(1), wanted.values);
        let read = |stub: ChordataStub, range, after| {
            let options = ScanOptions { after, prefix: prefix.to_vec(), limit, values, range: Some(range) };
            async move {
                let page = stub.scan(within(PAGE_WITHIN), options).await?;
                // A page may have nothing and yet not be the last: what it passed by was not wanted.
                Ok(page.map(|Page { entries, more, after, .. }| (entries, after.filter(|_| more))))
            }
        };
        let patience = self.shared.config.patience;
        let Behind { node, found, next, .. } = self.read_behind(place, patience, read).await?;
        Ok(Listed { node, entries: found, next })
    }

    /// Reads some of what follows a place from a node that has all of it; asks anew while the ring changes.
    ///
    /// `read` asks a node for keys of a range, beginning behind a key if one is given. The node must refuse unless it has
    /// everything of the range. What it gave comes with the key behind which there is more, if there is.
    ///
    /// # Errors
    /// When nobody gives it for as long as the patience lasts.
    pub(crate) async fn read_behind<T, R, F>(
        &self,
        place: &Place,
        patience: Duration,
        read: R,
    ) -> Result<Behind<T>, Failure>
    where
        R: Fn(ChordataStub, Range, Option<Key>) -> F,
        F: Future<Output = Result<Result<(T, Option<Key>), Error>, RpcError>>,
    {
        let deadline = Instant::now() + patience;
        loop {
            let failure = match self.read_once(place, &read).await {
                Ok(behind) => return Ok(behind),
                Err(failure @ (Failure::BadInput(_) | Failure::Refused(_) | Failure::NoNodes)) => {
                    return Err(failure);
                }
                Err(failure) => failure.of_reading(),
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(failure);
            }
            self.entry_failed(&self.entry());
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn read_once<T, R, F>(&self, place: &Place, read: &R) -> Result<Behind<T>, Failure>
    where
        R: Fn(ChordataStub, Range, Option<Key>) -> F,
        F: Future<Output = Result<Result<(T, Option<Key>), Error>, RpcError>>,
    {
        let space = self.space();
        let highest = space.distance(Id::from_u128(1), Id::ZERO);
        // Keys of one identifier may be more than a page: behind a key its own identifier is looked at again.
        let (low, after) = match place {
            Place::Start => (highest, None),
            Place::Key(key) => (space.distance(Id::from_u128(1), key.id(space)), Some(key.clone())),
            Place::Id(id) => (*id, None),
        };
        let Stretch { range, nodes } = Box::pin(self.stretch_from(space.next(low))).await?;
        let high = up_to(range, space.next(low), highest);
        let mut last = crate::look::no_range();
        for node in nodes {
            let asked = read(self.pool().client(&node.address), Range { low, high }, after.clone());
            let failure = match asked.await.map_err(Failure::from_call) {
                Ok(Ok((found, after))) => {
                    let ends_range = after.is_none() && high == range.high;
                    let behind = (high != highest).then_some(Place::Id(high));
                    let next = after.map(Place::Key).or(behind);
                    return Ok(Behind { node, found, next, ends_range });
                }
                Ok(Err(error)) => {
                    if matches!(error, Error::NotOwner(_) | Error::NotMember) {
                        self.shared.owners.lock().forget(&node);
                    }
                    error.into()
                }
                Err(failure) => failure,
            };
            last = match failure {
                Failure::Unavailable(reason) => Failure::Unavailable(format!("{}: {reason}", node.address)),
                other => other,
            };
        }
        Err(last)
    }

    /// Who has an identifier and what follows. In chains: who has the last serving replica, which is what is committed.
    async fn stretch_from(&self, id: Id) -> Result<Stretch, Failure> {
        if self.shared.writes.is_some() {
            let entry = self.entry();
            let status = status_of(self.pool(), &entry, PAGE_WITHIN).await?;
            return tail(&status, id).ok_or_else(crate::look::no_range);
        }
        let owner = self.locate(id, Policy::Finger).await?.owner;
        let status = status_of(self.pool(), &owner.address, PAGE_WITHIN).await?;
        let Some(range) = status.serving.filter(|range| range.contains(id)) else {
            return Err(Failure::Unavailable("the keys move to another node".to_owned()));
        };
        // In eventual mode those behind the owner keep copies: one of them may have everything while the owner, new or back
        // again, is still being told.
        let copies = self.shared.spread.as_ref().map_or(1, |spread| spread.copies());
        let behind = status.successors.iter().filter_map(Successor::node).filter(|peer| **peer != owner);
        let nodes = std::iter::once(&owner).chain(behind).take(copies).cloned().collect();
        Ok(Stretch { range, nodes })
    }
}

fn tail(status: &Status, id: Id) -> Option<Stretch> {
    let view = status.chain.as_ref()?.view.as_ref()?;
    let (_, active) = view.range_of(id)?;
    let node = view.peer(active.tail()?.store)?.clone();
    Some(Stretch { range: active.range, nodes: vec![node] })
}

/// How far up a range goes from one of its identifiers without passing the highest.
fn up_to(range: Range, from: Id, highest: Id) -> Id {
    if range.high < from { highest } else { range.high }
}

impl Place {
    /// Is it one of this ring?
    pub fn fits(&self, space: Space) -> bool {
        match self {
            Place::Start => true,
            Place::Key(key) => key.check(space).is_ok(),
            Place::Id(id) => space.contains(*id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_up_to_the_end_of_a_range_or_of_the_numbers() {
        let id = Id::from_u128;
        let range = |low, high| Range { low: id(low), high: id(high) };
        let ends =
            [(range(10, 20), 11), (range(60, 5), 61), (range(60, 5), 0), (range(7, 7), 8), (range(7, 7), 3)];
        let found = ends.map(|(range, from)| up_to(range, id(from), id(63)));
        assert_eq!(found, [20, 63, 5, 63, 7].map(id));
    }
}
