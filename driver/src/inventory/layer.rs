//! The keys that `[defaults]` gives to all hosts and a `[[host]]` overrides for itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::document::{Reader, Section};
use super::host::{Access, HostKeys};
use super::rules::Refusal;
use super::{keys, paths, rules};
use crate::suggest::{problem, shown};

/// What one section says; what it does not say is none.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    pub user: Option<String>,
    pub port: Option<u16>,
    pub identity_file: Option<PathBuf>,
    pub ssh_config: Option<PathBuf>,
    pub host_keys: Option<HostKeys>,
    pub known_hosts: Option<PathBuf>,
    pub access: Option<Access>,
    pub listen_port: Option<u16>,
    pub bind: Option<IpAddr>,
    pub install_dir: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub settings: BTreeMap<String, toml::Value>,
}

impl Layer {
    /// Reads them; local paths are relative to `base`.
    pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>, base: &Path) -> Layer {
        Layer {
            user: checked_text(reader, section, "user", rules::user).map(Spanned::into_inner),
            port: reader.number(section, "port", 1..=u16::MAX).map(Spanned::into_inner),
            identity_file: local_path(reader, section, "identity_file", base),
            ssh_config: local_path(reader, section, "ssh_config", base),
            host_keys: reader
                .choice(
                    section,
                    "host_keys",
                    &[("strict", HostKeys::Strict), ("accept-new", HostKeys::AcceptNew)],
                )
                .map(Spanned::into_inner),
            known_hosts: local_path(reader, section, "known_hosts", base),
            access: reader
                .choice(
                    section,
                    "access",
                    &[("direct", Access::Direct), ("ssh", Access::Ssh), ("local", Access::Local)],
                )
                .map(Spanned::into_inner),
            listen_port: reader.number(section, "listen_port", 1..=u16::MAX).map(Spanned::into_inner),
            bind: bind(reader, section),
            install_dir: install_dir(reader, section),
            labels: labels(reader, section),
            settings: settings(reader, section),
        }
    }

    /// This layer with what it does not say taken from the one below. Labels and settings merge name by name.
    pub(super) fn over(self, below: &Layer) -> Layer {
        let labels = below.labels.clone().into_iter().chain(self.labels);
        let settings = below.settings.clone().into_iter().chain(self.settings);
        Layer {
            user: self.user.or_else(|| below.user.clone()),
            port: self.port.or(below.port),
            identity_file: self.identity_file.or_else(|| below.identity_file.clone()),
            ssh_config: self.ssh_config.or_else(|| below.ssh_config.clone()),
            host_keys: self.host_keys.or(below.host_keys),
            known_hosts: self.known_hosts.or_else(|| below.known_hosts.clone()),
            access: self.access.or(below.access),
            listen_port: self.listen_port.or(below.listen_port),
            bind: self.bind.or(below.bind),
            install_dir: self.install_dir.or_else(|| below.install_dir.clone()),
            labels: labels.collect(),
            settings: settings.collect(),
        }
    }
}

/// A text that a rule has to agree with.
pub(super) fn checked_text(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    rule: fn(&str) -> Result<(), Refusal>,
) -> Option<Spanned<String>> {
    let text = reader.text(section, key)?;
    accept(reader, &text, rule).then_some(text)
}

/// Does the rule agree? Otherwise its refusal is reported.
pub(super) fn accept(
    reader: &mut Reader<'_>,
    text: &Spanned<String>,
    rule: fn(&str) -> Result<(), Refusal>,
) -> bool {
    let refusal = rule(text.get_ref());
    if let Err(Refusal { wrong, help }) = &refusal {
        let message = format!("`{}` {wrong}", shown(text.get_ref()));
        reader.problem(problem(message, text.span(), "").with_help(help.clone()));
    }
    refusal.is_ok()
}

/// A path on the driver's machine.
pub(super) fn local_path(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    base: &Path,
) -> Option<PathBuf> {
    let text = reader.text(section, key)?;
    resolved(reader, key, &text, base)
}

/// The path that a text means, if it is possible.
pub(super) fn resolved(
    reader: &mut Reader<'_>,
    key: &str,
    text: &Spanned<String>,
    base: &Path,
) -> Option<PathBuf> {
    let path = paths::local(base, text.get_ref());
    path.map_err(|reason| {
        let message = format!("`{}` is not a path for `{key}`: {reason}", shown(text.get_ref()));
        reader.problem(problem(message, text.span(), ""));
    })
    .ok()
}

/// The installation directory.
pub(super) fn install_dir(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<String> {
    let text = reader.text(section, "install_dir")?;
    let directory = paths::installation(text.get_ref());
    directory
        .map_err(|reason| {
            let message = format!("`{}` cannot be the install_dir: {reason}", shown(text.get_ref()));
            reader.problem(
                problem(message, text.span(), "").with_help("for example ~/.chordata or /opt/chordata"),
            );
        })
        .ok()
}

fn bind(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<IpAddr> {
    let text = reader.text(section, "bind")?;
    let address = text.get_ref().parse().ok();
    if address.is_none() {
        let message = format!("`{}` is not an address to listen on", shown(text.get_ref()));
        let help =
            "`bind` is an IP address such as 0.0.0.0 (all), ::, or 10.0.0.1; the port is `listen_port`";
        reader.problem(problem(message, text.span(), "").with_help(help));
    }
    address
}

fn labels(reader: &mut Reader<'_>, section: &Section<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, (place, value)) in reader.texts(section, "labels") {
        let name = Spanned::new(place, name);
        if accept(reader, &name, rules::label) && accept(reader, &value, rules::label) {
            labels.insert(name.into_inner(), value.into_inner());
        }
    }
    labels
}

fn settings(reader: &mut Reader<'_>, section: &Section<'_>) -> BTreeMap<String, toml::Value> {
    let mut settings = BTreeMap::new();
    for (name, (place, value)) in reader.scalars(section, "settings") {
        match keys::setting_elsewhere(&name) {
            Some(instead) => {
                let message = format!("`{name}` is not given under `settings`");
                reader.problem(problem(message, place, "").with_help(instead));
            }
            None => {
                settings.insert(name, value);
            }
        }
    }
    settings
}
