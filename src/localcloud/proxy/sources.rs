//! The package sources that are configured on the host.

use std::fs;
use std::path::{Path, PathBuf};

use hyper::Uri;

/// Returns all configured package sources of apt and dnf, as `host`, or as
/// `host:port` if the port is not the default.
#[must_use]
pub(crate) fn package_sources_of_host() -> Vec<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(in_directory(
        Path::new("/etc/apt/sources.list.d"),
        &["list", "sources"],
    ));
    files.extend(in_directory(Path::new("/etc/yum.repos.d"), &["repo"]));
    let mut sources: Vec<String> = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| sources(&text))
        .collect();
    sources.sort();
    sources.dedup();
    sources
}

fn in_directory(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let extension = path.extension().and_then(|text| text.to_str());
            extension.is_some_and(|text| extensions.contains(&text))
        })
        .collect()
}

/// Returns all HTTP sources in a text that are not commented out. In all three
/// formats a URL is a separate word or follows `=`.
fn sources(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with(['#', ';']))
        .flat_map(|line| line.split(|c: char| c.is_whitespace() || c == '=' || c == ','))
        .filter_map(source)
        .collect()
}

fn source(word: &str) -> Option<String> {
    let start = word.find("http")?;
    // `mirror+http://` and `tor+https://` are HTTP sources, too.
    if start > 0 && !word[..start].ends_with('+') {
        return None;
    }
    // The value of a variable is unknown. Variables are not part of the host.
    let url = word[start..].split(['$', '?']).next()?;
    let uri: Uri = url.parse().ok()?;
    let default = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = uri.host()?.to_ascii_lowercase();
    Some(match uri.port_u16() {
        Some(port) if port != default => format!("{host}:{port}"),
        _ => host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_parsed() {
        let text = "# deb http://old.example.com/debian stable main\n\
            deb [arch=amd64 signed-by=/usr/share/k.gpg] https://apt.example.com:8443/x stable main\n\
            deb mirror+http://mirror.example.com/list stable main\n\
            deb cdrom:[Debian] stable main\n\
            Types: deb\nURIs: http://deb.debian.org/debian http://user:pw@10.1.2.3:3142/debian\n\
            [repo]\nname=http is nice\nbaseurl=https://Cdn.example.org/$basearch/os\n\
            mirrorlist=https://mirrors.example.net/x?repo=$releasever\n\
            metalink = https://meta.example.net/\n";
        assert_eq!(
            sources(text),
            [
                "apt.example.com:8443",
                "mirror.example.com",
                "deb.debian.org",
                "10.1.2.3:3142",
                "cdn.example.org",
                "mirrors.example.net",
                "meta.example.net",
            ]
        );
    }
}
