//! The rules of the check: the code, level and explanation of each.

use std::fmt::Write as _;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Probably a mistake. A comment in the playbook silences it.
    Warning,
    /// The playbook fails at this place.
    Error,
}

impl Level {
    /// Returns the name in the output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One kind of mistake that the check finds.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name, for `autorun docs` and for comments that silence it.
    pub code: &'static str,
    /// Level of its findings.
    pub level: Level,
    /// One line for lists.
    pub summary: &'static str,
    /// Why it is a mistake.
    pub reason: &'static str,
    /// An example that has the mistake.
    pub wrong: &'static str,
    /// The same example without the mistake.
    pub right: &'static str,
}

impl Rule {
    /// Returns the rule with this code.
    #[must_use]
    pub fn named(code: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.code == code).copied()
    }

    /// Returns whether a comment can silence its findings.
    #[must_use]
    pub fn can_be_allowed(&self) -> bool {
        self.level == Level::Warning
    }

    /// Returns the explanation in Markdown.
    #[must_use]
    pub fn explained(&self) -> String {
        let level = self.level.as_str();
        let mut out = format!("# {}\n\n{} ({level}).\n\n", self.code, self.summary);
        let _ = writeln!(out, "{}\n", self.reason);
        let _ = writeln!(out, "Wrong:\n\n```rhai\n{}\n```\n", self.wrong);
        let _ = writeln!(out, "Right:\n\n```rhai\n{}\n```", self.right);
        if self.can_be_allowed() {
            let code = self.code;
            let _ = write!(
                out,
                "\nTo keep a line as it is, write a comment at its end or in the line before it:\n\n    \
                 // autorun: allow {code}\n"
            );
        }
        out
    }
}

/// Returns one line for each rule.
#[must_use]
pub fn overview() -> String {
    let longest = RULES.iter().map(|rule| rule.code.len()).max().unwrap_or(0);
    let mut out = String::new();
    for rule in RULES {
        let (code, level) = (rule.code, rule.level.as_str());
        let _ = writeln!(out, "  {code:longest$}  {level:7}  {}", rule.summary);
    }
    out
}

