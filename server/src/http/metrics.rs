//! Counters of requests, and `/metrics`: what a Prometheus server collects.
//!
//! Counting costs a few atomic additions a request and no lock. What is said of the node is taken from its status at the
//! moment of being asked.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use chordata_rpc::service::{Role, Status};

/// Upper ends of the buckets of latencies, in microseconds.
const BUCKETS: [u64; 15] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000,
    10_000_000,
];
const METHODS: [Method; 5] = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];
const STATUSES: [u16; 19] =
    [200, 201, 204, 206, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 416, 500, 501, 503, 504];
/// What is counted for requests to no route of ours.
const OTHER: &str = "other";

/// Counters of one route and method.
#[derive(Default)]
struct Counted {
    /// By [`STATUSES`]; the last: any other.
    statuses: [AtomicU64; STATUSES.len() + 1],
    /// By [`BUCKETS`]; the last: longer.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// Counters of all routes.
pub(crate) struct Metrics {
    routes: HashMap<String, [Counted; METHODS.len() + 1]>,
    /// Requests that are being carried out.
    pub(crate) in_flight: AtomicU64,
    /// Open connections.
    pub(crate) connections: AtomicU64,
    /// Connections that were refused as there were too many.
    pub(crate) refused: AtomicU64,
    /// Operations carried to a node, and the hops that they took.
    pub(crate) carried: AtomicU64,
    pub(crate) hops: AtomicU64,
}

impl Metrics {
    /// For these routes.
    pub(crate) fn new(routes: impl IntoIterator<Item = String>) -> Metrics {
        let zero = AtomicU64::default;
        let routes = routes.into_iter().chain([OTHER.to_owned()]);
        Metrics {
            routes: routes.map(|route| (route, Default::default())).collect(),
            in_flight: zero(),
            connections: zero(),
            refused: zero(),
            carried: zero(),
            hops: zero(),
        }
    }

    /// A request was answered.
    pub(crate) fn count(&self, route: Option<&str>, method: &Method, status: StatusCode, took: Duration) {
        let counted = route.and_then(|route| self.routes.get(route)).or_else(|| self.routes.get(OTHER));
        let Some(counted) = counted else { return };
        let method = METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len());
        let counted = &counted[method];
        let status = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len());
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|end| *end < micros);
        counted.statuses[status].fetch_add(1, Ordering::Relaxed);
        counted.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        counted.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// An operation was carried to a node.
    pub(crate) fn hopped(&self, hops: u32) {
        self.carried.fetch_add(1, Ordering::Relaxed);
        self.hops.fetch_add(u64::from(hops), Ordering::Relaxed);
    }

    /// All requests that were answered, and those of them that failed (5xx).
    pub(crate) fn totals(&self) -> (u64, u64) {
        let all = self.routes.values().flatten();
        let (mut total, mut failed) = (0, 0);
        for counted in all {
            for (place, count) in counted.statuses.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                total += count;
                failed += if STATUSES.get(place).is_some_and(|status| *status >= 500) { count } else { 0 };
            }
        }
        (total, failed)
    }

    /// The text for Prometheus; `status` is that of the node in the ring, if there is one.
    pub(crate) fn text(&self, status: Option<&Status>) -> String {
        let mut page = Page(String::with_capacity(16 * 1024));
        self.requests(&mut page);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        page.one(
            "chordata_http_in_flight",
            "gauge",
            "Requests that are being carried out.",
            load(&self.in_flight),
        );
        page.one("chordata_http_connections", "gauge", "Open HTTP connections.", load(&self.connections));
        page.one(
            "chordata_http_connections_refused_total",
            "counter",
            "Connections that were refused as there were too many.",
            load(&self.refused),
        );
        page.one(
            "chordata_operations_total",
            "counter",
            "Single gets, puts and deletes that were carried to the node that serves the key.",
            load(&self.carried),
        );
        page.one(
            "chordata_operation_hops_total",
            "counter",
            "Nodes that those operations asked on their way, after the first.",
            load(&self.hops),
        );
        page.one("chordata_up", "gauge", "1: this process answers.", 1);
        let member = status.is_some_and(|status| status.member);
        page.one("chordata_ring_member", "gauge", "1: the node is in the ring.", u64::from(member));
        if let Some(status) = status {
            node(&mut page, status);
        }
        page.0
    }

    fn requests(&self, page: &mut Page) {
        let mut routes: Vec<_> = self.routes.iter().collect();
        routes.sort_by_key(|(route, _)| *route);
        let lines = routes.iter().flat_map(|(route, methods)| {
            methods.iter().enumerate().filter_map(move |(place, counted)| {
                let count: u64 = counted.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum();
                let method = METHODS.get(place).map_or("other", Method::as_str);
                (count > 0).then(|| (format!("route=\"{route}\",method=\"{method}\""), counted))
            })
        });
        let lines: Vec<(String, &Counted)> = lines.collect();
        page.head("chordata_http_requests_total", "counter", "Requests by route, method and status.");
        for (labels, counted) in &lines {
            for (place, count) in counted.statuses.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let status = STATUSES.get(place).map_or("other".to_owned(), u16::to_string);
                    page.line(
                        "chordata_http_requests_total",
                        &format!("{labels},status=\"{status}\""),
                        count,
                    );
                }
            }
        }
        let name = "chordata_http_request_duration_seconds";
        page.head(name, "histogram", "Time from a request's head to the head of its answer.");
        for (labels, counted) in &lines {
            let mut below = 0;
            for (place, count) in counted.buckets.iter().enumerate() {
                below += count.load(Ordering::Relaxed);
                let end = BUCKETS.get(place).map_or("+Inf".to_owned(), |end| seconds(*end));
                page.line(&format!("{name}_bucket"), &format!("{labels},le=\"{end}\""), below);
            }
            page.line(&format!("{name}_sum"), labels, seconds(counted.micros.load(Ordering::Relaxed)));
            page.line(&format!("{name}_count"), labels, below);
        }
    }
}

