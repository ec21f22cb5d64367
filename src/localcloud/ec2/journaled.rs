//! Parts of the state that know what a change did to them.
//!
//! A change works on the state in place. Each part keeps the values that the
//! change has replaced, so a change costs what it touches, however large the
//! state is: to undo it, to write it to the journal, and to complete it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Deref;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Error, Map, Value};

/// A part of the state. [`record`] implements this trait for structs.
pub(super) trait Journaled {
    /// Returns what the current change did, or `None` if it did nothing. The
    /// values are those after the change, so that it can be applied twice.
    fn changes(&self) -> Result<Option<Value>, Error>;
    /// Repeats a change that [`Journaled::changes`] returned.
    fn apply(&mut self, changes: Value) -> Result<(), Error>;
    /// Completes the current change.
    fn commit(&mut self);
    /// Undoes the current change.
    fn roll_back(&mut self);
}

/// Returns the object that contains changes by name.
pub(super) fn object(changes: Value) -> Result<Map<String, Value>, Error> {
    match changes {
        Value::Object(all) => Ok(all),
        other => Err(Error::custom(format!("expected an object, not `{other}`"))),
    }
}

/// Declares a struct of journaled parts. A field that is not journaled does not
/// compile, so no change can be missing from the journal.
macro_rules! record {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }

        impl $crate::ec2::journaled::Journaled for $name {
            fn changes(&self) -> Result<Option<serde_json::Value>, serde_json::Error> {
                let mut all = serde_json::Map::new();
                $(if let Some(changes) = self.$field.changes()? {
                    all.insert(stringify!($field).to_owned(), changes);
                })*
                Ok((!all.is_empty()).then_some(serde_json::Value::Object(all)))
            }

            fn apply(&mut self, changes: serde_json::Value) -> Result<(), serde_json::Error> {
                for (name, changes) in $crate::ec2::journaled::object(changes)? {
                    match name.as_str() {
                        $(stringify!($field) => self.$field.apply(changes)?,)*
                        _ => return Err(<serde_json::Error as serde::de::Error>::custom(
                            format!("unknown field `{name}`"),
                        )),
                    }
                }
                Ok(())
            }

            fn commit(&mut self) {
                $(self.$field.commit();)*
            }

            fn roll_back(&mut self) {
                $(self.$field.roll_back();)*
            }
        }
    };
}

pub(super) use record;

/// Parts by name, such as regions. A part without content stays.
impl<T: Journaled + Default> Journaled for BTreeMap<String, T> {
    fn changes(&self) -> Result<Option<Value>, Error> {
        let mut all = Map::new();
        for (name, part) in self {
            if let Some(changes) = part.changes()? {
                all.insert(name.clone(), changes);
            }
        }
        Ok((!all.is_empty()).then_some(Value::Object(all)))
    }

    fn apply(&mut self, changes: Value) -> Result<(), Error> {
        for (name, changes) in object(changes)? {
            self.entry(name).or_default().apply(changes)?;
        }
        Ok(())
    }

    fn commit(&mut self) {
        self.values_mut().for_each(T::commit);
    }

    fn roll_back(&mut self) {
        self.values_mut().for_each(T::roll_back);
    }
}

/// A row of a [`Table`].
pub(super) trait Row: Clone + Debug + Serialize + DeserializeOwned {
    /// Returns what [`Table::find`] finds the row by, in addition to its key.
    fn aliases(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Row for u64 {}
impl Row for std::net::Ipv4Addr {}

/// Resources by id or name. It reads like the map of its rows.
#[derive(Debug)]
pub(super) struct Table<V> {
    rows: BTreeMap<String, V>,
    /// The rows that the current change touched, as they were before.
    before: BTreeMap<String, Option<V>>,
    /// The aliases of the rows as they were before, each with its key.
    index: BTreeSet<(String, String)>,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            before: BTreeMap::new(),
            index: BTreeSet::new(),
        }
    }
}

impl<V> Deref for Table<V> {
    type Target = BTreeMap<String, V>;

    fn deref(&self) -> &Self::Target {
        &self.rows
    }
}

impl<V: Row> Table<V> {
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        if !self.before.contains_key(key) {
            self.before.insert(key.to_owned(), Some(row.clone()));
        }
        Some(row)
    }

    pub(super) fn insert(&mut self, key: String, row: V) {
        let old = self.rows.insert(key.clone(), row);
        self.before.entry(key).or_insert(old);
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<V> {
        let old = self.rows.remove(key)?;
        if !self.before.contains_key(key) {
            self.before.insert(key.to_owned(), Some(old.clone()));
        }
        Some(old)
    }

    /// Removes the rows for which `keep` does not hold.
    pub(super) fn retain(&mut self, keep: impl Fn(&str, &V) -> bool) {
        let gone = self.rows.iter().filter(|(key, row)| !keep(key, row));
        let gone: Vec<String> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }

    /// Returns the rows with this alias.
    pub(super) fn find(&self, alias: &str) -> impl Iterator<Item = &V> {
        let first = (alias.to_owned(), String::new());
        let untouched = self
            .index
            .range(first..)
            .take_while(move |(known, _)| known == alias)
            .filter(|(_, key)| !self.before.contains_key(key));
        let touched = self.before.keys().filter_map(|key| self.rows.get(key));
        untouched
            .filter_map(|(_, key)| self.rows.get(key))
            .chain(touched.filter(move |row| row.aliases().iter().any(|known| known == alias)))
    }
}

