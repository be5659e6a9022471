//! Text on a grid: widths by grapheme, cutting, padding, numbers and durations in few characters.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Columns that the text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

/// The text, cut to at most `columns`, with a mark where something is missing.
#[must_use]
pub fn fit(text: &str, columns: usize, ascii: bool) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let mut cut = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let wide = UnicodeWidthStr::width(grapheme);
        if used + wide > columns - 1 {
            break;
        }
        used += wide;
        cut.push_str(grapheme);
    }
    cut.push(if ascii { '~' } else { '…' });
    cut
}

/// Cut and padded on the right to exactly `columns`.
#[must_use]
pub fn left(text: &str, columns: usize, ascii: bool) -> String {
    let mut cut = fit(text, columns, ascii);
    cut.push_str(&" ".repeat(columns.saturating_sub(width(&cut))));
    cut
}

/// Cut and padded on the left to exactly `columns`.
#[must_use]
pub fn right(text: &str, columns: usize, ascii: bool) -> String {
    let cut = fit(text, columns, ascii);
    format!("{}{cut}", " ".repeat(columns.saturating_sub(width(&cut))))
}

/// Breaks a text into lines of at most `columns`, at spaces where there are any.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if columns == 0 {
        return lines;
    }
    let mut line = String::new();
    // Punctuation stays with the word before it.
    let mut words: Vec<String> = Vec::new();
    for word in text.split_word_bounds() {
        let is_mark = word.chars().all(|c| c.is_ascii_punctuation());
        match words.last_mut() {
            // An opening bracket begins the word behind it.
            Some(last) if matches!(last.as_str(), "(" | "[") => last.push_str(word),
            Some(last) if is_mark && !last.trim().is_empty() && width(last) < columns => last.push_str(word),
            _ => words.push(word.to_owned()),
        }
    }
    for word in words.iter().map(String::as_str) {
        if word.contains(['\n', '\r']) {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            continue;
        }
        if width(&line) + width(word) <= columns {
            if !(line.is_empty() && word.trim().is_empty()) {
                line.push_str(word);
            }
            continue;
        }
        if width(word) <= columns {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            if !word.trim().is_empty() {
                line.push_str(word);
            }
            continue;
        }
        for grapheme in word.graphemes(true) {
            if width(&line) + width(grapheme) > columns {
                lines.push(std::mem::take(&mut line));
            }
            line.push_str(grapheme);
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// `1234567` as `1.2M`.
#[must_use]
pub fn compact(value: f64) -> String {
    if !value.is_finite() {
        return "n/a".into();
    }
    for (limit, unit) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value.abs() >= limit {
            let scaled = value / limit;
            return if scaled.abs() >= 100.0 {
                format!("{scaled:.0}{unit}")
            } else {
                format!("{scaled:.1}{unit}")
            };
        }
    }
    if value.fract() == 0.0 || value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// A learning rate or another small number: `3e-5`, `0.05`.
#[must_use]
pub fn small(value: f64) -> String {
    if !value.is_finite() {
        return "n/a".into();
    }
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e5) {
        let text = format!("{value:.2e}");
        return text.replace(".00e", "e").replace("0e", "e");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A value of a metric with as many decimals as it deserves; `-` where there is none.
#[must_use]
pub fn score(metric: &str, value: f64) -> String {
    if !value.is_finite() {
        "-".into()
    } else if metric.starts_with("rank_distance") {
        format!("{value:.1}")
    } else {
        format!("{value:.4}")
    }
}

/// A difference with its sign.
#[must_use]
pub fn signed(metric: &str, value: f64) -> String {
    if !value.is_finite() {
        "-".into()
    } else if metric.starts_with("rank_distance") {
        format!("{value:+.1}")
    } else {
        format!("{value:+.4}")
    }
}

/// Bytes as `512 B`, `3.4 MiB`, `1.2 GiB`.
#[must_use]
pub fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = if count.is_finite() { count.max(0.0) } else { 0.0 };
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Seconds as `45s`, `3m07s`, `2h05m`, `3d04h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "n/a".into();
    }
    let s = seconds.min(1e12).round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// Time since a moment, as `5m ago`.
#[must_use]
pub fn ago(seconds: f64) -> String {
    let s = if seconds.is_finite() { seconds.max(0.0) as u64 } else { 0 };
    match s {
        0..60 => "just now".into(),
        60..3600 => format!("{}m ago", s / 60),
        3600..86_400 => format!("{}h ago", s / 3600),
        _ => format!("{}d ago", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_counts_columns_not_characters() {
        assert_eq!(width("日本語"), 6);
        assert_eq!(fit("日本語", 5, false), "日本…");
        assert_eq!(width(&left("ไทย", 6, false)), 6);
        assert_eq!(right("abc", 5, true), "  abc");
        assert_eq!(fit("abcdef", 0, false), "");
        assert_eq!(fit("abcdef", 3, true), "ab~");
    }

    #[test]
    fn lines_never_pass_their_width() {
        for text in ["a bb ccc dddd", "日本語の長い文章です", "one\ntwo", "", "superlongwordwithoutspace"]
        {
            for columns in 2..12 {
                assert!(wrap(text, columns).iter().all(|l| width(l) <= columns), "{text} {columns}");
            }
        }
        assert_eq!(wrap("one\ntwo", 10), ["one", "two"]);
        assert_eq!(wrap("on the top.", 10), ["on the", "top."]);
        assert_eq!(wrap("12 MiB (the heaviest)", 10), ["12 MiB", "(the", "heaviest)"]);
        assert!(wrap("x", 0).is_empty());
    }

    #[test]
    fn numbers_stay_short() {
        for (value, text) in [(1_234_567.0, "1.2M"), (999.0, "999"), (12.34, "12.3"), (f64::NAN, "n/a")] {
            assert_eq!(compact(value), text);
        }
        for (value, text) in [(3e-5, "3e-5"), (0.05, "0.05"), (0.0, "0"), (1.5e-4, "1.5e-4"), (2.0, "2")] {
            assert_eq!(small(value), text);
        }
        for (seconds, text) in [(59.0, "59s"), (187.0, "3m07s"), (7500.0, "2h05m"), (f64::NAN, "n/a")] {
            assert_eq!(duration(seconds), text);
        }
        for (count, text) in [(12.0, "12 B"), (1536.0, "1.5 KiB"), (3.0 * 1024f64.powi(3), "3.0 GiB")] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(score("map", f64::NAN), "-");
        assert_eq!(signed("map", 0.01), "+0.0100");
    }
}
