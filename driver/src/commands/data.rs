//! `put`, `get`, `delete`, `keys`.

use std::io::{IsTerminal, Read};

use chordata_client::listing::{Place, Wanted};
use chordata_client::{Client, PutOptions, Routing};
use chordata_protocol::procedure::lookup::Hop;
use chordata_protocol::{
    Address, Consistency, Key, Moment, Outcome as KeyOutcome, Policy, Space, Ttl, Value, Version,
};
use chordata_rpc::service::{Answer, Level, ScanOptions, Trip};
use serde::Serialize;

use crate::commands::look::{hop_table, resolve_node};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::input::{render_key, render_value};
use crate::report::{self, Report};
use crate::target::Connection;

/// Keys asked for at once.
const PAGE: u32 = 1000;

/// How a request is routed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RouteArguments {
    /// Let this node route the request (a number, a host's name or HOST:PORT), instead of the driver itself
    #[arg(long, value_name = "NODE")]
    entry: Option<String>,
    /// How the owner is looked up: finger, one-hop, successor or random
    #[arg(long, default_value_t = Policy::Finger)]
    policy: Policy,
    /// Show every node that was asked on the way
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    acks: AcksArguments,
}

/// Of how many replicas an answer is waited for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AcksArguments {
    /// Eventual mode: a write is done when N replicas have stored it (default 1), a get asks N and answers the newest.
    /// Chains always wait for all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    acks: Option<u8>,
}

impl AcksArguments {
    /// A client that waits for so many; none: it was not said.
    ///
    /// # Errors
    /// When it was said of a cluster in another mode.
    pub(crate) fn apply(&self, client: &Client) -> Outcome<Option<Client>> {
        let Some(acks) = self.acks else { return Ok(None) };
        match client.consistency() {
            Some(Consistency::Eventual) => Ok(Some(client.with_acks(acks))),
            Some(Consistency::Chain) => Err(Failure::input(
                "--acks is for eventual mode: chains always store a write at every replica before it is done, and reads \
                 give what was written last",
            )),
            None => {
                Err(Failure::input("--acks is for eventual mode: this cluster keeps one copy of each key"))
            }
        }
    }
}

/// Eventual mode has no level at which a read gives what was written last.
///
/// # Errors
/// When that was asked for.
fn check_level(client: &Client, level: Option<Level>) -> Outcome {
    if level == Some(Level::Linearizable) && client.consistency() == Some(Consistency::Eventual) {
        return Err(Failure::input(
            "this cluster is in eventual mode: no read is known to give what was written last. Leave --level out; with \
             --acks N the newest of N replicas is read. Chains have linearizable reads",
        ));
    }
    Ok(())
}

/// How a request is routed, and how fresh what it reads must be.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReadArguments {
    #[command(flatten)]
    route: RouteArguments,
    /// linearizable: what was written last (the default; not in eventual mode). any: what any replica of the key has,
    /// which may be old, or a write that is still on its way; it is answered even where a majority of the cluster is gone
    #[arg(long)]
    level: Option<Level>,
}

/// How a request is routed; writes have one level.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WriteArguments {
    #[command(flatten)]
    route: RouteArguments,
    /// linearizable (not in eventual mode) or any: it makes no difference for writes
    #[arg(long)]
    level: Option<Level>,
}

impl RouteArguments {
    async fn client(&self, connection: &Connection) -> Outcome<Client> {
        let client = self.acks.apply(&connection.client)?.unwrap_or_else(|| connection.client.clone());
        match &self.entry {
            None => Ok(client.through(client.entry(), Routing::Client(self.policy), self.trace)),
            Some(entry) => {
                let entry = resolve_node(connection, entry).await?;
                Ok(client.through(entry, Routing::Entry(self.policy), self.trace))
            }
        }
    }
}

/// Reads a key as it was typed.
///
/// # Errors
/// When it is no key of this ring.
pub(crate) fn parse_key(text: &str, space: Space) -> Outcome<Key> {
    let key = Key::parse(text, space).map_err(Failure::input)?;
    key.check(space).map_err(Failure::input)?;
    Ok(key)
}

