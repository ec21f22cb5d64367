//! Accounts as people have them: profiles, roles, MFA, single sign-on, `aws
//! login`, proxies and certificates. `tests/accounts/server.py` answers for AWS
//! and logs who asked for what. Where the AWS CLI is the reference, it runs too.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use ring::digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, Lab, root};

pub(crate) const KEY: &str = "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\n\
     aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY\n";
pub(crate) const REGION: &str = "region = eu-central-1\n";
pub(crate) const ROLE: &str = "role_arn = arn:aws:iam::111122223333:role/deploy\n";
pub(crate) const SSO: &str = "sso_account_id = 111122223333\nsso_role_name = Admin\n";
pub(crate) const SSO_SESSION: &str = "[sso-session corp]\nsso_region = eu-west-1\n\
     sso_start_url = https://corp.awsapps.com/start\n";
pub(crate) const SSO_LEGACY: &str = "sso_region = eu-west-1\n\
     sso_start_url = https://corp.awsapps.com/start\n";

/// Variables of the environment.
pub(crate) type Variables<'a> = &'a [(&'a str, &'a str)];

/// A playbook with one request.
const ASKS: &str = "print(list_instances().len);";

/// The server that answers for AWS.
struct Server {
    child: Child,
    /// The server ends when its standard input is closed.
    _stdin: ChildStdin,
    dir: TempDir,
    port: u16,
    proxy: u16,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(Lab::python())
            .arg(root().join("tests/accounts/server.py"))
            .arg(dir.path().join("log"))
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let mut ports = line.split_whitespace().map(|port| port.parse().unwrap());
        Self {
            child,
            _stdin: stdin,
            dir,
            port: ports.next().unwrap(),
            proxy: ports.next().unwrap(),
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn proxy_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy)
    }

    /// A run whose requests all go to this server.
    fn autorun(&self, config: &str, credentials: &str) -> Autorun {
        ["", "_SSO", "_SIGNIN"]
            .iter()
            .fold(account(config, credentials), |autorun, service| {
                autorun.env(&format!("AWS_ENDPOINT_URL{service}"), &self.url())
            })
    }

    /// Returns the requests up to now.
    fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("log")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Returns the requests with this action.
    fn requests_of(&self, action: &str) -> Vec<Value> {
        let mut all = self.requests();
        all.retain(|request| request["action"] == action);
        all
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A run of the playbook with these files in `~/.aws`.
pub(crate) fn account(config: &str, credentials: &str) -> Autorun {
    let autorun = Autorun::new().playbook(ASKS);
    let aws = autorun.home.path().join(".aws");
    fs::create_dir(&aws).unwrap();
    for (name, text) in [("config", config), ("credentials", credentials)] {
        fs::write(aws.join(name), text).unwrap();
    }
    autorun
}

/// Runs the AWS CLI in the environment of the program.
fn aws(autorun: &Autorun, arguments: &str) -> Ended {
    let output = autorun.shell(&format!("aws {arguments}")).output().unwrap();
    Ended::of(&output, autorun.home.path())
}

/// Writes a token as the AWS CLI does.
fn write_token(autorun: &Autorun, folder: &str, name: &str, token: &Value) {
    let digest = match folder {
        "sso" => digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes()),
        _ => digest::digest(&digest::SHA256, name.as_bytes()),
    };
    let cache = autorun.home.path().join(".aws").join(folder).join("cache");
    fs::create_dir_all(&cache).unwrap();
    let file = cache.join(format!("{}.json", hex::encode(digest.as_ref())));
    fs::write(file, token.to_string()).unwrap();
}

#[test]
fn files_that_cannot_be_read_are_named_unless_the_environment_has_a_key() {
    let default = format!("[default]\n{REGION}");
    let autorun = account(&default, "").by_other_user();
    let file = autorun.home.path().join(".aws/credentials");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o0)).unwrap();
    let messages = autorun.run().exits(1).messages();
    assert!(
        messages.contains("/.aws/credentials`: permission denied"),
        "{messages}"
    );

    let server = Server::start();
    let latin = server
        .autorun("", &format!("[default]\n{KEY}"))
        .args(["--region", "eu-central-1"]);
    let config = latin.home.path().join(".aws/config");
    fs::write(&config, b"[default]\n# caf\xe9\n").unwrap();
    let messages = latin.run().exits(1).messages();
    assert!(
        messages.contains("config:2: the text is not UTF-8"),
        "{messages}"
    );
    let with_key = latin
        .env("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
        .env("AWS_SECRET_ACCESS_KEY", "0123456789");
    let _ = with_key.run().exits(0);
}

