//! Records the requests to AWS, for those who want to know them: the plan and the
//! policy. Without a listener, the clients do no work for it.
//!
//! A request is reported once, before it is signed, however often it is sent. So
//! no record has a signature, a session token or the key of an encrypted object.
//! The parameters may have secrets of the playbook, such as user data: a listener
//! writes them nowhere.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_ec2::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_sdk_s3::config::endpoint::Params;
use aws_sdk_s3::operation::delete_objects::DeleteObjectsInput;
use aws_sdk_s3::operation::put_bucket_encryption::PutBucketEncryptionInput;
use aws_smithy_runtime_api::client::endpoint::EndpointResolverParams;
use aws_smithy_runtime_api::client::interceptors::context::Input;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, Metadata};
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use percent_encoding::percent_decode_str;

/// The header of S3 with the KMS key of an object.
pub const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

tokio::task_local! {
    /// The call of the playbook that the current task works for.
    static CAUSE: Cause;
}

/// A service of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Elastic Compute Cloud.
    Ec2,
    /// Simple Storage Service.
    S3,
    /// Systems Manager.
    Ssm,
    /// EC2 Instance Connect.
    InstanceConnect,
    /// Security Token Service.
    Sts,
    /// Identity and Access Management.
    Iam,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 6] = [
        Self::Ec2,
        Self::S3,
        Self::Ssm,
        Self::InstanceConnect,
        Self::Sts,
        Self::Iam,
    ];

    /// Returns the prefix of its actions in IAM policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::S3 => "s3",
            Self::Ssm => "ssm",
            Self::InstanceConnect => "ec2-instance-connect",
            Self::Sts => "sts",
            Self::Iam => "iam",
        }
    }
}

/// The call of the playbook that causes requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// Its place, such as `web.rhai:12`; empty if no call is the cause.
    pub place: String,
    /// Its function, such as `launch_instance`.
    pub function: String,
}

/// Runs work that a call of the playbook asked for. Requests of tasks that the
/// work spawns have no cause.
pub async fn caused_by<T>(cause: Cause, work: impl Future<Output = T>) -> T {
    CAUSE.scope(cause, work).await
}

/// A request to AWS.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The service.
    pub service: Service,
    /// The operation, such as `RunInstances`.
    pub operation: String,
    /// The parameters as they are sent, decoded. For S3: `method`, `bucket`,
    /// `key`, the parameters of the query, and the headers that begin with
    /// `x-amz-` or `if-`. Of the contents of an S3 request, only the key of a
    /// bucket's encryption and the version of a deleted object are recorded, under
    /// the names that they have in other requests.
    pub parameters: Vec<(String, String)>,
    /// The call of the playbook that caused it.
    pub cause: Cause,
}

impl Call {
    /// Returns the value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Shows no parameters, which may be secret.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{} ({})",
            self.service.as_str(),
            self.operation,
            self.cause.place
        )
    }
}

/// How AWS answered a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It did what was asked.
    Done,
    /// It refused, with this error code; an answer without a body has its HTTP
    /// status instead.
    Refused(String),
    /// There was no answer, or not yet.
    Missing,
}

/// Hears of the requests of a run.
pub trait Listener: fmt::Debug + Send + Sync {
    /// Hears of a request before it is sent.
    fn sends(&self, call: &Arc<Call>);

    /// Hears of the end of a request. A request whose caller stopped waiting has
    /// none.
    fn ended(&self, _call: &Arc<Call>, _answer: &Answer) {}
}

/// Collects the distinct requests, in the order of their first appearance.
#[derive(Debug, Default)]
pub struct Calls(Mutex<Collected>);

#[derive(Debug, Default)]
struct Collected {
    calls: Vec<(Arc<Call>, Answer)>,
    /// The index of each request.
    known: HashMap<Arc<Call>, usize>,
}

