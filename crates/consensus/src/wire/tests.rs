//! Good messages come through; what does not decode or fit together is named.

use std::collections::BTreeMap;

use super::*;
use crate::types::{Batch, Entry, LogId, StoredMembership};

const A: NodeId = NodeId(10);
const B: NodeId = NodeId(u128::MAX);

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::CommittedLeaderId::new(term, A), index)
}

fn normal(term: u64, index: u64) -> Entry {
    let batch = Batch { commands: vec![Bytes::from_static(b"one"), Bytes::new()], ticket: None };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(batch) }
}

fn membership(voters: &[NodeId], listed: &[NodeId]) -> Membership {
    let nodes: BTreeMap<_, _> = listed.iter().map(|id| (*id, id.to_string())).collect();
    // Built by decoding: openraft's own constructors mend what is wrong here.
    let configurations = vec![voters.iter().copied().collect::<std::collections::BTreeSet<_>>()];
    postcard::from_bytes(&postcard::to_stdvec(&(configurations, nodes)).unwrap()).unwrap()
}

fn append(previous: Option<LogId>, entries: Vec<Entry>) -> AppendEntriesRequest<Types> {
    let vote = Vote::new_committed(5, A);
    AppendEntriesRequest { vote, prev_log_id: previous, entries, leader_commit: None }
}

fn chunk() -> Chunk {
    let last_membership = StoredMembership::new(Some(log_id(1, 0)), membership(&[A], &[A]));
    let meta = SnapshotMeta { last_log_id: Some(log_id(1, 9)), last_membership, snapshot_id: "x".to_owned() };
    Chunk { vote: Vote::new_committed(5, A), meta, total: 6, offset: 3, bytes: Bytes::from_static(b"abc") }
}

fn envelope(request: Request) -> Envelope {
    Envelope { to: B, from: A, lineage: 1 << 100, members_as_of: 3, request }
}

#[test]
fn messages_come_through() {
    let sent = envelope(Request::Append(append(Some(log_id(4, 7)), vec![normal(4, 8), normal(5, 9)])));
    let got: Envelope = decode(&encode(&sent).unwrap()).unwrap();
    assert_eq!((got.to, got.from, got.lineage, got.members_as_of), (B, A, 1 << 100, 3));
    let Request::Append(append) = got.request else { panic!("another request") };
    assert_eq!(append.entries[1].log_id, log_id(5, 9));
    let EntryPayload::Normal(batch) = &append.entries[0].payload else { panic!("another payload") };
    assert_eq!(batch.commands, [Bytes::from_static(b"one"), Bytes::new()]);

    let got: Envelope = decode(&encode(&envelope(Request::Snapshot(chunk()))).unwrap()).unwrap();
    let Request::Snapshot(got) = got.request else { panic!("another request") };
    assert_eq!((got.meta, got.bytes), (chunk().meta, chunk().bytes));
}

#[test]
fn the_largest_chunk_and_the_largest_entries_fit_a_message() {
    let bytes = Bytes::from(vec![7; CHUNK_BYTES_MAX]);
    let chunk = Chunk { total: bytes.len() as u64, offset: 0, bytes, ..chunk() };
    assert!(encode(&envelope(Request::Snapshot(chunk))).unwrap().len() <= MESSAGE_BYTES_MAX);
    let batch = Batch { commands: vec![Bytes::from(vec![7; crate::COMMAND_BYTES_MAX])], ticket: None };
    let entry = Entry { log_id: log_id(5, 0), payload: EntryPayload::Normal(batch) };
    let size = postcard::to_stdvec(&entry).unwrap().len();
    assert!(size <= ENTRIES_BYTES_MAX, "one entry alone fits as well");
    const { assert!(ENTRIES_BYTES_MAX + 1024 < MESSAGE_BYTES_MAX) };
}

#[test]
fn cut_extended_and_foreign_bytes_are_refused() {
    let good = encode(&envelope(Request::Append(append(None, vec![normal(0, 0), normal(1, 1)])))).unwrap();
    decode::<Envelope>(&good).unwrap();
    for length in 0..good.len() {
        assert!(decode::<Envelope>(&good[..length]).is_err(), "the first {length} bytes were taken");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(decode::<Envelope>(&longer).err().unwrap(), "1 bytes too many");
    let mut foreign = good;
    foreign[0] = 9;
    assert_eq!(decode::<Envelope>(&foreign).err().unwrap(), "format 9 is not known");
    assert!(decode::<Envelope>(&vec![1; MESSAGE_BYTES_MAX + 1]).err().unwrap().contains("limit"));
}

fn refused(request: &Request) -> &'static str {
    request.check(A).unwrap_err()
}

#[test]
fn requests_that_openraft_would_stumble_over_are_refused() {
    let good = Request::Append(append(Some(log_id(4, 7)), vec![normal(4, 8), normal(5, 9)]));
    good.check(A).unwrap();
    let gap = append(Some(log_id(4, 7)), vec![normal(4, 9)]);
    assert_eq!(refused(&Request::Append(gap)), "the entries are not consecutive");
    let back = append(Some(log_id(4, 7)), vec![normal(3, 8)]);
    assert_eq!(refused(&Request::Append(back)), "the entries are not consecutive");
    let end = append(Some(log_id(4, u64::MAX)), vec![normal(5, 0)]);
    assert_eq!(refused(&Request::Append(end)), "the entries are not consecutive");
    let mut unwon = append(None, vec![]);
    unwon.vote.committed = false;
    assert_eq!(refused(&Request::Append(unwon)), "a leader's vote is won");
    for (bad, reason) in [
        (membership(&[], &[A]), "a membership without voters"),
        (membership(&[A, B], &[A]), "a voter without an address"),
    ] {
        let entry = Entry { log_id: log_id(1, 0), payload: EntryPayload::Membership(bad) };
        assert_eq!(refused(&Request::Append(append(None, vec![entry]))), reason);
    }
    let vote = |vote| Request::Vote(VoteRequest { vote, last_log_id: None });
    vote(Vote::new(1, A)).check(A).unwrap();
    assert_eq!(refused(&vote(Vote::new(1, B))), "a vote for somebody else");
    assert_eq!(refused(&vote(Vote::new_committed(1, A))), "a candidate's vote is not won yet");
}

#[test]
fn chunks_outside_their_snapshot_are_refused() {
    Request::Snapshot(chunk()).check(A).unwrap();
    for (offset, total) in [(4, 6), (u64::MAX, 6), (0, SNAPSHOT_BYTES_MAX + 1)] {
        let bad = Chunk { offset, total, ..chunk() };
        assert_eq!(refused(&Request::Snapshot(bad)), "a chunk outside its snapshot");
    }
    let mut nothing = chunk();
    nothing.meta.last_log_id = None;
    assert_eq!(refused(&Request::Snapshot(nothing)), "a snapshot of nothing");
}
