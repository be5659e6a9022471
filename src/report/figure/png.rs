//! A drawing as PNG, with its print size. The few chunks are written here: `png` would switch on features of `flate2`
//! that have polars built anew.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::{Compression, Crc, write::ZlibEncoder};
use tiny_skia::{
    Color, FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash, Transform,
};

use super::canvas::{Anchor, Canvas, Ink, Shape};
use super::colour::Colour;
use super::font;

/// Dots an inch where no width is asked.
const DENSITY: f64 = 300.0;
/// Points an inch.
const POINTS: f64 = 72.0;

/// The file, `width` pixels wide.
///
/// # Errors
/// Where the size is not to be drawn.
pub fn write(canvas: &Canvas, width: Option<u32>) -> Result<Vec<u8>> {
    let width = width.unwrap_or((canvas.width * DENSITY / POINTS).round() as u32);
    let scale = f64::from(width) / canvas.width;
    let height = ((canvas.height * scale).round() as u32).max(1);
    let mut pixels = Pixmap::new(width, height)
        .with_context(|| format!("{width} x {height} pixels cannot be drawn; ask for less with --width"))?;
    pixels.fill(Color::WHITE);
    let transform = Transform::from_scale(scale as f32, scale as f32);
    for shape in &canvas.shapes {
        draw(&mut pixels, shape, transform);
    }
    let density = (f64::from(width) / canvas.width * POINTS / 0.0254).round() as u32;
    encode(&pixels, density)
}

fn draw(pixels: &mut Pixmap, shape: &Shape, transform: Transform) {
    match shape {
        Shape::Box { at: (x, y), size: (width, height), fill } => {
            let rect = Rect::from_xywh(*x as f32, *y as f32, *width as f32, *height as f32);
            if let Some(rect) = rect {
                // On whole pixels: neighbours meet without a seam.
                let paint = Paint { anti_alias: false, ..paint(*fill) };
                pixels.fill_rect(rect, &paint, transform, None);
            }
        }
        Shape::Line { points, ink } => {
            if let Some(path) = polygon(points, false) {
                pixels.stroke_path(&path, &paint(ink.colour), &stroke(ink), transform, None);
            }
        }
        Shape::Area { points, fill } => fill_path(pixels, polygon(points, true), *fill, transform),
        Shape::Disc { at: (x, y), radius, fill } => {
            fill_path(
                pixels,
                PathBuilder::from_circle(*x as f32, *y as f32, *radius as f32),
                *fill,
                transform,
            );
        }
        Shape::Text { at: (x, y), text, size, anchor, colour, turned } => {
            let before = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => font::width(text, *size) / 2.0,
                Anchor::End => font::width(text, *size),
            };
            let mut place = transform.pre_translate(*x as f32, *y as f32);
            if *turned {
                place = place.pre_rotate(-90.0);
            }
            fill_path(pixels, font::outline(text, *size), *colour, place.pre_translate(-before as f32, 0.0));
        }
    }
}

fn fill_path(pixels: &mut Pixmap, path: Option<Path>, fill: Colour, transform: Transform) {
    if let Some(path) = path {
        pixels.fill_path(&path, &paint(fill), FillRule::Winding, transform, None);
    }
}

fn polygon(points: &[(f64, f64)], is_closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let (x, y) = (*x as f32, *y as f32);
        if index == 0 { builder.move_to(x, y) } else { builder.line_to(x, y) }
    }
    if is_closed {
        builder.close();
    }
    builder.finish()
}

fn paint([r, g, b]: Colour) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(r, g, b, 255);
    paint
}

fn stroke(ink: &Ink) -> Stroke {
    let dash = ink.dash.iter().map(|d| *d as f32).collect();
    Stroke {
        width: ink.width as f32,
        line_join: LineJoin::Round,
        dash: StrokeDash::new(dash, 0.0),
        ..Stroke::default()
    }
}

/// 8 bits a channel without transparency; `density` in pixels a metre.
fn encode(pixels: &Pixmap, density: u32) -> Result<Vec<u8>> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::new(6));
    for row in pixels.data().chunks_exact(4 * pixels.width() as usize) {
        // Each row is stored as its difference to the pixel before, which packs flat areas well.
        let mut line = vec![1u8];
        let mut last = [0u8; 3];
        for pixel in row.chunks_exact(4) {
            line.extend((0..3).map(|i| pixel[i].wrapping_sub(last[i])));
            last.copy_from_slice(&pixel[..3]);
        }
        packed.write_all(&line)?;
    }
    let size = [pixels.width().to_be_bytes(), pixels.height().to_be_bytes()].concat();
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut out, *b"IHDR", &[size.as_slice(), &[8, 2, 0, 0, 0]].concat());
    let density = density.to_be_bytes();
    chunk(&mut out, *b"pHYs", &[density.as_slice(), &density, &[1]].concat());
    chunk(&mut out, *b"IDAT", &packed.finish()?);
    chunk(&mut out, *b"IEND", &[]);
    Ok(out)
}

/// Length, name, data, checksum over name and data (PNG specification, section 5.3).
fn chunk(out: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    let mut sum = Crc::new();
    sum.update(&name);
    sum.update(data);
    out.extend((data.len() as u32).to_be_bytes());
    out.extend(name);
    out.extend(data);
    out.extend(sum.sum().to_be_bytes());
}
