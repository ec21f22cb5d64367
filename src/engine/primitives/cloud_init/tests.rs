//! The classifier against the answers of the real cloud-init in
//! `tests/cloud_init/corpus.json`, which `tests/cloud_init/reference.py` renews.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::*;

/// What shows only on the instance: the names, and what decides it there.
const ONLY_THERE: [(&str, &str); 27] = [
    (
        "changed_jinja_config_nul_at_end",
        "the result of the template",
    ),
    ("changed_part_handler_nul_at_end", "Python"),
    ("include_bad_second", "whether the URL exists"),
    ("include_comment_end", "whether the URL exists"),
    ("include_once_two_heads", "the content of the URLs"),
    ("jinja_unknown_variable", "the variables of the template"),
    (
        "jinja_unknown_variable_script",
        "the variables of the template",
    ),
    ("jsonp_remove_missing", "the cloud-config that it changes"),
    ("jsonp_test", "the cloud-config that it changes"),
    ("kubeadm_capi", "the variables of the template"),
    ("part_handler_python2", "Python"),
    ("gzip_broken", "binary"),
    ("include_text", "the content of the URL"),
    ("jinja_bad_syntax", "the template engine"),
    ("jinja_bad_yaml", "the result of the template"),
    ("mime_gzip_part", "compressed"),
    ("mime_gzip_part_broken", "compressed"),
    ("part_handler_bad", "Python"),
    ("include_config", "the content of the URL"),
    ("include_two", "the content of the URLs"),
    ("yaml_anchor_twice", "PyYAML's composer"),
    ("yaml_bad_date", "PyYAML's constructors"),
    ("yaml_bad_int_tag", "PyYAML's constructors"),
    ("yaml_equals", "PyYAML's constructors"),
    ("yaml_line_separator", "PyYAML's reader"),
    ("yaml_map_tag_on_text", "PyYAML's constructors"),
    ("yaml_merge_text", "PyYAML's constructors"),
];

/// Not YAML according to its specification, but `PyYAML` accepts it. It is refused.
const NOT_YAML: [&str; 3] = [
    "yaml_comment_without_space",
    "yaml_multi_line_quotes_unindented",
    "yaml_next_line",
];

fn corpus() -> BTreeMap<String, Value> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/cloud_init/corpus.json"
    );
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn ours(data: &[u8]) -> Value {
    let mut parts = Parts::default();
    if parts.add(data).is_err() {
        // cloud-init ends, or finds nothing.
        return Value::Array(Vec::new());
    }
    let all = parts.0.into_iter();
    all.map(|part| {
        // What is included has its own type. In the corpus it is a script.
        let kind = match part.content_type.as_str() {
            INCLUDE | INCLUDE_ONCE => SCRIPT.to_owned(),
            _ => part.content_type,
        };
        serde_json::json!([kind, part.name, part.fault.is_none()])
    })
    .collect()
}

#[test]
fn the_classifier_agrees_with_cloud_init() {
    let corpus = corpus();
    assert!(corpus.len() > 740);
    let mut different = Vec::new();
    for (name, entry) in &corpus {
        let data = STANDARD.decode(entry["data"].as_str().unwrap()).unwrap();
        let theirs = match &entry["parts"] {
            Value::String(_) => Value::Array(Vec::new()),
            parts => parts.clone(),
        };
        // A playbook passes text, so compressed data cannot come from one.
        let is_binary = data.starts_with(b"\x1f\x8b");
        let shows_there =
            ONLY_THERE.iter().any(|(only, _)| only == name) || NOT_YAML.contains(&name.as_str());
        if !is_binary && !shows_there && ours(&data) != theirs {
            different.push(format!("{name}: ours {}, theirs {theirs}", ours(&data)));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn what_is_not_yaml_is_refused() {
    let corpus = corpus();
    for name in NOT_YAML {
        let data = STANDARD.decode(corpus[name]["data"].as_str().unwrap());
        let parts = classify(std::str::from_utf8(&data.unwrap()).unwrap()).unwrap();
        assert!(parts[0].fault.is_some(), "{name}");
        assert_eq!(corpus[name]["parts"][0][2], true, "{name}");
    }
}

#[test]
fn what_shows_only_on_the_instance_is_accepted() {
    let corpus = corpus();
    for (name, _) in ONLY_THERE {
        let data = STANDARD
            .decode(corpus[name]["data"].as_str().unwrap())
            .unwrap();
        if let Ok(text) = std::str::from_utf8(&data) {
            let parts = classify(text).unwrap();
            assert!(
                parts.iter().all(|part| part.fault.is_none()),
                "{name}: {parts:?}"
            );
        }
    }
}

/// Whoever passes user data of another kind learns what it is.
#[test]
fn the_reason_names_what_the_user_data_is() {
    for (data, reason) in [
        ("<persist>true</persist>\n<powershell>\n", "Windows"),
        ("version: 1.1\ntasks:\n- task: x\n", "Windows"),
        ("#ps1_sysnative\nGet-Date\n", "Windows"),
        ("{\"ignition\": {\"version\": \"3.4.0\"}}\n", "Ignition"),
        ("variant: fcos\nversion: 1.5.0\n", "Butane"),
        ("[settings.kubernetes]\n", "Bottlerocket"),
        ("https://example.com/setup.sh\n", "below `#include`"),
        ("\"#!/bin/sh\ndate\n\"", "quotation mark"),
        ("#\0!\0/\0b\0", "UTF-16"),
        ("SXlFdlltbHVMM05vQ21SaGRHVUs=", "base64"),
        ("## template: jinja2\n#cloud-config\n", "engine `jinja2`"),
        ("#part-handler\ndef handle():\n    pass\n", "list_types"),
        (
            "#cloud-config-jsonp\n[{\"op\": \"insert\", \"path\": \"/a\", \"value\": 1}]\n",
            "JSON patch",
        ),
        (
            "  #include\nhttp://example.com/x\n",
            "cannot fetch `#include`",
        ),
    ] {
        let fault = match classify(data) {
            Ok(parts) => parts[0].fault.clone().expect(data),
            Err(fault) => fault,
        };
        assert!(fault.why.contains(reason), "{data}: {}", fault.why);
    }
}
