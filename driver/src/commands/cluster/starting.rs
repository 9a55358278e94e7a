//! Starting servers that are deployed, and waiting until they are a ring.
//!
//! One first, so that the others have somebody to join. Then those that have their places already, together. Then the
//! new ones, one after another, so that each finds the widest arc.

use std::time::Duration;

use chordata_client::look::View;
use chordata_protocol::{Address, Placement, Space};

use super::plan::{Found, note_up};
use super::ring::{self, Ring};
use super::site::Site;
use super::up::said;
use crate::failure::Outcome;
use crate::hosts::failure::HostFailure;
use crate::hosts::parallel::{Account, Line, each};
use crate::hosts::station::Station;
use crate::inventory::Host;
use crate::report::{count, short_id};

/// How long the ring may take to know a newcomer before the next one comes all the same.
const SETTLE_MAX: Duration = Duration::from_secs(5);
const STARTED: &str = "started";
const RUNS: &str = "already running";

/// Servers shall run, not only be deployed.
#[derive(Clone, Copy)]
pub(super) struct Goal {
    /// How long each server, and then the ring, may take.
    pub(super) limit: Duration,
    /// May a new ring come of it?
    pub(super) may_found: bool,
    /// Do later commands mean this cluster?
    pub(super) is_remembered: bool,
}

/// A chosen host on its way.
pub(super) struct Member {
    /// The host.
    pub(super) host: Host,
    /// What was done on it.
    pub(super) account: Account,
    /// None: it was not reached.
    pub(super) station: Option<Station>,
    /// What was there of an earlier run.
    pub(super) found: Found,
    /// May its server start a ring?
    pub(super) bootstrap: bool,
}

impl Member {
    /// The host, as long as nothing failed.
    pub(super) fn station(&self) -> Option<&Station> {
        self.station.as_ref().filter(|_| !self.account.has_failed())
    }

    /// Was it started, or found running?
    fn is_started(&self) -> bool {
        self.account.actions.iter().any(|action| action == STARTED || action == RUNS)
    }

    /// Can it start without another one?
    fn can_be_first(&self) -> bool {
        self.station().is_some() && (self.bootstrap || self.found.identity)
    }
}

pub(super) async fn start_all(site: &Site, mut members: Vec<Member>, goal: Goal) -> Vec<Member> {
    let board = site.board();
    let missing = match members.iter_mut().find(|member| member.can_be_first()) {
        Some(first) => {
            start(first, goal, &board.line(&first.host.name)).await;
            let founds = !first.found.identity && first.account.has_failed();
            founds.then(|| format!("{} was to start the ring and failed", first.host.name))
        }
        None => match Ring::of(site, &site.inventory.hosts).await {
            Ok(ring) if !ring.members().await.is_empty() => None,
            Ok(_) => {
                Some("there is no ring to join, and only the inventory's first host starts one".to_owned())
            }
            Err(failure) => Some(said(&failure)),
        },
    };
    if let Some(missing) = missing {
        // They would only wait in vain, each as long as it may.
        for member in members.iter_mut().filter(|member| member.station().is_some()) {
            member.account.failed(format!("not started: {missing}"));
        }
        return members;
    }
    let bisects = site.inventory.cluster.placement == Placement::Bisect;
    let is_placed = |member: &Member| !bisects || member.found.identity || member.host.id.is_some();
    let started = each(members, site.parallel(), async |mut member: Member| {
        if is_placed(&member) {
            let line = board.line(&member.host.name);
            start(&mut member, goal, &line).await;
        }
        member
    });
    let mut members = started.await;
    if members.iter().any(|member| !is_placed(member)) {
        start_new(site, &mut members, goal, is_placed).await;
    }
    members
}

/// One after another, and each when the ring knows the one before: several that asked for the widest arc at once, or
/// a node that does not know all arcs yet, would halve the same one again and again.
async fn start_new(site: &Site, members: &mut [Member], goal: Goal, is_placed: impl Fn(&Member) -> bool) {
    let board = site.board();
    let hosts: Vec<Host> = members
        .iter()
        .filter(|member| member.station().is_some())
        .map(|member| member.host.clone())
        .collect();
    let ring = Ring::of(site, &hosts).await.ok();
    let runs = |member: &Member| member.station().is_some() && member.is_started();
    for place in 0..members.len() {
        if is_placed(&members[place]) {
            continue;
        }
        let line = board.line(&members[place].host.name);
        let before: Vec<Address> = members
            .iter()
            .filter(|member| runs(member))
            .map(|member| Address::new(&member.host.ring_address()))
            .collect();
        if let Some(ring) = ring.as_ref().filter(|_| !before.is_empty() && !members[place].is_started()) {
            // Only for the evenness of the places: whether the ring is whole is judged at the end.
            let _ =
                ring.wait_until_all(&before, SETTLE_MAX.min(goal.limit), |missing| line.hint(missing)).await;
        }
        start(&mut members[place], goal, &line).await;
    }
}

async fn start(member: &mut Member, goal: Goal, line: &Line) {
    let Some(station) = member.station().cloned().filter(|_| !member.is_started()) else { return };
    line.hint("starting");
    let done = start_one(&station, goal.limit, &mut member.account).await;
    member.account.note(done);
}

/// Starts a server and says so; also what keeps a running one from being as deployed.
///
/// # Errors
/// When it does not become ready within `limit`.
pub(super) async fn start_one(
    station: &Station,
    limit: Duration,
    account: &mut Account,
) -> Result<(), HostFailure> {
    if !station.start(limit).await?.already_running {
        account.did(STARTED);
        return Ok(());
    }
    account.found(RUNS);
    if let Some(status) = station.status().await?
        && (status.needs_restart || status.runs_this_binary == Some(false))
    {
        account.found("runs what was there before: `chordata restart` makes it run what is there now");
    }
    Ok(())
}

/// Waits for the ring, notes everyone's place, and remembers the cluster.
pub(super) async fn finish(site: &Site, members: &mut [Member], goal: Goal) -> Outcome<Vec<String>> {
    let hosts: Vec<Host> = members
        .iter()
        .filter(|member| member.station().is_some())
        .map(|member| member.host.clone())
        .collect();
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let board = site.board();
    let line = board.line("ring");
    let ring = Ring::of(site, &hosts).await?;
    let view = ring.wait_until_whole(goal.limit, |missing| line.hint(missing)).await?;
    for member in members.iter_mut().filter(|member| member.station().is_some()) {
        if let Some(place) = place(&view, &member.host) {
            member.account.found(place);
        }
    }
    note_up(&site.inventory, &site.state)?;
    let mut remarks = vec![format!("the ring is whole: {}", count(view.members().len(), "member"))];
    let asked: Vec<Address> = hosts.iter().map(|host| Address::new(&host.ring_address())).collect();
    remarks.extend(ring::absent(&view, &asked).iter().map(|peer| {
        format!(
            "{} is a member as well, and does not answer: others serve its keys. If it will not come back: `chordata forget`",
            peer.address
        )
    }));
    Ok(remarks)
}

/// `number 3, id 4ccccccc…`.
fn place(view: &View, host: &Host) -> Option<String> {
    let address = Address::new(&host.ring_address());
    let status = view.nodes.iter().find(|status| status.me.address == address)?;
    let space = Space::new(status.settings.bits).unwrap_or_default();
    Some(format!("number {}, id {}", status.number?, short_id(status.me.id, space)))
}
