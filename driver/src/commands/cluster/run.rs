//! `start`, `stop` and `down`, `restart`, `kill`, `pause` and `resume`: servers that are deployed.

use std::time::Duration;

use chordata_protocol::Address;

use super::plan::{Found, was_up};
use super::ring::Ring;
use super::site::Site;
use super::starting::start_one;
use super::up::said;
use crate::context::Context;
use crate::failure::Outcome;
use crate::hosts::failure::HostFailure;
use crate::hosts::parallel::Account;
use crate::hosts::station::{Signal, Station};

/// `start`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StartArguments {
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// How long a server may take until it answers, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
}

/// `stop` and `down`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StopArguments {
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// `restart`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RestartArguments {
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// How long a server may take until it answers, and then the ring until it is whole again, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
}

/// `kill`, `pause` and `resume`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SignalArguments {
    /// The hosts, by their names in the inventory
    #[arg(value_name = "HOST", required = true)]
    names: Vec<String>,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What a server is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sent {
    /// The end.
    Kill,
    /// Wait.
    Pause,
    /// Go on.
    Resume,
}

/// Is the server of a node running, or held? None where nothing is deployed.
async fn runs(station: &Station) -> Result<Option<bool>, HostFailure> {
    Ok(station.status().await?.map(|status| status.pid.is_some()))
}

const NOT_DEPLOYED: &str = "not deployed";

impl StartArguments {
    /// Starts the chosen servers.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let site = Site::find(context, "start")?;
        let limit = Duration::from_secs(self.timeout.into());
        let was_up = was_up(&site.inventory, &site.state)?;
        let accounts = site.on_each(async |station, line, account| {
            if self.dry_run {
                match runs(station).await? {
                    Some(true) => account.found("already running"),
                    Some(false) => account.did("would start"),
                    None => account.failed("not deployed: `chordata deploy` comes first"),
                }
                return Ok(());
            }
            line.hint("starting");
            let found = Found::on(station).await?;
            if was_up && !found.identity && found.bootstrap == Some(true) {
                return Err(HostFailure::Failed(
                    "its data is gone: started as it is, it would make a second ring; `chordata up` lets it join"
                        .to_owned(),
                ));
            }
            start_one(station, limit, account).await
        });
        site.conclude(site.recap(self.dry_run, accounts.await))
    }
}

impl StopArguments {
    /// Stops the chosen servers.
    pub(crate) async fn run(self, context: &Context, command: &'static str) -> Outcome {
        let site = Site::find(context, command)?;
        let accounts = site.on_each(async |station, line, account| {
            line.hint("stopping");
            stop_one(station, self.dry_run, account).await
        });
        site.conclude(site.recap(self.dry_run, accounts.await))
    }
}

/// Stops a server and says so.
///
/// # Errors
/// When it does not end.
pub(super) async fn stop_one(
    station: &Station,
    dry_run: bool,
    account: &mut Account,
) -> Result<(), HostFailure> {
    if dry_run {
        match runs(station).await? {
            Some(true) => account.did("would stop"),
            Some(false) => account.found("already stopped"),
            None => account.found(NOT_DEPLOYED),
        }
        return Ok(());
    }
    match station.stop().await? {
        Some(report) if report.already_stopped => account.found("already stopped"),
        Some(_) => account.did("stopped"),
        None => account.found(NOT_DEPLOYED),
    }
    Ok(())
}

impl RestartArguments {
    /// Restarts the chosen servers, one after another; the rest is left alone when one does not come back.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let site = Site::find(context, "restart")?;
        let limit = Duration::from_secs(self.timeout.into());
        let board = site.board();
        let ring = Ring::of(&site, &site.inventory.hosts).await?;
        // Who is there before must be there after each; a host that was dead before does not count.
        let mut members = ring.members().await;
        let mut accounts: Vec<Account> = site.selected.iter().map(|host| Account::new(&host.name)).collect();
        let mut error = None;
        for (host, account) in site.selected.iter().zip(&mut accounts) {
            let line = board.line(&host.name);
            if self.dry_run {
                account.did("would stop, start, and wait until the ring is whole");
                continue;
            }
            line.say("restarting");
            let restarted = async {
                let station = site.open(host).await?;
                stop_one(&station, false, account).await?;
                start_one(&station, limit, account).await
            };
            let restarted = restarted.await;
            if account.note(restarted).is_none() {
                // One down is what the ring can bear; a second one is not for us to try.
                error = Some(format!(
                    "{} did not come back: the hosts after it were left as they are",
                    host.name
                ));
                break;
            }
            line.say("waiting until the ring is whole");
            let address = Address::new(&host.ring_address());
            if !members.contains(&address) {
                members.push(address);
            }
            if let Err(failure) = ring.wait_until_all(&members, limit, |missing| line.hint(missing)).await {
                error = Some(format!("after {}: {}", host.name, said(&failure)));
                break;
            }
            account.found("the ring is whole");
        }
        drop(board);
        let mut recap = site.recap(self.dry_run, accounts);
        recap.error = error;
        site.conclude(recap)
    }
}

impl SignalArguments {
    /// Sends it to the named hosts' servers.
    pub(crate) async fn run(self, context: &Context, sent: Sent) -> Outcome {
        let (command, signal, done, before) = match sent {
            Sent::Kill => ("kill", Signal::Kill, "killed", "not running"),
            Sent::Pause => ("pause", Signal::Stop, "paused", "already paused"),
            Sent::Resume => ("resume", Signal::Continue, "resumed", "not paused"),
        };
        let inventory = context.target.find_inventory(context.output)?;
        let site = Site::of(context, inventory, &self.names, command)?;
        let accounts = site.on_each(async |station, _, account| {
            if self.dry_run {
                match runs(station).await? {
                    Some(true) => account.did(format!("would be {done}")),
                    Some(false) => account.found("not running"),
                    None => account.found(NOT_DEPLOYED),
                }
                return Ok(());
            }
            match station.signal(signal).await?.changed {
                true => account.did(done),
                false => account.found(before),
            }
            Ok(())
        });
        site.conclude(site.recap(self.dry_run, accounts.await))
    }
}
