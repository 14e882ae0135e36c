//! Numbers and tables for people.

/// Bytes in the unit that reads best.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// Counts with a suffix: 1.23 M.
pub(crate) fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.1} k", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} M", n as f64 / 1e6),
        _ => format!("{:.2} G", n as f64 / 1e9),
    }
}

/// A share as per cent with two decimals.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A p-value; a small one is not shown as none.
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

/// Milliseconds with three significant digits.
pub(crate) fn milliseconds(ms: f64) -> String {
    match ms {
        0.0..1.0 => format!("{ms:.3} ms"),
        1.0..10.0 => format!("{ms:.2} ms"),
        10.0..100.0 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

/// A table with aligned columns; columns whose cells are all numbers are flush right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = header.iter().map(|text| width(text)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(cell));
        }
    }
    let is_number = |text: &str| text.chars().next().is_none_or(|c| c.is_ascii_digit() || "-+.–".contains(c));
    let is_right: Vec<bool> = (0..header.len())
        .map(|column| !rows.is_empty() && rows.iter().all(|row| row.get(column).is_some_and(|cell| is_number(cell))))
        .collect();
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(width(cell)));
            let cell = if is_right[column] { format!("{pad}{cell}") } else { format!("{cell}{pad}") };
            text.push_str(if column == 0 { "" } else { "  " });
            text.push_str(&cell);
        }
        text.trim_end().to_owned() + "\n"
    };
    let header: Vec<String> = header.iter().map(|text| (*text).to_owned()).collect();
    let mut text = line(&header);
    text.push_str(&(widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>().join("  ") + "\n"));
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_numbers_are_flush_right() {
        let rows = vec![vec!["conv1".to_owned(), "9".to_owned()], vec!["fc".to_owned(), "100".to_owned()]];
        assert_eq!(table(&["layer", "bits"], &rows), "layer  bits\n-----  ----\nconv1     9\nfc      100\n");
    }

    #[test]
    fn a_small_p_value_is_not_shown_as_zero() {
        assert_eq!((p_value(0.0004), p_value(0.0421)), ("p < 0.001".to_owned(), "p = 0.042".to_owned()));
    }

    #[test]
    fn numbers_have_the_unit_that_reads_best() {
        assert_eq!((bytes(999), bytes(1_116_434)), ("999 B".to_owned(), "1.12 MB".to_owned()));
        assert_eq!((count(9_999), count(40_551_424)), ("9999".to_owned(), "40.55 M".to_owned()));
        assert_eq!((milliseconds(0.2034), milliseconds(18.26)), ("0.203 ms".to_owned(), "18.3 ms".to_owned()));
    }
}
