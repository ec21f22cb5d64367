//! Assumes roles.

use std::sync::atomic::Ordering;

use aws_sdk_ec2::config::Credentials;

use super::refusal::role_refused;
use super::source::Role;
use super::{Account, Answer, from_sts, mfa};
use crate::error::Result;

impl Account {
    /// Assumes a role. If the role needs a code, a session that is still valid
    /// is used first, even one of the AWS CLI.
    pub(super) async fn assume(&self, role: &Role, by: Credentials) -> Result<Credentials> {
        let Some(serial) = &role.mfa_serial else {
            let answer = self.request(role, by, None).await;
            return self.session(role, answer);
        };
        let mut sessions = mfa::sessions(role, &self.environment).await;
        if let Some(session) = sessions.valid() {
            return Ok(session);
        }
        let code = sessions.code(serial, self.ask_code).await;
        self.lacks_code.store(code.is_err(), Ordering::Relaxed);
        let code = code?;
        let answer = self.request(role, by, Some((serial, code))).await;
        let session = self.session(role, answer)?;
        self.mask(&session);
        if let Err(error) = sessions.keep(&session) {
            self.report
                .warn(format!("the next run has to ask for a code again: {error}"));
        }
        Ok(session)
    }

    fn session(
        &self,
        role: &Role,
        answer: Answer<
            aws_sdk_sts::operation::assume_role::AssumeRoleOutput,
            aws_sdk_sts::operation::assume_role::AssumeRoleError,
        >,
    ) -> Result<Credentials> {
        match answer {
            Ok(answer) => from_sts(answer.credentials),
            Err(e) => Err(role_refused(role, self.source.profile.as_deref(), &e)),
        }
    }

    async fn request(
        &self,
        role: &Role,
        by: Credentials,
        code: Option<(&String, String)>,
    ) -> Answer<
        aws_sdk_sts::operation::assume_role::AssumeRoleOutput,
        aws_sdk_sts::operation::assume_role::AssumeRoleError,
    > {
        let session = role.session_name.as_ref().unwrap_or(&self.session_name);
        let mut request = self
            .sts(Some(by))
            .assume_role()
            .role_arn(&role.arn)
            .role_session_name(session)
            .set_external_id(role.external_id.clone())
            .set_duration_seconds(role.duration_seconds);
        if let Some((serial, code)) = code {
            request = request.serial_number(serial).token_code(code);
        }
        request.send().await
    }
}
