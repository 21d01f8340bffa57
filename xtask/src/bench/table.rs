//! Rows as an aligned table.

use super::row::{Judged, Target};

/// Columns of numbers are aligned to the right.
const COLUMNS: [(&str, bool); 7] = [
    ("figure", false),
    ("value", true),
    ("unit", false),
    ("against", false),
    ("ratio", true),
    ("target", false),
    ("", false),
];

/// The table, without a line end after the last row.
pub(super) fn render(rows: &[Judged]) -> String {
    let head = COLUMNS.map(|(name, _)| name.to_owned());
    let lines: Vec<[String; 7]> = [head].into_iter().chain(rows.iter().map(cells)).collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or_default()
        })
        .collect();
    let lines: Vec<String> = lines.iter().map(|line| align(line, &widths)).collect();
    lines.join("\n")
}

fn cells(judged: &Judged) -> [String; 7] {
    let row = &judged.row;
    let against = row.against.as_ref();
    [
        row.figure.clone(),
        number(row.value),
        row.unit.clone(),
        against.map_or_else(
            || "-".to_owned(),
            |against| format!("{} {}", against.name, number(against.value)),
        ),
        judged
            .ratio
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        match row.target {
            Target::AtMost(most) => format!("<= {} {}", number(most), row.unit),
            Target::AtLeast(least) => format!(">= {} {}", number(least), row.unit),
            Target::RatioAtMost(most) => format!("ratio <= {most}"),
            Target::RatioAtLeast(least) => format!("ratio >= {least}"),
        },
        judged.verdict.to_string(),
    ]
}

/// Three digits where there are fewer, all where there are more.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}

fn align(line: &[String; 7], widths: &[usize]) -> String {
    let cells = line.iter().zip(widths).zip(COLUMNS);
    let cells: Vec<String> = cells
        .map(|((cell, width), (_, right))| {
            if right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        })
        .collect();
    cells.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::row::{Against, Row};
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |figure: &str, value, against: Option<f64>, target| Row {
            figure: figure.to_owned(),
            value,
            unit: "MB/s".to_owned(),
            against: against.map(|value| Against {
                name: "dd".to_owned(),
                value,
            }),
            target,
        };
        let rows = [
            row("write", 812.4, Some(900.0), Target::RatioAtLeast(0.95)),
            row("read at random", 35.25, None, Target::AtLeast(30.0)),
        ];
        let rows: Vec<Judged> = rows.map(|row| row.judge().unwrap()).into();
        let expected = "\
figure          value  unit  against  ratio  target
write             812  MB/s  dd 900    0.90  ratio >= 0.95  SHORT
read at random   35.2  MB/s  -            -  >= 30 MB/s     ok";
        assert_eq!(render(&rows), expected);
    }
}
