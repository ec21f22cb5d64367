//! Values: JSON, TOML, checksums, the time, UUIDs.

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, NativeCallContext};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::script::{self, Outcome};

#[export_module(manifest)]
pub mod api {
    /// Parses JSON text and returns its value.
    ///
    /// Throws `invalid_option` with line and column if the text is not valid
    /// JSON.
    ///
    /// ```rhai
    /// let version = parse_json(`{ "version": [1, 2] }`).version;
    /// assert(version == [1, 2]);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn parse_json(call: NativeCallContext, text: ImmutableString) -> Outcome<Dynamic> {
        script::run_quietly(&call, |_| super::parse_json(&text))
    }

    /// Returns a value as indented JSON text.
    ///
    /// ```rhai
    /// assert(format_json([1, 2]) == "[\n  1,\n  2\n]");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn format_json(call: NativeCallContext, value: Dynamic) -> Outcome<Dynamic> {
        script::run_quietly(&call, |_| {
            let json = script::to_json(&value)?;
            Ok(format!("{json:#}"))
        })
    }

    /// Parses TOML text and returns a map.
    ///
    /// Throws `invalid_option` with line and column if the text is not valid
    /// TOML.
    ///
    /// ```rhai
    /// let config = parse_toml("[web]\nport = 80\n");
    /// assert(config.web.port == 80);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn parse_toml(call: NativeCallContext, text: ImmutableString) -> Outcome<Dynamic> {
        script::run_quietly(&call, |_| super::parse_toml(&text))
    }

    /// Returns a map as TOML text.
    ///
    /// Throws `invalid_option` if TOML cannot represent a value, such as `()`.
    ///
    /// ```rhai
    /// assert(format_toml(#{ port: 80 }) == "port = 80\n");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn format_toml(call: NativeCallContext, value: Dynamic) -> Outcome<Dynamic> {
        script::run_quietly(&call, |_| super::format_toml(&script::to_json(&value)?))
    }

    /// Returns the SHA-256 digest of a text.
    ///
    /// The digest is written as 64 hexadecimal digits.
    ///
    /// ```rhai
    /// assert(sha256("abc").starts_with("ba7816bf"));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn sha256(call: NativeCallContext, text: ImmutableString) -> Outcome<Dynamic> {
        script::run_quietly(&call, |_| Ok(super::sha256(text.as_bytes())))
    }

    /// Returns the current time in UTC as text.
    ///
    /// Without a format, the text is like "2026-11-25T22:10:03Z". The format
    /// uses the conversions of `strftime`, for example `%Y-%m-%d` or `%H%M%S`.
    /// To measure a duration, use Rhai's own `timestamp()`: after
    /// `let start = timestamp();`, `start.elapsed` is the number of seconds.
    ///
    /// Throws `invalid_option` if the format is not valid.
    ///
    /// ```rhai
    /// let backup = "backup-" + utc_now("%Y%m%d");
    /// ```
    #[rhai_fn(name = "utc_now", return_raw)]
    pub fn utc_now_as(call: NativeCallContext, format: ImmutableString) -> Outcome<Dynamic> {
        script::run_quietly(&call, |_| super::utc_now(&format))
    }

    #[rhai_fn(return_raw)]
    pub fn utc_now(call: NativeCallContext) -> Outcome<Dynamic> {
        utc_now_as(call, "%Y-%m-%dT%H:%M:%SZ".into())
    }

    /// Returns a random UUID, a different one at each call.
    ///
    /// ```rhai
    /// assert(uuid().len == 36);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn uuid(call: NativeCallContext) -> Outcome<Dynamic> {
        script::run_quietly(&call, |_| Ok(super::uuid(rand::random())))
    }
}

fn parse_json(text: &str) -> Result<Value> {
    // Editors of Windows begin files with it.
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).map_err(|e| Error::invalid(format!("invalid JSON: {e}")))
}

fn parse_toml(text: &str) -> Result<Value> {
    let table: toml::Table = toml::from_str(text)
        .map_err(|e| Error::invalid(format!("invalid TOML: {}", e.to_string().trim_end())))?;
    serde_json::to_value(table)
        .map_err(|e| Error::internal(format!("cannot convert the value: {e}")))
}

fn format_toml(value: &Value) -> Result<String> {
    toml::to_string(value)
        .map_err(|e| Error::invalid(format!("TOML cannot represent this value: {e}")))
}

fn utc_now(format: &str) -> Result<String> {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    jiff::fmt::strtime::format(format, &now)
        .map_err(|e| Error::invalid(format!("`{format}` is not a valid time format: {e}")))
}

/// Returns the digest as 64 hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Formats a UUID of version 4 (RFC 9562): random except for six bits, which hold
/// the version and the variant.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let all_ones = super::uuid([0xff; 16]);
        assert_eq!(all_ones, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
