//! What a node's configuration says, and which host founds the ring.
//!
//! A configuration is a function of the inventory and the cluster's id alone, so that a second run writes the same
//! bytes; but for one word. `bootstrap` lets the first host found a ring although it has others to join. A first host
//! that lost its data must not: it would make a second ring beside the one that still runs. So it founds only when no
//! other host has ever been in a ring, and once it has been in one itself the word stays as it is.

use std::path::{Path, PathBuf};

use chordata_protocol::{Consistency, Durability, Placement};
use chordata_rpc::service::ClusterId;
use chordata_server::Settings;
use chordata_server::agent::report::ConfigureRequest;
use chordata_server::settings::{ConsistencySetting, DurabilitySetting, PlacementSetting};

use crate::failure::{Failure, Outcome};
use crate::hosts::failure::HostFailure;
use crate::hosts::station::Station;
use crate::inventory::{Host, Inventory};
use crate::state::State;
use crate::target::{TargetArguments, needs_secret};

/// Other hosts that a server is told to join by.
const JOIN_MAX: usize = 5;
/// In the cluster's directory here: it was up once.
const WAS_UP: &str = "founded";
/// The node's data, in its directory.
const DATA: &str = "data";

/// What is found on a host of an earlier run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Found {
    /// Has the node been in a ring?
    pub(crate) identity: bool,
    /// What its configuration says of founding one.
    pub(crate) bootstrap: Option<bool>,
}

impl Found {
    /// Looks.
    ///
    /// # Errors
    /// When the host was lost.
    pub(crate) async fn on(station: &Station) -> Result<Found, HostFailure> {
        let identity = station.exists(&format!("{}/{DATA}/identity.toml", station.node)).await?;
        let config = station.run("cat", &["--", &format!("{}/server.toml", station.node)]).await?;
        let config: Option<Settings> = toml::from_str(&config.text()).ok();
        Ok(Found { identity, bootstrap: config.and_then(|config| config.bootstrap) })
    }
}

/// May the first host found the ring? `others`: what is found on them, none for those that cannot be reached.
///
/// # Errors
/// When it cannot be known: the cluster was up before, and who remembers it cannot be reached.
pub(crate) fn founds(first: Found, others: &[(String, Option<Found>)], was_up: bool) -> Outcome<bool> {
    if first.identity {
        return Ok(first.bootstrap.unwrap_or(true));
    }
    if others.iter().any(|(_, found)| found.is_some_and(|found| found.identity)) {
        return Ok(false);
    }
    let silent: Vec<&str> =
        others.iter().filter(|(_, found)| found.is_none()).map(|(name, _)| name.as_str()).collect();
    if was_up && !silent.is_empty() {
        return Err(Failure::failed(format!(
            "the first host has lost its data, and {} cannot be asked whether the ring still runs there: a second ring \
             could come of it. Bring one of them back, or remove them from the inventory, or `chordata destroy`",
            silent.join(", ")
        )));
    }
    Ok(true)
}

/// Was the cluster up before, as far as this driver knows?
///
/// # Errors
/// When the cluster's directory cannot be made.
pub(crate) fn was_up(inventory: &Inventory, state: &State) -> Outcome<bool> {
    Ok(state.cluster_directory(&inventory.name)?.join(WAS_UP).exists())
}

/// Notes that it is.
///
/// # Errors
/// When the note cannot be written.
pub(crate) fn note_up(inventory: &Inventory, state: &State) -> Outcome {
    Ok(std::fs::write(state.cluster_directory(&inventory.name)?.join(WAS_UP), "")?)
}

/// What all configurations of a cluster share.
pub(crate) struct Plan<'a> {
    inventory: &'a Inventory,
    cluster: ClusterId,
    secret: Option<String>,
}

