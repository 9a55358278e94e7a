//! Digests of what this node has of a range: what an audit compares before it looks at keys.
//!
//! In a cluster of chains they are of the copy at a mark in the range's log, which is the same at every replica. In
//! eventual mode there is no log: they are of the store as it is, and whoever compares them looks more than once.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use chordata_protocol::Key;
use chordata_protocol::merkle::{Digest, RecordHash, record_hash};
use chordata_rpc::service::{DigestOptions, DigestPage, Error};
use chordata_store::{Engine, Item, Position, Snapshot, StoreError};

use crate::chain::marks::no_mark;
use crate::node::Node;
use crate::service::has_ended;

/// What is hashed without letting others in: about a millisecond.
const STEP_BYTES: usize = 1024 * 1024;
/// The same, in records.
const STEP_RECORDS: usize = 2000;
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Why a digest is refused.
const NEEDS_MARK: &str = "only in eventual mode is a digest taken of a store as it is: elsewhere mark the log first, and name the mark";

/// The hash of a value, and of the moment at which it ends.
fn hash(key: &Key, item: &Item<'_>, value: &[u8]) -> RecordHash {
    match item.expires {
        None => record_hash(key, item.version, Some(value)),
        Some(expires) => {
            let parts = [value, &expires.as_millis().to_be_bytes()].concat();
            record_hash(key, item.version, Some(&parts))
        }
    }
}

/// How far the reading of a range has come.
#[derive(Default)]
struct Sum {
    digest: Digest,
    damaged: u64,
    after: Option<Position>,
    at_end: bool,
}

impl Sum {
    /// Adds the next records, as many as one step takes. Tombstones are left out: they come and go by themselves.
    fn read_on(
        &mut self,
        engine: &dyn Engine,
        snapshot: Option<&Snapshot>,
        options: &DigestOptions,
    ) -> Result<(), StoreError> {
        let (mut bytes, mut records, mut last) = (0, 0, None);
        let (digest, after) = (&mut self.digest, self.after.as_ref());
        let visit: chordata_store::Visitor<'_> = &mut |item| {
            if bytes > STEP_BYTES || records == STEP_RECORDS {
                return ControlFlow::Break(());
            }
            let (id, key) = item.position();
            if let Some(value) = item.value.filter(|_| !has_ended(&item, options.ended_by)) {
                digest.insert(hash(&key, &item, value));
                bytes += value.len();
            }
            bytes += key.size();
            records += 1;
            last = Some((id, key));
            ControlFlow::Continue(())
        };
        let scanned = match snapshot {
            Some(snapshot) => engine.scan_snapshot(snapshot, options.range, after, visit),
            None => engine.scan(options.range, after, visit),
        };
        self.at_end = scanned.is_ok() && bytes <= STEP_BYTES && records < STEP_RECORDS;
        self.after = last.or(self.after.take());
        match scanned {
            // The scan can go on behind it.
            Err(StoreError::Damaged { id, key }) => {
                self.damaged += 1;
                self.after = Some((id, key));
                Ok(())
            }
            scanned => scanned,
        }
    }
}

impl Node {
    /// The digest of what this node has in a range, or of as much as there is time for. Others are let in between.
    pub(crate) async fn digest_page(&self, options: DigestOptions) -> Result<DigestPage, Error> {
        if options.mark.is_none() && !self.is_eventual() {
            return Err(Error::NotSupported(NEEDS_MARK.to_owned()));
        }
        let deadline = Instant::now() + ANSWER_WITHIN;
        let space = self.space();
        let after = options.after.as_ref().map(|key| (key.id(space), key.clone()));
        let mut sum = Sum { after, ..Sum::default() };
        loop {
            let read = match options.mark {
                Some(mark) => self.with_chain(|chain, engine| {
                    let snapshot = chain.marks.of(mark).ok_or_else(no_mark)?;
                    let read = sum.read_on(engine, Some(&snapshot), &options);
                    read.map_err(|error| self.store_failed(&error))
                }),
                None => self.with_eventual(|_, engine| {
                    let read = sum.read_on(engine, None, &options);
                    read.map_err(|error| self.store_failed(&error))
                }),
            };
            read.ok_or(Error::NotMember)??;
            if sum.at_end || Instant::now() >= deadline {
                break;
            }
            tokio::task::yield_now().await;
        }
        let after = sum.after.map(|(_, key)| key).filter(|_| !sum.at_end);
        Ok(DigestPage { digest: sum.digest, damaged: sum.damaged, after })
    }
}
