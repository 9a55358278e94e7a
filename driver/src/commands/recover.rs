//! `forget` and `recover`: what only an operator can know. A machine will never come back; a loss is accepted.

use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use chordata_client::Failure as ClientFailure;
use chordata_client::look::View;
use chordata_protocol::chain::View as ChainView;
use chordata_protocol::{Address, Id, Peer, Range, Space};
use chordata_rpc::within;
use chordata_server::settings::with_port;
use serde::Serialize;

use crate::commands::chains::range_text;
use crate::commands::{forget, quorum};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{self, Report};
use crate::target::Connection;

/// How long the coordinator may take to agree.
const AGREE_WITHIN: Duration = Duration::from_secs(10);
/// How long the ranges may take to be served again.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What `forget --help` says.
pub(crate) const FORGET: &str = "\
Remove a node that died for good (chains, eventual mode)

A node that stops or crashes stays a member: it is waited for, and within half a minute others take over its part in the \
meantime. Forget it when its machine or its disk will never come back. Its place on the ring is then free, and its store \
is barred: if the machine comes back after all, it can join only with an empty data directory.

In eventual mode the others go on without it at once, but deletes wait for its store: what was deleted could come back \
with it. Forgotten, it is waited for no more. A store whose node runs again with another one (its disk was wiped) is \
named by its 32 digits, as `chordata status` shows them.

To take out a node that runs, use `chordata depart`.";

/// What `recover --help` says.
pub(crate) const RECOVER: &str = "\
Accept losses, so that what is left can be used again (chains)

When all replicas of a range died together, its keys can be neither read nor written. Start every server again first: a \
replica that comes back with its disk serves again by itself, and this command is not needed. It is for disks that will \
never come back. Of each such range the best copy that is left is opened again, even if it may lack writes that were \
acknowledged; where none is left, the range is opened empty.

With --quorum it is for the other great loss: half of the voters of the coordinator's group or more will never come back \
(`chordata status` names them), so nothing can be decided and nothing is written. Stop every server that does not answer, \
and keep it stopped; then the node with the newest view rebuilds the group, the others follow it, and the dead stay \
members until `chordata forget`. Where a coordinator is at work it refuses.

In eventual mode there is nothing to recover: every replica that is left serves its keys.

It asks before it does anything. `chordata status` lists the ranges that may have lost something from then on.";

/// `forget`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ForgetArguments {
    /// The dead node: HOST:PORT, a host's name in the inventory, or its id (0x and hexadecimal digits); in eventual mode
    /// also a store, by its name of 32 hexadecimal digits
    #[arg(value_name = "NODE")]
    of: String,
}

/// `recover`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RecoverArguments {
    /// Accept the loss: what --yes says as well
    #[arg(long)]
    accept_loss: bool,
    /// Rebuild the coordinator's group from the nodes that are left: half of its voters or more are gone for good
    #[arg(long, conflicts_with = "accept_loss")]
    quorum: bool,
}

#[derive(Debug, Serialize)]
struct Forgotten {
    address: Address,
    id: Id,
}

impl Report for Forgotten {
    fn text(&self) -> String {
        format!(
            "{} is forgotten: others take over what it held. It may only come back with an empty data directory\n",
            self.address
        )
    }
}

#[derive(Debug, Serialize)]
struct Recovered {
    /// Ranges that nobody served, and that are served again.
    reopened: Vec<Range>,
    /// Ranges that nobody serves yet.
    unserved: Vec<Range>,
    #[serde(skip)]
    space: Space,
}

impl Report for Recovered {
    fn text(&self) -> String {
        let list = |ranges: &[Range]| {
            ranges.iter().map(|range| format!("  {}\n", range_text(*range, self.space))).collect::<String>()
        };
        let mut text = String::new();
        if !self.reopened.is_empty() {
            text += &format!("served again, perhaps with losses:\n{}", list(&self.reopened));
        }
        if !self.unserved.is_empty() {
            text += &format!("not served yet:\n{}", list(&self.unserved));
        }
        if text.is_empty() {
            text = "every range has a replica that serves it and can be read: nothing is to be recovered, nothing was done\n"
                .to_owned();
        }
        text
    }
}

/// No, unless somebody says yes.
///
/// # Errors
/// When the answer is no, or nobody can be asked.
pub(crate) fn confirm(context: &Context, what: &str, question: &str) -> Outcome {
    if context.yes {
        return Ok(());
    }
    if context.output.json || !std::io::stdin().is_terminal() {
        return Err(Failure::input(format!("{what}, and nobody can be asked: say --yes")));
    }
    eprint!("{what}.\n{question} [y/N] ");
    let mut answer = String::new();
    std::io::stderr().flush()?;
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was done")),
    }
}

