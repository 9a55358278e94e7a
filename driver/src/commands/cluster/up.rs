//! `deploy`, `up` and `join`: from any state of a host to a server that serves.
//!
//! 1. Every chosen host is reached, and looked at for what an earlier run left.
//! 2. The program and the configuration go there, where they differ.
//! 3. One server starts first, so that the others have somebody to join: the first host's, if it can. Then the others.
//! 4. The ring is waited for.
//!
//! A host that fails is left out from there on, and listed at the end; the others are done.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chordata_client::look::View;
use chordata_protocol::{Address, Space};

use super::plan::{Found, Plan, founds};
use super::ring::Ring;
use super::site::Site;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::hosts::failure::HostFailure;
use crate::hosts::parallel::{Account, Line, each};
use crate::hosts::station::Station;
use crate::hosts::upload::{Programs, Uploaded, megabytes};
use crate::inventory::Host;
use crate::report::short_id;
use crate::state::Last;

/// What `up` takes where no inventory is named.
const STANDARD_INVENTORY: &str = "inventory/local.toml";
/// In the cluster's directory: it was up once.
const WAS_UP: &str = "founded";

/// How servers come to hosts.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeployOptions {
    /// The server to upload [default: by the inventory, else chordata-server beside this program, else this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// `up`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    deploy: DeployOptions,
    /// How long a server may take to start, and then the ring to become whole, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
}

/// `deploy`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeployArguments {
    #[command(flatten)]
    deploy: DeployOptions,
}

/// `join`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct JoinArguments {
    /// The host, by its name in the inventory
    #[arg(value_name = "HOST")]
    name: String,
    #[command(flatten)]
    up: UpArguments,
}

impl UpArguments {
    /// Brings the chosen hosts up.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let mut context = context.clone();
        let target = &mut context.target;
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if target.inventory.is_none()
            && target.node.is_none()
            && !is_set("CHORDATA_INVENTORY")
            && !is_set("CHORDATA_NODE")
        {
            if !Path::new(STANDARD_INVENTORY).is_file() {
                return Err(Failure::input(format!(
                    "no inventory was named with -i, and there is no {STANDARD_INVENTORY} here: `chordata inventory \
                     template` prints one to begin with"
                )));
            }
            context.output.remark(&format!("cluster: inventory {STANDARD_INVENTORY} (the default of `up`)"));
            target.inventory = Some(PathBuf::from(STANDARD_INVENTORY));
        }
        let site = Site::find(&context, "up")?;
        bring(&site, &self.deploy, Some(Goal { limit: self.limit(), may_found: true })).await
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}

impl DeployArguments {
    /// Uploads and configures only.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        bring(&Site::find(context, "deploy")?, &self.deploy, None).await
    }
}

impl JoinArguments {
    /// Brings one host into a ring that is there.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let inventory = context.target.find_inventory(context.output)?;
        let site = Site::of(context, inventory, std::slice::from_ref(&self.name), "join")?;
        bring(&site, &self.up.deploy, Some(Goal { limit: self.up.limit(), may_found: false })).await
    }
}

/// Servers shall run, not only be deployed.
#[derive(Clone, Copy)]
struct Goal {
    limit: Duration,
    /// May a new ring come of it?
    may_found: bool,
}

/// A chosen host on its way.
struct Member {
    host: Host,
    account: Account,
    /// None: it was not reached.
    station: Option<Station>,
    found: Found,
    bootstrap: bool,
}

impl Member {
    /// The host, as long as nothing failed.
    fn station(&self) -> Option<&Station> {
        self.station.as_ref().filter(|_| !self.account.has_failed())
    }

    /// Can it start without another one?
    fn can_be_first(&self) -> bool {
        self.station().is_some() && (self.bootstrap || self.found.identity)
    }
}

async fn bring(site: &Site, options: &DeployOptions, goal: Option<Goal>) -> Outcome {
    let programs = Programs::new(options.binary.as_deref(), &site.inventory.cluster)?;
    let plan = Plan::new(&site.inventory, &site.state, &site.target)?;
    let board = site.board();
    let members =
        each(site.selected.clone(), site.parallel(), async |host| reach(site, host, &board.line("")).await);
    let mut members = members.await;
    decide_founder(site, &mut members, goal.is_none_or(|goal| goal.may_found)).await?;
    let members = each(members, site.parallel(), async |mut member: Member| {
        if let Some(station) = member.station().cloned() {
            let line = board.line(&member.host.name);
            let request = plan.request(&member.host, member.bootstrap);
            let done = match request {
                Ok(request) if options.dry_run => {
                    foresee(&station, &programs, &request, goal.is_some(), &mut member.account).await
                }
                Ok(request) => deploy(&station, &programs, &request, &line, &mut member.account).await,
                Err(failure) => Err(HostFailure::Failed(said(&failure))),
            };
            member.account.note(done);
        }
        member
    });
    let mut members = members.await;
    let mut remarks = Vec::new();
    let mut error = None;
    if let Some(goal) = goal.filter(|_| !options.dry_run) {
        members = start_all(site, members, goal).await;
        match finish(site, &mut members, goal).await {
            Ok(words) => remarks = words,
            Err(failure) => error = Some(said(&failure)),
        }
    }
    drop(board);
    let accounts = members.into_iter().map(|member| member.account).collect();
    let mut recap = site.recap(options.dry_run, accounts);
    recap.remarks = remarks;
    recap.error = error;
    site.conclude(recap)
}

