//! Does every host reach every other one's port, before any server runs?
//!
//! Each listens where its server will, and tells whoever connects a number used once; then each connects to all
//! others at their ring addresses. A wrong number is another machine at that address. A port that a server holds
//! already tells none, and is merely reachable.

use std::collections::BTreeMap;

use chordata_server::agent::report::{PortState, ReachState, ReachedTarget};

use super::check::{Check, Verdict};
use crate::hosts::parallel::each;
use crate::hosts::station::Station;

/// What a host is known by to those that connect to it.
struct Listening {
    host: String,
    /// None: a server holds the port.
    nonce: Option<String>,
}

/// Checks every pair of hosts; one check a host, of its way to all others.
pub(crate) async fn check(stations: &[&Station], at_once: usize) -> Vec<Check> {
    if stations.len() < 2 {
        return Vec::new();
    }
    let listening =
        each(stations.to_vec(), at_once, async |station: &Station| (station, station.listen().await));
    let (mut targets, mut held, mut checks) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (station, listening) in listening.await {
        let host = station.host.name.clone();
        match listening {
            Ok((report, background)) => {
                let is_ours = report.ports.iter().any(|port| port.state == PortState::Free);
                let nonce = is_ours.then_some(report.nonce);
                targets.insert(station.host.ring_address(), Listening { host, nonce });
                held.push(background);
            }
            Err(failure) => {
                let remedy = format!("it cannot listen for the others: {failure}");
                checks.push(Check::bad(&host, "pairs", Verdict::Failed, "not reachable", remedy));
            }
        }
    }
    let reaching = each(stations.to_vec(), at_once, async |station: &Station| {
        let own = station.host.ring_address();
        let others: Vec<String> = targets.keys().filter(|address| **address != own).cloned().collect();
        let name = &station.host.name;
        if others.is_empty() {
            return Check::ok(name, "pairs", "there is no other to reach");
        }
        match station.reach(&others).await {
            Ok(report) => judge(name, &report.targets, &targets),
            Err(failure) => Check::bad(name, "pairs", Verdict::Failed, "see below", failure.to_string()),
        }
    });
    checks.extend(reaching.await);
    drop(held);
    checks
}

fn judge(name: &str, reached: &[ReachedTarget], targets: &BTreeMap<String, Listening>) -> Check {
    let wrong: Vec<String> = reached
        .iter()
        .filter_map(|target| {
            let listening = targets.get(&target.target)?;
            let what = match target.state {
                ReachState::Reachable if listening.nonce.is_none() || listening.nonce == target.nonce => {
                    return None;
                }
                ReachState::Reachable => "another machine answers there",
                ReachState::Refused => "refused",
                ReachState::Timeout => "no answer",
                ReachState::Unreachable => "no way there",
                ReachState::Unresolvable => "the name is not known there",
            };
            Some(format!("{} at {}: {what}", listening.host, target.target))
        })
        .collect();
    if wrong.is_empty() {
        let slowest = reached.iter().map(|target| target.microseconds).max().unwrap_or(0);
        let slowest = crate::report::duration(std::time::Duration::from_micros(slowest));
        return Check::ok(name, "pairs", format!("reaches the {} others within {slowest}", reached.len()));
    }
    let detail = format!("does not reach {}", wrong.join(", "));
    let remedy = "open the listen_port (TCP) between the hosts in their firewalls, and check each `address`";
    Check::bad(name, "pairs", Verdict::Failed, detail, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(state: ReachState, nonce: Option<&str>) -> ReachedTarget {
        let nonce = nonce.map(str::to_owned);
        ReachedTarget { target: "b:1".into(), state, microseconds: 5, nonce, reason: None }
    }

    fn listening(nonce: Option<&str>) -> BTreeMap<String, Listening> {
        let nonce = nonce.map(str::to_owned);
        BTreeMap::from([("b:1".to_owned(), Listening { host: "b".into(), nonce })])
    }

    #[test]
    fn only_the_right_machine_counts_as_reached() {
        let state = |target: ReachedTarget, nonce| {
            let check = serde_json::to_value(judge("a", &[target], &listening(nonce))).expect("JSON");
            check["state"].clone()
        };
        assert_eq!(state(target(ReachState::Reachable, Some("x")), Some("x")), "ok");
        assert_eq!(state(target(ReachState::Reachable, Some("y")), Some("x")), "failed");
        assert_eq!(state(target(ReachState::Reachable, None), None), "ok");
        assert_eq!(state(target(ReachState::Timeout, None), Some("x")), "failed");
    }
}
