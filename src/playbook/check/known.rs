//! Finds out which function returns a value, before the run.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{Expr, FnCallExpr};

use super::chain::{Link, chain, variable};
use crate::primitives;
use crate::script::Shape;
use crate::script::schema::{Field, Kind};

/// The known kind of a value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::playbook) enum Known {
    /// A map that a function returns.
    Map(Returned),
    /// An array of maps that a function returns.
    Array(Returned),
}

/// The function that returns a map, and the keys of the map.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::playbook) struct Returned {
    pub(in crate::playbook) function: String,
    pub(in crate::playbook) fields: &'static [Field],
}

/// Variables whose value is known.
pub(in crate::playbook) type Variables = BTreeMap<String, Known>;

impl Known {
    /// Returns whether both have the same keys. The functions may differ.
    pub(in crate::playbook) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Map(one), Self::Map(other)) | (Self::Array(one), Self::Array(other)) => {
                one.fields == other.fields
            }
            _ => false,
        }
    }
}

/// Finds out the kind of an expression.
pub(in crate::playbook) struct Reader<'a> {
    pub(in crate::playbook) variables: &'a Variables,
    /// Functions that the playbook itself defines.
    pub(in crate::playbook) own: &'a BTreeSet<String>,
}

impl Reader<'_> {
    pub(in crate::playbook) fn known(&self, expr: &Expr) -> Option<Known> {
        match expr {
            Expr::FnCall(call, _) => self.returned(call),
            Expr::Dot(..) | Expr::Index(..) => {
                let (root, links) = chain(expr)?;
                let mut known = self.known(root)?;
                for link in links {
                    known = step(&known, &link)?;
                }
                Some(known)
            }
            expr => variable(expr).and_then(|name| self.variables.get(name).cloned()),
        }
    }

    /// Returns the kind of each item of an array.
    pub(super) fn item_of(&self, array: &Expr) -> Option<Known> {
        match self.known(array)? {
            Known::Array(returned) => Some(Known::Map(returned)),
            Known::Map(_) => None,
        }
    }

    /// Returns the name and the type of the key that an expression reads from a result.
    pub(in crate::playbook) fn field(&self, expr: &Expr) -> Option<(String, Kind)> {
        let (root, links) = chain(expr)?;
        let (last, before) = links.split_last()?;
        let mut known = self.known(root)?;
        for link in before {
            known = step(&known, link)?;
        }
        let (Known::Map(returned), Some((key, _))) = (&known, last.key()) else {
            return None;
        };
        let field = returned.fields.iter().find(|field| field.name == key)?;
        Some((field.name.clone(), field.kind.clone()))
    }

    /// Returns the kind of the result of a call.
    fn returned(&self, call: &FnCallExpr) -> Option<Known> {
        let name = call.name.as_str();
        if !call.namespace.path.is_empty() || self.own.contains(name) {
            return None;
        }
        let returns = primitives::declared(name)?.returns?;
        let returned = Returned {
            function: name.to_owned(),
            fields: returns.kind().fields()?,
        };
        match returns.shape {
            Shape::One | Shape::Maybe => Some(Known::Map(returned)),
            Shape::Many => Some(Known::Array(returned)),
            Shape::LikeArgument => match call.args.first()? {
                Expr::StringConstant(..) | Expr::InterpolatedString(..) => {
                    Some(Known::Map(returned))
                }
                Expr::Array(..) => Some(Known::Array(returned)),
                argument => match self.known(argument)? {
                    Known::Map(_) => Some(Known::Map(returned)),
                    Known::Array(_) => Some(Known::Array(returned)),
                },
            },
            Shape::ManyWith(option) => match call.args.last() {
                None => Some(Known::Map(returned)),
                Some(Expr::Map(options, _)) => {
                    if options.0.iter().any(|(key, _)| key.name == option) {
                        Some(Known::Array(returned))
                    } else {
                        Some(Known::Map(returned))
                    }
                }
                Some(_) => None,
            },
        }
    }
}

/// Returns the kind of a value after one link.
pub(in crate::playbook) fn step(known: &Known, link: &Link) -> Option<Known> {
    match (known, link) {
        (Known::Array(returned), Link::Index(Expr::IntegerConstant(..))) => {
            Some(Known::Map(returned.clone()))
        }
        (Known::Map(returned), link) => {
            let (key, _) = link.key()?;
            let field = returned.fields.iter().find(|field| field.name == key)?;
            let deeper = |fields: &'static [Field]| Returned {
                function: returned.function.clone(),
                fields,
            };
            match &field.kind {
                Kind::Map(fields) => Some(Known::Map(deeper(fields))),
                Kind::Array(items) => match &**items {
                    Kind::Map(fields) => Some(Known::Array(deeper(fields))),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}
