//! Where a command works: the inventory, the chosen hosts, and how to reach them.

use std::sync::Arc;

use super::audit;
use crate::context::Context;
use crate::failure::Outcome;
use crate::hosts::connect::Sessions;
use crate::hosts::failure::HostFailure;
use crate::hosts::parallel::{Account, Board, Line, Recap, each};
use crate::hosts::station::Station;
use crate::inventory::{Host, Inventory};
use crate::report::Output;
use crate::state::State;
use crate::target::TargetArguments;

/// Where a command works.
pub(crate) struct Site {
    /// The whole inventory.
    pub(crate) inventory: Inventory,
    /// The hosts that were chosen, in the inventory's order.
    pub(crate) selected: Vec<Host>,
    /// Where results go.
    pub(crate) output: Output,
    /// What the driver remembers.
    pub(crate) state: State,
    /// Which cluster was named, for its secret.
    pub(crate) target: TargetArguments,
    command: &'static str,
    holder: String,
    sessions: Arc<Sessions>,
}

impl Site {
    /// Finds the inventory that the context means, and the hosts of it.
    ///
    /// # Errors
    /// When it is wrong, or no host is chosen.
    pub(crate) fn find(context: &Context, command: &'static str) -> Outcome<Site> {
        let inventory = context.target.find_inventory(context.output)?;
        Site::of(context, inventory, &context.hosts, command)
    }

    /// Hosts of an inventory, by name.
    ///
    /// # Errors
    /// When no host is chosen.
    pub(crate) fn of(
        context: &Context,
        inventory: Inventory,
        hosts: &[String],
        command: &'static str,
    ) -> Outcome<Site> {
        let selected = inventory.select(hosts, &context.labels)?.into_iter().cloned().collect();
        let sessions = Arc::new(Sessions::of(&inventory)?);
        Ok(Site {
            selected,
            sessions,
            output: context.output,
            state: State::of_user()?,
            target: context.target.clone(),
            holder: format!("{}: chordata {command}", audit::user_at_machine()),
            command,
            inventory,
        })
    }

    /// Are these all hosts of the inventory?
    pub(crate) fn is_everything(&self) -> bool {
        self.selected.len() == self.inventory.hosts.len()
    }

    /// Hosts worked on at once.
    pub(crate) fn parallel(&self) -> usize {
        self.inventory.cluster.parallel
    }

    /// Lines for the chosen hosts.
    pub(crate) fn board(&self) -> Board {
        Board::new(self.output, self.inventory.hosts.iter().map(|host| host.name.as_str()))
    }

    /// Reaches a host.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub(crate) async fn open(&self, host: &Host) -> Result<Station, HostFailure> {
        Station::open(host, &self.inventory.name, &self.holder, &self.sessions).await
    }

    /// Reaches every chosen host and does the same work on each, some at once.
    pub(crate) async fn on_each(
        &self,
        work: impl AsyncFn(&Station, &Line, &mut Account) -> Result<(), HostFailure>,
    ) -> Vec<Account> {
        let board = self.board();
        each(self.selected.clone(), self.parallel(), async |host: Host| {
            let line = board.line(&host.name);
            let mut account = Account::new(&host.name);
            line.hint("connecting");
            let done = match self.open(&host).await {
                Ok(station) => work(&station, &line, &mut account).await,
                Err(failure) => Err(failure),
            };
            account.note(done);
            account
        })
        .await
    }

    /// A recap of this command.
    pub(crate) fn recap(&self, dry_run: bool, accounts: Vec<Account>) -> Recap {
        Recap::new(self.command, dry_run, accounts)
    }

    /// Shows what came of a changing command, and notes it.
    ///
    /// # Errors
    /// When a host or the whole has failed.
    pub(crate) fn conclude(&self, recap: Recap) -> Outcome {
        if !recap.dry_run {
            audit::note(&self.state, self.command, &self.inventory.name, &recap.counts());
        }
        recap.conclude(self.output)
    }
}
