//! `rpc` and `completions`.

use std::time::Duration;

use chordata_client::Failure as ClientFailure;
use chordata_protocol::chain::Epoch;
use chordata_protocol::{Id, Key, Placement, Policy, Range, Space, StoreId, Value, Version};
use chordata_rpc::service::{
    CopiesOptions, DigestOptions, Joiner, MarkName, Options, RecordsOptions, Route, ScanOptions,
};
use chordata_rpc::{ChordataStub, within};
use chordata_server::settings::with_port;
use clap::CommandFactory;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::commands::data::parse_key;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::suggest;

/// How long a method may take: the longest is a departure.
const WITHIN: Duration = Duration::from_secs(60);

/// Methods with their arguments, as help shows them.
const METHODS: [(&str, &str); 32] = [
    ("put", "KEY VALUE"),
    ("get", "KEY"),
    ("get_node", "NUMBER ATTRIBUTE"),
    ("get_conn_info", ""),
    ("connect", "HOST:PORT [bisect|hash|ID]"),
    ("update_numbers", ""),
    ("update_finger_table", ""),
    ("delete", "KEY"),
    ("compare_and_swap", "KEY VERSION|none VALUE|none"),
    ("put_many", "KEY VALUE [KEY VALUE]..."),
    ("get_many", "KEY..."),
    ("scan", "[LIMIT]"),
    ("find", "ID [POLICY]"),
    ("lookup", "ID [POLICY]"),
    ("fingers", ""),
    ("depart", ""),
    ("status", ""),
    ("forget", "ID"),
    ("forget_store", "STORE"),
    ("recover", ""),
    ("recover_quorum", "VIEW-INDEX"),
    ("copy", "KEY"),
    ("copies", "LOW-ID HIGH-ID [LIMIT]"),
    ("records", "LOW-ID HIGH-ID [LIMIT]"),
    ("mark", "EPOCH NAME"),
    ("digest", "[EPOCH NAME] LOW-ID HIGH-ID"),
    ("unmark", "EPOCH NAME"),
    ("standing", ""),
    ("enter", "[found [single|chain|eventual [K [memory|interval|sync]]] | join HOST:PORT...]"),
    ("leave", ""),
    ("release", "[CLUSTER]"),
    ("methods", ""),
];

/// `rpc`: the node that is asked is the one of `--node`, or the first of the inventory that answers.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = methods())]
pub(crate) struct RpcArguments {
    /// The method's name
    method: String,
    /// Its arguments
    #[arg(allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn methods() -> String {
    let lines = METHODS.iter().map(|(name, arguments)| format!("  {name} {arguments}\n"));
    format!("Methods:\n{}", lines.collect::<String>())
}

/// Unwraps an answer of the server and makes JSON of it.
macro_rules! answer {
    ($call:expr) => {
        to_json(&$call.await.map_err(ClientFailure::from_call)?.map_err(ClientFailure::from)?)
    };
}

fn to_json<T: Serialize>(value: &T) -> Outcome<Json> {
    serde_json::to_value(value).map_err(Failure::failed)
}

fn each<T: Serialize, E: std::fmt::Display>(answers: Vec<Result<T, E>>) -> Outcome<Json> {
    let one = |answer: Result<T, E>| match answer {
        Ok(value) => to_json(&value),
        Err(error) => Ok(json!({ "error": error.to_string() })),
    };
    Ok(Json::Array(answers.into_iter().map(one).collect::<Outcome<Vec<Json>>>()?))
}

