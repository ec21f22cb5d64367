//! The arguments of `systemctl`.

use nix::sys::signal::Signal;

use super::super::init::control::Reply;
use super::super::tools::options::{Known, Value, parse};
use super::super::tools::unsupported;
use super::loader::full_name;

const KNOWN: [Known; 38] = [
    (None, "now", Value::No),
    (Some('q'), "quiet", Value::No),
    (None, "no-block", Value::No),
    (None, "value", Value::No),
    (Some('a'), "all", Value::No),
    (None, "failed", Value::No),
    (None, "no-legend", Value::No),
    (None, "plain", Value::No),
    (None, "version", Value::No),
    (None, "user", Value::No),
    (None, "global", Value::No),
    (None, "root", Value::Required),
    (None, "wait", Value::No),
    (Some('p'), "property", Value::Required),
    (Some('P'), "value-of", Value::Required),
    (Some('t'), "type", Value::Required),
    (None, "state", Value::Required),
    (Some('s'), "signal", Value::Required),
    (None, "kill-who", Value::Required),
    (None, "kill-whom", Value::Required),
    (Some('n'), "lines", Value::Required),
    // These have no effect here, or ask for what happens in any case.
    (Some('o'), "output", Value::Required),
    (None, "job-mode", Value::Required),
    (None, "preset-mode", Value::Required),
    (None, "message", Value::Required),
    (None, "check-inhibitors", Value::Required),
    (Some('l'), "full", Value::No),
    (Some('f'), "force", Value::No),
    (Some('i'), "ignore-inhibitors", Value::No),
    (None, "no-pager", Value::No),
    (None, "no-ask-password", Value::No),
    (None, "no-reload", Value::No),
    (None, "no-wall", Value::No),
    (None, "no-warn", Value::No),
    (None, "show-types", Value::No),
    (None, "show-transaction", Value::No),
    (None, "system", Value::No),
    (None, "with-dependencies", Value::No),
];

/// The verbs that act on unit files alone, so that `--global` applies to them.
const FILE_VERBS: [&str; 6] = ["disable", "enable", "mask", "preset", "reenable", "unmask"];

/// A parsed call.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "options are independent")]
pub(super) struct Call {
    pub(super) verb: String,
    /// Units, or the other words of a verb that takes none.
    pub(super) units: Vec<String>,
    /// The words as given.
    pub(super) words: Vec<String>,
    pub(super) now: bool,
    pub(super) quiet: bool,
    pub(super) no_block: bool,
    /// Act on the unit files of all users' managers.
    pub(super) global: bool,
    pub(super) wait: bool,
    /// Print only values, without their names.
    pub(super) value: bool,
    /// Include inactive units.
    pub(super) all: bool,
    pub(super) no_legend: bool,
    pub(super) plain: bool,
    pub(super) properties: Vec<String>,
    /// The active or sub states of listed units.
    pub(super) states: Vec<String>,
    pub(super) signal: Signal,
    /// Signal only the main process.
    pub(super) only_main: bool,
    /// How many messages `status` shows.
    pub(super) lines: usize,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            verb: String::new(),
            units: Vec::new(),
            words: Vec::new(),
            now: false,
            quiet: false,
            no_block: false,
            global: false,
            wait: false,
            value: false,
            all: false,
            no_legend: false,
            plain: false,
            properties: Vec::new(),
            states: Vec::new(),
            signal: Signal::SIGTERM,
            only_main: false,
            lines: 10,
        }
    }
}

