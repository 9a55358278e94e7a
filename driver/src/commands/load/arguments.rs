//! What is to be loaded, from where, and how.

use std::path::{Path, PathBuf};

use chordata_loaders::{Choice, Encoding, SourceError, ValueChoice, csv};
use clap::{Args, Subcommand};

use crate::commands::data::AcksArguments;
use crate::failure::{Failure, Outcome};

/// `load`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Clone, Debug, Subcommand)]
enum Kind {
    /// A table as text: line ends, byte order mark, quotes and delimiter as they are found
    Csv {
        #[command(flatten)]
        file: FileArguments,
        /// What is between two fields: a character, or tab [default: what cuts the first rows evenly]
        #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
        delimiter: Option<u8>,
        /// How the text is written: utf-8, windows-1252 or latin1
        #[arg(long, default_value = "utf-8")]
        encoding: Encoding,
        /// The first row is a row like the others; columns are called 1, 2, ...
        #[arg(long)]
        no_header: bool,
        #[command(flatten)]
        common: Common,
    },
    /// A JSON document: an object is a dictionary, an array has an object a row
    Json {
        #[command(flatten)]
        file: FileArguments,
        #[command(flatten)]
        common: Common,
    },
    /// A JSON object a line; also what `chordata dump` has written
    Ndjson {
        #[command(flatten)]
        file: FileArguments,
        #[command(flatten)]
        common: Common,
    },
    /// A Parquet file (df.to_parquet)
    Parquet {
        #[command(flatten)]
        file: FileArguments,
        #[command(flatten)]
        common: Common,
    },
    /// An Arrow file or stream, Feather version 2 (df.to_feather)
    Arrow {
        #[command(flatten)]
        file: FileArguments,
        #[command(flatten)]
        common: Common,
    },
    /// A table or a query of SQLite, PostgreSQL, MySQL, MariaDB or SQL Server
    Sql {
        #[command(flatten)]
        sql: SqlArguments,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Clone, Debug, Args)]
struct FileArguments {
    /// The file; - is standard input
    #[arg(value_name = "SOURCE")]
    source: String,
}

/// Which database.
#[derive(Clone, Debug, Args)]
pub(crate) struct SqlArguments {
    /// A file of SQLite, a URL without a password (postgres://USER@HOST/DATABASE, mysql://, mariadb://, sqlserver://), or
    /// postgres, mysql, mariadb or sqlserver with --server
    #[arg(value_name = "SOURCE")]
    pub(super) source: String,
    /// Where the database is: a host, or the path of a socket
    #[arg(long, value_name = "HOST")]
    pub(super) server: Option<String>,
    /// Its port
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// The user
    #[arg(long)]
    pub(super) user: Option<String>,
    /// The environment variable that has the password
    #[arg(long, value_name = "VARIABLE")]
    pub(super) password_env: Option<String>,
    /// The database on the server
    #[arg(long)]
    pub(super) database: Option<String>,
    /// The table: TABLE or SCHEMA.TABLE, with "quotes" around a part that has dots
    #[arg(long, required_unless_present = "query", conflicts_with = "query")]
    pub(super) table: Option<String>,
    /// A statement that gives the rows
    #[arg(long, value_name = "SQL")]
    pub(super) query: Option<String>,
}

/// What all kinds of sources have in common.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The column of the keys [default: the first of exactly two]
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
    /// The column of the values [default: the other of exactly two]
    #[arg(long, value_name = "COLUMN", conflicts_with = "value_json")]
    value: Option<String>,
    /// Store the whole row, as a JSON object
    #[arg(long)]
    value_json: bool,
    /// Go on where an earlier load of this file was broken off
    #[arg(long)]
    pub(super) resume: bool,
    /// Read everything, show what would be stored, store nothing
    #[arg(long, conflicts_with = "resume")]
    pub(super) dry_run: bool,
    /// Where rows go that cannot be stored, each with its reason [default: NAME.rejects.ndjson, in this directory; with --resume, where they went before]
    #[arg(long, value_name = "FILE")]
    pub(super) rejects: Option<PathBuf>,
    /// Batches of rows on their way at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) in_flight: u8,
    /// For how long to try when the cluster cannot store anything, before giving up
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(super) patience: u64,
    #[command(flatten)]
    pub(super) acks: AcksArguments,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err("a delimiter is one ASCII character, or the word tab".to_owned()),
    }
}

/// Where rows come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A file; none: standard input.
    File { path: Option<PathBuf>, format: Format },
    /// A database.
    Sql(Box<SqlArguments>),
}