/// Returns what a run and the AWS CLI sign with and ask STS for, with the same
/// files.
fn compared(autorun: &Autorun, server: &Server, arguments: &str) -> (Value, Value) {
    let seen = |from: usize| {
        let requests = server.requests().split_off(from);
        let last = requests.last().unwrap();
        let roles: Vec<Value> = requests
            .iter()
            .filter(|request| {
                request["action"]
                    .as_str()
                    .unwrap()
                    .starts_with("AssumeRole")
            })
            .map(|request| {
                let mut params = request["params"].clone();
                // Each tool names sessions in its own way.
                let name = params["RoleSessionName"].as_str().unwrap().to_owned();
                if name.starts_with("autorun-") || name.starts_with("botocore-session-") {
                    params["RoleSessionName"] = json!("default");
                }
                json!([request["key"], request["region"], params])
            })
            .collect();
        json!({ "key": last["key"], "roles": roles })
    };
    let before = server.requests().len();
    let _ = autorun.run().exits(0);
    let ours = seen(before);
    let before = server.requests().len();
    let _ = aws(autorun, &format!("ec2 describe-instances {arguments}")).exits(0);
    (ours, seen(before))
}

#[test]
#[expect(clippy::too_many_lines, reason = "most lines are a table")]
fn credentials_are_found_as_the_aws_cli_finds_them() {
    let other = "aws_access_key_id = AKIAOTHER\naws_secret_access_key = 0123456789\n";
    let environment: Variables<'_> = &[
        ("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "0123456789"),
    ];
    let token_of = |name: &'static str| {
        let token = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::write(&token, "a-token-of-an-identity-provider").unwrap();
        token.display().to_string()
    };
    let token = token_of("autorun-token");
    let web: Variables<'_> = &[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
        ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/pod"),
        ("AWS_ROLE_SESSION_NAME", "pod-7"),
    ];
    let both: Vec<_> = environment.iter().chain(web).copied().collect();
    let named: Vec<_> = [("AWS_PROFILE", "a")]
        .into_iter()
        .chain(environment.iter().copied())
        .collect();
    let role = format!("{ROLE}source_profile = b\n");
    let b = format!("[profile b]\n{other}");
    let second = "role_arn = arn:aws:iam::111122223333:role/second\nsource_profile = c\n\
         [profile c]\n";
    let printed = json!({
        "Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "0123456789",
    });
    let rows: Vec<(&str, String, Variables<'_>, bool)> = vec![
        ("a key", KEY.to_owned(), &[], true),
        (
            "the environment before AWS_PROFILE",
            KEY.to_owned(),
            &named,
            false,
        ),
        (
            "AWS_DEFAULT_PROFILE",
            KEY.to_owned(),
            &[("AWS_DEFAULT_PROFILE", "a")],
            false,
        ),
        (
            "--profile before the environment",
            KEY.to_owned(),
            environment,
            true,
        ),
        ("a role of another profile", role.clone(), &[], true),
        (
            "a role with all its settings",
            format!(
                "{role}external_id = e:1\nduration_seconds = 1800\nrole_session_name = me@corp\n"
            ),
            &[],
            true,
        ),
        (
            "a role of the profile's own key",
            format!("{ROLE}source_profile = a\n{KEY}"),
            &[],
            true,
        ),
        ("a role of a role", format!("{second}{role}"), &[], true),
        (
            "a source with a key and a role of its own",
            format!("{second}{role}{KEY}"),
            &[],
            true,
        ),
        (
            "a role of the environment",
            format!("{ROLE}credential_source = Environment\n"),
            environment,
            true,
        ),
        ("a token in the environment", String::new(), web, false),
        (
            "a key before a token, both in the environment",
            String::new(),
            &both,
            false,
        ),
        (
            "a token in the profile",
            format!("{ROLE}web_identity_token_file = {token}\n"),
            &[],
            true,
        ),
        (
            "a process",
            format!("credential_process = echo '{printed}'\n"),
            &[],
            true,
        ),
        (
            "indented keys",
            format!("  {}", KEY.replace('\n', "\n  ")),
            &[],
            true,
        ),
        ("colons", KEY.replace(" = ", ": "), &[], true),
        (
            "capitals",
            KEY.replace("aws_access", "AWS_Access"),
            &[],
            true,
        ),
    ];
    for (name, a, environment, profile) in rows {
        let server = Server::start();
        let config = format!("[profile a]\n{a}\n{b}");
        let mut autorun = server
            .autorun(&config, "")
            .env("AWS_DEFAULT_REGION", "eu-west-2");
        for (name, value) in environment {
            autorun = autorun.env(name, value);
        }
        let mut arguments = "";
        if profile {
            autorun = autorun.args(["--profile", "a"]);
            arguments = "--profile a";
        }
        let (ours, cli) = compared(&autorun, &server, arguments);
        assert_eq!(ours, cli, "{name}");
    }
    fs::remove_file(token).unwrap();
}

