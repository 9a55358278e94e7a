//! Every setting of a server: once, for the configuration file, the environment and the flags.
//!
//! Order: a flag wins over its environment variable, that over the file, that over the default. The three have the
//! same names: `call_timeout_ms` in the file, `CHORDATA_CALL_TIMEOUT_MS`, `--call-timeout-ms`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chordata_protocol::ring::RingSettings;
use chordata_protocol::{Address, Consistency, Durability, Id, Lease, Placement, Replication, Space};
use chordata_rpc::service::ClusterId;
use chordata_rpc::{Limits, Secret};
use serde::{Deserialize, Serialize};

use crate::http::settings::HTTP_CONNECTIONS_MAX;
pub use crate::http::settings::{HTTP_PORTS, HttpListen, HttpSettings, Token};

/// The port of the RPC services.
pub const PORT_DEFAULT: u16 = 18861;

/// How a node without a fixed id gets its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementSetting {
    /// In the middle of the widest arc
    Bisect,
    /// At SHA-1 of the advertised address
    Hash,
}

/// How a cluster keeps its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ConsistencySetting {
    /// One copy, in memory, handed over when nodes join and leave
    Single,
    /// Chains of k copies: linearizable
    Chain,
    /// k copies that become equal in time: always answers
    Eventual,
}

/// When a write is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DurabilitySetting {
    /// Never: lost with the process
    Memory,
    /// Within a second
    Interval,
    /// Before the answer
    Sync,
}

impl From<DurabilitySetting> for Durability {
    fn from(setting: DurabilitySetting) -> Durability {
        match setting {
            DurabilitySetting::Memory => Durability::Memory,
            DurabilitySetting::Interval => Durability::Interval,
            DurabilitySetting::Sync => Durability::Sync,
        }
    }
}

