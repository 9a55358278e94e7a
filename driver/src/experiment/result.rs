//! What came of experiments, as a file: JSON with a format and a version, so that files of today are drawn tomorrow.

use std::path::Path;

use chordata_workload::{Facts, Measured};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome};

/// What a file calls itself.
const FORMAT: &str = "chordata-experiment";
/// Of the format. A reader refuses newer ones.
const VERSION: u32 = 1;

/// What came of a command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    format: String,
    version: u32,
    /// Version of the program.
    pub(crate) program: String,
    /// When it began, in UTC.
    pub(crate) began: String,
    /// The command line, without the program.
    pub(crate) command: Vec<String>,
    /// How it was measured.
    pub(crate) settings: Settings,
    /// The driver's machine, before anything was measured.
    pub(crate) host: Facts,
    /// Each cluster that was measured.
    pub(crate) cells: Vec<Cell>,
}

/// How it was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Where the cluster was: `10 servers of this machine`, ...
    pub(crate) cluster: String,
    /// `http` or `rpc`.
    pub(crate) transport: String,
    /// Requests under way at each entry node.
    pub(crate) in_flight: usize,
    /// Requests that are written to a connection at once.
    pub(crate) pipeline: usize,
    /// Bytes of a value.
    pub(crate) value_bytes: usize,
    /// Which keys, in words.
    pub(crate) keys: String,
    /// Which mixed requests, in words.
    pub(crate) requests: String,
    /// Length of a run; none: until all keys or requests were sent.
    pub(crate) seconds: Option<f64>,
    /// Length of the run before the first, which does not count.
    pub(crate) warm_up_seconds: f64,
    /// Runs.
    pub(crate) repeats: u32,
    /// Threads or hosts that sent requests.
    pub(crate) generators: usize,
    /// Did they run on the cluster's hosts?
    pub(crate) on_hosts: bool,
}

/// A cluster, and what was measured on it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// `single`, `chain` or `eventual`; none: not known.
    pub(crate) consistency: Option<String>,
    /// Copies of each key; none: not known.
    pub(crate) replication: Option<u8>,
    /// `memory`, `interval` or `sync`; none: not known.
    pub(crate) durability: Option<String>,
    /// Entry nodes.
    pub(crate) nodes: usize,
    /// From the first server's start until the ring was whole; none: it ran before.
    pub(crate) start_seconds: Option<f64>,
    /// In the order in which they were done.
    pub(crate) experiments: Vec<Experiment>,
}

/// The three.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Keys are stored.
    Insert,
    /// Keys are read.
    Query,
    /// Mixed requests.
    Request,
}

impl Kind {
    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Insert => "insert",
            Kind::Query => "query",
            Kind::Request => "request",
        }
    }
}

/// One of the three on one cluster.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Experiment {
    /// Which.
    pub(crate) kind: Kind,
    /// Each repeat.
    pub(crate) runs: Vec<Run>,
}

/// One run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// What the generators saw.
    #[serde(flatten)]
    pub(crate) measured: Measured,
    /// What each node had of it.
    pub(crate) nodes: Vec<NodeLoad>,
}

