//! `peer`: commands for a manager, each answered SUCCESS or FAILURE.

use std::fmt::Write;
use std::time::Duration;

use chordata_protocol::Address;
use chordata_rpc::manager::{Asked, Command, PeerLine, PeerRecords, Progress, Report as Answer};
use chordata_rpc::{CallFailure, Credentials, ManagerStub, within};
use chordata_server::settings::with_port;
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{count, table};
use crate::target::{pool, read_secret};

/// How long one call may take; a command takes as many as it needs.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// Calls in a row that may fail before a command is given up.
const FAILED_MAX: usize = 5;
const PAUSE: Duration = Duration::from_millis(300);
/// What to do when nobody knows.
const LOOK: &str = "`chordata peer list` shows how things are";

/// `peer`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
The first line of every answer is SUCCESS, or FAILURE and the reason.
Exit codes: 0 SUCCESS, 1 FAILURE, 2 bad usage, 4 the manager does not answer, 5 it was started again meanwhile.")]
pub(crate) struct PeerArguments {
    /// The manager
    #[arg(
        long,
        env = "CHORDATA_MANAGER",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:18850",
        global = true
    )]
    manager: String,
    #[command(subcommand)]
    command: PeerCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum PeerCommand {
    /// Make a server on standby a peer (servers started with --manager do that themselves)
    Register {
        /// A name that no other peer has
        name: String,
        /// Its machine: a host name or an IP address
        address: String,
        /// Port at which the manager talks to it
        manager_port: u16,
        /// Port at which peers talk to it: a chordata server has one port for both
        peer_port: u16,
    },
    /// Forget a peer; only a Free one
    Deregister {
        /// Its name
        name: String,
    },
    /// Build a ring of N peers and load the storm events of a year
    SetupDht {
        /// The peer that leads and loads; the others are chosen at random among the Free
        name: String,
        /// Peers in the ring, at least 3
        n: u32,
        /// Which year: details-YYYY.csv in the leader's directory of tables (--dht-data)
        year: u16,
    },
    /// Look a storm event up, from peer to peer
    QueryDht {
        /// Who asks: a Free peer
        name: String,
        /// EVENT_ID; without it, one of those loaded
        event_id: Option<String>,
    },
    /// Have a peer leave the ring, its records going to the others; never below 3 peers
    LeaveDht {
        /// Its name
        name: String,
    },
    /// Have a Free peer join the ring
    JoinDht {
        /// Its name
        name: String,
    },
    /// Take the ring down: all peers are Free again, all records gone
    TeardownDht {
        /// The peer that leads
        name: String,
    },
    /// Show all peers and what they are
    List,
}

impl PeerCommand {
    fn command(&self) -> Command {
        match self.clone() {
            PeerCommand::Register { name, address, manager_port, peer_port } => Command::Register {
                name,
                host: address.trim_start_matches('[').trim_end_matches(']').to_owned(),
                manager_port,
                peer_port,
                by_itself: false,
            },
            PeerCommand::Deregister { name } => Command::Deregister { name },
            PeerCommand::SetupDht { name, n, year } => Command::SetupDht { name, size: n, year },
            PeerCommand::QueryDht { name, event_id } => Command::QueryDht { name, event: event_id },
            PeerCommand::LeaveDht { name } => Command::LeaveDht { name },
            PeerCommand::JoinDht { name } => Command::JoinDht { name },
            PeerCommand::TeardownDht { name } => Command::TeardownDht { name },
            PeerCommand::List => Command::List,
        }
    }
}

/// How a command ended.
enum Ended {
    Success(Answer),
    Failure(String),
    Unreachable(String),
    Unknown(String),
}

impl PeerArguments {
    /// Gives the manager a command and shows what came of it.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        if !self.manager.contains(':') {
            return Err(Failure::input(format!("--manager {}: write HOST:PORT", self.manager)));
        }
        let manager = with_port(&self.manager).map_err(Failure::input)?;
        let secret = read_secret(context.target.secret_file.as_deref())?;
        let stub = pool(Credentials::new(None, secret)).manager(&manager);
        let (reason, code) = match carry_out(&stub, &manager, self.command.command()).await {
            Ended::Success(answer) => {
                if context.output.json {
                    context.output.json(&json!({ "outcome": "success", "report": Facts(&answer) }));
                } else {
                    context.output.raw(format!("SUCCESS\n{}", text(&answer)).as_bytes());
                }
                return Ok(());
            }
            Ended::Failure(reason) => (reason, 1),
            Ended::Unreachable(reason) => (reason, 4),
            Ended::Unknown(reason) => (reason, 5),
        };
        if context.output.json {
            context.output.json(&json!({ "outcome": "failure", "reason": reason }));
        } else {
            context.output.raw(format!("FAILURE: {reason}\n").as_bytes());
        }
        Err(Failure::Told(code))
    }
}

