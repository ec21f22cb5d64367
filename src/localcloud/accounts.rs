//! Users and groups, read from the instance's own files.
//!
//! The name service switch is not used: it could load foreign code into pid 1
//! or wait for a network.

use std::path::{Path, PathBuf};

use super::files;

/// A user who can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Every group of the user, the login group first.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

impl Account {
    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// Returns the account with this name.
pub(crate) fn find(name: &str) -> Option<Account> {
    let (passwd, groups) = files_of_instance()?;
    parse(&passwd, &groups, |found, _| found == name)
}

/// Returns the first account with this uid.
pub(crate) fn with_uid(uid: u32) -> Option<Account> {
    let (passwd, groups) = files_of_instance()?;
    parse(&passwd, &groups, |_, found| found.parse() == Ok(uid))
}

fn files_of_instance() -> Option<(String, String)> {
    let passwd = files::read_text("/etc/passwd").ok()?;
    let groups = files::read_text("/etc/group").unwrap_or_default();
    Some((passwd, groups))
}

/// Returns the gid of the group with this name.
pub(crate) fn group(name: &str) -> Option<u32> {
    let groups = files::read_text("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Returns the first account whose name and uid `picks` accepts.
fn parse(passwd: &str, groups: &str, picks: impl Fn(&str, &str) -> bool) -> Option<Account> {
    let fields = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        picks(name, uid).then(|| line.split(':').collect::<Vec<&str>>())
    })?;
    let [name, _, uid, gid, _, home, shell] = fields[..] else {
        return None;
    };
    let gid = gid.parse().ok()?;
    let shell = if shell.is_empty() { "/bin/sh" } else { shell };
    Some(Account {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid,
        groups: groups_of(groups, name, gid),
        home: Path::new(home).to_owned(),
        shell: Path::new(shell).to_owned(),
    })
}

fn groups_of(groups: &str, name: &str, login: u32) -> Vec<u32> {
    let mut all = vec![login];
    for line in groups.lines() {
        let mut fields = line.split(':').skip(2);
        let (Some(gid), Some(members)) = (fields.next(), fields.next()) else {
            continue;
        };
        let Ok(gid) = gid.parse() else { continue };
        if members.split(',').any(|member| member == name) && !all.contains(&gid) {
            all.push(gid);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        broken:x:1\n\
        ec2-user:x:1000:1000:EC2 Default User:/home/ec2-user:/bin/bash\n\
        plain:x:1001:1001::/:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:ec2-user\nadm:x:4:syslog,ec2-user\n\
        ec2-user:x:1000:ec2-user\nother:x:7:ec2-user2\nbroken:x\n";

    #[test]
    fn a_user_has_all_of_its_groups() {
        let user = parse(PASSWD, GROUP, |name, _| name == "ec2-user").unwrap();
        assert_eq!((user.uid, user.gid), (1000, 1000));
        assert_eq!(user.groups, [1000, 10, 4]);
        assert_eq!(user.home, Path::new("/home/ec2-user"));
    }

    #[test]
    fn unknown_users_and_broken_lines_are_not_found() {
        assert_eq!(parse(PASSWD, GROUP, |name, _| name == "ec2"), None);
        assert_eq!(parse(PASSWD, GROUP, |name, _| name == "broken"), None);
        assert_eq!(parse(PASSWD, GROUP, |name, _| name.is_empty()), None);
    }

    #[test]
    fn a_uid_finds_the_first_user_that_has_it() {
        let user = parse(PASSWD, GROUP, |_, uid| uid == "1001").unwrap();
        assert_eq!(user.name, "plain");
    }

    #[test]
    fn no_shell_means_sh() {
        let user = parse(PASSWD, GROUP, |name, _| name == "plain").unwrap();
        assert_eq!(user.shell, Path::new("/bin/sh"));
    }
}
