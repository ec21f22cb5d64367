//! NAT gateways, which the local cloud does not have.

use super::super::call::Call;
use super::super::filters::{Filtered, Filters, page};
use super::super::ids::NAT_GATEWAY;
use super::super::params::Part;
use super::super::refusal::{Refusal, Result};
use super::super::xml::Xml;

pub(in super::super) fn create_nat_gateway(_: &mut Call<'_>, _: &Part<'_>) -> Result<Xml> {
    Err(Refusal::new(
        "UnsupportedOperation",
        "The local cloud has no NAT gateways.",
    ))
}

pub(in super::super) fn delete_nat_gateway(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let id = request.required("NatGatewayId")?;
    call.read_all()?;
    NAT_GATEWAY.check(id)?;
    Err(NAT_GATEWAY.not_found(&[id]))
}

pub(in super::super) fn describe_nat_gateways(
    call: &mut Call<'_>,
    request: &Part<'_>,
) -> Result<Xml> {
    struct Never;
    impl Filtered for Never {
        fn values(&self, _: &str) -> Option<Vec<String>> {
            None
        }
    }
    NAT_GATEWAY.find_all(&request.list("NatGatewayId"), |_| false)?;
    let none: Vec<Never> = Filters::of(request)?.keep(Vec::new())?;
    page(request, none, 5)?;
    call.read_all()?;
    let mut xml = Xml::default();
    xml.texts("natGatewaySet", [] as [&str; 0]);
    Ok(xml)
}