impl Call {
    /// Parses a call. Fails for options that the local cloud does not support.
    pub(super) fn parse(args: &[String]) -> Result<Self, Reply> {
        let (given, words) = parse("systemctl", &KNOWN, args)?;
        let mut call = Self::default();
        for (name, value) in given {
            call.set(name, value.as_deref().unwrap_or_default())?;
        }
        let mut words = words.into_iter();
        if call.verb.is_empty() {
            call.verb = words.next().unwrap_or_else(|| "list-units".to_owned());
        }
        call.words = words.collect();
        call.units = call.words.iter().map(|unit| full_name(unit)).collect();
        if call.global && !FILE_VERBS.contains(&call.verb.as_str()) {
            return Err(unsupported("systemctl", &format!("--global {}", call.verb)));
        }
        Ok(call)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Reply> {
        let parts = || value.split(',').map(str::to_owned);
        match name {
            "now" => self.now = true,
            "quiet" => self.quiet = true,
            "no-block" => self.no_block = true,
            "global" => self.global = true,
            "wait" => self.wait = true,
            // Packages pass it when they enable their units.
            "root" if value == "/" => {}
            "root" => return Err(unsupported("systemctl", &format!("--root={value}"))),
            "value" => self.value = true,
            "all" => self.all = true,
            "failed" => self.states.push("failed".to_owned()),
            "no-legend" => self.no_legend = true,
            "plain" => self.plain = true,
            "version" => "version".clone_into(&mut self.verb),
            "user" => {
                let message = "Failed to connect to bus: No medium found: an instance of the \
                    local cloud has no service managers of users (see `autorun docs local-cloud`)";
                return Err(Reply::failure(message, 1));
            }
            "property" => self.properties.extend(parts()),
            "value-of" => {
                self.value = true;
                self.properties.extend(parts());
            }
            "state" => self.states.extend(parts()),
            "type" if value.split(',').any(|kind| kind == "service") => {}
            "type" => return Err(unsupported("systemctl", &format!("--type={value}"))),
            "signal" => self.signal = signal(value)?,
            "kill-who" | "kill-whom" => match value {
                "main" => self.only_main = true,
                "all" => self.only_main = false,
                _ => return Err(unsupported("systemctl", &format!("--kill-whom={value}"))),
            },
            "lines" => {
                let failed = || Reply::failure(format!("Failed to parse lines '{value}'"), 1);
                self.lines = value.parse().map_err(|_| failed())?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Parses `HUP`, `SIGHUP` or `1`.
fn signal(text: &str) -> Result<Signal, Reply> {
    let by_number = text
        .parse::<i32>()
        .ok()
        .and_then(|number| Signal::try_from(number).ok());
    let name = text.trim_start_matches("SIG");
    let by_name = || format!("SIG{name}").parse().ok();
    let failed = || Reply::failure(format!("Failed to parse signal string {text}."), 1);
    by_number.or_else(by_name).ok_or_else(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Result<Call, Reply> {
        let args: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Call::parse(&args)
    }

    #[test]
    fn calls_are_parsed() {
        let parsed = call("-q enable --now nginx a.timer --property=Id,Type -p X").unwrap();
        assert_eq!(parsed.verb, "enable");
        assert_eq!(parsed.units, ["nginx.service", "a.timer"]);
        assert_eq!(parsed.properties, ["Id", "Type", "X"]);
        assert!(parsed.now && parsed.quiet && !parsed.value);
        assert_eq!(call("kill -s HUP x").unwrap().signal, Signal::SIGHUP);
        assert_eq!(
            call("kill --signal=SIGUSR1 x").unwrap().signal,
            Signal::SIGUSR1
        );
        assert_eq!(call("kill -s 9 x").unwrap().signal, Signal::SIGKILL);
        assert_eq!(call("--failed").unwrap().states, ["failed"]);
        assert_eq!(call("status x -n 3 -l --no-pager").unwrap().lines, 3);
        // As Debian's packages enable their units.
        let parsed = call("--root=/ --system --preset-mode=enable-only preset x").unwrap();
        assert_eq!((parsed.verb.as_str(), parsed.global), ("preset", false));
        assert!(
            call("--root=/ --global --preset-mode=enable-only preset x.socket")
                .unwrap()
                .global
        );
    }

    #[test]
    fn options_without_an_effect_here_are_refused() {
        for line in [
            "--user start x",
            "--root=/x enable x",
            "--global start x",
            "-H host status",
            "kill -s NO x",
            "list-units --type=timer",
            "--nonsense",
            "kill --kill-who=control x",
        ] {
            assert_eq!(call(line).unwrap_err().code, 1, "{line}");
        }
    }
}