/// What a node had of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct NodeLoad {
    /// The node.
    pub(crate) name: String,
    /// Share of the ring that is its own, from 0 to 1.
    pub(crate) share: f64,
    /// Keys that it held afterwards, copies included.
    pub(crate) keys: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Processor time that it used during the run; none: not known.
    pub(crate) processor_seconds: Option<f64>,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new(began: String, settings: Settings, host: Facts) -> Results {
        Results {
            format: FORMAT.to_owned(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            began,
            command: std::env::args().skip(1).collect(),
            settings,
            host,
            cells: Vec::new(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no result, or one of a newer program.
    pub(crate) fn load(path: &Path) -> Outcome<Results> {
        #[derive(Deserialize)]
        struct Header {
            format: Option<String>,
            version: Option<u32>,
        }
        let wrong = |what: &str| Failure::input(format!("{} {what}", path.display()));
        let text = std::fs::read(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        let header: Header = serde_json::from_slice(&text)
            .map_err(|error| wrong(&format!("is no result of an experiment: {error}")))?;
        match (header.format.as_deref(), header.version) {
            (Some(FORMAT), Some(VERSION)) => {}
            (Some(FORMAT), Some(version)) => {
                return Err(wrong(&format!(
                    "has version {version} of the format, this program reads version {VERSION}"
                )));
            }
            _ => return Err(wrong("is no result of an experiment")),
        }
        serde_json::from_slice(&text).map_err(|error| wrong(&format!("is damaged: {error}")))
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Outcome {
        let failed =
            |error: std::io::Error| Failure::failed(format!("{} cannot be written: {error}", path.display()));
        let text = serde_json::to_vec(self).map_err(Failure::failed)?;
        let beside = path.with_extension("part");
        std::fs::write(&beside, text).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chordata_workload::measured::{ByEntry, Count};

    use super::*;

    /// A result with both models, k = 1 and 3, inserts and queries, three runs each.
    pub(crate) fn results() -> Results {
        let settings = Settings {
            cluster: "10 servers of this machine".to_owned(),
            transport: "http".to_owned(),
            in_flight: 8,
            pipeline: 1,
            value_bytes: 16,
            keys: "1000 generated keys for each entry node".to_owned(),
            requests: "none".to_owned(),
            seconds: Some(5.0),
            warm_up_seconds: 1.0,
            repeats: 3,
            generators: 1,
            on_hosts: false,
        };
        let host = Facts { cpu_model: Some("A <fast> one".to_owned()), cores: 2, ..Facts::here() };
        let mut results = Results::new("2026-11-20T17:05:09Z".to_owned(), settings, host);
        for (number, (model, copies)) in
            [("chain", 1), ("chain", 3), ("eventual", 1), ("eventual", 3)].into_iter().enumerate()
        {
            let scale = 1000 * (number as u64 + 1);
            let experiments = [Kind::Insert, Kind::Query].map(|kind| Experiment {
                kind,
                runs: [9, 10, 12].map(|tenths| run(kind, scale * tenths / 10)).to_vec(),
            });
            results.cells.push(Cell {
                consistency: Some(model.to_owned()),
                replication: Some(copies),
                durability: Some("memory".to_owned()),
                nodes: 2,
                start_seconds: Some(1.5),
                experiments: experiments.to_vec(),
            });
        }
        results
    }

    fn run(kind: Kind, done: u64) -> Run {
        let mut count = Count { done, ..Count::default() };
        for number in 0..done {
            count.latency.record(std::time::Duration::from_micros(100 + number));
        }
        let none = Count::default();
        let (insert, query) = if kind == Kind::Insert { (count, none) } else { (none, count) };
        let node = |number: u64| NodeLoad {
            name: format!("n{number}"),
            share: 0.5,
            keys: 100 * (number + 1),
            bytes: 1000,
            processor_seconds: Some(0.5),
        };
        Run {
            measured: Measured {
                version: 1,
                seconds: 1.0,
                entries: vec![ByEntry { name: "n0".to_owned(), begun: done, insert, query }],
                stale: None,
                failures: Vec::new(),
                generator_seconds: Some(0.1),
                generators: vec![Facts::here()],
            },
            nodes: vec![node(0), node(1)],
        }
    }

    #[test]
    fn a_file_is_read_back_as_it_was_and_others_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("r.json");
        let results = results();
        results.save(&path).expect("it is written");
        assert_eq!(Results::load(&path).expect("it is read"), results);
        let text = std::fs::read_to_string(&path).expect("it is there");
        for (text, says) in [
            (text.replace("\"version\":1,\"program\"", "\"version\":2,\"program\""), "version 2"),
            (text[..text.len() / 2].to_owned(), "no result"),
            ("{}".to_owned(), "no result"),
            (text.replacen("\"cells\"", "\"sells\"", 1), "damaged"),
        ] {
            std::fs::write(&path, text).expect("it is written");
            let Err(Failure::Input(report)) = Results::load(&path) else { panic!("{says}: it was read") };
            assert!(report.to_string().contains(says), "{report}");
        }
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("a directory").count(),
            1,
            "nothing else is left"
        );
    }
}
