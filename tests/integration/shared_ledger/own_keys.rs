//! Logins from a machine that does not have the private key of the run.

use std::fs;

use super::{Machine, Team};
use crate::support::{Autorun, Ended, new_key};

impl Machine {
    /// Calls `autorun ssh` with the home directory of this machine.
    fn ssh(&self, run: &str, command: &str) -> Ended {
        let home = self.home.display().to_string();
        let call: Autorun = self.call(&["ssh", run, "--", command]);
        call.env("HOME", &home).run()
    }
}

#[test]
fn another_machine_logs_in_with_its_own_key() {
    let team = Team::new();
    let (one, two) = (team.machine(), team.machine());
    let here = one.write(
        "let key = create_key_pair(\"web\");\n\
         let group = create_security_group(\"web\", #{ ingress: [#{ port: 22, from: \"0.0.0.0/0\" }] });\n\
         launch_instance(#{ name: \"web\", key_pair: key, security_groups: [group] });\n",
    );
    one.run(&["run", "-C", &here, "web.rhai"]).exits(0);
    let run = one.only_run();
    let ssh = one.ssh(&run, "echo hello; exit 7").exits(7);
    assert_eq!(ssh.stdout, "hello\n");

    // The machines of this test have the same file system.
    let (keys, away) = (one.home.join("ledger/keys"), one.home.join("away"));
    fs::rename(&keys, &away).unwrap();
    let folder = two.home.join(".ssh");
    let without = two.ssh(&run, "true").exits(2);
    let message = without.messages();
    for words in [
        "is not on this machine",
        "no RSA or Ed25519 key",
        "ssh-keygen",
    ] {
        assert!(message.contains(words), "{message}");
    }
    fs::create_dir(&folder).unwrap();
    new_key(&folder.join("id_ed25519"));
    let ssh = two.ssh(&run, "whoami; exit 7").exits(7);
    assert_eq!(ssh.stdout, "ec2-user\n");
    let message = ssh.messages();
    assert!(
        message.contains("through EC2 Instance Connect"),
        "{message}"
    );
    fs::rename(&away, &keys).unwrap();
    // Only the key that was sent is accepted, and only for its user.
    let listed = one
        .ssh(&run, "sudo cat /run/ec2-instance-connect/ec2-user")
        .exits(0);
    let public = fs::read_to_string(folder.join("id_ed25519.pub")).unwrap();
    let words: Vec<&str> = public.split(' ').collect();
    assert!(
        listed.stdout.starts_with("expiry-time=\""),
        "{}",
        listed.stdout
    );
    assert!(listed.stdout.contains(words[1]), "{}", listed.stdout);
    assert_eq!(listed.stdout.lines().count(), 1, "{}", listed.stdout);
    two.run(&["destroy", &run, "--yes"]).exits(0);
}
