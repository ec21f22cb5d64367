//! The manual: its options are those that are taken, and its examples run.

use autorun::playbook::reference;
use serde_json::json;

use crate::support::Lab;

#[test]
fn every_option_is_in_the_manual() {
    // A struct that refuses a key names all that it takes.
    let takes = |options: &str| {
        let names = options
            .split(", ")
            .map(|n| n.trim_end_matches(['?', '`']).to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let lab = Lab::start(&json!({ "boot": false, "hosts": [] }));
    for entry in reference::ENTRIES.iter() {
        let Some(call) = entry
            .signatures
            .iter()
            .find(|s| s.ends_with("options: map)"))
        else {
            continue;
        };
        let sample = ["i-00000000000000000", "assets/logo.png", "x"];
        let (_, parameters) = call.split_once('(').unwrap();
        let parameters = parameters.split(", ").zip(sample);
        let arguments = parameters.map(|(parameter, text)| match parameter {
            "options: map)" => "options".to_owned(),
            "port" => "1".to_owned(),
            p if p.ends_with(": array") => "[\"true\"]".to_owned(),
            _ => format!("\"{text}\""),
        });
        let mut arguments: Vec<String> = arguments.collect();
        if arguments.last().is_none_or(|last| last != "options") {
            arguments.push("options".to_owned());
        }
        let call = format!("{}({})", entry.name, arguments.join(", "));
        let playbook = format!(
            "let options = #{{}}; options[\"zzzzzzzzzzzz\"] = 1;\n\
             try {{ {call}; }} catch (caught) {{ print(error_info(caught).hint); }}"
        );
        if entry.name == "var" {
            continue;
        }
        let ended = lab.autorun().playbook(&playbook).run().exits(0);
        let hint = ended.stdout.trim();
        let Some(named) = hint.strip_prefix("there are ") else {
            // serde names two without "one of" in the same way.
            panic!("{}: {hint}\n{}", entry.name, ended.stderr)
        };
        let options = entry.options();
        let mut documented: Vec<String> = options.iter().map(|(name, _)| name.clone()).collect();
        documented.sort();
        assert_eq!(takes(named), documented, "{}", entry.name);
        // The check before the run believes the types that stand there. Keys are
        // read in their order, so that the unknown one is refused last.
        let tries: String = options
            .iter()
            .map(|(name, kind)| {
                let (good, bad) = samples(kind).unwrap_or_else(|| panic!("{}: {kind}", entry.name));
                let good = [(good, "fits")].into_iter();
                let tries = good.chain(bad.map(|bad| (bad, "not")));
                let tries = tries.map(|(value, expected)| {
                    format!(
                        "let options = #{{}}; options[\"{name}\"] = {value}; \
                         options[\"zzzzzzzzzzzz\"] = 1;\n\
                         try {{ {call}; }} catch (caught) {{\n\
                         let said = error_info(caught).message;\n\
                         let got = if said.contains(\"zzzzzzzzzzzz\") || said.contains(\"unknown value\") {{ \"fits\" }} else {{ \"not\" }};\n\
                         if got != \"{expected}\" {{ fail(`{name} = {value}: ${{said}}`); }} }}\n"
                    )
                });
                tries.collect::<String>()
            })
            .collect();
        let _ = lab.autorun().playbook(&tries).run().exits(0);
    }
}

/// A value of the type an option has in the manual, and one of another, unless
/// that is looked at later than the rest of the options.
fn samples(kind: &str) -> Option<(&'static str, Option<&'static str>)> {
    Some(match kind {
        "string" => ("\"x\"", Some("[1]")),
        "integer" => ("1", Some("\"1\"")),
        "seconds" => ("1.5", Some("\"1\"")),
        "bool" => ("true", Some("1")),
        "array" | "array of maps" => ("[]", Some("\"x\"")),
        "map of strings" => ("#{ a: \"b\" }", Some("#{ a: 1 }")),
        "host" | "string or map" => ("\"x\"", None),
        _ => return None,
    })
}

#[test]
fn every_example_runs() {
    let lab = Lab::start(&json!({}));
    // A page to fetch, as the HTTP examples expect it.
    let setup = "ssh_exec(\"192.0.2.10\", \"nohup python3 -c 'import http.server as h, os; \
        os.makedirs(\\\"www\\\", exist_ok=True); os.chdir(\\\"www\\\"); \
        open(\\\"index.html\\\", \\\"w\\\").write(\\\"Welcome\\\"); \
        h.HTTPServer((\\\"\\\", 8080), h.SimpleHTTPRequestHandler).serve_forever()' \
        >/dev/null 2>&1 </dev/null & true\");\nwait_until_serving(\"http://192.0.2.10:8080/\");";
    lab.autorun().playbook(setup).run().exits(0);
    for entry in reference::ENTRIES.iter() {
        for example in entry.examples() {
            let example = example.replace("http://192.0.2.10/", "http://192.0.2.10:8080/");
            let ended = lab.autorun().playbook(&example).run();
            assert_eq!(
                ended.status,
                Some(0),
                "{}:\n{example}\n{}",
                entry.name,
                ended.stderr
            );
        }
    }
}
