//! Listing all keys of the ring, a page at a time, in the order of their identifiers from the lowest up.
//!
//! A [`Place`] is how far a listing has come. It says nothing of nodes: whoever serves what follows is found anew for
//! each page, and must serve all that the page is taken from. So a listing goes on where it was when nodes join, leave
//! and die meanwhile; what is there from its beginning to its end is listed once. What is written or removed meanwhile
//! may be in it or not.

use std::time::Duration;

use chordata_protocol::{Id, Key, Peer, Policy, Range, Space, Value, Version};
use chordata_rpc::service::{Error, ScanOptions, Status};
use chordata_rpc::within;
use serde::{Deserialize, Serialize};
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

/// Who serves identifiers from one on, without a gap.
struct Server {
    node: Peer,
    range: Range,
}

impl Client {
    /// The next page of a listing.
    ///
    /// # Errors
    /// When nobody serves what follows for as long as the client is patient.
    pub async fn list_page(&self, place: &Place, wanted: Wanted<'_>) -> Result<Listed, Failure> {
        let deadline = Instant::now() + self.shared.config.patience;
        loop {
            let failure = match self.page(place, wanted).await {
                Ok(listed) => return Ok(listed),
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

    async fn page(&self, place: &Place, wanted: Wanted<'_>) -> Result<Listed, Failure> {
        let space = self.space();
        let highest = space.distance(Id::from_u128(1), Id::ZERO);
        // Keys of one identifier may be more than a page: behind a key its own identifier is looked at again.
        let (low, after) = match place {
            Place::Start => (highest, None),
            Place::Key(key) => (space.distance(Id::from_u128(1), key.id(space)), Some(key.clone())),
            Place::Id(id) => (*id, None),
        };
        let Server { node, range } = Box::pin(self.server_from(space.next(low))).await?;
        let high = up_to(range, space.next(low), highest);
        let options = ScanOptions {
            after,
            prefix: wanted.prefix.to_vec(),
            limit: wanted.limit.max(1),
            values: wanted.values,
            range: Some(Range { low, high }),
        };
        let page = self.pool().client(&node.address).scan(within(PAGE_WITHIN), options).await;
        let page = match page.map_err(Failure::from_call)? {
            Ok(page) => page,
            Err(error) => {
                if matches!(error, Error::NotOwner(_) | Error::NotMember) {
                    self.shared.owners.lock().forget(&node);
                }
                return Err(error.into());
            }
        };
        // A page may have nothing and yet not be the last: what it passed by was not wanted.
        let next = match page.after {
            Some(key) if page.more => Some(Place::Key(key)),
            _ => (high != highest).then_some(Place::Id(high)),
        };
        Ok(Listed { node, entries: page.entries, next })
    }

    /// Who serves an identifier and what follows. In chains: who has the last serving replica, which is what is
    /// committed.
    async fn server_from(&self, id: Id) -> Result<Server, Failure> {
        if self.shared.writes.is_some() {
            let entry = self.entry();
            let status = status_of(self.pool(), &entry, PAGE_WITHIN).await?;
            return tail(&status, id).ok_or_else(crate::look::no_range);
        }
        let node = self.locate(id, Policy::Finger).await?.owner;
        let status = status_of(self.pool(), &node.address, PAGE_WITHIN).await?;
        match status.serving.filter(|range| range.contains(id)) {
            Some(range) => Ok(Server { node, range }),
            None => Err(Failure::Unavailable("the keys move to another node".to_owned())),
        }
    }
}

fn tail(status: &Status, id: Id) -> Option<Server> {
    let view = status.chain.as_ref()?.view.as_ref()?;
    let (_, active) = view.range_of(id)?;
    let node = view.peer(active.tail()?.store)?.clone();
    Some(Server { node, range: active.range })
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
