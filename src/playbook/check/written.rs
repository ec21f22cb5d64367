//! Literal values in a playbook, and their types.

use rhai::{Dynamic, Expr, FnCallExpr, Map, Position};

use super::variables::Values;
use crate::script::schema::Kind;

/// A value in the source: an expression, or a constant that the compiler computed. The
/// position of an option is the position of its key.
pub(super) enum Written<'a> {
    Code(&'a Expr),
    Entry(&'a Expr, Position),
    Value(Dynamic, Position),
}

impl<'a> Written<'a> {
    /// Returns the literal that a variable stands for, in its place.
    pub(super) fn resolved(&self, values: &'a Values) -> Self {
        match self {
            Self::Code(expr) => Self::Code(values.literal(expr)),
            Self::Entry(expr, position) => Self::Entry(values.literal(expr), *position),
            Self::Value(value, position) => Self::Value(value.clone(), *position),
        }
    }

    pub(super) fn literal(&self) -> Option<Literal> {
        match self {
            Self::Code(expr) | Self::Entry(expr, _) => Literal::of(expr),
            Self::Value(value, _) => Literal::of_value(value),
        }
    }

    pub(super) fn position(&self) -> Position {
        match self {
            Self::Code(expr) => expr.position(),
            Self::Entry(_, position) | Self::Value(_, position) => *position,
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Code(Expr::StringConstant(text, _))
            | Self::Entry(Expr::StringConstant(text, _), _) => Some(text.to_string()),
            Self::Code(_) | Self::Entry(..) => None,
            Self::Value(value, _) => value.clone().into_string().ok(),
        }
    }

    /// Returns the value, if it is known before the run.
    pub(super) fn value(&self, values: &Values) -> Option<Dynamic> {
        match self {
            Self::Code(expr) | Self::Entry(expr, _) => constant(expr, values),
            Self::Value(value, _) => Some(value.clone()),
        }
    }

    /// Returns whether it is the literal `true`.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Code(expr) | Self::Entry(expr, _) => matches!(expr, Expr::BoolConstant(true, _)),
            Self::Value(value, _) => value.as_bool() == Ok(true),
        }
    }

    pub(super) fn entries(&self) -> Vec<(String, Written<'_>, Position)> {
        let (Self::Code(expr) | Self::Entry(expr, _)) = self else {
            let Self::Value(value, position) = self else {
                return Vec::new();
            };
            return constant_entries(value, *position);
        };
        match expr {
            Expr::Map(map, _) => {
                let entries = map.0.iter().map(|(key, value)| {
                    let written = Written::Entry(value, key.pos);
                    (key.name.to_string(), written, key.pos)
                });
                entries.collect()
            }
            Expr::DynamicConstant(value, position) => constant_entries(value, *position),
            _ => Vec::new(),
        }
    }

    pub(super) fn items(&self) -> Vec<Written<'_>> {
        let constants = |value: &Dynamic, position: Position| {
            let items = value.read_lock::<rhai::Array>();
            let items = items.iter().flat_map(|items| items.iter());
            items
                .map(|item| Written::Value(item.clone(), position))
                .collect()
        };
        match self {
            Self::Code(Expr::Array(items, _)) | Self::Entry(Expr::Array(items, _), _) => {
                items.iter().map(Written::Code).collect()
            }
            Self::Code(Expr::DynamicConstant(value, position))
            | Self::Entry(Expr::DynamicConstant(value, _), position) => constants(value, *position),
            Self::Value(value, position) => constants(value, *position),
            Self::Code(_) | Self::Entry(..) => Vec::new(),
        }
    }
}

/// Returns the value of an expression that is made of literals, and of variables that
/// stand for literals.
fn constant(expr: &Expr, values: &Values) -> Option<Dynamic> {
    match values.literal(expr) {
        Expr::Array(items, _) => {
            let items = items.iter().map(|item| constant(item, values));
            items.collect::<Option<rhai::Array>>().map(Dynamic::from)
        }
        Expr::Map(map, _) => {
            let entries = map.0.iter();
            let entries = entries
                .map(|(key, value)| Some((key.name.as_str().into(), constant(value, values)?)));
            entries.collect::<Option<Map>>().map(Dynamic::from)
        }
        expr => expr.get_literal_value(None),
    }
}

fn constant_entries(
    value: &Dynamic,
    position: Position,
) -> Vec<(String, Written<'static>, Position)> {
    let map = value.read_lock::<Map>();
    let entries = map.iter().flat_map(|map| map.iter());
    entries
        .map(|(key, value)| {
            let written = Written::Value(value.clone(), position);
            (key.to_string(), written, position)
        })
        .collect()
}

