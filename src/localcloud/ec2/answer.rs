//! Answers to query requests, and the format of EC2's errors.

use super::ids::new_request_id;
use super::refusal::Refusal;
use super::xml::Xml;
use super::{iam, sts};

/// An answer: HTTP status, request id and XML.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) request: String,
    pub(crate) xml: String,
}

/// Returns an error answer in the format of a service with query requests.
pub(crate) fn refused_by(service: &str, refusal: &Refusal) -> Answer {
    let request = new_request_id();
    match service {
        "iam" => iam::refused(refusal, &request),
        "sts" => sts::refused(refusal, &request),
        _ => refused(refusal, &request),
    }
}

/// Returns an error answer in EC2's format.
pub(super) fn refused(refusal: &Refusal, request: &str) -> Answer {
    let mut xml = Xml::default();
    xml.node("Response", |xml| {
        xml.node("Errors", |xml| {
            xml.node("Error", |xml| {
                xml.text("Code", &refusal.code);
                xml.text("Message", &refusal.message);
            });
        });
        xml.text("RequestID", request);
    });
    Answer {
        status: refusal.status,
        request: request.to_owned(),
        xml: format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}",
            xml.finish()
        ),
    }
}

/// Returns the name of the action in a form: the request is counted and logged
/// before it is parsed and answered.
pub(crate) fn action_of(form: &[u8]) -> String {
    form_urlencoded::parse(form)
        .find(|(name, _)| name == "Action")
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
