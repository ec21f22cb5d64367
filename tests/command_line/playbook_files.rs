//! Where playbooks come from: executable files, standard input, pipes, links; and where
//! their files are.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Autorun, Ended, root};

/// Runs a command with this text on standard input.
fn with_input(mut command: Command, text: &str, home: &Path) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    Ended::of(&child.wait_with_output().unwrap(), home)
}

/// Runs a line of a shell in a directory, with `autorun` on its PATH.
fn shell(autorun: &Autorun, directory: &Path, line: &str) -> Ended {
    let mut command = autorun.shell(line);
    let output = command.current_dir(directory).output().unwrap();
    Ended::of(&output, autorun.home.path())
}

fn write(directory: &Path, name: &str, text: &str) {
    let file = directory.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

#[test]
fn the_kernel_runs_an_executable_playbook() {
    let autorun = Autorun::new();
    let home = autorun.home.path();
    for (first, call, printed) in [
        (
            "#!/usr/bin/env autorun",
            "./deploy --set who=me",
            "hello me\n",
        ),
        (
            "#!/usr/bin/env -S autorun --quiet --set who=you",
            "./deploy",
            "hello you\n",
        ),
        (
            "#!/usr/bin/env -S autorun -C /",
            "\"$PWD\"/deploy",
            "hello world\n",
        ),
    ] {
        let text =
            "//! Greets.\nlet who = var(\"who\", \"world\", \"Who\");\nprint(`hello ${who}`);\n";
        write(home, "deploy", &format!("{first}\n{text}"));
        fs::set_permissions(home.join("deploy"), fs::Permissions::from_mode(0o755)).unwrap();
        let ended = shell(&autorun, home, call).exits(0);
        assert_eq!(ended.stdout, printed, "{first}");
    }
    let docs = shell(&autorun, home, "autorun docs ./deploy")
        .exits(0)
        .stdout;
    assert!(
        docs.contains("\nGreets.\n") && docs.contains("who (string"),
        "{docs}"
    );

    write(
        home,
        "deploy",
        &format!("#!{} --quiet --local\n", env!("CARGO_BIN_EXE_autorun")),
    );
    let messages = shell(&autorun, home, "./deploy").exits(2).messages();
    let wanted = "begin the playbook with `#!/usr/bin/env -S autorun --quiet --local`";
    assert!(messages.contains(wanted), "{messages}");

    // The numbers of the lines are those of the file, and an import may have the line.
    write(
        home,
        "lib.rhai",
        "#!/usr/bin/env autorun\nfn f() { nosuch() }\n",
    );
    write(
        home,
        "main.rhai",
        "#!/usr/bin/env autorun\nimport \"lib\" as lib;\nlet x = 1 +;\n",
    );
    let messages = shell(&autorun, home, "autorun main.rhai")
        .exits(3)
        .messages();
    assert!(messages.contains("--> main.rhai:3:12"), "{messages}");
    write(
        home,
        "main.rhai",
        "#!/usr/bin/env autorun\nimport \"lib\" as lib;\n",
    );
    let messages = shell(&autorun, home, "autorun main.rhai")
        .exits(3)
        .messages();
    assert!(messages.contains("--> lib.rhai:2:10"), "{messages}");
}

#[test]
fn a_playbook_can_come_from_standard_input_or_a_pipe() {
    let autorun = Autorun::new();
    let home = autorun.home.path();
    write(home, "lib.rhai", "fn f() { \"imported\" }\n");
    let text = "import \"lib\" as lib;\nprint(lib::f() + \" \" + script_dir());\n";
    write(home, "p.rhai", text);
    let printed = format!("imported {}\n", home.canonicalize().unwrap().display());
    for line in [
        "autorun - < p.rhai",
        "cat p.rhai | autorun run --quiet -",
        "cat p.rhai | autorun /dev/stdin",
        "bash -c 'autorun <(cat p.rhai)'",
        "mkfifo pipe && { cat p.rhai > pipe & autorun pipe; }",
        "autorun - <<'EOF'\nimport \"lib\" as lib;\nprint(lib::f() + \" \" + script_dir());\nEOF",
    ] {
        assert_eq!(
            shell(&autorun, home, line).exits(0).stdout,
            printed,
            "{line}"
        );
    }
    let runs = shell(&autorun, home, "autorun runs").exits(0).stdout;
    assert!(
        runs.contains(" <stdin>\n") && runs.contains(" /dev/stdin\n"),
        "{runs}"
    );

    let messages = shell(&autorun, home, "echo 'let a = ;' | autorun -")
        .exits(3)
        .messages();
    assert!(
        messages.contains("--> <stdin>:1:9") && messages.contains("let a = ;"),
        "{messages}"
    );
    let messages = shell(&autorun, home, "false | autorun -")
        .exits(3)
        .messages();
    assert!(
        messages.contains("playbook on standard input is empty"),
        "{messages}"
    );
    let docs = shell(&autorun, home, "echo '//! Hello' | autorun docs -")
        .exits(0)
        .stdout;
    assert!(docs.starts_with("<stdin>\n\nHello\n"), "{docs}");
}

/// A server that counts its requests.
fn counter() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            let body = (counted.fetch_add(1, Ordering::SeqCst) + 1).to_string();
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    (url, count)
}

