//! The font that comes with the program: metric-compatible with Arial and Helvetica, so that an SVG, which only names
//! those, is laid out right, and a PNG needs no font of the machine.

use std::sync::LazyLock;

use tiny_skia::{Path, PathBuilder, Transform};
use ttf_parser::{Face, GlyphId, OutlineBuilder};

/// Arimo cut down to Latin, Greek and Cyrillic; `assets/fonts/OFL.txt` has origin and licence.
const FILE: &[u8] = include_bytes!("../../../assets/fonts/arimo-subset.ttf");

/// `None` only where the bundled file is broken, which a test would see.
static FACE: LazyLock<Option<Face<'static>>> = LazyLock::new(|| Face::parse(FILE, 0).ok());

/// The glyph of a character (the empty box where there is none) and its advance, in font units.
fn glyph(face: &Face<'_>, c: char) -> (GlyphId, f64) {
    let id = face.glyph_index(c).unwrap_or(GlyphId(0));
    (id, f64::from(face.glyph_hor_advance(id).unwrap_or(0)))
}

/// Width of a line of text, in points.
pub fn width(text: &str, size: f64) -> f64 {
    let Some(face) = FACE.as_ref() else { return 0.5 * size * text.chars().count() as f64 };
    text.chars().map(|c| glyph(face, c).1).sum::<f64>() * size / f64::from(face.units_per_em())
}

/// The outlines of a line of text that begins at the origin, in points, y downwards.
pub fn outline(text: &str, size: f64) -> Option<Path> {
    let face = FACE.as_ref()?;
    let mut pen = Pen { builder: PathBuilder::new(), x: 0.0 };
    for c in text.chars() {
        let (id, advance) = glyph(face, c);
        // A blank has no outline.
        let _ = face.outline_glyph(id, &mut pen);
        pen.x += advance as f32;
    }
    let scale = (size / f64::from(face.units_per_em())) as f32;
    pen.builder.finish()?.transform(Transform::from_scale(scale, -scale))
}

/// Takes a glyph's outline at `x`.
struct Pen {
    builder: PathBuilder,
    x: f32,
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.builder.move_to(self.x + x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.builder.line_to(self.x + x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.builder.quad_to(self.x + x1, y1, self.x + x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.builder.cubic_to(self.x + x1, y1, self.x + x2, y2, self.x + x, y);
    }

    fn close(&mut self) {
        self.builder.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_what_figures_write_and_arials_widths() {
        let face = FACE.as_ref().expect("the bundled font");
        for c in "0123456789+−–…±×αabcxyzABCXYZ.,:;()[]%äéßØłşжΩ".chars() {
            assert!(face.glyph_index(c).is_some(), "{c}");
        }
        // Arial: a digit is 1139, an M 1706 of 2048 units wide.
        assert!((width("00", 10.0) - 2.0 * 5.561).abs() < 0.01, "{}", width("00", 10.0));
        assert!((width("M", 10.0) - 8.33).abs() < 0.01);
        let bounds = outline("H", 10.0).expect("outline").bounds();
        assert!((bounds.top() + 6.88).abs() < 0.01 && bounds.bottom().abs() < 0.1, "{bounds:?}");
        assert!(outline(" ", 10.0).is_none());
    }
}
