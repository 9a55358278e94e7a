//! Wrong copies, missing copies, files that change while they are read.

use chordata_files::{Condition, Failure, PutOptions};
use chordata_protocol::Value;
use futures::StreamExt;

use crate::fake::{CHUNK, Fake, content, get, name, put};

#[tokio::test]
async fn a_wrong_or_missing_copy_is_made_up_for_by_another() {
    let fake = Fake::new();
    let files = fake.files();
    let all = content(1, 6 * CHUNK);
    put(&files, "x", &all).await.unwrap();
    let [a, b, _] = Fake::places();
    for key in fake.chunk_keys() {
        fake.lie(&a, &key, Some(Value::from("this is not what was stored")));
        fake.lie(&b, &key, None);
    }
    assert_eq!(get(&files, "x").await.unwrap(), all);
    fake.silence(&a);
    assert_eq!(get(&files, "x").await.unwrap(), all);
}

#[tokio::test]
async fn what_is_wrong_everywhere_is_never_given_out() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "x", &content(1, 6 * CHUNK)).await.unwrap();
    let chunks = fake.chunk_keys();
    // Of the right length, even.
    fake.set(&chunks[3], Some(Value::from(content(77, CHUNK))));
    let mut read = Box::pin(files.open(&name("x")).await.unwrap().read(0..u64::MAX));
    let mut good = 0;
    let failure = loop {
        match read.next().await.unwrap() {
            Ok(bytes) => good += bytes.len(),
            Err(failure) => break failure,
        }
    };
    assert_eq!(good, 3 * CHUNK, "what is before it");
    let Failure::Broken { what, reason, .. } = failure else { panic!("{failure:?}") };
    assert_eq!(what, "chunk 3");
    assert!(reason.contains("is not what was stored, at every replica"), "{reason}");
    assert!(read.next().await.is_none(), "it has ended");
    fake.set(&chunks[3], None);
    let failure = get(&files, "x").await.unwrap_err();
    assert!(failure.to_string().contains("is missing at every replica"), "{failure}");
}

#[tokio::test]
async fn a_damaged_list_is_found() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "x", &content(1, 6 * CHUNK)).await.unwrap();
    let part = fake.chunk_keys().into_iter().find(|key| key.to_string().contains(".p0000")).unwrap();
    let mut list = fake.value(&part).unwrap().into_bytes();
    list[5] ^= 1;
    fake.set(&part, Some(Value::from(list)));
    let failure = get(&files, "x").await.unwrap_err();
    assert!(matches!(&failure, Failure::Broken { what, .. } if what == "part 0 of the list"), "{failure}");
    // It can still be replaced, and removed with all that it had.
    put(&files, "x", b"new").await.unwrap();
    assert_eq!(fake.keys().len(), 2, "{:?}", fake.keys());
}

#[tokio::test]
async fn a_file_that_is_replaced_or_removed_while_it_is_read_says_so() {
    let fake = Fake::new();
    let files = fake.files();
    for replaced in [true, false] {
        put(&files, "x", &content(1, 20 * CHUNK)).await.unwrap();
        let mut read = Box::pin(files.open(&name("x")).await.unwrap().read(0..u64::MAX));
        read.next().await.unwrap().unwrap();
        if replaced {
            put(&files, "x", &content(2, 20 * CHUNK)).await.unwrap();
        } else {
            files.remove(&name("x"), Condition::None).await.unwrap();
        }
        let ends: Vec<_> = read.collect().await;
        let last = ends.last().unwrap();
        assert_eq!(last.as_ref().err(), Some(&Failure::Changed(name("x"))));
        // What was on its way already may still come, and is right.
        let all = content(1, 20 * CHUNK);
        for (at, part) in (1..).zip(&ends[..ends.len() - 1]) {
            assert_eq!(part.as_ref().unwrap()[..], all[at * CHUNK..(at + 1) * CHUNK]);
        }
    }
}

#[tokio::test]
async fn an_entry_that_is_none_is_named_and_does_not_hide_the_others() {
    let fake = Fake::new();
    let files = fake.files();
    put(&files, "good", b"x").await.unwrap();
    fake.set(&name("bad").entry_key(), Some(Value::from("{}")));
    assert!(matches!(get(&files, "bad").await, Err(Failure::BadEntry { .. })));
    let (listed, bad) = files.list("").await.unwrap();
    assert_eq!((listed.len(), bad.len()), (1, 1));
    assert!(bad[0].to_string().contains("the entry of bad cannot be read"), "{}", bad[0]);
    let refused = files.put(&name("bad"), "x".into(), PutOptions::default()).await;
    assert!(
        matches!(refused, Err(Failure::BadEntry { .. })),
        "nobody overwrites what they do not understand"
    );
}
