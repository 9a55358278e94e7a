//! The generator against a fake server with the classic routes: everything is asked once, all answers are counted as
//! what they are, and planted stale answers are found.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;

use chordata_workload::job::{Entry, Job, Keys, Request, Requests, Transport, VERSION, Work, value_of};
use chordata_workload::run;
use fake::{Fake, Faults};

fn job(fakes: &[&Fake], work: Work) -> Job {
    let entry = |(number, fake): (usize, &&Fake)| Entry {
        name: format!("n{number}"),
        rpc: None,
        http: Some(fake.address.clone()),
    };
    Job {
        version: VERSION,
        transport: Transport::Http { token: None },
        entries: fakes.iter().enumerate().map(entry).collect(),
        in_flight: 3,
        pipeline: 1,
        value_bytes: 20,
        limit_ms: None,
        seed: 11,
        work,
    }
}

fn generated(prefix: &str, count: u64) -> Keys {
    Keys::Generated { prefix: prefix.to_owned(), count: Some(count) }
}

#[test]
fn every_key_is_inserted_at_its_entry_node_and_found_there() {
    for (chunked, pipeline) in [(false, 1), (true, 1), (false, 4)] {
        let fakes = [Faults { chunked, ..Faults::default() }; 2].map(Fake::start);
        let [one, other] = &fakes;
        let keys = vec![generated("one/ä ", 100), Keys::Listed(vec!["Hey, Jude".to_owned(), "x".to_owned()])];
        let mut insert = job(&[one, other], Work::Insert(keys.clone()));
        insert.pipeline = pipeline;
        let measured = run(&insert).unwrap();
        assert_eq!((one.keys(), other.keys()), (100, 2));
        let mut value = String::new();
        value_of("Hey, Jude", 20, &mut value);
        assert_eq!(other.value("Hey, Jude"), Some(value));
        let inserts = measured.inserts();
        assert_eq!((inserts.done, inserts.latency.count(), measured.unanswered()), (102, 102, 0));
        assert_eq!((measured.entries[0].begun, measured.entries[1].insert.done), (100, 2));
        assert!(measured.seconds > 0.0 && measured.per_second() > 0.0 && measured.stale.is_none());
        assert!(measured.generators[0].cores > 0 && measured.generator_seconds > Some(0.0));

        let more = vec![generated("one/ä ", 101), Keys::Listed(vec!["Hey, Jude".to_owned()])];
        let mut query = job(&[one, other], Work::Query(more));
        query.pipeline = pipeline;
        let queries = run(&query).unwrap().queries();
        assert_eq!((queries.done, queries.missing, queries.other), (101, 1, 0));
        query.value_bytes = 21;
        assert_eq!(run(&query).unwrap().queries().other, 101, "values of another length are others");
    }
}

#[test]
fn with_a_limit_in_time_it_goes_on_until_then() {
    let fake = Fake::start(Faults::default());
    let mut endless =
        job(&[&fake], Work::Insert(vec![Keys::Generated { prefix: "k".to_owned(), count: None }]));
    endless.limit_ms = Some(300);
    let measured = run(&endless).unwrap();
    assert!((0.29..5.0).contains(&measured.seconds), "{}", measured.seconds);
    assert_eq!(measured.inserts().done, fake.keys() as u64);
    let mut around = job(&[&fake], Work::Query(vec![generated("k", 2)]));
    around.limit_ms = Some(100);
    assert!(run(&around).unwrap().queries().done > 2, "round and round");
}

#[test]
fn planted_stale_answers_are_all_counted_and_others_never() {
    let requests = |rounds: usize| {
        let mut all = Vec::new();
        for round in 0..rounds {
            all.push(Request::Insert { key: "k".to_owned(), value: format!("v{round}") });
            all.extend([(); 3].map(|()| Request::Query { key: "k".to_owned() }));
        }
        Work::Requests(Requests::Listed(all))
    };
    for stale_every in [None, Some(7)] {
        let fake = Fake::start(Faults { stale_every, ..Faults::default() });
        // One request at a time: then every planted answer is surely stale.
        let mut job = job(&[&fake], requests(100));
        job.in_flight = 1;
        let measured = run(&job).unwrap();
        assert_eq!(measured.stale, Some(fake.planted()));
        assert_eq!(fake.planted() > 0, stale_every.is_some(), "{}", fake.planted());
        assert_eq!((measured.inserts().done, measured.queries().done), (100, 300));
    }
    // With many at once, and several nodes that are one store.
    let fake = Fake::start(Faults::default());
    let generated = Requests::Generated { prefix: "g".to_owned(), keys: 5, count: Some(2000) };
    let measured = run(&job(&[&fake, &fake, &fake], Work::Requests(generated))).unwrap();
    assert_eq!(measured.stale, Some(0));
    assert_eq!(measured.inserts().done + measured.queries().answered(), 2000);
    assert!(measured.entries.iter().all(|entry| entry.begun > 400), "all entry nodes are used");
}

#[test]
fn failures_are_counted_and_said_and_the_rest_is_done() {
    let fake = Fake::start(Faults { refuses_every: Some(10), ..Faults::default() });
    let measured = run(&job(&[&fake], Work::Insert(vec![generated("k", 100)]))).unwrap();
    let inserts = measured.inserts();
    assert_eq!((inserts.done, inserts.failed, inserts.unknown), (90, 10, 0));
    assert!(measured.failures[0].contains("503") && measured.failures[0].contains("not now"));

    let fake = Fake::start(Faults { hangs_up_every: Some(20), ..Faults::default() });
    let measured = run(&job(&[&fake], Work::Insert(vec![generated("k", 100)]))).unwrap();
    let inserts = measured.inserts();
    assert_eq!((inserts.done + inserts.unknown, inserts.unknown), (100, fake.requests() / 20));
    let measured = run(&job(&[&fake], Work::Query(vec![generated("k", 100)]))).unwrap();
    assert_eq!(measured.queries().answered() + measured.queries().failed, 100);
    assert!(measured.queries().failed >= 4 && measured.queries().unknown == 0);
}

#[test]
fn a_token_is_sent_and_who_does_not_listen_is_said_before_anything_is_measured() {
    let fake = Fake::start(Faults::default());
    fake.wants("sesame");
    let mut job = job(&[&fake], Work::Insert(vec![generated("k", 5)]));
    assert_eq!(run(&job).unwrap().inserts().failed, 5);
    job.transport = Transport::Http { token: Some("sesame".to_owned()) };
    assert_eq!(run(&job).unwrap().inserts().done, 5);
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    job.entries[0].http = Some(nobody.to_string());
    let error = run(&job).expect_err("nobody listens").to_string();
    assert!(error.contains(&nobody.to_string()), "{error}");
}
