//! What `chordata inventory template` prints.

/// An inventory with every key explained. It is one: three hosts, and each optional key commented out with its
/// default or an example. Comments that explain begin with `# `, keys to be enabled with `#` alone.
pub(crate) const TEMPLATE: &str = r#"# An inventory of Chordata: the hosts of one cluster.
#
#   chordata check -i FILE      are the hosts fit?
#   chordata up -i FILE         deploys, starts, waits until the ring is whole
#   chordata down -i FILE       stops the servers; their data stays
#
# The first host starts the ring, the others join it. Unknown keys are errors. Paths of files on this machine are
# relative to this file; `~` is your home directory.

# The shortest inventory is one line, with what you would give to ssh (a number is the SSH port). It stands before the
# first [section], and can be mixed with [[host]] sections below.
#hosts = ["node4", "ubuntu@node5", "ubuntu@node6:2222"]

# What holds for all servers together.
[cluster]
# What the cluster is called; by default like this file.
#name = "my-ring"
# The ring has 2^bits places, from 3 (to look at) to 160 (SHA-1).
#bits = 160
# How many of its successors each server knows: 1 to 32. The ring heals when all but one of them die together.
#successors = 4
# Where a server joins: "bisect" (in the middle of the widest gap) or "hash" (at SHA-1 of its address).
#placement = "bisect"
# How data is kept: "chain" (copies of every key on several servers, always the same; a server may die), "eventual"
# (copies that become the same in time; any server answers always) or "single" (one copy, in memory, handed over when
# servers join and leave). It cannot be changed later.
#consistency = "chain"
# With several copies: how many of each key there are, 1 to 16.
#replication = 3
# With several copies: when a write is on disk: "memory" (never), "interval" (within a second), "sync" (before the answer).
#durability = "sync"
# Servers and clients prove that they know this secret. By default one is made and kept in your state directory.
#secret_file = "cluster.secret"
# true: servers may listen beyond their own machine without a secret. Whoever reaches them can do everything.
#insecure = false
# Where deployments go on the hosts; no sudo needed for the default. `chordata destroy` erases it.
#install_dir = "~/.chordata"
# How many hosts are worked on at once. SSH gateways tolerate about 10.
#parallel = 10

# The server to upload, by what `uname -m` says on the host. By default the one that lies beside the driver.
#[cluster.binaries]
#x86_64 = "dist/chordata-x86_64"
#aarch64 = "dist/chordata-aarch64"

# What holds for each host that does not say otherwise.
[defaults]
# Whom to log in as, at which SSH port, with which key, by which configuration. By default ssh decides, and the
# whole of your ~/.ssh/config holds: jump hosts, agents, aliases.
#user = "ubuntu"
#port = 22
#identity_file = "~/.ssh/id_ed25519"
#ssh_config = "ssh_config"
# A host whose key is not known yet is refused ("strict") or its key is remembered ("accept-new"). One whose key has
# changed is always refused.
#host_keys = "strict"
# Where host keys are. By default your own file, or the cluster's own with "accept-new".
#known_hosts = "known_hosts"
# How the driver reaches the servers: "direct" (SSH for commands, and straight to the server's port), "ssh" (both
# over SSH: for hosts that show you only port 22), "local" (this machine, without SSH).
#access = "direct"
# The port of the servers.
#listen_port = 18861
# The address that a server listens on. By default all of its host, or 127.0.0.1 with access = "local".
#bind = "0.0.0.0"
#install_dir = "~/.chordata"
# To choose hosts by: chordata restart --label zone=a
#labels = { zone = "a" }

# For the servers' own configuration; `chordata serve --help` lists what there is.
#[defaults.settings]
#trace_requests = true

# One host. All keys of [defaults] can be repeated here, for this host alone.
[[host]]
# What you call it.
name = "node1"
# What ssh is given, if that is not its name. Without user and port: they are keys of their own.
#ssh = "node1.example.org"
# Where the other servers find it, if not by the same name: a host name or an IP address.
#address = "10.0.0.1"
# A fixed place on the ring, decimal or hexadecimal.
#id = "0x0"

[[host]]
name = "node2"

[[host]]
name = "node3"
"#;
