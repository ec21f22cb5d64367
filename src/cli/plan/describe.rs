//! One call of a plan in words.

use std::collections::BTreeMap;

use serde_json::Value;

use super::outline::user_data_size;
use crate::context::Note;
use crate::report::text;

/// The longest command that a line shows, in characters.
const LONGEST: usize = 200;

/// The names of what the rehearsal has created, by the ids that only the rehearsal
/// has.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) resources: BTreeMap<String, String>,
    pub(super) images: BTreeMap<String, String>,
}

/// A call in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) what: String,
    pub(super) details: Vec<String>,
}

impl Names {
    /// Returns what an argument names: a text, or the name of a resource or a host.
    fn of(&self, argument: &Value) -> String {
        let known = |id: &str| {
            let name = self.resources.get(id).or_else(|| self.images.get(id));
            name.cloned().unwrap_or_else(|| id.to_owned())
        };
        match argument {
            Value::String(text) => known(text),
            Value::Array(items) => text::some_of(items.iter().map(|item| self.of(item)), 5),
            Value::Object(map) => {
                let keys = [
                    "id",
                    "name",
                    "bucket",
                    "elastic_ip",
                    "network",
                    "host",
                    "address",
                ];
                let named = keys.iter().find_map(|key| map.get(*key)?.as_str());
                named.map_or_else(|| argument.to_string(), known)
            }
            other => other.to_string(),
        }
    }

    /// Returns arguments with names in the place of the rehearsal's ids.
    pub(super) fn named(&self, argument: Value) -> Value {
        match argument {
            Value::String(text) => {
                let known = self.resources.get(&text).or_else(|| self.images.get(&text));
                known.cloned().unwrap_or(text).into()
            }
            Value::Array(items) => items.into_iter().map(|item| self.named(item)).collect(),
            Value::Object(map) => {
                let named = map.into_iter().map(|(key, value)| (key, self.named(value)));
                Value::Object(named.collect())
            }
            other => other,
        }
    }
}

/// Describes a call.
pub(super) fn describe(note: &Note, names: &Names) -> Described {
    let argument = |at: usize| note.arguments.get(at).unwrap_or(&Value::Null);
    let label = |at: usize| names.of(argument(at));
    let result = |key: &str| note.result[key].as_str().unwrap_or_default().to_owned();
    let function = note.function.as_str();
    let one = |what: String| Described {
        what,
        details: Vec::new(),
    };
    match function {
        "launch_instance" => launch(note, names),
        "create_bucket" => one(match note.result["made"].as_bool() {
            Some(false) => format!("bucket {} (exists, is used)", result("name")),
            _ => format!("bucket {}", found(&result("name"), &label(0))),
        }),
        "create_key_pair" => Described {
            what: format!("key pair {}", label(0)),
            details: (note.result["private_key"].as_str().into_iter())
                .map(|key| format!("private key: {key}"))
                .collect(),
        },
        "elastic_ip" => one(format!("Elastic IP address for {}", label(0))),
        "upload_file" | "upload_image" => {
            let file = file_of(note, names);
            let about = size(&note.result);
            // A call that failed has no result.
            let wanted = argument(2)["key"].as_str().unwrap_or_default();
            let key = found(&result("key"), wanted);
            one(format!("{file} to s3://{}/{key}{about}", label(0)))
        }
        "upload_dir" => {
            let about = files(&note.result);
            one(format!(
                "{} to s3://{}{about}",
                file_of(note, names),
                label(0)
            ))
        }
        "delete_object" => one(format!("s3://{}/{}", label(0), label(1))),
        "copy_object" => one(copied_object(note, names)),
        "scp" => {
            let copied = note.result.as_array().and_then(|all| all.first());
            let about = size(copied.unwrap_or(&note.result));
            one(format!("{} to {}:{}{about}", label(2), label(0), label(3)))
        }
        "instance_role" => one(format!(
            "IAM role {} with an instance profile",
            result("role")
        )),
        "fleet_exec" => fleet(note, names),
        "ssh_exec" => Described {
            what: format!("on {}: {}", label(0), command(&label(1))),
            details: if argument(2)["sudo"] == true {
                vec!["as root".to_owned()]
            } else {
                Vec::new()
            },
        },
        "local_exec" => {
            let words = argument(0).as_array().into_iter().flatten();
            let words = words.filter_map(Value::as_str);
            one(format!("here: {}", command(&shell_words::join(words))))
        }
        "http_request" => one(format!("{} {}", label(0), label(1))),
        "tag" => one(format!("tags of {}: {}", label(0), argument(1))),
        "open_port" | "close_port" => one(port(function, argument(1), &label(0))),
        "object_url" => one(format!("link to s3://{}/{}", label(0), label(1))),
        _ if note.arguments.is_null() => {
            let effects = note.assumed.iter().map(|assumed| command(&assumed.effect));
            one(text::some_of(effects, 3))
        }
        _ => one(other(function, &label(0), &result("name"))),
    }
}

