//! Refuses user data that has no effect.

use super::{Fault, Part, classify, keys};
use crate::error::{Error, Result};
use crate::report::text;

/// Checks the user data of a launch.
///
/// Fails with [`InvalidOption`](crate::error::ErrorKind::InvalidOption) if
/// cloud-init would ignore a part of it. A part whose content type cloud-init does
/// not know, beside others, may be for another program: it leads to a warning, which
/// is returned.
pub(in super::super) fn check(user_data: &str) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let parts = classify(user_data).map_err(|fault| refused("", &fault))?;
    let is_used = parts.iter().any(|part| part.fault.is_none());
    for Part {
        name,
        fault,
        ignored,
        ..
    } in &parts
    {
        for key in ignored {
            let similar = text::nearest(key, keys::KNOWN);
            let similar = similar.map(|known| format!("; did you mean `{known}`?"));
            warnings.push(format!(
                "user data: cloud-init does not know the key `{key}` of the cloud-config, and \
                 ignores it{}",
                similar.unwrap_or_default()
            ));
        }
        match fault {
            Some(fault) if is_used && fault.may_be_foreign => warnings.push(format!(
                "part `{name}` of the user data: {}; another program may read it",
                fault.why
            )),
            Some(fault) if parts.len() > 1 => {
                return Err(refused(&format!("part `{name}`: "), fault));
            }
            Some(fault) => return Err(refused("", fault)),
            None => {}
        }
    }
    Ok(warnings)
}

fn refused(part: &str, fault: &Fault) -> Error {
    Error::invalid(format!("option `user_data`: {part}{}", fault.why)).hint(fault.hint)
}