/// What a server can be told. Everything is optional; [`Settings::resolve`] fills in the defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Address to listen on: IP or IP:PORT [default: 127.0.0.1:18861]
    #[arg(long, env = "CHORDATA_LISTEN", value_name = "IP[:PORT]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Port to listen on, where --listen does not say; 0 takes a free one [default: 18861]
    #[arg(long, env = "CHORDATA_PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where other nodes and clients reach this one: HOST or HOST:PORT [default: the address it listens on]
    #[arg(long, env = "CHORDATA_ADVERTISE", value_name = "HOST[:PORT]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// A node of the ring to join (repeatable, or separated by commas). Without any, the node starts a ring
    #[arg(long, env = "CHORDATA_JOIN", value_name = "HOST[:PORT]", value_delimiter = ',')]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub join: Vec<String>,
    /// How long to try to join before giving up with exit code 4, in seconds [default: 60]
    #[arg(long, env = "CHORDATA_JOIN_TIMEOUT", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_timeout: Option<f64>,
    /// Start a new ring if this node has never been in one, although --join names others
    #[arg(long, env = "CHORDATA_BOOTSTRAP", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<bool>,
    /// Be up, but in no ring, until told to enter one; when its part in a ring is over, wait for the next
    #[arg(long, env = "CHORDATA_STANDBY", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby: Option<bool>,
    /// The manager that this server makes itself known to, under its --name; goes with --standby
    #[arg(long, env = "CHORDATA_MANAGER", value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// Where tables are that a manager has this server load: details-YYYY.csv [default: data/storm]
    #[arg(long, env = "CHORDATA_DHT_DATA", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dht_data: Option<PathBuf>,
    /// A fixed place on the ring: decimal, or 0x and hexadecimal digits
    #[arg(long, env = "CHORDATA_ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How the place is chosen where no id is fixed [default: bisect]
    #[arg(long, env = "CHORDATA_PLACEMENT", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementSetting>,
    /// A name for this node, for logs
    #[arg(long, env = "CHORDATA_NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Directory that keeps the node's id and the addresses it knows over restarts. Without it nothing is kept
    #[arg(long, env = "CHORDATA_DATA", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// The cluster's id: 32 hexadecimal digits [default: made by the first node, learned by the others]
    #[arg(long, env = "CHORDATA_CLUSTER", value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// File with the cluster's secret: at least 16 characters
    #[arg(long, env = "CHORDATA_SECRET_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Allow listening on other addresses than this machine's own without a secret
    #[arg(long, env = "CHORDATA_INSECURE", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Size of the ring in bits, 3 to 160; the first node decides [default: 160]
    #[arg(long, env = "CHORDATA_BITS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<u8>,
    /// Length of successor lists; the first node decides [default: 4]
    #[arg(long, env = "CHORDATA_SUCCESSORS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successors: Option<u8>,
    /// How the cluster keeps its data; the first node decides [default: chain]
    #[arg(long, env = "CHORDATA_CONSISTENCY", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency: Option<ConsistencySetting>,
    /// Copies of each key, k; the first node decides [default: 3]
    #[arg(long, env = "CHORDATA_REPLICATION", value_name = "K")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<u8>,
    /// When a write is on disk; the first node decides [default: interval with --data, else memory]
    #[arg(long, env = "CHORDATA_DURABILITY", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<DurabilitySetting>,
    /// Let any replica whose copy of the key is clean answer reads, in chain mode, not only the last one; the first
    /// node decides [default: true]
    #[arg(long, env = "CHORDATA_CLEAN_READS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean_reads: Option<bool>,
    /// How long a node may serve after it was last heard, in chain mode, in milliseconds; the first node decides
    /// [default: 1000]
    #[arg(long, env = "CHORDATA_LEASE_MS", value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// How often the neighbours are checked, in milliseconds [default: 500]
    #[arg(long, env = "CHORDATA_STABILIZE_MS", value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stabilize_ms: Option<u64>,
    /// How often a finger is looked up again, in milliseconds [default: 2000]
    #[arg(long, env = "CHORDATA_FINGER_MS", value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finger_ms: Option<u64>,
    /// How long another node may take to answer a call, in milliseconds [default: 1000]
    #[arg(long, env = "CHORDATA_CALL_TIMEOUT_MS", value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_timeout_ms: Option<u64>,
    /// The most nodes that one lookup asks [default: 512]
    #[arg(long, env = "CHORDATA_HOP_LIMIT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop_limit: Option<u32>,
    /// The most connections at once [default: 1024]
    #[arg(long, env = "CHORDATA_CONNECTIONS_MAX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<usize>,
    /// The most requests at once on one connection [default: 1024]
    #[arg(long, env = "CHORDATA_IN_FLIGHT_MAX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_max: Option<usize>,
    /// Answer HTTP too: IP, IP:PORT or PORT. Without a port the first free one from 5000 up. Other addresses than this
    /// machine's own need --http-token-file [default: 127.0.0.1 and 5000 or the next free port, if --http is given]
    #[arg(long, env = "CHORDATA_HTTP", value_name = "IP[:PORT]", num_args = 0..=1, default_missing_value = "127.0.0.1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// File with the token that HTTP requests must bring (Authorization: Bearer TOKEN): at least 16 characters
    #[arg(long, env = "CHORDATA_HTTP_TOKEN_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_token_file: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,chordata_server=debug [default: info]
    #[arg(long, env = "CHORDATA_LOG", value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Log a line for each hop of each request that this node takes
    #[arg(long, env = "CHORDATA_TRACE_REQUESTS", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_requests: Option<bool>,
}

