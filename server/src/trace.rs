//! Watching a request travel: one line for each hop, on the node that took it.
//!
//! All lines of one request carry its number, on whichever node they are: it travels in the RPC's own trace context.
//! They are logged at debug level, or at info with `--trace-requests`.

use std::sync::atomic::{AtomicBool, Ordering};

use tarpc::context::Context;
use tarpc::trace::TraceId;

static TO_INFO: AtomicBool = AtomicBool::new(false);

/// From now on hops are logged at info level.
pub(crate) fn log_hops_at_info() {
    TO_INFO.store(true, Ordering::Relaxed);
}

/// Would a hop be logged? Asked before a line is put together.
pub(crate) fn is_on() -> bool {
    TO_INFO.load(Ordering::Relaxed) || tracing::enabled!(target: "chordata::request", tracing::Level::DEBUG)
}

/// The number of a request.
pub(crate) fn request_of(context: &Context) -> u128 {
    u128::from(context.trace_context.trace_id)
}

/// A context for a call that belongs to a request.
pub(crate) fn context_for(request: u128, limit: std::time::Duration) -> Context {
    let mut context = chordata_rpc::within(limit);
    context.trace_context.trace_id = TraceId::from(request);
    context
}

/// Logs a hop.
pub(crate) fn hop(node: &chordata_protocol::Peer, request: u128, line: std::fmt::Arguments<'_>) {
    // What the ring asks for its own upkeep has no number.
    if request == 0 {
        return;
    }
    let request = request as u32;
    if TO_INFO.load(Ordering::Relaxed) {
        tracing::info!(target: "chordata::request", node = %node.address, "request {request:08x}: {line}");
    } else {
        tracing::debug!(target: "chordata::request", node = %node.address, "request {request:08x}: {line}");
    }
}
