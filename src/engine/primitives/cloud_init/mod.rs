//! What cloud-init does with user data, as cloud-init itself decides it.
//!
//! cloud-init only logs what it cannot use, and counts as done. An instance whose
//! user data has no effect looks ready. So the decision is made here as well,
//! before the launch. `tests/cloud_init` compares it with the real cloud-init.

mod check;
mod config;
mod keys;
mod message;
#[cfg(test)]
mod tests;

pub(super) use check::check;
use config::{Root, root_of};
use message::Message;

/// The content type of user data that is not a MIME message.
const NOT_MULTIPART: &str = "text/x-not-multipart";

const SCRIPT: &str = "text/x-shellscript";
const CONFIG: &str = "text/cloud-config";
const PATCH: &str = "text/cloud-config-jsonp";
const ARCHIVE: &str = "text/cloud-config-archive";
const BOOTHOOK: &str = "text/cloud-boothook";
const HANDLER: &str = "text/part-handler";
const JINJA: &str = "text/jinja2";
const INCLUDE: &str = "text/x-include-url";
const INCLUDE_ONCE: &str = "text/x-include-once-url";

/// The beginnings that decide the content type, the longest first.
const BEGINNINGS: [(&str, &str); 12] = [
    (
        "text/x-shellscript-per-instance",
        "text/x-shellscript-per-instance",
    ),
    ("text/x-shellscript-per-boot", "text/x-shellscript-per-boot"),
    ("text/x-shellscript-per-once", "text/x-shellscript-per-once"),
    ("#cloud-config-archive", ARCHIVE),
    ("#cloud-config-jsonp", PATCH),
    ("## template: jinja", JINJA),
    ("#cloud-boothook", BOOTHOOK),
    ("#cloud-config", CONFIG),
    ("#include-once", INCLUDE_ONCE),
    ("#part-handler", HANDLER),
    ("#include", INCLUDE),
    ("#!", SCRIPT),
];

/// Content types of gzip data.
const GZIP: [&str; 8] = [
    "application/gzip",
    "application/gzip-compressed",
    "application/gzipped",
    "application/x-compress",
    "application/x-compressed",
    "application/x-gunzip",
    "application/x-gzip",
    "application/x-gzip-compressed",
];

/// One part of user data, and what cloud-init does with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) content_type: String,
    pub(super) name: String,
    /// Why the part has no effect.
    pub(super) fault: Option<Fault>,
    /// The keys of a cloud-config that cloud-init ignores.
    pub(super) ignored: Vec<String>,
}

/// Why a part of user data has no effect, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) why: String,
    pub(super) hint: &'static str,
    /// Whether another program than cloud-init may read the part.
    pub(super) may_be_foreign: bool,
}

/// Returns the parts of user data, or why cloud-init stops before it uses any.
pub(super) fn classify(data: &str) -> Result<Vec<Part>, Fault> {
    let mut parts = Parts::default();
    parts.add(data.as_bytes())?;
    if parts.0.is_empty() {
        return Err(nothing(data));
    }
    Ok(parts.0)
}

