//! Spot instances: the notice of their interruption.

use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, NativeCallContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hosts::target;
use super::rehearsed::is_outside;
use super::servers::explained;
use crate::clients::ssh::{self, Command, Program};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::script::{self, Declared, Outcome, Shape};

#[export_module(manifest)]
pub mod api {
    /// Returns EC2's notice that it is about to interrupt a spot instance.
    ///
    /// EC2 gives notice two minutes before it takes a spot instance away. Ask every
    /// few seconds, and use the time to take the instance out of service. The
    /// returned map has `action`, which is `terminate`, and `time`. Without a notice,
    /// and for an instance that is not a spot instance, the function returns `()`.
    ///
    /// The function asks the metadata service on the host, over ssh. `server` is
    /// a map that `launch_instance` or `host` returned, or an address.
    ///
    /// Throws:
    ///
    /// - `command_failed` if the host has no metadata service or no `curl`;
    /// - `unreachable` if there is no connection, as after the interruption;
    /// - `timeout` if there is no answer after 30 seconds;
    /// - `denied` if the login is refused;
    /// - `host_key_changed` if the host key is not the known one.
    ///
    /// ```rhai
    /// fn is_leaving(worker) {
    ///     interruption_notice(worker) != ()
    /// }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn interruption_notice(call: NativeCallContext, server: Dynamic) -> Outcome<Dynamic> {
        script::run(&call, async |cx| {
            super::interruption_notice(cx, &server).await
        })
    }
}

pub(super) const DECLARED: &[Declared] =
    &[Declared::of("interruption_notice").returns::<Notice>(Shape::Maybe)];

/// The map that `interruption_notice` returns.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
struct Notice {
    /// What EC2 does: `terminate`, `stop` or `hibernate`.
    action: String,
    /// When it does so, for example `2026-11-25T22:10:03Z`.
    time: String,
}

/// Prints the status of the answer after its body. The metadata service answers 404 if
/// there is no notice.
const ASK: &str = "\
base=http://169.254.169.254/latest
token=$(curl -fsS -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $base/api/token) \
&& curl -sS -m 5 -w '\n%{http_code}' -H \"X-aws-ec2-metadata-token: $token\" \
$base/meta-data/spot/instance-action";

async fn interruption_notice(cx: &Context, server: &Dynamic) -> Result<Option<Notice>> {
    let host = target(cx, server).await?;
    if is_outside(cx, &host) {
        cx.assume(format!("ask {} for a notice", host.name), "no notice");
        return Ok(None);
    }
    let command = Command {
        program: Program::Own(ASK.to_owned()),
        timeout: Some(Duration::from_secs(30)),
        ..Command::default()
    };
    let finished = match cx.clients.ssh().run(&host, command, &cx.report).await {
        Err(error) => return Err(explained(cx, &host, error).await),
        Ok(finished) => finished,
    };
    let output = String::from_utf8_lossy(&finished.stdout);
    notice(finished.status, &output).map_err(|NoAnswer| {
        Error::new(
            ErrorKind::CommandFailed,
            format!(
                "cannot ask {} for a notice: {}",
                host.name,
                ssh::tail(&finished.stderr, 3)
            ),
        )
        .hint(
            "interruption_notice needs an instance of EC2 whose metadata service is on, and \
             `curl` on it",
        )
    })
}

/// The metadata service has not answered whether there is a notice.
#[derive(Debug, PartialEq, Eq)]
struct NoAnswer;

/// Parses the output of [`ASK`].
fn notice(status: i64, output: &str) -> std::result::Result<Option<Notice>, NoAnswer> {
    let (body, code) = output.trim_end().rsplit_once('\n').ok_or(NoAnswer)?;
    match code {
        _ if status != 0 => Err(NoAnswer),
        "404" => Ok(None),
        "200" => serde_json::from_str(body).map(Some).map_err(|_| NoAnswer),
        _ => Err(NoAnswer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_the_service_says_that_there_is_no_notice() {
        let body = r#"{"action": "terminate", "time": "2026-11-25T22:10:03Z"}"#;
        let expected = Notice {
            action: "terminate".to_owned(),
            time: "2026-11-25T22:10:03Z".to_owned(),
        };
        assert_eq!(notice(0, &format!("{body}\n200")), Ok(Some(expected)));
        assert_eq!(notice(0, "<html>not found</html>\n404"), Ok(None));
        assert_eq!(notice(0, "\n404"), Ok(None));
        for (status, output) in [(0, "\n401"), (0, ""), (7, ""), (7, "\n000"), (0, "x\n200")] {
            assert_eq!(notice(status, output), Err(NoAnswer), "{status} {output}");
        }
    }
}
