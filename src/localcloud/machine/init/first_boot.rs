//! The first boot of a disk: sets its name, keys and accounts.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::super::super::accounts::{self, Account};
use super::super::super::files;
use super::super::boot::Boot;
use super::super::disk::accounts::Accounts;
use super::super::disk::standins::{BINARY, CLOUD_INIT, login_shell, sudo_rule};
use super::super::tools::is_valid;

/// The file with the id of the disk's machine.
const MARKER: &str = "/var/lib/cloud/data/instance-id";

/// The file with the host name that the last boot set.
const NAME: &str = "/var/lib/cloud/data/previous-hostname";

/// Returns whether this is the first boot of the disk, and prepares the disk
/// for the machine.
pub(super) fn settle(boot: &Boot) -> io::Result<bool> {
    let directory = |path: &str| fs::create_dir_all(path);
    let known = files::read_text(MARKER).unwrap_or_default();
    directory("/var/lib/cloud/data")?;
    name(boot, known.trim() != boot.id)?;
    place_cloud_init(boot.faults.no_cloud_init)?;
    if known.trim() == boot.id {
        return Ok(false);
    }
    if !known.trim().is_empty() {
        forget_instance()?;
    }
    let instance = format!("/var/lib/cloud/instances/{}", boot.id);
    directory(&instance)?;
    match symlink(instance, "/var/lib/cloud/instance") {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let id = format!("{:032x}\n", rand::random::<u128>());
    write("/etc/machine-id", &id, 0o444)?;
    authorize(boot)?;
    // Last, so that an interrupted first boot is repeated.
    write(MARKER, &format!("{}\n", boot.id), 0o644)?;
    Ok(true)
}

/// Removes what belongs to the instance of which the disk is a copy: its ssh host
/// keys and the record of its user data. So cloud-init runs again.
fn forget_instance() -> io::Result<()> {
    let place = Path::new("/var/lib/cloud/instance");
    match place.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(place)?,
        Ok(_) => fs::remove_file(place)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for entry in files::entries("/etc/ssh") {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"ssh_host_")
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Sets the name of the boot, unless root has changed it in this instance.
/// cloud-init remembers the name that it set in the same way.
fn name(boot: &Boot, is_first: bool) -> io::Result<()> {
    let (hostname, address) = (&boot.hostname, boot.address);
    let before = files::read_text("/etc/hostname").unwrap_or_default();
    let ours = files::read_text(NAME).unwrap_or_default();
    let is_changed = !is_first && !ours.is_empty() && ours != before;
    if before.trim() == hostname || is_changed {
        return Ok(());
    }
    write("/etc/hostname", &format!("{hostname}\n"), 0o644)?;
    write("/etc/hosts", &hosts(hostname, address), 0o644)?;
    write(NAME, &format!("{hostname}\n"), 0o644)
}

/// Returns the name that root has given the machine, for the kernel.
pub(super) fn kept_name(boot: &Boot) -> Option<String> {
    let name = files::read_text("/etc/hostname").unwrap_or_default();
    let name = name.trim();
    (name != boot.hostname && is_valid(name)).then(|| name.to_owned())
}

/// Adds or removes the `cloud-init` program, which an image without cloud-init
/// lacks.
fn place_cloud_init(missing: bool) -> io::Result<()> {
    let program = Path::new(CLOUD_INIT);
    match (program.symlink_metadata().is_ok(), missing) {
        (true, true) => fs::remove_file(program),
        (false, false) => symlink(BINARY, program),
        _ => Ok(()),
    }
}

fn hosts(hostname: &str, address: Ipv4Addr) -> String {
    format!(
        "127.0.0.1 localhost localhost.localdomain\n\
         ::1 localhost localhost6\n\
         {address} {hostname}.ec2.internal {hostname}\n"
    )
}

fn authorize(boot: &Boot) -> io::Result<()> {
    let user = match accounts::find(&boot.user) {
        Some(user) => user,
        None => add_user(&boot.user)?,
    };
    place_keys(&user, &boot.authorized_keys)?;
    match accounts::find("root") {
        Some(root) if boot.user != "root" => {
            place_keys(&root, &keys_of_root(&boot.authorized_keys, &boot.user))
        }
        _ => Ok(()),
    }
}

/// Returns the lines for root, which cloud-init writes: the key makes the
/// connection, whose only command names the user to log in as.
fn keys_of_root(keys: &[String], user: &str) -> Vec<String> {
    let options = format!(
        "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command=\"echo 'Please login \
         as the user \\\"{user}\\\" rather than the user \\\"root\\\".';echo;sleep 10;exit 142\""
    );
    let lines = keys.iter().map(|key| format!("{options} {}", key.trim()));
    lines.collect()
}

/// Writes the `authorized_keys` of a user.
fn place_keys(user: &Account, keys: &[String]) -> io::Result<()> {
    let owner = (Some(user.uid), Some(user.gid));
    if !user.home.exists() {
        make_home(&user.home, owner)?;
    }
    let ssh = user.home.join(".ssh");
    if !ssh.exists() {
        fs::DirBuilder::new().mode(0o700).create(&ssh)?;
        chown(&ssh, owner.0, owner.1)?;
    }
    let lines = keys.iter().map(|key| format!("{}\n", key.trim()));
    let file = ssh.join("authorized_keys");
    write(&file, &lines.collect::<String>(), 0o600)?;
    chown(&file, owner.0, owner.1)
}

fn add_user(name: &str) -> io::Result<Account> {
    let mut accounts = Accounts::of_host()?;
    accounts.add_user(name, login_shell());
    write("/etc/passwd", &accounts.passwd, 0o644)?;
    write("/etc/group", &accounts.group, 0o644)?;
    write("/etc/shadow", &accounts.shadow, 0o600)?;
    write("/etc/gshadow", &accounts.gshadow, 0o600)?;
    if Path::new("/etc/sudoers.d").is_dir() {
        write(
            "/etc/sudoers.d/90-cloud-init-users",
            &sudo_rule(name),
            0o440,
        )?;
    }
    accounts::find(name)
        .ok_or_else(|| io::Error::other(format!("cannot create the login user `{name}`")))
}

fn make_home(home: &PathBuf, owner: (Option<u32>, Option<u32>)) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(home)?;
    fs::set_permissions(home, fs::Permissions::from_mode(0o700))?;
    for entry in files::entries("/etc/skel") {
        if let (true, Ok(data)) = (
            entry.file_type()?.is_file(),
            files::read(entry.path(), files::MOST),
        ) {
            let place = home.join(entry.file_name());
            files::replace(&place, &data, 0o644)?;
            chown(&place, owner.0, owner.1)?;
        }
    }
    chown(home, owner.0, owner.1)
}

fn write(path: impl AsRef<Path>, text: &str, mode: u32) -> io::Result<()> {
    files::replace(path, text.as_bytes(), mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_can_resolve_its_own_name() {
        let text = hosts("ip-10-77-0-5", Ipv4Addr::new(10, 77, 0, 5));
        assert!(text.contains("10.77.0.5 ip-10-77-0-5.ec2.internal ip-10-77-0-5\n"));
    }

    #[test]
    fn the_line_for_root_is_the_one_that_cloud_init_writes() {
        let lines = keys_of_root(&["ssh-ed25519 AAAA me\n".to_owned()], "ubuntu");
        let expected = r#"no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command="echo 'Please login as the user \"ubuntu\" rather than the user \"root\".';echo;sleep 10;exit 142" ssh-ed25519 AAAA me"#;
        assert_eq!(lines, [expected]);
    }
}
