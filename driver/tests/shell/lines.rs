//! Lines on standard input.

use crate::support::ring::Ring;

#[test]
fn the_words_of_a_ring_are_carried_out_in_order() {
    let ring = Ring::start(3);
    let second = &ring.nodes[1].address;
    let script = "\
        # the classic words\n\
        insert Berlin \"3.7 million\"\n\
        query Berlin\n\
        setnode 1\n\
        insert 'Buenos Aires' 15\n\
        insert \"*\" star\n\
        query \"*\"\n\
        query *\n\
        delete Berlin\n\
        listnodes\n\
        overlay\n\
        exit\n\
        query Berlin\n";
    let ran = ring.run_with_input(&["shell"], script.as_bytes()).exits(0);
    for said in
        ["stored Berlin", "3.7 million\n", "star\n", "\"Buenos Aires\" 15\n", "deleted Berlin", "SUCCESSOR"]
    {
        assert!(ran.out.contains(said), "{said:?} is missing in\n{}", ran.out);
    }
    // The query of all pairs, before the deletion.
    assert!(ran.out.contains("Berlin \"3.7 million\"\n"), "{}", ran.out);
    let overlay = ran.out.lines().filter(|line| line.ends_with('→')).count();
    assert_eq!(overlay, 3, "each node is followed by another:\n{}", ran.out);
    // It has the number that the ring gave it, not that of its start.
    assert!(ran.out.contains("requests go through 127.0.0.1:"), "{}", ran.out);
    let set = format!("setnode {second}\nsetnode\nsetnode -\n");
    let ran = ring.run_with_input(&["shell"], set.as_bytes()).exits(0);
    assert_eq!(ran.out.matches(&format!("requests go through {second}")).count(), 2, "{}", ran.out);
    assert!(ran.out.contains("no node is set"), "{}", ran.out);
}

#[test]
fn requests_go_through_the_node_that_was_set() {
    let ring = Ring::start(3);
    let script = "insert a 1\nsetnode 2\nput b 2 --trace\n";
    let ran = ring.run_with_input(&["--json", "shell"], script.as_bytes()).exits(0);
    let lines = ran.json_lines();
    let set = lines[1]["node"].as_str().unwrap().to_owned();
    let last = lines[2].clone();
    let path = last["path"].as_array().unwrap();
    assert_eq!(path[0]["peer"]["address"], set.as_str(), "{last}");
}

#[test]
fn a_line_that_fails_is_named_and_the_others_are_carried_out() {
    let ring = Ring::start(1);
    let script = "insert a 1\nquery nothing\nfrobnicate\nup\nput b -\nquery a\n";
    let ran = ring.run_with_input(&["shell"], script.as_bytes()).exits(3);
    for said in [
        "line 2: error: there is no key nothing",
        "line 3:",
        "there is no command frobnicate",
        "line 4: error: up is not",
    ] {
        assert!(ran.err.contains(said), "{said:?} is missing in\n{}", ran.err);
    }
    assert!(ran.err.contains("line 5: error: - means standard input"), "{}", ran.err);
    assert!(ran.out.ends_with("1\n"), "{}", ran.out);
    let ran = ring.run_with_input(&["shell", "--stop-on-error"], script.as_bytes()).exits(3);
    assert!(!ran.out.ends_with("1\n") && !ran.err.contains("line 3"), "{}\n{}", ran.out, ran.err);
}

#[test]
fn a_node_departs_and_the_shell_goes_on() {
    let mut ring = Ring::start(3);
    let script = "insert a 1\nsetnode 0\ndepart\nquery a\nlistnodes\n";
    let ran = ring.run_with_input(&["shell"], script.as_bytes()).exits(0);
    assert!(ran.out.contains("has handed its keys over and left the ring"), "{}", ran.out);
    assert!(ran.out.contains("\n1\n"), "the value is still there:\n{}", ran.out);
    let first = ring.nodes[0].address.clone();
    assert!(!ran.out.rsplit("NUMBER").next().unwrap().contains(&first), "{}", ran.out);
    crate::support::eventually("its process ends", || ring.nodes[0].has_ended());
}

#[test]
fn help_lists_what_can_be_done_here() {
    let ring = Ring::start(1);
    let ran = ring.run_with_input(&["shell"], b"help\nhelp lookup\nhelp insert\nhelp bogus\n").exits(2);
    for said in ["setnode [NODE]", "audit", "Usage: chordata lookup", "insert KEY VALUE"] {
        assert!(ran.out.contains(said), "{said:?} is missing in\n{}", ran.out);
    }
    assert!(!ran.out.contains("\n  destroy"), "{}", ran.out);
    assert!(ran.err.contains("there is no command bogus"), "{}", ran.err);
}
