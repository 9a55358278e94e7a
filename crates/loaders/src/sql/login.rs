//! Which database is meant, and as whom: a URL, a file, or a kind of database with its server.

use std::path::Path;
use std::str::FromStr;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use url::Url;

use super::sqlserver::SqlServer;
use crate::SourceError;

/// What is said beside the source.
#[derive(Clone, Default)]
pub struct Login {
    /// Host name or address; a path is a socket (MySQL) or the directory of sockets (PostgreSQL).
    pub server: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The user.
    pub user: Option<String>,
    /// The password, from where nobody else sees it.
    pub password: Option<String>,
    /// The database on the server.
    pub database: Option<String>,
}

/// A database and how to connect to it.
#[derive(Clone)]
pub enum Database {
    /// A file.
    Sqlite(Box<SqliteConnectOptions>),
    /// PostgreSQL.
    Postgres(Box<PgConnectOptions>),
    /// MySQL or MariaDB.
    MySql(Box<MySqlConnectOptions>),
    /// SQL Server.
    SqlServer(Box<SqlServer>),
}

/// A password that others can see is none.
const SEEN: &str = "a password in a URL can be seen by everybody on this machine, in the list of processes: leave it out, \
                    put it into an environment variable and name that with --password-env";

impl Database {
    /// Reads which database is meant: `postgres://user@host/database`, `mysql://`, `mariadb://`, `sqlserver://`,
    /// `sqlite:FILE` or a file of SQLite; or `postgres`, `mysql`, `mariadb`, `sqlserver` with the server in `login`.
    ///
    /// # Errors
    /// When it is none of these, says something twice, or has a password in it.
    pub fn parse(source: &str, login: &Login) -> Result<Database, SourceError> {
        match source {
            "postgres" | "postgresql" => return Ok(postgres(PgConnectOptions::new(), login)),
            "mysql" | "mariadb" => return Ok(mysql(MySqlConnectOptions::new(), login)),
            "sqlserver" | "mssql" => return SqlServer::new(login).map(|s| Database::SqlServer(Box::new(s))),
            _ => {}
        }
        let said_twice = || {
            SourceError::input(
                "the source says which server, user and database are meant: leave --server, --port, --user and \
                 --database out",
            )
        };
        let Login { server, port, user, database, .. } = login;
        if server.is_some() || port.is_some() || user.is_some() || database.is_some() {
            return Err(said_twice());
        }
        let Some((scheme, _)) = source.split_once("://") else {
            return sqlite(source.strip_prefix("sqlite:").unwrap_or(source));
        };
        if scheme == "sqlite" {
            return sqlite(&source["sqlite://".len()..]);
        }
        let url = Url::parse(source).map_err(|error| SourceError::input(format!("it is no URL: {error}")))?;
        if url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password") {
            return Err(SourceError::input(SEEN));
        }
        let wrong = |error: sqlx::Error| SourceError::input(format!("it is no URL of a database: {error}"));
        let only_password = Login { password: login.password.clone(), ..Login::default() };
        match scheme {
            "postgres" | "postgresql" => {
                Ok(postgres(PgConnectOptions::from_str(source).map_err(wrong)?, &only_password))
            }
            "mysql" | "mariadb" => {
                let url = format!("mysql{}", &source[scheme.len()..]);
                Ok(mysql(MySqlConnectOptions::from_str(&url).map_err(wrong)?, &only_password))
            }
            "sqlserver" | "mssql" => {
                let login = Login {
                    server: url.host_str().map(str::to_owned),
                    port: url.port(),
                    user: Some(decoded(url.username())).filter(|user| !user.is_empty()),
                    password: login.password.clone(),
                    database: Some(decoded(url.path().trim_matches('/'))).filter(|name| !name.is_empty()),
                };
                let mut server = SqlServer::new(&login)?;
                for (name, value) in url.query_pairs() {
                    match (name.as_ref(), value.as_ref()) {
                        ("trust_server_certificate", "true") => server.trust = true,
                        ("trust_server_certificate", "false") => server.trust = false,
                        (name, value) => {
                            return Err(SourceError::input(format!(
                                "{name}={value} is not known: a URL of SQL Server may say trust_server_certificate=true"
                            )));
                        }
                    }
                }
                Ok(Database::SqlServer(Box::new(server)))
            }
            other => Err(SourceError::input(format!(
                "{other} is no database that is known: postgres, mysql, mariadb, sqlserver and sqlite are"
            ))),
        }
    }
}

/// A part of a URL without its escapes.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        let digits =
            behind.get(..2).filter(|_| *byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                out.push(escaped);
                rest = &behind[2..];
            }
            None => {
                out.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn sqlite(path: &str) -> Result<Database, SourceError> {
    if !Path::new(path).is_file() {
        return Err(SourceError::input(format!(
            "there is no file {path}. A database is a file of SQLite, a URL (postgres://, mysql://, mariadb://, \
             sqlserver://), or postgres, mysql, mariadb or sqlserver with --server and --database"
        )));
    }
    let options = SqliteConnectOptions::new().filename(path).read_only(true).create_if_missing(false);
    Ok(Database::Sqlite(Box::new(options)))
}

/// Options with what the login says: the two servers' have the same methods, and no trait in common.
macro_rules! with_login {
    ($options:expr, $login:expr) => {{
        let (mut options, login): (_, &Login) = ($options, $login);
        if let Some(server) = &login.server {
            options = if server.starts_with('/') { options.socket(server) } else { options.host(server) };
        }
        if let Some(port) = login.port {
            options = options.port(port);
        }
        if let Some(user) = &login.user {
            options = options.username(user);
        }
        if let Some(password) = &login.password {
            options = options.password(password);
        }
        if let Some(database) = &login.database {
            options = options.database(database);
        }
        options
    }};
}

fn postgres(options: PgConnectOptions, login: &Login) -> Database {
    Database::Postgres(Box::new(with_login!(options, login).application_name("chordata load")))
}

fn mysql(options: MySqlConnectOptions, login: &Login) -> Database {
    Database::MySql(Box::new(with_login!(options, login)))
}
