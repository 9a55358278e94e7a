//! What two hosts must not share: a name, a ring address, a place on the ring.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use miette::MietteDiagnostic;

use super::document::Reader;
use super::entry::Entry;
use crate::suggest::{pointer, shown};

/// Reports each host that repeats what an earlier one has, with the lines of both.
pub(super) fn check(reader: &mut Reader<'_>, entries: &[Entry]) {
    let mut names: BTreeMap<&str, &Entry> = BTreeMap::new();
    let mut addresses: BTreeMap<(String, u16), &Entry> = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for entry in entries {
        let host = &entry.host;
        if let Some(first) = names.get(host.name.as_str()) {
            let lines = lines(reader, &first.name, &entry.name);
            let message = format!("the host `{}` is listed twice: {lines}", shown(&host.name));
            let help = "each host is listed once, in `hosts` or as a [[host]]; several servers on one machine need \
                        a name and a listen_port each";
            report(reader, message, help, &first.name, &entry.name);
            // It has the same address as well, which would only be noise.
            continue;
        }
        names.insert(&host.name, entry);
        let address = (canonical(&host.address), host.listen_port);
        if let Some(first) = addresses.get(&address) {
            let message = format!(
                "the hosts `{}` and `{}` have the same ring address {}: {}",
                first.host.name,
                host.name,
                host.ring_address(),
                lines(reader, &first.address, &entry.address)
            );
            let help = "give one of them another listen_port, or another address";
            report(reader, message, help, &first.address, &entry.address);
        }
        addresses.entry(address).or_insert(entry);
        if let (Some(id), Some(place)) = (host.id, &entry.id) {
            if let Some((name, first)) = ids.get(&id) {
                let message = format!(
                    "the hosts `{name}` and `{}` have the same id {}: {}",
                    host.name,
                    id.to_literal(),
                    lines(reader, first, place)
                );
                report(reader, message, "each server has its own place on the ring", first, place);
            }
            ids.entry(id).or_insert((&host.name, place.clone()));
        }
    }
}

fn lines(reader: &Reader<'_>, first: &Range<usize>, second: &Range<usize>) -> String {
    match (reader.line(first), reader.line(second)) {
        (first, second) if first == second => format!("both on line {first}"),
        (first, second) => format!("on line {first} and on line {second}"),
    }
}

fn report(reader: &mut Reader<'_>, message: String, help: &str, first: &Range<usize>, second: &Range<usize>) {
    reader.problem(
        MietteDiagnostic::new(message)
            .with_labels([pointer(first.clone(), "first here"), pointer(second.clone(), "again here")])
            .with_help(help),
    );
}

/// One text for all ways of writing an address.
fn canonical(address: &str) -> String {
    let name = address.trim_end_matches('.').to_ascii_lowercase();
    let name = if name == "localhost" { "127.0.0.1" } else { &name };
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |ip| ip.to_canonical().to_string())
}
