//! All files of a cluster.
//!
//! Manifests are long, and there may be many: each is let go before the next comes.

use std::collections::BTreeMap;

use futures::stream::{StreamExt, TryStreamExt};

use crate::Files;
use crate::failure::Failure;
use crate::manifest::{Entry, Info};
use crate::name::{FILE_PREFIX, FileName};
use crate::store::Listing;

impl Files {
    /// All files whose names begin so, in the order of their names, and what could not be read among them. Looks at all keys
    /// of the cluster.
    ///
    /// # Errors
    /// When nobody has all of some part of the ring.
    pub async fn list(&self, prefix: &str) -> Result<(Vec<Info>, Vec<Failure>), Failure> {
        let (mut files, mut bad) = (BTreeMap::new(), BTreeMap::new());
        let mut entries = self.entries(prefix);
        while let Some((name, entry)) = entries.try_next().await? {
            match entry {
                Ok(entry) => {
                    if let Some(info) = entry.file.map(|file| file.info(&name)) {
                        files.insert(name, info);
                    }
                }
                Err(failure) => drop(bad.insert(name, failure)),
            }
        }
        Ok((files.into_values().collect(), bad.into_values().collect()))
    }

    /// What is under names of files that begin so, in no order.
    pub(crate) fn entries(&self, prefix: &str) -> Listing<(FileName, Result<Entry, Failure>)> {
        let keys = self.store.scan(format!("{FILE_PREFIX}{prefix}").into_bytes(), true);
        let named = keys.try_filter_map(|(key, value)| {
            let name = FileName::behind(&key, FILE_PREFIX);
            let entry = name.zip(value).map(|(name, value)| {
                let entry = Entry::of_value(&name, &value);
                (name, entry)
            });
            futures::future::ready(Ok(entry))
        });
        named.boxed()
    }
}
