//! `--ttl`: instances that terminate themselves.
//!
//! A systemd service, which survives reboots, waits for the deadline and shuts the
//! system down. The instance is launched with the shutdown behavior `terminate`.
//! The user data installs the service before the playbook's own lines run.

use std::time::Duration;

use crate::clients::ec2::LONGEST_USER_DATA;
use crate::error::{Error, Result};
use crate::ledger::Millis;

/// Returns user data that terminates the instance `ttl` after `launched` and then
/// runs `own`.
///
/// Fails with [`InvalidOption`](crate::error::ErrorKind::InvalidOption) if `own`
/// is not a script for sh or bash, or if the result is too long.
pub(super) fn user_data(own: Option<&str>, launched: Millis, ttl: Duration) -> Result<String> {
    let (shebang, rest) = match own {
        None => ("#!/bin/sh", ""),
        Some(own) => own.split_once('\n').unwrap_or((own, "")),
    };
    if !is_shell(shebang) {
        return Err(Error::invalid(
            "--ttl needs user data that is a script for sh or bash, because it inserts lines of \
             its own",
        )
        .hint("begin the script with #!/bin/sh or #!/bin/bash, or run without --ttl"));
    }
    let deadline = launched / 1000 + i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX / 2);
    let all = format!("{shebang}\n{}{rest}", lines(deadline));
    if all.len() > LONGEST_USER_DATA {
        return Err(Error::invalid(format!(
            "option `user_data`: with the lines of --ttl it has {} bytes, but EC2 accepts at \
             most {LONGEST_USER_DATA}",
            all.len()
        ))
        .hint("shorten the script, or run without --ttl"));
    }
    Ok(all)
}

/// Recognizes `#!/bin/sh`, `#!/bin/bash -e`, `#!/usr/bin/env bash`.
fn is_shell(shebang: &str) -> bool {
    let Some(command) = shebang.strip_prefix("#!") else {
        return false;
    };
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    let program = match program.rsplit('/').next() {
        Some("env") => words.next().unwrap_or_default(),
        program => program.unwrap_or_default(),
    };
    ["sh", "bash"].contains(&program)
}

/// Returns the shell lines that install the service. The service waits in short
/// sleeps, because the clock may be set and the system may be suspended.
fn lines(deadline: i64) -> String {
    format!(
        "\
# autorun --ttl: this instance ends itself.
cat >/etc/autorun-ttl <<'AUTORUN_TTL' &&
while left=$(({deadline} - $(date +%s))) && [ $left -gt 0 ]; do
    if [ $left -gt 10 ]; then left=10; fi
    sleep $left
done
exec shutdown -P now
AUTORUN_TTL
cat >/etc/systemd/system/autorun-ttl.service <<'AUTORUN_TTL' &&
[Unit]
Description=Ends this instance at its time (autorun --ttl)
[Service]
ExecStart=/bin/sh /etc/autorun-ttl
[Install]
WantedBy=multi-user.target
AUTORUN_TTL
systemctl daemon-reload &&
systemctl enable --now autorun-ttl.service || {{
    echo 'autorun --ttl: this instance cannot be made to end itself' >&2
    exit 1
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_lines_come_after_the_first_line_of_the_script() {
        let all = user_data(Some("#!/bin/bash -e\necho own\n"), 1000, HOUR).unwrap();
        assert!(all.starts_with("#!/bin/bash -e\n# autorun --ttl"));
        assert!(all.ends_with("}\necho own\n"));
        assert!(all.contains("$((3601 - "));
        let alone = user_data(None, 0, HOUR).unwrap();
        assert!(alone.starts_with("#!/bin/sh\n"));
    }

    #[test]
    fn the_same_launch_gets_the_same_text() {
        let one = user_data(None, 5_000, HOUR).unwrap();
        assert_eq!(one, user_data(None, 5_999, HOUR).unwrap());
    }

    #[test]
    fn only_shell_scripts_of_limited_size_are_accepted() {
        for other in [
            "#cloud-config\n",
            "#!/usr/bin/python3\n",
            "MIME-Version: 1.0\n",
            "",
        ] {
            assert!(user_data(Some(other), 0, HOUR).is_err(), "{other}");
        }
        for shell in [
            "#!/bin/sh",
            "#! /usr/bin/env bash\n",
            "#!/usr/bin/bash -x\n",
        ] {
            assert!(user_data(Some(shell), 0, HOUR).is_ok(), "{shell}");
        }
        let long = format!("#!/bin/sh\n{}", "x".repeat(LONGEST_USER_DATA - 100));
        assert!(user_data(Some(&long), 0, HOUR).is_err());
    }
}