#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn add(&mut self, data: &[u8]) -> Result<(), Fault> {
        if !is_message(data) {
            return self.add_content(NOT_MULTIPART.to_owned(), [None, None], data);
        }
        let text =
            std::str::from_utf8(data).map_err(|_| fault("a MIME message must be UTF-8", ENCODE))?;
        self.add_message(&Message::parse(text))
    }

    fn add_message(&mut self, message: &Message) -> Result<(), Fault> {
        if !message.is_multipart() {
            let names = [message.file_name(), message.type_name()];
            self.add_content(message.content_type(), names, &message.content())?;
        }
        message
            .parts
            .iter()
            .try_for_each(|part| self.add_message(part))
    }

    /// Adds content whose type is declared, or is to be found. It may have a name
    /// and another one beside its declared type, which is lost with the type.
    fn add_content(
        &mut self,
        declared: String,
        [name, type_name]: [Option<String>; 2],
        content: &[u8],
    ) -> Result<(), Fault> {
        if GZIP.contains(&declared.as_str()) {
            // What is in it shows only on the instance.
            self.push(declared, name.or(type_name), None);
            return Ok(());
        }
        let text = String::from_utf8_lossy(content);
        let is_open = ["text/plain", NOT_MULTIPART, SCRIPT].contains(&declared.as_str());
        let found = if is_open { type_of(&text) } else { None };
        let is_declared = found.is_none_or(|found| found == declared);
        let name = name.or(type_name.filter(|_| is_declared));
        let content_type = found.map_or(declared, str::to_owned);
        match content_type.as_str() {
            INCLUDE | INCLUDE_ONCE => {
                for _ in included(&text)? {
                    self.push(content_type.clone(), None, None);
                }
            }
            ARCHIVE => self.add_archive(&text)?,
            _ => {
                let is_utf8 = std::str::from_utf8(content).is_ok();
                let fault = if is_utf8 {
                    self.fault(&content_type, &text)
                } else {
                    Some(fault("it is not UTF-8", ENCODE))
                };
                let ignored = match (content_type.as_str(), &fault) {
                    (CONFIG, None) => keys::ignored(&text),
                    _ => Vec::new(),
                };
                self.push(content_type, name, fault);
                if let Some(part) = self.0.last_mut() {
                    part.ignored = ignored;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, content_type: String, name: Option<String>, fault: Option<Fault>) {
        let name = name.unwrap_or_else(|| format!("part-{:03}", self.0.len() + 1));
        self.0.push(Part {
            content_type,
            name,
            fault,
            ignored: Vec::new(),
        });
    }

    fn add_archive(&mut self, text: &str) -> Result<(), Fault> {
        let is_list = root_of(text).map_err(|wrong| not_yaml(&wrong))? == Root::List;
        let parts = config::archived(text);
        if !is_list || parts.is_empty() {
            return Err(fault("the archive is not a list of parts", ARCHIVE_HINT));
        }
        for part in parts {
            let content = part.get("content").map_or("", String::as_str);
            let content_type = match part.get("type") {
                Some(declared) => declared,
                None => type_of(content).unwrap_or(CONFIG),
            };
            let fault = self.fault(content_type, content);
            self.push(
                content_type.to_owned(),
                part.get("filename").cloned(),
                fault,
            );
        }
        Ok(())
    }

    /// Returns why cloud-init's handler of this type does nothing with the text.
    fn fault(&self, content_type: &str, text: &str) -> Option<Fault> {
        if text.is_empty() {
            return Some(fault("it is empty", BEGIN));
        }
        match content_type {
            SCRIPT
            | "text/x-shellscript-per-boot"
            | "text/x-shellscript-per-instance"
            | "text/x-shellscript-per-once" => script_fault(text),
            CONFIG => config_fault(text),
            PATCH => patch_fault(text),
            BOOTHOOK => script_fault(strip_header(text, "#cloud-boothook")),
            HANDLER => handler_fault(text),
            JINJA => jinja_fault(text),
            NOT_MULTIPART => Some(unknown_beginning(text)),
            _ if self.0.iter().any(|part| part.content_type == HANDLER) => None,
            other => Some(Fault {
                may_be_foreign: other != "text/plain" && other != "message/rfc822",
                ..fault(
                    format!("cloud-init does not read the content type `{other}`"),
                    TYPES,
                )
            }),
        }
    }
}

/// Returns why user data has no part.
fn nothing(data: &str) -> Fault {
    if is_message(data.as_bytes()) {
        return fault(
            "the MIME message has no parts: cloud-init finds none by its boundary",
            "pass the boundary in `Content-Type: multipart/mixed; boundary=\"..\"`, and begin each \
             part with a line that is `--` and the boundary",
        );
    }
    fault("`#include` names no URL", INCLUDE_HINT)
}

const BEGIN: &str = "begin a script with #!/bin/sh, a cloud-config with #cloud-config; to pass a \
     file, read it with read_file or render";
const ENCODE: &str = "save the file as UTF-8 without a byte order mark";
const TYPES: &str = "use `text/x-shellscript` for a script and `text/cloud-config` for a \
     cloud-config";
const OTHER_SYSTEM: &str = "launch an image with cloud-init, and write a script that begins with \
     #!/bin/sh or a cloud-config";
const INCLUDE_HINT: &str = "write one URL a line below `#include`; it begins with http:// or \
     https://";
const ARCHIVE_HINT: &str = "begin each part with `- `, as in `- {type: text/x-shellscript, \
     content: \"..\"}`";
const CONFIG_HINT: &str = "correct this line: indent with spaces, close quotes and brackets, and quote \
     a text that has `: ` in it or begins with a mark such as `{`, `*` or `@`";

fn fault(why: impl Into<String>, hint: &'static str) -> Fault {
    Fault {
        why: why.into(),
        hint,
        may_be_foreign: false,
    }
}

fn not_yaml(wrong: &config::Wrong) -> Fault {
    fault(
        format!("line {} is not YAML: {}", wrong.line, wrong.why),
        CONFIG_HINT,
    )
}

/// cloud-init takes data for a MIME message if this header is near the start.
fn is_message(data: &[u8]) -> bool {
    let start = data[..data.len().min(4096)].to_ascii_lowercase();
    start.windows(13).any(|window| window == b"mime-version:")
}

/// Returns the content type that the beginning decides.
fn type_of(text: &str) -> Option<&'static str> {
    let start: String = text
        .trim_start_matches(is_python_space)
        .chars()
        .take(40)
        .collect();
    let start = start.to_lowercase();
    let mut beginnings = BEGINNINGS.iter();
    let found = beginnings.find(|(beginning, _)| start.starts_with(beginning));
    found.map(|(_, kind)| *kind)
}

fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The kernel executes a script only if its first two bytes are `#!`.
fn script_fault(text: &str) -> Option<Fault> {
    let Some(rest) = text.strip_prefix("#!") else {
        return Some(if type_of(text) == Some(SCRIPT) {
            fault(
                "blank lines or spaces precede `#!`, and the kernel does not execute such a script",
                "begin the script with its `#!` line",
            )
        } else {
            fault(
                "the script does not begin with `#!`, and the kernel does not execute it",
                "begin the script with #!/bin/sh",
            )
        });
    };
    let interpreter = rest.lines().next().unwrap_or_default();
    interpreter.trim().is_empty().then(|| {
        fault(
            "`#!` names no interpreter",
            "begin the script with #!/bin/sh",
        )
    })
}

fn config_fault(text: &str) -> Option<Fault> {
    match root_of(text) {
        Ok(Root::Map) => None,
        Ok(Root::Nothing) => Some(fault(
            "the cloud-config is empty",
            "write keys below `#cloud-config`, such as `packages: [nginx]`",
        )),
        Ok(Root::List | Root::Text) => Some(fault(
            "the cloud-config is not a map of keys and values",
            "write keys below `#cloud-config`, such as `packages: [nginx]`",
        )),
        Err(wrong) => Some(not_yaml(&wrong)),
    }
}

fn patch_fault(text: &str) -> Option<Fault> {
    let patch = strip_header(text.trim_start(), "#cloud-config-jsonp");
    let operations = serde_json::from_str::<Vec<serde_json::Map<String, serde_json::Value>>>(patch);
    let is_good = operations.is_ok_and(|all| all.iter().all(is_patch_operation));
    (!is_good).then(|| {
        fault(
            "it is not a JSON patch",
            "write a list of operations, such as [{\"op\": \"add\", \"path\": \"/hostname\", \
             \"value\": \"web\"}]",
        )
    })
}

fn is_patch_operation(one: &serde_json::Map<String, serde_json::Value>) -> bool {
    let is_path = |key| {
        let path = one.get(key).and_then(serde_json::Value::as_str);
        path.is_some_and(|path| path.is_empty() || path.starts_with('/'))
    };
    let has_arguments = match one.get("op").and_then(serde_json::Value::as_str) {
        Some("add" | "replace" | "test") => one.contains_key("value"),
        Some("copy" | "move") => is_path("from"),
        Some("remove") => true,
        _ => false,
    };
    has_arguments && is_path("path")
}

/// cloud-init asks a part handler for its content types.
fn handler_fault(text: &str) -> Option<Fault> {
    (!text.contains("list_types")).then(|| {
        fault(
            "a part handler defines `list_types`, and this one does not",
            "define `list_types()` and `handle_part(data, ctype, filename, payload)`",
        )
    })
}

/// Jinja templates may contain scripts and cloud-configs. What a template decides
/// itself shows only on the instance.
fn jinja_fault(text: &str) -> Option<Fault> {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let kind = type_of(rest);
    if !first.starts_with("##") {
        return Some(fault(
            "blank lines or spaces precede `## template: jinja`",
            "begin the user data with that line",
        ));
    }
    let engine = first
        .split_once(':')
        .map_or("", |(_, engine)| engine.trim());
    if !engine.eq_ignore_ascii_case("jinja") {
        return Some(fault(
            format!("cloud-init has no template engine `{engine}`"),
            "begin the user data with `## template: jinja`",
        ));
    }
    let decides = ["{{", "{%", "{#"].iter().any(|mark| rest.contains(mark));
    if decides && (kind.is_none() && rest.trim_start().starts_with('{')) {
        return None;
    }
    match kind {
        Some(SCRIPT) => script_fault(rest),
        Some(CONFIG) if decides => None,
        Some(CONFIG) => config_fault(rest),
        _ => Some(fault(
            "a template contains a script or a cloud-config, and this one does not",
            "write `#!/bin/sh` or `#cloud-config` into the second line",
        )),
    }
}

/// Returns the URLs below `#include`. cloud-init uses nothing of the user data if
/// it cannot fetch one of them.
fn included(text: &str) -> Result<Vec<&str>, Fault> {
    let mut urls = Vec::new();
    for line in text.lines() {
        let after_header = ["#include-once", "#include"].iter().find_map(|header| {
            let start = line.get(..header.len())?;
            start
                .eq_ignore_ascii_case(header)
                .then(|| line[header.len()..].trim_start())
        });
        // A header or a comment that is indented counts as a URL.
        let line = after_header.unwrap_or(line);
        let url = line.trim();
        if url.is_empty() || line.starts_with('#') {
            continue;
        }
        let lower = url.to_lowercase();
        let is_url = ["http://", "https://", "file://", "/"];
        if !is_url.iter().any(|start| lower.starts_with(start)) {
            let shown: String = url.chars().take(60).collect();
            return Err(fault(
                format!("cloud-init cannot fetch `{shown}` of `#include`"),
                INCLUDE_HINT,
            ));
        }
        urls.push(url);
    }
    Ok(urls)
}

fn strip_header<'a>(text: &'a str, header: &str) -> &'a str {
    text.strip_prefix(header).unwrap_or(text).trim_start()
}

