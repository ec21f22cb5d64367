//! Comparisons of values that can never be equal.

use rhai::{ASTNode, Expr, FnCallExpr};

use super::super::chain::variable;
use super::super::finding::Finding;
use super::super::known::Reader;
use super::super::rules::CONSTANT_COMPARISON;
use super::super::variables::Values;
use super::super::written::{Literal, kind_of_var};
use super::File;
use crate::report::text;
use crate::script::schema::Kind;

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    file.ast.walk(&mut |nodes| {
        if let Some(ASTNode::Expr(Expr::FnCall(call, _))) = nodes.last()
            && matches!(call.name.as_str(), "==" | "!=")
            && call.is_operator_call()
            && let [left, right] = call.args.as_slice()
        {
            let reader = Reader {
                variables: file.facts.results(nodes),
                own: file.own,
            };
            let values = file.facts.values(nodes);
            let sides = [(left, right), (right, left)];
            let mut wrong = sides.into_iter();
            found.extend(wrong.find_map(|(value, literal)| {
                let known = known(&reader, values, value)?;
                never(file, known, call, literal)
            }));
        }
        true
    });
    found
}

/// Returns a warning if a value of this known type can never equal the literal.
fn never(
    file: &File,
    (name, kind): (String, Kind),
    call: &FnCallExpr,
    literal: &Expr,
) -> Option<Finding> {
    let wanted = Literal::of(literal)?;
    let why = match (&kind, text_of(literal)) {
        (Kind::Choice(all), Some(text)) if !all.iter().any(|one| one == text) => {
            format!("{name} is never {text:?}")
        }
        (kind, _) if differ(kind, wanted) => {
            format!(
                "{name} is {}, and never {}",
                kind.with_article(),
                wanted.with_article()
            )
        }
        _ => return None,
    };
    let result = if call.name == "==" { "false" } else { "true" };
    let message = format!("this comparison is always {result}: {why}");
    let mut found = file.finding(&CONSTANT_COMPARISON, literal.position(), message);
    if let Some(hint) = hint(&kind, literal) {
        found.error = found.error.hint(hint);
    }
    Some(found)
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::StringConstant(text, _) => Some(text),
        _ => None,
    }
}

/// Whether values of this type and literals of that type are never equal. Integers and
/// floats can be.
pub(super) fn differ(kind: &Kind, literal: Literal) -> bool {
    let numbers = [Literal::Integer, Literal::Float];
    match kind {
        Kind::Any | Kind::TextOrMap | Kind::Host | Kind::Share => false,
        Kind::Integer | Kind::Number | Kind::Seconds => !numbers.contains(&literal),
        kind => !literal.fits(kind),
    }
}

/// Suggests the value in the right type, or the most similar of the possible ones.
pub(super) fn hint(kind: &Kind, literal: &Expr) -> Option<String> {
    match (kind, literal) {
        (Kind::Integer | Kind::Number | Kind::Seconds, Expr::StringConstant(text, _)) => {
            let number = text.trim().parse::<f64>().is_ok();
            number.then(|| format!("write it without quotes: {}", text.trim()))
        }
        (Kind::Bool, Expr::StringConstant(text, _)) if ["true", "false"].contains(&&**text) => {
            Some(format!("write it without quotes: {text}"))
        }
        (Kind::String | Kind::Choice(_), Expr::IntegerConstant(number, _)) => {
            Some(format!("write it in quotes: \"{number}\""))
        }
        (Kind::Choice(all), Expr::StringConstant(text, _)) => {
            Some(match text::nearest(text, all.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("possible values: {}", all.join(", ")),
            })
        }
        _ => None,
    }
}

/// What `type_of` returns.
const TYPES: [&str; 12] = [
    "()",
    "Fn",
    "array",
    "blob",
    "bool",
    "char",
    "f64",
    "i64",
    "map",
    "range",
    "string",
    "timestamp",
];

/// Returns the type of an expression, and its name for the message.
pub(super) fn known(reader: &Reader, values: &Values, expr: &Expr) -> Option<(String, Kind)> {
    if let (Some(name), Some(value)) = (variable(expr), values.of(expr)) {
        let kind = match value {
            Expr::FnCall(call, _) if call.name == "var" => kind_of_var(call)?,
            value => Literal::of(value)?.kind(),
        };
        return Some((format!("`{name}`"), kind));
    }
    if let Some(literal) = Literal::of(expr) {
        return Some(("the value".to_owned(), literal.kind()));
    }
    let is_type_of = |call: &FnCallExpr| call.name == "type_of" && call.namespace.path.is_empty();
    let types = || Kind::Choice(TYPES.map(str::to_owned).to_vec());
    match expr {
        Expr::FnCall(call, _) if is_type_of(call) => {
            return Some(("the result of type_of()".to_owned(), types()));
        }
        Expr::Dot(parts, ..) => match &parts.rhs {
            Expr::MethodCall(call, _) if is_type_of(call) => {
                return Some(("the result of type_of()".to_owned(), types()));
            }
            Expr::MethodCall(call, _) if call.name == "len" => {
                return Some(("the length".to_owned(), Kind::Integer));
            }
            _ => {}
        },
        _ => {}
    }
    let (name, kind) = reader.field(expr)?;
    Some((format!("`{name}`"), kind))
}
