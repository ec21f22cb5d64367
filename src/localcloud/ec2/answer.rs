//! Answers to query requests, and EC2's form of an error.

use super::refusal::Refusal;
use super::xml::Xml;

/// An answer: HTTP status, request id and XML.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) request: String,
    pub(crate) xml: String,
}

/// EC2's form of an error.
pub(crate) fn refused(refusal: &Refusal, request: &str) -> Answer {
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

/// The action that a form names, to count and log it before it is answered.
pub(crate) fn action_of(form: &[u8]) -> String {
    form_urlencoded::parse(form)
        .find(|(name, _)| name == "Action")
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
