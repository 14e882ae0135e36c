//! Tables whose cells know how they sort.

use askama::Template;

use crate::escape::escape;

/// One cell: what it shows and what it sorts by.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// Escaped content.
    pub html: String,
    /// What the script sorts by; empty for a missing value, which always sorts last.
    pub key: String,
    pub is_missing: bool,
}

impl Cell {
    pub fn text(text: &str) -> Self {
        Self { html: escape(text), key: text.to_owned(), is_missing: false }
    }

    /// A name, shortened in the middle when it is very long; the whole name shows on hover and sorts.
    pub fn name(name: &str) -> Self {
        let shown = shortened(name);
        if shown == name {
            return Self::text(name);
        }
        Self::html(format!(r#"<span title="{}">{}</span>"#, escape(name), escape(&shown)), name.to_owned())
    }

    pub fn optional_text(text: Option<&str>) -> Self {
        text.filter(|text| !text.is_empty()).map_or_else(Self::missing, Self::text)
    }

    /// A number shown by `format`; NaN and infinity count as missing.
    pub fn number(value: Option<f64>, format: impl Fn(f64) -> String) -> Self {
        match value.filter(|value| value.is_finite()) {
            Some(value) => Self { html: escape(&format(value)), key: value.to_string(), is_missing: false },
            None => Self::missing(),
        }
    }

    pub fn count(value: Option<u64>, format: impl Fn(u64) -> String) -> Self {
        match value {
            Some(value) => Self { html: escape(&format(value)), key: value.to_string(), is_missing: false },
            None => Self::missing(),
        }
    }

    /// Content that is HTML already, made of escaped parts.
    pub fn html(html: String, key: String) -> Self {
        Self { html, key, is_missing: false }
    }

    /// A dash, read aloud as "not measured".
    pub fn missing() -> Self {
        let html = r#"<span class="missing" title="not measured"><span aria-hidden="true">–</span><span class="hidden">not measured</span></span>"#;
        Self { html: html.to_owned(), key: String::new(), is_missing: true }
    }
}

/// The longest name shown whole, and what is kept of a longer one at its start and end.
const MAX_NAME: usize = 100;
const NAME_ENDS: (usize, usize) = (50, 45);

/// `name`, or its start and end when it is very long. Counted in characters, so no character is cut.
pub(crate) fn shortened(name: &str) -> String {
    let n_chars = name.chars().count();
    if n_chars <= MAX_NAME {
        return name.to_owned();
    }
    let start: String = name.chars().take(NAME_ENDS.0).collect();
    let end: String = name.chars().skip(n_chars - NAME_ENDS.1).collect();
    format!("{start}…{end}")
}

/// How the cells of a column sort and align.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Text,
    Number,
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub label: &'static str,
    pub kind: ColumnKind,
    /// What the column means, shown on hover.
    pub hint: &'static str,
}

impl Column {
    pub fn text(label: &'static str, hint: &'static str) -> Self {
        Self { label, kind: ColumnKind::Text, hint }
    }

    pub fn number(label: &'static str, hint: &'static str) -> Self {
        Self { label, kind: ColumnKind::Number, hint }
    }

    fn is_number(&self) -> bool {
        self.kind == ColumnKind::Number
    }
}

/// A table; the first cell of a row is its heading.
#[derive(Debug, Clone, Template)]
#[template(path = "table.html")]
pub(crate) struct Table {
    /// Said aloud; the visible heading stands above.
    pub caption: String,
    pub is_sortable: bool,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Takes out the columns in which nothing is known and gives their labels.
    pub fn drop_empty_columns(&mut self) -> Vec<&'static str> {
        let is_empty: Vec<bool> =
            (0..self.columns.len()).map(|column| self.rows.iter().all(|row| row[column].is_missing)).collect();
        let dropped =
            self.columns.iter().zip(&is_empty).filter(|(_, empty)| **empty).map(|(column, _)| column.label).collect();
        for row in &mut self.rows {
            let mut position = 0;
            row.retain(|_| {
                position += 1;
                !is_empty[position - 1]
            });
        }
        let mut position = 0;
        self.columns.retain(|_| {
            position += 1;
            !is_empty[position - 1]
        });
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends_and_sort_whole() {
        let name = format!("encoder{}weight", "é/".repeat(80));
        let cell = Cell::name(&name);
        assert_eq!(shortened(&name).chars().count(), NAME_ENDS.0 + 1 + NAME_ENDS.1);
        assert!(shortened(&name).starts_with("encoder") && shortened(&name).ends_with("weight"));
        assert_eq!(cell.key, name);
        assert_eq!(Cell::name("short").html, "short");
    }

    #[test]
    fn columns_without_a_number_go() {
        let mut table = Table {
            caption: String::new(),
            is_sortable: false,
            columns: vec![Column::text("a", ""), Column::number("b", ""), Column::number("c", "")],
            rows: vec![
                vec![
                    Cell::text("x"),
                    Cell::number(Some(f64::NAN), crate::format::significant),
                    Cell::count(Some(1), crate::format::count),
                ],
                vec![Cell::text("y"), Cell::missing(), Cell::missing()],
            ],
        };
        assert_eq!(table.drop_empty_columns(), ["b"]);
        assert_eq!(table.rows.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(table.columns[1].label, "c");
    }
}
