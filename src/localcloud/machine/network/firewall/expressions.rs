//! The expressions of rules. Each one loads or tests data of a packet, or
//! decides its fate; the first one that does not match ends the rule.

use std::net::Ipv4Addr;

use super::super::netlink::Writer;

/// A rule. It applies if all of its expressions match.
pub(super) type Rule = Vec<Expression>;

/// The registers that pass values between expressions.
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
/// The second 32-bit word of `REGISTER` (`NFT_REG32_01`), for keys with two
/// parts.
const SECOND_WORD: u32 = 9;

pub(super) const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;

const NF_ACCEPT: i32 = 1;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;

const ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2;

/// Data of a packet that is not in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    /// The index of the interface at which it arrived.
    InputInterface = 4,
    /// The name of the interface through which it leaves.
    OutputName = 7,
    /// The protocol of the network layer.
    Network = 15,
    /// The protocol of the transport layer.
    Transport = 16,
}

/// A field of a packet's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The IPv4 source address.
    Source,
    /// The IPv4 destination address.
    Destination,
    /// The destination port of TCP and UDP.
    Port,
    /// The type of an ICMP message.
    IcmpType,
    /// The code of an ICMP message.
    IcmpCode,
}

impl Field {
    /// Returns the header, the offset in it, and the length.
    fn place(self) -> (u32, u32, u32) {
        const NETWORK: u32 = 1;
        const TRANSPORT: u32 = 2;
        match self {
            Self::Source => (NETWORK, 12, 4),
            Self::Destination => (NETWORK, 16, 4),
            Self::Port => (TRANSPORT, 2, 2),
            Self::IcmpType => (TRANSPORT, 0, 1),
            Self::IcmpCode => (TRANSPORT, 1, 1),
        }
    }
}

/// The comparison of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal = 0,
    Unequal = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// The verdict on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    /// Continue with the rules of a chain, then return.
    Jump(String),
    /// Continue with the rules of a chain, and do not return: the policy of the
    /// base chain applies to packets that none of them matches.
    Goto(String),
}

/// One expression of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    Meta(Meta),
    Payload(Field),
    /// A field as the second part of a key, after the interface index.
    SecondPart(Field),
    /// The state of the connection, one bit for each state.
    ConnectionState,
    Mask(Vec<u8>),
    Compare(Comparison, Vec<u8>),
    /// Whether a set contains the key.
    IsIn(&'static str),
    /// The verdict that a map of this batch has for the key.
    VerdictOf(Map),
    Counter,
    Decide(Verdict),
    /// An address, for the translation that follows.
    Address(Ipv4Addr),
    /// Replaces an address of the connection with the loaded one.
    Translate(Translation),
}

/// The address that a translation replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Translation {
    Source = 0,
    Destination = 1,
}

/// An anonymous map, which belongs to the rule that uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Map {
    /// The id within the batch.
    pub(super) id: u32,
}

impl Map {
    /// The kernel replaces `%d` by a number.
    pub(super) const NAME: &'static str = "__map%d";
}

/// Matches packets of established and related connections.
pub(super) fn is_of_known_connection() -> Rule {
    vec![
        Expression::ConnectionState,
        Expression::Mask(ESTABLISHED_OR_RELATED.to_ne_bytes().to_vec()),
        Expression::Compare(Comparison::Unequal, vec![0; 4]),
    ]
}

/// Matches packets that leave through an interface.
pub(super) fn leaves_by(name: &str) -> Rule {
    // The kernel compares all 16 bytes of an interface name.
    let mut padded = name.as_bytes().to_vec();
    padded.resize(16, 0);
    vec![Expression::Meta(Meta::OutputName), equal(padded)]
}

/// Matches IPv4 packets.
pub(super) fn is_ipv4() -> Rule {
    vec![Expression::Meta(Meta::Network), equal(vec![NFPROTO_IPV4])]
}

/// Matches packets with an IPv4 address.
pub(super) fn is_address(field: Field, address: Ipv4Addr) -> Rule {
    let mut rule = is_ipv4();
    rule.push(Expression::Payload(field));
    rule.push(equal(address.octets().to_vec()));
    rule
}

/// Matches packets of a transport protocol.
pub(super) fn is_transport(protocol: u8) -> Rule {
    vec![Expression::Meta(Meta::Transport), equal(vec![protocol])]
}

/// Compares the loaded value.
pub(super) fn equal(value: Vec<u8>) -> Expression {
    Expression::Compare(Comparison::Equal, value)
}

/// Accepts the packet.
pub(super) fn accept() -> Expression {
    Expression::Decide(Verdict::Accept)
}