#[test]
fn a_profile_may_have_any_name() {
    for (header, name) in [
        ("profile \"two words\"", "two words"),
        ("profile 'quoted'", "quoted"),
        ("profile Admin-111122223333", "Admin-111122223333"),
        ("profile me@corp.com/admin", "me@corp.com/admin"),
        ("profile a(b)", "a(b)"),
        ("profile café", "café"),
    ] {
        let server = Server::start();
        let autorun = server
            .autorun(&format!("[{header}]\n{REGION}{KEY}"), "")
            .args(["--profile", name]);
        let (ours, cli) = compared(&autorun, &server, &format!("--profile '{name}'"));
        assert_eq!(ours, cli, "{name}");
    }
}

#[test]
fn a_role_is_assumed_by_the_run_and_by_resume() {
    let server = Server::start();
    let default = format!("[default]\n{REGION}");
    let role = "arn:aws:iam::111122223333:role/deploy";
    let autorun = server
        .autorun(&default, &format!("[default]\n{KEY}"))
        .args(["--role", role]);
    let playbook = autorun.home.path().join("playbook.rhai");
    fs::write(&playbook, "list_instances();\nthrow \"on purpose\";").unwrap();
    let _ = autorun.run().exits(1);
    let assumed = server.requests_of("AssumeRole");
    assert_eq!(assumed.len(), 1, "{assumed:?}");
    assert_eq!(assumed[0]["key"], "AKIAIOSFODNN7EXAMPLE");
    assert_eq!(assumed[0]["params"]["RoleArn"], role);
    let session = assumed[0]["params"]["RoleSessionName"].as_str().unwrap();
    let run = session.strip_prefix("autorun-").unwrap();
    let asked = server.requests_of("DescribeInstances");
    assert_eq!(asked[0]["key"], "ASIADEPLOY");

    let resumed = same_home(&autorun, &server).args(["resume", run]);
    let _ = resumed.run().exits(1);
    assert_eq!(server.requests_of("AssumeRole").len(), 2);
    assert_eq!(
        server.requests_of("DescribeInstances")[1]["key"],
        "ASIADEPLOY"
    );

    let refused = server
        .autorun(&default, &format!("[default]\n{KEY}"))
        .args(["--role", "deploy"]);
    let messages = refused.run().exits(2).messages();
    assert!(messages.contains("`deploy` is not an ARN"), "{messages}");
    assert!(messages.contains("aws iam get-role"), "{messages}");
}

#[test]
fn destroy_assumes_the_role_of_the_run() {
    let lab = Lab::start(&json!({ "boot": false, "hosts": [] }));
    let role = "arn:aws:iam::123456789012:role/deploy";
    let autorun = lab
        .autorun()
        .playbook("create_bucket(\"pictures\");")
        .args(["--role", role]);
    let _ = autorun.run().exits(0);
    let destroy = lab
        .autorun()
        .env("HOME", &autorun.home.path().display().to_string())
        .args(["destroy", "--all", "--yes"]);
    let _ = destroy.run().exits(0);
    let assumed = lab.requests_of("AssumeRole");
    assert_eq!(assumed.len(), 2);
    assert_eq!(assumed[1]["params"]["RoleArn"], role);
    let session = |at: usize| assumed[at]["params"]["RoleSessionName"].clone();
    assert_eq!(session(0), session(1));
}