async fn carry_out(stub: &ManagerStub, manager: &Address, command: Command) -> Ended {
    let ordered = stub.order(within(CALL_WITHIN), command).await.map_err(CallFailure::from);
    let number = match ordered {
        Ok(Ok(number)) => number,
        Ok(Err(refused)) => return Ended::Failure(refused.to_string()),
        Err(failure) if failure.is_certain() => {
            return Ended::Unreachable(format!("no manager at {manager}: {failure}"));
        }
        Err(failure) => return Ended::Unknown(failure.to_string()),
    };
    let mut failed = 0;
    loop {
        match stub.outcome(within(CALL_WITHIN), number).await.map_err(CallFailure::from) {
            Ok(Progress::Working) => failed = 0,
            Ok(Progress::Done(Ok(answer))) => return Ended::Success(answer),
            Ok(Progress::Done(Err(refused))) => return Ended::Failure(refused.to_string()),
            Ok(Progress::Unknown) => {
                return Ended::Unknown(format!("the manager was started again meanwhile: {LOOK}"));
            }
            Err(failure) => {
                failed += 1;
                if failed == FAILED_MAX {
                    return Ended::Unknown(format!(
                        "the manager does not answer any more ({failure}): {LOOK}"
                    ));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// An answer for programs: its fields, with those of a storm event as an object.
struct Facts<'a>(&'a Answer);

impl Serialize for Facts<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Answer::Found { event, fields, path } => {
                let fields: serde_json::Map<String, serde_json::Value> =
                    fields.iter().map(|(name, field)| (name.clone(), field.clone().into())).collect();
                json!({ "event": event, "fields": fields, "path": path }).serialize(serializer)
            }
            Answer::Registered(peer) => peer.serialize(serializer),
            Answer::Deregistered { name } | Answer::Joined { name } => {
                json!({ "name": name }).serialize(serializer)
            }
            Answer::SetUp { year, records, peers } => {
                json!({ "year": year, "records": records, "peers": peers }).serialize(serializer)
            }
            Answer::Left { name, leader } => json!({ "name": name, "leader": leader }).serialize(serializer),
            Answer::TornDown { released, silent } => {
                json!({ "released": released, "silent": silent }).serialize(serializer)
            }
            Answer::Peers { year, working, peers } => {
                json!({ "year": year, "working": working, "peers": peers }).serialize(serializer)
            }
        }
    }
}

/// What is below the first line.
fn text(answer: &Answer) -> String {
    match answer {
        Answer::Registered(peer) => {
            format!("{} is registered at {}:{}\n", peer.name, peer.host, peer.manager_port)
        }
        Answer::Deregistered { name } => format!("{name} is no peer any more\n"),
        Answer::SetUp { year, records, peers } => {
            format!(
                "{} of {year} on {}\n{}",
                count_of(*records, "storm event"),
                count(peers.len(), "peer"),
                shares(peers)
            )
        }
        Answer::Found { event, fields, path } => {
            let rows = fields.iter().map(|(name, field)| vec![name.clone(), field.clone()]);
            format!("storm event {event}\n{}path: {}\n", table(&["field", "value"], rows), way(path))
        }
        Answer::Left { name, leader } => format!("{name} is Free; {leader} leads the DHT\n"),
        Answer::Joined { name } => format!("{name} is in the DHT\n"),
        Answer::TornDown { released, silent } => {
            let mut text = format!("{} Free, and their records gone\n", count(released.len(), "peer"));
            if !silent.is_empty() {
                let _ = writeln!(
                    text,
                    "not reached: {}; what they have is erased when they answer",
                    silent.join(", ")
                );
            }
            text
        }
        Answer::Peers { year, working, peers } => {
            let mut text = match year {
                Some(year) => format!("the DHT holds {year}\n"),
                None => "no DHT is set up\n".to_owned(),
            };
            if let Some(working) = working {
                let _ = writeln!(text, "at work: {working}");
            }
            if !peers.is_empty() {
                text += &table(&["name", "state", "address", "m-port", "p-port", ""], peers.iter().map(line));
            }
            text
        }
    }
}

fn count_of(number: u64, thing: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), thing)
}

fn line(peer: &PeerLine) -> Vec<String> {
    let remark = if peer.to_be_released { "does not answer: to be released" } else { "" };
    vec![
        peer.name.clone(),
        peer.state.to_string(),
        peer.host.clone(),
        peer.manager_port.to_string(),
        peer.peer_port.to_string(),
        remark.to_owned(),
    ]
}

fn shares(peers: &[PeerRecords]) -> String {
    let rows = peers.iter().map(|peer| {
        vec![peer.name.clone(), peer.state.to_string(), peer.records.to_string(), peer.copies.to_string()]
    });
    table(&["name", "state", "records", "with copies"], rows)
}

fn way(path: &[Asked]) -> String {
    path.iter().map(|asked| asked.name.as_str()).collect::<Vec<_>>().join(" -> ")
}
