//! `show --html` and `show --svg`: how a browser renders them, and where they can
//! be written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, root};

const SECRET: &str = "correct-horse-battery";
const SCRIPT: &str = "<script>alert(1)</script>";

/// A playbook with names that a page must escape, branches that must overlap
/// because each waits for the other, a failure that is caught, and one that is
/// not.
const PLAYBOOK: &str = r#"
    let token = var("token", #{ type: "string", secret: true, help: "Secret" });
    let name = var("name", "<script>alert(1)</script>", "Name");
    let marks = var("marks", "\"&'", "Marks");
    let meeting = var("meeting", "", "Directory");
    let bucket = create_bucket("report");
    upload_file(bucket, "assets/logo.png", #{ key: name });
    parallel(["<b>left", "right"], |which| {
        let other = if which == "right" { "<b>left" } else { "right" };
        let script = "touch \"$1\"; until [ -e \"$2\" ]; do sleep 0.01; done; printf 'met\\033[31m\\n'";
        local_exec(["sh", "-c", script, "sh", meeting + "/" + which, meeting + "/" + other]);
        parallel(["in " + which], |inner| upload_file(bucket, "assets/logo.png", #{ key: inner + marks }));
    });
    local_exec(["sh", "-c", "echo \"$TOKEN\""], #{ env: #{ TOKEN: token } });
    sleep(0.3);
    try {
        local_exec(["sh", "-c", "echo '<img src=x onerror=alert(2)>' >&2; exit 3"]);
    } catch (caught) {
        log_warn("caught");
    }
    throw "the end & <i>nothing</i> else";
"#;

/// A home with a ledger, and commands that use it.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn call(&self, autorun: Autorun, args: &[&str]) -> Ended {
        let ledger = self.path("autorun").display().to_string();
        autorun.env("AUTORUN_HOME", &ledger).args(args).run()
    }

    /// Runs `autorun show` for the newest run.
    fn show(&self, args: &[&str]) -> Ended {
        let all = self.call(Autorun::new(), &["runs", "--output", "json"]);
        let newest: Value = serde_json::from_str(all.stdout.lines().next().unwrap()).unwrap();
        let show = Autorun::new().args(["show", newest["run"].as_str().unwrap()]);
        self.call(show, args)
    }

    /// Runs `show --html` and `--svg` into files. Returns the texts of both
    /// files.
    fn report(&self) -> (String, String) {
        let (page, picture) = (self.path("report.html"), self.path("report.svg"));
        let files = [
            "--html",
            page.to_str().unwrap(),
            "--svg",
            picture.to_str().unwrap(),
        ];
        let ended = self.show(&files).exits(0);
        assert_eq!(ended.stdout, "");
        assert!(
            ended.messages().contains("report.html ("),
            "{}",
            ended.stderr
        );
        let text = |file| fs::read_to_string(file).unwrap();
        (text(page), text(picture))
    }

    /// Renders both files in a browser. The screenshots stay in the home.
    fn look(&self) -> Value {
        let looked = Command::new("python3")
            .arg(root().join("tests/cloud/report.py"))
            .args(["report.html", "report.svg", "."])
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let messages = String::from_utf8_lossy(&looked.stderr);
        assert!(looked.status.success(), "{messages}");
        serde_json::from_slice(&looked.stdout).unwrap()
    }

    fn sql(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.path("autorun/ledger.db")).unwrap();
        db.execute_batch(sql).unwrap();
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn a_page_is_readable_on_a_phone_and_on_a_large_screen() {
    let cloud = LocalCloud::start();
    let home = Home::new();
    let meeting = home.path("meeting");
    fs::create_dir(&meeting).unwrap();
    let autorun = cloud
        .autorun()
        .playbook(PLAYBOOK)
        .env("AUTORUN_VAR_token", SECRET);
    let set = format!("meeting={}", meeting.display());
    home.call(autorun, &["--tag", "team=web", "--set", &set])
        .exits(1);
    let (page, picture) = home.report();
    for text in [&page, &picture] {
        assert!(!text.contains(SECRET) && !text.contains(SCRIPT));
        assert!(!text.contains("<script") && !text.contains("<b>left"));
        assert!(!text.contains("http://") || text.matches("http://").count() == svgs(text));
        assert!(!text.contains("https://") && !text.contains('\u{1b}'));
    }

    let look = home.look();
    assert_eq!(look["logged"], Value::Array(Vec::new()));
    let asked = look["asked"].as_array().unwrap();
    assert_eq!(
        asked.len(),
        3,
        "the page, the picture, its frame: {asked:?}"
    );
    for (name, shown) in look["pages"].as_object().unwrap() {
        the_page_is_readable(name, shown);
        branches_lie_side_by_side(shown);
    }
    assert_eq!(look["root"], "{http://www.w3.org/2000/svg}svg");
    let tags = look["tags"].to_string();
    assert!(!tags.contains("script") && !tags.contains("foreignObject"));
    assert_eq!(look["picture"][0], 960);
    for (name, shot) in look["shots"].as_object().unwrap() {
        // Text alone yields a hundred shades, while a blank page has one colour.
        assert!(number(&shot["colours"]) > 200.0, "{name}: {shot}");
        assert!(number(&shot["plain"]) < 0.95, "{name}: {shot}");
    }
}

/// The number of pictures in a text: each has the namespace of SVG.
fn svgs(text: &str) -> usize {
    text.matches("xmlns=\"http://www.w3.org/2000/svg\"").count()
}

fn the_page_is_readable(name: &str, shown: &Value) {
    assert_eq!(shown["scrolls"], false, "{name}");
    assert_eq!(shown["wide"], Value::Array(Vec::new()), "{name}");
    assert_eq!(shown["scripts"], 0);
    assert_eq!(shown["figures"], 1, "one timeline is shown: {name}");
    assert!(number(&shown["letters"]) >= 12.0, "{name}");
    assert_eq!(shown["folded"], true);
    assert_eq!(shown["follows"], true, "a click on a bar opens its entry");
    let error = shown["unfolded"].as_str().unwrap();
    assert!(error.contains("<img src=x onerror=alert(2)>"), "{error}");
    let text = shown["text"].as_str().unwrap();
    for wanted in [
        "the end & <i>nothing</i> else",
        "**** (secret)",
        "variable name\n\"<script>alert(1)</script>\"",
        "the local cloud, eu-central-1, account 123456789012",
        "tag team\nweb",
        "met\\u{1b}[31m",
        "****token****",
        "in <b>left\"&'",
        "<b>left was started by parallel (playbook.rhai:8)",
        "autorun resume ",
        "autorun destroy ",
    ] {
        assert!(text.contains(wanted), "no `{wanted}` at {name} in\n{text}");
    }
    let waited = ["<b>left, right", "right, <b>left"].map(|two| format!("waited for {two}"));
    assert!(waited.iter().any(|w| text.contains(w)), "{text}");
}

/// Checks that two branches have separate lanes, and that simultaneous calls have
/// the same position on the time axis.
fn branches_lie_side_by_side(shown: &Value) {
    let lanes = &shown["lanes"];
    let side = |lane: &str, side: &str| number(&lanes[lane][side]);
    let overlap = |one: &str, other: &str| {
        side(one, "right").min(side(other, "right")) - side(one, "left").max(side(other, "left"))
    };
    assert!(overlap("<b>left", "right") > 0.0, "{lanes}");
    // Which branch begins first is not deterministic.
    let apart = |one: &str, other: &str| side(one, "bottom") < side(other, "top");
    assert!(
        apart("<b>left", "right") || apart("right", "<b>left"),
        "{lanes}"
    );
    let inner = "<b>left › in <b>left";
    assert!(overlap("<b>left", inner) > 0.0, "{lanes}");
    assert!(apart("<b>left", inner), "{lanes}");
    let of = |lane: &str| lanes[lane]["calls"].to_string();
    for call in ["create_bucket", "parallel 2 branches", "sleep: waited"] {
        assert!(of("main").contains(call), "no `{call}` in {lanes}");
    }
    assert!(of("right").contains("local_exec") && !of("right").contains("sleep"));
}

#[test]
fn an_older_ledger_and_a_killed_run_are_shown_with_the_recorded_data() {
    let home = Home::new();
    let playbook = r#"
        local_exec(["true"]);
        parallel(["a", "b"], |which| local_exec(["echo", which]));
        local_exec(["false"]);
    "#;
    home.call(Autorun::new().playbook(playbook), &[]).exits(1);
    home.sql(
        "DROP TABLE wait; PRAGMA user_version = 1; \
         UPDATE run SET outcome = NULL, error = NULL, started = started - 100000000; \
         UPDATE step SET started = started - 100000000, ended = ended - 100000000 \
            WHERE number = 0; \
         UPDATE step SET state = 'under_way', ended = NULL WHERE function = 'local_exec' \
            AND branch = '' AND number > 0",
    );
    let (page, picture) = home.report();
    for text in [&page, &picture] {
        assert!(text.contains("killed") && text.contains("unfinished"));
        // One day, less the duration of the run, is cut out of the axis.
        assert!(text.contains("1 d 3 h 46 min"), "{text}");
        // Each of the two branches has a start and a wait marker, and the legend
        // has both, too.
        let forks = text.matches("class=\"fork\" d=\"M").count();
        assert_eq!(forks, 5 * svgs(text));
    }
    assert!(page.contains("a started after local_exec (playbook.rhai:2)"));
    assert!(page.contains("autorun resume "));
    assert!(!page.contains("autorun destroy "), "nothing is up");
}

#[test]
fn a_run_with_thousands_of_calls_shows_the_longest() {
    let home = Home::new();
    home.call(Autorun::new().playbook("local_exec([\"true\"]);"), &[])
        .exits(0);
    home.sql(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
         INSERT INTO step SELECT run, i, key, branch, function, 'call ' || i, place, state, \
            json_object('stdout', printf('%.3000c', 'x')), 0, NULL, started + i * 100, \
            started + i * 100 + (i * 7 % 97) \
         FROM step, n WHERE number = 0; \
         UPDATE step SET state = 'failed', error = 'this one' WHERE number = 5",
    );
    let (page, picture) = home.report();
    assert_eq!(picture.matches("role=\"listitem\"").count(), 300);
    assert!(picture.contains("2701 shorter calls not shown"));
    assert!(
        picture.contains("this one"),
        "failed calls are always shown"
    );
    assert_eq!(page.matches("<details>").count(), 3001);
    assert!(page.contains("the result is too large for this page"));
    assert!(page.len() < 12 << 20, "{}", page.len());
}

#[test]
fn files_are_written_completely_or_not_at_all() {
    let home = Home::new();
    home.call(Autorun::new().playbook("print(1)"), &[]).exits(0);
    let (page, _) = home.report();
    assert!(page.contains("No steps or waits are recorded"), "{page}");
    let file = home.path("report.html");
    let mode = |file: &PathBuf| file.metadata().unwrap().permissions().mode();
    let other = home.path("other");
    fs::write(&other, "").unwrap();
    assert_eq!(
        mode(&file),
        mode(&other),
        "the mode is that of any new file"
    );

    for (file, wanted) in [
        ("no/such/report.html", "no such file or directory"),
        ("", "directory"),
        ("report.html/x", "not a directory"),
    ] {
        let file = home.path(file).display().to_string();
        let ended = home.show(&["--html", &file]).exits(2);
        assert!(
            ended.messages().contains("cannot write `"),
            "{}",
            ended.stderr
        );
        assert!(ended.messages().contains(wanted), "{}", ended.stderr);
    }
    let kept = fs::read_to_string(&file).unwrap();
    assert_eq!(kept.len(), page.len());

    let out = home.show(&["--svg", "-"]).exits(0);
    assert!(out.stdout.starts_with("<?xml ") && out.stdout.ends_with("</svg>\n"));
    assert_eq!(out.stderr, "");
    let device = home.show(&["--html", "/dev/stdout"]).exits(0);
    assert!(device.stdout.starts_with("<!DOCTYPE html>"));
    let both = home.show(&["--svg", "-", "--html", "-"]).exits(2);
    assert!(both.messages().contains("cannot both go to stdout"));
    home.show(&["--svg", "-", "--output", "json"]).exits(2);
}
