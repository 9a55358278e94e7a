//! SQLite, which is in the library itself, and what can be known of the others without a server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::*;
use crate::{Pair, PairKey, ValueChoice};

async fn database(path: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn pairs(path: &Path, query: &Query, choice: &Choice) -> Result<Vec<(String, String)>, String> {
    let database = Database::parse(path.to_str().unwrap(), &Login::default()).map_err(|e| e.to_string())?;
    let mut pairs = Vec::new();
    let give = async |item: Item| {
        pairs.push(match item {
            Item::Pair(Pair { key: PairKey::Bytes(key), value, .. }) => {
                (String::from_utf8_lossy(&key).into_owned(), String::from_utf8_lossy(&value).into_owned())
            }
            Item::Pair(Pair { key: PairKey::Id(id), .. }) => panic!("{id}"),
            Item::Reject(reject) => (reject.position.to_string(), reject.reason),
        });
        ControlFlow::Continue(())
    };
    read(&database, query, choice, give).await.map_err(|error| error.to_string())?;
    Ok(pairs)
}

fn chosen(key: &str, value: ValueChoice) -> Choice {
    Choice { key: Some(key.to_owned()), value }
}

#[tokio::test]
async fn tables_and_queries_of_sqlite_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let sql = r#"
        CREATE TABLE "odd ""name" (id INTEGER PRIMARY KEY, "the value" TEXT, n REAL, b BLOB);
        INSERT INTO "odd ""name" VALUES (7, 'a', 0.5, x'ff00'), (8, NULL, -1, NULL), (9, 'c', 3, 'text');
        CREATE TABLE two (k TEXT, v TEXT);
        INSERT INTO two VALUES ('x', 'y');
        CREATE TABLE empty (k TEXT, v TEXT);
    "#;
    database(&path, sql).await;
    let own = |rows: &[(&str, &str)]| {
        Ok(rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Vec<_>>())
    };
    let odd = Query::Table(vec!["odd \"name".to_owned()]);
    let value = ValueChoice::Column(Some("the value".to_owned()));
    let wanted = own(&[("7", "a"), ("row 2", "the value is null"), ("9", "c")]);
    assert_eq!(pairs(&path, &odd, &chosen("id", value)).await, wanted);
    let wanted = own(&[
        ("7", r#"{"id":7,"the value":"a","n":0.5,"b":"/wA="}"#),
        ("8", r#"{"id":8,"the value":null,"n":-1.0,"b":null}"#),
        ("9", r#"{"id":9,"the value":"c","n":3.0,"b":"text"}"#),
    ]);
    assert_eq!(pairs(&path, &odd, &chosen("id", ValueChoice::Row)).await, wanted);
    let two = Query::table("main.two").unwrap();
    assert_eq!(pairs(&path, &two, &Choice::default()).await, own(&[("x", "y")]));
    let query = Query::Text("SELECT id * 2, n FROM \"odd \"\"name\" ORDER BY id DESC LIMIT 1".to_owned());
    assert_eq!(pairs(&path, &query, &Choice::default()).await, own(&[("18", "3.0")]));
    assert_eq!(pairs(&path, &Query::table("empty").unwrap(), &Choice::default()).await, own(&[]));

    let error = pairs(&path, &two, &chosen("key", ValueChoice::Row)).await.unwrap_err();
    assert_eq!(error, "there is no column key; there are k, v");
    let error = pairs(&path, &Query::table("three").unwrap(), &Choice::default()).await.unwrap_err();
    assert!(error.contains("no such table"), "{error}");
    let delete = Query::Text("DELETE FROM two".to_owned());
    let error = pairs(&path, &delete, &Choice::default()).await.unwrap_err();
    assert!(error.contains("readonly"), "{error}");
    assert_eq!(pairs(&path, &two, &Choice::default()).await, own(&[("x", "y")]), "nothing can be changed");
}

#[test]
fn names_of_tables_are_taken_apart_at_dots_outside_quotes() {
    let parts = |name: &str| match Query::table(name) {
        Ok(Query::Table(parts)) => parts.join("|"),
        Ok(Query::Text(text)) => panic!("{text}"),
        Err(error) => error.to_string(),
    };
    assert_eq!(parts("a"), "a");
    assert_eq!(parts("public.a b"), "public|a b");
    assert_eq!(parts("\"a.b\".c"), "a.b|c");
    assert_eq!(parts("\"my \"\"a\".c"), "my \"a|c");
    assert_eq!(parts("a..b"), "a..b is no name of a table");
    assert_eq!(parts("\"a"), "\"a is no name of a table");
}

#[test]
fn a_database_is_named_by_its_url_or_by_its_server() {
    let login = Login { password: Some("secret".to_owned()), ..Login::default() };
    let parse = |source: &str| Database::parse(source, &login);
    let Ok(Database::Postgres(options)) = parse("postgresql://me@db.example:5433/things") else { panic!() };
    assert_eq!((options.get_host(), options.get_port()), ("db.example", 5433));
    assert_eq!((options.get_username(), options.get_database()), ("me", Some("things")));
    let Ok(Database::MySql(options)) = parse("mariadb://me@db.example/things") else { panic!() };
    assert_eq!(
        (options.get_host(), options.get_port(), options.get_database()),
        ("db.example", 3306, Some("things"))
    );
    let url = "sqlserver://me%40here@db.example/my%20things?trust_server_certificate=true";
    let Ok(Database::SqlServer(server)) = parse(url) else { panic!() };
    assert_eq!((server.host.as_str(), server.port, server.user.as_str()), ("db.example", 1433, "me@here"));
    assert_eq!((server.database.as_deref(), server.trust), (Some("my things"), true));

    let own = Login {
        server: Some("/run/sockets".to_owned()),
        port: Some(6000),
        user: Some("me".to_owned()),
        database: Some("things".to_owned()),
        ..login.clone()
    };
    let Ok(Database::Postgres(options)) = Database::parse("postgres", &own) else { panic!() };
    assert_eq!(options.get_socket().map(|path| path.to_str().unwrap()), Some("/run/sockets"));
    assert_eq!((options.get_port(), options.get_username()), (6000, "me"));
    let Ok(Database::MySql(options)) = Database::parse("mysql", &own) else { panic!() };
    assert_eq!(options.get_socket().map(|path| path.to_str().unwrap()), Some("/run/sockets"));

    let told = |source: &str, login: &Login, text: &str| match Database::parse(source, login) {
        Ok(_) => panic!("{source}"),
        Err(error) => assert!(error.to_string().contains(text), "{source}: {error}"),
    };
    told("postgres://me:secret@h/d", &login, "--password-env");
    told("postgres://h/d?password=secret", &login, "--password-env");
    told("sqlserver://me:secret@h/d", &login, "--password-env");
    told("postgres://h/d", &own, "leave --server");
    told("oracle://h/d", &login, "oracle is no database that is known");
    told("not/there.db", &login, "there is no file not/there.db");
    told("sqlserver", &Login::default(), "--server HOST");
    told("sqlserver://h/d", &login, "a user");
    told("sqlserver://me@h/d?encrypt=no", &login, "encrypt=no is not known");
}

#[test]
fn tls_has_its_provider_although_two_are_built_in() {
    install_provider();
    // This panics if rustls cannot tell which of them is meant.
    let config = rustls::ClientConfig::builder();
    let suites = config.crypto_provider().cipher_suites.len();
    assert_eq!(suites, rustls::crypto::ring::default_provider().cipher_suites.len());
}