fn seconds(micros: u64) -> String {
    Duration::from_micros(micros).as_secs_f64().to_string()
}

/// What the node says of itself.
fn node(page: &mut Page, status: &Status) {
    let mode = status.settings.consistency().map_or("single", |mode| mode.name());
    page.head("chordata_info", "gauge", "What runs here.");
    page.line(
        "chordata_info",
        &format!(
            "version=\"{}\",node=\"{}\",id=\"{}\",cluster=\"{}\",consistency=\"{mode}\"",
            status.version,
            status.me.address,
            status.me.id.to_literal(),
            status.settings.cluster
        ),
        1,
    );
    page.one("chordata_uptime_seconds", "gauge", "Since the node started.", status.uptime.as_secs_f64());
    page.one("chordata_keys", "gauge", "Keys that the node holds.", status.keys);
    page.one("chordata_bytes", "gauge", "Bytes of keys and values that it holds.", status.bytes);
    page.one("chordata_ring_share", "gauge", "Share of the ring that it serves, from 0 to 1.", status.share);
    page.one("chordata_ring_successors", "gauge", "Entries of its successor list.", status.successors.len());
    page.one("chordata_ring_known_nodes", "gauge", "Addresses of other nodes that it knows.", status.known);
    page.one(
        "chordata_ring_silent_nodes",
        "gauge",
        "Nodes that did not answer when they were last asked.",
        status.silent.len(),
    );
    let moving = u64::from(status.handing_over);
    page.one("chordata_ring_handing_over", "gauge", "1: it is giving keys to another node.", moving);
    if let Some(chain) = &status.chain {
        chains(page, chain);
    }
    if let Some(eventual) = &status.eventual {
        copies(page, eventual);
    }
}

