//! Requests a second over k, a panel for each kind of experiment, a line for each model.

use std::collections::BTreeSet;

use super::Drawing;
use super::canvas::{Align, Canvas, GREY};
use super::panel::{Panel, SMALL, Scale, legend, look, number};
use crate::experiment::result::{Kind, Results};
use crate::experiment::summary::{Row, rows};

const PANEL: (f64, f64) = (430.0, 330.0);
const MARGIN: f64 = 14.0;
const HEAD: f64 = 40.0;
/// How far lines of different models stand apart, so that their bars do not cover each other.
const APART: f64 = 9.0;

/// What is drawn of a result; none: nothing was answered.
pub(super) fn drawing(results: &Results) -> Option<Drawing> {
    let rows: Vec<Row> = rows(results).into_iter().filter(|row| row.answered > 0).collect();
    let kinds: Vec<Kind> =
        rows.iter().map(|row| row.experiment).collect::<BTreeSet<_>>().into_iter().collect();
    if kinds.is_empty() {
        return None;
    }
    let size = ((2.0 * MARGIN + PANEL.0 * kinds.len() as f64) as u32, (2.0 * MARGIN + HEAD + PANEL.1) as u32);
    Some(Drawing { size, draw: Box::new(move |canvas| draw(canvas, &rows, &kinds)) })
}

/// Models in the order in which they were measured.
fn models(rows: &[Row]) -> Vec<Option<&str>> {
    let mut models = Vec::new();
    for row in rows {
        if !models.contains(&row.consistency.as_deref()) {
            models.push(row.consistency.as_deref());
        }
    }
    models
}

/// What a cluster is called in a legend.
pub(super) fn title_of(model: Option<&str>) -> &str {
    model.unwrap_or("model not known")
}

fn draw(canvas: &mut dyn Canvas, rows: &[Row], kinds: &[Kind]) {
    let models = models(rows);
    let entries: Vec<_> =
        models.iter().map(|model| (look(*model).mark, look(*model).colour, title_of(*model))).collect();
    let end = legend(canvas, (MARGIN + 78.0, MARGIN + 12.0), &entries);
    canvas.words(
        "medians; bars: slowest to fastest run",
        (end + 6.0, MARGIN + 12.0),
        SMALL,
        GREY,
        Align::Left,
    );
    let copies: Vec<Option<u8>> =
        rows.iter().map(|row| row.replication).collect::<BTreeSet<_>>().into_iter().collect();
    for (place, kind) in kinds.iter().enumerate() {
        let of_kind: Vec<&Row> = rows.iter().filter(|row| row.experiment == *kind).collect();
        let max = of_kind.iter().map(|row| row.per_second_max).fold(0.0, f64::max);
        let (title, values) = match kind {
            Kind::Insert => ("Inserts", "inserts per second"),
            Kind::Query => ("Queries", "queries per second"),
            Kind::Request => ("Mixed requests", "requests per second"),
        };
        let panel = Panel {
            origin: (MARGIN + PANEL.0 * place as f64, MARGIN + HEAD),
            size: PANEL,
            title: title.to_owned(),
            values,
            scale: Scale::even(max),
            tick: number,
            columns: copies
                .iter()
                .map(|copies| copies.map_or_else(|| "?".to_owned(), |copies| copies.to_string()))
                .collect(),
            below: "copies of each key, k",
        };
        panel.frame(canvas);
        for (number, model) in models.iter().enumerate() {
            let shift = APART * (number as f64 - (models.len() as f64 - 1.0) / 2.0);
            series(canvas, &panel, &of_kind, &copies, *model, shift);
        }
    }
}

fn series(
    canvas: &mut dyn Canvas,
    panel: &Panel,
    rows: &[&Row],
    copies: &[Option<u8>],
    model: Option<&str>,
    shift: f64,
) {
    let look = look(model);
    let mut points = Vec::new();
    for (column, copies) in copies.iter().enumerate() {
        let is_here = |row: &&&Row| row.replication == *copies && row.consistency.as_deref() == model;
        let Some(row) = rows.iter().find(is_here) else { continue };
        let x = panel.x(column) + shift;
        points.push((x, panel.y(row.per_second)));
        let (low, high) = (panel.y(row.per_second_min), panel.y(row.per_second_max));
        canvas.line(&[(x, low), (x, high)], look.colour, 1.5);
        for end in [low, high] {
            canvas.line(&[(x - 4.0, end), (x + 4.0, end)], look.colour, 1.5);
        }
    }
    if points.len() > 1 {
        canvas.line(&points, look.colour, 2.0);
    }
    for point in points {
        canvas.mark(look.mark, point, 4.5, look.colour);
    }
}
