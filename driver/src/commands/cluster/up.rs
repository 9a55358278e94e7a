//! `deploy`, `up` and `join`: from any state of a host to a server that serves.
//!
//! 1. Every chosen host is reached, and looked at for what an earlier run left.
//! 2. The program and the configuration go there, where they differ.
//! 3. One server starts first, so that the others have somebody to join: the first host's, if it can. Then those that
//!    have their places already, together; then the new ones.
//! 4. The ring is waited for.
//!
//! A host that fails is left out from there on, and listed at the end; the others are done.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::plan::{Found, Plan, founds, was_up};
use super::site::Site;
use super::starting::{Goal, Member, finish, start_all};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::hosts::failure::HostFailure;
use crate::hosts::parallel::{Account, Line, Recap, each};
use crate::hosts::station::Station;
use crate::hosts::upload::{Programs, Uploaded, megabytes};
use crate::inventory::Host;
use crate::state::Last;

/// What `up` takes where no inventory is named.
const STANDARD_INVENTORY: &str = "inventory/local.toml";

/// How long a server, and then the ring, may take for an experiment.
const RAISE_MAX: Duration = Duration::from_secs(60);

/// How servers come to hosts.
#[derive(Clone, Debug, Default, clap::Args)]
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
        bring(&site, &self.deploy, Some(Goal { limit: self.limit(), may_found: true, is_remembered: true }))
            .await
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
        bring(
            &site,
            &self.up.deploy,
            Some(Goal { limit: self.up.limit(), may_found: false, is_remembered: true }),
        )
        .await
    }
}

/// Brings all chosen hosts up for somebody who needs them for a while: nothing is said, and no later command means this
/// cluster.
///
/// # Errors
/// When a host or the whole has failed: what was wrong.
pub(crate) async fn raise(site: &Site) -> Outcome {
    let goal = Goal { limit: RAISE_MAX, may_found: true, is_remembered: false };
    Box::pin(work(site, &DeployOptions::default(), Some(goal))).await?.judge()
}

async fn bring(site: &Site, options: &DeployOptions, goal: Option<Goal>) -> Outcome {
    site.conclude(Box::pin(work(site, options, goal)).await?)
}

async fn work(site: &Site, options: &DeployOptions, goal: Option<Goal>) -> Outcome<Recap> {
    let programs = Programs::new(options.binary.as_deref(), &site.inventory.cluster)?;
    if let Some(remark) = programs.remark() {
        site.output.remark(&remark);
    }
    let plan = Plan::new(&site.inventory, &site.state, &site.target)?;
    let board = site.board();
    let members = each(site.selected.clone(), site.parallel(), async |host| {
        let line = board.line(&host.name);
        reach(site, host, &line).await
    });
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
        if goal.is_remembered {
            // Also if it fails: `down` and `destroy` are then for this cluster.
            site.state.remember(&Last::Inventory(std::path::absolute(&site.inventory.path)?))?;
        }
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
    Ok(recap)
}

async fn reach(site: &Site, host: Host, line: &Line) -> Member {
    line.hint("connecting");
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
    let bootstrap = founds(first, &others, was_up(&site.inventory, &site.state)?)?;
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

/// A failure's sentence, to go on with it instead of ending the command.
pub(super) fn said(failure: &Failure) -> String {
    match failure {
        Failure::Failed(text)
        | Failure::NotFound(text)
        | Failure::Unreachable(text)
        | Failure::Unknown(text) => text.clone(),
        Failure::Input(report) => report.to_string(),
        Failure::Said | Failure::Told(_) => "it failed".to_owned(),
    }
}
