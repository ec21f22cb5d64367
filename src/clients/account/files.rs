//! `~/.aws/config` and `~/.aws/credentials`.
//!
//! The SDK's parser ignores sections and files that it cannot use, which the
//! AWS CLI accepts or reports: quoted profile names, indented keys, files that
//! are not readable. So the files are read here, by the CLI's rules, and every
//! mistake has its line.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::error::{Error, Result};
use crate::report::text;

/// The keys of a section, in lower case. A nested key is `outer.inner`.
pub(super) type Section = BTreeMap<String, String>;

/// What the two files contain.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The paths of the two files, the config file first.
    pub(super) paths: Vec<PathBuf>,
    pub(super) profiles: BTreeMap<String, Section>,
    pub(super) sso_sessions: BTreeMap<String, Section>,
    pub(super) services: BTreeMap<String, Section>,
    /// Sections whose names belong into the other file, with the right name.
    pub(super) misplaced: BTreeMap<String, String>,
}

/// Which of the two files it is; they name their profiles differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Config,
    Credentials,
}

impl Files {
    /// Checks the section that `services` of a profile names.
    ///
    /// Throws `not_found` if it does not exist.
    pub(super) fn check_services(&self, profile: &str) -> Result<()> {
        let services = self
            .profiles
            .get(profile)
            .and_then(|keys| keys.get("services"));
        let Some(name) = services.filter(|name| !name.is_empty()) else {
            return Ok(());
        };
        if self.services.contains_key(name) {
            return Ok(());
        }
        let message = format!(
            "the AWS profile `{profile}` names the section `[services {name}]`, which does not \
             exist"
        );
        let nearest = text::nearest(name, self.services.keys().map(String::as_str));
        let hint = match nearest {
            Some(nearest) => format!("did you mean `services = {nearest}`?"),
            None => format!("add `[services {name}]` to ~/.aws/config, or remove `services`"),
        };
        Err(Error::new(crate::error::ErrorKind::NotFound, message).hint(hint))
    }

    /// Reads both files. A missing file is empty.
    ///
    /// Throws `denied` if a file cannot be read, `invalid_option` if it is
    /// malformed.
    pub(super) fn read(environment: &Environment) -> Result<Self> {
        let mut files = Self::default();
        for (kind, variable, default) in [
            (Kind::Config, "AWS_CONFIG_FILE", ".aws/config"),
            (
                Kind::Credentials,
                "AWS_SHARED_CREDENTIALS_FILE",
                ".aws/credentials",
            ),
        ] {
            let path = environment.path(variable, default);
            if let Some(text) = text_of(&path)? {
                files.merge(kind, parse(&path, &text)?);
            }
            files.paths.push(path);
        }
        Ok(files)
    }

    fn merge(&mut self, kind: Kind, sections: Vec<(String, Section)>) {
        for (header, section) in sections {
            let words = shell_words::split(&header).unwrap_or_else(|_| vec![header.clone()]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let (map, name) = match (kind, words.as_slice()) {
                (Kind::Config, ["default"]) => (&mut self.profiles, "default"),
                (Kind::Config, ["profile", name]) => (&mut self.profiles, *name),
                (Kind::Config, ["sso-session", name]) => (&mut self.sso_sessions, *name),
                (Kind::Config, ["services", name]) => (&mut self.services, *name),
                (Kind::Config, [name]) => {
                    let right = format!("`[profile {name}]`, not `[{header}]`");
                    self.misplaced.insert((*name).to_owned(), right);
                    continue;
                }
                (Kind::Config, _) => continue,
                (Kind::Credentials, ["profile", name]) => {
                    let right = format!("`[{name}]`, not `[{header}]`");
                    self.misplaced.insert((*name).to_owned(), right);
                    (&mut self.profiles, header.as_str())
                }
                (Kind::Credentials, _) => (&mut self.profiles, header.as_str()),
            };
            map.entry(name.to_owned()).or_default().extend(section);
        }
    }
}

/// Returns the text of a file, or `None` if it does not exist.
fn text_of(path: &Path) -> Result<Option<String>> {
    // A directory or a device that a variable names, such as /dev/null, is as
    // good as no file: the AWS CLI ignores it.
    match fs::metadata(path) {
        Ok(about) if !about.is_file() => return Ok(None),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        _ => {}
    }
    let bytes = fs::read(path).map_err(|e| Error::io("read", path, &e))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(e) => {
            let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = valid.split(|byte| *byte == b'\n').count();
            Err(malformed(path, line, "the text is not UTF-8")
                .hint("save the file in UTF-8 without other encodings"))
        }
    }
}

fn malformed(path: &Path, line: usize, what: &str) -> Error {
    Error::invalid(format!("{}:{line}: {what}", path.display()))
}

