//! Which way an order to enter a ring leads.

use std::collections::BTreeSet;

use chordata_protocol::{Address, Placement, Space};
use chordata_rpc::service::{ClusterId, Error};
use chordata_rpc::standby::JoinWish;

use crate::identity::Identity;
use crate::settings::Resolved;
use crate::start::Way;

/// The ring that this process was in last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LastRing {
    /// Its cluster.
    pub(super) cluster: ClusterId,
    /// Whom it knew there, but itself.
    pub(super) others: BTreeSet<Address>,
}

/// Which way, with which settings. `kept` is the store on the disk, if its ring may count on it.
///
/// # Errors
/// [`Error::NotSupported`]: it cannot be.
pub(super) fn way(
    settings: &Resolved,
    wish: JoinWish,
    kept: Option<Identity>,
    last: Option<&LastRing>,
) -> Result<(Resolved, Way), Error> {
    let mut wished = wished(settings, &wish)?;
    let back = |kept: &Identity, cluster: ClusterId| kept.cluster.cluster == cluster;
    let way = match (wish, kept) {
        (JoinWish::AsSet, Some(identity)) => Way::Back { identity, alone: true },
        (JoinWish::AsSet, None) => match last {
            // A second ring beside the one that there is would look like the same to everybody who is not told.
            Some(last) if !last.others.is_empty() && (settings.join.is_empty() || settings.bootstrap) => {
                let contacts = last.others.iter().chain(&settings.join).cloned();
                wished.join = BTreeSet::from_iter(contacts).into_iter().collect();
                (wished.cluster, wished.bootstrap) = (Some(last.cluster), false);
                Way::Ask(wished.join.clone())
            }
            Some(_) | None => Way::as_set(&wished, None),
        },
        (JoinWish::Found { settings, .. }, Some(identity)) if back(&identity, settings.cluster) => {
            Way::Back { identity, alone: true }
        }
        (JoinWish::Found { .. }, _) => Way::Found,
        (JoinWish::Join { contacts, .. }, Some(kept)) => match wished.cluster {
            Some(cluster) if back(&kept, cluster) => Way::Back { identity: kept, alone: false },
            Some(_) => Way::Ask(contacts),
            None => Way::Either(kept, contacts),
        },
        (JoinWish::Join { contacts, .. }, None) => Way::Ask(contacts),
    };
    Ok((wished, way))
}

/// Which way a node goes whose place is another one's: to the same ring, at another place, and never to a new one.
pub(super) fn elsewhere(settings: Resolved, kept: Option<Identity>, last: LastRing) -> (Resolved, Way) {
    let contacts = last.others.into_iter().chain(settings.join);
    let join: Vec<Address> = BTreeSet::from_iter(contacts).into_iter().collect();
    // Without a store it keeps nothing on disk.
    let way = match kept {
        Some(identity) => Way::Back { identity, alone: true },
        None => Way::Ask(join.clone()),
    };
    let cluster = Some(last.cluster);
    (Resolved { displaced: true, bootstrap: false, join, cluster, ..settings }, way)
}

