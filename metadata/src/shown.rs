//! Text of clients inside messages to clients, at a length that a response can carry.

/// Characters of it that are repeated. A topic's name fits whole.
const SHOWN_CHARS_MAX: usize = 300;

/// The beginning of `text`.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(shown("short"), "short");
        let long = "é".repeat(301);
        assert_eq!(shown(&long), format!("{}…", "é".repeat(300)));
        assert_eq!(shown(&long[2..]), &long[2..]);
    }
}
