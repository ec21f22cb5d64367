//! Checks that every key that is read from the result of a function exists.
//!
//! Only certain cases are checked: a call with a known result, and a variable that
//! always holds such a result and to which no keys are added.

use std::collections::BTreeSet;

use rhai::{AST, ASTNode, Expr};

use super::chain::{chain, is_link};
use super::finding::Finding;
use super::known::{Known, Reader, Returned, step};
use super::rules::UNKNOWN_FIELD;
use super::variables::Facts;
use crate::error::{Error, ErrorKind, Place};
use crate::playbook::imports;
use crate::report::text;

/// Returns an error for each key that is read from a result and does not exist in it.
/// `own` contains the functions that the playbook itself defines.
pub(super) fn unknown_fields(
    path: &str,
    ast: &AST,
    own: &BTreeSet<String>,
    facts: &Facts,
) -> Vec<Finding> {
    let mut faults = Vec::new();
    ast.walk(&mut |nodes| {
        let nested = matches!(nodes, [.., parent, node] if is_link(parent, node));
        if let (Some(ASTNode::Expr(expr)), false) = (nodes.last(), nested) {
            let variables = facts.results(nodes);
            let reader = Reader { variables, own };
            faults.extend(unknown_field(&reader, path, expr));
        }
        true
    });
    faults
}

fn unknown_field(reader: &Reader, path: &str, expr: &Expr) -> Option<Finding> {
    let (root, links) = chain(expr)?;
    let mut known = reader.known(root)?;
    for link in links {
        if let (Known::Map(returned), Some((key, position))) = (&known, link.key())
            && returned.fields.iter().all(|field| field.name != key)
        {
            return Some(has_no(returned, key, imports::place(path, position)));
        }
        known = step(&known, &link)?;
    }
    None
}

fn has_no(returned: &Returned, key: &str, place: Place) -> Finding {
    let function = &returned.function;
    let message = format!("the result of `{function}` has no key `{key}`");
    let mut error = Error::new(ErrorKind::Script, message);
    error.place = place;
    let names = returned.fields.iter().map(|field| field.name.as_str());
    let error = match text::nearest(key, names.clone()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!(
            "valid keys: {}",
            names.collect::<Vec<_>>().join(", ")
        )),
    };
    Finding::new(&UNKNOWN_FIELD, error)
}

#[cfg(test)]
mod tests {
    use rhai::Scope as Variables;

    use super::*;
    use crate::playbook::engine;

    fn faults(script: &str) -> Vec<String> {
        let ast = engine::build()
            .compile_with_scope(&Variables::new(), script)
            .unwrap_or_else(|error| panic!("{script}: {error}"));
        let own = ast.iter_fn_def().map(|f| f.name.to_string()).collect();
        let faults = unknown_fields("a.rhai", &ast, &own, &Facts::of(&ast, &own));
        faults
            .iter()
            .map(|Finding { error, .. }| {
                let place = &error.place;
                format!("{}:{} {error}", place.line, place.column)
            })
            .collect()
    }

