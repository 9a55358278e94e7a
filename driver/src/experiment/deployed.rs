//! A cluster on an inventory's hosts that is there only for an experiment.
//!
//! It has a name of its own, the inventory's with `-experiment` behind it, and so its own directories, id and secret:
//! what the inventory's own cluster has stored stays untouched. The two want the same ports: the other one must not run.

use futures::future::try_join_all;

use super::stage::Wish;
use crate::commands::cluster::{self, Site};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::hosts::station::Station;
use crate::inventory::{CopyOptions, Host, Inventory};
use crate::local::Start;
use chordata_protocol::Consistency;
use chordata_server::settings::ConsistencySetting;

/// A cluster that was brought up for an experiment.
pub(super) struct Deployed {
    context: Context,
    inventory: Inventory,
}

impl Deployed {
    /// Brings it up: what an interrupted experiment has left is erased before.
    ///
    /// # Errors
    /// When a host fails; nothing is left of it then.
    pub(super) async fn raise(context: &Context, start: Start, wish: Wish) -> Outcome<Deployed> {
        let mut inventory = context.target.find_inventory(context.output)?;
        let is_here = inventory.hosts.iter().all(Host::is_local);
        if wish.http && !is_here && (!wish.on_hosts || wish.mixed) {
            return Err(Failure::input(
                "servers on other hosts answer HTTP there only, without a token: let the hosts send (--on-hosts), inserts \
                 and queries but no mixed requests, or leave --http out",
            ));
        }
        inventory.name = format!("{}-experiment", inventory.name.chars().take(50).collect::<String>());
        inventory.cluster.copies = match start.consistency {
            ConsistencySetting::Single => None,
            ConsistencySetting::Chain => Some(Consistency::Chain),
            ConsistencySetting::Eventual => Some(Consistency::Eventual),
        }
        .map(|consistency| CopyOptions {
            consistency,
            replication: start.replication,
            durability: start.durability.into(),
        });
        for host in inventory.hosts.iter_mut().filter(|_| wish.http) {
            // Who asks is on the same host; several hosts may be one machine.
            host.settings.insert("http".to_owned(), toml::Value::String("127.0.0.1:0".to_owned()));
        }
        let context = Context { hosts: Vec::new(), labels: Vec::new(), ..context.clone() };
        let deployed = Deployed { context, inventory };
        deployed.destroy().await?;
        let site = deployed.site("experiment")?;
        if let Err(failure) = cluster::raise(&site).await {
            deployed.destroy().await?;
            return Err(failure);
        }
        Ok(deployed)
    }

    pub(super) fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Leaves nothing of it.
    ///
    /// # Errors
    /// When a host fails: the next experiment there erases it.
    pub(super) async fn erase(self) -> Outcome {
        self.destroy().await
    }

    async fn destroy(&self) -> Outcome {
        cluster::raze(&self.site("experiment")?).await
    }

    fn site(&self, command: &'static str) -> Outcome<Site> {
        Site::of(&self.context, self.inventory.clone(), &[], command)
    }
}

/// All hosts of an inventory, reached, and with the program.
///
/// # Errors
/// When one cannot be reached.
pub(super) async fn stations(context: &Context, inventory: &Inventory) -> Outcome<Vec<Station>> {
    let context = Context { labels: Vec::new(), ..context.clone() };
    let site = Site::of(&context, inventory.clone(), &[], "experiment")?;
    let site = &site;
    let opened = site.selected.iter().map(|host| async move {
        let opened = site.open(host).await;
        opened.map_err(|failure| Failure::Unreachable(format!("{}: {failure}", host.name)))
    });
    try_join_all(opened).await
}