impl RpcArguments {
    /// Calls a method and prints its answer as JSON.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let Some((_, usage)) = METHODS.iter().find(|(name, _)| *name == self.method) else {
            let names = METHODS.iter().map(|(name, _)| *name);
            let hint = suggest::did_you_mean(&self.method, names);
            return Err(Failure::input(format!("there is no method {:?}{hint}\n{}", self.method, methods())));
        };
        if self.method == "methods" {
            context.output.raw(methods().as_bytes());
            return Ok(());
        }
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        if let Some(answer) = super::process::call(&self.method, &arguments, usage, context).await? {
            return self.show(&answer, context);
        }
        let connection = context.target.connect(context.output).await?;
        let space = connection.client.space();
        let stub = connection.client.pool().client(&connection.client.entry());
        let answer = match self.call(&stub, space, &arguments).await? {
            Some(answer) => answer,
            None => {
                return Err(Failure::input(format!("usage: chordata rpc {} {usage}", self.method)));
            }
        };
        self.show(&answer, context)
    }

    fn show(&self, answer: &Json, context: &Context) -> Outcome {
        let text = serde_json::to_string_pretty(answer).map_err(Failure::failed)?;
        context.output.raw(format!("{text}\n").as_bytes());
        Ok(())
    }

    /// None: the arguments do not fit the method.
    async fn call(&self, stub: &ChordataStub, space: Space, arguments: &[&str]) -> Outcome<Option<Json>> {
        let options = Options { route: Route::Entry(Policy::Finger), trace: true, ..Options::default() };
        let limit = within(WITHIN);
        Ok(Some(match (self.method.as_str(), arguments) {
            ("put", [key, value]) => {
                answer!(stub.put(limit, parse_key(key, space)?, Value::from(*value), options))?
            }
            ("get", [key]) => answer!(stub.get(limit, parse_key(key, space)?, options))?,
            ("get_node", [number, attribute]) => {
                let number = number
                    .parse()
                    .map_err(|_| Failure::input(format!("{number:?} is no number of a node")))?;
                answer!(stub.get_node(limit, number, (*attribute).to_owned()))?
            }
            ("get_conn_info", []) => answer!(stub.get_conn_info(limit))?,
            ("connect", [address, placement @ ..]) if placement.len() < 2 => {
                let address = with_port(address).map_err(Failure::input)?;
                let placement = parse_placement(placement.first().copied(), space)?;
                answer!(stub.connect(limit, Joiner { address, placement, store: 0, incarnation: 0 }))?
            }
            ("update_numbers", []) => answer!(stub.update_numbers(limit))?,
            ("update_finger_table", []) => answer!(stub.update_finger_table(limit))?,
            ("delete", [key]) => answer!(stub.delete(limit, parse_key(key, space)?, options))?,
            ("compare_and_swap", [key, version, value]) => {
                let key = parse_key(key, space)?;
                let expected = unless_none(version, |text| text.parse::<Version>())?;
                let value = unless_none(value, |text| Ok::<_, String>(Value::from(text)))?;
                answer!(stub.compare_and_swap(limit, key, expected, value, options))?
            }
            ("put_many", pairs) if !pairs.is_empty() && pairs.len() % 2 == 0 => {
                let entries: Outcome<Vec<(Key, Value)>> = pairs
                    .chunks(2)
                    .map(|pair| Ok((parse_key(pair[0], space)?, Value::from(pair[1]))))
                    .collect();
                each(stub.put_many(limit, entries?, options).await.map_err(ClientFailure::from_call)?)?
            }
            ("get_many", keys) if !keys.is_empty() => {
                let keys: Outcome<Vec<Key>> = keys.iter().map(|key| parse_key(key, space)).collect();
                each(stub.get_many(limit, keys?, options).await.map_err(ClientFailure::from_call)?)?
            }
            ("scan", rest) if rest.len() < 2 => {
                let limit_of_keys = parse_limit(rest.first().copied())?;
                let options = ScanOptions { limit: limit_of_keys, values: true, ..ScanOptions::default() };
                answer!(stub.scan(limit, options))?
            }
            ("find", [id, policy @ ..]) if policy.len() < 2 => {
                let (id, policy) = (parse_id(id, space)?, parse_policy(policy.first().copied())?);
                answer!(stub.find(limit, id, policy))?
            }
            ("lookup", [id, policy @ ..]) if policy.len() < 2 => {
                let (id, policy) = (parse_id(id, space)?, parse_policy(policy.first().copied())?);
                answer!(stub.lookup(limit, id, policy))?
            }
            ("fingers", []) => answer!(stub.fingers(limit))?,
            ("depart", []) => answer!(stub.depart(limit))?,
            ("status", []) => answer!(stub.status(limit))?,
            ("forget", [id]) => answer!(stub.forget(limit, parse_id(id, space)?))?,
            ("forget_store", [store]) => {
                let store: StoreId = store.parse().map_err(|reason: String| Failure::input(reason))?;
                answer!(stub.forget_store(limit, store))?
            }
            ("recover", []) => answer!(stub.recover(limit))?,
            ("recover_quorum", [view]) => {
                answer!(stub.recover_quorum(limit, parse_number(view, "view's index")?))?
            }
            ("mark", [epoch, name]) => answer!(stub.mark(limit, parse_mark(epoch, name)?))?,
            ("unmark", [epoch, name]) => answer!(stub.unmark(limit, parse_mark(epoch, name)?))?,
            ("digest", [mark @ .., low, high]) if matches!(mark.len(), 0 | 2) => {
                let range = Range { low: parse_id(low, space)?, high: parse_id(high, space)? };
                let mark = match mark {
                    [epoch, name] => Some(parse_mark(epoch, name)?),
                    _ => None,
                };
                let options = DigestOptions { mark, range, after: None, ended_by: None };
                let answer = stub.digest(limit, options).await.map_err(ClientFailure::from_call)?;
                let page = answer.map_err(ClientFailure::from)?;
                // JSON has no numbers of 128 bits.
                let (count, sum) = (page.digest.count, format!("{:032x}", page.digest.sum));
                let after = to_json(&page.after)?;
                serde_json::json!({ "count": count, "sum": sum, "damaged": page.damaged, "after": after })
            }
            ("copy", [key]) => answer!(stub.copy(limit, parse_key(key, space)?))?,
            ("copies", [low, high, rest @ ..]) if rest.len() < 2 => {
                let range = Range { low: parse_id(low, space)?, high: parse_id(high, space)? };
                let options = CopiesOptions {
                    mark: None,
                    range,
                    after: None,
                    limit: parse_limit(rest.first().copied())?,
                    ended_by: None,
                };
                answer!(stub.copies(limit, options))?
            }
            ("records", [low, high, rest @ ..]) if rest.len() < 2 => {
                let range = Range { low: parse_id(low, space)?, high: parse_id(high, space)? };
                let limit_of_page = parse_limit(rest.first().copied())?;
                let options = RecordsOptions { mark: None, range, after: None, limit: limit_of_page };
                answer!(stub.records(limit, options))?
            }
            _ => return Ok(None),
        }))
    }
}

