//! The keys of a cloud-config. cloud-init ignores others: versions before 23 in
//! silence, newer ones with a warning on the instance.

use super::config;

/// The keys in the schemas of cloud-init 22.4 to 26.2, those that it reads without
/// having them there, and those that Amazon Linux adds.
pub(super) const KNOWN: [&str; 113] = [
    "allow_public_ssh_keys",
    "ansible",
    "apk_repos",
    "apt",
    "apt_pipelining",
    "apt_reboot_if_required",
    "apt_sources",
    "apt_update",
    "apt_upgrade",
    "authkey_hash",
    "autoinstall",
    "bootcmd",
    "byobu_by_default",
    "ca-certs",
    "ca_certs",
    "chef",
    "chpasswd",
    "cloud_config_modules",
    "cloud_final_modules",
    "cloud_init_modules",
    "create_hostname_file",
    "datasource",
    "datasource_list",
    "debug",
    "def_log_file",
    "device_aliases",
    "disable_ec2_metadata",
    "disable_root",
    "disable_root_opts",
    "disk_setup",
    "drivers",
    "fan",
    "final_message",
    "fqdn",
    "fs_setup",
    "groups",
    "growpart",
    "grub-dpkg",
    "grub_dpkg",
    "hostname",
    "keyboard",
    "landscape",
    "launch-index",
    "locale",
    "locale_configfile",
    "log_cfgs",
    "lxd",
    "manage_etc_hosts",
    "manage_resolv_conf",
    "manual_cache_clean",
    "mcollective",
    "merge_how",
    "merge_type",
    "migrate",
    "mount_default_fields",
    "mounts",
    "network",
    "no_ssh_fingerprints",
    "ntp",
    "output",
    "package_reboot_if_required",
    "package_update",
    "package_upgrade",
    "packages",
    "password",
    "phone_home",
    "power_state",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "preserve_sources_list",
    "puppet",
    "random_seed",
    "repo_releasever",
    "repo_upgrade",
    "repo_upgrade_exclude",
    "reporting",
    "resize_rootfs",
    "resolv_conf",
    "rh_subscription",
    "rpi",
    "rsyslog",
    "runcmd",
    "salt_minion",
    "snap",
    "spacewalk",
    "ssh",
    "ssh_authorized_keys",
    "ssh_deletekeys",
    "ssh_fp_console_blacklist",
    "ssh_genkeytypes",
    "ssh_import_id",
    "ssh_key_console_blacklist",
    "ssh_keys",
    "ssh_publish_hostkeys",
    "ssh_pwauth",
    "ssh_quiet_keygen",
    "swap",
    "syslog_fix_perms",
    "system_info",
    "timezone",
    "ubuntu_advantage",
    "ubuntu_pro",
    "unverified_modules",
    "updates",
    "user",
    "users",
    "vendor_data",
    "version",
    "wireguard",
    "write_files",
    "yum_repo_dir",
    "yum_repos",
    "zypper",
];

/// Returns the keys of a cloud-config that cloud-init ignores. Keys that begin with
/// `x-` or `_` or `.` hold anchors, by custom.
pub(super) fn ignored(text: &str) -> Vec<String> {
    let mut keys = config::keys(text);
    let is_custom = |key: &str| key.starts_with("x-") || key.starts_with(['_', '.', '<']);
    keys.retain(|key| !KNOWN.contains(&key.as_str()) && !is_custom(key));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_keys_are_found() {
        let text = "#cloud-config\n\"hostname\": web\npackage: [nginx]\nwrite-files: [{path: /x}]\n\
            users: {runcmd: 1, nosuch: 2}\nx-anchor: &a [date]\nruncmd: *a\nca-certs: {trusted: []}\n\
            Packages: [vim]\n<<: {locale: C}\n";
        assert_eq!(ignored(text), ["package", "write-files", "Packages"]);
        assert_eq!(ignored("{\"run_cmd\": [], \"bootcmd\": []}"), ["run_cmd"]);
        assert!(ignored("").is_empty());
    }
}
