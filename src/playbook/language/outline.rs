//! What a file declares: variables with the place in which they are known, functions,
//! and imports.

use std::ops::Range;

use super::tokens::{Kind, Tokens};
use crate::playbook::scan::Part;

/// How a variable is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Variable,
    Constant,
    /// The variable or the counter of a loop.
    Loop,
    /// The error of a `catch`.
    Caught,
    /// The parameter of a function or closure.
    Parameter,
}

/// A variable.
#[derive(Debug)]
pub(super) struct Declaration {
    pub(super) name: String,
    pub(super) role: Role,
    /// The characters of its name.
    pub(super) at: Range<usize>,
    /// The characters in which it is known.
    pub(super) scope: Range<usize>,
    /// The function around it.
    pub(super) function: Option<usize>,
    /// The tokens of its initial value; of what is looped over.
    pub(super) initial: Range<usize>,
}

/// A function of the file.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) parameters: Vec<String>,
    /// The characters of its name.
    pub(super) at: Range<usize>,
    /// The characters of its body.
    body: Range<usize>,
    /// The comments before it.
    pub(super) text: String,
    /// Whether other files cannot call it.
    pub(super) is_private: bool,
}

impl Function {
    /// Returns `name(one, other)`.
    pub(super) fn signature(&self) -> String {
        format!("{}({})", self.name, self.parameters.join(", "))
    }
}

/// An import.
#[derive(Debug)]
pub(super) struct Import {
    /// The path as it is written.
    pub(super) path: String,
    /// The characters of the path.
    pub(super) text: Range<usize>,
    /// Empty if there is none.
    pub(super) alias: String,
}

/// What a file declares.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) declarations: Vec<Declaration>,
    pub(super) functions: Vec<Function>,
    pub(super) imports: Vec<Import>,
}

impl Outline {
    pub(super) fn of(tokens: &Tokens) -> Self {
        let mut reader = Reader {
            tokens,
            found: Self::default(),
        };
        for at in 0..tokens.all.len() {
            reader.read(at);
        }
        reader.found
    }

    /// Returns the function whose body is around this character.
    pub(super) fn function_at(&self, at: usize) -> Option<usize> {
        // Functions do not nest.
        let after = self.functions.partition_point(|f| f.body.start <= at);
        let index = after.checked_sub(1)?;
        self.functions[index].body.contains(&at).then_some(index)
    }

    pub(super) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }
}

struct Reader<'a> {
    tokens: &'a Tokens,
    found: Outline,
}