macro_rules! rules {
    ($($name:ident $code:literal $level:ident $summary:literal
        because $reason:literal wrong $wrong:literal right $right:literal)*) => {
        $(pub(in crate::playbook) static $name: Rule = Rule {
            code: $code,
            level: Level::$level,
            summary: $summary,
            reason: $reason,
            wrong: $wrong,
            right: $right,
        };)*
        /// All rules.
        pub static RULES: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    SYNTAX "syntax" Error "The text is not Rhai"
    because "The file cannot be compiled, so nothing else in it is checked."
    wrong "let size = 8\nprint(size);"
    right "let size = 8;\nprint(size);"

    IMPORT "import" Error "An imported file cannot be read"
    because "The path of an import is relative to the file with the import."
    wrong "import \"no-such-file\" as helpers;\nhelpers::start();"
    right "let size = 8;\nprint(size);"

    DECLARATION "declaration" Error "A variable for --set is declared wrongly"
    because "autorun reads declarations with `var` before the run. They stand at the\n\
             top level, and their name and options are literals."
    wrong "if true {\n    let size = var(\"size\", #{ default: 8 });\n    print(size);\n}"
    right "let size = var(\"size\", #{ default: 8 });\nprint(size);"

    UNKNOWN_VARIABLE "unknown-variable" Error "A variable does not exist"
    because "Variables are declared with `let` or `const`, and are known only in their\n\
             block. Functions cannot use variables of the playbook."
    wrong "let name = \"web\";\nprint(nmae);"
    right "let name = \"web\";\nprint(name);"

    UNKNOWN_FUNCTION "unknown-function" Error "A function does not exist"
    because "Neither autorun nor the playbook defines a function with this name."
    wrong "let bucket = create_buckt(\"pictures\");\nprint(bucket.name);"
    right "let bucket = create_bucket(\"pictures\");\nprint(bucket.name);"

    UNKNOWN_METHOD "unknown-method" Error "A method does not exist"
    because "No function has this name, and no map in the playbook has such a key."
    wrong "let name = \"web\";\nprint(name.uppercase());"
    right "let name = \"web\";\nprint(name.to_upper());"

    ARGUMENT_COUNT "argument-count" Error "A call has too few or too many arguments"
    because "Rhai chooses a function by its name and by the number of arguments."
    wrong "let page = http_get();\nprint(page.body);"
    right "let page = http_get(\"http://192.0.2.10/\");\nprint(page.body);"

    ARGUMENT_TYPE "argument-type" Error "A literal argument has the wrong type"
    because "The function fails when it is called with this type."
    wrong "wait_for_port(\"192.0.2.10\", \"22\");"
    right "wait_for_port(\"192.0.2.10\", 22);"

    UNKNOWN_OPTION "unknown-option" Error "An option does not exist"
    because "Options are the keys of the map in the last argument. Unknown ones are\n\
             refused, so that a misspelt option is not ignored."
    wrong "let server = launch_instance(#{ nme: \"web\" });\nprint(server.id);"
    right "let server = launch_instance(#{ name: \"web\" });\nprint(server.id);"

    MISSING_OPTION "missing-option" Error "A required option is missing"
    because "The function cannot work without this option."
    wrong "open_port(\"sg-0123456789abcdef0\", #{});"
    right "open_port(\"sg-0123456789abcdef0\", #{ port: 443 });"

    OPTION_TYPE "option-type" Error "A literal option has the wrong type"
    because "The function fails when it is called with this type."
    wrong "open_port(\"sg-0123456789abcdef0\", #{ port: \"https\" });"
    right "open_port(\"sg-0123456789abcdef0\", #{ port: 443 });"

    UNKNOWN_FIELD "unknown-field" Error "A result has no such key"
    because "The keys of results are listed in the manual of each function."
    wrong "let server = launch_instance(#{});\nprint(server.ip);"
    right "let server = launch_instance(#{});\nprint(server.public_ip);"

    IMPOSSIBLE_VALUE "impossible-value" Error "No service accepts a literal value"
    because "The value breaks a rule of AWS or of ssh. The call fails whenever it runs."
    wrong "open_port(\"sg-0123456789abcdef0\", #{ port: 70000 });"
    right "open_port(\"sg-0123456789abcdef0\", #{ port: 443 });"

    USER_DATA "user-data" Error "cloud-init would not run this user data"
    because "User data is at most 16,384 bytes, and begins with `#!`, `#cloud-config` or\n\
             another header that cloud-init knows. It ignores all other text."
    wrong "let server = launch_instance(#{ user_data: \"dnf install -y nginx\" });\nprint(server.id);"
    right "let script = \"#!/bin/sh\\ndnf install -y nginx\";\nlet server = launch_instance(#{ user_data: script });\nprint(server.id);"

    UNUSED_VARIABLE "unused-variable" Warning "A variable is never read"
    because "The name may be misspelt where it should be used. Begin the name with `_`\n\
             if the variable is not needed."
    wrong "let size = 8;\nprint(\"started\");"
    right "let _size = 8;\nprint(\"started\");"

    UNUSED_FUNCTION "unused-function" Warning "A function is never called"
    because "The name may be misspelt where it should be called. Of an imported file,\n\
             only private functions are reported."
    wrong "fn greet() {\n    print(\"hello\");\n}\nprint(\"started\");"
    right "fn greet() {\n    print(\"hello\");\n}\ngreet();"

    UNUSED_IMPORT "unused-import" Warning "An import is never used"
    because "The statements of an imported file run even if nothing in it is used."
    wrong "import \"helpers\" as helpers;\nprint(\"started\");"
    right "print(\"started\");"

    UNUSED_VAR "unused-var" Warning "A variable for --set is never read"
    because "The caller can set it, without an effect."
    wrong "let size = var(\"size\", #{ default: 8 });\nprint(\"started\");"
    right "let size = var(\"size\", #{ default: 8 });\nprint(size);"

    UNREACHABLE_CODE "unreachable-code" Warning "A statement never runs"
    because "The statement before it always leaves the block."
    wrong "fail(\"no server\");\nprint(\"ready\");"
    right "print(\"ready\");\nfail(\"no server\");"

    EMPTY_CATCH "empty-catch" Warning "An error is dropped"
    because "Nothing shows that something failed. Log the error, or write a comment in\n\
             the block that says why it does not matter."
    wrong "try {\n    print(read_file(\"/etc/motd\"));\n} catch { }"
    right "try {\n    print(read_file(\"/etc/motd\"));\n} catch (err) {\n    log_warn(error_info(err).message);\n}"

    EXPOSED_SECRET "exposed-secret" Warning "Others can read a secret"
    because "Names, tags and command lines are visible to other users of the account and\n\
             of the host. The call is refused. Pass the secret with `env` or `stdin`."
    wrong "let password = var(\"password\", #{ type: \"string\", secret: true });\nssh_exec(\"192.0.2.10\", `mysql -p${password}`);"
    right "let password = var(\"password\", #{ type: \"string\", secret: true });\nssh_exec(\"192.0.2.10\", \"mysql\", #{ env: #{ MYSQL_PWD: password } });"

    MISSING_FILE "missing-file" Warning "A local file cannot be read"
    because "A relative path starts at the directory in which autorun is called. If the\n\
             playbook creates the file itself, silence the line."
    wrong "print(read_file(\"no-such-file.txt\"));"
    right "print(read_file(\"/etc/hosts\"));"

    CONSTANT_COMPARISON "constant-comparison" Warning "A comparison has always the same result"
    because "Values of different types are never equal in Rhai: `0 == \"0\"` is false."
    wrong "let result = local_exec([\"true\"]);\nif result.status == \"0\" {\n    print(\"done\");\n}"
    right "let result = local_exec([\"true\"]);\nif result.status == 0 {\n    print(\"done\");\n}"

    NO_VALUE "no-value" Warning "A method that returns nothing is used as a value"
    because "Methods such as `trim`, `replace` and `sort` change the value in place and\n\
             return `()`."
    wrong "let name = \" web \";\nlet short = name.trim();\nprint(short);"
    right "let name = \" web \";\nname.trim();\nprint(name);"

    UNKNOWN_ALLOWANCE "unknown-allowance" Warning "A comment silences a code that does not exist"
    because "`// autorun: allow CODE` silences warnings by their codes. Errors cannot be\n\
             silenced."
    wrong "// autorun: allow unused-variables\nlet size = 8;\nprint(size);"
    right "// autorun: allow unused-variable\nlet size = 8;\nprint(\"started\");"
}