/// Parses the sections of a file. A section may occur several times.
fn parse(path: &Path, text: &str) -> Result<Vec<(String, Section)>> {
    let mut sections: Vec<(String, Section)> = Vec::new();
    // The last key and its indentation: a line that is indented further
    // continues its value or is nested below it.
    let mut last: Option<(String, usize)> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let fault = |what: &str| malformed(path, index + 1, what);
        // A command may contain ` #`, and the AWS CLI passes all of it on.
        let content = if line.trim_start().starts_with("credential_process") {
            line.trim_end()
        } else {
            without_comment(line)
        };
        let indent = content.len() - content.trim_start().len();
        let content = content.trim();
        if content.is_empty() {
            continue;
        }
        // Below an option, it would continue the option's value.
        let may_be_header = last.as_ref().is_none_or(|(_, depth)| indent <= *depth);
        if may_be_header && content.starts_with('[') {
            let Some((header, _)) = content[1..].split_once(']') else {
                return Err(fault("the header of the section has no `]`")
                    .hint("write it as `[default]` or `[profile NAME]`"));
            };
            sections.push((header.trim().to_owned(), Section::new()));
            last = None;
            continue;
        }
        let Some((_, section)) = sections.last_mut() else {
            return Err(fault("the line belongs to no section")
                .hint("put `[default]` or `[profile NAME]` above it"));
        };
        let pair = content.find(['=', ':']).map(|at| {
            let name = content[..at].trim().to_lowercase();
            (name, content[at + 1..].trim().to_owned())
        });
        match (&last, pair) {
            (Some((outer, depth)), pair) if indent > *depth => match pair {
                Some((inner, value)) if section[outer].is_empty() => {
                    section.insert(format!("{outer}.{inner}"), value);
                }
                _ => {
                    let value = section.entry(outer.clone()).or_default();
                    *value = format!("{value}\n{content}");
                }
            },
            (_, Some((name, value))) if !name.is_empty() => {
                section.insert(name.clone(), value);
                last = Some((name, indent));
            }
            _ => {
                return Err(fault("the line has no `=`")
                    .hint("write each setting as `name = value` on a line of its own"));
            }
        }
    }
    Ok(sections)
}

/// Removes a comment: a whole line, or the rest after a space.
fn without_comment(line: &str) -> &str {
    if line.starts_with(['#', ';']) {
        return "";
    }
    let starts = line.match_indices(['#', ';']).map(|(at, _)| at);
    let comment = starts
        .filter(|at| line[..*at].ends_with([' ', '\t']))
        .min()
        .unwrap_or(line.len());
    line[..comment].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, credentials: &str) -> Result<Files> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        fs::write(home.path().join(".aws/config"), config).unwrap();
        fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        let variables = [("HOME".to_owned(), home.path().display().to_string())];
        Files::read(&Environment::new(variables))
    }

    /// The AWS CLI reads each of these the same way.
    #[test]
    fn the_files_are_read_as_the_aws_cli_reads_them() {
        let files = read(
            "\u{feff}[default]\r\n  region = eu-west-1\r\n  output=json # comment\r\n\
             [profile \"two words\"]\nREGION: us-east-1\n; comment\n\
             s3 =\n  addressing_style = path\n\n  max_queue_size = 10\nrole_arn=arn:aws:iam::1:role/a\n\
             [services local]\ns3 =\n    endpoint_url = http://127.0.0.1:1\n\
             [sso-session corp]\nsso_region=eu-west-1\n\
             [profile p]\ncredential_process = op read \"op://a #1\" \n[plugins]\nx=y\n[work]\nregion=a\n\
             [profile indented]\n  [profile p2]\nregion=b\n",
            "[default]\naws_access_key_id=AKIA\nregion=eu-west-2\n[profile b]\naws_access_key_id=c\n",
        )
        .unwrap();
        assert_eq!(files.profiles["default"]["region"], "eu-west-2");
        assert_eq!(files.profiles["default"]["output"], "json");
        assert_eq!(files.profiles["default"]["aws_access_key_id"], "AKIA");
        let two = &files.profiles["two words"];
        assert_eq!(two["region"], "us-east-1");
        assert_eq!(two["s3.addressing_style"], "path");
        assert_eq!(two["s3.max_queue_size"], "10");
        assert_eq!(two["role_arn"], "arn:aws:iam::1:role/a");
        assert_eq!(
            files.services["local"]["s3.endpoint_url"],
            "http://127.0.0.1:1"
        );
        assert_eq!(files.sso_sessions["corp"]["sso_region"], "eu-west-1");
        assert_eq!(files.profiles["p2"]["region"], "b");
        let command = &files.profiles["p"]["credential_process"];
        assert_eq!(command, "op read \"op://a #1\"");
        assert_eq!(files.misplaced["work"], "`[profile work]`, not `[work]`");
        assert_eq!(files.misplaced["b"], "`[b]`, not `[profile b]`");
    }

    #[test]
    fn a_mistake_has_its_line() {
        for (config, line) in [
            ("[default]\nregion\n", "config:2: the line has no `=`"),
            ("region = a\n", "config:1: the line belongs to no section"),
            ("[default]\n\n[profile a\n", "config:3: the header"),
            ("[default]\n= a\n", "config:2: the line has no `=`"),
        ] {
            let error = read(config, "").unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
    }
}