/// How a file is written.
#[derive(Clone, Debug)]
pub(super) enum Format {
    Csv(csv::Options),
    Json,
    Ndjson,
    Parquet,
    Arrow,
}

/// A load.
pub(super) struct Job {
    pub(super) source: Source,
    pub(super) choice: Choice,
    pub(super) common: Common,
}

/// Formats that this program may be built without.
const FEATURES: [(&str, bool); 3] = [
    ("parquet", cfg!(feature = "parquet")),
    ("arrow", cfg!(feature = "arrow")),
    ("sql", cfg!(feature = "sql")),
];

impl LoadArguments {
    /// What is to be done.
    ///
    /// # Errors
    /// When arguments contradict each other, or this program cannot read such a source.
    pub(super) fn job(&self) -> Outcome<Job> {
        let file = |file: &FileArguments, format| {
            let path = (file.source != "-").then(|| PathBuf::from(&file.source));
            Source::File { path, format }
        };
        let (source, common) = match &self.kind {
            Kind::Csv { file: at, delimiter, encoding, no_header, common } => {
                let options = csv::Options { delimiter: *delimiter, encoding: *encoding, header: !no_header };
                (file(at, Format::Csv(options)), common)
            }
            Kind::Json { file: at, common } => (file(at, Format::Json), common),
            Kind::Ndjson { file: at, common } => (file(at, Format::Ndjson), common),
            Kind::Parquet { file: at, common } => (file(at, Format::Parquet), common),
            Kind::Arrow { file: at, common } => (file(at, Format::Arrow), common),
            Kind::Sql { sql, common } => (Source::Sql(Box::new(sql.clone())), common),
        };
        let name = source.format();
        if FEATURES.contains(&(name, false)) {
            return Err(Failure::input(format!(
                "this chordata is built without {name}: `make dist` builds it with everything, `cargo build --release -p \
                 chordata --features {name}` with this"
            )));
        }
        if common.resume && !source.can_resume() {
            return Err(Failure::input(format!(
                "--resume is for files: {} may give its rows in another order the next time. Loading it again from the \
                 beginning does no harm, puts can be repeated",
                source.name()
            )));
        }
        let value =
            if common.value_json { ValueChoice::Row } else { ValueChoice::Column(common.value.clone()) };
        let choice = Choice { key: common.key.clone(), value };
        Ok(Job { source, choice, common: common.clone() })
    }
}

impl Source {
    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Source::File { path: Some(path), .. } => path.display().to_string(),
            Source::File { path: None, .. } => "standard input".to_owned(),
            Source::Sql(sql) => sql.source.clone(),
        }
    }

    /// What it is.
    pub(super) fn format(&self) -> &'static str {
        match self {
            Source::File { format: Format::Csv(_), .. } => "csv",
            Source::File { format: Format::Json, .. } => "json",
            Source::File { format: Format::Ndjson, .. } => "ndjson",
            Source::File { format: Format::Parquet, .. } => "parquet",
            Source::File { format: Format::Arrow, .. } => "arrow",
            Source::Sql(_) => "sql",
        }
    }

    /// The file of this machine that is read, if it is one.
    pub(super) fn local(&self) -> Option<PathBuf> {
        match self {
            Source::File { path: Some(path), .. } => Some(path.clone()),
            Source::File { path: None, .. } => Some(PathBuf::from("/dev/stdin")),
            // A URL of a server is the path of no file.
            Source::Sql(sql) => {
                let name = ["sqlite://", "sqlite:"].iter().find_map(|scheme| sql.source.strip_prefix(scheme));
                Some(PathBuf::from(name.unwrap_or(&sql.source)))
            }
        }
    }

    /// Does it give the same rows in the same order again?
    pub(super) fn can_resume(&self) -> bool {
        matches!(self, Source::File { path: Some(_), .. })
    }

    /// Where its rejects go unless somebody says so: a file in the directory of the command.
    pub(super) fn rejects(&self) -> PathBuf {
        let name = match self {
            Source::File { path: Some(path), .. } => path.file_name().map(Path::new),
            Source::File { path: None, .. } | Source::Sql(_) => None,
        };
        let mut name = name.unwrap_or(Path::new("load")).as_os_str().to_owned();
        name.push(".rejects.ndjson");
        PathBuf::from(name)
    }

    /// A source that cannot be read, as the command tells it.
    pub(super) fn failure(&self, error: &SourceError) -> Failure {
        let text = format!("{}: {error}", self.name());
        match error {
            SourceError::Input(_) => Failure::input(text),
            SourceError::Io(_) | SourceError::Database(_) => Failure::failed(text),
        }
    }
}
