//! Habits of other languages, at the place where Rhai stops reading: what to write in
//! Rhai instead.

use crate::playbook::scan::{Part, Scan};

/// Words of other languages that are not values, and what to write in Rhai.
const WORDS: &[(&[&str], &str)] = &[
    (&["and"], "Rhai writes it as `&&`"),
    (&["or"], "Rhai writes it as `||`"),
    (
        &["elif", "elseif", "elsif", "elsf"],
        "Rhai writes it as `else if`",
    ),
    (
        &["def", "function", "func", "fun", "sub", "proc"],
        "a function is written as `fn name(argument) { .. }`",
    ),
    (
        &["lambda"],
        "an anonymous function is written as `|x| x + 1`",
    ),
    (
        &["raise"],
        "Rhai writes it as `throw`, or call fail(\"text\")",
    ),
    (
        &["except", "rescue"],
        "Rhai writes it as `try { .. } catch (err) { .. }`",
    ),
    (
        &["finally"],
        "Rhai has none: write what follows after the `catch` block",
    ),
    (
        &["echo", "println", "printf", "puts", "console"],
        "call print(\"text\")",
    ),
    (
        &["then", "fi", "done", "endif", "esac", "end", "begin"],
        "a block is written in braces: `if x { .. }`",
    ),
    (
        &["match", "case"],
        "Rhai writes it as `switch x { 1 => .., _ => .. }`",
    ),
    (&["is"], "compare with `==`"),
    (&["foreach"], "a loop is written as `for x in list { .. }`"),
    (
        &["class", "struct", "new"],
        "Rhai has no classes: use maps, as in `#{ name: \"web\" }`",
    ),
    (
        &["async", "await", "go", "spawn", "thread"],
        "use parallel() for several things at once",
    ),
    (
        &["use", "require", "include", "using", "from"],
        "write `import \"path\" as name;`",
    ),
    (
        &["eval"],
        "call a function instead: code that is built at run time cannot be checked",
    ),
    (&["pass"], "leave the block empty: `{ }`"),
    (&["static"], "declare it with `const`"),
];

/// Words before a name that declare it in other languages.
const DECLARATIONS: &[&str] = &[
    "var", "local", "my", "declare", "auto", "int", "string", "str", "bool", "float", "mut",
    "static", "final", "set", "export", "readonly",
];

/// Returns what to write instead of the habit at this place.
pub(super) fn hint(scan: &Scan, at: usize) -> Option<String> {
    document(scan, at)
        .or_else(|| symbol(scan, at))
        .or_else(|| neighbors(scan, at))
        .or_else(|| word(scan, at))
}

/// A file in another language.
fn document(scan: &Scan, at: usize) -> Option<String> {
    let start = scan.next(0);
    let is_json = scan.is_at(start, "{") && scan.part(scan.next(start + 1)) == Part::Text;
    let is_yaml = scan.is_at(start, "---") || scan.is_at(start, "- ") || is_key(scan, start);
    let is_near = scan.place(at).0 <= scan.place(start).0 + 1;
    ((is_json || is_yaml) && is_near).then(|| {
        "a playbook is a script in Rhai, not YAML or JSON: see `autorun docs language`".to_owned()
    })
}

/// Returns the hint about `for (let i = 0; ..)` at the word after the parenthesis.
pub(super) fn counting_loop(scan: &Scan, at: usize) -> Option<String> {
    let end = scan.end_before(at)?;
    let is_declared = matches!(&*scan.word(at), "let" | "const");
    (is_declared && scan.chars[end - 1] == '(' && for_before(scan, end)).then(|| {
        "a loop is written as `for x in list { .. }`, or `for i in 0..3 { .. }`".to_owned()
    })
}

/// Whether a word and a colon are at this place.
fn is_key(scan: &Scan, at: usize) -> bool {
    let length = scan.word(at).chars().count();
    let after = at + length;
    length > 0 && scan.is_at(after, ":") && !scan.is_at(after, "::")
}

fn symbol(scan: &Scan, at: usize) -> Option<String> {
    let is = |text: &str| scan.is_at(at, text);
    let before = scan.end_before(at).unwrap_or(0);
    let name = scan.word_before(before);
    let hint = if is("++") || is("--") {
        let sign = scan.chars[at];
        let name = if name.is_empty() { "x" } else { &name };
        format!("write `{name} {sign}= 1`")
    } else if is("===") || is("!==") {
        format!("write `{}=`", scan.chars[at])
    } else if is("->") {
        "leave it out: functions have no type of result".to_owned()
    } else if is("=>") {
        "an anonymous function is written as `|x| x + 1`".to_owned()
    } else if is(":=") {
        "write `let x = 1;`, and later `x = 2;`".to_owned()
    } else if is("\"\"\"") {
        "text with several lines is written in backticks".to_owned()
    } else if is("#") {
        "a comment begins with `//`".to_owned()
    } else if is("$") {
        "a variable is written without `$`; inside backticks, as `${name}`".to_owned()
    } else if is("?") {
        "write `if a { b } else { c }`".to_owned()
    } else if is("\\") {
        "remove it: a statement ends at `;`, not at the end of a line".to_owned()
    } else if scan.part(at) == Part::Text && before > 0 && scan.chars[before - 1] == '.' {
        "join texts with `+`".to_owned()
    } else {
        return None;
    };
    Some(hint)
}

