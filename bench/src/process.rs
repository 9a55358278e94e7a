//! Servers in processes of their own: this program runs itself again with a hidden subcommand.
//!
//! A server prints `ready NAME ADDRESS` when it can be called, and ends when its standard input is closed, so none
//! outlives the measurement, however that ends.

use std::process::{ExitCode, Stdio};

use chordata_protocol::Address;
use chordata_server::Settings;
use chordata_server::command::{self, ServeArguments};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::{BenchError, bare};

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Served {
    /// One node of Chordata, alone in its ring
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

    /// Runs it in this process until standard input is closed.
    pub fn run(self) -> ExitCode {
        match self {
            // With its logging and all: what `chordata-server` does.
            Served::Chordata => command::serve(&ServeArguments {
                config: None,
                settings: Settings { port: Some(0), log: Some("warn".to_owned()), ..Settings::default() },
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
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When it ends instead.
    pub async fn start(served: Served) -> Result<Server, BenchError> {
        let program = std::env::current_exe().map_err(BenchError::server)?;
        let mut child = Command::new(program)
            .args(["server", served.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(BenchError::server)?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line).await.map_err(BenchError::server)?;
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
