//! From settings to a node in the ring.
//!
//! | has it been in a ring before? | is there somebody to join? | what it does |
//! |---|---|---|
//! | no | no, or `bootstrap` | starts a ring |
//! | no | yes | asks again and again for `join_timeout`, then gives up: never a second ring by silence |
//! | yes | whom it knows answers | comes back under its id |
//! | yes | nobody answers for a moment | is its ring's only node until others come back: they were one ring, and will be |
//!
//! [`Ground`] is what a process has whether or not it is in a ring; [`begin`] makes a node on it. [`start`] does both,
//! for a node that lives as long as its process. On the way are a place (`admission`), a node for it (`building`), and
//! its entry (`joining`); then it is `running`.

mod admission;
mod building;
mod error;
mod ground;
mod joining;
mod running;

use std::sync::Arc;

use chordata_protocol::Address;
use chordata_rpc::service::ClusterId;
use chordata_rpc::{Credentials, Net, Pool, PoolSettings};
use tokio::sync::watch;

pub use error::StartError;
pub(crate) use ground::Ground;
pub use running::{Ending, Started};

use crate::identity::Identity;
use crate::settings::Resolved;
use crate::standby::Seat;

/// How to get into a ring, and into which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Back to the ring that the store on the disk belongs to, as the node that it was.
    Back {
        /// Who that is.
        identity: Identity,
        /// Does it go on alone if nobody else of that ring answers?
        alone: bool,
    },
    /// A new ring, whose first node it is.
    Found,
    /// As a new node, to the ring that these are in.
    Ask(Vec<Address>),
    /// To the ring that these are in: back, if it is the one of the store on the disk, else as a new node.
    Either(Identity, Vec<Address>),
}

impl Way {
    /// As the settings say, with what is on the disk.
    pub(crate) fn as_set(settings: &Resolved, kept: Option<Identity>) -> Way {
        match kept {
            Some(identity) => Way::Back { identity, alone: true },
            None if settings.join.is_empty() || settings.bootstrap => Way::Found,
            None => Way::Ask(settings.join.clone()),
        }
    }

    /// The cluster to which it leads, as far as that is known.
    pub(crate) fn cluster(&self, settings: &Resolved) -> Option<ClusterId> {
        match self {
            Way::Back { identity, .. } => Some(identity.cluster.cluster),
            Way::Found | Way::Ask(_) | Way::Either(..) => settings.cluster,
        }
    }

    /// Finds out which of two ways it is.
    async fn resolve(self, ground: &Ground, settings: &mut Resolved) -> Result<Way, StartError> {
        let Way::Either(identity, contacts) = self else { return Ok(self) };
        let pool = Pool::new(ground.net.clone(), Credentials::default(), pool_settings(settings));
        let cluster = admission::cluster_of(&pool, &contacts, settings.join_timeout).await?;
        // From now on it is that one, whoever else answers.
        settings.cluster = Some(cluster);
        let is_back = cluster == identity.cluster.cluster;
        Ok(if is_back { Way::Back { identity, alone: false } } else { Way::Ask(contacts) })
    }
}

fn pool_settings(settings: &Resolved) -> PoolSettings {
    PoolSettings { connect_timeout: settings.ring.call_timeout, ..PoolSettings::default() }
}

/// 128 random bits.
fn random_bits() -> Result<u128, StartError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| StartError::Random(error.to_string()))?;
    Ok(u128::from_le_bytes(bytes))
}

/// A node that is on its way into a ring.
struct Starting {
    settings: Resolved,
    ground: Arc<Ground>,
    me: Address,
    seat: Option<Seat>,
    credentials: Credentials,
    pool: Pool,
    /// Has it been in this ring before?
    returning: bool,
}

/// Starts a node; returns when it is in a ring.
///
/// # Errors
/// When it cannot listen, its data directory cannot be used, or no ring takes it.
pub async fn start(settings: Resolved, net: Arc<dyn Net>) -> Result<Started, StartError> {
    let ground = Ground::open(&settings, net).await?;
    let (_cancel, cancelled) = watch::channel(false);
    let begun = async {
        let way = Way::as_set(&settings, ground.identity()?);
        begin(&ground, settings, way, None, cancelled).await
    };
    let started = Box::pin(begun).await;
    if started.is_err() {
        ground.reception.close().await;
    }
    started
}

/// Makes a node on this ground; returns when it is in a ring, or when it is told to give up. Unless it comes back, what
/// is on the disk of a server for standby is erased once there is a place in the ring for it, and not before.
///
/// # Errors
/// When its data directory cannot be used, or no ring takes it.
pub(crate) async fn begin(
    ground: &Arc<Ground>,
    mut settings: Resolved,
    way: Way,
    seat: Option<Seat>,
    mut cancelled: watch::Receiver<bool>,
) -> Result<Started, StartError> {
    let placing = async {
        let way = way.resolve(ground, &mut settings).await?;
        if let Way::Back { identity, .. } = &way {
            agrees(identity, &settings)?;
        }
        let cluster = way.cluster(&settings);
        let credentials = Credentials::new(cluster, settings.secret.clone());
        let pool = Pool::new(ground.net.clone(), credentials.clone(), pool_settings(&settings));
        let returning = matches!(way, Way::Back { .. });
        let (me, ground) = (ground.me.clone(), ground.clone());
        let starting = Starting { settings, ground, me, seat, credentials, pool, returning };
        let arrival = match way {
            Way::Back { identity, alone } => starting.come_back(identity, alone).await?,
            Way::Found => starting.found()?,
            Way::Ask(contacts) | Way::Either(_, contacts) => starting.come_first(&contacts).await?,
        };
        Ok::<_, StartError>((starting, arrival))
    };
    let (starting, arrival) = tokio::select! {
        placed = Box::pin(placing) => placed?,
        Ok(_) = cancelled.wait_for(|cancelled| *cancelled) => return Err(StartError::Cancelled),
    };
    Box::pin(starting.run(arrival, cancelled)).await
}

/// May the owner of this directory start with these settings?
fn agrees(identity: &Identity, settings: &Resolved) -> Result<(), StartError> {
    if let Some(id) = settings.id
        && identity.id != id
        // A server on standby was told another place.
        && !settings.standby
    {
        return Err(StartError::NotAdmitted(format!(
            "the data directory belongs to the node at {:?}, --id says {id:?}: leave --id away, or use another directory",
            identity.id
        )));
    }
    let kept = identity.cluster.cluster;
    if let Some(set) = settings.cluster
        && kept != set
    {
        return Err(StartError::NotAdmitted(format!(
            "the data directory belongs to cluster {kept}, the settings say {set}"
        )));
    }
    Ok(())
}
