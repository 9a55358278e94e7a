//! `recover --quorum`: the coordinator's group is rebuilt from what is left, when its quorum is lost for good.

use std::time::{Duration, Instant};

use chordata_client::look::View;
use chordata_client::{Client, Failure as ClientFailure};
use chordata_protocol::chain::View as ChainView;
use chordata_protocol::{Address, Peer, Range, Space};
use chordata_rpc::service::{ChainStatus, Status};
use chordata_rpc::within;
use serde::Serialize;

use crate::commands::chains::range_text;
use crate::commands::recover::{chains_of, confirm};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{self, Report};

/// Whoever has no coordinator has had none for so long: servers insist on it.
const UNLED_FOR: Duration = Duration::from_secs(5);
/// Who was answered so lately has a coordinator.
const LED_WITHIN: Duration = Duration::from_secs(2);
/// How long the rebuilding may take.
const REBUILT_WITHIN: Duration = Duration::from_secs(20);
/// How long the others may take to find the new coordinator.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What was done.
#[derive(Debug, Serialize)]
struct Rebuilt {
    /// Who began the new group.
    by: Address,
    /// From which view.
    from_view: u64,
    /// With which view the group goes on.
    view: u64,
    /// Who has the new coordinator.
    led: Vec<Address>,
    /// Who answers, and does not have it yet.
    not_led: Vec<Address>,
    /// Members that do not answer.
    silent: Vec<Address>,
    /// Ranges of which no replica that could serve answers.
    unserved: Vec<Range>,
    #[serde(skip)]
    space: Space,
}

impl Report for Rebuilt {
    fn text(&self) -> String {
        let nodes = report::count(self.led.len(), "node");
        let mut text = format!(
            "{} has rebuilt the coordinator's group from view {}; {nodes} follow it\n",
            self.by, self.from_view
        );
        for address in &self.not_led {
            text += &format!(
                "{address} answers, but has no coordinator yet: `chordata status` shows when it has\n"
            );
        }
        for address in &self.silent {
            text += &format!(
                "{address} is still a member: `chordata forget {address}` if it will never come back\n"
            );
        }
        if !self.unserved.is_empty() {
            text += "no replica is left of these ranges; `chordata recover` opens them again without what was there:\n";
            for range in &self.unserved {
                text += &format!("  {}\n", range_text(*range, self.space));
            }
        }
        text
    }
}

/// Everybody who can be found, the members of the newest view included.
async fn everybody(client: &Client) -> View {
    let view = client.view().await;
    let members =
        view.chains().map(|chains| chains.members.values().map(|member| member.peer.address.clone()));
    let mut addresses: Vec<Address> = members.into_iter().flatten().collect();
    addresses.extend(view.nodes.iter().map(|status| status.me.address.clone()));
    addresses.sort();
    addresses.dedup();
    client.view_from(addresses).await
}

fn chained(view: &View) -> Vec<(&Status, &ChainStatus)> {
    view.nodes.iter().filter_map(|status| Some((status, status.chain.as_ref()?))).collect()
}

/// A node that a coordinator has answered lately; none: nobody has one.
fn lately_led(view: &View) -> Option<&Address> {
    let led = chained(view).into_iter().filter(|(_, chain)| chain.unled_for < UNLED_FOR);
    led.min_by_key(|(_, chain)| chain.unled_for).map(|(status, _)| &status.me.address)
}

/// Members that do not answer.
fn silent(view: &View, chains: &ChainView) -> Vec<Peer> {
    let members = chains.members.iter();
    let silent = members
        .filter(|(store, _)| !chained(view).iter().any(|(_, chain)| chain.store == **store))
        .map(|(_, member)| member.peer.clone());
    silent.collect()
}

/// What the operator vouches for.
fn explained(silent: &[Peer], answering: usize, of: usize) -> String {
    let mut text = format!(
        "the coordinator's group has lost its quorum; {answering} of {of} members answer. The group is rebuilt from what \
         they know, and what was decided since is lost. If one of the others still runs somewhere, or comes back with \
         its disk later, both sides may take writes and some of them will be lost"
    );
    for peer in silent {
        text += &format!("\n  does not answer: {}", peer.address);
    }
    text
}

/// Has the group rebuilt.
///
/// # Errors
/// When there is a coordinator, the operator says no, or no node can rebuild the group.
pub(crate) async fn recover(context: &Context) -> Outcome {
    let connection = context.target.connect(context.output).await?;
    let client = &connection.client;
    let mut view = everybody(client).await;
    chains_of(&view)?;
    if lately_led(&view).is_some() {
        // An election may be under way, or the quorum was lost a moment ago.
        tokio::time::sleep(UNLED_FOR + LOOK_EVERY).await;
        view = everybody(client).await;
    }
    if let Some(address) = lately_led(&view) {
        return Err(Failure::failed(format!(
            "{address} has a coordinator with a quorum: the group needs no rebuilding, nothing was done"
        )));
    }
    let chains = chains_of(&view)?;
    let silent = silent(&view, chains);
    let newest = chained(&view).into_iter().find(|(_, chain)| {
        chain
            .view
            .as_ref()
            .is_some_and(|mine| mine.index == chains.index && mine.members.contains_key(&chain.store))
    });
    let Some((by, _)) = newest else {
        return Err(Failure::failed("the node with the newest view is no member of the cluster any more"));
    };
    confirm(
        context,
        &explained(&silent, chained(&view).len(), chains.members.len()),
        "Have all of the others stopped for good?",
    )?;
    let (by, from_view) = (by.me.address.clone(), chains.index);
    let answer = client.pool().client(&by).recover_quorum(within(REBUILT_WITHIN), from_view).await;
    let index = answer.map_err(ClientFailure::from_call)?.map_err(ClientFailure::from)?;
    let deadline = Instant::now() + FOUND_WITHIN;
    let (mut led, mut not_led);
    loop {
        view = everybody(client).await;
        let follows = |chain: &ChainStatus| {
            chain.unled_for < LED_WITHIN && chain.view.as_ref().is_some_and(|view| view.index >= index)
        };
        let (with, without): (Vec<_>, Vec<_>) =
            chained(&view).into_iter().partition(|(_, chain)| follows(chain));
        let addresses = |nodes: Vec<(&Status, &ChainStatus)>| -> Vec<Address> {
            nodes.into_iter().map(|(status, _)| status.me.address.clone()).collect()
        };
        (led, not_led) = (addresses(with), addresses(without));
        if not_led.is_empty() || Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let rebuilt = Rebuilt {
        by,
        from_view,
        view: index,
        led,
        not_led,
        silent: silent.into_iter().map(|peer| peer.address).collect(),
        unserved: view.unserved(),
        space: client.space(),
    };
    context.output.show(&rebuilt);
    if rebuilt.not_led.is_empty() { Ok(()) } else { Err(Failure::Said) }
}
