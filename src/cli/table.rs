//! Plain text tables: columns aligned by display width.

use unicode_width::UnicodeWidthStr;

/// Rows under headings; numbers are aligned to the right, the rest to the left.
pub fn plain(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|r| r.get(column)).map(|c| c.width());
        cells.chain([headings[column].width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    // Marks of significance behind a number, and spaces in their place, leave it a number.
    let is_number =
        |text: &String| text.is_empty() || text.trim_end_matches(['*', ' ']).parse::<f64>().is_ok();
    let numeric: Vec<bool> =
        (0..headings.len()).map(|c| rows.iter().filter_map(|r| r.get(c)).all(is_number)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| -> String {
        let mut text = String::new();
        for (column, cell) in cells.enumerate() {
            let space = " ".repeat(widths[column].saturating_sub(cell.width()));
            if column > 0 {
                text += "  ";
            }
            text +=
                &if numeric[column] && !rows.is_empty() { space + cell } else { cell.to_owned() + &space };
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![line(&mut headings.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// `1:02:03` or `2:03`.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// `12,345`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_in_any_script() {
        let text = plain(&["name", "n"], &[vec!["中文".into(), "5".into()], vec!["abc".into(), "12".into()]]);
        assert_eq!(text, "name   n\n中文   5\nabc   12");
        assert_eq!((clock(3723.0), clock(63.2)), ("1:02:03".into(), "1:03".into()));
        assert_eq!((thousands(7), thousands(1_234_567)), ("7".into(), "1,234,567".into()));
    }
}