#[test]
fn a_run_from_standard_input_is_resumed_with_the_same_text() {
    let (url, count) = counter();
    let autorun = Autorun::new();
    let home = autorun.home.path().to_owned();
    let text = format!(
        "print(http_request(\"POST\", \"{url}\").body);\nprint(http_get(\"{url}\").body);\n\
         assert(is_file(\"{}/go\"));\n",
        home.display()
    );
    let with = |arguments: &[&str], text: &str| {
        let mut command = Autorun::new().args(arguments).command();
        command.env("HOME", &home);
        with_input(command, text, &home)
    };
    let first = with(&["-"], &text).exits(1);
    assert_eq!(first.stdout, "1\n2\n");
    let listed = with(&["runs", "--output", "json"], "").exits(0).stdout;
    let run: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
    let run = run["run"].as_str().unwrap().to_owned();

    let messages = with(&["resume", &run], "").exits(3).messages();
    assert!(
        messages.contains("playbook on standard input is empty"),
        "{messages}"
    );
    let mut resume = autorun.args(["resume", &run]);
    resume = resume.env("HOME", &home.display().to_string());
    let (status, shown) = resume.at_terminal("");
    assert_eq!(status, Some(2), "{shown}");
    assert!(shown.contains("was not a file (<stdin>)"), "{shown}");
    assert!(
        shown.contains(&format!("`autorun resume {run} < FILE`")),
        "{shown}"
    );

    // POST is a step, so its recorded answer counts. GET is sent again.
    fs::write(home.join("go"), "").unwrap();
    let ended = with(&["resume", &run], &text).exits(0);
    assert_eq!(ended.stdout, "1\n3\n");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn a_directory_before_a_command_is_changed_to_first() {
    let autorun = Autorun::new();
    let home = autorun.home.path();
    write(home, "a/b/p.rhai", "print(\"here\");\n");
    for (line, printed) in [
        ("autorun -C a/b p.rhai", "here\n"),
        ("autorun -C a -C b p.rhai", "here\n"),
        ("autorun -Ca --directory=b run p.rhai", "here\n"),
        ("autorun -C a/b check p.rhai", "1 file: no mistakes found\n"),
    ] {
        let ended = shell(&autorun, home, line).exits(0);
        assert_eq!(ended.stdout, printed, "{line}");
    }
    let missing = shell(&autorun, home, "autorun -C nosuch check p.rhai").exits(2);
    assert!(
        missing.stderr.contains("cannot change to `nosuch`"),
        "{}",
        missing.stderr
    );
    let late = shell(&autorun, home, "autorun check -C a/b p.rhai").exits(2);
    assert!(
        late.stderr.contains("write it before the command"),
        "{}",
        late.stderr
    );
    let order = shell(&autorun, home, "autorun -v check a/b/p.rhai").exits(2);
    let hint = "write the command first, as in `autorun check ..`";
    assert!(order.stderr.contains(hint), "{}", order.stderr);
    let gone = "mkdir gone && cd gone && rmdir ../gone && autorun ../a/b/p.rhai";
    let gone = shell(&autorun, home, gone).exits(2);
    let why = "the current directory has been removed";
    assert!(gone.stderr.contains(why), "{}", gone.stderr);
}

#[test]
fn the_files_of_a_playbook_are_found_from_any_directory() {
    let autorun = Autorun::new();
    let home = autorun.home.path().canonicalize().unwrap();
    write(&home, "share/assets/a.txt", "asset");
    write(
        &home,
        "share/lib/lib.rhai",
        "fn run(f) { f.call() }\nfn here() { script_dir() }\n",
    );
    write(
        &home,
        "share/playbooks/p.rhai",
        "import \"../lib/lib\" as lib;\n\
         fn mine() { script_dir() }\n\
         let file = var(\"file\", \"\", \"A file\");\n\
         print(read_file(script_dir() + \"/../assets/a.txt\"));\n\
         print(file != \"\" && is_file(file));\n\
         print(lib::here());\n\
         print(mine() == script_dir() && lib::run(|| script_dir()) == script_dir());\n\
         print(lib::run(|| mine()) == script_dir() && [1].map(|x| script_dir())[0] == script_dir());\n\
         print(parallel([1], |x| script_dir())[0]);\n",
    );
    write(&home, "caller/mine.txt", "mine");
    symlink("../share/playbooks/p.rhai", home.join("caller/link")).unwrap();
    symlink(home.join("share"), home.join("linked")).unwrap();
    let share = home.join("share").display().to_string();
    let lib = format!("{share}/playbooks/../lib");
    let lib = Path::new(&lib).canonicalize().unwrap();
    let printed = |file: bool| {
        format!(
            "asset\n{file}\n{}\ntrue\ntrue\n{share}/playbooks\n",
            lib.display()
        )
    };
    for (directory, line, file) in [
        (
            "caller",
            format!("autorun {share}/playbooks/p.rhai --set file=./mine.txt"),
            true,
        ),
        (
            "caller",
            "autorun ../share/playbooks/p.rhai --set file=mine.txt".into(),
            true,
        ),
        ("caller", "autorun link --set file=mine.txt".into(), true),
        (
            "caller",
            "autorun ../linked/playbooks/p.rhai --set file=mine.txt".into(),
            true,
        ),
        (
            "share/playbooks",
            "autorun p.rhai --set file=../../caller/mine.txt".into(),
            true,
        ),
        (
            "share/playbooks",
            "autorun -C ../../caller link --set file=mine.txt".into(),
            true,
        ),
        (
            "share",
            "autorun --directory ../caller ./link --set file=mine.txt".into(),
            true,
        ),
        (
            "share",
            "autorun playbooks/p.rhai --set file=mine.txt".into(),
            false,
        ),
    ] {
        let ended = shell(&autorun, &home.join(directory), &line).exits(0);
        assert_eq!(ended.stdout, printed(file), "{line}");
    }
    let root = format!("cd / && autorun {share}/playbooks/p.rhai");
    assert_eq!(
        shell(&autorun, &home, &root).exits(0).stdout,
        printed(false)
    );

    // Files of the command line start there, too.
    let line = "autorun -C caller link --set file=@name --log-file log";
    write(&home, "caller/name", "mine.txt\n");
    assert_eq!(shell(&autorun, &home, line).exits(0).stdout, printed(true));
    assert!(home.join("caller/log").is_file());
    let messages = shell(&autorun, &home, "autorun -C nosuch p.rhai")
        .exits(2)
        .messages();
    assert!(
        messages.contains("cannot change to `nosuch`: no such"),
        "{messages}"
    );
}

#[test]
fn a_file_that_imports_itself_under_another_path_is_reported() {
    let autorun = Autorun::new();
    let home = autorun.home.path();
    write(home, "lib/a.rhai", "import \"../lib/./b\" as b;\n");
    write(home, "lib/b.rhai", "import \"../lib/a\" as a;\n");
    let messages = shell(&autorun, home, "autorun lib/a.rhai")
        .exits(3)
        .messages();
    assert!(messages.contains("imports itself"), "{messages}");
    symlink("a.rhai", home.join("lib/c.rhai")).unwrap();
    write(home, "lib/a.rhai", "import \"c\" as c;\n");
    let messages = shell(&autorun, home, "autorun lib/a.rhai")
        .exits(3)
        .messages();
    assert!(messages.contains("imports itself"), "{messages}");
}

#[test]
fn other_files_are_refused_with_the_reason() {
    let autorun = Autorun::new();
    let home = autorun.home.path();
    fs::write(home.join("utf16"), b"\xff\xfel\0e\0t\0").unwrap();
    fs::write(home.join("latin"), b"let a = 1;\nlet b = \"\xe9\";\n").unwrap();
    for (file, exit, what) in [
        (".", 3, "is a directory"),
        ("utf16", 3, "is UTF-16 text, not UTF-8"),
        ("latin", 3, "--> latin:2:10"),
        ("/bin/sh", 3, "contains a NUL byte"),
        ("/dev/zero", 3, "is longer than 16.0 MiB"),
        ("/dev/null", 0, "/dev/null has no statements"),
        ("nosuch", 2, "no such file"),
    ] {
        let ended = shell(&autorun, home, &format!("autorun {file}")).exits(exit);
        assert!(ended.messages().contains(what), "{file}: {}", ended.stderr);
    }
}

#[test]
fn a_script_in_a_playbook_has_the_line_ends_of_unix() {
    let ended = Autorun::new()
        .playbook("let a = `one\r\ntwo`;\r\nprint(a.contains(\"\\r\"));\r\nprint(a);\r\n")
        .run()
        .exits(0);
    assert_eq!(ended.stdout, "false\none\ntwo\n");
}

#[test]
fn the_playbooks_of_this_repository_name_their_files_from_their_own_directory() {
    let mut named = 0;
    for entry in fs::read_dir(root().join("playbooks")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "rhai") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for folder in ["assets", "userdata"] {
            let relative = format!("\"{folder}/");
            assert!(!text.contains(&relative), "{}", path.display());
            for rest in text.split(&format!("/{folder}/")).skip(1) {
                let name = rest.split('"').next().unwrap();
                let file = root().join(folder).join(name);
                assert!(
                    file.is_file(),
                    "{} names {}",
                    path.display(),
                    file.display()
                );
                named += 1;
            }
        }
    }
    assert!(named >= 5, "{named}");
}
