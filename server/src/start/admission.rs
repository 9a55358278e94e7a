//! A place in a ring: asked for, or known from an earlier life.

use std::collections::BTreeSet;
use std::time::Duration;

use chordata_protocol::chain::View;
use chordata_protocol::{Address, Consistency, Id, Peer, Placement, Space};
use chordata_rpc::service::{Admission, Briefing, ClusterId, ClusterSettings, Error, Joiner};
use chordata_rpc::{CallFailure, Pool};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{StartError, Starting, random_bits};
use crate::identity::Identity;

/// How long a node that was in a ring looks for others of it before it goes on alone.
const RETURN_PATIENCE: Duration = Duration::from_secs(2);
/// First and longest pause between two rounds of asking to be admitted.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long one node may take to admit.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Where in which ring.
pub(super) struct Place {
    pub(super) id: Id,
    pub(super) cluster: ClusterSettings,
    /// Whom to join behind; none: nobody is there.
    pub(super) predecessor: Option<Peer>,
    /// The first view of chains that has it as a member, if that is known.
    pub(super) view: Option<u64>,
    /// What it was told for eventual mode, if it was admitted just now.
    pub(super) briefing: Option<Briefing>,
}

/// With which store it goes there.
pub(super) struct Arrival {
    pub(super) place: Place,
    pub(super) store: u128,
    pub(super) incarnation: u64,
    /// Whom it knew in an earlier life.
    pub(super) known: Vec<Peer>,
    /// Whom it was told of when it was admitted.
    pub(super) neighbours: Vec<Peer>,
}

enum Refusal {
    /// Nobody who is in a ring answers.
    Passing(String),
    /// Somebody in a ring cannot admit this node at the moment.
    NotYet(String),
    /// Its place is taken.
    Taken(String),
    /// Somebody will never admit it.
    Lasting(String),
    /// The cluster has forgotten its store.
    Barred(String),
}

/// The nearest node before a place among those of these addresses that answer; none: nobody does.
pub(super) async fn nearest_before(
    pool: &Pool,
    contacts: &[Address],
    space: Space,
    place: Id,
) -> Option<Peer> {
    let asked = contacts.iter().map(|contact| async move {
        let context = chordata_rpc::within(RETURN_PATIENCE / 2);
        let status = pool.client(contact).status(context).await.ok()?.ok()?;
        (status.member && status.me.id != place).then_some(status.me)
    });
    let members = futures::future::join_all(asked).await;
    members.into_iter().flatten().min_by_key(|peer| space.distance(peer.id, place))
}

