//! Requests a second of one Chordata server, beside a bare tarpc service, in the same run.
//!
//! One client, two connections to each. Three contenders: the bare service; the client library, which finds the owner
//! itself and remembers it (the figure that counts); and the stub of the connection pool, to see what of the
//! difference is the library's. They take turns, in one order and then in the other, so that a machine that becomes
//! slower or faster meanwhile favours none. A ratio is taken within each turn; the median of these is reported.

use std::fmt;
use std::time::Duration;

use chordata_client::{Client, Config};
use chordata_protocol::{Address, Key, Value};
use chordata_rpc::service::Options;
use chordata_rpc::{Pool, within};

use crate::BenchError;
use crate::bare::BareConnections;
use crate::load::{self, Operation, Pressure, Target, Workload};
use crate::process::{self, Served, Server};
use crate::statistics::median;

/// Connections of the client to each server.
const CONNECTIONS: usize = 2;
/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(10);
/// What Chordata is to reach, as a part of what the bare service does.
pub const AIM: f64 = 0.70;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct ThroughputSettings {
    /// Requests in flight
    #[arg(long, value_delimiter = ',', default_values_t = [50, 400])]
    pub in_flight: Vec<usize>,
    /// How often each is measured
    #[arg(long, default_value_t = 8)]
    pub repeats: usize,
    /// How long each time, in milliseconds
    #[arg(long, default_value_t = 500, value_name = "MS")]
    pub measured_ms: u64,
    /// Different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: u32,
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contender {
    /// The bare tarpc service.
    Bare,
    /// Chordata through the client library.
    Library,
    /// Chordata through the pool's stub.
    Stub,
}

impl Contender {
    const ALL: [Contender; 3] = [Contender::Bare, Contender::Library, Contender::Stub];

    fn name(self) -> &'static str {
        match self {
            Contender::Bare => "bare tarpc",
            Contender::Library => "chordata, client library",
            Contender::Stub => "chordata, stub of the pool",
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Sample {
    per_second: f64,
    /// Processor time of client and server, in microseconds a request.
    cpu_us: Option<(f64, f64)>,
}

/// All measurements of an operation at one pressure; one of each contender per turn.
#[derive(Clone, Debug)]
struct Row {
    operation: Operation,
    in_flight: usize,
    turns: Vec<[Sample; Contender::ALL.len()]>,
}

/// What was measured. Shows itself as a table.
#[derive(Clone, Debug)]
pub struct ThroughputReport {
    rows: Vec<Row>,
}

impl Target for BareConnections {
    async fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), BenchError> {
        BareConnections::put(self, within(LIMIT), key, value).await.map_err(BenchError::call)
    }

    async fn get(&self, key: Vec<u8>) -> Result<Option<usize>, BenchError> {
        let found = BareConnections::get(self, within(LIMIT), key).await.map_err(BenchError::call)?;
        Ok(found.map(|value| value.len()))
    }
}

impl Target for Client {
    async fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), BenchError> {
        let answer = Client::put(self, Key::new(key), Value::from(value)).await;
        answer.map(drop).map_err(BenchError::call)
    }

    async fn get(&self, key: Vec<u8>) -> Result<Option<usize>, BenchError> {
        let answer = Client::get(self, Key::new(key)).await.map_err(BenchError::call)?;
        Ok(answer.result.map(|record| record.value.len()))
    }
}

/// The pool's stub of one node.
#[derive(Clone)]
struct Stub {
    pool: Pool,
    address: Address,
}

impl Target for Stub {
    async fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), BenchError> {
        let stub = self.pool.client(&self.address);
        let answer = stub.put(within(LIMIT), Key::new(key), Value::from(value), Options::DIRECT).await;
        answer.map_err(BenchError::call)?.map(drop).map_err(BenchError::call)
    }

    async fn get(&self, key: Vec<u8>) -> Result<Option<usize>, BenchError> {
        let stub = self.pool.client(&self.address);
        let answer =
            stub.get(within(LIMIT), Key::new(key), Options::DIRECT).await.map_err(BenchError::call)?;
        Ok(answer.map_err(BenchError::call)?.result.map(|record| record.value.len()))
    }
}

/// Both servers and all ways to call them.
struct Arena {
    bare_server: Server,
    chordata_server: Server,
    bare: BareConnections,
    client: Client,
    stub: Stub,
    workload: Workload,
}

impl Arena {
    async fn open(keys: usize) -> Result<Arena, BenchError> {
        let bare_server = Server::start(Served::Bare, &[]).await?;
        let chordata_server = Server::start(Served::Chordata, &[]).await?;
        let address = bare_server.address().as_str().parse().map_err(BenchError::server)?;
        let bare = BareConnections::open(address, CONNECTIONS).await?;
        let config = Config { connections_per_node: CONNECTIONS, ..Config::default() };
        let connect = Client::connect(std::slice::from_ref(chordata_server.address()), config);
        let client = connect.await.map_err(BenchError::call)?;
        let stub = Stub { pool: client.pool().clone(), address: chordata_server.address().clone() };
        let workload = Workload::new(keys);
        load::fill(&bare, &workload).await?;
        load::fill(&client, &workload).await?;
        Ok(Arena { bare_server, chordata_server, bare, client, stub, workload })
    }