/// The type of a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::playbook) enum Literal {
    String,
    Integer,
    Float,
    Bool,
    Array,
    Map,
}

impl Literal {
    /// Returns the type of a literal. Returns `None` for an expression whose value is
    /// known only at run time, and for `()`, which means an omitted option.
    pub(in crate::playbook) fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::StringConstant(..) | Expr::InterpolatedString(..) => Some(Self::String),
            Expr::IntegerConstant(..) => Some(Self::Integer),
            Expr::FloatConstant(..) => Some(Self::Float),
            Expr::BoolConstant(..) => Some(Self::Bool),
            Expr::Array(..) => Some(Self::Array),
            Expr::Map(..) => Some(Self::Map),
            Expr::DynamicConstant(value, _) => Self::of_value(value),
            _ => None,
        }
    }

    pub(in crate::playbook) fn of_value(value: &Dynamic) -> Option<Self> {
        match value.type_name() {
            "string" => Some(Self::String),
            "i64" => Some(Self::Integer),
            "f64" => Some(Self::Float),
            "bool" => Some(Self::Bool),
            "array" => Some(Self::Array),
            "map" => Some(Self::Map),
            _ => None,
        }
    }

    /// Returns the type of its values.
    pub(in crate::playbook) fn kind(self) -> Kind {
        match self {
            Self::String => Kind::String,
            Self::Integer => Kind::Integer,
            Self::Float => Kind::Number,
            Self::Bool => Kind::Bool,
            Self::Array => Kind::Array(Box::new(Kind::Any)),
            Self::Map => Kind::MapOf(Box::new(Kind::Any)),
        }
    }

    /// Returns whether a parameter of this Rust type accepts the literal.
    pub(in crate::playbook) fn is_a(self, rust: &str) -> bool {
        match rust {
            "Dynamic" => true,
            "i64" => self == Self::Integer,
            "f64" => self == Self::Float,
            "bool" => self == Self::Bool,
            "Array" => self == Self::Array,
            "Map" => self == Self::Map,
            "FnPtr" => false,
            rust => self == Self::String || !rust.contains("String"),
        }
    }

    /// Returns whether an option of this type accepts the literal.
    pub(in crate::playbook) fn fits(self, kind: &Kind) -> bool {
        match kind {
            Kind::String | Kind::Choice(_) => self == Self::String,
            Kind::Integer => self == Self::Integer,
            Kind::Number | Kind::Seconds => matches!(self, Self::Integer | Self::Float),
            Kind::Bool => self == Self::Bool,
            Kind::Array(_) => self == Self::Array,
            Kind::Map(_) | Kind::MapOf(_) => self == Self::Map,
            Kind::Share => matches!(self, Self::Integer | Self::String),
            Kind::TextOrMap | Kind::Host => matches!(self, Self::String | Self::Map),
            Kind::Any => true,
        }
    }

    pub(in crate::playbook) fn with_article(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Float => "a float",
            Self::Bool => "a bool",
            Self::Array => "an array",
            Self::Map => "a map",
        }
    }
}

/// Returns the type of a variable for `--set`, from the call of `var` that declares it.
/// A variable with choices has one of them.
pub(in crate::playbook) fn kind_of_var(call: &FnCallExpr) -> Option<Kind> {
    let given = call.args.get(1)?;
    // `var(name, default, help)`
    if call.args.len() == 3 {
        return Literal::of(given).map(Literal::kind);
    }
    let given = Written::Code(given);
    let options = given.entries();
    let option = |name: &str| {
        let found = options.iter().find(|(key, ..)| key == name);
        found.map(|(_, value, _)| value)
    };
    let choices = option("choices").map(|choices| {
        let all = choices.items().into_iter().map(|choice| choice.text());
        all.collect::<Option<Vec<String>>>()
    });
    if let Some(Some(choices)) = choices.filter(|all| all.as_ref().is_some_and(|c| !c.is_empty())) {
        return Some(Kind::Choice(choices));
    }
    match option("type").and_then(Written::text).as_deref() {
        Some("string") => Some(Kind::String),
        Some("int") => Some(Kind::Integer),
        Some("float") => Some(Kind::Number),
        Some("bool") => Some(Kind::Bool),
        Some("array") => Some(Kind::Array(Box::new(Kind::Any))),
        Some(_) => None,
        None => option("default")?.literal().map(Literal::kind),
    }
}
