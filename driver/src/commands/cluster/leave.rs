//! `depart`, which leaves the ring in good order, and `destroy`, which leaves nothing.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use chordata_client::Failure as ClientFailure;
use chordata_protocol::Address;
use chordata_rpc::within;
use chordata_server::agent::report::NodeState;
use tokio::time::Instant;

use super::ring::Ring;
use super::run::stop_one;
use super::site::Site;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::hosts::failure::HostFailure;
use crate::hosts::parallel::Account;
use crate::hosts::station::Station;
use crate::hosts::upload::tidy;
use crate::report::count;
use crate::state::Last;

/// How often a departing server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long its process may take to end when it has left.
const END_MAX: Duration = Duration::from_secs(20);

/// `depart`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DepartArguments {
    /// The host, by its name in the inventory
    #[arg(value_name = "HOST")]
    name: String,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// How long handing the keys over may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
}

/// `destroy`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DestroyArguments {
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

impl DepartArguments {
    /// Has a node leave.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let inventory = context.target.find_inventory(context.output)?;
        let site = Site::of(context, inventory, std::slice::from_ref(&self.name), "depart")?;
        let limit = Duration::from_secs(self.timeout.into());
        if !self.dry_run {
            for host in &site.selected {
                let ring = Ring::of(&site, std::slice::from_ref(host)).await?;
                let address = Address::new(&host.ring_address());
                let client = ring.client().await?;
                let answer = client.pool().client(&address).depart(within(limit)).await;
                answer.map_err(ClientFailure::from_call)?.map_err(ClientFailure::from)?;
            }
        }
        let accounts = site.on_each(async |station, line, account| {
            if self.dry_run {
                account.did("would hand its keys over, leave the ring and stop");
                return Ok(());
            }
            account.did("departed");
            line.hint("waiting for its process to end");
            wait_for_end(station).await?;
            // Where it did not, and where systemd would start it again.
            if station.stop().await?.is_some_and(|report| !report.already_stopped) {
                account.did("stopped");
            }
            Ok(())
        });
        let mut recap = site.recap(self.dry_run, accounts.await);
        recap.remarks.push(format!(
            "{} is still in the inventory: the next `up` or `join` brings it into the ring again",
            self.name
        ));
        site.conclude(recap)
    }
}

async fn wait_for_end(station: &Station) -> Result<(), HostFailure> {
    let deadline = Instant::now() + END_MAX;
    while Instant::now() < deadline {
        match station.status().await? {
            Some(status) if matches!(status.state, NodeState::Running | NodeState::Paused) => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Some(_) | None => break,
        }
    }
    Ok(())
}

impl DestroyArguments {
    /// Erases the chosen nodes; the driver forgets the cluster when it was all of it.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let site = Site::find(context, "destroy")?;
        if !self.dry_run && !context.yes {
            ask(&site)?;
        }
        let accounts = site.on_each(async |station, line, account| {
            line.hint("erasing");
            erase(station, self.dry_run, account).await
        });
        let accounts = accounts.await;
        let is_gone =
            !self.dry_run && site.is_everything() && accounts.iter().all(|account| !account.has_failed());
        if is_gone {
            site.state.forget(&Last::Inventory(std::path::absolute(&site.inventory.path)?))?;
            site.state.forget_cluster(&site.inventory.name)?;
        }
        site.conclude(site.recap(self.dry_run, accounts))
    }
}

/// Erases all chosen nodes without asking and without a word: for clusters that were brought up for a while.
///
/// # Errors
/// When a host has failed: what was wrong.
pub(crate) async fn raze(site: &Site) -> Outcome {
    let accounts = site.on_each(async |station, line, account| {
        line.hint("erasing");
        erase(station, false, account).await
    });
    site.recap(false, accounts.await).judge()?;
    site.state.forget_cluster(&site.inventory.name)
}

/// No, unless somebody says yes.
fn ask(site: &Site) -> Outcome {
    let name = &site.inventory.name;
    if site.output.json || !std::io::stdin().is_terminal() {
        return Err(Failure::input(format!(
            "this erases {} of the cluster {name} with all their data, and nobody can be asked: say --yes",
            count(site.selected.len(), "server")
        )));
    }
    eprintln!("This stops and erases, with all data:");
    for host in &site.selected {
        eprintln!(
            "  {}  {}/nodes/{name}-{}, and the program if no other server is there",
            host.name, host.install_dir, host.name
        );
    }
    if site.is_everything() {
        eprintln!("and the cluster's id and secret here.");
    }
    eprint!("Erase {} of {name}? [y/N] ", count(site.selected.len(), "server"));
    let mut answer = String::new();
    std::io::stderr().flush()?;
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was erased")),
    }
}

async fn erase(station: &Station, dry_run: bool, account: &mut Account) -> Result<(), HostFailure> {
    if !station.exists(&station.program).await? {
        if station.exists(&station.node).await? {
            return Err(HostFailure::Failed(format!(
                "{} is there, but not the program that could erase it: `chordata deploy` brings it back",
                station.node
            )));
        }
        if !dry_run {
            tidy(station).await;
        }
        account.found("nothing is there");
        return Ok(());
    }
    stop_one(station, dry_run, account).await?;
    if dry_run {
        account.did(format!("would erase {}", station.node));
        return Ok(());
    }
    let report = station.erase().await?;
    match report.removed.is_empty() {
        true => account.found("nothing is there"),
        false => account.did(format!("erased {}", report.removed.join(" "))),
    }
    // Other nodes of one installation are no surprise: each has its own line, or its own cluster.
    let nodes = format!("{}/nodes/", station.install);
    let own = format!("{}/", station.node);
    let is_told = |path: &&str| !path.starts_with(&nodes) || path.starts_with(&own);
    let left: Vec<&str> = report.left.iter().map(String::as_str).filter(is_told).collect();
    if !left.is_empty() {
        account.found(format!("left what is not ours: {}", left.join(" ")));
    }
    Ok(())
}
