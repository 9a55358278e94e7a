//! Logs go to standard error; standard output is for what programs read.

use tracing_subscriber::EnvFilter;

/// Sets up logging for the process. `filter` as in `info,chordata_server=debug`.
///
/// # Errors
/// When the filter cannot be understood.
pub fn init(filter: &str) -> Result<(), String> {
    // Every call of tarpc is a span, and every one that runs out of time an error: ours say more.
    let full = format!("{filter},tarpc=off,openraft=off");
    let filter =
        EnvFilter::try_new(&full).map_err(|error| format!("the log filter {filter:?} is wrong: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .try_init()
        .map_err(|error| error.to_string())
}
