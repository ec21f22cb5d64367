//! Sets the clock forward and back during a run.

use std::fs;

use crate::support::Autorun;

/// Moves the clock forward by three days and back by six. After both changes,
/// the playbook waits for things that never happen.
const JUMPS: &str = r#"
fn jump(to) {
    write_file(env("FAKETIME_TIMESTAMP_FILE"), to);
    local_exec(["true"]);
}
fn time_out() {
    let start = timestamp();
    try { wait_for_port("127.0.0.1", 4, #{ timeout: 0.5 }); fail("it accepted"); }
    catch (caught) { assert(error_info(caught).kind == "timeout", `${error_info(caught).message}`); }
    assert(start.elapsed < 10.0, `${start.elapsed}`);
}
let days = [utc_now()];
for to in ["+3d", "-3d", "+0"] {
    jump(to);
    days.push(utc_now());
    sleep(0.1);
    time_out();
}
assert(days[1] > days[0] && days[2] < days[0], `${days}`);
print(run_id());
"#;

#[test]
fn waits_durations_and_the_ledger_survive_clock_changes() {
    let autorun = Autorun::new();
    let clock = autorun.home.path().join("clock");
    fs::write(&clock, "+0").unwrap();
    let library = glob::glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let autorun = autorun
        .env("LD_PRELOAD", &library.display().to_string())
        .env("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
        .env("FAKETIME_NO_CACHE", "1")
        // Only the wall clock jumps: the kernel's monotonic clock never does.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .playbook(JUMPS);
    let ended = autorun.run().exits(0);
    let run = ended.stdout.trim().to_owned();
    // Three waits of half a second each, independent of the wall clock.
    let took = ended
        .stderr
        .lines()
        .find(|line| line.starts_with("done in "));
    let took = took.unwrap_or_else(|| panic!("{}", ended.stderr));
    assert!(took.contains(" s (") && !took.contains("min"), "{took}");
    let ask = |words: &[&str]| {
        let home = autorun.home.path().display().to_string();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_autorun"));
        command.args(words).env_clear().env("HOME", home);
        let output = command.output().unwrap();
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {messages}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(ask(&["show", &run]).contains("local_exec"));
    assert!(ask(&["show", &run, "--html", "-"]).contains("</html>"));
    assert!(ask(&["runs"]).contains(&run));
}
