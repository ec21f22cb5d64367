//! The examples of the manual run.

use autorun::playbook::reference;
use serde_json::json;

use crate::support::Lab;

#[test]
fn every_example_runs() {
    let lab = Lab::start(&json!({}));
    // Serves the page that the HTTP examples expect.
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
