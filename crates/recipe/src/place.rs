//! Where in a text something stands.

use std::fmt;
use std::sync::Arc;

/// A position in a recipe: file name, line and column, both counted from 1; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name as the user gave it, or `preset NAME`.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// The place of byte `offset` in `text`. An offset past the end is the end.
    pub(crate) fn of_offset(file: &Arc<str>, text: &str, offset: usize) -> Place {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            file: Arc::clone(file),
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let file: Arc<str> = Arc::from("r.toml");
        let text = "a = 1\nname = \"é\" x";
        let at = text.find('x').unwrap();
        assert_eq!(Place::of_offset(&file, text, at).to_string(), "r.toml:2:12");
        assert_eq!(Place::of_offset(&file, text, 0).to_string(), "r.toml:1:1");
        assert_eq!(Place::of_offset(&file, text, 999).to_string(), "r.toml:2:13");
        assert_eq!(Place::of_offset(&file, "", 0).to_string(), "r.toml:1:1");
        // Byte 15 is inside the two bytes of `é`.
        assert_eq!(Place::of_offset(&file, text, 15).column, 9);
    }
}
