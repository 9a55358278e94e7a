//! Lines, boxes, marks and words, drawn by plotters on SVG or on pixels. Positions are in points of the SVG; a PNG has
//! more pixels for each.

use std::sync::Once;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, FontTransform, register_font};

/// The family that is registered with the built-in font, and that an SVG names.
const FAMILY: &str = "sans-serif";
const FONT: &[u8] = include_bytes!("font/B612-Regular.otf");

/// A colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Colour(pub(super) u8, pub(super) u8, pub(super) u8);

/// Words and axes.
pub(super) const INK: Colour = Colour(0x22, 0x22, 0x22);
/// What is less important.
pub(super) const GREY: Colour = Colour(0x66, 0x66, 0x66);
/// Lines to read values by.
pub(super) const GRID: Colour = Colour(0xe2, 0xe2, 0xe2);

impl Colour {
    /// Nearer to white: 1 is white.
    pub(super) fn pale(self, part: f64) -> Colour {
        let pale = |byte: u8| (f64::from(byte) + (255.0 - f64::from(byte)) * part).round() as u8;
        Colour(pale(self.0), pale(self.1), pale(self.2))
    }

    fn rgb(self) -> RGBColor {
        RGBColor(self.0, self.1, self.2)
    }
}

/// A shape that marks a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    Disc,
    Ring,
    Triangle,
    Square,
    Diamond,
    Dash,
}

/// Where words are, seen from their position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Align {
    /// They begin there.
    Left,
    Middle,
    /// They end there.
    Right,
}

pub(super) type Point = (f64, f64);

/// What figures are drawn on.
pub(super) trait Canvas {
    fn line(&mut self, points: &[Point], colour: Colour, width: f64);
    /// A filled box between two corners.
    fn fill(&mut self, from: Point, to: Point, colour: Colour);
    /// `size` is about the mark's radius.
    fn mark(&mut self, mark: Mark, at: Point, size: f64, colour: Colour);
    /// One line, its middle at the height of the position.
    fn words(&mut self, text: &str, at: Point, size: f64, colour: Colour, align: Align);
    /// The same from the bottom to the top, around the position.
    fn upwards(&mut self, text: &str, at: Point, size: f64, colour: Colour);
}

/// A canvas of plotters.
pub(super) struct Paper<DB: DrawingBackend> {
    area: DrawingArea<DB, plotters::coord::Shift>,
    scale: f64,
    /// The first thing that went wrong.
    failed: Option<String>,
}

/// Draws a figure.
pub(super) type Draw = dyn Fn(&mut dyn Canvas);

/// Registers the built-in font.
fn font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A test looks at letters in a picture: a font that is none would not pass.
        let _ = register_font(FAMILY, FontStyle::Normal, FONT);
    });
}

impl Paper<SVGBackend<'_>> {
    /// As SVG.
    ///
    /// # Errors
    /// What plotters says.
    pub(super) fn svg(size: (u32, u32), draw: &Draw) -> Result<String, String> {
        let mut text = String::new();
        on(SVGBackend::with_string(&mut text, size), 1, draw)?;
        Ok(text)
    }
}

impl Paper<BitMapBackend<'_>> {
    /// As a PNG, so many times as large.
    ///
    /// # Errors
    /// What plotters or the encoder says.
    pub(super) fn png(size: (u32, u32), scale: u32, draw: &Draw) -> Result<Vec<u8>, String> {
        let (width, height) = (size.0 * scale, size.1 * scale);
        let mut pixels = vec![0; width as usize * height as usize * 3];
        on(BitMapBackend::with_buffer(&mut pixels, (width, height)), scale, draw)?;
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
        writer.write_image_data(&pixels).map_err(|error| error.to_string())?;
        writer.finish().map_err(|error| error.to_string())?;
        Ok(file)
    }
}

fn on<DB: DrawingBackend>(backend: DB, scale: u32, draw: &Draw) -> Result<(), String> {
    font();
    let area = backend.into_drawing_area();
    area.fill(&WHITE).map_err(|error| error.to_string())?;
    let mut paper = Paper { area, scale: scale.into(), failed: None };
    draw(&mut paper);
    let presented = paper.area.present().map_err(|error| error.to_string());
    match paper.failed {
        Some(reason) => Err(reason),
        None => presented,
    }
}

impl<DB: DrawingBackend> Paper<DB> {
    fn at(&self, (x, y): Point) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    fn length(&self, length: f64) -> u32 {
        (length * self.scale).round().max(1.0) as u32
    }

