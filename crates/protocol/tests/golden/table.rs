//! The state of the nodes as a table, and what is not as it should be.

use chordata_protocol::id::{between, in_half_open};
use chordata_protocol::ring::{Admit, SuccessorList};
use chordata_protocol::{Address, Id, Peer, Successor};

use crate::words;
use crate::world::{Node, Phase, World};

/// Lines of columns, each as wide as it must be.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().enumerate();
        let line: String =
            cells.map(|(column, cell)| format!("{cell:<0$}  ", width(column).unwrap_or(0))).collect();
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

/// Runs of equal values around the ring: just before the first, the last, and the value.
fn arcs<T: PartialEq + Clone>(values: &[T]) -> Vec<(usize, usize, T)> {
    let last = values.len() - 1;
    let before = |at: usize| if at == 0 { last } else { at - 1 };
    let starts: Vec<usize> = (0..values.len()).filter(|at| values[*at] != values[before(*at)]).collect();
    if starts.is_empty() {
        return vec![(0, 0, values[0].clone())];
    }
    let behind = starts.iter().cycle().skip(1);
    starts.iter().zip(behind).map(|(from, to)| (before(*from), before(*to), values[*from].clone())).collect()
}

fn arc(low: usize, high: usize) -> String {
    if low == high { "everything".to_owned() } else { format!("({low}, {high}]") }
}

impl World {
    /// All identifiers, from 0 up.
    fn ids(&self) -> impl Iterator<Item = Id> {
        let bits = self.settings.space.bits();
        assert!(bits <= 8, "scripts are about small rings");
        (0..1u128 << bits).map(Id::from_u128)
    }

    pub(crate) fn table(&self, chosen: &[Address]) -> String {
        let mut nodes: Vec<&Node> = self.nodes.values().collect();
        nodes.sort_by_key(|node| node.ring.me().id);
        if !chosen.is_empty() {
            nodes.retain(|node| chosen.contains(&node.ring.me().address));
        }
        let mut rows =
            vec![["node", "phase", "predecessor", "successors", "serves"].map(str::to_owned).to_vec()];
        rows.extend(nodes.into_iter().map(|node| self.row(node)));
        columns(&rows)
    }

    fn row(&self, node: &Node) -> Vec<String> {
        let phase = match node.phase {
            Phase::Outside => "outside",
            Phase::Joining => "joining",
            Phase::Member => "member",
            Phase::Leaving => "leaving",
            Phase::Left => "left",
        };
        let mut row = vec![node.name(), phase.to_owned()];
        if node.ring.is_member() {
            row.push(words::peer(node.ring.predecessor()));
            row.push(words::list(node.ring.successors().entries()));
            row.push(self.serving(node));
        }
        row
    }

    fn serving(&self, node: &Node) -> String {
        let mut text = words::serving(node.ring.serving().as_ref());
        let waits: Vec<bool> = self.ids().map(|id| node.ring.admit(id) == Admit::Wait).collect();
        for (low, high, withheld) in arcs(&waits) {
            if withheld {
                text.push_str(&format!(", but lets {} wait", arc(low, high)));
            }
        }
        if node.ring.is_handing_over() {
            text.push_str(", handing over");
        }
        text
    }

    pub(crate) fn fingers(&self, address: &Address) -> String {
        let Some(node) = self.node(address) else { return format!("{address} is not there") };
        let (me, space) = (node.ring.me().id, self.settings.space);
        let lines = (0..space.bits()).map(|entry| {
            let start = words::number(space.finger_start(me, entry));
            let finger = node.ring.fingers().get(entry).map_or("nobody".to_owned(), words::peer);
            format!("{entry}: {}+{}={start} -> {finger}\n", words::number(me), 1u32 << entry)
        });
        lines.collect()
    }

    pub(crate) fn keys(&self, address: &Address) -> String {
        let Some(node) = self.node(address) else { return format!("{address} is not there") };
        let keys: Vec<_> =
            node.store.records().map(|(key, record)| (key.clone(), Some(record.clone()))).collect();
        format!("{}: {}", node.name(), words::entries(&keys))
    }

    // What is wrong.

    /// Who serves each identifier.
    fn servers(&self) -> Vec<(usize, usize, Vec<String>)> {
        let members = self.members();
        let servers: Vec<Vec<String>> = self
            .ids()
            .map(|id| members.iter().filter(|node| node.ring.serves(id)).map(|node| node.name()).collect())
            .collect();
        arcs(&servers)
    }

