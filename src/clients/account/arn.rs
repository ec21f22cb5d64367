//! The form of a role's ARN.

use crate::error::{Error, Result};

/// Checks that this is the ARN of a role, in any partition.
///
/// Throws `invalid_option`.
pub fn check_role_arn(arn: &str) -> Result<()> {
    let hint = "a role's ARN has the form arn:aws:iam::111122223333:role/NAME; `aws iam get-role \
                --role-name NAME --query Role.Arn` shows it";
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, service, region, account, resource] = parts.as_slice() else {
        return Err(Error::invalid(format!("`{arn}` is not an ARN")).hint(hint));
    };
    let fault = |fault: String| Err(Error::invalid(fault).hint(hint));
    let is_word = |text: &str, more: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        !text.is_empty() && text.chars().all(allowed)
    };
    if parts[0] != "arn" || !parts[1].starts_with("aws") || !is_word(parts[1], "-") {
        return fault(format!("`{arn}` is not an ARN of AWS"));
    }
    let kind = resource.split('/').next().unwrap_or_default();
    if *service == "sts" && kind == "assumed-role" {
        return fault(format!("`{arn}` is a session of a role, not a role"));
    }
    let name = resource.strip_prefix("role/").unwrap_or_default();
    if *service != "iam" || !region.is_empty() || !is_word(name, "/_+=,.@-") || name.ends_with('/')
    {
        return fault(format!("`{arn}` is not the ARN of a role"));
    }
    if account.len() != 12 || !is_word(account, "") || account.contains(char::is_alphabetic) {
        return fault(format!(
            "the account in `{arn}` is not a number of 12 digits"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_every_partition_are_accepted_and_nothing_else() {
        for partition in [
            "aws",
            "aws-cn",
            "aws-us-gov",
            "aws-iso",
            "aws-iso-b",
            "aws-eusc",
        ] {
            for name in ["deploy", "teams/web/deploy", "a+b=c,d.e@f-g_h"] {
                let arn = format!("arn:{partition}:iam::111122223333:role/{name}");
                assert_eq!(check_role_arn(&arn), Ok(()), "{arn}");
            }
        }
        for arn in [
            "",
            "deploy",
            "role/deploy",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/a b",
            "arn:aws:iam::111122223333:role/a/",
            "arn:aws:iam::111122223333:user/deploy",
            "arn:aws:iam::111122223333:instance-profile/deploy",
            "arn:aws:iam::1234:role/deploy",
            "arn:aws:iam::11112222333a:role/deploy",
            "arn:aws:iam:eu-west-1:111122223333:role/deploy",
            "arn:aws:sts::111122223333:assumed-role/deploy/me",
            "arn:azure:iam::111122223333:role/deploy",
            " arn:aws:iam::111122223333:role/deploy",
        ] {
            assert!(check_role_arn(arn).is_err(), "{arn}");
        }
    }
}