    fn note<E: std::fmt::Display>(&mut self, result: Result<(), E>) {
        if let Err(error) = result {
            self.failed.get_or_insert_with(|| error.to_string());
        }
    }

    fn polygon(&mut self, around: Point, corners: &[Point], colour: Colour) {
        let corners: Vec<(i32, i32)> =
            corners.iter().map(|(x, y)| self.at((around.0 + x, around.1 + y))).collect();
        let drawn = self.area.draw(&Polygon::new(corners, colour.rgb().filled()));
        self.note(drawn);
    }

    fn text(&mut self, text: &str, at: Point, size: f64, colour: Colour, pos: Pos, turn: FontTransform) {
        let font = (FAMILY, size * self.scale).into_font().transform(turn);
        let colour = colour.rgb();
        let style = TextStyle::from(font).color(&colour).pos(pos);
        let drawn = self.area.draw_text(text, &style, self.at(at));
        self.note(drawn);
    }
}

impl<DB: DrawingBackend> Canvas for Paper<DB> {
    fn line(&mut self, points: &[Point], colour: Colour, width: f64) {
        let points: Vec<(i32, i32)> = points.iter().map(|point| self.at(*point)).collect();
        let style = colour.rgb().stroke_width(self.length(width));
        let drawn = self.area.draw(&PathElement::new(points, style));
        self.note(drawn);
    }

    fn fill(&mut self, from: Point, to: Point, colour: Colour) {
        let drawn = self.area.draw(&Rectangle::new([self.at(from), self.at(to)], colour.rgb().filled()));
        self.note(drawn);
    }

    fn mark(&mut self, mark: Mark, at: Point, size: f64, colour: Colour) {
        match mark {
            Mark::Disc => {
                let drawn =
                    self.area.draw(&Circle::new(self.at(at), self.length(size), colour.rgb().filled()));
                self.note(drawn);
            }
            Mark::Ring => {
                let white = Circle::new(self.at(at), self.length(size), WHITE.filled());
                let ring = colour.rgb().stroke_width(self.length(1.5));
                let drawn = self.area.draw(&white);
                self.note(drawn);
                let drawn = self.area.draw(&Circle::new(self.at(at), self.length(size), ring));
                self.note(drawn);
            }
            Mark::Triangle => {
                let (wide, high) = (1.15 * size, 1.1 * size);
                self.polygon(at, &[(0.0, -1.3 * size), (wide, high * 0.8), (-wide, high * 0.8)], colour);
            }
            Mark::Square => {
                let half = 0.9 * size;
                self.fill((at.0 - half, at.1 - half), (at.0 + half, at.1 + half), colour);
            }
            Mark::Diamond => {
                let half = 1.25 * size;
                self.polygon(at, &[(0.0, -half), (half, 0.0), (0.0, half), (-half, 0.0)], colour);
            }
            Mark::Dash => self.line(&[(at.0 - size, at.1), (at.0 + size, at.1)], colour, 2.0),
        }
    }

    fn words(&mut self, text: &str, at: Point, size: f64, colour: Colour, align: Align) {
        let side = match align {
            Align::Left => HPos::Left,
            Align::Middle => HPos::Center,
            Align::Right => HPos::Right,
        };
        self.text(text, at, size, colour, Pos::new(side, VPos::Center), FontTransform::None);
    }

    fn upwards(&mut self, text: &str, at: Point, size: f64, colour: Colour) {
        self.text(text, at, size, colour, Pos::new(HPos::Center, VPos::Center), FontTransform::Rotate270);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_drawn_in_pixels() {
        let dark = |draw: &Draw| {
            let file = Paper::png((100, 40), 2, draw).expect("it is drawn");
            let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().expect("a PNG");
            let mut pixels = vec![0; reader.output_buffer_size().expect("it has a size")];
            let info = reader.next_frame(&mut pixels).expect("pixels");
            assert_eq!((info.width, info.height), (200, 80));
            pixels.iter().filter(|byte| **byte < 128).count()
        };
        assert_eq!(dark(&|_| {}), 0, "the paper is white");
        let words = dark(&|canvas| canvas.words("k = 3, 10 µs", (50.0, 20.0), 12.0, INK, Align::Middle));
        assert!(words > 300, "{words}");
    }

    #[test]
    fn pale_colours_are_nearer_to_white() {
        assert_eq!(Colour(0, 100, 255).pale(0.0), Colour(0, 100, 255));
        assert_eq!(Colour(0, 100, 255).pale(1.0), Colour(255, 255, 255));
    }
}
