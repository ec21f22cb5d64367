//! The NAT gateway of a network.

use std::time::Duration;

use super::networks::{Network, Parts};
use crate::clients::ec2::{NatState, NewPart};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::ResourceKind;

/// The longest time for EC2 to create a NAT gateway. It takes a minute or two.
const NAT_WITHIN: Duration = Duration::from_secs(600);

impl Parts<'_> {
    /// Creates the NAT gateway in a public subnet and routes the private subnets to
    /// it. Returns its id and its address.
    pub(super) async fn nat(
        &mut self,
        name: &str,
        vpc: &str,
        public: &str,
        private: &[String],
    ) -> Result<(String, String)> {
        let ec2 = self.ec2;
        let name_of_nat = format!("{name}-nat");
        let address = self.part(&name_of_nat, &NewPart::ElasticIp).await?;
        let new = NewPart::NatGateway {
            subnet: public,
            address: &address,
        };
        self.nat_deleted().await?;
        let gateway = self.part(&name_of_nat, &new).await?;
        let table = format!("{name}-private");
        let table = self.part(&table, &NewPart::RouteTable { vpc }).await?;
        if self.created || self.step.recorded::<Network>()?.is_none() {
            self.nat_available(&gateway).await?;
            self.known(async || ec2.route_to_nat_gateway(&table, &gateway).await)
                .await?;
            for subnet in private {
                self.known(async || ec2.associate_route_table(&table, subnet).await)
                    .await?;
            }
        }
        let address = ec2.address(&address).await?;
        Ok((gateway, address.unwrap_or_default().public_ip))
    }

    /// Waits until NAT gateways of earlier attempts that are being deleted have
    /// lost their address. An interrupted `destroy` may have begun that.
    async fn nat_deleted(&self) -> Result<()> {
        for row in self.step.live(ResourceKind::NatGateway) {
            let id = row.id.unwrap_or_default();
            let mut pace = self
                .cx
                .pace(format!("NAT gateway {id} to be deleted"), NAT_WITHIN);
            while let Some(NatState::Deleting) =
                self.ec2.nat_gateway(&id).await?.map(|nat| nat.state)
            {
                pace.pause("deleting").await?;
            }
        }
        Ok(())
    }

    /// Waits until a NAT gateway is available.
    async fn nat_available(&self, id: &str) -> Result<()> {
        let window = self.cx.clients.consistency();
        let what = format!("NAT gateway {id} to be available");
        let mut pace = self.cx.pace(what, NAT_WITHIN);
        loop {
            match self.ec2.nat_gateway(id).await?.map(|nat| nat.state) {
                Some(NatState::Available) => return Ok(()),
                Some(NatState::Pending) => pace.pause("pending").await?,
                None if pace.elapsed() < window => pace.pause("not visible yet").await?,
                Some(NatState::Failed(why)) => {
                    let message = format!("EC2 cannot create NAT gateway `{id}`: {why}");
                    return Err(Error::new(ErrorKind::Internal, message));
                }
                None | Some(NatState::Deleting | NatState::Deleted) => {
                    let message = format!("NAT gateway `{id}` was deleted");
                    return Err(Error::new(ErrorKind::NotFound, message));
                }
            }
        }
    }
}