/// The chains, or why there are none.
pub(crate) fn chains_of(view: &View) -> Outcome<&ChainView> {
    let reason = if view.is_eventual() {
        "there is nothing to recover in eventual mode: every replica that is left serves its keys, without a coordinator \
         or a majority. What only dead nodes had is gone: start them again or, if they will not come back, \
         `chordata forget` them"
    } else {
        "this cluster keeps one copy of each key: there are no replicas to take over or to recover"
    };
    view.chains().ok_or_else(|| Failure::input(reason))
}

/// The node that is meant of these, which are called so.
pub(crate) fn meant(connection: &Connection, known: &[&Peer], called: &str, text: &str) -> Outcome<Peer> {
    let space = connection.client.space();
    let hosts = connection.inventory.iter().flat_map(|inventory| &inventory.hosts);
    let named =
        hosts.into_iter().find(|host| host.name == text).map(|host| Address::new(&host.ring_address()));
    let mut members = known.iter().copied();
    let found = if let Some(address) = named {
        members.find(|peer| peer.address == address)
    } else if text.starts_with("0x") {
        let id = space.parse(text).map_err(Failure::input)?;
        members.find(|peer| peer.id == id)
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::input(format!(
            "a dead node has no number, so {text} cannot be it: name its address, its host or its id"
        )));
    } else {
        let address = with_port(text).map_err(Failure::input)?;
        members.find(|peer| peer.address == address)
    };
    found.cloned().ok_or_else(|| {
        let all: Vec<String> = known.iter().map(|peer| format!("  {peer}")).collect();
        let all = if all.is_empty() { vec!["  none".to_owned()] } else { all };
        Failure::input(format!("{text} is no member of the cluster; its {called} are:\n{}", all.join("\n")))
    })
}

/// One that runs leaves by itself.
pub(crate) fn must_be_silent(view: &View, peer: &Peer) -> Outcome {
    if !view.nodes.iter().any(|status| status.me == *peer) {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{} runs and answers: `chordata depart` has it leave in good order; stop it first if it is to be forgotten",
        peer.address
    )))
}

impl ForgetArguments {
    /// Forgets a node.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let client = &connection.client;
        let view = client.view().await;
        if view.is_eventual() {
            return forget::in_eventual_mode(context, &connection, view, &self.of).await;
        }
        let members: Vec<&Peer> = chains_of(&view)?.members.values().map(|member| &member.peer).collect();
        let peer = meant(&connection, &members, "members", &self.of)?;
        must_be_silent(&view, &peer)?;
        confirm(
            context,
            &format!(
                "this removes {peer} from the cluster: others take over what it held, and what is on its disk may never \
                 come back"
            ),
            "Forget it?",
        )?;
        let answer = client.pool().client(&client.entry()).forget(within(AGREE_WITHIN), peer.id).await;
        answer.map_err(ClientFailure::from_call)?.map_err(ClientFailure::from)?;
        context.output.show(&Forgotten { address: peer.address, id: peer.id });
        Ok(())
    }
}

impl RecoverArguments {
    /// Has what is left opened again.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        if self.quorum {
            return quorum::recover(context).await;
        }
        let connection = context.target.connect(context.output).await?;
        let client = &connection.client;
        let space = client.space();
        let view = client.view().await;
        chains_of(&view)?;
        let lost = |view: &View| [view.unserved(), view.damaged_at_last()].concat();
        let unserved = lost(&view);
        if unserved.is_empty() {
            context.output.show(&Recovered { reopened: Vec::new(), unserved, space });
            return Ok(());
        }
        if !self.accept_loss {
            confirm(context, &explained(&unserved, space), "Accept the loss?")?;
        }
        let answer = client.pool().client(&client.entry()).recover(within(AGREE_WITHIN)).await;
        answer.map_err(ClientFailure::from_call)?.map_err(ClientFailure::from)?;
        let deadline = Instant::now() + SERVED_WITHIN;
        let mut left = unserved.clone();
        while !left.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
            left = lost(&client.view().await);
        }
        let reopened = unserved.into_iter().filter(|range| !left.iter().any(|other| other.overlaps(range)));
        let recovered = Recovered { reopened: reopened.collect(), unserved: left, space };
        context.output.show(&recovered);
        if recovered.unserved.is_empty() { Ok(()) } else { Err(Failure::Said) }
    }
}

fn explained(unserved: &[Range], space: Space) -> String {
    let share: f64 = unserved.iter().map(|range| space.share(range.low, range.high)).sum();
    format!(
        "no complete replica answers of {} ({:.1} % of the keys), or its only one has records that it cannot read: what was \
         stored there and acknowledged may be lost for ever if it goes on without",
        report::count(unserved.len(), "range"),
        share * 100.0
    )
}
