//! Maps of options, as the functions read them.

use autorun::primitives::FAMILIES;
use rhai::{Dynamic, Map};

use super::{Budget, Mutator, playbooks};

/// Keys and texts: the words of the playbooks, some of them changed.
fn words() -> Vec<String> {
    let mut words: Vec<String> = playbooks()
        .iter()
        .flat_map(|text| text.split(|c: char| c.is_whitespace() || "(){}[],;\"".contains(c)))
        .map(|word| word.trim_end_matches(':').to_owned())
        .collect();
    words.sort();
    words.dedup();
    words
}

/// Returns a value of any type.
fn value(mutator: &mut Mutator, depth: usize) -> Dynamic {
    let numbers = [0, 1, -1, 22, 65_536, i64::MAX, i64::MIN];
    let fractions = [0.0, -0.5, 1e300, f64::NAN, f64::INFINITY];
    match mutator.below(if depth == 0 { 6 } else { 8 }) {
        0 => (*mutator.one_of(&numbers)).into(),
        1 => (*mutator.one_of(&fractions)).into(),
        2 => (mutator.below(2) == 0).into(),
        3 => Dynamic::UNIT,
        4 | 5 => mutator.text().into(),
        6 => {
            let length = mutator.below(4);
            let items = (0..length).map(|_| value(mutator, depth - 1));
            Dynamic::from_array(items.collect())
        }
        _ => Dynamic::from_map(map(mutator, &[], depth - 1)),
    }
}

/// Returns a map with some of these keys and with others.
fn map(mutator: &mut Mutator, keys: &[String], depth: usize) -> Map {
    let length = mutator.below(6);
    let mut map = Map::new();
    for _ in 0..length {
        let key = if keys.is_empty() || mutator.below(8) == 0 {
            mutator.text()
        } else {
            mutator.one_of(keys).clone()
        };
        map.insert(key.as_str().into(), value(mutator, depth));
    }
    map
}

#[test]
fn any_map_of_options_is_read_or_refused() {
    let mut budget = Budget::new("options");
    let mut mutator = Mutator::new(budget.seed, words());
    let rows = FAMILIES.iter().flat_map(|family| family.declared);
    let rows: Vec<_> = rows
        .filter_map(|row| Some((row.function, row.takes?)))
        .collect();
    assert!(rows.len() > 20);
    while budget.has_more() {
        let (function, takes) = *mutator.one_of(&rows);
        let fields = takes.kind().fields().unwrap_or_default();
        let keys: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
        let given = map(&mut mutator, &keys, 3);
        budget.note(&format!("{function}({given:?})"));
        if let Err(error) = (takes.read)(function, given) {
            assert!(!error.to_string().is_empty(), "{function}");
        }
    }
}
