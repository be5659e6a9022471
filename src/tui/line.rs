//! A line of text that is being typed, moved through by grapheme.

use unicode_segmentation::UnicodeSegmentation;

use super::keys::Action;

/// Longest line that may be typed or pasted, in bytes.
const LONGEST: usize = 4096;

/// The text and the cursor's byte offset, which lies on a grapheme boundary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    cursor: usize,
}

impl Line {
    /// The text with the cursor behind it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cursor: text.len(), text }
    }

    /// What stands before and behind the cursor.
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        self.text.split_at(self.cursor)
    }

    /// Inserts text at the cursor; control characters are dropped.
    pub fn insert(&mut self, text: &str) {
        let clean: String = text.chars().filter(|c| !c.is_control()).collect();
        if self.text.len() + clean.len() <= LONGEST {
            self.text.insert_str(self.cursor, &clean);
            self.cursor += clean.len();
            // An inserted mark may join the grapheme behind it.
            while !self.text.is_char_boundary(self.cursor) {
                self.cursor += 1;
            }
        }
    }

    fn before(&self) -> usize {
        self.text[..self.cursor].grapheme_indices(true).next_back().map_or(0, |(i, _)| i)
    }

    fn behind(&self) -> usize {
        self.text[self.cursor..].graphemes(true).next().map_or(self.cursor, |g| self.cursor + g.len())
    }

    /// Does an editing action; true where the text changed.
    pub fn edit(&mut self, action: Action) -> bool {
        let old = self.text.len();
        match action {
            Action::Erase => {
                let start = self.before();
                self.text.replace_range(start..self.cursor, "");
                self.cursor = start;
            }
            Action::Delete => {
                let end = self.behind();
                self.text.replace_range(self.cursor..end, "");
            }
            Action::EraseWord => {
                let trimmed = self.text[..self.cursor].trim_end();
                let start = trimmed.rfind([' ', '/', ',', '=']).map_or(0, |i| i + 1);
                self.text.replace_range(start..self.cursor, "");
                self.cursor = start;
            }
            Action::EraseLine => {
                self.text.clear();
                self.cursor = 0;
            }
            Action::CursorLeft => self.cursor = self.before(),
            Action::CursorRight => self.cursor = self.behind(),
            Action::LineStart => self.cursor = 0,
            Action::LineEnd => self.cursor = self.text.len(),
            _ => {}
        }
        self.text.len() != old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editing_moves_by_grapheme() {
        let mut line = Line::new("aé日");
        assert!(line.edit(Action::Erase));
        assert_eq!(line.text, "aé");
        line.edit(Action::CursorLeft);
        line.insert("ก็");
        assert_eq!(line.text, "aก็é");
        line.edit(Action::Erase);
        assert_eq!(line.text, "aé");
        line.edit(Action::LineStart);
        assert!(line.edit(Action::Delete));
        assert_eq!(line.parts(), ("", "é"));
        assert!(!line.edit(Action::Erase));
    }

    #[test]
    fn words_end_at_path_separators() {
        let mut line = Line::new("a/b c");
        line.edit(Action::EraseWord);
        assert_eq!(line.text, "a/b ");
        line.edit(Action::EraseWord);
        assert_eq!(line.text, "a/");
        line.insert("x\ny\u{1b}[");
        assert_eq!(line.text, "a/xy[");
    }
}
