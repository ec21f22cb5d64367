//! The accounts of a machine: the host's system accounts without passwords, and
//! the login user. Accounts of people are left out.

use std::io;

use super::super::super::files;
use super::seed::Seed;

/// The ids of people's accounts on every supported distribution.
const PEOPLE: std::ops::RangeInclusive<u32> = 1000..=59_999;

/// The groups of a cloud image's login user, as far as they exist.
const USER_GROUPS: [&str; 5] = ["adm", "ec2-user", "sudo", "systemd-journal", "wheel"];

/// The content of the four account files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Accounts {
    pub(in super::super) passwd: String,
    pub(in super::super) group: String,
    pub(in super::super) shadow: String,
    pub(in super::super) gshadow: String,
}

impl Accounts {
    /// Reads the host's accounts, without those of people.
    pub(in super::super) fn of_host() -> io::Result<Self> {
        let passwd = files::read_text("/etc/passwd")?;
        let group = files::read_text("/etc/group")?;
        Ok(Self::without_people(&passwd, &group))
    }

    fn without_people(passwd: &str, group: &str) -> Self {
        let is_person = |line: &&str| id_of(line).is_some_and(|id| PEOPLE.contains(&id));
        let people: Vec<_> = passwd.lines().filter(is_person).map(name_of).collect();
        let stays = |line: &&str| !is_person(line) && line.contains(':');
        let passwd: Vec<_> = passwd.lines().filter(stays).collect();
        let group: Vec<_> = group.lines().filter(stays).collect();
        let group: Vec<_> = group.iter().map(|line| without(line, &people)).collect();
        // Password logins are disabled.
        let shadow = |line: &&str| format!("{}:*:19700:0:99999:7:::\n", name_of(line));
        let gshadow = |line: &String| format!("{}:*::\n", name_of(line));
        Self {
            shadow: passwd.iter().map(shadow).collect(),
            gshadow: group.iter().map(gshadow).collect(),
            passwd: passwd.join("\n") + "\n",
            group: group.join("\n") + "\n",
        }
    }

    /// Adds the login user with its own group. Returns its id.
    pub(in super::super) fn add_user(&mut self, name: &str, shell: &str) -> u32 {
        let ids = self.passwd.lines().chain(self.group.lines());
        let taken: Vec<u32> = ids.filter_map(id_of).collect();
        let id = PEOPLE
            .clone()
            .find(|id| !taken.contains(id))
            .unwrap_or(1000);
        let group = self.group.lines().map(|line| {
            if USER_GROUPS.contains(&name_of(line)) {
                let comma = if line.ends_with(':') { "" } else { "," };
                return format!("{line}{comma}{name}\n");
            }
            format!("{line}\n")
        });
        self.group = group.collect();
        let lines = [
            (
                &mut self.passwd,
                format!("{name}:x:{id}:{id}:EC2 Default User:/home/{name}:{shell}"),
            ),
            (&mut self.group, format!("{name}:x:{id}:")),
            (&mut self.shadow, format!("{name}:!:19700:0:99999:7:::")),
            (&mut self.gshadow, format!("{name}:!::")),
        ];
        for (file, line) in lines {
            file.extend([line.as_str(), "\n"]);
        }
        id
    }

    pub(super) fn write(&self, seed: &Seed) -> io::Result<()> {
        seed.file("/etc/passwd", &self.passwd, 0o644)?;
        seed.file("/etc/group", &self.group, 0o644)?;
        seed.file("/etc/shadow", &self.shadow, 0o600)?;
        seed.file("/etc/gshadow", &self.gshadow, 0o600)?;
        // Backup copies by useradd and similar programs.
        for copy in ["/etc/passwd-", "/etc/group-"] {
            seed.hide(copy.as_ref())?;
        }
        for ids in ["/etc/subuid", "/etc/subgid"] {
            seed.file(ids, "", 0o644)?;
        }
        Ok(())
    }
}

fn name_of(line: &str) -> &str {
    line.split(':').next().unwrap_or(line)
}

fn id_of(line: &str) -> Option<u32> {
    line.split(':').nth(2)?.parse().ok()
}

/// Returns the line of a group without these members.
fn without(line: &str, people: &[&str]) -> String {
    let Some((front, members)) = line.rsplit_once(':') else {
        return line.to_owned();
    };
    let stay = members.split(',').filter(|member| !people.contains(member));
    format!("{front}:{}", stay.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        www-data:x:33:33::/var/www:/usr/sbin/nologin\n\
        ada:x:1000:1000:Ada:/home/ada:/bin/zsh\n\
        nfsnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,ada\nsudo:x:27:ada\nada:x:1000:\n";

    #[test]
    fn accounts_of_people_are_left_out() {
        let accounts = Accounts::without_people(PASSWD, GROUP);
        assert!(!accounts.passwd.contains("ada"));
        assert!(accounts.passwd.contains("nfsnobody:x:65534"));
        assert_eq!(accounts.group, "root:x:0:\nadm:x:4:syslog\nsudo:x:27:\n");
        assert!(accounts.shadow.starts_with("root:*:"));
    }

    #[test]
    fn the_login_user_has_its_own_group_and_the_usual_ones() {
        let mut accounts = Accounts::without_people(PASSWD, GROUP);
        assert_eq!(accounts.add_user("ec2-user", "/bin/bash"), 1000);
        assert!(accounts.passwd.ends_with("/home/ec2-user:/bin/bash\n"));
        assert!(accounts.group.contains("adm:x:4:syslog,ec2-user\n"));
        assert!(accounts.group.contains("sudo:x:27:ec2-user\n"));
        assert_eq!(accounts.add_user("other", "/bin/sh"), 1001);
    }
}
