//! The measurement of fingers, small: 16 real nodes in this process. Hops are as theory says, every owner is right,
//! and refreshes on all nodes at once end and then find nothing to change.

use std::time::Duration;

use chordata_bench::fingers::{self, FingerSettings};
use chordata_protocol::Policy;
use chordata_server::settings::PlacementSetting;

/// How long all may take.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn fingers_are_used_and_refreshes_on_all_nodes_at_once_end() {
    let settings = FingerSettings {
        nodes: 16,
        lookups: 1_000,
        other_lookups: 500,
        placement: PlacementSetting::Bisect,
        seed: 1,
    };
    let report = tokio::time::timeout(LIMIT, fingers::run(&settings))
        .await
        .expect("it must end")
        .expect("the ring starts and every call is answered");

    assert_eq!(report.problems(), Vec::<String>::new(), "{report}");
    let mean = |policy| report.hops(policy).map(|hops| hops.hops.mean()).expect("it was measured");
    assert!(mean(Policy::Finger) * 2.0 < mean(Policy::Successor), "{report}");
    assert!(mean(Policy::OneHop) <= 1.0, "{report}");
}
