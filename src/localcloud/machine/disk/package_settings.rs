//! The settings of package managers in a machine: they select the proxy and
//! skip work that a short-lived machine does not need.

use std::fs;
use std::io;
use std::path::Path;

use super::super::packages::Packages;
use super::seed::Seed;
use super::standins::PROXY;

/// apt hooks for desktops and long-lived machines. They take seconds.
const SLOW_APT_HOOKS: [&str; 9] = [
    "20apt-esm-hook.conf",
    "20packagekit",
    "20snapd.conf",
    "50appstream",
    "50command-not-found",
    "60icons",
    "60icons-hidpi",
    "60icons-large",
    "99update-notifier",
];

/// Adds the settings to the seed.
pub(in super::super) fn place(seed: &Seed) -> io::Result<()> {
    if seed.is_in_base("/etc/apt") {
        place_apt(seed)?;
    }
    for path in ["/etc/dnf/dnf.conf", "/etc/yum.conf"] {
        if let Some(text) = seed.text_in_base(path) {
            seed.file(path, with_proxy(&text), 0o644)?;
        }
    }
    Ok(())
}

/// Adds the outdated packages and the package lists to a separate layer.
pub(in super::super) fn place_packages(seed: &Seed, packages: &Packages) -> io::Result<()> {
    seed.file("/var/lib/dpkg/status", &packages.status, 0o644)?;
    let lists = seed.empty_directory(Path::new("/var/lib/apt/lists"))?;
    for entry in fs::read_dir(&packages.lists)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != "lock" {
            fs::hard_link(entry.path(), lists.join(entry.file_name()))?;
        }
    }
    for name in ["apt", "apt-get"] {
        let program = format!("/usr/bin/{name}");
        if Path::new(&program).is_file() {
            let real = format!("/usr/lib/autorun/{name}");
            seed.file(&real, fs::read(&program)?, 0o755)?;
            seed.file(&program, include_str!("apt.sh"), 0o755)?;
        }
    }
    Ok(())
}

fn place_apt(seed: &Seed) -> io::Result<()> {
    // apt reads the main file last, so its settings override the others.
    let own = seed.text_in_base("/etc/apt/apt.conf").unwrap_or_default();
    let (address, port) = PROXY;
    let settings = format!(
        "{own}\n\
         Acquire::http::Proxy \"http://{address}:{port}\";\n\
         Acquire::https::Proxy \"http://{address}:{port}\";\n\
         Acquire::http::Proxy-Auto-Detect \"\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         APT::Sandbox::User \"root\";\n\
         Dir::Cache::pkgcache \"pkgcache.bin\";\n\
         Dir::Cache::srcpkgcache \"srcpkgcache.bin\";\n"
    );
    seed.file("/etc/apt/apt.conf", settings, 0o644)?;
    seed.file("/etc/dpkg/dpkg.cfg.d/autorun", DPKG, 0o644)?;
    let hooks = SLOW_APT_HOOKS.map(|name| format!("/etc/apt/apt.conf.d/{name}"));
    let others = ["/usr/sbin/policy-rc.d", "/var/lib/man-db/auto-update"];
    for path in hooks.iter().map(String::as_str).chain(others) {
        if seed.is_in_base(path) {
            seed.hide(Path::new(path))?;
        }
    }
    Ok(())
}

const DPKG: &str = "force-unsafe-io\n\
    path-exclude=/usr/share/doc/*\n\
    path-exclude=/usr/share/man/*\n\
    path-exclude=/usr/share/info/*\n";

/// Returns the settings of dnf or yum with our proxy as the only one.
fn with_proxy(text: &str) -> String {
    let (address, port) = PROXY;
    let own = format!("proxy=http://{address}:{port}\ntsflags=nodocs");
    let mut lines = Vec::new();
    for line in text.lines() {
        let key = line.split('=').next().unwrap_or_default().trim();
        if !key.starts_with("proxy") {
            lines.push(line);
        }
        if line.trim() == "[main]" {
            lines.push(&own);
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dnf_has_only_our_proxy() {
        let text = "[main]\ngpgcheck=True\nproxy = http://old:1\nproxy_username=x\n";
        let expected = "[main]\nproxy=http://127.0.0.1:3128\ntsflags=nodocs\ngpgcheck=True\n";
        assert_eq!(with_proxy(text), expected);
    }
}
