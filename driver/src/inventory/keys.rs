//! Every key that an inventory knows, by section; and where a key belongs that stands in the wrong one.

/// At the top of the file.
pub(super) const DOCUMENT: &[&str] = &["cluster", "defaults", "hosts", "host"];

/// In `[cluster]`.
pub(super) const CLUSTER: &[&str] = &[
    "name",
    "secret_file",
    "insecure",
    "bits",
    "successors",
    "placement",
    "consistency",
    "replication",
    "durability",
    "install_dir",
    "parallel",
    "binaries",
];

/// In `[defaults]`.
pub(super) const DEFAULTS: &[&str] = &[
    "user",
    "port",
    "identity_file",
    "ssh_config",
    "host_keys",
    "known_hosts",
    "access",
    "listen_port",
    "bind",
    "install_dir",
    "labels",
    "settings",
];

/// In a `[[host]]`: its own, then those of `[defaults]`.
pub(super) const HOST: &[&str] = &[
    "name",
    "ssh",
    "address",
    "id",
    "user",
    "port",
    "identity_file",
    "ssh_config",
    "host_keys",
    "known_hosts",
    "access",
    "listen_port",
    "bind",
    "install_dir",
    "labels",
    "settings",
];

/// What other tools, and people, call them.
const ALIASES: [(&str, &str); 19] = [
    ("username", "user"),
    ("ansible_user", "user"),
    ("login", "user"),
    ("ssh_port", "port"),
    ("ansible_port", "port"),
    ("key", "identity_file"),
    ("ssh_key", "identity_file"),
    ("private_key", "identity_file"),
    ("hostname", "ssh"),
    ("ansible_host", "ssh"),
    ("ip", "address"),
    ("advertise", "address"),
    ("listen", "bind"),
    ("rpc_port", "listen_port"),
    ("tags", "labels"),
    ("config", "settings"),
    ("replicas", "replication"),
    ("copies", "replication"),
    ("replication_factor", "replication"),
];

/// Settings of the server that the inventory sets itself, and what to use instead.
const SETTINGS_ELSEWHERE: [(&str, &str); 17] = [
    ("listen", "set `bind` and `listen_port` of the host"),
    ("bind", "set `bind` of the host"),
    ("port", "set `listen_port` of the host"),
    ("advertise", "set `address` and `listen_port` of the host"),
    ("id", "set `id` of the host"),
    ("join", "the driver tells each server whom to join"),
    ("bits", "set `bits` in [cluster]: it is the same for all"),
    ("successors", "set `successors` in [cluster]: it is the same for all"),
    ("placement", "set `placement` in [cluster]: it is the same for all"),
    ("consistency", "set `consistency` in [cluster]: it is the same for all"),
    ("replication", "set `replication` in [cluster]: it is the same for all"),
    ("durability", "set `durability` in [cluster]: it is the same for all"),
    ("insecure", "set `insecure` in [cluster]: it is the same for all"),
    ("secret", "set `secret_file` in [cluster]: it is the same for all"),
    ("secret_file", "set `secret_file` in [cluster]: it is the same for all"),
    ("standby", "the servers of an inventory are in its ring: start others with `chordata serve --standby`"),
    ("manager", "the servers of an inventory are in its ring: start others with `chordata serve --standby`"),
];

/// The key of this section that an unknown one is an everyday name for.
pub(super) fn alias(name: &str, known: &[&str]) -> Option<&'static str> {
    let (_, right) = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name))?;
    known.contains(right).then_some(*right)
}

/// Where an unknown key belongs, if it is known in another section.
pub(super) fn elsewhere(name: &str, known: &[&str]) -> Option<&'static str> {
    if known == DOCUMENT {
        let below = [CLUSTER, HOST].iter().any(|section| section.contains(&name));
        return below.then_some("belongs below a section: [cluster], [defaults] or [[host]]");
    }
    if DEFAULTS.contains(&name) {
        Some("belongs in [defaults], for all hosts, or in a [[host]], for one")
    } else if HOST.contains(&name) {
        Some("belongs in a [[host]]")
    } else if CLUSTER.contains(&name) {
        Some("belongs in [cluster]")
    } else if name == "hosts" {
        Some("stands at the top of the file, before the first [section]")
    } else {
        None
    }
}

/// Why a setting of the server is not given under `settings`, if the inventory has another way to say it.
pub(super) fn setting_elsewhere(name: &str) -> Option<&'static str> {
    let name = name.replace('-', "_");
    SETTINGS_ELSEWHERE.iter().find(|(setting, _)| *setting == name).map(|(_, instead)| *instead)
}