/// Another call with the same home directory.
fn same_home(autorun: &Autorun, server: &Server) -> Autorun {
    Autorun::new()
        .env("HOME", &autorun.home.path().display().to_string())
        .env("AWS_ENDPOINT_URL", &server.url())
}

#[test]
fn credentials_that_expire_are_replaced_in_time() {
    let server = Server::start();
    let autorun = server
        .autorun(
            &format!("[default]\n{REGION}"),
            &format!("[default]\n{KEY}"),
        )
        .args(["--role", "arn:aws:iam::111122223333:role/brief"]);
    let playbook = autorun.home.path().join("playbook.rhai");
    // The session lasts a minute, so it is replaced before each request.
    fs::write(&playbook, "list_instances();\nlist_instances();").unwrap();
    let _ = autorun.run().exits(0);
    assert_eq!(server.requests_of("DescribeInstances").len(), 2);
    let assumed = server.requests_of("AssumeRole").len();
    assert!(assumed > 2, "{assumed}");
}

#[test]
fn a_refused_role_says_who_may_not_assume_what() {
    let own = format!("[default]\n{KEY}");
    let server = Server::start();
    let rows: [(&str, &[&str]); 3] = [
        (
            "refused",
            &[
                "cannot assume role arn:aws:iam::111122223333:role/refused: User: \
                 arn:aws:iam::111122223333:user/me is not authorized to perform: sts:AssumeRole",
                "trust policy",
                "`aws iam get-role --role-name refused`",
                "aws: AccessDenied, HTTP 403",
            ],
        ),
        (
            "expired",
            &[
                "security token included in the request is expired",
                "the AWS profile `default` have expired: get new ones",
            ],
        ),
        (
            "disabled",
            &["STS is not activated in this region", "activate STS"],
        ),
    ];
    for (role, says) in rows {
        let autorun = server
            .autorun(&format!("[default]\n{REGION}"), &own)
            .args(["--role", &format!("arn:aws:iam::111122223333:role/{role}")]);
        let messages = autorun.run().exits(1).messages();
        for part in says {
            assert!(messages.contains(part), "no `{part}` in\n{messages}");
        }
        assert!(!messages.contains("Error {"), "{messages}");
    }
    let long = format!(
        "[profile a]\n{REGION}{KEY}source_profile = a\nduration_seconds = 7200\n\
         role_arn = arn:aws:iam::111122223333:role/short\n"
    );
    let autorun = server.autorun(&long, "").args(["--profile", "a"]);
    let messages = autorun.run().exits(1).messages();
    assert!(
        messages.contains("exceeds the MaxSessionDuration"),
        "{messages}"
    );
    assert!(
        messages.contains("check role_session_name, external_id and duration"),
        "{messages}"
    );
}

#[test]
fn a_code_is_asked_once_and_its_session_is_shared_with_the_aws_cli() {
    let server = Server::start();
    let config = format!(
        "[profile a]\n{REGION}{ROLE}source_profile = b\n\
         mfa_serial = arn:aws:iam::111122223333:mfa/me\n[profile b]\n{KEY}"
    );
    let autorun = server.autorun(&config, "").args(["--profile", "a"]);
    let playbook = autorun.home.path().join("playbook.rhai");
    fs::write(
        &playbook,
        "list_instances();\nlist_instances();\nprint(\"both\");",
    )
    .unwrap();

    // Without a terminal, the run does not begin.
    let messages = autorun.run().exits(2).messages();
    for part in [
        "arn:aws:iam::111122223333:mfa/me",
        "no terminal",
        "aws sts get-session-token",
    ] {
        assert!(messages.contains(part), "no `{part}` in\n{messages}");
    }
    assert_eq!(server.requests_of("AssumeRole").len(), 0);
    let (status, shown) = autorun.at_terminal("12345\n");
    assert_eq!(status, Some(2), "{shown}");
    assert!(shown.contains("6 digits"), "{shown}");
    let (status, shown) = autorun.at_terminal("000000\n");
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("invalid MFA one time"), "{shown}");
    assert!(shown.contains("wait for the next code"), "{shown}");
    let refused = server.requests_of("AssumeRole").len();
    assert_eq!(refused, 1);

    let (status, shown) = autorun.at_terminal("123456\n");
    assert_eq!(status, Some(0), "{shown}");
    assert_eq!(
        shown.matches("code of the MFA device").count(),
        1,
        "{shown}"
    );
    assert!(shown.contains("both"), "{shown}");
    let assumed = server.requests_of("AssumeRole");
    assert_eq!(assumed.len(), 2);
    assert_eq!(assumed[1]["params"]["TokenCode"], "123456");
    assert_eq!(
        assumed[1]["params"]["SerialNumber"],
        "arn:aws:iam::111122223333:mfa/me"
    );

    // Neither the next run nor the AWS CLI needs another code.
    let _ = autorun.run().exits(0);
    let _ = aws(&autorun, "sts get-caller-identity --profile a").exits(0);
    assert_eq!(server.requests_of("AssumeRole").len(), 2);
    let cache = autorun.home.path().join(".aws/cli/cache");
    assert_modes(&cache);

    // The other way round: a session of the AWS CLI.
    fs::remove_dir_all(&cache).unwrap();
    let line = "aws sts get-caller-identity --profile a";
    let (status, shown) =
        crate::support::conversation(&autorun.shell(line), &[("MFA code", "654321")]);
    assert_eq!(status, Some(0), "{shown}");
    let _ = autorun.run().exits(0);
    assert_eq!(server.requests_of("AssumeRole").len(), 3);
}

