//! Rules for literal values that `autorun check` applies before a run. They are the
//! rules that the functions apply themselves; EC2 applies those for names of groups
//! and for tags.

use std::path::Path;

use super::{buckets, instances, key_pairs, networks, security_groups};
use crate::clients::Local;
use crate::clients::ssh::Address;
use crate::error::{Error, Result};

/// Functions whose argument `server` may be an address.
const TO_HOSTS: [&str; 4] = ["ssh_exec", "scp", "scp_from", "wait_for_ssh"];

/// Checks a text that is an argument or an option of a function. `at` is the name of
/// the argument, or the path of the option. `is_exact` says whether the call has the
/// option `exact: true`.
pub fn check_text(function: &str, at: &str, text: &str, is_exact: bool) -> Result<()> {
    match (function, at) {
        ("create_bucket", "prefix") => buckets::check_prefix(text, is_exact),
        ("create_key_pair" | "import_key_pair", "name") => key_pairs::check_name(text),
        ("create_security_group", "name") => check_group_name(text),
        ("launch_instance", "user_data") => instances::check_user_data(text).map(drop),
        ("launch_instance", "name") => check_tag("Name", text),
        ("launch_instance", "image") => check_image(text),
        ("create_security_group", "ingress.from") | ("open_port" | "close_port", "from") => {
            security_groups::check_source(text)
        }
        ("create_network", "cidr") => networks::cidr(text).map(drop),
        ("host", "address") => Address::parse(text).map(drop),
        (function, "server") if TO_HOSTS.contains(&function) => Address::parse(text).map(drop),
        _ => Ok(()),
    }
}

/// Checks a whole number that is an argument.
pub fn check_number(at: &str, number: f64) -> Result<()> {
    match at {
        "port" if !(1.0..=65535.0).contains(&number) => {
            Err(Error::invalid(format!("{number} is not a port")).hint("ports are 1 to 65535"))
        }
        "seconds" if number < 0.0 => Err(Error::invalid(format!("{number} seconds are negative"))),
        _ => Ok(()),
    }
}

/// Checks that a local file or directory can be read.
///
/// Throws `not_found` or `denied`.
pub fn check_readable(path: &str) -> Result<()> {
    let local = Local {
        home: dirs::home_dir(),
        ..Local::default()
    };
    let path = local.expand(Path::new(path));
    match std::fs::File::open(&path) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::io("read", &path, &error)),
    }
}

/// Checks EC2's rules for a tag.
pub fn check_tag(key: &str, value: &str) -> Result<()> {
    let fault = if key.is_empty() || key.chars().count() > 128 {
        "its key must have 1 to 128 characters"
    } else if key.to_ascii_lowercase().starts_with("aws:") {
        "AWS reserves keys that begin with `aws:`"
    } else if value.chars().count() > 256 {
        "its value must have at most 256 characters"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "the tag `{key}` is not valid: {fault}"
    )))
}

/// Checks that a text has the form of an AMI id, or names a parameter of Systems
/// Manager that has one.
fn check_image(text: &str) -> Result<()> {
    let is_id = text.strip_prefix("ami-").is_some_and(|digits| {
        let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        matches!(digits.len(), 8 | 17) && digits.bytes().all(is_hex)
    });
    if is_id || text.starts_with("resolve:ssm:") {
        return Ok(());
    }
    Err(Error::invalid(format!("`{text}` is not an AMI id"))
        .hint("an id is `ami-` and 17 hexadecimal digits; latest_image() finds one by name"))
}

/// Checks EC2's rules for the name of a security group in a VPC.
fn check_group_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    let fault = if name.is_empty() || name.chars().count() > 255 {
        "it must have 1 to 255 characters"
    } else if name.to_ascii_lowercase().starts_with("sg-") {
        "names that begin with `sg-` are reserved for ids"
    } else if !name.chars().all(fits) {
        "only ASCII letters, digits, spaces and ._-:/()#,@[]+=&;{}!$* are allowed"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "`{name}` is not a valid name of a security group: {fault}"
    )))
}