async fn reach(site: &Site, host: Host, line: &Line) -> Member {
    line.hint(&format!("connecting to {}", host.name));
    let mut account = Account::new(&host.name);
    let opened = async {
        let station = site.open(&host).await?;
        let found = Found::on(&station).await?;
        Ok((station, found))
    };
    let (station, found) = match account.note(opened.await) {
        Some((station, found)) => (Some(station), found),
        None => (None, Found::default()),
    };
    Member { host, account, station, found, bootstrap: false }
}

/// Only the first host of the inventory ever founds a ring: see [`founds`].
async fn decide_founder(site: &Site, members: &mut [Member], may_found: bool) -> Outcome {
    let Some(first_name) = site.inventory.hosts.first().map(|host| host.name.clone()) else { return Ok(()) };
    let is_first = |member: &Member| member.host.name == first_name && member.station().is_some();
    let Some(first) = members.iter().find(|member| is_first(member)).map(|member| member.found) else {
        return Ok(());
    };
    if !may_found && !first.identity {
        return Ok(());
    }
    let mut others = Vec::new();
    for member in members.iter().filter(|member| member.host.name != first_name) {
        others.push((member.host.name.clone(), member.station().map(|_| member.found)));
    }
    if !first.identity && !site.is_everything() {
        let chosen = |host: &Host| members.iter().any(|member| member.host.name == host.name);
        let rest: Vec<Host> = site.inventory.hosts.iter().filter(|host| !chosen(host)).cloned().collect();
        let rest = each(rest, site.parallel(), async |host: Host| {
            let found = async { Found::on(&site.open(&host).await?).await };
            (host.name.clone(), found.await.ok())
        });
        others.extend(rest.await);
    }
    let was_up = site.state.cluster_directory(&site.inventory.name)?.join(WAS_UP).exists();
    let bootstrap = founds(first, &others, was_up)?;
    for member in members.iter_mut().filter(|member| member.host.name == first_name) {
        member.bootstrap = bootstrap;
    }
    Ok(())
}

async fn deploy(
    station: &Station,
    programs: &Programs,
    request: &chordata_server::agent::report::ConfigureRequest,
    line: &Line,
    account: &mut Account,
) -> Result<(), HostFailure> {
    line.hint("comparing the program");
    match programs.install(station, |what| line.say(what)).await? {
        Uploaded::Sent(bytes) => account.did(format!("uploaded {}", megabytes(bytes))),
        Uploaded::Unchanged => account.found("program unchanged"),
    }
    line.hint("configuring");
    if station.configure(request, false).await?.changed {
        account.did("configured");
    } else {
        account.found("configuration unchanged");
    }
    Ok(())
}

/// What `deploy` and `start` would do.
async fn foresee(
    station: &Station,
    programs: &Programs,
    request: &chordata_server::agent::report::ConfigureRequest,
    starts: bool,
    account: &mut Account,
) -> Result<(), HostFailure> {
    let is_current = programs.is_current(station).await?;
    if is_current {
        account.found("program unchanged");
        // Only a program that is there can compare its configuration.
        match station.configure(request, true).await?.changed {
            true => account.did("would configure"),
            false => account.found("configuration unchanged"),
        }
    } else {
        account.did("would upload the program and configure");
    }
    let status = station.status().await?;
    let runs = status.is_some_and(|status| status.pid.is_some());
    match (starts, runs) {
        (true, false) => account.did("would start"),
        (true, true) => account.found("already running"),
        (false, _) => {}
    }
    Ok(())
}

async fn start_all(site: &Site, mut members: Vec<Member>, goal: Goal) -> Vec<Member> {
    let board = site.board();
    if let Some(first) = members.iter_mut().find(|member| member.can_be_first()) {
        start(first, goal, &board.line(&first.host.name)).await;
    }
    each(members, site.parallel(), async |mut member: Member| {
        let line = board.line(&member.host.name);
        start(&mut member, goal, &line).await;
        member
    })
    .await
}

async fn start(member: &mut Member, goal: Goal, line: &Line) {
    let is_done = member.account.actions.iter().any(|action| action == STARTED || action == RUNS);
    let Some(station) = member.station().cloned().filter(|_| !is_done) else { return };
    line.say("starting");
    let done = start_one(&station, goal.limit, &mut member.account).await;
    member.account.note(done);
}

const STARTED: &str = "started";
const RUNS: &str = "already running";

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
async fn finish(site: &Site, members: &mut [Member], goal: Goal) -> Outcome<Vec<String>> {
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
    let path = std::path::absolute(&site.inventory.path)?;
    site.state.remember(&Last::Inventory(path))?;
    std::fs::write(site.state.cluster_directory(&site.inventory.name)?.join(WAS_UP), "")?;
    Ok(vec![format!("the ring is whole: {}", crate::report::count(view.members().len(), "member"))])
}

/// `number 3, id 4ccccccc…`.
fn place(view: &View, host: &Host) -> Option<String> {
    let address = Address::new(&host.ring_address());
    let status = view.nodes.iter().find(|status| status.me.address == address)?;
    let space = Space::new(status.settings.bits).unwrap_or_default();
    Some(format!("number {}, id {}", status.number?, short_id(status.me.id, space)))
}

/// A failure's sentence, to go on with it instead of ending the command.
pub(super) fn said(failure: &Failure) -> String {
    match failure {
        Failure::Failed(text)
        | Failure::NotFound(text)
        | Failure::Unreachable(text)
        | Failure::Unknown(text) => text.clone(),
        Failure::Input(report) => report.to_string(),
        Failure::Said => "it failed".to_owned(),
    }
}
