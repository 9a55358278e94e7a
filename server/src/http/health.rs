//! Whether the process runs, whether it can serve, and its metrics: for whoever watches over it.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{json, of_kind};
use super::front::Shared;
use super::problem::Problem;

/// It is well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// For people.
    #[schema(example = "ready")]
    message: &'static str,
}

/// Does the process run?
///
/// Needs no token.
#[utoipa::path(
    get, path = "/healthz", tag = "watching",
    responses((status = 200, description = "It does", body = Health)),
)]
pub(crate) async fn healthz() -> Response {
    json(&Health { message: "this process runs" })
}

/// Is the node in the ring, and able to serve?
///
/// Needs no token.
#[utoipa::path(
    get, path = "/readyz", tag = "watching",
    responses(
        (status = 200, description = "It is", body = Health),
        (status = 503, description = "Not now", body = Problem),
    ),
)]
pub(crate) async fn readyz(State(front): State<Shared>) -> Result<Response, Problem> {
    let status = front.status().filter(|status| status.member).ok_or_else(Problem::not_in_ring)?;
    let has_view = status.chain.as_ref().is_none_or(|chain| chain.view.is_some());
    // In chains the ring is of no use without a leader that could change them, and leases that it renews.
    let is_led = status.chain.as_ref().is_none_or(|chain| chain.unled_for < status.settings.lease.lasts * 3);
    if has_view && is_led {
        return Ok(json(&Health { message: "ready" }));
    }
    Err(Problem::new(
        super::problem::Code::Unavailable,
        "the node hears of no majority of the servers that agree on who serves what",
    ))
}

/// What Prometheus collects
///
/// The text format, version 0.0.4.
#[utoipa::path(
    get, path = "/metrics", tag = "watching",
    responses((status = 200, description = "Counters and gauges", body = String, content_type = "text/plain")),
)]
pub(crate) async fn metrics(State(front): State<Shared>) -> Response {
    let status = front.status();
    of_kind("text/plain; version=0.0.4; charset=utf-8", front.metrics.text(status.as_ref()))
}
