//! `manager`: runs the process that knows peers by name.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use chordata_manager::{Settings, run};
use chordata_protocol::{Consistency, Replication};
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::state::State;
use crate::target::read_secret;

/// `manager`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ManagerArguments {
    /// Port to listen on; 0 takes a free one
    port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    listen: IpAddr,
    /// Directory of its book: it survives a crash with it [default: in your state directory, by the port]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How rings keep their records: chain or eventual
    #[arg(long, default_value = "chain")]
    consistency: Consistency,
    /// Copies of each record
    #[arg(long, default_value_t = Replication::default().factor, value_name = "K",
        value_parser = clap::value_parser!(u8).range(1..=16))]
    replication: u8,
    /// Allow listening on other addresses than this machine's own without a secret
    #[arg(long)]
    insecure: bool,
}

impl ManagerArguments {
    /// Runs until it is told to stop.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let secret = read_secret(context.target.secret_file.as_deref())?;
        if !self.listen.is_loopback() && secret.is_none() && !self.insecure {
            return Err(Failure::input(format!(
                "listening on {} without a secret would let anybody command the peers: give --secret-file, or say \
                 --insecure if the network is trusted",
                self.listen
            )));
        }
        let data = match (&self.data, self.port) {
            (Some(data), _) => data.clone(),
            (None, 0) => {
                return Err(Failure::input(
                    "port 0 is another one each time: say with --data where the book is",
                ));
            }
            (None, port) => State::of_user()?.manager(port),
        };
        let settings = Settings {
            listen: SocketAddr::new(self.listen, self.port),
            data,
            secret,
            replication: Replication {
                consistency: self.consistency,
                factor: self.replication,
                ..Replication::default()
            },
        };
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let told = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let output = context.output;
        let ready = move |address: SocketAddr| output.raw(format!("ready manager {address}\n").as_bytes());
        run(settings, told, ready).await.map_err(Failure::failed)
    }
}
