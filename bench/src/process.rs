//! Servers in processes of their own: this program runs itself again with a hidden subcommand.
//!
//! A server prints `ready NAME ADDRESS` when it can be called, and ends when its standard input is closed, so none
//! outlives the measurement, however that ends.

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use chordata_protocol::Address;
use chordata_server::Settings;
use chordata_server::command::{self, ServeArguments};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::{BenchError, bare};

/// How long a server may take until it is ready.
const START_WITHIN: Duration = Duration::from_secs(90);

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Served {
    /// One node of Chordata, with the settings of `chordata-server`
    Chordata,
    /// The bare tarpc service
    Bare,
}

impl Served {
    fn name(self) -> &'static str {
        match self {
            Served::Chordata => "chordata",
            Served::Bare => "bare",
        }
    }

    /// Runs it in this process until standard input is closed. The settings are Chordata's: where they do not say, it
    /// takes a free port and logs warnings only.
    pub fn run(self, settings: Settings) -> ExitCode {
        match self {
            // With its logging and all: what `chordata-server` does.
            Served::Chordata => command::serve(&ServeArguments {
                config: None,
                settings: Settings {
                    port: settings.port.or(Some(0)),
                    log: settings.log.clone().or_else(|| Some("warn".to_owned())),
                    ..settings
                },
                until_stdin_closes: true,
            }),
            Served::Bare => {
                match tokio::runtime::Runtime::new().map(|runtime| runtime.block_on(run_bare())) {
                    Ok(Ok(())) => ExitCode::SUCCESS,
                    Ok(Err(error)) | Err(error) => {
                        eprintln!("error: {error}");
                        ExitCode::FAILURE
                    }
                }
            }
        }
    }
}

async fn run_bare() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready bare {}", listener.local_addr()?);
    std::thread::spawn(|| {
        // Whatever comes is not for us; an error is an end, too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(0);
    });
    bare::serve(listener).await
}

/// A running server. Ends when it is dropped.
pub struct Server {
    address: Address,
    child: Child,
}

impl Server {
    /// Starts one with these flags and waits until it is ready. Settings in the environment do not count.
    ///
    /// # Errors
    /// When it ends instead.
    pub async fn start(served: Served, flags: &[String]) -> Result<Server, BenchError> {
        let program = std::env::current_exe().map_err(BenchError::server)?;
        let mut command = Command::new(program);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHORDATA_"))
        {
            command.env_remove(name);
        }
        let mut child = command
            .args(["server", served.name()])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(BenchError::server)?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            let mut output = BufReader::new(output);
            let read = tokio::time::timeout(START_WITHIN, output.read_line(&mut line)).await;
            let seconds = START_WITHIN.as_secs();
            let late = |_| BenchError::TimedOut { what: format!("{} is ready", served.name()), seconds };
            read.map_err(late)?.map_err(BenchError::server)?;
        }
        let address = line.trim_end().rsplit_once(' ').filter(|_| line.starts_with("ready "));
        let Some((_, address)) = address else {
            return Err(BenchError::Server(format!("{} said {line:?} in place of ready", served.name())));
        };
        Ok(Server { address: Address::new(address), child })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Ends it as a power cut would, without a chance to do anything (kill -9), and waits until it is gone.
    ///
    /// # Errors
    /// When the system does not let it be killed.
    pub async fn kill(mut self) -> Result<(), BenchError> {
        self.child.kill().await.map_err(BenchError::server)
    }

    /// Its resident memory in bytes; none where the system does not say.
    pub fn resident_bytes(&self) -> Option<f64> {
        resident_bytes(&self.child.id()?.to_string())
    }

    /// The most memory that it had so far, in bytes; none where the system does not say.
    pub fn peak_bytes(&self) -> Option<f64> {
        peak_bytes(&self.child.id()?.to_string())
    }

    /// Processor time that it has used, in seconds; none where the system does not say.
    pub fn cpu_seconds(&self) -> Option<f64> {
        cpu_seconds(&self.child.id()?.to_string())
    }
}

/// Processor time that this process has used, in seconds; none where the system does not say.
pub fn own_cpu_seconds() -> Option<f64> {
    cpu_seconds("self")
}

/// From Linux's `/proc`, which counts in hundredths of a second.
fn cpu_seconds(process: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may have spaces; user and system time are the 12th and 13th fields behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut hundredths = || fields.next()?.parse::<f64>().ok();
    Some((hundredths()? + hundredths()?) / 100.0)
}

/// Resident memory of a process (a number, or `self`) in bytes; none where the system does not say.
pub fn resident_bytes(process: &str) -> Option<f64> {
    memory_of(process, "VmRSS:")
}

/// The most that it was so far.
pub fn peak_bytes(process: &str) -> Option<f64> {
    memory_of(process, "VmHWM:")
}

fn memory_of(process: &str, name: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

/// The machine, in a line: figures of a busy one are worth less.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown").to_owned();
    format!("{cores} cores, load average {load} (last minute)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_when_it_is_used() {
        let Some(before) = own_cpu_seconds() else { return };
        let mut sum = 0u64;
        while own_cpu_seconds().is_some_and(|now| now < before + 0.02) {
            sum = (0..100_000u64).fold(sum, |sum, number| std::hint::black_box(sum ^ number));
        }
        assert!(own_cpu_seconds() > Some(before));
    }
}