/// Asserts that only the owner can read the sessions.
fn assert_modes(cache: &Path) {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(cache), 0o700);
    let files: Vec<_> = fs::read_dir(cache).unwrap().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(mode(&files[0].as_ref().unwrap().path()), 0o600);
}

/// Times as the AWS CLI writes them.
fn time(seconds: i64) -> String {
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[test]
fn single_sign_on_works_and_names_the_command_for_a_new_session() {
    let server = Server::start();
    let a = format!("[profile a]\n{REGION}{SSO}");
    let url = "https://corp.awsapps.com/start";
    for (config, name) in [
        (format!("{a}sso_session = corp\n{SSO_SESSION}"), "corp"),
        (format!("{a}{SSO_LEGACY}"), url),
        // Both, which agree: `aws configure sso` writes it so.
        (
            format!("{a}sso_session = corp\n{SSO_LEGACY}{SSO_SESSION}"),
            "corp",
        ),
    ] {
        let token = |token: &str, seconds| {
            json!({ "accessToken": token, "expiresAt": time(seconds),
                    "startUrl": url, "region": "eu-west-1" })
        };
        let autorun = server.autorun(&config, "").args(["--profile", "a"]);
        write_token(&autorun, "sso", name, &token("good-token", 3600));
        let (ours, cli) = compared(&autorun, &server, "--profile a");
        assert_eq!(ours, cli, "{name}");
        assert_eq!(ours["key"], "ASIASSO");

        write_token(&autorun, "sso", name, &token("old-token", -60));
        let messages = autorun.run().exits(1).messages();
        for part in [
            "single sign-on session",
            "`a` expired at",
            "`aws sso login --profile a`",
        ] {
            assert!(messages.contains(part), "no `{part}` in\n{messages}");
        }
        write_token(&autorun, "sso", name, &token("revoked-token", 3600));
        let messages = autorun.run().exits(1).messages();
        for part in [
            "refused role `Admin` in account 111122223333",
            "not found or invalid",
            "`aws sso login --profile a`",
        ] {
            assert!(messages.contains(part), "no `{part}` in\n{messages}");
        }
    }
}

/// The format is that of `aws login`; the key is one that openssl made.
#[test]
fn a_session_of_aws_login_is_used_and_refreshed() {
    let server = Server::start();
    let session = "arn:aws:iam::111122223333:user/me";
    let config = format!("[profile a]\n{REGION}login_session = {session}\n");
    let pem = Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout"])
        .output()
        .unwrap();
    let pem = String::from_utf8(pem.stdout).unwrap();
    let token = |seconds, refresh: &str| {
        json!({
            "accessToken": {
                "accessKeyId": "ASIALOGIN",
                "secretAccessKey": "secret-of-login-0123456789",
                "sessionToken": "token-of-login-0123456789",
                "accountId": "111122223333",
                "expiresAt": time(seconds),
            },
            "tokenType": "aws_sigv4",
            "refreshToken": refresh,
            "idToken": "id",
            "clientId": "arn:aws:signin:::devtools/same-device",
            "dpopKey": pem,
        })
    };
    let autorun = server.autorun(&config, "").args(["--profile", "a"]);
    write_token(&autorun, "login", session, &token(800, "unused"));
    let _ = autorun.run().exits(0);
    let key = |server: &Server| server.requests().last().unwrap()["key"].clone();
    assert_eq!(key(&server), "ASIALOGIN");

    write_token(&autorun, "login", session, &token(-60, "good-refresh"));
    let _ = autorun.run().exits(0);
    assert_eq!(key(&server), "ASIAREFRESHED");
    let asked = server.requests_of("/v1/token").len();
    assert_eq!(asked, 1);
    // The new session is in the file.
    let _ = autorun.run().exits(0);
    assert_eq!(server.requests_of("/v1/token").len(), asked);

    write_token(&autorun, "login", session, &token(-60, "used-up"));
    let messages = autorun.run().exits(1).messages();
    for part in [
        "session of `aws login` of the AWS profile `a` cannot be used",
        "`aws login --profile a`",
    ] {
        assert!(messages.contains(part), "no `{part}` in\n{messages}");
    }
}

#[test]
fn requests_to_aws_use_the_proxy_and_the_ca_bundle() {
    let server = Server::start();
    let ca = server.dir.path().join("ca.pem").display().to_string();
    let own = format!("[default]\n{KEY}");
    let default = format!("[default]\n{REGION}");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let autorun = account(&default, &own)
            .env(variable, &server.proxy_url())
            .env("AWS_CA_BUNDLE", &ca);
        let _ = autorun.run().exits(0);
        let seen = server.requests_of("DescribeInstances").pop().unwrap();
        assert_eq!(seen["host"], "ec2.eu-central-1.amazonaws.com");
        assert_eq!(seen["proxied"], true);
    }
    let in_file = account(&format!("{default}ca_bundle = {ca}\n"), &own)
        .env("HTTPS_PROXY", &server.proxy_url());
    let _ = in_file.run().exits(0);
    let _ = aws(&in_file, "ec2 describe-instances").exits(0);

    // Without the bundle, the proxy's certificate is not trusted.
    let before = server.requests().len();
    let untrusted = account(&default, &own).env("HTTPS_PROXY", &server.proxy_url());
    let messages = untrusted.run().exits(1).messages();
    assert!(messages.contains("certificate"), "{messages}");
    assert!(messages.contains("AWS_CA_BUNDLE"), "{messages}");
    // The environment has precedence over the file.
    let other = account(&format!("{default}ca_bundle = {ca}\n"), &own)
        .env("HTTPS_PROXY", &server.proxy_url())
        .env("AWS_CA_BUNDLE", "/etc/hostname");
    let messages = other.run().exits(1).messages();
    assert!(
        messages.contains("`/etc/hostname` has no certificates"),
        "{messages}"
    );
    assert_eq!(server.requests().len(), before);
}

