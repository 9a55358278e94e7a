//! Choosing hosts by `--host n1,n3` and `--label zone=a`.

use std::collections::BTreeSet;

use miette::{MietteDiagnostic, Report};

use super::{Host, Inventory};
use crate::suggest::{did_you_mean, one_of, shown};

/// Names that a message lists before it only counts.
const LISTED_MAX: usize = 12;

impl Inventory {
    /// The hosts that were asked for, in the inventory's order: those with one of the names **and** all of the
    /// labels. Without names, all names; without labels, all hosts. Both may be lists with commas.
    ///
    /// # Errors
    /// For a name that no host has, a label that no host has, a label without `=`, an empty list, and a choice that no host meets:
    /// a command that then did nothing would look like one that had done its work.
    pub(crate) fn select(&self, hosts: &[String], labels: &[String]) -> Result<Vec<&Host>, Report> {
        for (option, lists) in [("--host", hosts), ("--label", labels)] {
            // An empty shell variable must not turn "this host" into "all hosts".
            if lists.iter().any(|list| items([list]).next().is_none()) {
                return Err(refusal(
                    format!("{option} is empty"),
                    format!("leave {option} out to mean all hosts"),
                ));
            }
        }
        let names: BTreeSet<&str> =
            items(hosts).map(|name| Ok(&*self.host(name)?.name)).collect::<Result<_, Report>>()?;
        let wanted: Vec<(&str, &str)> =
            items(labels).map(|label| self.label(label)).collect::<Result<_, _>>()?;
        let chosen: Vec<&Host> = self
            .hosts
            .iter()
            .filter(|host| names.is_empty() || names.contains(&*host.name))
            .filter(|host| {
                wanted.iter().all(|(name, value)| host.labels.get(*name).is_some_and(|has| has == value))
            })
            .collect();
        if chosen.is_empty() {
            let asked: Vec<&str> = items(hosts).chain(items(labels)).collect();
            return Err(refusal(
                format!("no host is chosen by {} together", asked.join(", ")),
                "hosts are chosen that have one of the names and all of the labels".to_owned(),
            ));
        }
        Ok(chosen)
    }

    /// The host of that name.
    ///
    /// # Errors
    /// When there is none, with the name that was probably meant.
    pub(crate) fn host(&self, name: &str) -> Result<&Host, Report> {
        self.hosts.iter().find(|host| host.name == name).ok_or_else(|| {
            let names = || self.hosts.iter().map(|host| host.name.as_str());
            let message = format!(
                "no host `{}` in {}{}",
                shown(name),
                self.path.display(),
                did_you_mean(name, names())
            );
            let help = if self.hosts.len() <= LISTED_MAX {
                format!("its hosts are {}", one_of(names()))
            } else {
                format!("it has {} hosts", self.hosts.len())
            };
            refusal(message, help)
        })
    }

    fn label<'t>(&self, text: &'t str) -> Result<(&'t str, &'t str), Report> {
        let Some((name, value)) = text.split_once('=') else {
            let message = format!("`{}` is not a label to choose by", shown(text));
            return Err(refusal(message, "write --label NAME=VALUE, as in --label zone=a".to_owned()));
        };
        let all = || self.hosts.iter().flat_map(|host| &host.labels);
        let values: BTreeSet<&str> =
            all().filter(|(has, _)| *has == name).map(|(_, value)| value.as_str()).collect();
        if values.contains(value) {
            return Ok((name, value));
        }
        let names: BTreeSet<&str> = all().map(|(name, _)| name.as_str()).collect();
        let (wrong, candidates) = if values.is_empty() { (name, names) } else { (value, values) };
        let message = format!(
            "no host has the label {}{}",
            shown(text),
            did_you_mean(wrong, candidates.iter().copied())
        );
        let help = if wrong == value {
            format!("values of `{name}` are {}", one_of(candidates))
        } else {
            format!("labels of these hosts are {}", one_of(candidates))
        };
        Err(refusal(message, help))
    }
}

fn items<'l>(lists: impl IntoIterator<Item = &'l String>) -> impl Iterator<Item = &'l str> {
    lists.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

fn refusal(message: String, help: String) -> Report {
    Report::new(MietteDiagnostic::new(message).with_help(help))
}