impl<'a> Plan<'a> {
    /// Makes the cluster's id and secret, if it has none yet.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub(crate) fn new(
        inventory: &'a Inventory,
        state: &State,
        target: &TargetArguments,
    ) -> Outcome<Plan<'a>> {
        let file = target.secret_file.as_deref().or(inventory.cluster.secret_file.as_deref());
        let secret = match file {
            Some(path) => Some(read_secret(path)?),
            None if needs_secret(inventory) => Some(state.cluster_secret_text(&inventory.name)?),
            None => None,
        };
        let plan = Plan { inventory, cluster: state.cluster_id(&inventory.name)?, secret };
        for host in &inventory.hosts {
            plan.check(host)?;
        }
        Ok(plan)
    }

    /// What the agent on a host is to write.
    ///
    /// # Errors
    /// When the host's `settings` are not a server's.
    pub(crate) fn request(&self, host: &Host, bootstrap: bool) -> Outcome<ConfigureRequest> {
        let settings = toml::to_string(&self.settings(host, bootstrap)?).map_err(Failure::failed)?;
        let name = &self.inventory.name;
        let config = format!(
            "# Written by `chordata` for the cluster {name}: the next `up` or `deploy` writes it anew.\n{settings}"
        );
        Ok(ConfigureRequest { config, secret: self.secret.clone() })
    }

    fn settings(&self, host: &Host, bootstrap: bool) -> Outcome<Settings> {
        let own: toml::Table = host.settings.clone().into_iter().collect();
        let own: Settings =
            own.try_into().map_err(|error: toml::de::Error| self.wrong(host, &error.message()))?;
        let cluster = &self.inventory.cluster;
        let is_first = self.inventory.hosts.first().is_some_and(|first| first.name == host.name);
        let others = self.inventory.hosts.iter().filter(|other| other.name != host.name);
        Ok(Settings {
            listen: Some(host.listen_address()),
            port: None,
            advertise: Some(host.ring_address()),
            join: others.map(Host::ring_address).take(JOIN_MAX).collect(),
            // Said in so many words where it is decided, so that the next run finds it.
            bootstrap: is_first.then_some(bootstrap),
            id: host.id.map(|id| id.to_literal()),
            placement: Some(match cluster.placement {
                Placement::Hash => PlacementSetting::Hash,
                Placement::Bisect | Placement::Fixed(_) => PlacementSetting::Bisect,
            }),
            name: Some(host.name.clone()),
            data: Some(PathBuf::from(DATA)),
            cluster: Some(self.cluster.to_string()),
            secret_file: self.secret.as_ref().map(|_| PathBuf::from("secret")),
            insecure: cluster.insecure.then_some(true),
            bits: Some(cluster.space.bits()),
            successors: Some(cluster.successors),
            // Said in so many words: what a server does without it may be another thing in another version.
            consistency: Some(match cluster.copies.map(|copies| copies.consistency) {
                None => ConsistencySetting::Single,
                Some(Consistency::Chain) => ConsistencySetting::Chain,
                Some(Consistency::Eventual) => ConsistencySetting::Eventual,
            }),
            replication: cluster.copies.map(|copies| copies.replication),
            durability: cluster.copies.map(|copies| match copies.durability {
                Durability::Memory => DurabilitySetting::Memory,
                Durability::Interval => DurabilitySetting::Interval,
                Durability::Sync => DurabilitySetting::Sync,
            }),
            ..own
        })
    }

    /// Would the server take it? Asked before any host is touched.
    fn check(&self, host: &Host) -> Outcome {
        // The secret is a file on the host, which is not there yet: without it, the trust must be said.
        let settings = Settings { secret_file: None, insecure: Some(true), ..self.settings(host, false)? };
        settings.resolve().map(drop).map_err(|error| self.wrong(host, &error))
    }

    fn wrong(&self, host: &Host, reason: &dyn std::fmt::Display) -> Failure {
        let (path, line) = (self.inventory.path.display(), host.line);
        Failure::input(format!("{path}:{line}: the settings of {}: {reason}", host.name))
    }
}

