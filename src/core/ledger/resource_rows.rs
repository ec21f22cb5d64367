//! The resources of a run in memory. They are found by row, ID or step without a search
//! through all of them, which would make the cost of a step grow with their number.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};

use super::resource::Resource;

/// The rows, in the order in which they were recorded.
#[derive(Debug, Default)]
pub(super) struct ResourceRows {
    all: Vec<Resource>,
    by_row: HashMap<String, usize>,
    /// Several rows may have an ID, also of different kinds.
    by_id: HashMap<String, Vec<usize>>,
    by_step: HashMap<String, Vec<usize>>,
}

impl ResourceRows {
    /// Adds a row. Returns its index.
    pub(super) fn add(&mut self, row: Resource) -> usize {
        let index = self.all.len();
        self.by_row.insert(row.row.clone(), index);
        self.by_step
            .entry(row.step.clone())
            .or_default()
            .push(index);
        if let Some(id) = &row.id {
            self.by_id.entry(id.clone()).or_default().push(index);
        }
        self.all.push(row);
        index
    }

    /// Sets the ID of a row. It may have had another one before AWS chose one.
    pub(super) fn set_id(&mut self, index: usize, id: &str) {
        let before = self.all[index].id.replace(id.to_owned());
        if before.as_deref() == Some(id) {
            return;
        }
        if let Some(rows) = before.and_then(|before| self.by_id.get_mut(&before)) {
            rows.retain(|row| *row != index);
        }
        self.by_id.entry(id.to_owned()).or_default().push(index);
    }

    /// Returns all rows.
    pub(super) fn all(&self) -> &[Resource] {
        &self.all
    }

    /// Returns the index of a row.
    pub(super) fn position(&self, row: &str) -> Option<usize> {
        self.by_row.get(row).copied()
    }

    /// Returns the rows with an ID, and their indices.
    pub(super) fn with_id(&self, id: &str) -> impl DoubleEndedIterator<Item = (usize, &Resource)> {
        self.at(self.by_id.get(id))
    }

    /// Returns the rows of a step, and their indices.
    pub(super) fn of_step(
        &self,
        step: &str,
    ) -> impl DoubleEndedIterator<Item = (usize, &Resource)> {
        self.at(self.by_step.get(step))
    }

    fn at(
        &self,
        indices: Option<&Vec<usize>>,
    ) -> impl DoubleEndedIterator<Item = (usize, &Resource)> {
        let indices: &[usize] = indices.map_or(&[], Vec::as_slice);
        indices.iter().map(|index| (*index, &self.all[*index]))
    }
}

impl FromIterator<Resource> for ResourceRows {
    fn from_iter<T: IntoIterator<Item = Resource>>(rows: T) -> Self {
        let mut all = Self::default();
        for row in rows {
            all.add(row);
        }
        all
    }
}

impl Index<usize> for ResourceRows {
    type Output = Resource;

    fn index(&self, index: usize) -> &Resource {
        &self.all[index]
    }
}

/// For states and times: row, step and ID must not be changed.
impl IndexMut<usize> for ResourceRows {
    fn index_mut(&mut self, index: usize) -> &mut Resource {
        &mut self.all[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{NewResource, ResourceKind};

    #[test]
    fn rows_are_found_by_their_new_id() {
        let row = |name: &str| {
            let wanted = NewResource::new(ResourceKind::Instance, name);
            Resource::intended(format!("row-{name}"), &wanted, "step")
        };
        let mut rows: ResourceRows = ["a", "b"].map(row).into_iter().collect();
        assert_eq!(rows.with_id("i-1").count(), 0);
        rows.set_id(1, "i-1");
        rows.set_id(1, "i-1");
        let found = |rows: &ResourceRows, id: &str| -> Vec<usize> {
            rows.with_id(id).map(|(index, _)| index).collect()
        };
        assert_eq!(found(&rows, "i-1"), [1]);
        rows.set_id(1, "i-2");
        assert_eq!(found(&rows, "i-1"), [0; 0]);
        assert_eq!(found(&rows, "i-2"), [1]);
        assert_eq!(rows.of_step("step").count(), 2);
        assert_eq!(rows.position("row-b"), Some(1));
    }
}
