//! `forget` in eventual mode: a store that will never come back is waited for no more.

use std::time::{Duration, Instant};

use chordata_client::look::View;
use chordata_client::{Client, Failure as ClientFailure};
use chordata_protocol::{Address, Peer, StoreId};
use chordata_rpc::service::Status;
use chordata_rpc::within;
use serde::Serialize;

use crate::commands::recover::{confirm, meant, must_be_silent};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::Report;
use crate::target::Connection;

/// How long a node may take to tell the others.
const TELL_WITHIN: Duration = Duration::from_secs(10);
/// How long the ring may take to go on without a node that died.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Serialize)]
struct Forgotten {
    /// None: a store was named.
    address: Option<Address>,
    stores: Vec<StoreId>,
}

impl Report for Forgotten {
    fn text(&self) -> String {
        let stores =
            self.stores.iter().map(|store| format!("store {store}")).collect::<Vec<String>>().join(", ");
        let who = self.address.as_ref().map_or(stores, ToString::to_string);
        format!(
            "{who} is forgotten: nobody waits for it any more. It may only come back with an empty data directory\n"
        )
    }
}

/// Who is meant: all stores that had their place there, or one store.
enum Meant {
    Place(Peer),
    Store(StoreId),
}

/// Forgets the stores of a node that died for good, or one store.
///
/// # Errors
/// When there is no such one, it answers, the operator says no, or no node can be told.
pub(crate) async fn in_eventual_mode(
    context: &Context,
    connection: &Connection,
    view: View,
    text: &str,
) -> Outcome {
    let who = match text.parse::<StoreId>() {
        Ok(store) => Meant::Store(store),
        Err(_) => {
            let missed: Vec<Peer> = view.missed().map(|(_, peer)| peer).collect();
            let known = missed.iter().chain(view.nodes.iter().map(|status| &status.me));
            Meant::Place(meant(connection, &known.collect::<Vec<_>>(), "nodes", text)?)
        }
    };
    let (name, address) = match &who {
        Meant::Place(peer) => {
            must_be_silent(&view, peer)?;
            (peer.to_string(), Some(peer.address.clone()))
        }
        Meant::Store(store) => {
            if !view.away().contains_key(store) {
                return Err(no_such_store(&view, *store));
            }
            (format!("the store {store}"), None)
        }
    };
    confirm(
        context,
        &format!(
            "this removes {name} from the cluster: what only it had is lost, and what is on its disk may never come back"
        ),
        "Forget it?",
    )?;
    let (view, stores) = match who {
        Meant::Place(peer) => stores_of(&connection.client, view, &peer).await?,
        Meant::Store(store) => (view, vec![store]),
    };
    for store in &stores {
        tell(&connection.client, &view, *store).await?;
    }
    context.output.show(&Forgotten { address, stores });
    Ok(())
}

fn no_such_store(view: &View, store: StoreId) -> Failure {
    let runs =
        view.nodes.iter().any(|status| status.eventual.as_ref().is_some_and(|part| part.store == store));
    if runs {
        return Failure::failed(format!("the store {store} is that of a node that runs and answers"));
    }
    let away: Vec<String> = view.away().keys().map(|store| format!("  {store}")).collect();
    let away = if away.is_empty() { "  none".to_owned() } else { away.join("\n") };
    Failure::input(format!("no store {store} is away; those that are:\n{away}"))
}

/// The stores that were at a place where nobody answers. A node that died a moment ago is still taken for a member: that
/// is waited for.
async fn stores_of(client: &Client, mut view: View, peer: &Peer) -> Outcome<(View, Vec<StoreId>)> {
    let deadline = Instant::now() + NOTICED_WITHIN;
    let counts_on =
        |status: &Status| status.member && status.eventual.iter().any(|part| part.members.contains(peer));
    while view.nodes.iter().any(counts_on) && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        view = client.view().await;
    }
    must_be_silent(&view, peer)?;
    let was_there = |place: &Option<Peer>| place.as_ref().is_some_and(|place| place.address == peer.address);
    let stores: Vec<StoreId> =
        view.away().into_iter().filter(|(_, place)| was_there(place)).map(|(store, _)| store).collect();
    if stores.is_empty() {
        return Err(Failure::Unreachable(format!(
            "the ring still counts on {}, or nobody knows its store: try again in a moment",
            peer.address
        )));
    }
    Ok((view, stores))
}

/// Tells every node that knows the store. Each tells others; one that is told alone may be the next to die.
async fn tell(client: &Client, view: &View, store: StoreId) -> Outcome {
    let knows = |status: &&Status| {
        let mut away = status.eventual.iter().flat_map(|part| &part.away);
        away.any(|(known, _)| *known == store)
    };
    let (mut told, mut refused) = (false, None);
    for status in view.nodes.iter().filter(|status| status.member).filter(knows) {
        let stub = client.pool().client(&status.me.address);
        match stub.forget_store(within(TELL_WITHIN), store).await {
            Ok(Ok(())) => told = true,
            Ok(Err(error)) => refused = Some(ClientFailure::from(error)),
            Err(error) => refused = Some(ClientFailure::from_call(error)),
        }
    }
    match (told, refused) {
        // Those that refused had heard of it from those that were told first, or will.
        (true, _) => Ok(()),
        (false, Some(failure)) => Err(failure.into()),
        (false, None) => {
            Err(Failure::Unreachable(format!("no node that answers waits for the store {store}")))
        }
    }
}
