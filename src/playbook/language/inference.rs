//! The type of a value, as far as it is known before a run.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::LazyLock;

use rhai::{Engine, Expr, Stmt};

use super::document::Document;
use super::outline::{Declaration, Role};
use crate::playbook::check::{Known, Literal, Reader, Variables, kind_of_var};
use crate::playbook::engine;
use crate::script::schema::Kind;

/// Compiles single expressions.
static ENGINE: LazyLock<Engine> = LazyLock::new(engine::lenient);

/// The most variables between a value and the call that returns it.
const DEEPEST: usize = 8;

/// The longest expression that is compiled, in characters.
const LONGEST: usize = 20_000;

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// The result of a function, or a part of it.
    Result(Known),
    /// Another value.
    Value(Kind),
}

impl Document {
    /// Returns the type of the value that these tokens have.
    pub(super) fn type_of(&self, tokens: Range<usize>) -> Option<Type> {
        Inference::new(self).value(tokens, DEEPEST)
    }

    /// Returns the type of a variable.
    pub(super) fn type_of_variable(&self, declaration: &Declaration) -> Option<Type> {
        Inference::new(self).variable(declaration, DEEPEST)
    }
}

struct Inference<'a> {
    document: &'a Document,
    /// The types of variables by the places of their declarations. A variable that is
    /// being looked at has none, so that a circle ends.
    done: HashMap<usize, Option<Type>>,
}

impl<'a> Inference<'a> {
    fn new(document: &'a Document) -> Self {
        Self {
            document,
            done: HashMap::new(),
        }
    }

    fn value(&mut self, tokens: Range<usize>, deepest: usize) -> Option<Type> {
        let document = self.document;
        let all = document.tokens.all.get(tokens.clone())?;
        let (first, last) = (all.first()?, all.last()?);
        if last.end - first.start > LONGEST {
            return None;
        }
        let expr = compile(&document.tokens.slice(first.start..last.end))?;
        if let Expr::Variable(names, ..) = &expr
            && names.2.path.is_empty()
        {
            let declaration = document.declaration(&names.1, first.start)?;
            return self.variable(declaration, deepest);
        }
        let variables = self.variables_in(tokens, deepest);
        let functions = document.outline.functions.iter();
        let own: BTreeSet<String> = functions.map(|f| f.name.clone()).collect();
        let reader = Reader {
            variables: &variables,
            own: &own,
        };
        if let Some(known) = reader.known(&expr) {
            return Some(Type::Result(known));
        }
        if let Some((_, kind)) = reader.field(&expr) {
            return Some(Type::Value(kind));
        }
        match &expr {
            Expr::FnCall(call, _) if call.name == "var" => kind_of_var(call).map(Type::Value),
            expr => Literal::of(expr).map(|literal| Type::Value(literal.kind())),
        }
    }

    fn variable(&mut self, declaration: &Declaration, deepest: usize) -> Option<Type> {
        let place = declaration.at.start;
        if let Some(known) = self.done.get(&place) {
            return known.clone();
        }
        let deepest = deepest.checked_sub(1)?;
        self.done.insert(place, None);
        let is_item = declaration.role == Role::Loop;
        let initial = self.value(declaration.initial.clone(), deepest);
        let known = match (initial, is_item) {
            (Some(Type::Result(Known::Array(returned))), true) => {
                Some(Type::Result(Known::Map(returned)))
            }
            (Some(Type::Value(Kind::Array(items))), true) => Some(Type::Value(*items)),
            (_, true) => None,
            (Some(known), false) => Some(known),
            (None, false) => self.assigned(declaration, deepest),
        };
        self.done.insert(place, known.clone());
        known
    }

    /// Returns the type of the first value that is assigned to a variable and whose type
    /// is known, as in `let server = (); server = launch_instance(#{});`.
    fn assigned(&mut self, declaration: &Declaration, deepest: usize) -> Option<Type> {
        let tokens = &self.document.tokens;
        let from = tokens.before(declaration.scope.start);
        let to = tokens.before(declaration.scope.end);
        let is_assigned = |at: &usize| {
            let is_name = tokens.is(*at, &declaration.name) && tokens.is(at + 1, "=");
            is_name
                && !at
                    .checked_sub(1)
                    .is_some_and(|before| tokens.is(before, "."))
        };
        for at in (from..to).filter(is_assigned) {
            let parent = tokens.all[at].parent;
            let is_end = |end: &usize| tokens.all[*end].parent == parent && tokens.is(*end, ";");
            let end = (at + 2..tokens.all.len()).find(is_end)?;
            let known = self.value(at + 2..end, deepest);
            if known.is_some() {
                return known;
            }
        }
        None
    }

    /// Returns the variables in an expression that hold results.
    fn variables_in(&mut self, tokens: Range<usize>, deepest: usize) -> Variables {
        let document = self.document;
        let mut variables = Variables::new();
        for at in tokens {
            let before = at.checked_sub(1);
            let is_root = !before.is_some_and(|before| document.tokens.is(before, "."));
            let is_called = document.tokens.is(at + 1, "(");
            if !document.tokens.is_word(at) || !is_root || is_called {
                continue;
            }
            let name = document.tokens.text(at);
            let declaration = document.declaration(&name, document.tokens.all[at].start);
            let known = declaration.and_then(|found| self.variable(found, deepest));
            if let Some(Type::Result(known)) = known {
                variables.insert(name, known);
            }
        }
        variables
    }
}

fn compile(text: &str) -> Option<Expr> {
    let ast = ENGINE.compile_expression(text).ok()?;
    match ast.statements() {
        [Stmt::Expr(expr)] => Some((**expr).clone()),
        _ => None,
    }
}