/// Which cluster the first of these that is in one belongs to.
///
/// # Errors
/// [`StartError::NoRing`] when none says so in time.
pub(super) async fn cluster_of(
    pool: &Pool,
    contacts: &[Address],
    patience: Duration,
) -> Result<ClusterId, StartError> {
    let (deadline, mut pause) = (Instant::now() + patience, BACKOFF.0);
    let mut last = "there is nobody to ask but this node itself".to_owned();
    loop {
        for contact in contacts {
            match pool.probe(contact).await {
                Ok(identity) => match identity.cluster {
                    Some(cluster) => return Ok(cluster),
                    None => last = format!("{contact} is on standby"),
                },
                Err(failure) => last = failure.to_string(),
            }
        }
        if Instant::now() + pause >= deadline {
            return Err(StartError::NoRing(format!("{last} (tried for {} s)", patience.as_secs_f32())));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

fn neighbours_in(admission: &Admission) -> Vec<Peer> {
    BTreeSet::from([admission.predecessor.clone(), admission.successor.clone()]).into_iter().collect()
}

impl Starting {
    /// It has been in a ring: back to it, under its id. If nobody of it answers, it may go on `alone`, or there is no ring.
    pub(super) async fn come_back(&self, mut identity: Identity, alone: bool) -> Result<Arrival, StartError> {
        identity.incarnation += 1;
        let space = Space::new(identity.cluster.bits).unwrap_or_default();
        let known = self.ground.known(&identity)?;
        let mut contacts: Vec<Address> = known.iter().map(|peer| peer.address.clone()).collect();
        contacts.extend(self.settings.join.iter().cloned());
        contacts.sort();
        contacts.dedup();
        contacts.retain(|address| *address != self.me);
        if identity.cluster.consistency() == Some(Consistency::Chain) {
            // No admission is asked for: it belongs to the cluster, whose coordinator may need this very node.
            let predecessor = self.neighbour(&contacts, space, identity.id, alone).await?;
            let (id, cluster) = (identity.id, identity.cluster.clone());
            let place = Place { id, cluster, predecessor, view: identity.admitted, briefing: None };
            let Identity { store, incarnation, .. } = identity;
            return Ok(Arrival { place, store, incarnation, known, neighbours: Vec::new() });
        }
        let placement =
            if self.settings.displaced { self.settings.placement } else { Placement::Fixed(identity.id) };
        let patience = match alone {
            true if contacts.is_empty() => Duration::ZERO,
            true => RETURN_PATIENCE,
            false => self.settings.join_timeout,
        };
        let joiner = self.joiner(placement, identity.store, identity.incarnation);
        let admission = match self.ask_admission(&contacts, joiner, patience).await {
            Ok(admission) => Some(admission),
            Err(StartError::NoRing(reason)) if alone => {
                if !contacts.is_empty() {
                    warn!(
                        "none of the {} nodes that this one knew answers: going on alone ({reason})",
                        contacts.len()
                    );
                }
                None
            }
            Err(error) => return Err(error),
        };
        let id = admission.as_ref().map_or(identity.id, |admission| admission.id);
        let neighbours = admission.as_ref().map(neighbours_in).unwrap_or_default();
        let (predecessor, briefing) =
            admission.map_or((None, None), |admission| (Some(admission.predecessor), admission.briefing));
        let cluster = identity.cluster.clone();
        let place = Place { id, cluster, predecessor, view: None, briefing };
        let Identity { store, incarnation, .. } = identity;
        Ok(Arrival { place, store, incarnation, known, neighbours })
    }

    /// Somebody of its ring to join behind; none: nobody answers, and it may go on alone.
    async fn neighbour(
        &self,
        contacts: &[Address],
        space: Space,
        place: Id,
        alone: bool,
    ) -> Result<Option<Peer>, StartError> {
        let (deadline, mut pause) = (Instant::now() + self.settings.join_timeout, BACKOFF.0);
        loop {
            let found = nearest_before(&self.pool, contacts, space, place).await;
            if found.is_some() || alone {
                return Ok(found);
            }
            if Instant::now() + pause >= deadline {
                return Err(StartError::NoRing("nobody of its ring answers".to_owned()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// It founds a ring.
    pub(super) fn found(&self) -> Result<Arrival, StartError> {
        let store = random_bits()?;
        let id = self.first_id();
        let cluster = match self.credentials.cluster() {
            Some(cluster) => cluster,
            None => ClusterId(random_bits()?.to_be_bytes()),
        };
        let cluster = ClusterSettings {
            cluster,
            bits: self.settings.ring.space.bits(),
            successors: u8::try_from(self.settings.ring.successors).unwrap_or(u8::MAX),
            replication: self.settings.replication,
            lease: self.settings.lease,
        };
        let view = (cluster.consistency() == Some(Consistency::Chain)).then_some(View::FIRST);
        let place = Place { id, cluster, predecessor: None, view, briefing: None };
        Ok(Arrival { place, store, incarnation: 1, known: Vec::new(), neighbours: Vec::new() })
    }

    /// It has never been in the ring that these are in.
    pub(super) async fn come_first(&self, contacts: &[Address]) -> Result<Arrival, StartError> {
        let store = random_bits()?;
        let contacts: Vec<Address> =
            contacts.iter().filter(|address| **address != self.me).cloned().collect();
        let patience = self.settings.join_timeout;
        let joiner = self.joiner(self.settings.placement, store, 1);
        let admission = self.ask_admission(&contacts, joiner, patience).await?;
        let neighbours = neighbours_in(&admission);
        let Admission { id, predecessor, settings: cluster, view, briefing, .. } = admission;
        let place = Place { id, cluster, predecessor: Some(predecessor), view, briefing };
        Ok(Arrival { place, store, incarnation: 1, known: Vec::new(), neighbours })
    }

    fn joiner(&self, placement: Placement, store: u128, incarnation: u64) -> Joiner {
        Joiner { address: self.me.clone(), placement, store, incarnation }
    }

    fn first_id(&self) -> Id {
        match self.settings.placement {
            Placement::Fixed(id) => id,
            Placement::Hash => self.settings.ring.space.hash(self.me.as_str().as_bytes()),
            Placement::Bisect => Id::ZERO,
        }
    }

    /// Asks one after another to be admitted, again with growing pauses, until one does or the time is up.
    async fn ask_admission(
        &self,
        contacts: &[Address],
        joiner: Joiner,
        patience: Duration,
    ) -> Result<Admission, StartError> {
        let began = Instant::now();
        let (mut deadline, mut pause) = (began + patience, BACKOFF.0);
        let mut last = "there is nobody to ask but this node itself".to_owned();
        loop {
            let (mut lasting, mut taken, mut barred) = (Vec::new(), None, None);
            for contact in contacts {
                match self.ask_one(contact, joiner.clone()).await {
                    Ok(admission) => {
                        // What was learned with the connection and what was answered must agree.
                        if let Err(other) = self.credentials.learn(admission.settings.cluster) {
                            return Err(StartError::NotAdmitted(format!(
                                "{contact} belongs to cluster {}, this node to {other}",
                                admission.settings.cluster
                            )));
                        }
                        return Ok(admission);
                    }
                    Err(Refusal::Lasting(reason)) => lasting.push(reason),
                    Err(Refusal::Barred(reason)) => {
                        barred = Some(reason.clone());
                        lasting.push(reason);
                    }
                    Err(Refusal::Passing(reason)) => last = reason,
                    Err(Refusal::Taken(reason)) => {
                        // Its own earlier life at another address, or somebody who is there to stay.
                        deadline = deadline.max(began + self.settings.join_timeout);
                        (last, taken) = (reason.clone(), Some(reason));
                    }
                    Err(Refusal::NotYet(reason)) => {
                        // There is a ring, and it will have this node: that is worth more patience.
                        deadline = deadline.max(began + self.settings.join_timeout);
                        last = reason;
                    }
                }
            }
            // One stranger at an old address is no reason to give up, if others may still answer.
            if !lasting.is_empty() && lasting.len() == contacts.len() {
                if let Some(reason) = barred {
                    return Err(StartError::Forgotten(reason));
                }
                return Err(StartError::NotAdmitted(lasting.swap_remove(0)));
            }
            if let Some(reason) = lasting.pop() {
                warn!("{reason}");
            }
            if Instant::now() + pause >= deadline {
                if let Some(reason) = taken {
                    return Err(StartError::NotAdmitted(reason));
                }
                return Err(StartError::NoRing(format!("{last} (tried for {} s)", patience.as_secs_f32())));
            }
            info!("not admitted yet: {last}; asking again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
    async fn ask_one(&self, contact: &Address, joiner: Joiner) -> Result<Admission, Refusal> {
        let context = chordata_rpc::within(CONNECT_WITHIN);
        match self.pool.client(contact).connect(context, joiner).await {
            Ok(Ok(admission)) => Ok(admission),
            // Its own earlier life, or whoever took the id meanwhile: the ring will notice which.
            Ok(Err(error @ Error::IdTaken(..))) if self.returning => {
                Err(Refusal::Taken(format!("{contact} does not admit this node: {error}")))
            }
            Ok(Err(error @ Error::Barred(_))) => {
                Err(Refusal::Barred(format!("{contact} does not admit this node: {error}")))
            }
            Ok(Err(error @ (Error::IdTaken(..) | Error::BadInput(_) | Error::RingFull(_)))) => {
                Err(Refusal::Lasting(format!("{contact} does not admit this node: {error}")))
            }
            Ok(Err(error @ Error::Unavailable(_))) => Err(Refusal::NotYet(format!("{contact}: {error}"))),
            Ok(Err(error)) => Err(Refusal::Passing(format!("{contact}: {error}"))),
            Err(error) => match CallFailure::from(error) {
                failure @ CallFailure::Rejected(..) => Err(Refusal::Lasting(failure.to_string())),
                failure => Err(Refusal::Passing(failure.to_string())),
            },
        }
    }
}