    /// Says when identifiers begin to be served by two nodes.
    pub(crate) fn report_conflicts(&mut self) {
        let conflicts: Vec<String> = self
            .servers()
            .into_iter()
            .filter(|(_, _, servers)| servers.len() > 1)
            .map(|(low, high, servers)| {
                format!("!! {} is served by {}", arc(low, high), servers.join(" and "))
            })
            .collect();
        for line in &conflicts {
            if !self.conflicts.contains(line) {
                self.report.say(line);
            }
        }
        self.conflicts = conflicts;
    }

    /// What is not as it is in an ideal ring of the present members.
    pub(crate) fn problems(&self) -> Vec<String> {
        let members = self.members();
        let peers: Vec<Peer> = members.iter().map(|node| node.ring.me().clone()).collect();
        let mut problems = Vec::new();
        for (place, node) in members.iter().enumerate() {
            let before = &peers[(place + peers.len() - 1) % peers.len()];
            if node.ring.predecessor() != before {
                problems.push(format!("{}: the node before it is {}", node.name(), words::peer(before)));
            }
            let length = self.settings.successors;
            let behind: Vec<Successor> = (1..=length)
                .map(|step| Successor::Node(peers[(place + step) % peers.len()].clone()))
                .collect();
            if node.ring.successors().entries() != behind {
                problems.push(format!("{}: the nodes behind it are {}", node.name(), words::list(&behind)));
            }
        }
        for (low, high, servers) in self.servers() {
            if servers.len() != 1 {
                let who = if servers.is_empty() { "nobody".to_owned() } else { servers.join(" and ") };
                problems.push(format!("{} is served by {who}", arc(low, high)));
            }
        }
        problems
    }

    /// Is each finger of each member the first node at or behind its start, and each table of members right?
    pub(crate) fn is_well_known(&self) -> bool {
        let members = self.members();
        let peers: Vec<&Peer> = members.iter().map(|node| node.ring.me()).collect();
        let owner = |id: Id| {
            let first = peers.iter().find(|peer| peer.id >= id).or(peers.first());
            first.copied()
        };
        let space = self.settings.space;
        members.iter().all(|node| {
            let me = node.ring.me().id;
            let right = |entry| node.ring.fingers().get(entry) == owner(space.finger_start(me, entry));
            let table = node.ring.membership();
            (0..space.bits()).all(right)
                && !node.ring.is_membership_stale()
                && table.is_some_and(|table| table.nodes().iter().eq(peers.iter().copied()))
        })
    }

    /// Members that no extended successor list skips (Zave 2017: at least r+1 of them, and the ring cannot break).
    pub(crate) fn principals(&self) -> Vec<String> {
        let members = self.members();
        let skips = |list: &SuccessorList, owner: Id, id: Id| {
            let mut before = owner;
            list.entries().iter().any(|entry| {
                let skipped = before != entry.id() && between(before, id, entry.id());
                before = entry.id();
                skipped
            })
        };
        let skipped =
            |id: Id| members.iter().any(|node| skips(node.ring.successors(), node.ring.me().id, id));
        members.iter().filter(|node| !skipped(node.ring.me().id)).map(|node| node.name()).collect()
    }

    pub(crate) fn check(&self) -> String {
        let problems = self.problems();
        let names: Vec<String> = self.members().iter().map(|node| node.name()).collect();
        let principals = self.principals();
        let all = if principals == names { "all".to_owned() } else { principals.join(" ") };
        if problems.is_empty() {
            format!("one ordered ring: {}; principals: {all}\n", names.join(" "))
        } else {
            format!("{}\nprincipals: {all}\n", problems.join("\n"))
        }
    }

    /// Who is before a place among the members, as seen from outside.
    pub(crate) fn predecessor_of(&self, id: Id) -> Option<Peer> {
        let peers: Vec<Peer> = self.members().iter().map(|node| node.ring.me().clone()).collect();
        let behind = |low: &Peer, high: &Peer| in_half_open(low.id, id, high.id);
        let pairs = peers.iter().zip(peers.iter().cycle().skip(1));
        pairs.into_iter().find(|(low, high)| behind(low, high)).map(|(low, _)| low.clone())
    }
}
