//! Two contenders who take turns: A, B, then B, A, and so on, so that a machine that becomes slower or faster meanwhile
//! favours neither. The ratio is taken within each turn; the median of these is what counts.

use std::fmt;
use std::future::Future;

use crate::BenchError;
use crate::statistics::median;

/// One measurement of one contender.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// What it did.
    pub operations: f64,
    /// In this time, in seconds.
    pub seconds: f64,
    /// Processor time of the client meanwhile, in seconds; none where the system does not say.
    pub client_cpu: Option<f64>,
    /// The same of each server; empty where there are none, or the system does not say.
    pub server_cpu: Vec<f64>,
}

impl Sample {
    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.operations / self.seconds
    }
}

/// What is compared, and all turns so far.
#[derive(Clone, Debug)]
pub struct Contest {
    /// What is done.
    pub what: String,
    /// Names: the first is measured by the second.
    pub names: [String; 2],
    /// What the ratio is to reach.
    pub aim: Option<f64>,
    turns: Vec<[Sample; 2]>,
}

impl Contest {
    /// None measured yet.
    pub fn new(what: impl Into<String>, names: [&str; 2], aim: Option<f64>) -> Contest {
        Contest { what: what.into(), names: names.map(str::to_owned), aim, turns: Vec::new() }
    }

    /// One turn: both contenders (0 and 1), the second first in every other turn.
    ///
    /// # Errors
    /// When one of them fails.
    pub async fn turn<F>(&mut self, mut measure: impl FnMut(usize) -> F) -> Result<(), BenchError>
    where
        F: Future<Output = Result<Sample, BenchError>>,
    {
        let mut samples = [Sample::default(), Sample::default()];
        let order = if self.turns.len().is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for contender in order {
            samples[contender] = measure(contender).await?;
        }
        self.turns.push(samples);
        Ok(())
    }

    /// The rate of the first as a part of that of the second.
    pub fn ratio(&self) -> f64 {
        median(self.turns.iter().map(|[first, second]| first.rate() / second.rate()))
    }

    /// Is it what it should be? None: nothing in particular is expected.
    pub fn is_aim_reached(&self) -> Option<bool> {
        self.aim.map(|aim| self.ratio() >= aim)
    }

    fn of(&self, contender: usize) -> impl Iterator<Item = &Sample> {
        self.turns.iter().map(move |turn| &turn[contender])
    }

    /// Processor time in microseconds an operation, over all turns: the system counts it in hundredths of a second.
    fn cpu_us(&self, contender: usize, take: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let operations: f64 = self.of(contender).map(|sample| sample.operations).sum();
        let seconds = self.of(contender).map(take).sum::<Option<f64>>()?;
        Some(seconds * 1e6 / operations)
    }

    /// Processor time of the busiest server in microseconds an operation: what bounds servers on machines of their own.
    pub fn busiest_us(&self, contender: usize) -> Option<f64> {
        let servers = self.of(contender).map(|sample| sample.server_cpu.len()).min()?;
        let of_each = (0..servers).map(|server| {
            self.cpu_us(contender, |sample| sample.server_cpu.get(server).copied()).unwrap_or(f64::NAN)
        });
        of_each.max_by(f64::total_cmp)
    }

    fn line(&self, contender: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates = || self.of(contender).map(Sample::rate);
        let (low, high) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
        let has_servers = self.of(contender).all(|sample| !sample.server_cpu.is_empty());
        let all = |sample: &Sample| has_servers.then(|| sample.server_cpu.iter().sum());
        let shown = |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.1}"));
        let ratio = if contender == 0 { format!("{:.2}", self.ratio()) } else { String::new() };
        writeln!(
            f,
            "  {:<34} {:>9.0} {:>9.0} - {:>7.0} {:>8} {:>8} {:>8} {:>7}",
            self.names[contender],
            median(rates()),
            low,
            high,
            shown(self.cpu_us(contender, |sample| sample.client_cpu)),
            shown(self.cpu_us(contender, all)),
            shown(self.busiest_us(contender)),
            ratio,
        )
    }

    /// The heads of the columns.
    pub fn heads(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = "";
        writeln!(f, "  {none:<34} {none:>9} {none:>19} {:>26}", "cpu us/operation")?;
        writeln!(
            f,
            "  {none:<34} {:>9} {:>19} {:>8} {:>8} {:>8} {:>7}",
            "median/s", "min - max", "client", "servers", "busiest", "ratio"
        )
    }
}

impl fmt::Display for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.aim, self.is_aim_reached()) {
            (Some(aim), Some(reached)) => {
                let verdict = if reached { "reached" } else { "NOT reached" };
                writeln!(f, "{} [aim: a ratio of {aim} or more: {verdict}]", self.what)?;
            }
            _ => writeln!(f, "{}", self.what)?,
        }
        (0..2).try_for_each(|contender| self.line(contender, f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rate: f64, server_cpu: Vec<f64>) -> Sample {
        Sample { operations: rate, seconds: 1.0, client_cpu: None, server_cpu }
    }

    #[tokio::test]
    async fn they_take_turns_and_the_ratio_is_taken_within_each() {
        let mut contest = Contest::new("", ["half", "whole"], Some(0.5));
        let mut order = Vec::new();
        // Given a machine that becomes ten times slower in the last turn
        for speed in [100.0, 100.0, 10.0] {
            let turn = contest.turn(|contender| {
                order.push(contender);
                let rate = if contender == 0 { speed / 2.0 } else { speed };
                async move { Ok(sample(rate, Vec::new())) }
            });
            turn.await.unwrap();
        }
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        assert_eq!((contest.ratio(), contest.is_aim_reached()), (0.5, Some(true)));
    }

    #[tokio::test]
    async fn the_busiest_server_is_the_busiest_over_all_turns() {
        let mut contest = Contest::new("", ["a", "b"], None);
        for server_cpu in [vec![1.0, 0.0], vec![1.0, 1.5]] {
            contest.turn(|_| std::future::ready(Ok(sample(1e6, server_cpu.clone())))).await.unwrap();
        }
        assert_eq!(contest.busiest_us(0), Some(1.0), "2 s of the first server for 2 million operations");
    }
}