impl<V: Row> Journaled for Table<V> {
    fn changes(&self) -> Result<Option<Value>, Error> {
        let mut all = Map::new();
        for (key, before) in &self.before {
            let row = match self.rows.get(key) {
                Some(row) => serde_json::to_value(row)?,
                None if before.is_some() => Value::Null,
                None => continue,
            };
            all.insert(key.clone(), row);
        }
        Ok((!all.is_empty()).then_some(Value::Object(all)))
    }

    fn apply(&mut self, changes: Value) -> Result<(), Error> {
        for (key, row) in object(changes)? {
            if row.is_null() {
                self.remove(&key);
            } else {
                self.insert(key, serde_json::from_value(row)?);
            }
        }
        Ok(())
    }

    fn commit(&mut self) {
        for (key, before) in std::mem::take(&mut self.before) {
            for alias in before.iter().flat_map(V::aliases) {
                self.index.remove(&(alias, key.clone()));
            }
            for alias in self.rows.get(&key).iter().flat_map(|row| row.aliases()) {
                self.index.insert((alias, key.clone()));
            }
        }
    }

    fn roll_back(&mut self) {
        for (key, before) in std::mem::take(&mut self.before) {
            match before {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }
}

impl<V: Row> Serialize for Table<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl<'de, V: Row> Deserialize<'de> for Table<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = BTreeMap::<String, V>::deserialize(deserializer)?;
        let aliases = |(key, row): (&String, &V)| {
            let key = key.clone();
            row.aliases()
                .into_iter()
                .map(move |alias| (alias, key.clone()))
        };
        Ok(Self {
            index: rows.iter().flat_map(aliases).collect(),
            before: BTreeMap::new(),
            rows,
        })
    }
}

/// One value, which is small.
#[derive(Debug, Default)]
pub(super) struct Single<T> {
    value: T,
    /// The value before the current change, if the change touched it.
    before: Option<T>,
}

impl<T> Deref for Single<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Clone> Single<T> {
    pub(super) fn get_mut(&mut self) -> &mut T {
        self.before.get_or_insert_with(|| self.value.clone());
        &mut self.value
    }
}

impl<T: Clone + Serialize + DeserializeOwned> Journaled for Single<T> {
    fn changes(&self) -> Result<Option<Value>, Error> {
        let value = self.before.is_some().then_some(&self.value);
        value.map(serde_json::to_value).transpose()
    }

    fn apply(&mut self, changes: Value) -> Result<(), Error> {
        *self.get_mut() = serde_json::from_value(changes)?;
        Ok(())
    }

    fn commit(&mut self) {
        self.before = None;
    }

    fn roll_back(&mut self) {
        if let Some(before) = self.before.take() {
            self.value = before;
        }
    }
}

impl<T: Serialize> Serialize for Single<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Single<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        Ok(Self {
            value,
            before: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Named(String);

    impl Row for Named {
        fn aliases(&self) -> Vec<String> {
            vec![self.0.clone()]
        }
    }

    fn named(name: &str) -> Named {
        Named(name.to_owned())
    }

    fn found(table: &Table<Named>, alias: &str) -> usize {
        table.find(alias).count()
    }

    #[test]
    fn a_change_that_is_undone_leaves_no_trace() {
        let mut table = Table::default();
        table.insert("a".to_owned(), named("one"));
        table.insert("b".to_owned(), named("two"));
        table.commit();
        assert_eq!(table.changes().unwrap(), None);
        table.get_mut("a").unwrap().0 = "other".to_owned();
        table.remove("b");
        table.insert("b".to_owned(), named("new"));
        table.insert("c".to_owned(), named("three"));
        assert_eq!(
            [
                found(&table, "one"),
                found(&table, "other"),
                found(&table, "two")
            ],
            [0, 1, 0]
        );
        table.roll_back();
        assert_eq!(table.changes().unwrap(), None);
        assert_eq!((&table["a"], &table["b"]), (&named("one"), &named("two")));
        assert_eq!(
            [
                found(&table, "one"),
                found(&table, "other"),
                found(&table, "three")
            ],
            [1, 0, 0]
        );
    }

    #[test]
    fn a_row_is_found_by_its_current_aliases() {
        let mut table = Table::default();
        table.insert("a".to_owned(), named("one"));
        assert_eq!(found(&table, "one"), 1);
        table.commit();
        table.get_mut("a").unwrap().0 = "two".to_owned();
        table.insert("b".to_owned(), named("two"));
        table.commit();
        assert_eq!([found(&table, "one"), found(&table, "two")], [0, 2]);
        table.remove("a");
        assert_eq!(found(&table, "two"), 1);
        table.commit();
        assert_eq!(found(&table, "two"), 1);
    }

    #[test]
    fn a_row_that_came_and_went_is_not_a_change() {
        let mut table = Table::default();
        table.insert("a".to_owned(), named("one"));
        table.remove("a");
        assert_eq!(table.changes().unwrap(), None);
    }
}