/// Settings that cannot be obeyed. The server does not start.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("the configuration file {0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The file is not what it should be.
    #[error("the configuration file {0} is wrong: {1}")]
    Malformed(PathBuf, String),
    /// A setting has a value that it cannot have.
    #[error("{setting} cannot be {value:?}: {reason}")]
    Impossible {
        /// Which.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// Why not.
        reason: String,
    },
    /// Anybody could read and write.
    #[error(
        "listening on {0} without a secret would let anybody read and write: give the nodes a --secret-file, or say \
         --insecure if the network is trusted"
    )]
    NeedsSecret(IpAddr),
    /// Anybody could read and write through HTTP.
    #[error(
        "answering HTTP on {0} without a token would let anybody read and write: give a --http-token-file, or leave the \
         address away to answer on 127.0.0.1 only"
    )]
    NeedsToken(IpAddr),
    /// The node would be reached at no address.
    #[error("listening on {0} needs --advertise HOST: the address at which the other nodes reach this one")]
    NeedsAdvertise(SocketAddr),
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read, or is no valid configuration: with the line and what is known there.
    pub fn load(path: &Path) -> Result<Settings, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| SettingsError::Unreadable(path.to_owned(), error))?;
        let mut settings: Settings = toml::from_str(&text)
            .map_err(|error| SettingsError::Malformed(path.to_owned(), error.to_string()))?;
        // Paths in the file are relative to it.
        let base = path.parent().unwrap_or(Path::new(""));
        let files = [
            &mut settings.data,
            &mut settings.secret_file,
            &mut settings.http_token_file,
            &mut settings.dht_data,
        ];
        for file in files.into_iter().flatten() {
            *file = base.join(&*file);
        }
        Ok(settings)
    }

    /// These settings where they are set, those of the file elsewhere.
    ///
    /// # Errors
    /// Never for settings that came from here; a conversion that fails is reported as malformed.
    pub fn over(self, file: Settings) -> Result<Settings, SettingsError> {
        let malformed = |error: String| SettingsError::Malformed(PathBuf::from("(flags)"), error);
        let mut table = toml::Table::try_from(file).map_err(|error| malformed(error.to_string()))?;
        table.extend(toml::Table::try_from(self).map_err(|error| malformed(error.to_string()))?);
        table.try_into().map_err(|error: toml::de::Error| malformed(error.to_string()))
    }

    /// Fills in the defaults and checks everything.
    ///
    /// # Errors
    /// When a setting has a value that it cannot have.
    pub fn resolve(self) -> Result<Resolved, SettingsError> {
        let listen = self.listen_address()?;
        let secret = self.secret()?;
        if !listen.ip().is_loopback() && secret.is_none() && self.insecure != Some(true) {
            return Err(SettingsError::NeedsSecret(listen.ip()));
        }
        if listen.ip().is_unspecified() && self.advertise.is_none() {
            return Err(SettingsError::NeedsAdvertise(listen));
        }
        let ring = self.ring()?;
        let id = match &self.id {
            None => None,
            Some(text) => {
                Some(ring.space.parse(text).map_err(|error| impossible("id", text, &error.to_string()))?)
            }
        };
        let cluster = match &self.cluster {
            None => None,
            Some(text) => {
                Some(text.parse::<ClusterId>().map_err(|error| impossible("cluster", text, &error))?)
            }
        };
        let limits = Limits {
            connections_max: self.connections_max.unwrap_or(Limits::default().connections_max),
            in_flight_max: self.in_flight_max.unwrap_or(Limits::default().in_flight_max),
            ..Limits::default()
        };
        for (setting, value) in
            [("connections_max", limits.connections_max), ("in_flight_max", limits.in_flight_max)]
        {
            if value == 0 {
                return Err(impossible(setting, "0", "a server that takes nothing serves nobody"));
            }
        }
        let manager = self.manager()?;
        let join_timeout = self.join_timeout.unwrap_or(60.0);
        let (replication, lease) = (self.replication()?, self.lease()?);
        let http = self.http_settings()?;
        Ok(Resolved {
            replication,
            lease,
            listen,
            advertise: self.advertise,
            join: self.join.iter().map(|text| with_port(text)).collect::<Result<_, _>>()?,
            join_timeout: Duration::try_from_secs_f64(join_timeout)
                .map_err(|error| impossible("join_timeout", &join_timeout.to_string(), &error.to_string()))?,
            bootstrap: self.bootstrap.unwrap_or(false),
            standby: self.standby.unwrap_or(false),
            displaced: false,
            placement: match (id, self.placement) {
                (Some(id), _) => Placement::Fixed(id),
                (None, Some(PlacementSetting::Hash)) => Placement::Hash,
                (None, Some(PlacementSetting::Bisect) | None) => Placement::Bisect,
            },
            id,
            name: self.name,
            manager,
            tables: self.dht_data.unwrap_or_else(|| PathBuf::from(crate::tables::DIRECTORY_DEFAULT)),
            data: self.data,
            cluster,
            secret,
            ring,
            limits,
            http,
        })
    }

    fn http_settings(&self) -> Result<Option<HttpSettings>, SettingsError> {
        let token = match &self.http_token_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| SettingsError::Unreadable(path.clone(), error))?;
                let token = Token::new(&text)
                    .map_err(|reason| impossible("http_token_file", &path.display().to_string(), &reason))?;
                Some(token)
            }
        };
        let Some(text) = &self.http else { return Ok(None) };
        let listen = HttpListen::parse(text).map_err(|reason| impossible("http", text, &reason))?;
        if !listen.ip.is_loopback() && token.is_none() {
            return Err(SettingsError::NeedsToken(listen.ip));
        }
        Ok(Some(HttpSettings {
            listen,
            token,
            connections_max: self.connections_max.unwrap_or(HTTP_CONNECTIONS_MAX),
        }))
    }

    fn listen_address(&self) -> Result<SocketAddr, SettingsError> {
        let Some(text) = &self.listen else {
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.unwrap_or(PORT_DEFAULT))));
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match self.port {
                Some(port) if port != address.port() => Err(impossible(
                    "port",
                    &port.to_string(),
                    &format!("listen says another one ({text}): set it in one place"),
                )),
                Some(_) | None => Ok(address),
            };
        }
        let host = if text == "localhost" { "127.0.0.1" } else { text.as_str() };
        let ip: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| {
            impossible(
                "listen",
                text,
                "it must be an IP address of this machine, or IP:PORT ([IP]:PORT for IPv6)",
            )
        })?;
        Ok(SocketAddr::new(ip, self.port.unwrap_or(PORT_DEFAULT)))
    }

    fn secret(&self) -> Result<Option<Secret>, SettingsError> {
        let Some(path) = &self.secret_file else { return Ok(None) };
        let text =
            std::fs::read_to_string(path).map_err(|error| SettingsError::Unreadable(path.clone(), error))?;
        let secret = Secret::new(&text)
            .map_err(|error| impossible("secret_file", &path.display().to_string(), &error.to_string()))?;
        Ok(Some(secret))
    }

    fn manager(&self) -> Result<Option<Address>, SettingsError> {
        let Some(text) = &self.manager else { return Ok(None) };
        if self.standby != Some(true) {
            return Err(impossible("manager", text, "only servers with --standby are for a manager"));
        }
        if self.name.is_none() {
            return Err(impossible("manager", text, "say under which --name this server is to be known"));
        }
        if !text.contains(':') {
            return Err(impossible("manager", text, "write HOST:PORT"));
        }
        with_port(text).map(Some)
    }

    fn replication(&self) -> Result<Option<Replication>, SettingsError> {
        let consistency = match self.consistency.unwrap_or(ConsistencySetting::Chain) {
            ConsistencySetting::Single => return Ok(None),
            ConsistencySetting::Chain => Consistency::Chain,
            ConsistencySetting::Eventual => Consistency::Eventual,
        };
        let factor = self.replication.unwrap_or(Replication::default().factor);
        if !(1..=16).contains(&factor) {
            return Err(impossible("replication", &factor.to_string(), "there are 1 to 16 copies of a key"));
        }
        let durability = match (self.durability, &self.data) {
            (Some(DurabilitySetting::Memory), _) | (None, None) => Durability::Memory,
            (Some(kept), Some(_)) => kept.into(),
            (None, Some(_)) => Durability::Interval,
            (Some(kept), None) => {
                let kept = Durability::from(kept).name();
                return Err(impossible(
                    "durability",
                    kept,
                    "there is no directory to keep data in: give --data DIR",
                ));
            }
        };
        let clean_reads = self.clean_reads.unwrap_or(true);
        Ok(Some(Replication { consistency, factor, durability, clean_reads }))
    }

    fn lease(&self) -> Result<Lease, SettingsError> {
        match self.lease_ms {
            None => Ok(Lease::default()),
            // Shorter, and it would run out while a new leader is elected.
            Some(ms @ 1000..=600_000) => Ok(Lease { lasts: Duration::from_millis(ms), ..Lease::default() }),
            Some(ms) => Err(impossible("lease_ms", &ms.to_string(), "it is from one second to ten minutes")),
        }
    }

    fn ring(&self) -> Result<RingSettings, SettingsError> {
        let default = RingSettings::default();
        let bits = self.bits.unwrap_or(Space::BITS_MAX);
        let space = Space::new(bits)
            .ok_or_else(|| impossible("bits", &bits.to_string(), "a ring has 3 to 160 bits"))?;
        let successors = self.successors.map_or(default.successors, usize::from);
        if !(1..=32).contains(&successors) {
            return Err(impossible("successors", &successors.to_string(), "a list has 1 to 32 entries"));
        }
        let millis = |setting, value: Option<u64>, default: Duration| match value {
            None => Ok(default),
            Some(value @ 1..=3_600_000) => Ok(Duration::from_millis(value)),
            Some(value) => Err(impossible(setting, &value.to_string(), "it is from 1 ms to an hour")),
        };
        Ok(RingSettings {
            space,
            successors,
            stabilize_every: millis("stabilize_ms", self.stabilize_ms, default.stabilize_every)?,
            finger_every: millis("finger_ms", self.finger_ms, default.finger_every)?,
            call_timeout: millis("call_timeout_ms", self.call_timeout_ms, default.call_timeout)?,
            hop_limit: self.hop_limit.unwrap_or(default.hop_limit).max(1),
            ..default
        })
    }
}

