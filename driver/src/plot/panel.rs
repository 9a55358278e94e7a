//! A pair of axes: columns to the right, values upwards, on an even or a logarithmic scale.

use super::canvas::{Align, Canvas, Colour, GREY, GRID, INK, Mark, Point};
use crate::experiment::summary::grouped;

/// Height of letters.
pub(super) const LETTERS: f64 = 12.0;
pub(super) const SMALL: f64 = 11.0;
const TITLE: f64 = 15.0;

/// How a model looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    pub(super) colour: Colour,
    pub(super) mark: Mark,
}

/// By Okabe and Ito, and by shape.
pub(super) fn look(model: Option<&str>) -> Look {
    match model {
        Some("chain") => Look { colour: Colour(0x00, 0x72, 0xb2), mark: Mark::Disc },
        Some("eventual") => Look { colour: Colour(0xd5, 0x5e, 0x00), mark: Mark::Triangle },
        Some("single") => Look { colour: Colour(0x00, 0x9e, 0x73), mark: Mark::Square },
        Some(_) | None => Look { colour: Colour(0x55, 0x55, 0x55), mark: Mark::Diamond },
    }
}

/// A scale of values.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Scale {
    /// From 0 to the last tick.
    Even { ticks: Vec<f64> },
    /// From the first power of ten to the last.
    Powers { first: i32, last: i32 },
}

impl Scale {
    /// From 0 to a round number above the greatest value.
    pub(super) fn even(max: f64) -> Scale {
        const TICKS: f64 = 5.0;
        let max = if max > 0.0 { max } else { 1.0 };
        let raw = max * 1.05 / TICKS;
        let power = 10f64.powf(raw.log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
        let step =
            steps.into_iter().map(|step| step * power).find(|step| *step >= raw).unwrap_or(10.0 * power);
        let count = (max * 1.02 / step).ceil() as usize;
        Scale::Even { ticks: (0..=count.max(1)).map(|tick| tick as f64 * step).collect() }
    }

    /// Powers of ten around these values, which are greater than 0.
    pub(super) fn powers(min: f64, max: f64) -> Scale {
        let first = min.log10().floor() as i32;
        Scale::Powers { first, last: (max.log10().ceil() as i32).max(first + 1) }
    }

    fn ticks(&self) -> Vec<f64> {
        match self {
            Scale::Even { ticks } => ticks.clone(),
            Scale::Powers { first, last } => (*first..=*last).map(|power| 10f64.powi(power)).collect(),
        }
    }

    /// Where a value is, from 0 at the bottom to 1 at the top.
    fn part(&self, value: f64) -> f64 {
        match self {
            Scale::Even { ticks } => value / ticks.last().copied().unwrap_or(1.0),
            Scale::Powers { first, last } => (value.log10() - f64::from(*first)) / f64::from(last - first),
        }
    }
}

/// A pair of axes on a figure.
pub(super) struct Panel {
    /// Of the whole, with titles and labels.
    pub(super) origin: Point,
    pub(super) size: Point,
    /// Above.
    pub(super) title: String,
    /// What values are; empty: said elsewhere.
    pub(super) values: &'static str,
    pub(super) scale: Scale,
    /// How a tick is written.
    pub(super) tick: fn(f64) -> String,
    /// One label for each column.
    pub(super) columns: Vec<String>,
    /// What columns are.
    pub(super) below: &'static str,
}

const LEFT: f64 = 78.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 48.0;

impl Panel {
    fn left(&self) -> f64 {
        self.origin.0 + LEFT
    }

    fn right(&self) -> f64 {
        self.origin.0 + self.size.0 - RIGHT
    }

    fn bottom(&self) -> f64 {
        self.origin.1 + self.size.1 - BOTTOM
    }

    /// Width of a column.
    pub(super) fn column(&self) -> f64 {
        (self.right() - self.left()) / self.columns.len().max(1) as f64
    }

    /// The middle of a column.
    pub(super) fn x(&self, column: usize) -> f64 {
        self.left() + self.column() * (column as f64 + 0.5)
    }

    /// The height of a value.
    pub(super) fn y(&self, value: f64) -> f64 {
        let top = self.origin.1 + TOP;
        self.bottom() - (self.bottom() - top) * self.scale.part(value)
    }

    /// Grid, axes and words.
    pub(super) fn frame(&self, canvas: &mut dyn Canvas) {
        let (left, right, bottom) = (self.left(), self.right(), self.bottom());
        for tick in self.scale.ticks() {
            let y = self.y(tick);
            canvas.line(&[(left, y), (right, y)], GRID, 1.0);
            canvas.words(&(self.tick)(tick), (left - 8.0, y), SMALL, GREY, Align::Right);
        }
        canvas.line(&[(left, bottom), (right, bottom)], GREY, 1.0);
        for (place, label) in self.columns.iter().enumerate() {
            canvas.words(label, (self.x(place), bottom + 14.0), LETTERS, INK, Align::Middle);
        }
        let middle = f64::midpoint(left, right);
        canvas.words(self.below, (middle, bottom + 35.0), LETTERS, GREY, Align::Middle);
        canvas.words(&self.title, (left, self.origin.1 + 12.0), TITLE, INK, Align::Left);
        let height = f64::midpoint(self.origin.1 + TOP, bottom);
        canvas.upwards(self.values, (self.origin.0 + 12.0, height), LETTERS, GREY);
    }
}

/// What a mark or a colour means, one beside the other. Returns where the next one would be.
pub(super) fn legend(canvas: &mut dyn Canvas, mut at: Point, entries: &[(Mark, Colour, &str)]) -> f64 {
    for (mark, colour, meaning) in entries {
        canvas.mark(*mark, (at.0 + 6.0, at.1), 4.5, *colour);
        canvas.words(meaning, (at.0 + 18.0, at.1), LETTERS, INK, Align::Left);
        at.0 += 18.0 + 7.2 * meaning.chars().count() as f64 + 22.0;
    }
    at.0
}

/// `12,000`; small ones with a fraction.
pub(super) fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 10.0 && value.fract() != 0.0 {
        format!("{value:.1}")
    } else {
        grouped(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(max: f64) -> Vec<f64> {
        Scale::even(max).ticks()
    }

    #[test]
    fn ticks_are_round_and_reach_above_the_greatest_value() {
        assert_eq!(ticks(41_800.0), [0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0]);
        for max in [0.0, 0.7, 1.0, 99.0, 100.0, 101.0, 12_345.0, 1e6, 1.04e6] {
            let ticks = ticks(max);
            assert!(
                *ticks.last().expect("some") >= max && (2..=8).contains(&ticks.len()),
                "{max}: {ticks:?}"
            );
        }
    }

    #[test]
    fn powers_surround_the_values() {
        assert_eq!(Scale::powers(150.0, 9_000.0), Scale::Powers { first: 2, last: 4 });
        assert_eq!(Scale::powers(100.0, 100.0), Scale::Powers { first: 2, last: 3 });
        let scale = Scale::powers(100.0, 10_000.0);
        assert!((scale.part(1000.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 2.5, 5.0, 12_000.0].map(number), ["0", "2.5", "5", "12,000"]);
    }
}
