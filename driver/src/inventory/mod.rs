//! The inventory: which hosts a cluster runs on, how to reach them, and what holds for all of them.
//!
//! ```toml
//! [cluster]                     # what holds for all servers together   cluster.rs
//! bits = 160
//!
//! [defaults]                    # what holds for each host ...            layer.rs
//! user = "ubuntu"
//!
//! [[host]]                      # ... that does not say otherwise         entry.rs, host.rs
//! name = "n1"
//! address = "10.0.0.1"
//! ```
//! or, for hosts that need no keys of their own, `hosts = ["n1", "n2"]` at the top. [`TEMPLATE`] explains every key,
//! `keys.rs` lists them.
//!
//! Reading is strict, since a misspelt key that is ignored is a cluster with other settings than its owner believes:
//! unknown keys, wrong types and impossible values are refused, all of them at once, each with its line, its column
//! and what was probably meant. What must not be shared between hosts is checked in `duplicates.rs`, what a word
//! may look like in `rules.rs`, where deployments may go in `paths.rs`.
//!
//! An [`Inventory`] that was read is decided: each [`Host`] carries its own keys, else those of `[defaults]`, else
//! the built-in ones. Only what ssh decides by itself (user, port, keys) may be absent. Reading asks the machine
//! nothing but the file: whether key files exist and hosts answer is for `chordata check`.

mod cluster;
mod document;
mod duplicates;
mod entry;
mod host;
mod keys;
mod layer;
mod paths;
mod rules;
mod selection;
mod template;

use std::path::{Path, PathBuf};

use chordata_protocol::Space;
use miette::{MietteDiagnostic, Report};
use toml::Spanned;
use toml::de::DeTable;

use crate::suggest::{self, Problems, problem};
use cluster::Cluster;
use document::Reader;
use entry::Entry;
use layer::Layer;

pub(crate) use cluster::{ClusterOptions, CopyOptions, REPLICATION};
pub(crate) use host::{Access, Host, HostKeys};
pub(crate) use paths::expand_home;
pub(crate) use template::TEMPLATE;

/// A cluster as its owner described it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inventory {
    /// What the cluster is called: `cluster.name`, else the file's name.
    pub name: String,
    /// What holds for all servers together.
    pub cluster: ClusterOptions,
    /// At least one, in the order of the file. The first starts the ring, the others join it.
    pub hosts: Vec<Host>,
    /// Where it was read from.
    pub path: PathBuf,
}

impl Inventory {
    /// Reads an inventory.
    ///
    /// # Errors
    /// When the file cannot be read or is not UTF-8, or as [`Inventory::parse`].
    pub(crate) fn load(path: &Path) -> Result<Inventory, Report> {
        Inventory::parse(&suggest::read_text(path)?, &path.display().to_string())
    }

    /// Reads the text of an inventory. `name` is its path: messages name it, relative paths start at its directory,
    /// and the cluster is called after it.
    ///
    /// # Errors
    /// When the text is not TOML, or has unknown keys, wrong types or impossible values, or hosts that share what
    /// they must not, or no hosts: one report with the line and column of each mistake.
    pub(crate) fn parse(text: &str, name: &str) -> Result<Inventory, Report> {
        let text = suggest::without_mark(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(not_toml(errors).into_report(name, text));
        }
        read(text, &document, Path::new(name)).map_err(|problems| problems.into_report(name, text))
    }
}

fn not_toml(errors: Vec<toml::de::Error>) -> Problems {
    let mut problems = Problems::default();
    for error in errors {
        let place = error.span().unwrap_or_default();
        // The parser's words for a forgotten quote depend on the first letter, and mention booleans for an `f`.
        let unquoted =
            ["must be quoted", "invalid boolean"].iter().any(|part| error.message().contains(part));
        problems.push(if unquoted {
            problem("a text stands in quotes", place, "").with_help("for example name = \"value\"")
        } else {
            problem(error.message(), place, "")
        });
    }
    problems
}

fn read(text: &str, document: &Spanned<DeTable<'_>>, path: &Path) -> Result<Inventory, Problems> {
    let base = path.parent().unwrap_or(Path::new(""));
    let mut reader = Reader::new(text);
    let document = reader.document(document);
    let cluster = match reader.section(&document, "cluster", "[cluster]", keys::CLUSTER) {
        Some(section) => Cluster::read(&mut reader, &section, base),
        None => Cluster::default(),
    };
    let mut defaults = match reader.section(&document, "defaults", "[defaults]", keys::DEFAULTS) {
        Some(section) => Layer::read(&mut reader, &section, base),
        None => Layer::default(),
    };
    defaults.install_dir = defaults.install_dir.or(cluster.install_dir);
    let entries = entry::read(&mut reader, &document, &defaults, cluster.options.space, base);
    duplicates::check(&mut reader, &entries);
    let servers_max = 1_usize.checked_shl(cluster.options.space.bits().into()).unwrap_or(usize::MAX);
    if let Some(extra) = entries.get(servers_max) {
        reader.problem(no_room(extra, cluster.options.space, entries.len()));
    }
    let is_empty = |key| match document.value(key).map(Spanned::get_ref) {
        Some(value) => value.as_array().is_some_and(|hosts| hosts.is_empty()),
        None => true,
    };
    // After another mistake, a misspelt `hosts` for one, this would only be noise.
    if reader.is_sound() && is_empty("hosts") && is_empty("host") {
        reader.problem(no_hosts(document.value("hosts").map_or(0, |hosts| hosts.span().start)));
    }
    match reader.finish() {
        Some(problems) => Err(problems),
        None => Ok(Inventory {
            name: cluster.name.unwrap_or_else(|| cluster::name_from(path)),
            cluster: cluster.options,
            hosts: entries.into_iter().map(|Entry { host, .. }| host).collect(),
            path: path.to_owned(),
        }),
    }
}

fn no_room(extra: &Entry, space: Space, servers: usize) -> MietteDiagnostic {
    let bits = space.bits();
    problem(
        format!("{servers} servers have no room on a ring of {bits} bits"),
        extra.name.clone(),
        "one too many",
    )
    .with_help("raise `bits` in [cluster]: the ring has 2^bits places")
}

fn no_hosts(at: usize) -> MietteDiagnostic {
    problem("the inventory lists no hosts", at..at, "").with_help(
        "write hosts = [\"node1\", \"node2\"] at the top, or a [[host]] section for each; `chordata inventory \
         template` prints an example",
    )
}

#[cfg(test)]
mod tests;
