//! Percentiles of latency, a panel for each kind of experiment, a column for each cluster.

use std::collections::BTreeSet;

use super::Drawing;
use super::canvas::{Align, Canvas, GREY, Mark};
use super::panel::{LETTERS, Panel, Scale, legend, look};
use super::throughput::title_of;
use crate::experiment::result::{Kind, Results};
use crate::experiment::summary::{Row, rows, time};

const COLUMN: f64 = 62.0;
const PANEL_MIN: f64 = 330.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 14.0;
const HEAD: f64 = 40.0;
/// What is beside the columns of a panel.
const BESIDE: f64 = 94.0;

/// The percentiles that are marked, and how.
const MARKS: [(Mark, &str, f64); 4] = [
    (Mark::Disc, "median", 5.0),
    (Mark::Dash, "90 %", 7.0),
    (Mark::Diamond, "99 %", 3.6),
    (Mark::Ring, "99.9 %", 4.0),
];

fn percentiles(row: &Row) -> Option<[f64; 4]> {
    let value = |value: Option<u64>| value.map(|value| value as f64);
    Some([value(row.p50_us)?, value(row.p90_us)?, value(row.p99_us)?, value(row.p999_us)?])
}

/// What is drawn of a result; none: nothing was answered.
pub(super) fn drawing(results: &Results) -> Option<Drawing> {
    let rows: Vec<Row> = rows(results).into_iter().filter(|row| percentiles(row).is_some()).collect();
    let kinds: Vec<Kind> =
        rows.iter().map(|row| row.experiment).collect::<BTreeSet<_>>().into_iter().collect();
    let columns = kinds.iter().map(|kind| rows.iter().filter(|row| row.experiment == *kind).count()).max()?;
    let width = (BESIDE + COLUMN * columns as f64).max(PANEL_MIN);
    let size = ((2.0 * MARGIN + width * kinds.len() as f64) as u32, (2.0 * MARGIN + HEAD + HEIGHT) as u32);
    Some(Drawing { size, draw: Box::new(move |canvas| draw(canvas, &rows, &kinds, width)) })
}

fn tick(microseconds: f64) -> String {
    match microseconds {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.0} s", us / 1e6),
    }
}

fn draw(canvas: &mut dyn Canvas, rows: &[Row], kinds: &[Kind], width: f64) {
    let entries = MARKS.map(|(mark, meaning, _)| (mark, GREY, meaning));
    legend(canvas, (MARGIN + 78.0, MARGIN + 12.0), &entries);
    let all = rows.iter().filter_map(percentiles).flatten();
    let (min, max) = all.fold((f64::MAX, 1.0), |(min, max), value| (value.min(min), value.max(max)));
    for (place, kind) in kinds.iter().enumerate() {
        let of_kind: Vec<&Row> = rows.iter().filter(|row| row.experiment == *kind).collect();
        let label = |row: &&Row| row.replication.map_or_else(String::new, |copies| format!("k = {copies}"));
        let panel = Panel {
            origin: (MARGIN + width * place as f64, MARGIN + HEAD),
            size: (width, HEIGHT),
            title: match kind {
                Kind::Insert => "Inserts",
                Kind::Query => "Queries",
                Kind::Request => "Mixed requests",
            }
            .to_owned(),
            values: "time until the answer",
            scale: Scale::powers(min, max),
            tick,
            columns: of_kind.iter().map(label).collect(),
            below: "",
        };
        panel.frame(canvas);
        for (column, row) in of_kind.iter().enumerate() {
            ladder(canvas, &panel, column, row);
        }
        models_below(canvas, &panel, &of_kind);
    }
}

/// One column: the percentiles on a line, the median with its number.
fn ladder(canvas: &mut dyn Canvas, panel: &Panel, column: usize, row: &Row) {
    let Some(values) = percentiles(row) else { return };
    let (x, colour) = (panel.x(column), look(row.consistency.as_deref()).colour);
    canvas.line(&[(x, panel.y(values[0])), (x, panel.y(values[3]))], colour, 1.5);
    for (value, (mark, _, size)) in values.into_iter().zip(MARKS) {
        canvas.mark(mark, (x, panel.y(value)), size, colour);
    }
    let text = time(row.p50_us);
    canvas.words(&text, (x, panel.y(values[0]) + 14.0), 10.0, colour, Align::Middle);
}

/// The name of a model below all columns of it.
fn models_below(canvas: &mut dyn Canvas, panel: &Panel, rows: &[&Row]) {
    let mut first = 0;
    while first < rows.len() {
        let model = rows[first].consistency.as_deref();
        let count = rows[first..].iter().take_while(|row| row.consistency.as_deref() == model).count();
        let middle = f64::midpoint(panel.x(first), panel.x(first + count - 1));
        let y = panel.origin.1 + panel.size.1 - 14.0;
        canvas.words(title_of(model), (middle, y), LETTERS, look(model).colour, Align::Middle);
        first += count;
    }
}
