//! Pictures of results: `chordata plot`.
//!
//! ```text
//! throughput  requests a second over k, for each model
//! latency     percentiles, for each model and k
//! load        what each node has of it
//!   panel       a pair of axes: ticks, grid, titles
//!   canvas      lines, boxes and words, as SVG and as PNG
//! report      one page with everything: pictures, tables, settings, hosts
//! markdown    a part of a page of Markdown
//! against     figures of another system
//! ```
//!
//! Colours are those of Okabe and Ito, which the colour-blind tell apart; every model has a shape of its own as well.
//! Letters are drawn with a font that is built in (`font/`), since machines without a desktop have none; an SVG names a
//! sans-serif font and lets the reader's machine choose it.

pub(crate) mod against;
mod canvas;
mod latency;
mod load;
pub(crate) mod markdown;
mod panel;
pub(crate) mod report;
mod throughput;

use crate::experiment::result::Results;
use crate::failure::{Failure, Outcome};
use canvas::Paper;

/// A picture in both forms.
pub(crate) struct Figure {
    /// Of its files.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) title: &'static str,
    /// How to read it.
    pub(crate) caption: &'static str,
    /// As text.
    pub(crate) svg: String,
    /// As a file.
    pub(crate) png: Vec<u8>,
}

/// How large a PNG is drawn compared with the SVG, so that it is sharp on dense screens.
const PNG_SCALE: u32 = 2;

/// A figure before it is drawn.
struct Drawing {
    size: (u32, u32),
    draw: Box<canvas::Draw>,
}

impl Drawing {
    fn finish(&self, name: &'static str, title: &'static str, caption: &'static str) -> Outcome<Figure> {
        let failed = |reason: String| Failure::failed(format!("{name} cannot be drawn: {reason}"));
        let svg = Paper::svg(self.size, &*self.draw).map_err(failed)?;
        let png = Paper::png(self.size, PNG_SCALE, &*self.draw).map_err(failed)?;
        Ok(Figure { name, title, caption, svg, png })
    }
}

/// All pictures of a result.
///
/// # Errors
/// When there is nothing to draw in it.
pub(crate) fn figures(results: &Results) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    if let Some(drawing) = throughput::drawing(results) {
        figures.push(drawing.finish(
            "throughput",
            "Throughput",
            "Requests answered each second, all entry nodes together, over the number of copies of each key. Points are \
             medians of the runs, bars reach from the slowest run to the fastest.",
        )?);
    }
    if let Some(drawing) = latency::drawing(results) {
        figures.push(drawing.finish(
            "latency",
            "Latency",
            "How long requests took, from before they were written until the whole answer was there, over all runs. The \
             scale is logarithmic.",
        )?);
    }
    if let Some(drawing) = load::drawing(results) {
        figures.push(drawing.finish(
            "load",
            "Load per node",
            "The part of all stored copies that each node held after the last run, and, where the nodes were processes of \
             the driver's machine, its part of the processor time. The line is an equal share.",
        )?);
    }
    match figures.is_empty() {
        true => Err(Failure::input("there is nothing to draw in this result: no request was answered")),
        false => Ok(figures),
    }
}
