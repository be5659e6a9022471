//! Tables that people read: Markdown and LaTeX.

use std::fmt::Write as _;

use anyhow::Result;
use polars::prelude::{AnyValue, DataFrame};

/// A pipe table; numbers are aligned to the right.
pub fn markdown(frame: &DataFrame) -> Result<String> {
    let mut out = String::new();
    let names = frame.columns().iter().map(|c| markdown_cell(c.name()));
    writeln!(out, "| {} |", names.collect::<Vec<_>>().join(" | "))?;
    let rules = frame.columns().iter().map(|c| if is_number(c.dtype()) { "---:" } else { "---" });
    writeln!(out, "| {} |", rules.collect::<Vec<_>>().join(" | "))?;
    for row in 0..frame.height() {
        let cells: Vec<String> =
            frame.columns().iter().map(|c| Ok(markdown_cell(&shown(&c.get(row)?)))).collect::<Result<_>>()?;
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    Ok(out)
}

/// A tabular with booktabs rules, to be put into a `table` with `\input`.
pub fn latex(frame: &DataFrame, name: &str) -> Result<String> {
    let mut out = format!("% polymix {}: {name}; needs \\usepackage{{booktabs}}\n", crate::VERSION);
    let layout: String =
        frame.columns().iter().map(|c| if is_number(c.dtype()) { 'r' } else { 'l' }).collect();
    writeln!(out, "\\begin{{tabular}}{{{layout}}}\n\\toprule")?;
    let names = frame.columns().iter().map(|c| latex_cell(c.name()));
    writeln!(out, "{} \\\\\n\\midrule", names.collect::<Vec<_>>().join(" & "))?;
    for row in 0..frame.height() {
        let cells: Vec<String> =
            frame.columns().iter().map(|c| Ok(latex_cell(&shown(&c.get(row)?)))).collect::<Result<_>>()?;
        writeln!(out, "{} \\\\", cells.join(" & "))?;
    }
    out += "\\bottomrule\n\\end{tabular}\n";
    Ok(out)
}

pub(super) fn is_number(kind: &polars::prelude::DataType) -> bool {
    kind.is_primitive_numeric()
}

/// A value for the eye: four decimals, or an exponent where those would show nothing.
pub(super) fn shown(value: &AnyValue) -> String {
    match value {
        AnyValue::Null => String::new(),
        AnyValue::Float64(x) if *x != 0.0 && x.abs() < 1e-3 => format!("{x:.3e}"),
        AnyValue::Float64(x) => format!("{x:.4}"),
        other => other.str_value().into_owned(),
    }
}

/// One cell on one line: a pipe would end it, a backslash could hide the pipe's own.
pub(super) fn markdown_cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '*' | '_' | '`' | '<' | '[' => out.extend(['\\', c]),
            '\r' => {}
            '\n' => out.push_str("<br>"),
            _ => out.push(c),
        }
    }
    out
}

fn latex_cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            // In the default font encoding these print as other characters.
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '\r' => {}
            '\n' => out.push(' '),
            _ => out.push(c),
        }
    }
    // A bracket right after `\\` would be read as its argument.
    if out.starts_with('[') { format!("{{}}{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use polars::prelude::Column;

    use super::*;

    fn frame() -> DataFrame {
        DataFrame::new_infer_height(vec![
            Column::new("a_b".into(), vec![Some("x|y\\ & 50%\nz"), None, Some("[~^]")]),
            Column::new("value".into(), vec![Some(0.123_456), Some(3e-5), None]),
            Column::new("n".into(), vec![1u64, 20, 300]),
        ])
        .expect("frame")
    }

    #[test]
    fn markdown_escapes_what_would_break_a_row() {
        assert_eq!(
            markdown(&frame()).expect("markdown"),
            "| a\\_b | value | n |\n| --- | ---: | ---: |\n| x\\|y\\\\ & 50%<br>z | 0.1235 | 1 |\n\
             |  | 3.000e-5 | 20 |\n| \\[~^] |  | 300 |\n"
        );
    }

    #[test]
    fn latex_escapes_its_special_characters() {
        let text = latex(&frame(), "t").expect("latex");
        for part in [
            "\\begin{tabular}{lrr}",
            "a\\_b & value & n \\\\",
            "x\\textbar{}y\\textbackslash{} \\& 50\\% z & 0.1235 & 1 \\\\",
            " & 3.000e-5 & 20 \\\\",
            "{}[\\textasciitilde{}\\textasciicircum{}] &  & 300 \\\\",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