    async fn sample(
        &self,
        contender: Contender,
        operation: Operation,
        pressure: Pressure,
    ) -> Result<Sample, BenchError> {
        let server = match contender {
            Contender::Bare => &self.bare_server,
            Contender::Library | Contender::Stub => &self.chordata_server,
        };
        let mut cpu = Vec::with_capacity(2);
        let at_edge = || cpu.push(process::own_cpu_seconds().zip(server.cpu_seconds()));
        let counted = match contender {
            Contender::Bare => load::drive(&self.bare, &self.workload, operation, pressure, at_edge).await,
            Contender::Library => {
                load::drive(&self.client, &self.workload, operation, pressure, at_edge).await
            }
            Contender::Stub => load::drive(&self.stub, &self.workload, operation, pressure, at_edge).await,
        }?;
        let requests = counted.requests as f64;
        let cpu_us = match cpu[..] {
            [Some(before), Some(after)] => {
                let each = |seconds: f64| seconds * 1e6 / requests;
                Some((each(after.0 - before.0), each(after.1 - before.1)))
            }
            _ => None,
        };
        Ok(Sample { per_second: requests / counted.elapsed.as_secs_f64(), cpu_us })
    }

    /// One sample of each contender, in this order or backwards.
    async fn turn(
        &self,
        operation: Operation,
        pressure: Pressure,
        backwards: bool,
    ) -> Result<[Sample; Contender::ALL.len()], BenchError> {
        let mut samples = [Sample { per_second: 0.0, cpu_us: None }; Contender::ALL.len()];
        for step in 0..samples.len() {
            let place = if backwards { samples.len() - 1 - step } else { step };
            samples[place] = self.sample(Contender::ALL[place], operation, pressure).await?;
        }
        Ok(samples)
    }
}

/// Measures.
///
/// # Errors
/// When a server does not start or a request fails.
pub async fn run(settings: &ThroughputSettings) -> Result<ThroughputReport, BenchError> {
    let arena = Arena::open(settings.keys as usize).await?;
    let mut rows: Vec<Row> = Vec::new();
    for operation in [Operation::Put, Operation::Get] {
        for in_flight in &settings.in_flight {
            rows.push(Row { operation, in_flight: (*in_flight).max(1), turns: Vec::new() });
        }
    }
    let measured = Duration::from_millis(settings.measured_ms.max(1));
    for repeat in 0..settings.repeats.max(1) {
        for row in &mut rows {
            let pressure = Pressure { in_flight: row.in_flight, warm_up: measured / 5, measured };
            row.turns.push(arena.turn(row.operation, pressure, repeat % 2 == 1).await?);
        }
    }
    Ok(ThroughputReport { rows })
}

impl Row {
    fn of(&self, contender: Contender) -> impl Iterator<Item = Sample> {
        self.turns.iter().map(move |turn| turn[contender as usize])
    }

    /// What it does as a part of what the bare service does.
    fn ratio(&self, contender: Contender) -> f64 {
        let pairs = self.of(contender).zip(self.of(Contender::Bare));
        median(pairs.map(|(mine, bare)| mine.per_second / bare.per_second))
    }

    fn line(&self, contender: Contender, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates = || self.of(contender).map(|sample| sample.per_second);
        let (low, high) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
        let cpu = |side: fn((f64, f64)) -> f64| {
            let each = self.of(contender).filter_map(|sample| sample.cpu_us).map(side);
            median(each)
        };
        writeln!(
            f,
            "{:<4} {:>9}  {:<27} {:>9.0} {:>9.0} - {:>7.0} {:>9.2} {:>9.2} {:>7.2}",
            self.operation.name(),
            self.in_flight,
            contender.name(),
            median(rates()),
            low,
            high,
            cpu(|(client, _)| client),
            cpu(|(_, server)| server),
            self.ratio(contender),
        )
    }
}

impl ThroughputReport {
    /// Does the client library reach the aim everywhere?
    pub fn is_aim_reached(&self) -> bool {
        self.rows.iter().all(|row| row.ratio(Contender::Library) >= AIM)
    }
}

impl fmt::Display for ThroughputReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<4} {:>9}  {:<27} {:>9} {:>19} {:>19} {:>7}",
            "", "", "", "", "", "cpu us/request", ""
        )?;
        writeln!(
            f,
            "{:<4} {:>9}  {:<27} {:>9} {:>19} {:>9} {:>9} {:>7}",
            "op", "in flight", "contender", "median/s", "min - max", "client", "server", "ratio"
        )?;
        for row in &self.rows {
            for contender in Contender::ALL {
                row.line(contender, f)?;
            }
        }
        let verdict = if self.is_aim_reached() { "reached" } else { "NOT reached" };
        writeln!(f, "aim: the client library at {AIM:.2} of bare tarpc or more, in every row: {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_turn() {
        let sample = |per_second| Sample { per_second, cpu_us: None };
        let turn = |bare, library| [sample(bare), sample(library), sample(bare)];
        // Given a machine on which everything becomes ten times slower in the last turn
        let row = Row {
            operation: Operation::Put,
            in_flight: 1,
            turns: vec![turn(100.0, 80.0), turn(100.0, 70.0), turn(10.0, 9.0)],
        };
        assert!((row.ratio(Contender::Library) - 0.8).abs() < 1e-9);
        assert!(ThroughputReport { rows: vec![row] }.is_aim_reached());
    }
}