/// Describes a command on a fleet.
fn fleet(note: &Note, names: &Names) -> Described {
    let argument = |at: usize| note.arguments.get(at).unwrap_or(&Value::Null);
    let tags = argument(0)["tags"].as_object();
    let hosts = match tags {
        None => names.of(argument(0)),
        Some(tags) => {
            let shown = tags
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
            let shown: Vec<String> = shown.collect();
            format!("instances with {}", shown.join(", "))
        }
    };
    let user = argument(2)["user"].as_str().unwrap_or("root");
    Described {
        what: format!("on {hosts}: {}", command(&names.of(argument(1)))),
        details: vec![format!("through Systems Manager, as {user}")],
    }
}

/// Describes a change of a rule: `open tcp 80 of web to everyone`.
fn port(function: &str, rule: &Value, group: &str) -> String {
    let verb = function.split('_').next().unwrap_or_default();
    let protocol = rule["protocol"].as_str().unwrap_or("tcp");
    let ports = match (rule["port"].as_i64(), rule["to_port"].as_i64()) {
        (Some(first), Some(last)) if first != last => format!(" {first}-{last}"),
        (Some(port), _) => format!(" {port}"),
        (None, _) => String::new(),
    };
    let from = rule["from"].as_str();
    let from = from.map_or_else(String::new, |from| format!(" to {from}"));
    format!("{verb} {protocol}{ports} of {group}{from}")
}

/// Describes a call of which only the name is known: `create_volume` with `data`
/// is `volume data`.
fn other(function: &str, first: &str, name: &str) -> String {
    let (verb, noun) = function.split_once('_').unwrap_or(("", function));
    let noun = noun.replace('_', " ");
    let name = found(name, first);
    match verb {
        "create" | "import" | "delete" | "release" | "terminate" | "deregister" => {
            format!("{noun} {name}")
        }
        _ => format!("{} {name}", function.replace('_', " ")),
    }
}

fn launch(note: &Note, names: &Names) -> Described {
    let options = &note.arguments[0];
    let first = match &note.result {
        Value::Array(all) => all.first().unwrap_or(&Value::Null),
        one => one,
    };
    let launched = match &note.result {
        Value::Array(all) => all.len(),
        _ => 1,
    };
    let name = first["name"].as_str().or(options["name"].as_str());
    let what = match launched {
        1 => format!("instance {}", name.unwrap_or("without a name")),
        many => format!(
            "{many} instances, the first is {}",
            name.unwrap_or_default()
        ),
    };
    let mut details = Vec::new();
    let kinds = options["types"].as_array().into_iter().flatten();
    let kinds: Vec<&str> = kinds.filter_map(Value::as_str).collect();
    let kinds = kinds.join(" or ");
    let kind = match kinds.as_str() {
        "" => first["type"].as_str().or(options["type"].as_str()),
        several => Some(several),
    };
    let market = if options["spot"] == true {
        ", spot"
    } else {
        ""
    };
    let image = first["image"].as_str().unwrap_or_default();
    let image = names.images.get(image).map_or(image, |name| name);
    // The image that the playbook names by its id stands for one of the account.
    let image = options["image"].as_str().unwrap_or(image);
    if let Some(kind) = kind {
        details.push(format!("{kind}{market}, image {image}"));
    }
    let groups = &first["security_groups"];
    if groups.as_array().is_some_and(|groups| !groups.is_empty()) {
        let key = first["key_pair"].as_str();
        let key = key.map_or_else(|| "no key pair".to_owned(), |key| format!("key pair {key}"));
        details.push(format!("{key}, security group {}", names.of(groups)));
    }
    match &options["user_data"] {
        Value::String(script) => {
            details.push(format!("user data: {}", user_data_size(script.len())));
        }
        _ => details.push("no user data".to_owned()),
    }
    Described { what, details }
}

