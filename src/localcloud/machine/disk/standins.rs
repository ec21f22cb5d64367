//! Replacements for parts of the host's system: the programs of an init system,
//! a sudo without passwords, empty settings, variables that select the proxy.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use super::super::{system, tools};
use super::accounts::Accounts;
use super::seed::Seed;

/// The path of this program in a machine, where `jail` mounts it.
pub(in super::super) const BINARY: &str = "/run/autorun/bin";

/// The name of this program as the sftp server.
pub(in super::super) const SFTP_SERVER: &str = "/usr/lib/autorun/sftp-server";

/// The path of `cloud-init` in a machine.
pub(in super::super) const CLOUD_INIT: &str = "/usr/bin/cloud-init";

/// The host's own `cloud-init`, if it is installed there.
pub(in super::super) const HOSTS_CLOUD_INIT: &str = "/usr/lib/autorun/cloud-init";

/// The login user that exists in every machine from the start.
pub(in super::super) const USER: &str = "ec2-user";

/// dpkg's list of files that are installed elsewhere: three lines each.
const DIVERSIONS: &str = "/var/lib/dpkg/diversions";

const DIVERTED: &str = "/usr/lib/autorun/diverted";

/// The names of this program in a machine, and their directories.
const TOOLS: [(&str, &str); 9] = [
    ("bin", "cloud-init"),
    ("bin", "systemctl"),
    ("sbin", "dmidecode"),
    ("sbin", "halt"),
    ("sbin", "init"),
    ("sbin", "poweroff"),
    ("sbin", "reboot"),
    ("sbin", "shutdown"),
    ("sbin", "telinit"),
];

/// The host's own `hostname`, which prints names.
pub(in super::super) const HOSTNAME: &str = "/usr/lib/autorun/hostname";

/// The address of the proxy in every machine.
pub(in super::super) const PROXY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 3128);

/// The address of the metadata service, on the switch.
pub(in super::super) const METADATA: (Ipv4Addr, u16) = (Ipv4Addr::new(169, 254, 169, 254), 80);

/// The default search path for programs.
pub(in super::super) const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The hosts that programs reach without the proxy: the machine itself, and the
/// metadata service by IPv4 and IPv6. No machine has an IPv6 network, and programs
/// that try both addresses must find that out, and not the refusal of the proxy: the
/// distribution's cloud-init takes the first answer, whichever it is. Programs differ
/// in whether they compare an IPv6 address with or without its brackets.
const WITHOUT_PROXY: &str = "localhost,127.0.0.1,::1,[::1],fd00:ec2::254,[fd00:ec2::254]";

/// Returns the environment variables that direct programs to the proxy, except
/// for these networks.
pub(in super::super) fn proxy_variables(networks: &str) -> Vec<(String, String)> {
    let proxy = format!("http://{}:{}", PROXY.0, PROXY.1);
    let direct = format!("{WITHOUT_PROXY},{},{networks}", METADATA.0);
    let both = |name: &str, value: &str| {
        let pair = |name: String| (name, value.to_owned());
        [pair(name.to_owned()), pair(name.to_uppercase())]
    };
    let variables = [
        both("http_proxy", &proxy),
        both("https_proxy", &proxy),
        both("no_proxy", &direct),
    ];
    variables.into_iter().flatten().collect()
}

/// Adds all stand-ins to the seed, except those for packages.
pub(in super::super) fn place(seed: &Seed, subnet: &str) -> io::Result<()> {
    place_tools(seed)?;
    place_settings(seed, subnet)?;
    let user = place_accounts(seed)?;
    place_sudo(seed, user)
}

fn place_tools(seed: &Seed) -> io::Result<()> {
    if let Some(program) = seed.text_in_base(CLOUD_INIT) {
        seed.file(HOSTS_CLOUD_INIT, program, 0o755)?;
    }
    if let Some(program) = system::program("hostname") {
        seed.file(HOSTNAME, fs::read(program)?, 0o755)?;
    }
    for (_, name) in tools::OF_VOLUMES {
        if let Some(program) = system::program(name) {
            seed.file(&tools::own(name), fs::read(program)?, 0o755)?;
        }
    }
    let refused = tools::REFUSED.map(|(name, _)| ("bin", name));
    let is_there = |(directory, name): &(&str, &str)| {
        seed.is_in_base(Path::new("/usr").join(directory).join(name))
    };
    let refused = refused.into_iter().filter(is_there);
    let own = tools::TOOLS.into_iter().chain(tools::OF_VOLUMES);
    let all = TOOLS.into_iter().chain(own).chain(refused);
    divert(seed, all.clone().map(|(_, name)| name))?;
    for (directory, name) in all {
        // Also hide other copies, on hosts where /bin and /sbin are not links
        // into /usr.
        for other in ["/bin", "/sbin", "/usr/bin", "/usr/sbin"] {
            let path = Path::new(other).join(name);
            if seed.is_in_base(&path) {
                seed.hide(&path)?;
            }
        }
        seed.link(&format!("/usr/{directory}/{name}"), BINARY)?;
    }
    seed.link(SFTP_SERVER, BINARY)
}