fn read_secret(path: &Path) -> Outcome<String> {
    let path = crate::inventory::expand_home(path)?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::input(format!("the secret file {}: {error}", path.display())))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Found = Found { identity: false, bootstrap: None };
    const OLD: Found = Found { identity: true, bootstrap: None };

    fn others(found: &[Option<Found>]) -> Vec<(String, Option<Found>)> {
        found.iter().enumerate().map(|(number, found)| (format!("h{}", number + 2), *found)).collect()
    }

    #[test]
    fn a_ring_is_founded_once() {
        assert!(founds(NEW, &others(&[Some(NEW), None]), false).expect("nobody was in a ring"));
        assert!(!founds(NEW, &others(&[Some(OLD), None]), true).expect("h2 was"));
        assert!(founds(OLD, &others(&[None]), true).expect("it stays as it was"));
        let rejoined = Found { identity: true, bootstrap: Some(false) };
        assert!(!founds(rejoined, &others(&[Some(OLD)]), true).expect("it stays as it was"));
    }

    #[test]
    fn a_wiped_first_host_that_cannot_ask_makes_no_second_ring() {
        let refused = founds(NEW, &others(&[Some(NEW), None]), true).expect_err("h3 may be in a ring");
        assert!(matches!(refused, Failure::Failed(text) if text.contains("h3")));
        assert!(founds(NEW, &others(&[Some(NEW)]), true).expect("all were asked: all are new"));
    }

    fn plan(inventory: &Inventory) -> Plan<'_> {
        Plan { inventory, cluster: ClusterId([7; 16]), secret: Some("s".repeat(20)) }
    }

    #[test]
    fn a_configuration_is_one_that_the_server_reads_and_the_same_each_time() {
        let text = "[cluster]\nbits = 8\n[defaults]\nsettings = { log = \"debug\" }\n[[host]]\nname = \"a\"\nid = \"7\"\n\
                    address = \"10.0.0.1\"\n[[host]]\nname = \"b\"\naddress = \"10.0.0.2\"\n";
        let inventory = Inventory::parse(text, "/nowhere/x.toml").expect("sound");
        let request = plan(&inventory).request(&inventory.hosts[0], true).expect("a configuration");
        assert_eq!(request, plan(&inventory).request(&inventory.hosts[0], true).expect("again"));
        let settings: Settings = toml::from_str(&request.config).expect("a server's configuration");
        assert_eq!(settings.listen.as_deref(), Some("0.0.0.0:18861"));
        assert_eq!(settings.join, ["10.0.0.2:18861"]);
        assert_eq!(
            (settings.bootstrap, settings.bits, settings.id.as_deref()),
            (Some(true), Some(8), Some("0x7"))
        );
        assert_eq!(settings.log.as_deref(), Some("debug"));
    }

    #[test]
    fn how_data_is_kept_is_carried_to_every_server_and_deployed_ones_sync() {
        let hosts = "[[host]]\nname = \"a\"\n[[host]]\nname = \"b\"\n";
        let settings = |cluster: &str| {
            let text = format!("[cluster]\n{cluster}{hosts}");
            let inventory = Inventory::parse(&text, "/nowhere/x.toml").expect("sound");
            let plan = plan(&inventory);
            let of = |host| plan.settings(&inventory.hosts[host], false).expect("sound");
            let kept = |settings: Settings| (settings.consistency, settings.replication, settings.durability);
            let (first, second) = (kept(of(0)), kept(of(1)));
            assert_eq!(first, second, "it is the same for all");
            first
        };
        let [single, chain, eventual] =
            [ConsistencySetting::Single, ConsistencySetting::Chain, ConsistencySetting::Eventual].map(Some);
        let usual = (Some(3), Some(DurabilitySetting::Sync));
        assert_eq!(settings(""), (chain, usual.0, usual.1));
        assert_eq!(settings("consistency = \"single\"\n"), (single, None, None));
        assert_eq!(settings("consistency = \"chain\"\n"), (chain, usual.0, usual.1));
        assert_eq!(settings("consistency = \"eventual\"\n"), (eventual, usual.0, usual.1));
        let other = "consistency = \"chain\"\nreplication = 2\ndurability = \"memory\"\n";
        assert_eq!(settings(other), (chain, Some(2), Some(DurabilitySetting::Memory)));
    }

    #[test]
    fn settings_that_no_server_has_are_refused_with_their_host() {
        let text = "[[host]]\nname = \"a\"\nsettings = { finger_ms = 0 }\n";
        let inventory = Inventory::parse(text, "/nowhere/x.toml").expect("sound");
        let refused = plan(&inventory).check(&inventory.hosts[0]).expect_err("0 ms is no time");
        let Failure::Input(report) = refused else { panic!("{refused:?}") };
        assert!(report.to_string().contains("x.toml:2: the settings of a: finger_ms"), "{report}");
    }
}