/// Explains why user data without a known beginning has no effect.
fn unknown_beginning(text: &str) -> Fault {
    let bare = text.trim_start_matches(is_python_space);
    if bare.is_empty() {
        return fault("it is blank", BEGIN);
    }
    if text.contains('\u{feff}') && type_of(&text.replacen('\u{feff}', "", 1)).is_some() {
        return fault("a byte order mark precedes its first line", ENCODE);
    }
    if text.contains('\0') {
        return fault("it has NUL characters, as text in UTF-16 has", ENCODE);
    }
    if encodes_user_data(bare) {
        return fault(
            "it is encoded in base64, which autorun does itself",
            "pass the text as it is",
        );
    }
    let lower = bare.to_lowercase();
    if lower.starts_with("content-type:") {
        return fault(
            "it has no line `MIME-Version: 1.0`, so cloud-init does not read it as a MIME message",
            "write `MIME-Version: 1.0` before `Content-Type:`",
        );
    }
    if let Some(system) = other_system(&lower) {
        return fault(
            format!("it is for {system}, and cloud-init does not read it"),
            OTHER_SYSTEM,
        );
    }
    if lower.starts_with("http://") || lower.starts_with("https://") {
        return fault(
            "it is a URL, which cloud-init fetches only below `#include`",
            "write `#include` into the line above the URL",
        );
    }
    if let Some(quoted) = bare.strip_prefix(['"', '\'', '`'])
        && type_of(quoted).is_some()
    {
        return fault(
            "a quotation mark precedes its first line",
            "remove the marks around the user data",
        );
    }
    if let Some(line) = bare.lines().find(|line| type_of(line).is_some()) {
        let shown: String = line.trim().chars().take(40).collect();
        return fault(
            format!("other lines precede `{shown}`"),
            "move that line to the top",
        );
    }
    fault(
        "it begins neither with `#!` nor with `#cloud-config`, so cloud-init ignores it",
        BEGIN,
    )
}

/// Returns the system whose images read user data that begins like this.
fn other_system(lower: &str) -> Option<&'static str> {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|one| lower.starts_with(one));
    let windows = ["<powershell>", "<script>", "<persist>", "#ps1", "rem cmd"];
    let is_ec2_launch = begins(&["version: 1."]) && lower.contains("\ntasks:");
    if begins(&windows) || is_ec2_launch {
        Some("Windows")
    } else if begins(&["{"]) && lower.contains("\"ignition\"") {
        Some("Ignition, as in Fedora CoreOS and Flatcar")
    } else if begins(&["variant:"]) {
        Some("Butane, which makes a configuration for Ignition of it")
    } else if begins(&["[settings."]) {
        Some("Bottlerocket")
    } else {
        None
    }
}

/// Whether the text is base64 of something that cloud-init would use.
fn encodes_user_data(text: &str) -> bool {
    use base64::Engine as _;
    let joined: String = text.split_whitespace().collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(joined);
    decoded.is_ok_and(|data| {
        let text = String::from_utf8_lossy(&data);
        data.starts_with(b"\x1f\x8b")
            || is_message(&data)
            || type_of(&text).is_some()
            || (!text.is_empty() && encodes_user_data(&text))
    })
}