impl Calls {
    /// Returns the distinct requests so far with their answers. If equal requests
    /// have different answers, one that AWS performed counts, else the last refusal.
    #[must_use]
    pub fn all(&self) -> Vec<(Arc<Call>, Answer)> {
        self.collected().calls.clone()
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Calls {
    fn sends(&self, call: &Arc<Call>) {
        let mut collected = self.collected();
        let next = collected.calls.len();
        if !collected.known.contains_key(call) {
            collected.known.insert(Arc::clone(call), next);
            collected.calls.push((Arc::clone(call), Answer::Missing));
        }
    }

    fn ended(&self, call: &Arc<Call>, answer: &Answer) {
        let mut collected = self.collected();
        let Some(index) = collected.known.get(call).copied() else {
            return;
        };
        let known = &mut collected.calls[index].1;
        if *known != Answer::Done && *answer != Answer::Missing {
            known.clone_from(answer);
        }
    }
}

/// The listeners of a run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Listeners(Vec<Arc<dyn Listener>>);

impl Listeners {
    /// Adds a listener.
    pub fn add(&mut self, listener: Arc<dyn Listener>) {
        self.0.push(listener);
    }

    /// Reports a request that is sent without the SDK.
    pub(super) fn send(&self, service: Service, operation: &str, parameters: &[(&str, &str)]) {
        if self.0.is_empty() {
            return;
        }
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let call = Arc::new(Call {
            service,
            operation: operation.to_owned(),
            parameters: parameters.iter().map(owned).collect(),
            cause: cause(),
        });
        self.0.iter().for_each(|listener| listener.sends(&call));
    }

    /// Returns the interceptor that reports the requests of a client, if there is
    /// a listener.
    pub(super) fn interceptor(&self, service: Service) -> Option<Recorder> {
        (!self.0.is_empty()).then(|| Recorder {
            service,
            listeners: self.clone(),
        })
    }
}

/// Reports the requests of one client.
#[derive(Debug)]
pub(super) struct Recorder {
    service: Service,
    listeners: Listeners,
}

/// The parameter in the body of a request, in the SDK's state of the request.
#[derive(Clone, Debug)]
struct InBody(String, String);

impl Storable for InBody {
    type Storer = StoreReplace<Self>;
}

/// A request that was reported, in the SDK's state of the request.
#[derive(Debug)]
struct Reported(Arc<Call>);

impl Storable for Reported {
    type Storer = StoreReplace<Self>;
}

type Done = Result<(), BoxError>;

impl Intercept for Recorder {
    fn name(&self) -> &'static str {
        "Recorder"
    }

    fn read_before_serialization(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Done {
        if let Some(parameter) = in_body(context.input()) {
            cfg.interceptor_state().store_put(parameter);
        }
        Ok(())
    }

    fn read_after_serialization(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Done {
        let request = context.request();
        let call = Arc::new(Call {
            service: self.service,
            operation: cfg
                .load::<Metadata>()
                .map_or_else(String::new, |about| about.name().to_owned()),
            parameters: match self.service {
                Service::S3 => of_s3(request, cfg),
                _ => pairs(request.body().bytes().unwrap_or_default()),
            },
            cause: cause(),
        });
        for listener in &self.listeners.0 {
            listener.sends(&call);
        }
        cfg.interceptor_state().store_put(Reported(call));
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Done {
        let Some(Reported(call)) = cfg.load::<Reported>() else {
            return Ok(());
        };
        let answer = match (context.output_or_error(), context.response()) {
            (Some(Ok(_)), _) => Answer::Done,
            (_, Some(response)) => Answer::Refused(code(response)),
            _ => Answer::Missing,
        };
        for listener in &self.listeners.0 {
            listener.ended(call, &answer);
        }
        Ok(())
    }
}

pub(super) fn cause() -> Cause {
    CAUSE.try_with(Clone::clone).unwrap_or_default()
}

/// Returns the parameters of a request to S3.
fn of_s3(request: &HttpRequest, cfg: &ConfigBag) -> Vec<(String, String)> {
    let endpoint = cfg.load::<EndpointResolverParams>();
    let place = endpoint.and_then(|endpoint| endpoint.get::<Params>());
    let mut parameters = vec![("method".to_owned(), request.method().to_owned())];
    for (name, value) in [
        ("bucket", place.and_then(Params::bucket)),
        ("key", place.and_then(Params::key)),
    ] {
        parameters.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    let query = request.uri().split_once('?').map_or("", |(_, query)| query);
    parameters.extend(pairs(query.as_bytes()));
    let headers = request.headers().iter();
    let mut headers: Vec<(String, String)> = headers
        .filter(|(name, _)| is_parameter(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    headers.sort();
    parameters.append(&mut headers);
    if let Some(InBody(name, value)) = cfg.load::<InBody>().cloned() {
        parameters.push((name, value));
    }
    parameters
}

/// Returns the parameter in a body that decides about permissions.
fn in_body(input: &Input) -> Option<InBody> {
    if let Some(deletion) = input.downcast_ref::<DeleteObjectsInput>() {
        let mut objects = deletion.delete()?.objects().iter();
        let version = objects.find_map(|object| object.version_id())?;
        return Some(InBody("versionId".to_owned(), version.to_owned()));
    }
    let settings = input.downcast_ref::<PutBucketEncryptionInput>()?;
    let rules = settings.server_side_encryption_configuration()?.rules();
    let default = rules.first()?.apply_server_side_encryption_by_default()?;
    let key = default.kms_master_key_id()?;
    Some(InBody(KMS_KEY.to_owned(), key.to_owned()))
}

/// Returns whether a header is a parameter of S3 and neither a secret nor about the
/// transfer.
fn is_parameter(header: &str) -> bool {
    let is_secret = header.contains("customer-key") || header.contains("security-token");
    let is_transfer = ["checksum", "content-sha256", "date", "user-agent"]
        .iter()
        .any(|part| header.contains(part));
    (header.starts_with("x-amz-") && !is_secret && !is_transfer) || header.starts_with("if-")
}

/// Decodes the pairs of a form or of a query.
pub(super) fn pairs(form: &[u8]) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let form = String::from_utf8_lossy(form);
    let pairs = form.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// Returns the error code of an answer in XML, or its HTTP status.
fn code(response: &HttpResponse) -> String {
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    let code = body.split_once("<Code>").map(|(_, rest)| rest);
    let code = code.and_then(|rest| rest.split_once("</Code>"));
    code.map_or_else(
        || response.status().as_u16().to_string(),
        |(code, _)| code.to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(operation: &str) -> Arc<Call> {
        Arc::new(Call {
            service: Service::Ec2,
            operation: operation.to_owned(),
            parameters: pairs(b"Action=RunInstances&UserData=c2VjcmV0&Name=a%20b+c&Flag"),
            cause: cause(),
        })
    }

    #[test]
    fn a_form_is_decoded_and_its_values_are_not_in_debug_output() {
        let call = call("RunInstances");
        assert_eq!(call.parameter("Name"), Some("a b c"));
        assert_eq!(call.parameter("Flag"), Some(""));
        assert_eq!(call.parameter("Other"), None);
        assert_eq!(format!("{call:?}"), "ec2:RunInstances ()");
    }

    #[test]
    fn equal_requests_are_one_and_a_success_outweighs_a_refusal() {
        let calls = Calls::default();
        let refused = Answer::Refused("InvalidGroup.NotFound".to_owned());
        for answer in [&refused, &Answer::Done, &refused] {
            let call = call("AuthorizeSecurityGroupIngress");
            calls.sends(&call);
            calls.ended(&call, answer);
        }
        calls.sends(&call("RunInstances"));
        let all = calls.all();
        let answers: Vec<&Answer> = all.iter().map(|(_, answer)| answer).collect();
        assert_eq!(answers, [&Answer::Done, &Answer::Missing]);
    }

    #[test]
    fn secret_headers_are_not_parameters() {
        for (header, expected) in [
            ("x-amz-copy-source", true),
            ("x-amz-acl", true),
            ("if-none-match", true),
            ("x-amz-security-token", false),
            ("x-amz-server-side-encryption-customer-key", false),
            ("x-amz-content-sha256", false),
            ("authorization", false),
        ] {
            assert_eq!(is_parameter(header), expected, "{header}");
        }
    }

    #[tokio::test]
    async fn a_request_has_the_cause_of_its_task() {
        let wanted = Cause {
            place: "web.rhai:3".to_owned(),
            function: "create_bucket".to_owned(),
        };
        let seen = caused_by(wanted.clone(), async { cause() }).await;
        assert_eq!(seen, wanted);
        assert_eq!(cause(), Cause::default());
    }
}