fn impossible(setting: &'static str, value: &str, reason: &str) -> SettingsError {
    SettingsError::Impossible { setting, value: value.to_owned(), reason: reason.to_owned() }
}

/// `HOST[:PORT]` with the default port where there is none.
///
/// # Errors
/// When it is no host and port.
pub fn with_port(text: &str) -> Result<Address, SettingsError> {
    let bad = |reason: &str| Err(impossible("address", text, reason));
    let bare_v6 = text.matches(':').count() > 1 && !text.starts_with('[');
    let full = if bare_v6 {
        format!("[{text}]:{PORT_DEFAULT}")
    } else if text.ends_with(']') || !text.contains(':') {
        format!("{text}:{PORT_DEFAULT}")
    } else {
        text.to_owned()
    };
    let address = Address::new(&full);
    match address.port() {
        None | Some(0) => bad("write HOST or HOST:PORT, with a port from 1 to 65535"),
        Some(_) if address.host().is_empty() || address.host().contains(char::is_whitespace) => {
            bad("the host is missing")
        }
        Some(_) => Ok(address),
    }
}

/// Settings with nothing left open.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where others reach it, if that is not where it listens.
    pub advertise: Option<String>,
    /// Whom to ask for admission.
    pub join: Vec<Address>,
    /// How long.
    pub join_timeout: Duration,
    /// Start a ring if it has never been in one, whatever `join` says.
    pub bootstrap: bool,
    /// Be in no ring until it is told to enter one, and again when its part in that is over.
    pub standby: bool,
    /// Its place is another node's: it asks for a new one, although it has been in the ring before.
    pub displaced: bool,
    /// Which place it wants.
    pub placement: Placement,
    /// A fixed place.
    pub id: Option<Id>,
    /// For logs.
    pub name: Option<String>,
    /// Whom it makes itself known to.
    pub manager: Option<Address>,
    /// Where tables are.
    pub tables: PathBuf,
    /// Where identity is kept.
    pub data: Option<PathBuf>,
    /// Which cluster it must be.
    pub cluster: Option<ClusterId>,
    /// The cluster's secret.
    pub secret: Option<Secret>,
    /// How the cluster keeps its data, if this node is its first; none: in single copies.
    pub replication: Option<Replication>,
    /// The lease of chains, if this node is the first.
    pub lease: Lease,
    /// Of the ring protocol.
    pub ring: RingSettings,
    /// Of the RPC server.
    pub limits: Limits,
    /// The HTTP front end; none: there is none.
    pub http: Option<HttpSettings>,
}

