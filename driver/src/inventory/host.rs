//! A host of an inventory with everything about it decided: its own keys, else `[defaults]`, else the built-in ones.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use chordata_protocol::Id;

/// The port of a server's RPC, unless another is given.
pub(crate) const LISTEN_PORT: u16 = 18861;

/// Where a deployment goes on a host, unless another directory is given.
pub(crate) const INSTALL_DIR: &str = "~/.chordata";

/// How the driver reaches a host and its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Access {
    /// Commands over SSH, RPC straight to the server's address.
    #[default]
    Direct,
    /// Commands and RPC over SSH: the host shows only its SSH port to the driver.
    Ssh,
    /// The driver's own machine: no SSH at all.
    Local,
}

/// What to do with a host key that is not known yet. A known host whose key has changed is refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum HostKeys {
    /// Refuse it.
    #[default]
    Strict,
    /// Remember it.
    AcceptNew,
}

/// One server of the cluster and the host that it runs on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Host {
    /// What the user calls it; unlike every other host's.
    pub name: String,
    /// The inventory's line that it is written on, counted from 1.
    pub line: usize,
    /// The destination for ssh: a host name, an address, or an alias of the ssh_config. Without a user or port.
    pub ssh: String,
    /// Whom to log in as; none: as ssh decides.
    pub user: Option<String>,
    /// The SSH port; none: as ssh decides.
    pub port: Option<u16>,
    /// The private key; none: as ssh decides. May begin with `~`, like the next two: see
    /// [`expand_home`](super::expand_home).
    pub identity_file: Option<PathBuf>,
    /// A configuration for ssh; none: the user's.
    pub ssh_config: Option<PathBuf>,
    /// Where known host keys are; none: as ssh decides, or the cluster's own file with [`HostKeys::AcceptNew`].
    pub known_hosts: Option<PathBuf>,
    /// What to do with an unknown host key.
    pub host_keys: HostKeys,
    /// How to reach it.
    pub access: Access,
    /// Where the other servers and the clients find it: a host name or IP address, without port or brackets.
    pub address: String,
    /// The port of its RPC.
    pub listen_port: u16,
    /// The address to listen on.
    pub bind: IpAddr,
    /// Its place on the ring, if that is fixed.
    pub id: Option<Id>,
    /// Where the deployment goes on the host: absolute or below `~/`, without a slash at the end.
    pub install_dir: String,
    /// For `--label`.
    pub labels: BTreeMap<String, String>,
    /// For the server's own configuration, which judges them: texts, numbers and booleans.
    pub settings: BTreeMap<String, toml::Value>,
}

impl Host {
    /// Where the other servers and the clients find it: `10.0.0.1:18861`, `[2001:db8::1]:18861`.
    pub(crate) fn ring_address(&self) -> String {
        with_port(&self.address, self.listen_port)
    }

    /// Where its server listens: `0.0.0.0:18861`.
    pub(crate) fn listen_address(&self) -> String {
        with_port(&self.bind.to_string(), self.listen_port)
    }

    /// Does it run on the driver's own machine?
    pub(crate) fn is_local(&self) -> bool {
        self.access == Access::Local
    }
}

fn with_port(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}