    #[test]
    fn a_missing_key_is_an_error() {
        for script in [
            "let s = launch_instance(#{});\nprint(s.publicip);",
            "const s = launch_instance(#{});\nprint(s.publicip);",
            "let s = launch_instance(); s = wait_until_ready(s);\nprint(s.publicip);",
            "let s = launch_instance(#{ name: \"x\" }); let t = wait_until_ready(s);\nprint(t.publicip);",
            "for s in list_instances(#{}) {\nprint(s.publicip); }",
            "let all = launch_instance(#{ count: 2 }); for s in wait_until_ready(all) {\nprint(s.publicip); }",
            "let all = list_instances(#{});\nprint(all[0].publicip);",
            "let s = find_instance(#{}); if s == () { s = launch_instance(#{}); }\nprint(s.publicip);",
            "let s = describe_instance(\"i-0a\");\nif s[\"publicip\"] == () { print(1); }",
            "fn f() { let s = launch_instance(#{});\nprint(s.publicip); }",
            "let f = || { let s = launch_instance(#{});\ns.publicip };",
            "let s = launch_instance(#{}); s.name = \"x\"; s.tags.team = \"web\";\nprint(s.publicip);",
            "let s = launch_instance(#{}); tag(s, #{ a: \"b\" }); print(s.keys());\nprint(s.publicip.len);",
            "let n = 1;\nprint(launch_instance(#{}).publicip);",
            "let all = list_instances(#{}); let m = all.map(|s|\ns.publicip);",
            "parallel(list_instances(#{}), |s|\nprint(s.publicip));",
            "let done = parallel(list_instances(#{}), |s|\ns.publicip);",
            "let s = launch_instance(#{}); parallel([1], |n|\nprint(s.publicip + n));",
            "let s = launch_instance(#{}); let f = || { let g = ||\ns.publicip; g };",
            "let n = 1;\nprint(`at ${launch_instance(#{}).publicip}`);",
        ] {
            let found = faults(script);
            assert_eq!(found.len(), 1, "{script}: {found:?}");
            assert!(found[0].starts_with("2:"), "{script}: {found:?}");
            assert!(found[0].ends_with("` has no key `publicip`"), "{found:?}");
        }
    }

    #[test]
    fn uncertain_cases_are_not_checked() {
        for script in [
            "let s = launch_instance(#{}); print(s.public_ip); print(s.tags.any); print(s[\"id\"]);",
            "let s = launch_instance(#{}); s.note = 1; print(s.note);",
            "let s = launch_instance(#{}); s[\"note\"] = 1; print(s.note);",
            "let s = launch_instance(#{}); let k = \"note\"; s[k] = 1; print(s.note);",
            "let s = launch_instance(#{}); s += #{ note: 1 }; print(s.note);",
            "let s = launch_instance(#{}); s.mixin(#{ note: 1 }); print(s.note);",
            "let s = launch_instance(#{}); mixin(s, #{ note: 1 }); print(s.note);",
            "let s = launch_instance(#{}); s.set(\"note\", 1); print(s.note);",
            "let s = launch_instance(#{}); s = #{ note: 1 }; print(s.note);",
            "let s = launch_instance(#{}); let s = #{ note: 1 }; print(s.note);",
            "let s = launch_instance(#{}); { let s = #{ note: 1 }; print(s.note); }",
            "let s = launch_instance(#{}); let f = || { s.note = 1; }; f.call(); print(s.note);",
            "let s = launch_instance(#{}); for s in [#{ note: 1 }] { print(s.note); }",
            "let s = launch_instance(#{}); try { throw #{ note: 1 }; } catch (s) { print(s.note); }",
            "let s = launch_instance(#{}); fn f(s) { s.note } print(f(#{ note: 1 }));",
            "fn f() { this.note = 1; } let s = launch_instance(#{}); s.f(); print(s.note);",
            "let o = #{}; let s = launch_instance(o); print(s.note);",
            "let s = launch_instance(#{ count: 2 }); print(s.len);",
            "fn launch_instance(o) { #{ note: 1 } } print(launch_instance(#{}).note);",
            "let x = \"i-0a\"; let s = describe_instance(x); print(s.note);",
            "let s = launch_instance(#{}); print(s?.note);",
            "let s = (); s = launch_instance(#{}); print(s.note);",
            "let s = launch_instance(#{}); let t = [s]; t[0].note = 1; print(t[0].note);",
            "let f = |s| s.note; print(f.call(#{ note: 1 })); let s = launch_instance(#{});",
            "let all = list_instances(#{}); all.push(#{ note: 1 }); for s in all { print(s.note); }",
            "let all = list_instances(#{}); let m = all.map(|s| { s.note = 1; s.note });",
            "let all = list_instances(#{}); let m = all.reduce(|sum, s| sum.note);",
            "let s = launch_instance(#{}); let f = |s| s.note; f.call(#{ note: 1 });",
            "let s = http_get(\"http://x/\"); print(s.headers.server); print(s.body.len);",
        ] {
            assert_eq!(faults(script), Vec::<String>::new(), "{script}");
        }
    }
}