fn chains(page: &mut Page, chain: &chordata_rpc::service::ChainStatus) {
    if let Some(view) = &chain.view {
        page.one("chordata_view_index", "counter", "Changes of the chains that were agreed on.", view.index);
        page.one("chordata_epochs_total", "counter", "Epochs of ranges given out so far.", view.next_epoch.0);
        page.one("chordata_ranges", "gauge", "Ranges of the ring.", view.ranges.len());
        page.one("chordata_members", "gauge", "Members of the cluster.", view.members.len());
        page.one(
            "chordata_ranges_changing",
            "gauge",
            "Ranges whose chain is being changed.",
            view.pending.len(),
        );
        let present = view.members.values().filter(|member| !member.leaving).count();
        let wanted = view.replication.copies().min(present);
        let few = view.ranges.values().filter(|active| active.serving().count() < wanted).count();
        page.one("chordata_ranges_under_replicated", "gauge", "Ranges with fewer replicas than wanted.", few);
    }
    let unled = chain.unled_for.as_secs_f64();
    page.one("chordata_unled_seconds", "gauge", "Since a leader of the coordinators last answered.", unled);
    let replicas = &chain.replicas;
    page.head("chordata_replicas", "gauge", "Replicas of ranges on this node, by their part in the chain.");
    let roles = [Role::Head, Role::Middle, Role::Tail, Role::Only, Role::Syncing];
    for (role, name) in roles.into_iter().zip(["head", "middle", "tail", "only", "syncing"]) {
        let count = replicas.iter().filter(|replica| replica.role == role).count();
        page.line("chordata_replicas", &format!("role=\"{name}\""), count);
    }
    let lag: u64 = replicas.iter().map(|replica| replica.last.0.saturating_sub(replica.committed.0)).sum();
    page.one(
        "chordata_replication_lag_writes",
        "gauge",
        "Writes that the replicas here do not know to be committed.",
        lag,
    );
    let without = replicas.iter().filter(|replica| !replica.leased).count();
    page.one("chordata_replicas_without_lease", "gauge", "Replicas here that have no lease now.", without);
    let unreadable: u64 = replicas.iter().map(|replica| replica.unreadable).sum();
    page.one("chordata_records_unreadable", "gauge", "Stored records that cannot be read.", unreadable);
}

fn copies(page: &mut Page, eventual: &chordata_rpc::service::EventualStatus) {
    let counters = &eventual.counters;
    page.one("chordata_members", "gauge", "Members of the cluster.", eventual.members.len());
    page.one(
        "chordata_hints",
        "gauge",
        "Copies that are still to get to members that did not answer.",
        eventual.hints,
    );
    page.one("chordata_tombstones", "gauge", "Deleted keys that are remembered.", eventual.tombstones);
    page.one(
        "chordata_stores_away",
        "gauge",
        "Stores that do not answer and may come back.",
        eventual.away.len(),
    );
    page.one(
        "chordata_hints_kept_total",
        "counter",
        "Copies kept because a replica did not answer.",
        counters.hints_kept,
    );
    page.one("chordata_hints_delivered_total", "counter", "Of those, delivered.", counters.hints_delivered);
    page.one(
        "chordata_read_repairs_total",
        "counter",
        "Old copies that a read found and replaced.",
        counters.repairs,
    );
    page.one(
        "chordata_syncs_total",
        "counter",
        "Comparisons with another replica that came to their end.",
        counters.syncs,
    );
    page.one("chordata_sync_pulled_total", "counter", "Keys that comparisons brought here.", counters.pulled);
    page.one(
        "chordata_sync_pushed_total",
        "counter",
        "Keys that comparisons gave to others.",
        counters.pushed,
    );
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_method_and_status() {
        let metrics = Metrics::new(["/v1/kv/{key}".to_owned()]);
        let count = |route, status, micros| {
            metrics.count(route, &Method::GET, status, Duration::from_micros(micros));
        };
        count(Some("/v1/kv/{key}"), StatusCode::OK, 70);
        count(Some("/v1/kv/{key}"), StatusCode::OK, 100);
        count(Some("/v1/kv/{key}"), StatusCode::GATEWAY_TIMEOUT, 99_000_000);
        count(None, StatusCode::NOT_FOUND, 10);
        let text = metrics.text(None);
        let route = "route=\"/v1/kv/{key}\",method=\"GET\"";
        let lines = [
            format!("chordata_http_requests_total{{{route},status=\"200\"}} 2"),
            format!("chordata_http_requests_total{{{route},status=\"504\"}} 1"),
            "chordata_http_requests_total{route=\"other\",method=\"GET\",status=\"404\"} 1".to_owned(),
            format!("chordata_http_request_duration_seconds_bucket{{{route},le=\"0.00005\"}} 0"),
            format!("chordata_http_request_duration_seconds_bucket{{{route},le=\"0.0001\"}} 2"),
            format!("chordata_http_request_duration_seconds_bucket{{{route},le=\"+Inf\"}} 3"),
            format!("chordata_http_request_duration_seconds_count{{{route}}} 3"),
            "chordata_ring_member 0".to_owned(),
        ];
        for line in lines {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(metrics.totals(), (4, 1));
    }
}