fn parse_id(text: &str, space: Space) -> Outcome<Id> {
    space.parse(text.strip_prefix('@').unwrap_or(text)).map_err(Failure::input)
}

fn parse_limit(text: Option<&str>) -> Outcome<u32> {
    let Some(text) = text else { return Ok(1000) };
    text.parse().map_err(|_| Failure::input(format!("{text:?} is no limit")))
}

fn parse_number<T: std::str::FromStr>(text: &str, what: &str) -> Outcome<T> {
    text.parse().map_err(|_| Failure::input(format!("{text:?} is no {what}")))
}

fn parse_mark(epoch: &str, name: &str) -> Outcome<MarkName> {
    let epoch = Epoch(parse_number(epoch, "epoch")?);
    Ok(MarkName { epoch, name: parse_number(name, "name of a mark: it is a number")? })
}

fn parse_policy(text: Option<&str>) -> Outcome<Policy> {
    text.map_or(Ok(Policy::Finger), |text| text.parse().map_err(Failure::input))
}

fn parse_placement(text: Option<&str>, space: Space) -> Outcome<Placement> {
    match text {
        None | Some("bisect") => Ok(Placement::Bisect),
        Some("hash") => Ok(Placement::Hash),
        Some(id) => Ok(Placement::Fixed(parse_id(id, space)?)),
    }
}

fn unless_none<T, E: std::fmt::Display>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Outcome<Option<T>> {
    if text == "none" { Ok(None) } else { parse(text).map(Some).map_err(Failure::input) }
}

/// `completions`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompletionsArguments {
    /// bash, zsh, fish, elvish or powershell
    shell: clap_complete::Shell,
}

impl CompletionsArguments {
    /// Prints completions.
    pub(crate) fn run(&self) -> Outcome {
        let mut command = crate::cli::Cli::command();
        clap_complete::generate(self.shell, &mut command, "chordata", &mut std::io::stdout());
        Ok(())
    }
}