#[test]
fn requests_to_this_machine_do_not_use_a_proxy() {
    let server = Server::start();
    let own = format!("[default]\n{KEY}");
    let autorun = server
        .autorun(&format!("[default]\n{REGION}"), &own)
        .env("HTTP_PROXY", &server.proxy_url())
        .env("http_proxy", &server.proxy_url())
        .env("ALL_PROXY", &server.proxy_url());
    let playbook = autorun.home.path().join("playbook.rhai");
    let get = format!(
        "list_instances();\nprint(http_get(\"{}/page\").status);",
        server.url()
    );
    fs::write(&playbook, get).unwrap();
    let _ = autorun.run().exits(0);
    assert_eq!(server.requests_of("/page").len(), 1);
    for request in server.requests() {
        assert_eq!(request["proxied"], false, "{request}");
    }
    // Other hosts do: the name exists only for the proxy.
    fs::write(
        &playbook,
        "print(http_get(\"http://page.test/far\").status);",
    )
    .unwrap();
    assert_eq!(autorun.run().exits(0).stdout, "200\n");
    let far = server.requests_of("/far");
    assert_eq!(far[0]["proxied"], true);
    assert_eq!(far[0]["host"], "page.test");
}

#[test]
fn the_local_cloud_and_its_instances_are_reached_without_a_proxy() {
    let server = Server::start();
    let cloud = LocalCloud::start();
    let mut autorun = cloud.autorun().playbook(
        "let instance = launch_instance(#{ name: \"near\" });\n\
         instance = wait_until_running(instance);\n\
         create_bucket(\"pictures\");\n\
         // Through the proxy, there would be an answer.\n\
         try {\n\
             print(http_get(`http://${instance.public_ip}:81/near`, #{ timeout: 3 }).status);\n\
         } catch (e) {\n\
             print(\"direct\");\n\
         }",
    );
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        autorun = autorun.env(name, &server.proxy_url());
    }
    // What is in the environment for AWS does not count there.
    let autorun = autorun
        .env("AWS_USE_FIPS_ENDPOINT", "true")
        .env("AWS_CA_BUNDLE", "/nonexistent/ca.pem")
        .env("AWS_PROFILE", "nosuch");
    assert_eq!(autorun.run().exits(0).stdout, "direct\n");
    assert_eq!(
        fs::read_to_string(server.dir.path().join("log")).unwrap(),
        ""
    );
}

