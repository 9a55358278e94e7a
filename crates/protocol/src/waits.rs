//! Who may await whom, in one list without cycles: what "non-recursive" means, written down and held.
//!
//! The system that this one replaces could not build its finger tables, because a server blocked in a call to its
//! neighbour, which called *its* neighbour, which needed the first. Here a handler awaits only *leaf* calls, whose
//! handlers await no call, or a bounded event of its own state machine. Servers check every call of a handler against
//! [`AWAITS`]; a test shows that the list has no cycle and that all that is awaited is a leaf.

/// A handler and the calls that it may await.
pub type Awaits = (&'static str, &'static [&'static str]);

/// Every handler of both services, with the calls to other nodes that it may await.
pub const AWAITS: &[Awaits] = &[
    // Client-facing: a walk, then the owner.
    ("put", &["find", "apply"]),
    ("get", &["find", "read", "read_any"]),
    ("delete", &["find", "apply"]),
    ("compare_and_swap", &["find", "apply"]),
    ("put_many", &["find", "describe", "apply_many"]),
    ("get_many", &["find", "describe", "read_many", "read_any"]),
    ("lookup", &["find"]),
    ("connect", &["find", "grant", "propose"]),
    ("update_numbers", &["describe", "adopt"]),
    ("update_finger_table", &["describe", "start_refresh", "refresh_report"]),
    // Client-facing: from the node's own state.
    ("get_node", &[]),
    ("get_conn_info", &[]),
    ("scan", &[]),
    ("fingers", &[]),
    ("status", &[]),
    ("copy", &[]),
    ("copies", &[]),
    ("records", &[]),
    ("mark", &[]),
    ("digest", &[]),
    ("unmark", &[]),
    ("depart", &["propose", "hello", "deliver"]),
    ("forget_store", &[]),
    ("forget", &["propose"]),
    ("recover", &["accept_loss"]),
    ("recover_quorum", &["status"]),
    // Between nodes: from the node's own state.
    ("ping", &[]),
    ("neighbours", &[]),
    ("notify", &[]),
    ("find", &[]),
    ("describe", &[]),
    ("grant", &[]),
    ("adopt", &[]),
    ("start_refresh", &[]),
    ("refresh_report", &[]),
    ("chunk", &[]),
    ("take_over", &[]),
    ("departing", &[]),
    ("apply", &[]),
    ("read", &[]),
    ("apply_many", &[]),
    ("read_many", &[]),
    ("read_any", &[]),
    // Chains.
    ("heartbeat", &[]),
    ("poke", &[]),
    ("frame", &[]),
    ("committed", &[]),
    ("level", &[]),
    ("list", &[]),
    ("fetch", &[]),
    ("results", &[]),
    ("group", &[]),
    ("propose", &[]),
    ("accept_loss", &[]),
    // Eventual mode.
    ("hello", &[]),
    ("deliver", &[]),
];

/// Handlers that may wait for a bounded event of their own node's state machine, and for which.
pub const OWN_EVENTS: &[(&str, &str)] = &[
    ("depart", "this node has left, or given up leaving within its time limit"),
    ("apply", "a hand-over of the key has ended"),
    ("read", "a hand-over of the key has ended"),
    ("apply_many", "a hand-over of the keys has ended"),
    ("read_many", "a hand-over of the keys has ended"),
    (
        "put",
        "a hand-over of the key, which this node serves, has ended, or as many copies are stored as were asked for",
    ),
    (
        "get",
        "a hand-over of the key, which this node serves, has ended, or as many replicas have answered as were asked for",
    ),
    ("deliver", "what came is on this node's disk"),
    ("mark", "the mark is committed"),
    ("update_numbers", "a renumbering that this node has under way has ended"),
    ("update_finger_table", "a refresh that this node has under way has ended"),
];

/// May this handler await that call?
pub fn may_await(handler: &str, call: &str) -> bool {
    AWAITS.iter().any(|(name, calls)| *name == handler && calls.contains(&call))
}

/// The list as text, a line per handler.
pub fn listing() -> String {
    let lines = AWAITS.iter().map(|(handler, calls)| {
        let calls = if calls.is_empty() { "nobody".to_owned() } else { calls.join(", ") };
        let event = OWN_EVENTS.iter().find(|(name, _)| name == handler);
        let event = event.map_or(String::new(), |(_, event)| format!("; may wait until {event}"));
        format!("{handler:20} awaits {calls}{event}\n")
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_await_only_leaves_so_there_is_no_cycle() {
        println!("{}", listing());
        for (handler, calls) in AWAITS {
            for call in *calls {
                let (_, awaited) = AWAITS
                    .iter()
                    .find(|(name, _)| name == call)
                    .unwrap_or_else(|| panic!("{call} is not listed"));
                assert!(awaited.is_empty(), "{handler} awaits {call}, which awaits {awaited:?}");
            }
        }
        assert!(OWN_EVENTS.iter().all(|(name, _)| AWAITS.iter().any(|(handler, _)| handler == name)));
    }

    #[test]
    fn a_call_that_is_not_listed_is_not_allowed() {
        assert!(may_await("put", "find"));
        assert!(!may_await("find", "find"), "a lookup is never passed on");
        assert!(!may_await("update_finger_table", "update_finger_table"));
    }
}
