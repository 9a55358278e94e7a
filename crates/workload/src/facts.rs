//! On what machine something was measured. What cannot be known is absent.

use serde::{Deserialize, Serialize};

/// Facts about a machine.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    /// What it calls itself.
    pub hostname: Option<String>,
    /// The processor.
    pub cpu_model: Option<String>,
    /// Cores that this program may use.
    pub cores: usize,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// Of the last minute, five and fifteen minutes, before anything was measured.
    pub load_average: Option<[f64; 3]>,
    /// Version of the program that measured.
    pub program: String,
}

impl Facts {
    /// Of this machine, now.
    pub fn here() -> Facts {
        let first_line = |path: &str| {
            std::fs::read_to_string(path).ok()?.lines().next().map(|line| line.trim().to_owned())
        };
        let field = |path: &str, name: &str| {
            let text = std::fs::read_to_string(path).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let kibibytes = |text: String| text.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024);
        Facts {
            hostname: first_line("/proc/sys/kernel/hostname"),
            cpu_model: field("/proc/cpuinfo", "model name").or_else(|| field("/proc/cpuinfo", "Model")),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: field("/proc/meminfo", "MemTotal").and_then(kibibytes),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            load_average: first_line("/proc/loadavg").and_then(|line| {
                let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
                Some([numbers.next()?, numbers.next()?, numbers.next()?])
            }),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Processor time that the calling thread has used, in seconds; none: the system does not say.
pub fn thread_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<u64>().ok()? as f64 / 1e9)
}

/// Processor time that a process has used, in seconds; none: there is no such process, or the system does not say.
pub fn process_seconds(pid: u32) -> Option<f64> {
    /// What Linux counts in here, on every machine.
    const TICKS_A_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name in parentheses: the state is field 3, user and system time are 14 and 15.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some((ticks(14)? + ticks(15)?) as f64 / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_tells_its_facts_and_work_takes_time() {
        let facts = Facts::here();
        assert!(facts.cores > 0 && facts.memory_bytes > Some(1 << 20), "{facts:?}");
        assert!(facts.kernel.is_some() && facts.load_average.is_some());
        let before = thread_seconds().expect("the system says");
        let mut number = 1_u64;
        while thread_seconds().expect("the system says") <= before {
            (0..100_000).for_each(|step| number = std::hint::black_box(number.rotate_left(7) ^ step));
        }
        assert!(process_seconds(std::process::id()) >= Some(0.0) && process_seconds(0).is_none());
    }
}
