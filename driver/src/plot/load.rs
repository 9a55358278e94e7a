//! What each node has of the load: a panel for each cluster, a bar for each node.

use super::Drawing;
use super::canvas::{Canvas, Colour, INK, Mark};
use super::panel::{Panel, Scale, legend, look, number};
use crate::experiment::result::{Cell, Kind, NodeLoad, Results};
use crate::experiment::summary::grouped;

const PANEL: (f64, f64) = (330.0, 230.0);
const MARGIN: f64 = 14.0;
const HEAD: f64 = 40.0;
/// Panels beside each other.
const BESIDE: usize = 3;
/// Reddish purple, by Okabe and Ito.
const PROCESSOR: Colour = Colour(0xcc, 0x79, 0xa7);

/// What is drawn of a cluster.
struct Loads {
    title: String,
    colour: Colour,
    nodes: Vec<NodeLoad>,
}

/// The nodes after the last run: of inserts if there were any, since they are what fills nodes.
fn nodes(cell: &Cell) -> Option<&[NodeLoad]> {
    let inserts = cell.experiments.iter().find(|experiment| experiment.kind == Kind::Insert);
    let run = inserts.or(cell.experiments.last())?.runs.last()?;
    (run.nodes.iter().any(|node| node.keys > 0)).then_some(&run.nodes)
}

/// What is drawn of a result; none: no node's load is known.
pub(super) fn drawing(results: &Results) -> Option<Drawing> {
    let loads: Vec<Loads> = results
        .cells
        .iter()
        .filter_map(|cell| {
            let nodes = nodes(cell)?;
            let total: u64 = nodes.iter().map(|node| node.keys).sum();
            let model = cell.consistency.as_deref().unwrap_or("model not known");
            let copies = cell.replication.map_or_else(String::new, |copies| format!(", k = {copies}"));
            Some(Loads {
                title: format!("{model}{copies}: {} copies", grouped(total as f64)),
                colour: look(cell.consistency.as_deref()).colour,
                nodes: nodes.to_vec(),
            })
        })
        .collect();
    if loads.is_empty() {
        return None;
    }
    let rows = loads.len().div_ceil(BESIDE);
    let size = (
        (2.0 * MARGIN + PANEL.0 * loads.len().min(BESIDE) as f64) as u32,
        (2.0 * MARGIN + HEAD + PANEL.1 * rows as f64) as u32,
    );
    Some(Drawing { size, draw: Box::new(move |canvas| draw(canvas, &loads)) })
}

/// Parts of the whole, in per cent; none: not known of all.
fn parts(values: &[Option<f64>]) -> Option<Vec<f64>> {
    let values: Vec<f64> = values.iter().copied().collect::<Option<_>>()?;
    let total: f64 = values.iter().sum();
    (total > 0.0).then(|| values.iter().map(|value| value / total * 100.0).collect())
}

fn draw(canvas: &mut dyn Canvas, loads: &[Loads]) {
    let has_processor =
        loads.iter().any(|load| load.nodes.iter().all(|node| node.processor_seconds.is_some()));
    let entries = [
        (Mark::Square, Colour(0x99, 0x99, 0x99), "stored copies"),
        (Mark::Diamond, PROCESSOR, "processor time"),
        (Mark::Dash, INK, "equal share"),
    ];
    let entries: Vec<_> =
        entries.into_iter().filter(|entry| has_processor || entry.0 != Mark::Diamond).collect();
    legend(canvas, (MARGIN + 78.0, MARGIN + 12.0), &entries);
    let shares = |load: &Loads| {
        let keys: Vec<Option<f64>> = load.nodes.iter().map(|node| Some(node.keys as f64)).collect();
        let processor: Vec<Option<f64>> = load.nodes.iter().map(|node| node.processor_seconds).collect();
        (parts(&keys).unwrap_or_default(), parts(&processor))
    };
    let all = loads.iter().map(shares);
    let max = all.flat_map(|(keys, processor)| keys.into_iter().chain(processor.unwrap_or_default()));
    let scale = Scale::even(max.fold(0.0, f64::max));
    for (place, load) in loads.iter().enumerate() {
        let (column, row) = ((place % BESIDE) as f64, (place / BESIDE) as f64);
        let panel = Panel {
            origin: (MARGIN + PANEL.0 * column, MARGIN + HEAD + PANEL.1 * row),
            size: PANEL,
            title: load.title.clone(),
            values: "part of all, %",
            scale: scale.clone(),
            tick: number,
            columns: (0..load.nodes.len()).map(|node| node.to_string()).collect(),
            below: "entry node",
        };
        panel.frame(canvas);
        let (keys, processor) = shares(load);
        let half = panel.column() * 0.34;
        for (node, part) in keys.iter().enumerate() {
            let x = panel.x(node);
            canvas.fill((x - half, panel.y(*part)), (x + half, panel.y(0.0)), load.colour.pale(0.35));
        }
        let equal = panel.y(100.0 / load.nodes.len() as f64);
        let (left, right) =
            (panel.x(0) - panel.column() / 2.0, panel.x(load.nodes.len() - 1) + panel.column() / 2.0);
        canvas.line(&[(left, equal), (right, equal)], INK, 1.0);
        for (node, part) in processor.iter().flatten().enumerate() {
            canvas.mark(Mark::Diamond, (panel.x(node), panel.y(*part)), 3.4, PROCESSOR);
        }
    }
}