/// A server's settings, for the ring that it is told to enter.
fn wished(settings: &Resolved, wish: &JoinWish) -> Result<Resolved, Error> {
    let mut wished = settings.clone();
    let fixed = |wished: &mut Resolved, placement: Placement| {
        wished.placement = placement;
        wished.id = match placement {
            Placement::Fixed(id) => Some(id),
            Placement::Bisect | Placement::Hash => None,
        };
    };
    if let (Some(set), Some(named)) = (settings.cluster, wish.cluster())
        && set != named
    {
        return Err(Error::NotSupported(format!(
            "this server's settings allow only the cluster {set}, not {named}"
        )));
    }
    match wish.clone() {
        JoinWish::AsSet => {}
        JoinWish::Found { settings: common, id } => {
            let bad = |what: String| Error::NotSupported(what);
            wished.ring.space = Space::new(common.bits)
                .ok_or_else(|| bad(format!("a ring has 3 to 160 bits, not {}", common.bits)))?;
            if !(1..=32).contains(&common.successors) {
                return Err(bad(format!(
                    "a list of successors has 1 to 32 entries, not {}",
                    common.successors
                )));
            }
            if let Some(id) = id.filter(|id| !wished.ring.space.contains(*id)) {
                return Err(bad(format!("{id:?} is outside a ring of {} bits", common.bits)));
            }
            wished.ring.successors = usize::from(common.successors);
            (wished.cluster, wished.replication) = (Some(common.cluster), common.replication);
            (wished.lease, wished.bootstrap) = (common.lease, true);
            if let Some(id) = id {
                fixed(&mut wished, Placement::Fixed(id));
            }
        }
        JoinWish::Join { contacts, cluster, placement } => {
            if contacts.is_empty() {
                return Err(Error::NotSupported("nobody to ask for admission was named".to_owned()));
            }
            (wished.join, wished.bootstrap) = (contacts, false);
            wished.cluster = cluster.or(wished.cluster);
            if let Some(placement) = placement {
                fixed(&mut wished, placement);
            }
        }
    }
    Ok(wished)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use chordata_protocol::Id;
    use chordata_rpc::service::ClusterSettings;

    use super::*;
    use crate::settings::Settings;

    const RING: ClusterId = ClusterId([1; 16]);
    const OTHER: ClusterId = ClusterId([2; 16]);

    fn settings(join: &[&str], bootstrap: bool) -> Resolved {
        let join = join.iter().map(|address| (*address).to_owned()).collect();
        let bootstrap = Some(bootstrap);
        Settings { join, bootstrap, standby: Some(true), ..Settings::default() }.resolve().unwrap()
    }

    fn common(cluster: ClusterId) -> ClusterSettings {
        ClusterSettings { cluster, bits: 160, successors: 4, replication: None, lease: Default::default() }
    }

    fn store() -> Option<Identity> {
        Some(Identity { store: 7, incarnation: 1, id: Id::ZERO, cluster: common(RING), admitted: None })
    }

    fn back(alone: bool) -> Way {
        Way::Back { identity: store().unwrap(), alone }
    }

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| Address::new(text)).collect()
    }

    fn last(others: &[&str]) -> LastRing {
        LastRing { cluster: RING, others: addresses(others).into_iter().collect() }
    }

    fn join(cluster: Option<ClusterId>) -> JoinWish {
        JoinWish::Join { contacts: addresses(&["a:1"]), cluster, placement: None }
    }

    #[test]
    fn without_a_wish_it_goes_back_to_the_ring_that_it_knows_and_founds_no_second_one() {
        let way = |settings: &Resolved, kept, last: Option<&LastRing>| {
            let (wished, way) = way(settings, JoinWish::AsSet, kept, last).unwrap();
            (way, wished.cluster)
        };
        for alone in [settings(&[], false), settings(&["h:9"], true)] {
            assert_eq!(way(&alone, None, None), (Way::Found, None), "it was in none yet");
            assert_eq!(way(&alone, store(), None).0, back(true));
            let (asks, cluster) = way(&alone, None, Some(&last(&["b:1", "c:1"])));
            let Way::Ask(contacts) = asks else { panic!("{asks:?}") };
            assert!(contacts.starts_with(&addresses(&["b:1", "c:1"])), "{contacts:?}");
            assert_eq!(cluster, Some(RING), "and no other ring that is there by now");
            // Nobody else was ever in it: it ended with this one.
            assert_eq!(way(&alone, None, Some(&last(&[]))).0, Way::Found);
        }
        let joins = settings(&["h:9"], false);
        assert_eq!(way(&joins, None, Some(&last(&["b:1"]))).0, Way::Ask(addresses(&["h:9"])));
        assert_eq!(way(&joins, store(), None).0, back(true));
    }

    #[test]
    fn a_founder_whose_place_is_taken_stays_in_its_ring() {
        for alone in [settings(&[], false), settings(&["h:9"], true)] {
            let (again, way) = elsewhere(alone.clone(), None, last(&["b:1"]));
            assert!(again.displaced && !again.bootstrap && again.cluster == Some(RING));
            let Way::Ask(contacts) = way else { panic!("{way:?}") };
            assert!(contacts.contains(&Address::new("b:1")) && contacts == again.join, "{contacts:?}");
            assert_eq!(elsewhere(alone, store(), last(&["b:1"])).1, back(true));
        }
    }

    #[test]
    fn a_store_goes_back_to_its_own_ring_and_to_no_other() {
        let way = |wish| way(&settings(&[], false), wish, store(), None).unwrap().1;
        let found = |cluster| JoinWish::Found { settings: common(cluster), id: None };
        assert_eq!(way(join(Some(RING))), back(false));
        assert_eq!(way(join(Some(OTHER))), Way::Ask(addresses(&["a:1"])));
        assert_eq!(way(join(None)), Way::Either(store().unwrap(), addresses(&["a:1"])));
        assert_eq!(way(found(RING)), back(true));
        assert_eq!(way(found(OTHER)), Way::Found);
    }
}