impl Reader<'_> {
    fn read(&mut self, at: usize) {
        if self.tokens.is(at, "|") {
            return self.closure(at);
        }
        if !self.tokens.is_word(at) {
            return;
        }
        match self.tokens.text(at).as_str() {
            "let" => self.variable(at, Role::Variable),
            "const" => self.variable(at, Role::Constant),
            "fn" => self.function(at),
            "for" => self.each(at),
            "catch" => self.caught(at),
            "import" => self.import(at),
            _ => {}
        }
    }

    fn chars(&self, at: usize) -> Range<usize> {
        let token = self.tokens.all[at];
        token.start..token.end
    }

    fn declare(&mut self, at: usize, role: Role, scope: Range<usize>, initial: Range<usize>) {
        if !self.tokens.is_word(at) {
            return;
        }
        let chars = self.chars(at);
        let function = match role {
            // The parameters are before the body.
            Role::Parameter => self.found.function_at(scope.start),
            _ => self.found.function_at(chars.start),
        };
        self.found.declarations.push(Declaration {
            name: self.tokens.text(at),
            role,
            at: chars,
            scope,
            function,
            initial,
        });
    }

    /// `let NAME = VALUE;`
    fn variable(&mut self, at: usize, role: Role) {
        if !self.tokens.is_word(at + 1) {
            return;
        }
        let begin = at + 3;
        let end = if self.tokens.is(at + 2, "=") {
            self.end_of_statement(at, begin)
        } else {
            begin.min(self.tokens.all.len())
        };
        let known_from = match end.checked_sub(1) {
            Some(last) if last > at => self.tokens.all[last].end,
            _ => self.chars(at + 1).end,
        };
        let known_to = self.tokens.end_of_block(at);
        let scope = known_from..known_to.max(known_from);
        self.declare(at + 1, role, scope, begin.min(end)..end);
    }

    /// Returns the token after a statement that begins at `at`: its `;`, or the next
    /// statement if the `;` is not written yet.
    fn end_of_statement(&self, at: usize, begin: usize) -> usize {
        let all = &self.tokens.all;
        let parent = all[at].parent;
        let closer = parent.and_then(|parent| all[parent].closer);
        let last = closer.unwrap_or(all.len());
        let ends = |next: &usize| {
            let starts = || {
                let words = ["let", "const", "fn", "import", "return", "private"];
                words.iter().any(|word| self.tokens.is(*next, word))
            };
            all[*next].parent == parent && (self.tokens.is(*next, ";") || starts())
        };
        (begin..last)
            .find(ends)
            .unwrap_or(last.max(begin).min(all.len()))
    }

    /// `fn NAME(PARAMETERS) { .. }`
    fn function(&mut self, at: usize) {
        if !self.tokens.is_word(at + 1) || !self.tokens.is(at + 2, "(") {
            return;
        }
        let inside = self.inside(at + 2);
        let names: Vec<usize> = inside.filter(|at| self.tokens.is_word(*at)).collect();
        let body = match self.tokens.all[at + 2].closer {
            Some(closer) if self.tokens.is(closer + 1, "{") => self.block(closer + 1),
            _ => self.chars(at + 1).end..self.chars(at + 1).end,
        };
        let is_private = at > 0 && self.tokens.is(at - 1, "private");
        let start = self.chars(if is_private { at - 1 } else { at }).start;
        self.found.functions.push(Function {
            name: self.tokens.text(at + 1),
            parameters: names.iter().map(|at| self.tokens.text(*at)).collect(),
            at: self.chars(at + 1),
            body: body.clone(),
            text: self.comments_before(start),
            is_private,
        });
        for name in names {
            self.declare(name, Role::Parameter, body.clone(), 0..0);
        }
    }

    /// Returns the characters of a block, with its closing brace.
    fn block(&self, opener: usize) -> Range<usize> {
        let end = self.tokens.end_of_bracket(opener);
        self.tokens.all[opener].end..end + 1
    }

    /// Returns the tokens directly in a bracket.
    fn inside(&self, opener: usize) -> impl Iterator<Item = usize> + use<'_> {
        let all = &self.tokens.all;
        let end = all[opener].closer.unwrap_or(all.len());
        (opener + 1..end).take_while(move |at| all[*at].parent == Some(opener))
    }

    /// Returns the comment lines directly before a place, without their slashes.
    fn comments_before(&self, start: usize) -> String {
        let scan = &self.tokens.scan;
        let (mut line, _) = scan.place(start);
        let mut lines = Vec::new();
        while line > 1 {
            line -= 1;
            let from = scan.index(line, 1);
            let to = scan.index(line + 1, 1);
            let text = self.tokens.slice(from..to);
            let text = text.trim();
            if !text.starts_with("//")
                || text.starts_with("//!")
                || scan.part(from) != Part::Comment
            {
                break;
            }
            let text = text.trim_start_matches('/');
            lines.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
        }
        lines.reverse();
        lines.join("\n")
    }

    /// `for NAME in LIST { .. }` or `for (NAME, COUNTER) in LIST { .. }`
    fn each(&mut self, at: usize) {
        let names: Vec<usize> = if self.tokens.is(at + 1, "(") {
            let inside = self.inside(at + 1);
            inside.filter(|at| self.tokens.is_word(*at)).collect()
        } else {
            vec![at + 1]
        };
        let after = names.last().map_or(at, |last| *last);
        let parent = self.tokens.all[at].parent;
        let end = (after + 3).min(self.tokens.all.len());
        let Some(word) = (after..end).find(|at| self.tokens.is(*at, "in")) else {
            return;
        };
        let is_body =
            |next: &usize| self.tokens.all[*next].parent == parent && self.tokens.is(*next, "{");
        let Some(body) = (word..self.tokens.all.len()).find(is_body) else {
            return;
        };
        for (number, name) in names.iter().enumerate() {
            // The counter is a number.
            let list = if number == 0 { word + 1..body } else { 0..0 };
            self.declare(*name, Role::Loop, self.block(body), list);
        }
    }

    /// `catch (NAME) { .. }`
    fn caught(&mut self, at: usize) {
        if self.tokens.is(at + 1, "(") && self.tokens.is(at + 4, "{") {
            self.declare(at + 2, Role::Caught, self.block(at + 4), 0..0);
        }
    }

    /// `|NAMES| VALUE`
    fn closure(&mut self, at: usize) {
        let begins = match at.checked_sub(1) {
            None => true,
            Some(before) => {
                let symbols = ["(", ",", "=", ":", "=>", "[", "{", "}", ";", "return"];
                symbols.iter().any(|symbol| self.tokens.is(before, symbol))
            }
        };
        if !begins {
            return;
        }
        let all = &self.tokens.all;
        let rest = at + 1..all.len();
        let Some(end) = rest.clone().find(|at| self.tokens.is(*at, "|")) else {
            return;
        };
        let names: Vec<usize> = (at + 1..end).collect();
        let is_name = |at: &usize| self.tokens.is_word(*at) || self.tokens.is(*at, ",");
        if !names.iter().all(is_name) {
            return;
        }
        let scope = if self.tokens.is(end + 1, "{") {
            self.block(end + 1)
        } else {
            let parent = all[at].parent;
            let closer = parent.and_then(|parent| all[parent].closer);
            let last = closer.unwrap_or(all.len());
            let ends = |next: &usize| {
                let is_end = self.tokens.is(*next, ",") || self.tokens.is(*next, ";");
                all[*next].parent == parent && is_end
            };
            let next = (end + 1..last).find(ends).unwrap_or(last);
            let to = all
                .get(next)
                .map_or(self.tokens.scan.chars.len(), |t| t.start);
            // A cursor directly at the end is inside.
            all[end].end..to + 1
        };
        for name in names {
            self.declare_in_closure(name, at, scope.clone());
        }
    }

    /// Declares the parameter of a closure. If the closure is an argument of a method of
    /// a list, such as `map`, the parameter is an item of the list.
    fn declare_in_closure(&mut self, name: usize, closure: usize, scope: Range<usize>) {
        let list = if name == closure + 1 {
            self.list_before(closure)
        } else {
            0..0
        };
        let role = if list.is_empty() {
            Role::Parameter
        } else {
            Role::Loop
        };
        self.declare(name, role, scope, list);
    }

    /// Returns the tokens of `LIST` in `LIST.map(|item| ..)`.
    fn list_before(&self, closure: usize) -> Range<usize> {
        let of_items = [
            "map", "filter", "for_each", "all", "some", "find", "find_map",
        ];
        let Some(paren) = closure.checked_sub(1).filter(|at| self.tokens.is(*at, "(")) else {
            return 0..0;
        };
        let Some(dot) = paren.checked_sub(2).filter(|at| self.tokens.is(*at, ".")) else {
            return 0..0;
        };
        if !of_items
            .iter()
            .any(|method| self.tokens.is(paren - 1, method))
        {
            return 0..0;
        }
        self.tokens.chain_before(dot)..dot
    }

    /// `import PATH as NAME;`
    fn import(&mut self, at: usize) {
        let Some(path) = self.tokens.content(at + 1) else {
            return;
        };
        let has_alias = self.tokens.is(at + 2, "as") && self.tokens.is_word(at + 3);
        let alias = if has_alias {
            self.tokens.text(at + 3)
        } else {
            String::new()
        };
        self.found.imports.push(Import {
            path,
            text: self.chars(at + 1),
            alias,
        });
    }
}