/// What a write did.
#[derive(Debug, Serialize)]
struct Written {
    key: String,
    id: chordata_protocol::Id,
    outcome: KeyOutcome,
    owner: Address,
    hops: u32,
    timeouts: u32,
    path: Vec<Hop>,
    #[serde(skip)]
    space: Space,
}

impl Written {
    fn new(key: &Key, space: Space, answer: Answer<KeyOutcome>) -> Written {
        let Trip { owner, hops, timeouts, path } = answer.trip;
        let id = key.id(space);
        Written {
            key: key.to_string(),
            id,
            outcome: answer.result,
            owner: owner.address,
            hops,
            timeouts,
            path,
            space,
        }
    }
}

impl Report for Written {
    fn text(&self) -> String {
        let (key, owner) = (&self.key, &self.owner);
        let way = format!("{}, {}", owner, report::count(self.hops as usize, "hop"));
        let line = match self.outcome {
            KeyOutcome::Written(version) => format!("stored {key} as version {version} at {way}\n"),
            KeyOutcome::Deleted(Some(version)) => {
                format!("deleted {key}, which had version {version}, at {way}\n")
            }
            KeyOutcome::Deleted(None) => format!("{key} was not there\n"),
            KeyOutcome::Conflict(Some(version)) => {
                format!("{key} has version {version}: nothing was changed\n")
            }
            KeyOutcome::Conflict(None) => format!("{key} is not there: nothing was changed\n"),
        };
        let path = if self.path.is_empty() { String::new() } else { hop_table(&self.path, self.space) };
        line + &path
    }
}

/// `put`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PutArguments {
    /// The key; @0x2a or @42 is a literal id, @@x the key @x
    key: String,
    /// The value; - reads it from standard input
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION", conflicts_with = "if_absent")]
    if_version: Option<Version>,
    /// Only if there is no such key
    #[arg(long)]
    if_absent: bool,
    /// For so long, as in 500ms, 30s, 5m, 2h or 7d; otherwise for ever. A later put has its own, or none
    #[arg(long, value_name = "TIME")]
    ttl: Option<Ttl>,
    #[command(flatten)]
    write: WriteArguments,
}

impl PutArguments {
    /// Stores a value.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let value = if self.value == "-" {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes)?;
            Value::from(bytes)
        } else {
            Value::from(self.value.as_str())
        };
        let connection = context.target.connect(context.output).await?;
        let client = self.write.route.client(&connection).await?;
        check_level(&client, self.write.level)?;
        if self.write.level == Some(Level::Any) {
            context.output.remark(match client.consistency() {
                Some(Consistency::Eventual) => {
                    "--level any changes nothing for put: --acks N says how many replicas store it before it is done"
                }
                Some(Consistency::Chain) | None => {
                    "--level any changes nothing for put: every replica stores a write before it is done"
                }
            });
        }
        let key = parse_key(&self.key, client.space())?;
        let options = PutOptions { ttl: self.ttl };
        let answer = if self.if_absent || self.if_version.is_some() {
            client.compare_and_swap_with(key.clone(), self.if_version, Some(value), options).await?
        } else {
            client.put_with(key.clone(), value, options).await?
        };
        let conflict = matches!(answer.result, KeyOutcome::Conflict(_));
        context.output.show(&Written::new(&key, client.space(), answer));
        if conflict { Err(Failure::Said) } else { Ok(()) }
    }
}

/// `get`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GetArguments {
    /// The key; @0x2a or @42 is a literal id, @@x the key @x
    key: String,
    #[command(flatten)]
    read: ReadArguments,
}

#[derive(Debug, Serialize)]
struct Found {
    key: String,
    id: chordata_protocol::Id,
    value: Value,
    version: Version,
    /// When it ends by itself, in milliseconds since 1970; none: never.
    expires: Option<Moment>,
    owner: Address,
    hops: u32,
    timeouts: u32,
    path: Vec<Hop>,
}

