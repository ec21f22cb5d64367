//! The arguments of `systemctl`.

use super::loader::full_name;

/// A parsed call.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "options are independent")]
pub(super) struct Call {
    pub(super) verb: String,
    pub(super) units: Vec<String>,
    pub(super) now: bool,
    pub(super) quiet: bool,
    pub(super) no_block: bool,
    /// Print only values, without their names.
    pub(super) value: bool,
    /// Include inactive units.
    pub(super) all: bool,
    pub(super) properties: Vec<String>,
}

impl Call {
    pub(super) fn parse(args: &[String]) -> Self {
        let mut call = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) if arg.starts_with("--") => (name, Some(value.to_owned())),
                _ => (arg.as_str(), None),
            };
            match name {
                "--now" => call.now = true,
                "--quiet" | "-q" => call.quiet = true,
                "--no-block" => call.no_block = true,
                "--value" => call.value = true,
                "--all" | "-a" => call.all = true,
                "--property" | "-p" | "-P" => {
                    call.value |= name == "-P";
                    let value = value.or_else(|| args.next().cloned()).unwrap_or_default();
                    call.properties.extend(value.split(',').map(str::to_owned));
                }
                "--type" | "-t" | "--state" | "--signal" | "-s" | "--lines" | "-n" | "--output"
                | "-o" | "--kill-who" | "--kill-whom" | "--job-mode" | "--root"
                | "--preset-mode" => {
                    if value.is_none() {
                        args.next();
                    }
                }
                "--version" => "version".clone_into(&mut call.verb),
                option if option.starts_with('-') => {}
                verb if call.verb.is_empty() => verb.clone_into(&mut call.verb),
                unit => call.units.push(full_name(unit)),
            }
        }
        if call.verb.is_empty() {
            "list-units".clone_into(&mut call.verb);
        }
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_parsed() {
        let args = [
            "-q",
            "enable",
            "--now",
            "nginx",
            "a.timer",
            "--property=Id,Type",
            "-p",
            "X",
        ];
        let call = Call::parse(&args.map(str::to_owned));
        assert_eq!(call.verb, "enable");
        assert_eq!(call.units, ["nginx.service", "a.timer"]);
        assert_eq!(call.properties, ["Id", "Type", "X"]);
        assert!(call.now && call.quiet && !call.value);
    }
}
