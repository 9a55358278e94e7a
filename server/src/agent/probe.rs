//! `probe`: facts about the host, for the driver's `check`. It judges nothing, and what cannot be known is absent.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, Uid, User, access, gethostname};

use super::bounded;
use super::error::AgentError;
use super::files;
use super::report::{PortFact, PortState, ProbeReport};
use super::systemd;

/// How long a small program of the host may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// `probe`: tells facts about this host.
#[derive(Debug, clap::Args)]
pub struct ProbeArguments {
    /// A port to try (repeatable)
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<u16>,
    /// The address to try the ports on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind: IpAddr,
    /// Where the node will be installed: its disk is looked at
    #[arg(long, value_name = "DIRECTORY", default_value = "~/.chordata")]
    install_dir: PathBuf,
}

/// Collects the facts.
pub(super) fn run(arguments: &ProbeArguments) -> Result<ProbeReport, AgentError> {
    let disk_directory = nearest_existing(&files::absolute(&arguments.install_dir)?);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).ok();
    Ok(ProbeReport {
        version: env!("CARGO_PKG_VERSION").into(),
        architecture: std::env::consts::ARCH.into(),
        machine: first_line("/proc/sys/kernel/arch").or_else(|| said_by("uname", "-m")),
        kernel: first_line("/proc/sys/kernel/osrelease"),
        hostname: host_name(),
        glibc: said_by("getconf", "GNU_LIBC_VERSION")
            .and_then(|text| text.strip_prefix("glibc ").map(str::to_owned)),
        user: user_name(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        load: first_line("/proc/loadavg").as_deref().and_then(parse_load),
        memory_total_bytes: memory_field(&memory, "MemTotal"),
        memory_available_bytes: memory_field(&memory, "MemAvailable"),
        disk_free_bytes: statvfs(&disk_directory).ok().map(|disk| {
            // The casts are needed where the kernel's types are narrower.
            #[allow(clippy::unnecessary_cast)]
            let bytes = disk.blocks_available() as u64 * disk.fragment_size() as u64;
            bytes
        }),
        disk_writable: access(&disk_directory, AccessFlags::W_OK).is_ok(),
        disk_directory: disk_directory.display().to_string(),
        open_files_soft: open_files.map(|(soft, _)| soft),
        open_files_hard: open_files.map(|(_, hard)| hard),
        systemd: systemd::facts(),
        ports: arguments.ports.iter().map(|port| try_port(arguments.bind, *port).1).collect(),
        // Last, so that it is as near as can be to the moment the driver reads the answer.
        clock_microseconds: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()
            as u64,
    })
}

/// Tries to listen on a port. The listener, if any, is the caller's to keep or drop.
pub(super) fn try_port(address: IpAddr, port: u16) -> (Option<TcpListener>, PortFact) {
    match TcpListener::bind(SocketAddr::new(address, port)) {
        Ok(listener) => {
            let port = listener.local_addr().map_or(port, |bound| bound.port());
            (Some(listener), PortFact { port, state: PortState::Free, reason: None })
        }
        Err(error) => {
            let state = match error.kind() {
                ErrorKind::AddrInUse => PortState::InUse,
                ErrorKind::PermissionDenied => PortState::Denied,
                ErrorKind::AddrNotAvailable => PortState::AddressUnavailable,
                _ => PortState::Failed,
            };
            (None, PortFact { port, state, reason: Some(error.to_string()) })
        }
    }
}

/// The name of whoever runs this.
pub(super) fn user_name() -> Option<String> {
    User::from_uid(Uid::effective()).ok().flatten().map(|user| user.name)
}

/// The host's own name.
pub(super) fn host_name() -> Option<String> {
    gethostname().ok().map(|name| name.to_string_lossy().into_owned())
}

fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn first_line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.trim().to_owned())
}

fn said_by(program: &str, argument: &str) -> Option<String> {
    let answer = bounded::run(Command::new(program).arg(argument), PATIENCE);
    (answer.success && !answer.output.trim().is_empty()).then(|| answer.output.trim().to_owned())
}

fn parse_load(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(one)), Some(Ok(five)), Some(Ok(fifteen))) => Some([one, five, fifteen]),
        _ => None,
    }
}

/// A field of /proc/meminfo, which counts in kibibytes.
fn memory_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ProbeArguments,
    }

    #[test]
    fn a_host_tells_its_facts_and_which_ports_are_free() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let port = taken.local_addr().expect("bound").port().to_string();
        let words =
            ["x", "--port", &port, "--port", "0", "--bind", "127.0.0.1", "--install-dir", "/no-such/dir"];
        let report = run(&Line::parse_from(words).arguments).expect("facts");
        let states: Vec<PortState> = report.ports.iter().map(|fact| fact.state).collect();
        assert_eq!(states, [PortState::InUse, PortState::Free]);
        assert_eq!(report.disk_directory, "/");
        assert!(report.clock_microseconds > 1_700_000_000_000_000 && report.cores > 0);
        assert!(report.memory_total_bytes > report.memory_available_bytes, "{report:?}");
        assert!(report.open_files_hard >= report.open_files_soft);
        assert!(report.disk_free_bytes.is_some() && report.load.is_some() && report.kernel.is_some());
    }

    #[test]
    fn an_address_of_another_host_is_told_from_a_taken_port() {
        // TEST-NET-1 of RFC 5737: nobody's.
        let (listener, fact) = try_port("192.0.2.1".parse().expect("an address"), 0);
        assert!(listener.is_none());
        assert_eq!(fact.state, PortState::AddressUnavailable);
    }

    #[test]
    fn the_kernels_texts_are_read_and_nonsense_is_absent() {
        assert_eq!(memory_field("MemTotal:   2 kB\nMemTotalX: 9 kB\n", "MemTotal"), Some(2048));
        assert_eq!(memory_field("MemTotal: many kB\n", "MemTotal"), None);
        assert_eq!(parse_load("0.10 1.00 2.50 1/99 4"), Some([0.1, 1.0, 2.5]));
        assert_eq!(parse_load("0.10 x"), None);
    }
}
