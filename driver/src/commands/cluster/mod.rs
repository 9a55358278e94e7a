//! Commands on the hosts of an inventory.
//!
//! ```text
//! site       the inventory, the chosen hosts, how to reach them; every command starts here
//! plan       what a node's configuration says, and which host founds the ring
//! ring       waiting until the ring is whole
//! up         deploy, up, join: from any state of a host to a server that serves
//! starting   which server starts when
//! run        start, stop (down), restart, kill, pause, resume
//! leave      depart and destroy
//! check      tests before anything is done; pairs, of every pair of hosts
//! watch      logs and exec: what hosts say, line by line
//! ```
//!
//! Every command that changes something takes `--dry-run`, can be repeated, and goes on with the other hosts when one
//! fails.

mod audit;
mod check;
mod leave;
mod pairs;
mod plan;
mod ring;
mod run;
mod site;
mod starting;
mod up;
mod watch;

pub(crate) use leave::raze;
pub(crate) use site::Site;
pub(crate) use up::raise;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::inventory::TEMPLATE;

/// Commands on hosts.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum ClusterCommand {
    /// Deploy, start, and wait until the ring is whole; joins hosts new in the inventory
    Up(up::UpArguments),
    /// Stop all servers; they keep their places and identities
    Down(run::StopArguments),
    /// Stop all servers and erase everything of theirs
    Destroy(leave::DestroyArguments),
    /// Test hosts before anything is done to them
    Check(check::CheckArguments),
    /// Upload the program and the configuration
    Deploy(up::DeployArguments),
    /// Start servers
    Start(run::StartArguments),
    /// Stop servers
    Stop(run::StopArguments),
    /// Restart servers one by one, each when the ring is whole again
    Restart(run::RestartArguments),
    /// Logs of all hosts, merged
    Logs(watch::LogsArguments),
    /// Run a command on all hosts
    Exec(watch::ExecArguments),
    /// Add a host of the inventory to the ring
    Join(up::JoinArguments),
    /// Have a node hand its keys over and leave the ring
    Depart(leave::DepartArguments),
    /// End a server at once, as a crash would
    Kill(run::SignalArguments),
    /// Freeze a server
    Pause(run::SignalArguments),
    /// Let a frozen server go on
    Resume(run::SignalArguments),
    /// Print a commented inventory
    Inventory {
        /// What to print
        #[command(subcommand)]
        command: InventoryCommand,
    },
}

/// About inventories.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum InventoryCommand {
    /// Print a commented inventory to begin with
    Template,
}

impl ClusterCommand {
    /// Does it, unless it is interrupted.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        // Dropped when interrupted: local programs and SSH connections end with it.
        let work = Box::pin(self.work(context));
        tokio::select! {
            outcome = work => outcome,
            () = interrupted() => Err(Failure::failed(
                "interrupted: what was begun on hosts may be incomplete, and the same command completes it",
            )),
        }
    }

    async fn work(self, context: &Context) -> Outcome {
        match self {
            ClusterCommand::Up(arguments) => arguments.run(context).await,
            ClusterCommand::Down(arguments) => arguments.run(context, "down").await,
            ClusterCommand::Destroy(arguments) => arguments.run(context).await,
            ClusterCommand::Check(arguments) => arguments.run(context).await,
            ClusterCommand::Deploy(arguments) => arguments.run(context).await,
            ClusterCommand::Start(arguments) => arguments.run(context).await,
            ClusterCommand::Stop(arguments) => arguments.run(context, "stop").await,
            ClusterCommand::Restart(arguments) => arguments.run(context).await,
            ClusterCommand::Logs(arguments) => arguments.run(context).await,
            ClusterCommand::Exec(arguments) => arguments.run(context).await,
            ClusterCommand::Join(arguments) => arguments.run(context).await,
            ClusterCommand::Depart(arguments) => arguments.run(context).await,
            ClusterCommand::Kill(arguments) => arguments.run(context, run::Sent::Kill).await,
            ClusterCommand::Pause(arguments) => arguments.run(context, run::Sent::Pause).await,
            ClusterCommand::Resume(arguments) => arguments.run(context, run::Sent::Resume).await,
            ClusterCommand::Inventory { command: InventoryCommand::Template } => {
                context.output.raw(TEMPLATE.as_bytes());
                Ok(())
            }
        }
    }
}

/// Ends on Ctrl-C or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process as ever.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