/// Returns the file of an upload: the first text after the bucket.
fn file_of(note: &Note, names: &Names) -> String {
    let arguments = note.arguments.as_array().into_iter().flatten();
    let mut texts = arguments.skip(1).filter(|argument| argument.is_string());
    texts.next().map(|file| names.of(file)).unwrap_or_default()
}

fn copied_object(note: &Note, names: &Names) -> String {
    let arguments = note.arguments.as_array().into_iter().flatten();
    let parts: Vec<String> = arguments
        .filter(|argument| !argument.is_null())
        .map(|argument| names.of(argument))
        .collect();
    match parts.as_slice() {
        [from, key, to, copy, ..] => format!("s3://{from}/{key} to s3://{to}/{copy}"),
        parts => parts.join(" "),
    }
}

fn size(result: &Value) -> String {
    let mut about = Vec::new();
    about.extend(result["size"].as_u64().map(text::bytes));
    if result["public"] == true {
        about.push("public".to_owned());
    }
    if about.is_empty() {
        return String::new();
    }
    format!(" ({})", about.join(", "))
}

fn files(result: &Value) -> String {
    let count = result["files"].as_u64();
    let count = count.and_then(|count| usize::try_from(count).ok());
    count.map_or_else(String::new, |count| {
        format!(" ({})", text::count(count, "file"))
    })
}

/// Returns a command on one line.
fn command(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    let shown: String = line.chars().take(LONGEST).collect();
    format!("{shown} ..")
}

fn found(name: &str, other: &str) -> String {
    if name.is_empty() { other } else { name }.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn what(function: &str, arguments: Value, result: Value) -> Described {
        let note = Note {
            function: function.to_owned(),
            branch: String::new(),
            place: "a.rhai:1".to_owned(),
            arguments,
            result,
            error: None,
            assumed: Vec::new(),
            follows: None,
        };
        let names = Names {
            resources: BTreeMap::from([("i-0a".to_owned(), "web".to_owned())]),
            images: BTreeMap::from([("ami-1".to_owned(), "al2023".to_owned())]),
        };
        describe(&note, &names)
    }

    #[test]
    fn calls_read_well() {
        for (function, arguments, result, shown) in [
            (
                "create_bucket",
                json!(["shop"]),
                json!({ "name": "shop-1", "made": true }),
                "bucket shop-1",
            ),
            (
                "create_volume",
                json!([{ "name": "data" }]),
                json!({ "name": "data" }),
                "volume data",
            ),
            (
                "terminate_instance",
                json!([{ "id": "i-0a", "user": "u" }]),
                json!(null),
                "instance web",
            ),
            (
                "stop_instance",
                json!([{ "id": "i-0a" }, {}]),
                json!({}),
                "stop instance web",
            ),
            (
                "fleet_exec",
                json!([[{ "id": "i-0a" }], "a\n  b", {}]),
                json!([]),
                "on web: a b",
            ),
            (
                "fleet_exec",
                json!([{ "tags": { "team": "web" } }, "a", {}]),
                json!([]),
                "on instances with team=web: a",
            ),
            (
                "ssh_exec",
                json!([{ "id": "i-0a" }, "a\n  b", {}]),
                json!({}),
                "on web: a b",
            ),
            (
                "scp",
                json!([{ "id": "i-0a" }, [1], "a.py", "b.py", {}]),
                json!({ "size": 12 }),
                "a.py to web:b.py (12 bytes)",
            ),
            (
                "local_exec",
                json!([["sh", "-c", "a b"], {}]),
                json!({}),
                "here: sh -c 'a b'",
            ),
            (
                "http_request",
                json!(["POST", "http://h/", {}]),
                json!({}),
                "POST http://h/",
            ),
        ] {
            assert_eq!(what(function, arguments, result).what, shown);
        }
    }

    #[test]
    fn a_launch_shows_what_costs_money() {
        let shown = what(
            "launch_instance",
            json!([{ "name": "web", "user_data": "#!/bin/sh\n" }]),
            json!({ "name": "web", "type": "t3.micro", "image": "ami-1", "key_pair": "k",
                    "security_groups": ["sg-1"] }),
        );
        assert_eq!(shown.what, "instance web");
        assert_eq!(
            shown.details,
            [
                "t3.micro, image al2023",
                "key pair k, security group sg-1",
                "user data: 10 bytes of at most 16.0 KiB",
            ]
        );
    }
}
