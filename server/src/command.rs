//! `chordata-server` and `chordata serve`: one node in the foreground.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chordata_rpc::TcpNet;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::settings::{Settings, SettingsError};
use crate::start::Ending;
use crate::{logging, start, trace};

/// How long a node that has left still answers.
const FAREWELL: Duration = Duration::from_millis(500);

/// Arguments of a server.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArguments {
    /// Configuration file (TOML). A flag wins over its environment variable, that over the file
    #[arg(long, env = "CHORDATA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
    /// End when standard input is closed: for servers that must not outlive who started them
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}

/// Runs a node until it is told to stop, or has left the ring.
pub fn serve(arguments: &ServeArguments) -> ExitCode {
    match prepare(arguments) {
        Ok(settings) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(run(settings, arguments.until_stdin_closes)),
                Err(error) => fail(1, &format!("the runtime cannot be built: {error}")),
            }
        }
        Err(error) => fail(2, &error),
    }
}

fn fail(code: u8, reason: &str) -> ExitCode {
    eprintln!("error: {reason}");
    ExitCode::from(code)
}

fn prepare(arguments: &ServeArguments) -> Result<crate::settings::Resolved, String> {
    let text = |error: SettingsError| error.to_string();
    let file = match &arguments.config {
        Some(path) => Settings::load(path).map_err(text)?,
        None => Settings::default(),
    };
    let settings = arguments.settings.clone().over(file).map_err(text)?;
    logging::init(settings.log.as_deref().unwrap_or("info"))?;
    if settings.trace_requests == Some(true) {
        trace::log_hops_at_info();
    }
    settings.resolve().map_err(text)
}

/// Allows as many open files as the system does: connections are files, and the usual limit is for a person's shell.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        info!("the limit of open files stays at {soft}: {error}");
    }
}

/// A panic anywhere ends the process: a thread that is gone, or a state that was left half changed, would go on giving
/// wrong answers, or none.
fn die_of_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

async fn run(mut settings: crate::settings::Resolved, until_stdin_closes: bool) -> ExitCode {
    raise_file_limit();
    die_of_panics();
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return fail(1, "signals cannot be handled");
    };
    let orphaned = async {
        if until_stdin_closes {
            stdin_closed().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(orphaned);
    loop {
        let started = tokio::select! {
            started = start(settings.clone(), Arc::new(TcpNet)) => started,
            _ = terminate.recv() => return ExitCode::SUCCESS,
            _ = interrupt.recv() => return ExitCode::SUCCESS,
            () = &mut orphaned => return ExitCode::SUCCESS,
        };
        let started = match started {
            Ok(started) => started,
            Err(problem) => {
                error!("{problem}");
                return ExitCode::from(problem.exit_code());
            }
        };
        let me = started.node.me().clone();
        announce(&format!("ready {} {}", me.id.to_literal(), me.address));
        let ending = tokio::select! {
            _ = terminate.recv() => {
                info!("told to stop: this node stays a member of the ring");
                None
            }
            _ = interrupt.recv() => {
                info!("interrupted: this node stays a member of the ring");
                None
            }
            () = &mut orphaned => {
                info!("who started this server is gone: stopping");
                None
            }
            ending = started.left() => Some(ending),
        };
        if ending == Some(Ending::Displaced) {
            info!("another node has the place {:?}: asking for a new one", me.id);
            (settings.displaced, settings.listen) = (true, started.listening);
            started.stop().await;
            continue;
        }
        let code = ending.as_ref().map_or(ExitCode::SUCCESS, say);
        if ending == Some(Ending::Departed) {
            // Whoever asked for it shall get the answer, and late requests a word where to go.
            tokio::time::sleep(FAREWELL).await;
        }
        // Where there is no service manager, nobody listens.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        started.stop().await;
        return code;
    }
}

/// Says why a node's part in the ring is over.
fn say(ending: &Ending) -> ExitCode {
    match ending {
        Ending::Departed => {
            info!("departed: nothing is left to do here");
            return ExitCode::SUCCESS;
        }
        Ending::Displaced => error!("another node has this one's place"),
        Ending::Double(peer) => error!(
            "{peer} has the same store: a data directory was copied. Only one of the two may run: start the other one with \
             an empty directory"
        ),
        Ending::Forgotten => error!(
            "this store was forgotten by its cluster and may not come back: to join as a new node, start with an empty \
             data directory"
        ),
        Ending::Removed => error!(
            "this node is no member of its cluster any more: it was told to depart, or the cluster was rebuilt without it. \
             To join as a new node, start with an empty data directory"
        ),
    }
    ExitCode::FAILURE
}

/// Tells whoever started the server, and a service manager, that it is ready.
fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    // A closed standard output is no reason to stop serving.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// A thread of its own reads: the runtime would wait for a read of its own at shutdown.
async fn stdin_closed() {
    let (closed, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whatever comes is not for us; an error is an end, too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = closed.send(());
    });
    let _ = wait.await;
}
