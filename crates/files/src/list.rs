//! All files of a cluster.

use std::collections::BTreeMap;

use futures::stream::TryStreamExt;

use crate::Files;
use crate::failure::Failure;
use crate::manifest::{Entry, Info};
use crate::name::{FILE_PREFIX, FileName};

/// What is under names of files.
pub(crate) type Entries = BTreeMap<FileName, Result<Entry, Failure>>;

impl Files {
    /// All files whose names begin so, in the order of their names, and what could not be read among them. Looks at all keys
    /// of the cluster.
    ///
    /// # Errors
    /// When a node does not answer.
    pub async fn list(&self, prefix: &str) -> Result<(Vec<Info>, Vec<Failure>), Failure> {
        let (mut files, mut bad) = (Vec::new(), Vec::new());
        for (name, entry) in self.entries(prefix).await? {
            match entry {
                Ok(entry) => files.extend(entry.file.map(|file| file.info(&name))),
                Err(failure) => bad.push(failure),
            }
        }
        Ok((files, bad))
    }

    pub(crate) async fn entries(&self, prefix: &str) -> Result<Entries, Failure> {
        let keys = self.store.scan(format!("{FILE_PREFIX}{prefix}").into_bytes(), true);
        let named = keys.try_filter_map(|(key, value)| {
            let name = FileName::behind(&key, FILE_PREFIX);
            let entry = name.zip(value).map(|(name, value)| {
                let entry = Entry::of_value(&name, &value);
                (name, entry)
            });
            futures::future::ready(Ok(entry))
        });
        named.try_collect().await
    }
}