impl GetArguments {
    /// Prints a value.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let client = self.read.route.client(&connection).await?;
        let key = parse_key(&self.key, client.space())?;
        check_level(&client, self.read.level)?;
        let answer = match self.read.level.unwrap_or_default() {
            Level::Linearizable => client.get(key.clone()).await?,
            Level::Any => Box::pin(client.get_any(key.clone())).await?,
        };
        let Trip { owner, hops, timeouts, path } = answer.trip;
        if !path.is_empty() && !context.output.json {
            eprint!("{}", hop_table(&path, client.space()));
        }
        let Some(record) = answer.result else {
            return Err(Failure::NotFound(format!("there is no key {key}")));
        };
        if context.output.json {
            let (value, version, expires) = (record.value, record.version, record.expires);
            let (id, owner) = (key.id(client.space()), owner.address);
            context.output.json(&Found {
                key: key.to_string(),
                id,
                value,
                version,
                expires,
                owner,
                hops,
                timeouts,
                path,
            });
        } else {
            context.output.raw(&record.value);
            if context.output.in_shell || std::io::stdout().is_terminal() {
                context.output.raw(b"\n");
            }
        }
        Ok(())
    }
}

/// `delete`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeleteArguments {
    /// The key; @0x2a or @42 is a literal id, @@x the key @x
    key: String,
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<Version>,
    #[command(flatten)]
    route: RouteArguments,
}

impl DeleteArguments {
    /// Removes a value.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let client = self.route.client(&connection).await?;
        let key = parse_key(&self.key, client.space())?;
        let answer = match self.if_version {
            Some(version) => client.compare_and_swap(key.clone(), Some(version), None).await?,
            None => client.delete(key.clone()).await?,
        };
        match answer.result {
            KeyOutcome::Deleted(None) => Err(Failure::NotFound(format!("there is no key {key}"))),
            KeyOutcome::Conflict(_) => {
                context.output.show(&Written::new(&key, client.space(), answer));
                Err(Failure::Said)
            }
            KeyOutcome::Deleted(Some(_)) | KeyOutcome::Written(_) => {
                context.output.show(&Written::new(&key, client.space(), answer));
                Ok(())
            }
        }
    }
}

/// `keys`. With `--node N` (a number, a host's name or HOST:PORT) only those that this node serves.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KeysArguments {
    /// Only keys that begin with this
    #[arg(long, default_value = "")]
    prefix: String,
    /// At most this many
    #[arg(long)]
    limit: Option<usize>,
    /// Their values too, in the words of input files: KEY VALUE
    #[arg(long)]
    values: bool,
}

#[derive(Debug, Serialize)]
struct KeyRow {
    key: String,
    id: chordata_protocol::Id,
    version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    node: Address,
}

impl KeysArguments {
    /// Lists keys: all, from the lowest identifier up, or those of one node.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let (target, node) = context.target.with_node_as_choice();
        let connection = target.connect(context.output).await?;
        let client = &connection.client;
        let mut left = self.limit.unwrap_or(usize::MAX);
        let page_of = |left: usize| u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        if let Some(node) = &node {
            let node = resolve_node(&connection, node).await?;
            let mut after = None;
            while left > 0 {
                let (prefix, limit) = (self.prefix.as_bytes().to_vec(), page_of(left));
                let options =
                    ScanOptions { after, prefix, limit, values: self.values, ..ScanOptions::default() };
                let page = client.scan(&node, options).await?;
                left -= page.entries.len();
                show_keys(context, client.space(), &node, page.entries);
                after = page.after;
                if !page.more {
                    break;
                }
            }
            return Ok(());
        }
        // Whoever serves what follows is found anew for each page: nothing is left out while nodes come and go.
        let mut place = Some(Place::Start);
        while let Some(begin) = place.filter(|_| left > 0) {
            let prefix = self.prefix.as_bytes();
            let wanted = Wanted { prefix, limit: page_of(left), values: self.values };
            let listed = Box::pin(client.list_page(&begin, wanted)).await?;
            left -= listed.entries.len();
            show_keys(context, client.space(), &listed.node.address, listed.entries);
            place = listed.next;
        }
        Ok(())
    }
}

fn show_keys(context: &Context, space: Space, node: &Address, entries: Vec<(Key, Version, Option<Value>)>) {
    for (key, version, value) in entries {
        if context.output.json {
            let (id, key) = (key.id(space), key.to_string());
            context.output.json(&KeyRow { key, id, version, value, node: node.clone() });
        } else if let Some(value) = value {
            let line = format!("{} {}\n", render_key(&key), render_value(&value));
            context.output.raw(line.as_bytes());
        } else {
            context.output.raw(format!("{key}\n").as_bytes());
        }
    }
}
