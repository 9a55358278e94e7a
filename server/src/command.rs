//! `chordata-server` and `chordata serve`: one server in the foreground.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use chordata_rpc::TcpNet;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::settings::{Settings, SettingsError};
use crate::standby::{self, News, Over};
use crate::start::{Ending, StartError};
use crate::{logging, trace};

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

/// Runs a server until it is told to stop, or has left the ring and was not started with `--standby`.
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
    let told = async {
        tokio::select! {
            _ = terminate.recv() => info!("told to stop: a node stays a member of its ring"),
            _ = interrupt.recv() => info!("interrupted: a node stays a member of its ring"),
            () = stdin_closed(), if until_stdin_closes => info!("who started this server is gone: stopping"),
        }
        // Where there is no service manager, nobody listens.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    };
    let wanted = settings.http.take();
    let (seat, occupant) = match standby::open(settings, Arc::new(TcpNet)).await {
        Ok(opened) => opened,
        Err(problem) => return not_started(&problem),
    };
    let mut http = match wanted {
        None => None,
        Some(wanted) => match crate::http::start(wanted, seat.clone()).await {
            Ok(http) => {
                info!("HTTP is answered at http://{}", http.address);
                seat.answers_http_at(http.address);
                Some(http)
            }
            Err(problem) => {
                error!("{problem}");
                return ExitCode::FAILURE;
            }
        },
    };
    let over = {
        // HTTP first: what is under way there still has its node.
        let told = async {
            told.await;
            if let Some(http) = http.take() {
                http.stop().await;
            }
        };
        occupant.run(told, announce).await
    };
    if let Some(http) = http {
        http.stop().await;
    }
    match over {
        Over::Told => ExitCode::SUCCESS,
        Over::Ended(ending @ Ending::Departed) => {
            info!("{ending}");
            ExitCode::SUCCESS
        }
        Over::Ended(ending) => {
            error!("{ending}");
            ExitCode::FAILURE
        }
        Over::NotStarted(problem) => not_started(&problem),
    }
}

fn not_started(problem: &StartError) -> ExitCode {
    error!("{problem}");
    ExitCode::from(problem.exit_code())
}

/// Tells whoever started the server, and a service manager, that it is ready: in a ring, or on standby.
fn announce(news: News<'_>) {
    let mut out = std::io::stdout().lock();
    let (line, http) = match news {
        News::Standby { me, http } => (format!("ready standby {me}"), http),
        News::Ready { me, http } => (format!("ready {} {}", me.id.to_literal(), me.address), http),
    };
    let line = line + &http.map_or(String::new(), |http| format!(" http://{http}"));
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
