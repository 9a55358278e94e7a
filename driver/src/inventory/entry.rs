//! The hosts, as written: words of `hosts = [...]` and `[[host]]` tables, made into [`Host`]s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::path::Path;

use chordata_protocol::{Id, Space};
use toml::Spanned;
use toml::de::DeValue;

use super::document::{Reader, Section};
use super::host::{Access, Host, INSTALL_DIR, LISTEN_PORT};
use super::layer::{Layer, accept, checked_text};
use super::{keys, rules};
use crate::suggest::{problem, shown};

/// A host with its places in the text, for checks between hosts.
pub(super) struct Entry {
    /// The host.
    pub host: Host,
    /// Where its name is.
    pub name: Range<usize>,
    /// Where its ring address comes from: its `listen_port`, else its `address`, else its name.
    pub address: Range<usize>,
    /// Where its fixed id is, if it has one.
    pub id: Option<Range<usize>>,
}

/// What a host says of itself, beside its [`Layer`].
struct Own {
    name: Spanned<String>,
    ssh: Option<String>,
    address: Option<Spanned<String>>,
    id: Option<Spanned<Id>>,
    listen_port: Option<Range<usize>>,
}

/// Reads all hosts in the order of the text; what a host does not say comes from `defaults`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    document: &Section<'_>,
    defaults: &Layer,
    space: Space,
    base: &Path,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for value in list(reader, document, "hosts") {
        let Some(word) = value.get_ref().as_str() else {
            reader.problem(
                problem("each entry of `hosts` must be a text", value.span(), "")
                    .with_help("for a host with keys of its own, write a [[host]] section"),
            );
            continue;
        };
        let word = Spanned::new(value.span(), word.to_owned());
        if let Some((name, layer)) = shorthand(reader, &word) {
            let own = Own { name, ssh: None, address: None, id: None, listen_port: None };
            entries.push(resolve(reader, own, layer.over(defaults)));
        }
    }
    for value in list(reader, document, "host") {
        if let Some(section) = reader.element(value, "[[host]]", keys::HOST) {
            let own = own(reader, &section, space);
            let layer = Layer::read(reader, &section, base).over(defaults);
            if let Some(own) = own {
                misplaced(reader, &section, &layer);
                entries.push(resolve(reader, own, layer));
            }
        }
    }
    entries
}

fn list<'d>(reader: &mut Reader<'_>, document: &Section<'d>, key: &str) -> &'d [Spanned<DeValue<'d>>] {
    let Some(value) = document.value(key) else {
        return &[];
    };
    match value.get_ref().as_array() {
        Some(array) => array.as_ref(),
        None => {
            let help = match key {
                "host" => "write [[host]], with double brackets, once for each host",
                _ => "write hosts = [\"a\", \"b\"], or a [[host]] section for each",
            };
            reader.problem(problem(format!("`{key}` must be a list"), value.span(), "").with_help(help));
            &[]
        }
    }
}

/// `name`, `user@name`, `name:port`, `user@name:port`, `[2001:db8::1]:port`: what people paste.
fn shorthand(reader: &mut Reader<'_>, word: &Spanned<String>) -> Option<(Spanned<String>, Layer)> {
    let spanned = |text: &str| Spanned::new(word.span(), text.to_owned());
    let (user, host) = match word.get_ref().rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, word.get_ref().as_str()),
    };
    if let Some(user) = user
        && !accept(reader, &spanned(user), rules::user)
    {
        return None;
    }
    let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match host.split_once(':') {
            // More than one colon: an IPv6 address.
            Some((_, rest)) if rest.contains(':') => (host, None),
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        },
    };
    let number = port.map(|port| port.parse::<u16>().ok().filter(|number| *number > 0));
    if number == Some(None) {
        let message = format!("`{}` does not end in a port", shown(word.get_ref()));
        let help = "a host is written name, user@name, name:22 or user@name:22; the number is the SSH port";
        reader.problem(problem(message, word.span(), "").with_help(help));
        return None;
    }
    let name = spanned(host);
    let layer = Layer { user: user.map(str::to_owned), port: number.flatten(), ..Layer::default() };
    accept(reader, &name, rules::host_word).then_some((name, layer))
}

