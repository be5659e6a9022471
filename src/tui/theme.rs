//! Colours by meaning. The default theme draws on the terminal's own background.
//!
//! A theme never carries meaning alone: every coloured thing has a word, a sign or a marker beside it.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

/// The themes, in the order in which `T` walks through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Dark,
    Light,
    ColourBlind,
    Mono,
}

impl Name {
    pub const ALL: [Self; 4] = [Self::Dark, Self::Light, Self::ColourBlind, Self::Mono];

    /// As on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::ColourBlind => "colour-blind",
            Self::Mono => "mono",
        }
    }

    /// The theme of this name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.replace("color", "colour").replace('_', "-");
        Self::ALL.into_iter().find(|n| n.word() == word)
    }

    /// The next theme.
    #[must_use]
    pub fn next(self) -> Self {
        let at = Self::ALL.iter().position(|n| *n == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// Styles by meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Theme {
    pub name: Name,
    pub text: Style,
    pub dim: Style,
    pub strong: Style,
    pub title: Style,
    pub border: Style,
    pub focus: Style,
    pub key: Style,
    pub selected: Style,
    pub good: Style,
    pub warn: Style,
    pub bad: Style,
    pub alarm: Style,
    /// Monolingual batches and settings.
    pub mono: Style,
    /// Cross-lingual batches and settings.
    pub cross: Style,
    /// Mixed batches and the multilingual pool.
    pub multi: Style,
    /// Stable colours of runs in an overlay.
    pub series: [Style; 8],
}

const fn fg(color: Color) -> Style {
    Style::new().fg(color)
}

const fn rgb(hex: u32) -> Color {
    Color::Rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

impl Theme {
    /// The theme of this name.
    #[must_use]
    pub const fn of(name: Name) -> Self {
        match name {
            Name::Dark => Self::coloured(
                name,
                [0x8a8f98, 0x4a505c, 0x7aa2f7, 0x9ece6a, 0xe0af68, 0xf7768e, 0x2a3144],
                [0x4fc3f7, 0xffb74d, 0xba8cf5],
                [0x4fc3f7, 0xffb74d, 0x81c784, 0xba8cf5, 0xf48fb1, 0xdce775, 0x80cbc4, 0xe0e0e0],
            ),
            Name::Light => Self::coloured(
                name,
                [0x6b707a, 0xa8adb8, 0x1d4ed8, 0x2e7d32, 0x9a5b00, 0xb71c1c, 0xd6e4ff],
                [0x01579b, 0xa84a00, 0x6a1b9a],
                [0x01579b, 0xa84a00, 0x1b5e20, 0x6a1b9a, 0x880e4f, 0x827717, 0x006064, 0x424242],
            ),
            // Okabe and Ito's eight colours (2008).
            Name::ColourBlind => Self::coloured(
                name,
                [0x999999, 0x666666, 0x56b4e9, 0x009e73, 0xe69f00, 0xd55e00, 0x0a3a5c],
                [0x56b4e9, 0xe69f00, 0xcc79a7],
                [0x56b4e9, 0xe69f00, 0x009e73, 0xcc79a7, 0xd55e00, 0xf0e442, 0x0072b2, 0xbbbbbb],
            ),
            Name::Mono => Self::plain(name),
        }
    }

    const fn coloured(name: Name, roles: [u32; 7], kinds: [u32; 3], series: [u32; 8]) -> Self {
        let [dim, border, accent, good, warn, bad, selected] = roles;
        let mut styles = [Style::new(); 8];
        let mut index = 0;
        while index < 8 {
            styles[index] = fg(rgb(series[index]));
            index += 1;
        }
        Self {
            name,
            text: Style::new(),
            dim: fg(rgb(dim)),
            strong: Style::new().add_modifier(Modifier::BOLD),
            title: fg(rgb(accent)).add_modifier(Modifier::BOLD),
            border: fg(rgb(border)),
            focus: fg(rgb(accent)),
            key: fg(rgb(accent)).add_modifier(Modifier::BOLD),
            selected: Style::new().bg(rgb(selected)).add_modifier(Modifier::BOLD),
            good: fg(rgb(good)),
            warn: fg(rgb(warn)),
            bad: fg(rgb(bad)).add_modifier(Modifier::BOLD),
            alarm: fg(rgb(bad)).add_modifier(Modifier::REVERSED).add_modifier(Modifier::BOLD),
            mono: fg(rgb(kinds[0])),
            cross: fg(rgb(kinds[1])),
            multi: fg(rgb(kinds[2])),
            series: styles,
        }
    }

    const fn plain(name: Name) -> Self {
        let (plain, dim) = (Style::new(), Style::new().add_modifier(Modifier::DIM));
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let reversed = Style::new().add_modifier(Modifier::REVERSED);
        Self {
            name,
            text: plain,
            dim,
            strong: bold,
            title: bold,
            border: dim,
            focus: bold,
            key: bold,
            selected: reversed,
            good: plain,
            warn: bold,
            bad: bold.add_modifier(Modifier::UNDERLINED),
            alarm: reversed.add_modifier(Modifier::BOLD),
            mono: plain,
            cross: plain,
            multi: plain,
            series: [plain; 8],
        }
    }

    /// The style of a batch kind or a setting.
    #[must_use]
    pub fn kind(&self, kind: &str) -> Style {
        match kind {
            "X-X-mono" | "mono" => self.mono,
            "X-Y" | "cross" => self.cross,
            _ => self.multi,
        }
    }

    /// Background and matching foreground of a value in `0..=1` on a sequential scale; plain where there is none.
    #[must_use]
    pub fn scale(&self, t: f64) -> Style {
        if self.name == Name::Mono || !t.is_finite() {
            return Style::new();
        }
        let t = t.clamp(0.0, 1.0);
        on(interpolate(if self.name == Name::ColourBlind { &CIVIDIS } else { &VIRIDIS }, t))
    }

    /// Background and foreground of a difference in `-1..=1`: blue is less, orange is more.
    #[must_use]
    pub fn diverging(&self, t: f64) -> Style {
        if self.name == Name::Mono || !t.is_finite() {
            return Style::new();
        }
        on(interpolate(&BLUE_ORANGE, f64::midpoint(t.clamp(-1.0, 1.0), 1.0)))
    }
}

/// Anchors of our own that follow viridis: even steps of lightness from violet over teal to yellow.
const VIRIDIS: [u32; 6] = [0x440256, 0x404588, 0x2c708e, 0x219b87, 0x5cc860, 0xf5e52a];
/// The same for cividis: blue over grey to yellow, alike for red-green blind eyes.
const CIVIDIS: [u32; 6] = [0x002450, 0x35456c, 0x626670, 0x8d8878, 0xc0ae68, 0xfde840];
const BLUE_ORANGE: [u32; 5] = [0x2a6fbf, 0x7faedc, 0x5a5a5a, 0xe8ae6a, 0xd97214];

fn interpolate(anchors: &[u32], t: f64) -> (u8, u8, u8) {
    let at = t * (anchors.len() - 1) as f64;
    let low = (at.floor() as usize).min(anchors.len() - 2);
    let part = at - low as f64;
    let channel = |shift: u32| {
        let (a, b) = ((anchors[low] >> shift) & 255, (anchors[low + 1] >> shift) & 255);
        (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8
    };
    (channel(16), channel(8), channel(0))
}

/// The colour as background, with black or white text, whichever contrasts more.
fn on((r, g, b): (u8, u8, u8)) -> Style {
    let linear = |v: u8| (f64::from(v) / 255.0).powf(2.2);
    let light = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    let text = if light > 0.18 { Color::Rgb(0, 0, 0) } else { Color::Rgb(255, 255, 255) };
    Style::new().bg(Color::Rgb(r, g, b)).fg(text)
}

/// How many colours the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// `NO_COLOR`: none, but bold, dim and reverse stay.
    None,
    /// The 16 colours of every terminal.
    Basic,
    /// 256 colours.
    Indexed,
    True,
}

impl Depth {
    /// From `NO_COLOR`, `TERM` and `COLORTERM`.
    #[must_use]
    pub fn detect(variable: impl Fn(&str) -> Option<String>) -> Self {
        if variable("NO_COLOR").is_some_and(|v| !v.is_empty())
            || variable("TERM").is_some_and(|t| t == "dumb")
        {
            return Self::None;
        }
        let color = variable("COLORTERM").unwrap_or_default();
        let term = variable("TERM").unwrap_or_default();
        let known = ["truecolor", "24bit"].contains(&color.as_str())
            || ["direct", "kitty", "alacritty", "wezterm", "ghostty", "foot"]
                .iter()
                .any(|t| term.contains(t));
        if known {
            Self::True
        } else if term.contains("256") || ["tmux", "screen", "rxvt"].iter().any(|t| term.starts_with(t)) {
            Self::Indexed
        } else {
            Self::Basic
        }
    }
}

/// Maps every colour of the buffer to what the terminal can show.
pub fn adapt(buffer: &mut Buffer, depth: Depth) {
    if depth == Depth::True {
        return;
    }
    for cell in &mut buffer.content {
        // Text on a coloured background keeps its difference by reversing where colours go.
        let map = match depth {
            Depth::None => |_| Color::Reset,
            Depth::Basic => basic,
            Depth::Indexed | Depth::True => indexed,
        };
        cell.fg = map(cell.fg);
        cell.bg = map(cell.bg);
    }
}

/// The nearest of the 16 colours, as xterm shows them.
fn basic(color: Color) -> Color {
    const COLOURS: [(Color, [i32; 3]); 16] = [
        (Color::Black, [0, 0, 0]),
        (Color::Red, [205, 0, 0]),
        (Color::Green, [0, 205, 0]),
        (Color::Yellow, [205, 205, 0]),
        (Color::Blue, [0, 0, 238]),
        (Color::Magenta, [205, 0, 205]),
        (Color::Cyan, [0, 205, 205]),
        (Color::Gray, [229, 229, 229]),
        (Color::DarkGray, [127, 127, 127]),
        (Color::LightRed, [255, 0, 0]),
        (Color::LightGreen, [0, 255, 0]),
        (Color::LightYellow, [255, 255, 0]),
        (Color::LightBlue, [92, 92, 255]),
        (Color::LightMagenta, [255, 0, 255]),
        (Color::LightCyan, [0, 255, 255]),
        (Color::White, [255, 255, 255]),
    ];
    let Color::Rgb(r, g, b) = color else { return color };
    let own = [r, g, b].map(i32::from);
    let far = |other: &[i32; 3]| own.iter().zip(other).map(|(a, b)| (a - b).pow(2)).sum::<i32>();
    COLOURS.iter().min_by_key(|(_, rgb)| far(rgb)).map_or(Color::Reset, |(name, _)| *name)
}

/// The nearest of the 256 colours' cube and grey ramp.
fn indexed(color: Color) -> Color {
    let Color::Rgb(r, g, b) = color else { return color };
    let level = |v: u8| {
        if v < 48 {
            0
        } else if v < 115 {
            1
        } else {
            (v - 35) / 40
        }
    };
    let value = |l: u8| if l == 0 { 0i32 } else { i32::from(l) * 40 + 55 };
    let distance = |x: i32, y: i32, z: i32| {
        (x - i32::from(r)).pow(2) + (y - i32::from(g)).pow(2) + (z - i32::from(b)).pow(2)
    };
    let (lr, lg, lb) = (level(r), level(g), level(b));
    let mean = (u16::from(r) + u16::from(g) + u16::from(b)) / 3;
    let step = ((mean.saturating_sub(3)) / 10).min(23) as u8;
    let grey = i32::from(step) * 10 + 8;
    if distance(grey, grey, grey) < distance(value(lr), value(lg), value(lb)) {
        Color::Indexed(232 + step)
    } else {
        Color::Indexed(16 + 36 * lr + 6 * lg + lb)
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;

    use super::*;

    #[test]
    fn scales_are_monotone_in_lightness_and_take_any_number() {
        for name in [Name::Dark, Name::ColourBlind] {
            let theme = Theme::of(name);
            let light = |t: f64| match theme.scale(t).bg {
                Some(Color::Rgb(r, g, b)) => {
                    0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)
                }
                other => panic!("{other:?}"),
            };
            let steps: Vec<f64> = (0..=20).map(|i| light(f64::from(i) / 20.0)).collect();
            assert!(steps.windows(2).all(|w| w[0] < w[1]), "{name:?} {steps:?}");
            assert_eq!(theme.scale(f64::NAN), Style::new());
            assert_eq!(theme.scale(9.0), theme.scale(1.0));
            assert_ne!(theme.diverging(-1.0), theme.diverging(1.0));
        }
        assert_eq!(Theme::of(Name::Mono).scale(0.5), Style::new());
    }

    #[test]
    fn no_color_strips_colours_and_keeps_modifiers() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 3, 1));
        let style = Style::new().fg(Color::Red).bg(Color::Rgb(1, 2, 3)).add_modifier(Modifier::BOLD);
        buffer.set_string(0, 0, "abc", style.add_modifier(Modifier::REVERSED));
        adapt(&mut buffer, Depth::None);
        for cell in &buffer.content {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
            assert!(cell.modifier.contains(Modifier::BOLD | Modifier::REVERSED));
        }
    }

    #[test]
    fn depth_follows_the_environment() {
        let with = |pairs: &'static [(&str, &str)]| {
            Depth::detect(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(with(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]), Depth::None);
        assert_eq!(with(&[("NO_COLOR", ""), ("COLORTERM", "truecolor")]), Depth::True);
        assert_eq!(with(&[("TERM", "xterm-256color")]), Depth::Indexed);
        assert_eq!(with(&[("TERM", "linux")]), Depth::Basic);
        assert_eq!(with(&[("TERM", "tmux")]), Depth::Indexed);
        assert_eq!(basic(Color::Rgb(250, 250, 240)), Color::White);
        assert_eq!(basic(Color::Rgb(200, 10, 10)), Color::Red);
        assert_eq!(indexed(Color::Rgb(255, 0, 0)), Color::Indexed(196));
        assert_eq!(indexed(Color::Rgb(128, 128, 128)), Color::Indexed(244));
        assert_eq!(indexed(Color::Reset), Color::Reset);
    }

    #[test]
    fn names_round_trip_and_cycle() {
        for name in Name::ALL {
            assert_eq!(Name::parse(name.word()), Some(name));
        }
        assert_eq!(Name::parse("color-blind"), Some(Name::ColourBlind));
        assert_eq!(Name::Mono.next(), Name::Dark);
        assert_eq!(Name::parse("pink"), None);
    }
}
