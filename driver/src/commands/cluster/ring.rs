//! Waiting until the ring is whole: every server that was started is a member, and each has the right neighbours.

use std::time::Duration;

use chordata_client::look::View;
use chordata_client::{Client, Config};
use chordata_protocol::{Address, Peer};
use tokio::time::Instant;

use super::site::Site;
use crate::failure::{Failure, Outcome};
use crate::hosts::forward::Forwards;
use crate::inventory::Host;
use crate::target;

/// How often the ring is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Problems that a message lists.
const LISTED_MAX: usize = 10;

/// A way to talk to the servers of some hosts.
pub(crate) struct Ring {
    addresses: Vec<Address>,
    config: Config,
    /// Tunnels, as long as this is there.
    _forwards: Option<Forwards>,
}

impl Ring {
    /// To the servers of these hosts.
    ///
    /// # Errors
    /// When the cluster's id or secret cannot be read.
    pub(crate) async fn of(site: &Site, hosts: &[Host]) -> Outcome<Ring> {
        let mut inventory = site.inventory.clone();
        inventory.hosts = hosts.to_vec();
        let mut config = Config {
            credentials: target::credentials(&site.inventory, site.target.secret_file.as_deref())?,
            ..Config::default()
        };
        let forwards = Forwards::open(&inventory).await?;
        if let Some(forwards) = &forwards {
            config.net = forwards.net();
        }
        Ok(Ring { addresses: target::addresses(&inventory), config, _forwards: forwards })
    }

    /// A client that begins at the first of them that answers.
    ///
    /// # Errors
    /// When none does.
    pub(crate) async fn client(&self) -> Outcome<Client> {
        self.begin(&self.addresses).await
    }

    async fn begin(&self, addresses: &[Address]) -> Outcome<Client> {
        Ok(Client::connect(addresses, self.config.clone()).await?)
    }

    /// The addresses of all members of the ring that answer; nothing if there is no ring.
    pub(crate) async fn members(&self) -> Vec<Address> {
        let Ok(client) = self.client().await else { return Vec::new() };
        let view = client.view_from(self.addresses.clone()).await;
        view.members().into_iter().map(|status| status.me.address.clone()).collect()
    }

    /// Waits until all of them are members of one whole ring. `say` is told what is missing.
    ///
    /// # Errors
    /// When that is not so within `limit`: what is missing.
    pub(crate) async fn wait_until_whole(&self, limit: Duration, say: impl Fn(&str)) -> Outcome<View> {
        self.wait_until_all(&self.addresses, limit, say).await
    }

    /// The same for these addresses.
    ///
    /// # Errors
    /// When that is not so within `limit`: what is missing.
    pub(crate) async fn wait_until_all(
        &self,
        addresses: &[Address],
        limit: Duration,
        say: impl Fn(&str),
    ) -> Outcome<View> {
        let deadline = Instant::now() + limit;
        loop {
            let problems = match self.begin(addresses).await {
                Ok(client) => {
                    let view = client.view_from(addresses.to_vec()).await;
                    // One that is no member yet is missed by nobody but us.
                    let strangers = view.silent.iter().filter(|(address, _)| !view.belongs(address));
                    let mut problems = view.problems();
                    let absent = absent(&view, addresses);
                    problems.retain(|problem| !absent.iter().any(|peer| is_of_absent(problem, peer)));
                    problems.extend(
                        strangers.map(|(address, failure)| format!("{address} does not answer: {failure}")),
                    );
                    if problems.is_empty() && !view.members().is_empty() {
                        return Ok(view);
                    }
                    problems
                }
                Err(Failure::Unreachable(reason)) => vec![reason],
                Err(other) => return Err(other),
            };
            if Instant::now() >= deadline {
                return Err(Failure::failed(sentence(limit, &problems)));
            }
            say(problems.first().map_or("waiting for the ring", String::as_str));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Members of chains that do not answer, and that nobody waits for: their host failed, or is not of this inventory.
pub(super) fn absent(view: &View, addresses: &[Address]) -> Vec<Peer> {
    let members = view.chains().map(|chains| chains.members.values()).into_iter().flatten();
    let answers = |peer: &Peer| view.nodes.iter().any(|status| status.me.address == peer.address);
    members
        .map(|member| &member.peer)
        .filter(|peer| !addresses.contains(&peer.address) && !answers(peer))
        .cloned()
        .collect()
}

fn is_of_absent(problem: &str, peer: &Peer) -> bool {
    problem == format!("{peer} is a member, but does not answer")
        || problem.starts_with(&format!("{} does not answer", peer.address))
}

fn sentence(limit: Duration, problems: &[String]) -> String {
    let shown: String = problems.iter().take(LISTED_MAX).map(|problem| format!("\n  - {problem}")).collect();
    let more = match problems.len().saturating_sub(LISTED_MAX) {
        0 => String::new(),
        more => format!("\n  - and {more} more"),
    };
    format!("the ring is not whole after {} s:{shown}{more}", limit.as_secs_f64())
}
