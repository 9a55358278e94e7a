//! The methods of `rpc` that a server's process answers, in a ring or not: `standing`, `enter`, `leave`, `release`.

use std::time::Duration;

use chordata_client::Failure as ClientFailure;
use chordata_protocol::{Address, Consistency, Durability, Lease, Replication, Space};
use chordata_rpc::service::{ClusterId, ClusterSettings};
use chordata_rpc::standby::JoinWish;
use chordata_rpc::within;
use chordata_server::settings::with_port;
use serde_json::Value as Json;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::target::Processes;

/// How long one may take: the longest is a departure.
const WITHIN: Duration = Duration::from_secs(60);
/// Entries of successor lists in a ring that is founded so.
const SUCCESSORS: u8 = 4;

/// Calls one of these methods. None: the method is another one.
///
/// # Errors
/// When the arguments do not fit the method, or what the server answered.
pub(crate) async fn call(
    method: &str,
    arguments: &[&str],
    usage: &str,
    context: &Context,
) -> Outcome<Option<Json>> {
    if !["standing", "enter", "leave", "release"].contains(&method) {
        return Ok(None);
    }
    let bad_usage = || Failure::input(format!("usage: chordata rpc {method} {usage}"));
    let mut named = None;
    let wish = match (method, arguments) {
        ("enter", arguments) => Some(wish(arguments)?.ok_or_else(bad_usage)?),
        ("release", [cluster]) => {
            named = Some(cluster.parse::<ClusterId>().map_err(Failure::input)?);
            None
        }
        (_, []) => None,
        (_, _) => return Err(bad_usage()),
    };
    let target = context.target.find(context.output)?;
    let processes = Processes::open(&target, context.target.secret_file.as_deref()).await?;
    let [address] = &processes.addresses[..] else {
        return Err(Failure::input(format!("{method} is for one server: name it with --node HOST:PORT")));
    };
    let stub = processes.pool.standby(address);
    let limit = within(WITHIN);
    let answer = match (method, wish) {
        ("enter", Some(wish)) => stub.enter(limit, wish).await.map(|entered| entered.map(|me| to_json(&me))),
        ("leave", _) => stub.leave(limit).await.map(|left| left.map(|()| Ok(Json::Null))),
        ("release", _) => {
            // The one that it is in as of now, and no other that it may be put into meanwhile.
            let cluster = match named {
                Some(cluster) => Some(cluster),
                None => stub.standing(limit).await.map_err(ClientFailure::from_call)?.belongs_to,
            };
            stub.release(limit, cluster).await.map(|released| released.map(|()| Ok(Json::Null)))
        }
        _ => stub.standing(limit).await.map(|standing| Ok(to_json(&standing))),
    };
    let answer = answer.map_err(ClientFailure::from_call)?.map_err(ClientFailure::from)?;
    answer.map(Some)
}

fn to_json(value: &impl serde::Serialize) -> Outcome<Json> {
    serde_json::to_value(value).map_err(Failure::failed)
}

/// None: that is no way to say it.
fn wish(arguments: &[&str]) -> Outcome<Option<JoinWish>> {
    Ok(Some(match arguments {
        [] => JoinWish::AsSet,
        ["join", contacts @ ..] if !contacts.is_empty() => {
            let contacts: Result<Vec<Address>, _> = contacts.iter().map(|text| with_port(text)).collect();
            JoinWish::Join { contacts: contacts.map_err(Failure::input)?, cluster: None, placement: None }
        }
        ["found", how @ ..] => {
            let Some(replication) = replication(how)? else { return Ok(None) };
            let settings = ClusterSettings {
                cluster: random_cluster()?,
                bits: Space::BITS_MAX,
                successors: SUCCESSORS,
                replication,
                lease: Lease::default(),
            };
            JoinWish::Found { settings, id: None }
        }
        _ => return Ok(None),
    }))
}

/// How a new ring keeps its data: in single copies (none within), or in so many. None: that is no way to say it.
fn replication(how: &[&str]) -> Outcome<Option<Option<Replication>>> {
    let mut kept = Replication { durability: Durability::Memory, ..Replication::default() };
    let (consistency, rest) = match how {
        [] => return Ok(Some(Some(kept))),
        [consistency, rest @ ..] => (*consistency, rest),
    };
    kept.consistency = match consistency {
        "single" => return Ok(rest.is_empty().then_some(None)),
        "chain" => Consistency::Chain,
        "eventual" => Consistency::Eventual,
        _ => return Ok(None),
    };
    let (factor, durability) = match rest {
        [] => (None, None),
        [factor] => (Some(factor), None),
        [factor, durability] => (Some(factor), Some(durability)),
        _ => return Ok(None),
    };
    if let Some(factor) = factor {
        let number = factor.parse().ok().filter(|factor| (1..=16).contains(factor));
        kept.factor =
            number.ok_or_else(|| Failure::input(format!("{factor:?}: there are 1 to 16 copies of a key")))?;
    }
    if let Some(durability) = durability {
        kept.durability = durability.parse().map_err(Failure::input)?;
    }
    Ok(Some(Some(kept)))
}

fn random_cluster() -> Outcome<ClusterId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Failure::failed)?;
    Ok(ClusterId(bytes))
}
