//! Labels with limited width.

/// Returns the file name of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Shortens a text to a number of letters. Characters outside ASCII count twice,
/// because they may be wider.
pub(super) fn fitted(text: &str, letters: usize) -> String {
    let text = text.split(['\n', '\t']).next().unwrap_or_default();
    let room = |c: char| if c.is_ascii() { 1 } else { 2 };
    if text.chars().map(room).sum::<usize>() <= letters {
        return text.to_owned();
    }
    let mut taken = 1;
    let kept = text.chars().take_while(|c| {
        taken += room(*c);
        taken <= letters
    });
    match letters {
        0 => String::new(),
        _ => format!("{}…", kept.collect::<String>().trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shortened_to_fit() {
        assert_eq!(fitted("create_bucket", 13), "create_bucket");
        assert_eq!(fitted("create_bucket", 7), "create…");
        assert_eq!(fitted("一二三四", 6), "一二…");
        assert_eq!(fitted("one\ntwo", 10), "one");
        assert_eq!(fitted("one", 0), "");
    }
}
