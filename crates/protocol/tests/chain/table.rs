//! The state of the nodes, of the view and of disks, as tables.

use chordata_protocol::chain::{Member, Replica};
use chordata_protocol::{Address, Time};

use crate::words;
use crate::world::{Life, Node, World};

/// Lines of columns, each as wide as it must be.
fn columns(rows: &[Vec<String>]) -> String {
    // A row of one cell is a remark.
    let full = || rows.iter().filter(|row| row.len() > 1);
    let width = |column: usize| full().filter_map(|row| row.get(column)).map(String::len).max();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().enumerate();
        let line: String =
            cells.map(|(column, cell)| format!("{cell:<0$}  ", width(column).unwrap_or(0))).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn role(replica: &Replica) -> &'static str {
    match (replica.is_serving(), replica.is_head(), replica.is_tail()) {
        (false, ..) => "syncing",
        (true, true, true) => "only",
        (true, true, false) => "head",
        (true, false, true) => "tail",
        (true, false, false) => "middle",
    }
}

fn lease(member: &Member, replica: &Replica, now: Time) -> String {
    let until = member.leased_until(replica.epoch()).filter(|until| now < *until);
    until.map_or("-".to_owned(), |until| format!("{} ms", until.since(now).as_millis()))
}

impl World {
    /// All nodes, by their places.
    fn by_place(&self, chosen: &[Address]) -> Vec<&Node> {
        let is_chosen = |node: &&Node| chosen.is_empty() || chosen.contains(&node.me.address);
        let mut nodes: Vec<&Node> = self.nodes.values().filter(is_chosen).collect();
        nodes.sort_by_key(|node| node.me.id);
        nodes
    }

    /// Every replica of every node.
    pub(crate) fn state(&self, chosen: &[Address]) -> String {
        let head = ["node", "epoch", "range", "role", "last", "committed", "dirty", "wedged", "lease"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for node in self.by_place(chosen) {
            let name = words::life(node.store, node.incarnation);
            match &node.life {
                None => rows.push(vec![format!("{name} down")]),
                Some(life) => rows.extend(self.rows(&name, life)),
            }
        }
        columns(&rows)
    }

    fn rows(&self, name: &str, life: &Life) -> Vec<Vec<String>> {
        let paused = if life.paused { " paused" } else { "" };
        let rows: Vec<Vec<String>> = life
            .member
            .replicas()
            .filter(|replica| self.is_shown(replica.epoch()))
            .map(|replica| {
                let epoch = replica.epoch();
                let change = life.member.view().and_then(|view| view.change_of(epoch));
                let wedged =
                    change.filter(|_| replica.is_wedged()).map(|(change, _)| format!("for {change:?}"));
                vec![
                    format!("{name}{paused}"),
                    format!("{epoch:?}"),
                    words::range(&replica.range()),
                    role(replica).to_owned(),
                    format!("{:?}", replica.last()),
                    format!("{:?}", replica.committed()),
                    replica.dirty().to_string(),
                    wedged.unwrap_or_else(|| "-".to_owned()),
                    lease(&life.member, replica, self.now),
                ]
            })
            .collect();
        if rows.is_empty() { vec![vec![format!("{name}{paused}: no replicas")]] } else { rows }
    }

    /// The agreed view.
    pub(crate) fn show_view(&self) -> String {
        let Some(view) = self.agreed() else { return "there is no view".to_owned() };
        let leader = self.group.leader.as_ref().map_or("nobody".to_owned(), ToString::to_string);
        let members = view.clockwise(chordata_protocol::Id::ZERO).into_iter().map(|(store, member)| {
            let leaving = if member.leaving { " (leaving)" } else { "" };
            format!("{}{leaving}", words::life(store, member.incarnation))
        });
        let mut lines = vec![format!("view {}, {leader} leads: {}", view.index, words::join(members, " "))];
        let mut ranges: Vec<_> = view.ranges.iter().collect();
        ranges.sort_by_key(|(_, active)| active.range.high);
        for (epoch, active) in ranges.into_iter().filter(|(epoch, _)| self.is_shown(**epoch)) {
            let wedged = if active.wedged { ", wedged" } else { "" };
            let (range, chain) = (words::range(&active.range), words::chain(&active.chain));
            lines.push(format!("{epoch:?} {range} from {:?}: {chain}{wedged}", active.base));
        }
        let shown = view.pending.values().filter(|pending| pending.parents.iter().any(|e| self.is_shown(*e)));
        lines.extend(shown.map(|pending| format!("prepared: {}", words::pending(pending))));
        lines.extend(
            view.losses
                .iter()
                .filter(|(epoch, _)| self.is_shown(*epoch))
                .map(|(epoch, range)| format!("writes may be lost: {epoch:?} {}", words::range(range))),
        );
        lines.join("\n")
    }

    pub(crate) fn show_keys(&self, address: &Address) -> String {
        let Some(life) = self.life(address) else { return format!("{address} is down") };
        let keys = life
            .engine
            .all()
            .map(|(key, record)| format!("{}={} {}", words::key(key), record.value, record.version));
        let keys = words::join(keys, ", ");
        format!("{address}: {}", if keys.is_empty() { "no keys".to_owned() } else { keys })
    }

    pub(crate) fn show_disk(&self, address: &Address) -> String {
        let Some(node) = self.nodes.get(address) else { return format!("{address} is not there") };
        let disk = &node.disk;
        let keys = words::join(
            disk.all().map(|(key, record)| format!("{}={}", words::key(key), record.value)),
            ", ",
        );
        let holdings = words::join(disk.holdings.values().map(words::holding), ", ");
        let view = disk.view.as_ref().map_or("none".to_owned(), |view| view.index.to_string());
        let or_nothing = |text: String| if text.is_empty() { "nothing".to_owned() } else { text };
        format!("{address}: view {view}; holds {}; {}", or_nothing(holdings), or_nothing(keys))
    }
}