/// Makes packages install their own versions of these programs elsewhere. Otherwise
/// an upgrade of systemd would replace the stand-ins. `cloud-init` may be replaced.
fn divert<'a>(seed: &Seed, names: impl Iterator<Item = &'a str>) -> io::Result<()> {
    if !seed.is_in_base("/var/lib/dpkg") {
        return Ok(());
    }
    let mut database = seed.text_in_base(DIVERSIONS).unwrap_or_default();
    let known: Vec<String> = database.lines().map(str::to_owned).collect();
    for name in names.filter(|name| *name != "cloud-init") {
        // dpkg compares paths as packages write them, whatever is a link.
        for directory in ["/bin", "/sbin", "/usr/bin", "/usr/sbin"] {
            let path = format!("{directory}/{name}");
            if !known.contains(&path) {
                let other = format!("{DIVERTED}/{}", path[1..].replace('/', "-"));
                let _ = write!(database, "{path}\n{other}\n:\n");
            }
        }
    }
    seed.empty_directory(Path::new(DIVERTED))?;
    seed.file(DIVERSIONS, database, 0o644)
}

fn place_settings(seed: &Seed, subnet: &str) -> io::Result<()> {
    let variables = proxy_variables(subnet);
    let lines: Vec<_> = variables
        .iter()
        .map(|(k, v)| format!("{k}={v}\n"))
        .collect();
    seed.file("/etc/environment", lines.concat(), 0o644)?;
    let resolv_conf = "# The proxy resolves names, see /etc/environment.\n";
    seed.file("/etc/resolv.conf", resolv_conf, 0o644)?;
    seed.file("/etc/fstab", "", 0o644)?;
    seed.link("/etc/mtab", "../proc/self/mounts")?;
    seed.empty_directory(Path::new("/var/tmp"))
        .and_then(|place| fs::set_permissions(place, fs::Permissions::from_mode(0o1777)))
}

/// Adds the accounts. Returns the login user's id.
fn place_accounts(seed: &Seed) -> io::Result<u32> {
    let mut accounts = Accounts::of_host()?;
    let user = accounts.add_user(USER, login_shell());
    accounts.write(seed)?;
    let root = seed.empty_directory(Path::new("/root"))?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o700))?;
    Ok(user)
}

/// The shell of login users.
pub(in super::super) fn login_shell() -> &'static str {
    if Path::new("/bin/bash").exists() {
        "/bin/bash"
    } else {
        "/bin/sh"
    }
}

/// The sudo rule of a cloud image: the login user may do everything.
pub(in super::super) fn sudo_rule(user: &str) -> String {
    format!("{user} ALL=(ALL:ALL) NOPASSWD:ALL\n")
}

fn place_sudo(seed: &Seed, user: u32) -> io::Result<()> {
    if seed.is_in_base("/usr/bin/sudo") {
        let rules = format!(
            "Defaults env_keep += \"http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY\"\n\
             Defaults secure_path=\"{PATH}\"\n\
             root ALL=(ALL:ALL) ALL\n{}@includedir /etc/sudoers.d\n",
            sudo_rule(USER)
        );
        let drop_ins = seed.empty_directory(Path::new("/etc/sudoers.d"))?;
        fs::set_permissions(drop_ins, fs::Permissions::from_mode(0o750))?;
        return seed.file("/etc/sudoers", rules, 0o440);
    }
    let Some(setpriv) = system::program("setpriv") else {
        log::warn!("neither sudo nor setpriv is installed: instances will not have sudo");
        return Ok(());
    };
    seed.file("/usr/lib/autorun/setpriv", fs::read(setpriv)?, 0o750)?;
    let place = seed.root().join("usr/lib/autorun/setpriv");
    // The order matters: a change of owner clears the set-user-ID bit.
    chown(&place, Some(0), Some(user))?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o4750))?;
    seed.file("/usr/bin/sudo", include_str!("sudo.sh"), 0o755)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_use_the_proxy() {
        let variables = proxy_variables("10.77.0.0/24");
        let find = |name: &str| variables.iter().find(|(key, _)| key == name);
        assert_eq!(find("HTTPS_PROXY").unwrap().1, "http://127.0.0.1:3128");
        let direct: Vec<&str> = find("no_proxy").unwrap().1.split(',').collect();
        for host in [
            "localhost",
            "::1",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "10.77.0.0/24",
        ] {
            assert!(direct.contains(&host), "{direct:?}");
        }
    }
}