#[test]
fn urls_have_the_host_that_the_aws_cli_uses() {
    let own = format!("[default]\n{KEY}");
    let styles = format!(
        "[default]\n{REGION}[profile path]\n{REGION}{KEY}s3 =\n  addressing_style = path\n\
         [profile virtual]\n{REGION}{KEY}s3 =\n  addressing_style = virtual\n\
         [profile services]\n{REGION}{KEY}services = own\nendpoint_url = http://all.test:1\n\
         [services own]\ns3 =\n  endpoint_url = http://s3.test:2\n"
    );
    let rows: Vec<(Variables<'_>, Option<&str>)> = vec![
        (&[("AWS_DEFAULT_REGION", "cn-north-1")], None),
        (&[("AWS_DEFAULT_REGION", "us-gov-west-1")], None),
        (&[("AWS_DEFAULT_REGION", "us-iso-east-1")], None),
        (&[("AWS_USE_DUALSTACK_ENDPOINT", "true")], None),
        (
            &[
                ("AWS_USE_FIPS_ENDPOINT", "true"),
                ("AWS_DEFAULT_REGION", "us-gov-west-1"),
            ],
            None,
        ),
        (&[], Some("path")),
        (&[], Some("virtual")),
        (&[], Some("services")),
        (
            &[("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")],
            Some("services"),
        ),
        (&[("AWS_ENDPOINT_URL", "http://127.0.0.1:9/below/")], None),
        (&[("AWS_ENDPOINT_URL", "https://s3.test")], None),
        (&[("AWS_ENDPOINT_URL", "https://s3.test")], Some("virtual")),
        (
            &[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")],
            Some("virtual"),
        ),
        (
            &[
                ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
                ("AWS_USE_FIPS_ENDPOINT", "true"),
            ],
            None,
        ),
        (
            &[
                ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
                ("AWS_DEFAULT_REGION", "cn-north-1"),
            ],
            Some("services"),
        ),
    ];
    for (environment, profile) in rows {
        let playbook = "print(object_url(\"pictures\", \"a+b/c.png\"));\n\
             print(presigned_url(\"pictures\", \"a+b/c.png\"));";
        let mut autorun = account(&styles, &own)
            // No request leaves: a connection to the proxy is refused.
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .env("HTTP_PROXY", "http://127.0.0.1:1");
        fs::write(autorun.home.path().join("playbook.rhai"), playbook).unwrap();
        for (name, value) in environment {
            autorun = autorun.env(name, value);
        }
        let mut arguments = String::new();
        if let Some(profile) = profile {
            autorun = autorun.args(["--profile", profile]);
            arguments = format!("--profile {profile}");
        }
        let signed = aws(
            &autorun,
            &format!("s3 presign s3://pictures/a+b/c.png {arguments}"),
        );
        let signed = signed.exits(0).stdout;
        let (expected, _) = signed.split_once('?').unwrap();
        let ours = autorun.run().exits(0).stdout;
        let (plain, signed) = ours.trim().split_once('\n').unwrap();
        assert_eq!(plain, expected, "{environment:?} {profile:?}");
        assert!(signed.starts_with(&format!("{expected}?")), "{signed}");
    }
}
