//! A drawing as SVG. Text stays text: it can be searched, edited and set in the paper's own font.

use super::canvas::{Anchor, Canvas, Ink, Shape};
use super::colour::Colour;
use super::font;

/// Fonts of equal widths, then whatever there is.
const FONTS: &str = "Arimo, 'Liberation Sans', Arial, Helvetica, sans-serif";

/// The file; `width` in points scales the whole.
pub fn write(canvas: &Canvas, width: Option<u32>) -> String {
    let (w, h) = (canvas.width, canvas.height);
    let scale = width.map_or(1.0, |width| f64::from(width) / w);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}pt\" height=\"{}pt\" viewBox=\"0 0 {} {}\" \
         font-family=\"{FONTS}\" role=\"img\">\n<title>{}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        number(w * scale),
        number(h * scale),
        number(w),
        number(h),
        escape(&canvas.title)
    );
    for shape in &canvas.shapes {
        out += &element(shape);
        out.push('\n');
    }
    out + "</svg>\n"
}

fn element(shape: &Shape) -> String {
    match shape {
        Shape::Box { at: (x, y), size: (width, height), fill } => format!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\" shape-rendering=\"crispEdges\"/>",
            number(*x),
            number(*y),
            number(*width),
            number(*height),
            hex(*fill)
        ),
        Shape::Line { points: all, ink } => {
            format!("<polyline points=\"{}\" fill=\"none\"{}/>", points(all), stroke(ink))
        }
        Shape::Area { points: all, fill } => {
            format!("<polygon points=\"{}\" fill=\"{}\"/>", points(all), hex(*fill))
        }
        Shape::Disc { at: (x, y), radius, fill } => format!(
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>",
            number(*x),
            number(*y),
            number(*radius),
            hex(*fill)
        ),
        Shape::Text { at: (x, y), text, size, anchor, colour, turned } => {
            let (x, y) = (number(*x), number(*y));
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let turn = if *turned { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
            // Where none of the fonts is there, another one is pressed into the room that the text was given.
            let room = number(font::width(text, *size));
            let room = match text.chars().count() {
                0 | 1 => String::new(),
                _ => format!(" textLength=\"{room}\" lengthAdjust=\"spacingAndGlyphs\""),
            };
            format!(
                "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"{}\"{room}{anchor}{turn}>{}</text>",
                number(*size),
                hex(*colour),
                escape(text)
            )
        }
    }
}

fn stroke(ink: &Ink) -> String {
    let mut out = format!(
        " stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"",
        hex(ink.colour),
        number(ink.width)
    );
    if !ink.dash.is_empty() {
        let lengths: Vec<String> = ink.dash.iter().map(|d| number(*d)).collect();
        out += &format!(" stroke-dasharray=\"{}\"", lengths.join(" "));
    }
    out
}

fn points(all: &[(f64, f64)]) -> String {
    all.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect::<Vec<_>>().join(" ")
}

/// Two decimals at most.
fn number(x: f64) -> String {
    let text = format!("{x:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text in XML; characters that XML forbids are left out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_file() {
        assert_eq!(escape("a<b>&\"c\"\u{1}\n"), "a&lt;b&gt;&amp;&quot;c&quot;");
        assert_eq!((number(-0.001), number(1.5), number(10.0)), ("0".into(), "1.5".into(), "10".into()));
    }
}