fn own(reader: &mut Reader<'_>, section: &Section<'_>, space: Space) -> Option<Own> {
    if section.value("name").is_none() {
        reader.problem(
            problem("a [[host]] without a `name`", section.span.clone(), "")
                .with_help("the name is what ssh is given, unless `ssh` says otherwise: name = \"node1\""),
        );
    }
    let name = checked_text(reader, section, "name", rules::host_word);
    let ssh = checked_text(reader, section, "ssh", rules::host_word).map(Spanned::into_inner);
    let address = checked_text(reader, section, "address", rules::address);
    let id = id(reader, section, space);
    let listen_port = section.value("listen_port").map(Spanned::span);
    Some(Own { name: name?, ssh, address, id, listen_port })
}

fn id(reader: &mut Reader<'_>, section: &Section<'_>, space: Space) -> Option<Spanned<Id>> {
    let text = reader.text(section, "id")?;
    match space.parse(text.get_ref()) {
        Ok(id) => Some(Spanned::new(text.span(), id)),
        Err(error) => {
            let message = format!("`id` of a [[host]]: {error}");
            reader.problem(
                problem(message, text.span(), "").with_help("for example id = \"0x0\" or id = \"42\""),
            );
            None
        }
    }
}

/// Keys that have no meaning with the host's access: whoever wrote them expects something to happen.
fn misplaced(reader: &mut Reader<'_>, section: &Section<'_>, layer: &Layer) {
    if layer.access != Some(Access::Local) {
        return;
    }
    for key in ["ssh", "user", "port", "identity_file", "ssh_config", "known_hosts", "host_keys"] {
        if let Some(value) = section.value(key) {
            let message = format!("`{key}` has no meaning for a host with access = \"local\"");
            reader.problem(
                problem(message, value.span(), "")
                    .with_help("remove it, or write access = \"direct\" if the host is another machine"),
            );
        }
    }
}

fn resolve(reader: &Reader<'_>, own: Own, layer: Layer) -> Entry {
    let Own { name, ssh, address, id, listen_port } = own;
    let access = layer.access.unwrap_or_default();
    let ssh = ssh.unwrap_or_else(|| name.get_ref().clone());
    let address_span =
        listen_port.or_else(|| address.as_ref().map(Spanned::span)).unwrap_or_else(|| name.span());
    let address = match address {
        Some(address) => address.into_inner(),
        None if access == Access::Local => Ipv4Addr::LOCALHOST.to_string(),
        None => ssh.clone(),
    };
    let host = Host {
        line: reader.line(&name.span()),
        ssh,
        user: layer.user,
        port: layer.port,
        identity_file: layer.identity_file,
        ssh_config: layer.ssh_config,
        known_hosts: layer.known_hosts,
        host_keys: layer.host_keys.unwrap_or_default(),
        access,
        listen_port: layer.listen_port.unwrap_or(LISTEN_PORT),
        bind: layer.bind.unwrap_or_else(|| default_bind(&address)),
        address,
        id: id.as_ref().map(|id| *id.get_ref()),
        install_dir: layer.install_dir.unwrap_or_else(|| INSTALL_DIR.to_owned()),
        labels: layer.labels,
        settings: layer.settings,
        name: name.get_ref().clone(),
    };
    Entry { host, name: name.span(), address: address_span, id: id.map(|id| id.span()) }
}

/// Where to listen so that the server is found at its address: only on this machine if the address is only there,
/// else on all addresses of the host, since its own may lie behind a translation of addresses.
fn default_bind(address: &str) -> IpAddr {
    match address.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => ip,
        Ok(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        Ok(IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
        Err(_) if address.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}