/// What stands beside the place: a key, a call, a declaration.
fn neighbors(scan: &Scan, at: usize) -> Option<String> {
    let here = scan.word(at);
    let before = scan.end_before(at).unwrap_or(0);
    let last = before.checked_sub(1).map(|last| scan.chars[last]);
    let name = scan.word_before(before);
    let after = at + here.chars().count();
    let next = scan.next(after);
    let is_text = |at: usize| at < scan.chars.len() && scan.part(at) == Part::Text;
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    if before == at && at > 0 && !here.is_empty() && is_digit(last) {
        let start = at - scan.word_before(at).chars().count();
        let whole: String = scan.chars[start..after].iter().collect();
        return Some(format!("text is written in quotes: \"{whole}\""));
    }
    if matches!(&*here, "f" | "r" | "b" | "u" | "rb") && is_text(after) {
        return Some("text with values is written in backticks, with `${name}` for a value".into());
    }
    if matches!(&*here, "else" | "catch") && last == Some(';') {
        return Some(format!("remove the `;` before `{here}`"));
    }
    if here == "not" && scan.word(next) == "in" {
        return Some("write `!(x in list)`".to_owned());
    }
    if here == "not" {
        return Some("Rhai writes it as `!`".to_owned());
    }
    if name == "import" {
        return Some("write `import \"path\" as name;`".to_owned());
    }
    if scan.is_at(next, ":=") {
        return Some(format!("declare it with `let {here} = ..`"));
    }
    let is_assigned = scan.is_at(next, "=") && !scan.is_at(next, "==") && !scan.is_at(next, "=>");
    if !here.is_empty() && is_assigned && matches!(last, Some('(' | ',')) {
        return Some(format!("options are written as a map: `#{{ {here}: .. }}`"));
    }
    if here == "in" || name == "for" || last == Some('(') && for_before(scan, before) {
        return Some("a loop is written as `for x in list { .. }`".to_owned());
    }
    if here == "print" && next < scan.chars.len() && !scan.is_at(next, "(") {
        return Some("call it with parentheses: print(..)".to_owned());
    }
    if scan.is_at(next, "=>") && innermost(scan, at) == Some('{') && !here.is_empty() {
        return Some("the case for all other values is written as `_ => ..`".to_owned());
    }
    if scan.is_at(next, "=>") || scan.is_at(next, ") =>") {
        return Some("an anonymous function is written as `|x| x + 1`".to_owned());
    }
    if let Some(hint) = map_without_mark(scan, at) {
        return Some(hint);
    }
    if DECLARATIONS.contains(&&*here) && !scan.word(next).is_empty() {
        return Some(format!("declare it with `let {} = ..`", scan.word(next)));
    }
    if scan.is_at(at, ":") && !name.is_empty() {
        let start = before - name.chars().count();
        let declared = scan.word_before(scan.end_before(start).unwrap_or(0));
        let is_block = matches!(&*name, "else" | "try");
        if !is_block && matches!(&*declared, "let" | "const") {
            return Some("leave the type out: `let x = ..`".to_owned());
        }
    }
    None
}

/// Returns the bracket that is open at this place.
fn innermost(scan: &Scan, at: usize) -> Option<char> {
    let mut closed = 0_usize;
    let before = scan.chars[..at].iter().enumerate().rev();
    for (_, c) in before.filter(|(at, _)| scan.part(*at) == Part::Code) {
        match c {
            ')' | ']' | '}' => closed += 1,
            '(' | '[' | '{' if closed == 0 => return Some(*c),
            '(' | '[' | '{' => closed -= 1,
            _ => {}
        }
    }
    None
}

/// Whether `for (` ends here.
fn for_before(scan: &Scan, end: usize) -> bool {
    let before = end.checked_sub(1).and_then(|at| scan.end_before(at));
    before.is_some_and(|before| scan.word_before(before) == "for")
}

/// `{ a: 1 }` or `{ "a": 1 }` where a value is expected.
fn map_without_mark(scan: &Scan, at: usize) -> Option<String> {
    // The place is the key, or the colon after it.
    let key = if scan.is_at(at, ":") {
        let end = scan.end_before(at)?;
        let word = scan.word_before(end);
        match scan.text_before(end) {
            Some(start) => start,
            None => end - word.chars().count(),
        }
    } else if is_key(scan, at) {
        at
    } else {
        return None;
    };
    let brace = scan.end_before(key)?.checked_sub(1)?;
    let before = scan.end_before(brace)?.checked_sub(1)?;
    let is_value = matches!(scan.chars[before], '=' | '(' | ',' | ':' | '[');
    (scan.chars[brace] == '{' && is_value).then(|| "a map begins with `#{`".to_owned())
}

fn word(scan: &Scan, at: usize) -> Option<String> {
    let here = scan.word(at);
    let before = scan.word_before(scan.end_before(at).unwrap_or(0));
    let hint_of = |word: &str| {
        let row = WORDS.iter().find(|(words, _)| words.contains(&word));
        row.map(|(_, hint)| (*hint).to_owned())
    };
    hint_of(&here).or_else(|| hint_of(&before))
}
