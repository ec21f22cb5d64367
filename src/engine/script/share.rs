//! A number of hosts or items, or a percentage of all of them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::schema::{self, marked};

/// The largest number. One process cannot have more connections than this at the
/// same time within the usual limit of open files, 1,024.
const MOST: u32 = 500;

/// A number from `LEAST` to 500, such as `10`, or a percentage from `LEAST` to
/// 100, such as `"10%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share<const LEAST: u32> {
    /// A number.
    Number(u32),
    /// A percentage.
    Percent(u32),
}

impl<const LEAST: u32> Share<LEAST> {
    /// Returns how many of `all` this is. A percentage is rounded down, but is at
    /// least `LEAST`.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Number(number) => number as usize,
            Self::Percent(percent) => {
                // Without an overflow, and exact for a rest below 100.
                let percent = percent as usize;
                let share = all / 100 * percent + all % 100 * percent / 100;
                share.max(LEAST as usize)
            }
        }
    }
}

impl<'de, const LEAST: u32> Deserialize<'de> for Share<LEAST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Both<const LEAST: u32>;

        impl<const LEAST: u32> Visitor<'_> for Both<LEAST> {
            type Value = Share<LEAST>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(
                    f,
                    "a number from {LEAST} to {MOST}, or a percentage such as \"10%\""
                )
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                match u32::try_from(number) {
                    Ok(number) if (LEAST..=MOST).contains(&number) => Ok(Share::Number(number)),
                    _ => Err(E::custom(format!(
                        "expected a number from {LEAST} to {MOST}, got {number}"
                    ))),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let digits = text.strip_suffix('%').unwrap_or_default();
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                match digits.parse() {
                    Ok(percent) if is_number && (LEAST..=100).contains(&percent) => {
                        Ok(Share::Percent(percent))
                    }
                    _ => Err(E::custom(format!(
                        "expected a percentage from \"{LEAST}%\" to \"100%\", got \"{text}\""
                    ))),
                }
            }
        }

        from.deserialize_any(Both)
    }
}

impl<const LEAST: u32> JsonSchema for Share<LEAST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        marked(schema::SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::argument;

    #[test]
    fn percentages_are_rounded_down_to_at_least_the_least() {
        let rows = [
            (10, 0, 1),
            (10, 5, 1),
            (10, 19, 1),
            (10, 20, 2),
            (33, 100, 33),
            (50, 3, 1),
            (100, 7, 7),
            (99, 1_000_000, 990_000),
        ];
        for (percent, all, expected) in rows {
            let share = Share::<1>::Percent(percent);
            assert_eq!(share.of(all), expected, "{percent}% of {all}");
        }
        assert_eq!(Share::<0>::Percent(10).of(9), 0);
        assert_eq!(Share::<0>::Percent(10).of(0), 0);
        assert_eq!(Share::<1>::Number(9).of(2), 9);
        assert_eq!(Share::<1>::Percent(100).of(usize::MAX), usize::MAX);
    }

    #[test]
    fn values_are_checked() {
        let read = |value: rhai::Dynamic| argument::<Share<1>>("at_once", &value);
        assert_eq!(read(1.into()).unwrap(), Share::Number(1));
        assert_eq!(read(500.into()).unwrap(), Share::Number(500));
        assert_eq!(read("10%".into()).unwrap(), Share::Percent(10));
        assert_eq!(read("100%".into()).unwrap(), Share::Percent(100));
        for wrong in [
            "", "%", "10", "0%", "101%", "-1%", "+5%", "1.5%", "10 %", "x%",
        ] {
            let error = read(wrong.into()).unwrap_err().to_string();
            assert!(
                error.contains("from \"1%\" to \"100%\""),
                "{wrong}: {error}"
            );
        }
        for wrong in [0, -1, 501, i64::MAX] {
            let error = read(wrong.into()).unwrap_err().to_string();
            assert!(error.contains("from 1 to 500"), "{wrong}: {error}");
        }
        let least = argument::<Share<0>>("max_failures", &0.into());
        assert_eq!(least.unwrap(), Share::Number(0));
    }
}