impl Tokens {
    /// Returns the first token of the value before a dot: of `a` in `a.`, of `f` in
    /// `f(1)[2].b.`.
    pub(super) fn chain_before(&self, dot: usize) -> usize {
        let mut start = dot;
        loop {
            let Some(last) = start.checked_sub(1) else {
                return start;
            };
            start = match self.kind(last) {
                Some(Kind::Word | Kind::Number) => last,
                Some(Kind::Text) => return last,
                _ => match self.opener_of(last) {
                    Some(opener) if self.is(opener, "#{") => return opener,
                    Some(opener) => {
                        // A call or an index continues to the left.
                        let is_part = opener.checked_sub(1).is_some_and(|before| {
                            self.is_word(before) && !self.is_keyword(before)
                                || self.is(before, ")")
                                || self.is(before, "]")
                        });
                        if is_part {
                            start = opener;
                            continue;
                        }
                        return opener;
                    }
                    None => return start,
                },
            };
            let joins = [".", "?.", "::"];
            match start.checked_sub(1) {
                Some(before) if joins.iter().any(|join| self.is(before, join)) => start = before,
                _ => return start,
            }
        }
    }

    /// Returns the bracket that this token closes.
    fn opener_of(&self, closer: usize) -> Option<usize> {
        if ![")", "]", "}"]
            .iter()
            .any(|bracket| self.is(closer, bracket))
        {
            return None;
        }
        (0..closer)
            .rev()
            .find(|at| self.all[*at].closer == Some(closer))
    }

    /// Returns whether a token is a word of the language that stands before a bracket.
    pub(super) fn is_keyword(&self, at: usize) -> bool {
        let words = [
            "if", "while", "for", "in", "switch", "return", "throw", "catch", "else", "let",
            "const", "fn", "until", "loop", "do", "try",
        ];
        words.iter().any(|word| self.is(at, word))
    }
}
