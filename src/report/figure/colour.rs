//! Colours for print: safe for colour-blind eyes, and apart from each other in grey.

/// Red, green, blue.
pub type Colour = [u8; 3];

pub const BLACK: Colour = [0, 0, 0];
pub const WHITE: Colour = [255, 255, 255];
/// Axes and ticks.
pub const AXIS: Colour = [60, 60, 60];
/// Grid lines.
pub const GRID: Colour = [222, 222, 222];

/// Ten even steps of viridis (van der Walt and Smith 2015): lightness rises evenly, so grey print keeps the order.
const VIRIDIS: [u32; 10] =
    [0x440154, 0x482878, 0x3e4989, 0x31688e, 0x26828e, 0x1f9e89, 0x35b779, 0x6ece58, 0xb5de2b, 0xfde725];
/// Blue over white to orange, alike for red-green blind eyes, and light enough for black text throughout. In grey only
/// the sign in the text tells both ends apart.
const DIVERGING: [u32; 7] = [0x3f87c0, 0x86b9dc, 0xc6dfef, 0xf7f7f7, 0xfdd8b5, 0xf5a665, 0xe2711d];

/// Paul Tol's high-contrast colours, which keep apart in grey, then others of his for more lines than those.
const LINES: [u32; 7] = [0x004488, 0xbb5566, 0xddaa33, 0x000000, 0x6699cc, 0x997700, 0xee99aa];

fn parts(rgb: u32) -> Colour {
    [(rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8]
}

fn interpolate(anchors: &[u32], t: f64) -> Colour {
    let at = t.clamp(0.0, 1.0) * (anchors.len() - 1) as f64;
    let low = (at as usize).min(anchors.len() - 2);
    mix(parts(anchors[low]), parts(anchors[low + 1]), at - low as f64)
}

/// `part` of the way from one colour to another.
pub fn mix(from: Colour, to: Colour, part: f64) -> Colour {
    std::array::from_fn(|i| {
        (f64::from(from[i]) + (f64::from(to[i]) - f64::from(from[i])) * part).round() as u8
    })
}

/// For an amount in `0..=1`.
pub fn sequential(t: f64) -> Colour {
    interpolate(&VIRIDIS, t)
}

/// For a difference, 0.5 being none.
pub fn diverging(t: f64) -> Colour {
    interpolate(&DIVERGING, t)
}

/// The colour of the `index`-th line or bar.
pub fn of_line(index: usize) -> Colour {
    parts(LINES[index % LINES.len()])
}

/// Relative luminance (WCAG 2.2), 0 black to 1 white.
pub fn luminance(colour: Colour) -> f64 {
    let [r, g, b] = colour.map(|c| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

/// Black or white, whichever reads better on the colour.
pub fn on(colour: Colour) -> Colour {
    let l = luminance(colour);
    if (l + 0.05) / 0.05 >= 1.05 / (l + 0.05) { BLACK } else { WHITE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_keep_their_order_in_grey_and_text_reads_on_them() {
        let steps =
            |scale: fn(f64) -> Colour| (0..=50).map(|i| scale(f64::from(i) / 50.0)).collect::<Vec<_>>();
        let grey: Vec<f64> = steps(sequential).into_iter().map(luminance).collect();
        assert!(grey.windows(2).all(|w| w[0] < w[1]), "{grey:?}");
        let grey: Vec<f64> = steps(diverging).into_iter().map(luminance).collect();
        assert!(grey[..=25].windows(2).all(|w| w[0] < w[1]), "{grey:?}");
        assert!(grey[25..].windows(2).all(|w| w[0] > w[1]), "{grey:?}");
        for colour in steps(sequential).into_iter().chain(steps(diverging)) {
            let (a, b) = (luminance(colour) + 0.05, luminance(on(colour)) + 0.05);
            assert!(a.max(b) / a.min(b) >= 4.5, "{colour:?}");
        }
    }

    #[test]
    fn the_first_lines_stand_apart_in_grey() {
        let grey: Vec<f64> = (0..4).map(|i| luminance(of_line(i)).powf(1.0 / 2.2)).collect();
        for (i, a) in grey.iter().enumerate() {
            assert!(grey[i + 1..].iter().all(|b| (a - b).abs() > 0.12), "{grey:?}");
        }
    }
}
