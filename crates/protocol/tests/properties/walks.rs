//! Walks around ideal rings: all members, in order, and what is missing when one does not answer.

use chordata_protocol::procedure::renumber::Renumber;
use chordata_protocol::procedure::walk::Walk;
use chordata_protocol::procedure::{Procedure, Step};
use chordata_protocol::{CallError, Peer, Request, Response, Time};
use proptest::prelude::*;

use crate::config;
use crate::ideal::{Ideal, any_ideal, ask};

/// Drives a walk over the live nodes to its end; every question that it asked comes with it.
pub(crate) fn drive<P: Procedure>(
    ideal: &mut Ideal,
    is_alive: &dyn Fn(usize) -> bool,
    mut procedure: P,
) -> (P::Output, Vec<(Peer, Request)>) {
    let mut questions = Vec::new();
    loop {
        let step = match procedure.step(Time::ZERO) {
            Step::Ask(step) => step,
            Step::Sleep(_) => continue,
            Step::Done(output) => return (output, questions),
        };
        assert!(!step.is_empty(), "a walk waits for an answer, and none is out");
        for (ticket, peer, request) in step {
            questions.push((peer.clone(), request.clone()));
            let answer = answer(ideal, is_alive, &peer, request);
            procedure.answered(Time::ZERO, ticket, answer);
        }
    }
}

fn answer(
    ideal: &mut Ideal,
    is_alive: &dyn Fn(usize) -> bool,
    peer: &Peer,
    request: Request,
) -> Result<Response, CallError> {
    let place = ideal.place(peer).filter(|place| is_alive(*place)).ok_or(CallError::TimedOut)?;
    ask(&mut ideal.rings[place], request).0.ok_or(CallError::TimedOut)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_walk_finds_every_member_once_in_order(ideal in any_ideal(40), start: prop::sample::Index) {
        let mut ideal = ideal;
        let start = start.index(ideal.len());
        let first = [ideal.peers[start].clone()];
        let (walked, questions) = drive(&mut ideal, &|_| true, Walk::new(&first));
        let expected: Vec<&Peer> = (0..ideal.len()).map(|step| ideal.behind(start, step)).collect();
        prop_assert_eq!(walked.nodes.iter().map(|node| &node.me).collect::<Vec<_>>(), expected);
        prop_assert!(walked.is_whole(), "{:?}", walked.problems());
        prop_assert!(questions.len() <= ideal.len() + 1, "nobody is asked twice but the first");
    }

    /// Numbers go up from the lowest id, wherever the walk began, and everybody is told.
    #[test]
    fn numbers_go_up_from_the_lowest_id(ideal in any_ideal(40), start: prop::sample::Index) {
        let mut ideal = ideal;
        let by = ideal.peers[start.index(ideal.len())].clone();
        let (numbered, _) = drive(&mut ideal, &|_| true, Renumber::new(by.id, std::slice::from_ref(&by)));
        prop_assert_eq!(numbered.membership.nodes(), &ideal.peers[..]);
        prop_assert_eq!(numbered.told as usize, ideal.len());
        let round = numbered.membership.stamp().round;
        prop_assert_eq!(round, 2, "behind the round that everybody has");
        for (place, ring) in ideal.rings.iter().enumerate() {
            let table = ring.membership().unwrap();
            prop_assert_eq!(table.stamp().round, round);
            prop_assert_eq!(table.number(ideal.peers[place].id), Some(place));
            prop_assert!(!ring.is_membership_stale());
            prop_assert_eq!(table.successor(place), Some(ideal.behind(place, 1)));
            prop_assert_eq!(table.predecessor(place), Some(ideal.behind(place, ideal.len() - 1)));
        }
        prop_assert_eq!(numbered.membership.successor(ideal.len()), None, "a number that nobody has");
    }

    /// The dead are passed over by the list before them, while it has a live entry, and are named.
    #[test]
    fn a_walk_passes_over_fewer_dead_than_a_list_has_entries(
        ideal in any_ideal(40),
        first_dead: prop::sample::Index,
        count in 1..4usize,
    ) {
        let mut ideal = ideal;
        prop_assume!(ideal.len() > count);
        let first_dead = first_dead.index(ideal.len());
        let total = ideal.len();
        let is_alive = move |place: usize| (place + total - first_dead) % total >= count;
        let start = ideal.behind(first_dead, count).clone();
        let (walked, _) = drive(&mut ideal, &is_alive, Walk::new(&[start]));
        prop_assert_eq!(walked.nodes.len(), ideal.len() - count);
        let dead: Vec<Peer> = (0..count).map(|step| ideal.behind(first_dead, step).clone()).collect();
        prop_assert_eq!(&walked.silent, &dead);
        prop_assert!(walked.closed && !walked.is_whole());
    }
}
