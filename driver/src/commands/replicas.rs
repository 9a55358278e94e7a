//! `lookup KEY --replicas`: what each replica of a key has, and whether they agree.

use std::time::Duration;

use chordata_client::look::Replicas;
use chordata_client::{Client, Failure as ClientFailure};
use chordata_protocol::chain::Epoch;
use chordata_protocol::{Address, Consistency, Id, Key, Moment, Version};
use chordata_rpc::service::{Held, KeyCopy};
use serde::Serialize;

use crate::commands::chains::role_name;
use crate::failure::{Failure, Outcome};
use crate::report::{Report, table};

/// How often replicas that differ are asked again, as a write may be on its way; and the pause between.
const LOOKS: (u32, Duration) = (6, Duration::from_millis(200));

/// The replicas of a key.
#[derive(Debug, Serialize)]
pub(crate) struct ReplicaTable {
    key: String,
    id: Id,
    consistency: Option<Consistency>,
    epoch: Option<Epoch>,
    replicas: Vec<Row>,
    /// Do the serving replicas that answer and are clean have the same?
    agree: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    address: Address,
    role: &'static str,
    /// None: it does not answer, or is in no chain.
    epoch: Option<Epoch>,
    /// None: there is nothing, or it is not known.
    version: Option<Version>,
    hash: Option<String>,
    bytes: Option<u64>,
    /// When it ends by itself; none: never, or it is not known.
    expires: Option<Moment>,
    /// `clean`, `dirty`, `absent`, `damaged`, or why it is not known.
    state: String,
}

impl Row {
    /// `named`: what it is said to do.
    fn new(address: Address, named: &'static str, copy: &Result<KeyCopy, ClientFailure>) -> Row {
        let is_chained = matches!(named, "serving" | "syncing");
        let mut row = Row {
            address,
            role: named,
            epoch: None,
            version: None,
            hash: None,
            bytes: None,
            expires: None,
            state: String::new(),
        };
        let copy = match copy {
            Ok(copy) => copy,
            Err(failure) => {
                row.state = format!("no answer: {failure}");
                return row;
            }
        };
        match &copy.replica {
            Some(replica) => {
                row.role = role_name(replica.role);
                row.epoch = Some(replica.epoch);
            }
            None if is_chained => row.role = "none",
            None => {}
        }
        let state = match copy.held {
            Held::Nothing if copy.dirty => "absent, dirty",
            Held::Nothing => "absent",
            Held::Value { .. } if copy.dirty => "dirty",
            Held::Value { .. } => "clean",
            Held::Damaged => "damaged",
        };
        row.state = state.to_owned();
        if let Held::Value { version, hash, bytes, expires } = copy.held {
            row.version = Some(version);
            row.hash = Some(hash.to_string());
            row.bytes = Some(bytes);
            row.expires = expires;
        }
        row
    }
}

/// In how long a value ends, to the second.
fn ends(expires: Option<Moment>, now: Moment) -> String {
    expires.map_or(String::new(), |expires| {
        let left = expires.since(now).as_millis().div_ceil(1000);
        if left == 0 { ", ends now".to_owned() } else { format!(", ends in {left} s") }
    })
}

/// Do the clean copies of those that serve agree?
fn agree(replicas: &Replicas) -> bool {
    let clean = replicas.replicas.iter().filter_map(|(_, serving, copy)| {
        let copy = copy.as_ref().ok()?;
        (*serving && !copy.dirty).then_some(copy.held)
    });
    let clean: Vec<Held> = clean.collect();
    clean.windows(2).all(|pair| pair[0] == pair[1]) && !clean.contains(&Held::Damaged)
}

impl ReplicaTable {
    /// Asks them.
    ///
    /// # Errors
    /// When none of them answers.
    pub(crate) async fn of(client: &Client, key: &Key, shown: String) -> Outcome<ReplicaTable> {
        let mut replicas = client.replicas_of(key).await?;
        for _ in 1..LOOKS.0 {
            if agree(&replicas) {
                break;
            }
            tokio::time::sleep(LOOKS.1).await;
            replicas = client.replicas_of(key).await?;
        }
        if replicas.replicas.iter().all(|(_, _, copy)| copy.is_err()) {
            let reason = replicas.replicas.into_iter().find_map(|(peer, _, copy)| {
                copy.err().map(|failure| format!("{} does not answer: {failure}", peer.address))
            });
            return Err(Failure::Unreachable(reason.unwrap_or_else(|| "the key has no replicas".to_owned())));
        }
        let agree = agree(&replicas);
        let rows = replicas.replicas.iter().enumerate().map(|(place, (peer, serving, copy))| {
            let named = match (replicas.consistency, serving) {
                (Some(Consistency::Chain), true) => "serving",
                (Some(Consistency::Chain), false) => "syncing",
                (Some(Consistency::Eventual), _) if place > 0 => "replica",
                (Some(Consistency::Eventual) | None, _) => "owner",
            };
            Row::new(peer.address.clone(), named, copy)
        });
        let (consistency, epoch, id) = (replicas.consistency, replicas.epoch, key.id(client.space()));
        Ok(ReplicaTable { key: shown, id, consistency, epoch, replicas: rows.collect(), agree })
    }

    /// Do they agree?
    pub(crate) fn agrees(&self) -> bool {
        self.agree
    }
}

impl Report for ReplicaTable {
    fn text(&self) -> String {
        let now = chordata_client::now();
        let rows = self.replicas.iter().map(|row| {
            vec![
                row.address.to_string(),
                row.role.to_owned(),
                row.epoch.map_or("-".to_owned(), |epoch| epoch.to_string()),
                row.version.map_or("-".to_owned(), |version| version.to_string()),
                row.hash.as_ref().map_or("-".to_owned(), |hash| hash[..8].to_owned()),
                row.bytes.map_or("-".to_owned(), |bytes| bytes.to_string()),
                row.state.clone() + &ends(row.expires, now),
            ]
        });
        let head = format!("{} has id {}\n", self.key, self.id.to_literal());
        let rows = table(&["replica", "role", "epoch", "version", "hash", "bytes", "copy"], rows);
        let end = match (self.consistency, self.agree) {
            (None, _) => "this cluster keeps one copy of each key: there are no replicas to compare\n",
            (Some(Consistency::Chain), true) => "the serving replicas that answer agree\n",
            (Some(Consistency::Chain), false) => "THE SERVING REPLICAS DISAGREE\n",
            (Some(Consistency::Eventual), true) => "the replicas that answer agree\n",
            (Some(Consistency::Eventual), false) => {
                "THE REPLICAS DISAGREE: they become equal in time, look again after half a minute\n"
            }
        };
        head + &rows + end
    }
}
