//! A store of two maps with its tree, and a comparison of two of them without a network.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use chordata_protocol::merkle::arc::offset;
use chordata_protocol::merkle::{
    Answer, Difference, Digest, Finding, Question, RecordHash, Source, Step, Summary, Tree, answer,
    record_hash,
};
use chordata_protocol::{Id, Key, Range, Space, Version};

pub(crate) type Records = BTreeMap<(Id, Key), (Version, Option<Vec<u8>>)>;

/// A node's store: what is in it, and the tree that is kept up to date with it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) space: Space,
    pub(crate) records: Records,
    hashes: BTreeMap<(Id, Key), (Version, RecordHash)>,
    pub(crate) tree: Tree,
}

impl Store {
    pub(crate) fn new(space: Space) -> Store {
        Store { space, records: Records::new(), hashes: BTreeMap::new(), tree: Tree::new(space) }
    }

    pub(crate) fn put(&mut self, key: &Key, version: Version, value: Option<&[u8]>) {
        let id = key.id(self.space);
        self.remove(key);
        let hash = record_hash(key, version, value);
        self.tree.insert(id, hash);
        self.hashes.insert((id, key.clone()), (version, hash));
        self.records.insert((id, key.clone()), (version, value.map(<[u8]>::to_vec)));
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        let at = (key.id(self.space), key.clone());
        if let Some((_, hash)) = self.hashes.remove(&at) {
            self.tree.remove(at.0, hash);
            self.records.remove(&at);
        }
    }

    /// The records of a range in the order of a visit.
    fn ordered(&self, range: Range) -> Vec<(&Key, Version, RecordHash)> {
        let up = |low: Option<Id>, high: Option<Id>| {
            let from = low.map(|low| self.space.next(low)).filter(|from| *from != Id::ZERO || low.is_none());
            let start = (from.unwrap_or(Id::ZERO), Key::Bytes(Vec::new()));
            let none = low.is_some() && from.is_none();
            self.hashes
                .range(start..)
                .take_while(move |((id, _), _)| high.is_none_or(|high| *id <= high) && !none)
                .map(|((_, key), (version, hash))| (key, *version, *hash))
        };
        if range.low < range.high {
            return up(Some(range.low), Some(range.high)).collect();
        }
        up(Some(range.low), None).chain(up(None, Some(range.high))).collect()
    }

    pub(crate) fn naive_digest(&self, range: Range) -> Digest {
        let mut digest = Digest::EMPTY;
        for (_, (_, hash)) in self.hashes.iter().filter(|((id, _), _)| range.contains(*id)) {
            digest.insert(*hash);
        }
        digest
    }
}

impl Source for Store {
    fn digest(&self, range: Range) -> Digest {
        let parts = self.tree.parts(range);
        let mut digest = parts.digest;
        assert!(parts.scan.len() <= 2);
        for stretch in parts.scan {
            for (_, _, hash) in self.ordered(stretch) {
                digest.insert(hash);
            }
        }
        digest
    }

    fn visit(
        &self,
        range: Range,
        after: Option<&Key>,
        visit: &mut dyn FnMut(&Key, Version, RecordHash) -> ControlFlow<()>,
    ) {
        let place = |key: &Key| offset(self.space, range, key.id(self.space));
        let passed = after.map(|key| (place(key), key.clone()));
        for (key, version, hash) in self.ordered(range) {
            let behind = passed.as_ref().is_none_or(|passed| (place(key), key) > (passed.0, &passed.1));
            if behind && visit(key, version, hash).is_break() {
                return;
            }
        }
    }
}

/// What one comparison gave.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) findings: Vec<Finding>,
    pub(crate) summary: Summary,
    /// Bytes of the largest answer.
    pub(crate) answer_bytes_max: usize,
    /// The largest page of findings.
    pub(crate) page_max: usize,
}

/// Compares two stores. `between` may change them before each answer, and says whether the answer gets lost; answers
/// come in an order that the seed gives.
pub(crate) fn compare_while(
    mine: &mut Store,
    theirs: &mut Store,
    range: Range,
    seed: u64,
    mut between: impl FnMut(&mut Store, &mut Store) -> bool,
) -> Compared {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut difference = Difference::new(mine.space, range);
    let mut compared =
        Compared { findings: Vec::new(), summary: Summary::default(), answer_bytes_max: 0, page_max: 0 };
    let mut out: Vec<(u32, Question)> = Vec::new();
    loop {
        match difference.step(mine) {
            Step::Ask(questions) => {
                assert!(!questions.is_empty());
                out.extend(questions);
                assert!(out.len() <= 8, "a bounded number is out at once");
            }
            Step::Found(page) => {
                compared.page_max = compared.page_max.max(page.len());
                compared.findings.extend(page);
            }
            Step::Wait => {
                let (ticket, question) = out.swap_remove(random.usize(0..out.len()));
                if between(mine, theirs) {
                    difference.lost(ticket);
                    continue;
                }
                let answered = answer(mine.space, &question, theirs).unwrap();
                let bytes = postcard::to_allocvec(&answered).unwrap();
                compared.answer_bytes_max = compared.answer_bytes_max.max(bytes.len());
                difference.answered(ticket, postcard::from_bytes::<Answer>(&bytes).unwrap());
            }
            Step::Done(summary) => {
                compared.summary = summary;
                return compared;
            }
        }
    }
}

pub(crate) fn compare(mine: &mut Store, theirs: &mut Store, range: Range) -> Compared {
    compare_while(mine, theirs, range, 1, |_, _| false)
}

/// What a comparison must find: key, version here, version there.
pub(crate) fn symmetric_difference(
    mine: &Store,
    theirs: &Store,
    range: Range,
) -> Vec<(Key, Option<Version>, Option<Version>)> {
    let mut different = Vec::new();
    let keys = mine.records.keys().chain(theirs.records.keys());
    let keys: std::collections::BTreeSet<_> = keys.filter(|(id, _)| range.contains(*id)).collect();
    for at in keys {
        let (here, there) = (mine.records.get(at), theirs.records.get(at));
        if here != there {
            different.push((at.1.clone(), here.map(|record| record.0), there.map(|record| record.0)));
        }
    }
    different.sort();
    different
}

/// Findings in the same form; every key at most once.
pub(crate) fn as_versions(findings: &[Finding]) -> Vec<(Key, Option<Version>, Option<Version>)> {
    let one = |finding: &Finding| match finding {
        Finding::Differs { mine, theirs } => {
            assert_eq!(mine.key, theirs.key);
            (mine.key.clone(), Some(mine.version), Some(theirs.version))
        }
        Finding::OnlyTheirs(theirs) => (theirs.key.clone(), None, Some(theirs.version)),
        Finding::OnlyMine(mine) => (mine.key.clone(), Some(mine.version), None),
    };
    let mut found: Vec<_> = findings.iter().map(one).collect();
    found.sort();
    assert!(found.windows(2).all(|pair| pair[0].0 != pair[1].0), "a key is found once");
    found
}
