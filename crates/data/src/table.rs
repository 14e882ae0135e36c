//! Lines of comma- or tab-separated columns.

/// The columns of one line of a CSV file (RFC 4180, without line breaks inside quotes).
pub(crate) fn csv_columns(line: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let column = columns.len() - 1;
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                columns[column].push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if columns[column].is_empty() => is_quoted = true,
            ',' if !is_quoted => columns.push(String::new()),
            _ => columns[column].push(c),
        }
    }
    columns
}

/// Position of the first header in `names`, whatever its case; earlier names win.
pub(crate) fn find_column(header: &[String], names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| header.iter().position(|column| column.trim().eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_commas_and_quotes() {
        assert_eq!(csv_columns(r#"a.png,3,"Smith, ""J""",x"y"#), ["a.png", "3", "Smith, \"J\"", "x\"y"]);
        assert_eq!(csv_columns(""), [""]);
        assert_eq!(csv_columns(",\"open, "), ["", "open, "]);
    }

    #[test]
    fn columns_are_found_by_the_names_in_order() {
        let header = ["Label".to_string(), " FILE".into()];
        assert_eq!(find_column(&header, &["file", "label"]), Some(1));
        assert_eq!(find_column(&header, &["image"]), None);
    }
}
