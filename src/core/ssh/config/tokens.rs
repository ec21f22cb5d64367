//! `%h` and the other tokens in the values that `ssh -G` prints unchanged.

use crate::error::{Error, Result};

/// The values of the tokens.
#[derive(Clone, Debug)]
pub(in crate::ssh) struct Tokens {
    /// `%h`: the address.
    pub(in crate::ssh) address: String,
    /// `%n`: the name that the playbook gives.
    pub(in crate::ssh) name: String,
    /// `%p`: the port.
    pub(in crate::ssh) port: u16,
    /// `%r`: the user on the host.
    pub(in crate::ssh) user: String,
    /// `%k`: the alias for the host key, or the name.
    pub(in crate::ssh) key_alias: String,
    /// `%d`: the home directory.
    pub(in crate::ssh) home: String,
    /// `%u`: the user of this process.
    pub(in crate::ssh) local_user: String,
}

impl Tokens {
    /// Replaces the tokens of a value, and `${NAME}` if `variables` is true.
    ///
    /// Throws `invalid_option` if a token has no value here.
    pub(in crate::ssh) fn expand(&self, text: &str, variables: bool) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['%', '$']) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(inside) = rest.strip_prefix("${")
                && variables
                && let Some((name, after)) = inside.split_once('}')
            {
                let value = std::env::var(name).map_err(|_| {
                    Error::invalid(format!(
                        "the ssh configuration uses `${{{name}}}`, but the environment variable \
                         `{name}` is not set"
                    ))
                })?;
                out.push_str(&value);
                rest = after;
                continue;
            }
            if rest.starts_with('$') {
                out.push('$');
                rest = &rest[1..];
                continue;
            }
            let token = rest[1..].chars().next();
            match token {
                Some('%') => out.push('%'),
                Some('h') => out.push_str(&self.address),
                Some('n') => out.push_str(&self.name),
                Some('p') => out.push_str(&self.port.to_string()),
                Some('r') => out.push_str(&self.user),
                Some('k') => out.push_str(&self.key_alias),
                Some('d') => out.push_str(&self.home),
                Some('u') => out.push_str(&self.local_user),
                Some('i') => out.push_str(&rustix::process::getuid().as_raw().to_string()),
                Some('l') => out.push_str(&machine_name()),
                Some('L') => {
                    let name = machine_name();
                    out.push_str(name.split('.').next().unwrap_or_default());
                }
                _ => {
                    let shown: String = token.into_iter().collect();
                    return Err(Error::invalid(format!(
                        "`{text}` in the ssh configuration has the token `%{shown}`, which \
                         autorun does not know"
                    ))
                    .hint("use %h, %n, %p, %r, %k, %d, %u, %i, %l or %L; write `%` as `%%`"));
                }
            }
            rest = &rest[1 + token.map_or(0, char::len_utf8)..];
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_and_unknown_ones_refused() {
        let tokens = Tokens {
            address: "10.0.0.7".to_owned(),
            name: "web".to_owned(),
            port: 2222,
            user: "admin".to_owned(),
            key_alias: "web".to_owned(),
            home: "/home/me".to_owned(),
            local_user: "me".to_owned(),
        };
        let expand = |text: &str| tokens.expand(text, true);
        let all = expand("%d/%u/%n-%h:%p %r 100%% $x").unwrap();
        assert_eq!(all, "/home/me/me/web-10.0.0.7:2222 admin 100% $x");
        assert_eq!(tokens.expand("${X}", false).unwrap(), "${X}");
        for bad in ["%C", "%", "%é", "${NO_SUCH_VARIABLE}"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
    }
}