impl Expression {
    /// Encodes the expression as an element of a list.
    pub(super) fn write(&self, writer: &mut Writer) {
        const LIST_ELEMENT: u16 = 1;
        const NAME: u16 = 1;
        const DATA: u16 = 2;
        writer.nested(LIST_ELEMENT, |writer| {
            writer.text(NAME, self.name());
            writer.nested(DATA, |writer| self.write_data(writer));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta(_) => "meta",
            Self::Payload(_) | Self::SecondPart(_) => "payload",
            Self::ConnectionState => "ct",
            Self::Mask(_) => "bitwise",
            Self::Compare(..) => "cmp",
            Self::IsIn(_) | Self::VerdictOf(_) => "lookup",
            Self::Counter => "counter",
            Self::Decide(_) | Self::Address(_) => "immediate",
            Self::Translate(_) => "nat",
        }
    }

    fn write_data(&self, writer: &mut Writer) {
        match self {
            Self::Meta(meta) => {
                writer.number(1, REGISTER);
                writer.number(2, *meta as u32);
            }
            Self::Payload(field) => write_payload(writer, REGISTER, *field),
            Self::SecondPart(field) => write_payload(writer, SECOND_WORD, *field),
            Self::ConnectionState => {
                const STATE: u32 = 0;
                writer.number(1, REGISTER);
                writer.number(2, STATE);
            }
            Self::Mask(mask) => {
                writer.number(1, REGISTER);
                writer.number(2, REGISTER);
                // Masks are for an address or a connection state, which have
                // four bytes.
                writer.number(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                write_value(writer, 4, mask);
                write_value(writer, 5, &vec![0; mask.len()]);
            }
            Self::Compare(comparison, value) => {
                writer.number(1, REGISTER);
                writer.number(2, *comparison as u32);
                write_value(writer, 3, value);
            }
            Self::IsIn(set) => {
                writer.text(1, set);
                writer.number(2, REGISTER);
            }
            Self::VerdictOf(map) => {
                writer.text(1, Map::NAME);
                writer.number(2, REGISTER);
                writer.number(3, VERDICT_REGISTER);
                writer.number(4, map.id);
            }
            Self::Counter => {
                writer.bytes(1, &0_u64.to_be_bytes());
                writer.bytes(2, &0_u64.to_be_bytes());
            }
            Self::Decide(verdict) => {
                writer.number(1, VERDICT_REGISTER);
                write_verdict(writer, 2, verdict);
            }
            Self::Address(address) => {
                writer.number(1, REGISTER);
                write_value(writer, 2, &address.octets());
            }
            Self::Translate(translation) => {
                writer.number(1, *translation as u32);
                writer.number(2, NFPROTO_IPV4.into());
                writer.number(3, REGISTER);
            }
        }
    }
}

fn write_payload(writer: &mut Writer, register: u32, field: Field) {
    let (header, offset, length) = field.place();
    writer.number(1, register);
    writer.number(2, header);
    writer.number(3, offset);
    writer.number(4, length);
}

/// Encodes bytes as a data attribute.
pub(super) fn write_value(writer: &mut Writer, kind: u16, value: &[u8]) {
    const VALUE: u16 = 1;
    writer.nested(kind, |writer| writer.bytes(VALUE, value));
}

/// Encodes a verdict as a data attribute.
pub(super) fn write_verdict(writer: &mut Writer, kind: u16, verdict: &Verdict) {
    const VERDICT: u16 = 2;
    const CODE: u16 = 1;
    const CHAIN: u16 = 2;
    writer.nested(kind, |writer| {
        writer.nested(VERDICT, |writer| match verdict {
            Verdict::Accept => writer.number(CODE, NF_ACCEPT.cast_unsigned()),
            Verdict::Jump(chain) => {
                writer.number(CODE, NFT_JUMP.cast_unsigned());
                writer.text(CHAIN, chain);
            }
            Verdict::Goto(chain) => {
                writer.number(CODE, NFT_GOTO.cast_unsigned());
                writer.text(CHAIN, chain);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected bytes are from `nft --debug=mnl`, without the lengths'
    /// padding.
    #[test]
    fn expressions_are_written_as_nft_writes_them() {
        let written = |expression: Expression| {
            let mut writer = Writer::default();
            expression.write(&mut writer);
            writer.finish().unwrap()
        };
        let meta = written(Expression::Meta(Meta::Network));
        let wanted = b"\x24\0\x01\x80\x09\0\x01\0meta\0\0\0\0\x14\0\x02\x80\
                       \x08\0\x01\0\0\0\0\x01\x08\0\x02\0\0\0\0\x0f";
        assert_eq!(meta, wanted);
        let compare = written(equal(vec![2]));
        let wanted = b"\x2c\0\x01\x80\x08\0\x01\0cmp\0\x20\0\x02\x80\
                       \x08\0\x01\0\0\0\0\x01\x08\0\x02\0\0\0\0\0\
                       \x0c\0\x03\x80\x05\0\x01\0\x02\0\0\0";
        assert_eq!(compare, wanted);
        let accepted = written(accept());
        let wanted = b"\x30\0\x01\x80\x0e\0\x01\0immediate\0\0\0\x1c\0\x02\x80\
                       \x08\0\x01\0\0\0\0\0\x10\0\x02\x80\x0c\0\x02\x80\x08\0\x01\0\0\0\0\x01";
        assert_eq!(accepted, wanted);
    }

    #[test]
    fn names_of_interfaces_are_padded() {
        let rule = leaves_by("host");
        let Some(Expression::Compare(Comparison::Equal, value)) = rule.last() else {
            unreachable!("a comparison is last");
        };
        assert_eq!(value.len(), 16);
        assert!(value.starts_with(b"host\0"));
    }
}