impl Resolved {
    /// Where others reach the node, once it is known where it listens.
    ///
    /// # Errors
    /// When `advertise` is no host and port.
    pub fn advertised(&self, listening: SocketAddr) -> Result<Address, SettingsError> {
        let Some(text) = &self.advertise else { return Ok(Address::new(&listening.to_string())) };
        let has_port =
            text.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
        if has_port {
            return with_port(text);
        }
        let host =
            if text.contains(':') && !text.starts_with('[') { format!("[{text}]") } else { text.clone() };
        with_port(&format!("{host}:{}", listening.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file: Settings = toml::from_str("port = 7000\nbits = 8\njoin = [\"a\", \"b:1\"]").unwrap();
        let flags = Settings { port: Some(7001), ..Settings::default() };
        let resolved = flags.over(file).unwrap().resolve().unwrap();
        assert_eq!(resolved.listen.port(), 7001);
        assert_eq!(resolved.ring.space.bits(), 8);
        assert_eq!(resolved.join, [Address::new("a:18861"), Address::new("b:1")]);
        assert_eq!(resolved.ring.successors, 4);
    }

    #[test]
    fn what_cannot_be_obeyed_is_said() {
        let says = |text: &str| {
            let settings: Settings = toml::from_str(text).unwrap();
            settings.resolve().unwrap_err().to_string()
        };
        assert!(says("listen = \"0.0.0.0\"").contains("--insecure"));
        assert!(says("listen = \"0.0.0.0\"\ninsecure = true").contains("--advertise"));
        assert!(says("manager = \"h:1\"").contains("--standby"));
        assert!(says("manager = \"h:1\"\nstandby = true").contains("--name"));
        assert!(says("bits = 2").contains("3 to 160 bits"));
        assert!(says("id = \"0x10\"\nbits = 4").contains("outside a ring of 4 bits"));
        assert!(says("listen = \"127.0.0.1:5\"\nport = 6").contains("one place"));
        assert!(says("join = [\"host:x\"]").contains("HOST:PORT"));
        assert!(toml::from_str::<Settings>("prot = 5").unwrap_err().to_string().contains("prot"));
    }

    #[test]
    fn advertised_is_where_it_listens_unless_it_says_otherwise() {
        let listening: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let advertised = |text: Option<&str>| {
            let settings = Settings { advertise: text.map(str::to_owned), ..Settings::default() };
            settings.resolve().unwrap().advertised(listening).unwrap().to_string()
        };
        assert_eq!(advertised(None), "127.0.0.1:4000");
        assert_eq!(advertised(Some("n1")), "n1:4000");
        assert_eq!(advertised(Some("n1:5")), "n1:5");
        assert_eq!(advertised(Some("fd00::1")), "[fd00::1]:4000");
        assert_eq!(advertised(Some("[fd00::1]:5")), "[fd00::1]:5");
    }
}
