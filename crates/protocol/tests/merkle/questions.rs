//! What a comparison costs, and that nobody can be made to do or hold more.

use chordata_protocol::key::KEY_BYTES_MAX;
use chordata_protocol::merkle::{
    Answer, BadQuestion, Difference, Digest, Finding, Listed, Question, RecordHash, Source, Step, answer,
};
use chordata_protocol::{Id, Key, Range, Space, Version};

use crate::store::{Store, as_versions, compare};

const WHOLE: Range = Range { low: Id::ZERO, high: Id::ZERO };
const VERSION: Version = Version { epoch: 1, sequence: 1 };
const FRAME_BYTES_MAX: usize = 1024 * 1024;

fn filled(space: Space, records: u32) -> Store {
    let mut store = Store::new(space);
    for number in 0..records {
        store.put(&Key::new(number.to_be_bytes()), VERSION, Some(b"value"));
    }
    store
}

#[test]
fn equal_stores_take_one_question() {
    let mut mine = filled(Space::default(), 10_000);
    let mut theirs = mine.clone();
    let compared = compare(&mut mine, &mut theirs, WHOLE);
    assert_eq!((compared.summary.questions, compared.summary.compared), (1, 0));
    assert!(compared.summary.complete && compared.findings.is_empty());
}

#[test]
fn one_key_that_differs_in_a_million_takes_four_questions_at_most() {
    let mut mine = filled(Space::default(), 1_000_000);
    let mut theirs = mine.clone();
    let key = Key::new(777_777u32.to_be_bytes());
    theirs.put(&key, Version { epoch: 1, sequence: 2 }, Some(b"later"));
    let compared = compare(&mut mine, &mut theirs, WHOLE);
    assert_eq!(
        as_versions(&compared.findings),
        [(key.clone(), Some(VERSION), Some(Version { epoch: 1, sequence: 2 }))]
    );
    assert!(compared.summary.questions <= 4, "a million / 64 / 64 is about a list");
    assert!(compared.summary.compared <= 256);

    theirs.remove(&key);
    let compared = compare(&mut mine, &mut theirs, WHOLE);
    assert!(matches!(&compared.findings[..], [Finding::OnlyMine(listed)] if listed.key == key));
    assert!(compared.summary.questions <= 4);
}

#[test]
fn what_an_empty_store_lacks_comes_in_pages_and_with_one_question() {
    let mut mine = filled(Space::default(), 20_000);
    let mut theirs = Store::new(Space::default());
    let compared = compare(&mut mine, &mut theirs, WHOLE);
    assert_eq!((compared.summary.questions, compared.findings.len()), (1, 20_000));
    assert!(compared.page_max <= 512);

    let compared = compare(&mut theirs, &mut mine, WHOLE);
    assert_eq!(compared.findings.len(), 20_000);
    assert!(compared.findings.iter().all(|finding| matches!(finding, Finding::OnlyTheirs(_))));
    assert!(compared.summary.questions < 500, "{} questions for 20,000 records", compared.summary.questions);
    assert!(compared.page_max <= 512);
}

#[test]
fn answers_fit_a_frame_with_the_longest_keys() {
    let space = Space::new(3).unwrap();
    let (mut mine, mut theirs) = (Store::new(space), Store::new(space));
    for number in 0..1500u32 {
        let mut bytes = vec![0xff; KEY_BYTES_MAX];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        theirs.put(&Key::new(bytes), Version { epoch: u64::MAX, sequence: u64::MAX }, Some(b"x"));
    }
    let compared = compare(&mut mine, &mut theirs, WHOLE);
    assert_eq!(compared.findings.len(), 1500);
    assert!(compared.answer_bytes_max < FRAME_BYTES_MAX / 2, "{}", compared.answer_bytes_max);
}

#[test]
fn a_question_that_is_not_of_this_ring_is_refused() {
    let space = Space::new(3).unwrap();
    let store = filled(space, 10);
    let range = Range { low: Id::from_u128(1), high: Id::from_u128(2) };
    let question = |range, after| Question { range, after, mine: Digest::EMPTY };
    let outside = Range { low: Id::from_u128(1), high: Id::from_u128(8) };
    assert_eq!(answer(space, &question(outside, None), &store), Err(BadQuestion));
    let elsewhere = Key::Literal(Id::from_u128(3));
    assert_eq!(answer(space, &question(range, Some(elsewhere)), &store), Err(BadQuestion));
    assert!(answer(space, &question(range, Some(Key::Literal(Id::from_u128(2)))), &store).is_ok());
}

/// Asks the first question about a store of 1000 records and gives this answer.
fn end_after(answer: impl FnOnce(&Store) -> Answer) -> Step {
    let store = filled(Space::default(), 1000);
    let mut difference = Difference::new(Space::default(), WHOLE);
    let Step::Ask(questions) = difference.step(&store) else { panic!("it begins with a question") };
    assert_eq!(questions.len(), 1);
    assert_eq!(difference.step(&store), Step::Wait);
    difference.answered(questions[0].0, answer(&store));
    difference.step(&store)
}

#[test]
fn an_answer_that_makes_no_sense_ends_the_comparison_as_incomplete() {
    let listed = |key: &str| Listed { key: Key::new(key), version: VERSION, hash: RecordHash(1) };
    let whole = |records: u64| Digest { count: records, sum: 1 };
    let (a, b) = (listed("a"), listed("b"));
    let disordered = if Key::new("a").id(Space::default()) < Key::new("b").id(Space::default()) {
        vec![b, a.clone()]
    } else {
        vec![a.clone(), b]
    };
    let senseless = [
        Answer::Parts(vec![whole(1000); 63]),
        Answer::Parts(vec![whole(1); 64]),
        Answer::Records { records: disordered, more: false },
        Answer::Records { records: vec![a.clone(), a], more: false },
        Answer::Records { records: Vec::new(), more: true },
        Answer::Records { records: vec![listed("")], more: false },
    ];
    for answer in senseless {
        let step = end_after(|_| answer.clone());
        assert!(matches!(step, Step::Done(summary) if !summary.complete), "{answer:?} gave {step:?}");
    }
    assert!(matches!(end_after(|_| Answer::Same), Step::Done(summary) if summary.complete));
    let parts = |store: &Store| {
        let question = Question { range: WHOLE, after: None, mine: Digest::EMPTY };
        answer(Space::default(), &question, store).unwrap()
    };
    assert!(matches!(end_after(parts), Step::Done(summary) if summary.complete), "the same parts");
}

#[test]
fn a_question_that_is_lost_again_and_again_ends_the_comparison_as_incomplete() {
    let store = filled(Space::default(), 10);
    let mut difference = Difference::new(Space::default(), WHOLE);
    for _ in 0..4 {
        let Step::Ask(questions) = difference.step(&store) else { panic!("it asks again") };
        difference.lost(questions[0].0);
    }
    assert!(
        matches!(difference.step(&store), Step::Done(summary) if !summary.complete && summary.questions == 4)
    );
}

#[test]
fn a_tree_answers_the_whole_ring_without_a_scan() {
    let store = filled(Space::default(), 1000);
    let whole = Range { low: Id::MAX, high: Id::MAX };
    let parts = store.tree.parts(whole);
    assert_eq!((parts.digest, parts.scan.len()), (store.tree.total(), 0));
    assert_eq!(store.digest(whole), store.tree.total());
}
